"""Does a sentence say only what the facts say? A closed world: what cannot be checked is flagged.

Owns the rules for words, classes, negations and claims; numbers are bound to facts in `figures`. Must not
know who wrote the sentence. Strict by design: a true sentence may be flagged, an untrue one must not be kept.
"""

from __future__ import annotations

import re
from functools import lru_cache

from endostream.records.facts import Facts
from endostream.records.quality import NOT_DOCUMENTED
from endostream.records.report.binding import Binding, Unverified
from endostream.records.report.figures import Figures
from endostream.records.report.lexicon import (
    FINDING_WORDS,
    LANDMARK_WORDS,
    REASONS,
    SEEN_WORDS,
    forbidden,
    is_allowed,
    words,
)
from endostream.records.report.prose import Sentence
from endostream.records.report.relations import TURNS, Relations, require
from endostream.records.report.tokens import Scanner, Token

_MARKS = frozenset(".,;:()[]'-!%")
_SPLIT = re.compile(r"(?<=[.!?])\s+|\n+")
_BULLET = re.compile(r"^\s*(?:[-*•>]+|\d+[.)])\s+")
_JUDGED = words("judged assessed evaluated visible")
_NEGATIONS = words("no not without none never neither nor nothing absent absence")
_FURTHER = frozenset({"further", "other", "additional", "more", "else"})


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`; bullets are taken off, headings and empty lines left out."""
    parts = (_BULLET.sub("", part).strip() for part in _SPLIT.split(text))
    return [
        part
        for part in parts
        if re.search(r"\w+\W+\w", part) and not part.startswith("#") and part[-1] != ":"
    ]


@lru_cache(maxsize=4)
def _scanner(labels: frozenset[str]) -> Scanner:
    return Scanner(labels)


class Verifier:
    """Checks sentences against one set of facts."""

    def __init__(self, facts: Facts) -> None:
        """Learn the names that these facts may use."""
        self._facts = facts
        self._scanner = _scanner(frozenset({*facts.labels, *(s.label for s in facts.sightings)}))

    def check(self, text: str) -> Sentence:
        """`text` with its evidence, or with the reason why it cannot be verified."""
        try:
            evidence = _Check(self._facts, self._scanner.read(text)).run()
        except Unverified as flaw:
            return Sentence(text, (), str(flaw))
        return Sentence(text, evidence)


class _Check:
    """One sentence against the facts."""

    def __init__(self, facts: Facts, tokens: list[Token]) -> None:
        self.facts = facts
        covered = any(b.reason == "covered" for b in facts.blind)
        # "covered 01:00 of video" names no cause of blind time.
        self.tokens = [Token("word", "spanned") if t.text == "covered" and not covered else t for t in tokens]
        self.words = {t.text for t in self.tokens if t.kind == "word"}
        self.settled: set[int] = set()
        """Positions that a negation has dealt with."""
        self.seen_labels = {s.label for s in facts.sightings}
        self.present = self.seen_labels | set(facts.therapy_labels)
        self.present |= set(facts.preparation.labels) if facts.preparation else set()

    def run(self) -> tuple[str, ...]:
        self._words()
        self._negations()
        self._names()
        binding = Binding(self.facts, self.tokens, self.settled)
        figures = Figures(self.facts, self.tokens, binding)
        figures.check()
        Relations(self.facts, self.tokens, figures, binding).check(self.words)
        return tuple(sorted({s.evidence for s in binding.evidence()}))

    def _words(self) -> None:
        if not any(t.kind == "word" for t in self.tokens):
            raise Unverified("it is not a sentence")
        for token in self.tokens:
            if token.kind == "mark" and token.text not in _MARKS:
                raise Unverified(f"the sign {token.text!r} has no place in a report")
            if token.kind == "word":
                if reason := forbidden(token.text):
                    raise Unverified(f"{token.text!r} {reason}")
                if not is_allowed(token.text):
                    raise Unverified(
                        f"the word {token.text!r} is neither in the facts nor a word of a report"
                    )

    def _negations(self) -> None:
        positions = [i for i, t in enumerate(self.tokens) if t.kind == "word" and t.text in _NEGATIONS]
        for at in positions:
            self._negation(at)

    def _clause(self, at: int) -> tuple[int, int]:
        """First and last + 1 position of the clause around `at`."""
        stops = [i for i, t in enumerate(self.tokens) if t.text in (";", ".", "but", "while", "whereas")]
        low = max((i for i in stops if i < at), default=-1) + 1
        return low, min((i for i in stops if i > at), default=len(self.tokens))

    def _negation(self, at: int) -> None:
        low, high = self._clause(at)
        word = self.tokens[at].text
        after = [t.text for t in self.tokens[at + 1 : high]]
        near = set(after[:4])
        others = [
            t.text for i, t in enumerate(self.tokens[low:high], low) if i != at and t.text in _NEGATIONS
        ]
        require(not (word in ("not", "never") and others), "a double negation that cannot be checked")
        if word in ("nothing", "not", "none", "never") and near & _JUDGED:
            named = any(t.kind == "label" for t in self.tokens[low:high])
            require(self.facts.blind_s > 0 and not named, "the facts hold no such blind time")
        elif word == "not" and after[:2] in (["for", "diagnosis"], ["for", "diagnostic"]):
            return
        elif word == "not" and near & {"documented"}:
            self._not_documented(low, high)
        elif word == "not" and near & {"reviewed"}:
            return  # `_review_claims` decides
        elif word == "none" and near & {"reviewed", "rejected", "confirmed", "dropped", "skipped"}:
            self._none(near)
        else:
            self._absent(at, low, high)

    def _none(self, near: set[str]) -> None:
        facts = self.facts
        reviewed = [s for s in facts.sightings if s.review != "pending"]
        untrue = {
            "reviewed": bool(reviewed) or facts.rejected > 0,
            "confirmed": bool(reviewed),
            "rejected": facts.rejected > 0,
            "dropped": facts.frames["dropped"] > 0,
            "skipped": facts.frames["skipped"] > 0,
        }
        require(not any(untrue[word] for word in near & set(untrue)), "the facts say otherwise")
        self.words -= near

    def _not_documented(self, low: int, high: int) -> None:
        named = [(i, t) for i, t in enumerate(self.tokens[low:high], low) if t.kind == "label"]
        for i, token in named:
            require(not self._count(i), f"it denies {token.text!r}, which the facts hold")
            known = bool(set(token.labels) & set(self.facts.labels))
            require(known, f"{token.text!r} is unknown to the pack")
            self.settled.add(i)
        turns = {t.text for t in self.tokens[low:high]} & TURNS
        if turns:
            open_ = [q for q in self.facts.quality if q.name.endswith(("insertion_time", "withdrawal_time"))]
            require(
                bool(open_) and all(q.value == NOT_DOCUMENTED for q in open_),
                "the facts hold insertion or withdrawal",
            )
            self.words -= TURNS
        require(bool(named or turns), "a negation that cannot be checked")

    def _absent(self, at: int, low: int, high: int) -> None:
        """Everything named in the scope of the negation must be absent from the facts."""
        word = self.tokens[at].text
        after, before = range(at + 1, high), range(low, at)
        targets = [i for i in after if self._count(i) is not None]
        further = bool(_FURTHER & {t.text for t in self.tokens[at + 1 : at + 4]})
        if not targets and word in ("not", "never", "absent") and not further:
            seen = {t.text for t in self.tokens[at + 1 : at + 4]} & SEEN_WORDS
            targets = [i for i in before if self._count(i) is not None] if seen or word == "absent" else []
        if (
            not targets
            and word in ("nothing", "none")
            and {t.text for t in self.tokens[at + 1 : high]} & SEEN_WORDS
        ):
            require(further or not self.facts.sightings, "the facts hold findings or landmarks")
            return
        require(bool(targets), "a negation that cannot be checked")
        for i in targets:
            token = self.tokens[i]
            if further:
                require(bool(self._count(i)), f"there is no other {token.text!r} to compare with")
            else:
                require(self._count(i) == 0, f"it denies {token.text!r}, which the facts hold")
                require(
                    token.kind != "label" or self._known(token), f"the pack cannot rule out {token.text!r}"
                )
            self.settled.add(i)
            self.words.discard(token.text)

    def _known(self, token: Token) -> bool:
        """True when the pack knows every class meant and none is unreliable."""
        meant = [label for label in token.labels if label in self.facts.labels]
        return bool(meant) and not set(meant) & set(self.facts.unreliable)

    def _count(self, at: int) -> float | None:
        """How many of what is named at `at` the facts hold; None when nothing countable is named there."""
        token, facts = self.tokens[at], self.facts
        if token.kind == "label":
            found = sum(s.label in token.labels for s in facts.sightings)
            return found or float(bool(self.present & set(token.labels)))
        if token.kind != "word":
            return None
        if token.text in ("dropped", "skipped"):
            return facts.frames[token.text]
        if token.text in REASONS:
            return sum(b.spans for b in facts.blind if b.reason == token.text)
        table = {"blind": facts.blind_s, "therapy": facts.therapy_s, "warning": len(facts.warnings)}
        table |= {"warnings": len(facts.warnings), "preparation": 1.0 if facts.preparation else 0.0}
        table |= {"rejected": facts.rejected}
        table |= dict.fromkeys(FINDING_WORDS, len(facts.findings)) | dict.fromkeys(
            LANDMARK_WORDS, len(facts.landmarks)
        )
        return table.get(token.text)

    def _names(self) -> None:
        for i, token in enumerate(self.tokens):
            if i in self.settled:
                continue
            if token.kind == "label" and not self.present & set(token.labels):
                raise Unverified(f"{token.text!r} is not in the facts")
            zero = i > 0 and self.tokens[i - 1].kind == "number" and self.tokens[i - 1].value == 0
            if token.text in FINDING_WORDS | LANDMARK_WORDS and not zero and self._count(i) == 0:
                raise Unverified(f"the facts hold no {token.text.removesuffix('s')}")
