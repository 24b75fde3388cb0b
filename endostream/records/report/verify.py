"""Does a sentence say only what the facts say? A closed world: what cannot be checked is flagged.

Owns the rules for words, classes, negations and claims; numbers are bound to facts in `figures`. Must not know
who wrote the sentence. Strict by design: a true sentence may be flagged, an untrue one must not be kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from endostream.records.facts import Facts, Sighting
from endostream.records.quality import NOT_DOCUMENTED
from endostream.records.report.figures import Figures, Unverified
from endostream.records.report.lexicon import (
    FINDING_WORDS,
    LANDMARK_WORDS,
    REASONS,
    forbidden,
    is_allowed,
    words,
)
from endostream.records.report.prose import Sentence
from endostream.records.report.tokens import Scanner, Token

_MARKS = frozenset(".,;:()[]'-!%")
_SPLIT = re.compile(r"(?<=[.!?])\s+|\n+")
_BULLET = re.compile(r"^\s*(?:[-*•>]+|\d+[.)])\s+")
_SEEN = words("seen detected found recorded opened observed identified present noted shown documented")
_JUDGED = words("judged assessed evaluated visible")
_NEGATIONS = words("no not without none never neither nor nothing absent absence")
_FURTHER = frozenset({"further", "other", "additional", "more", "else"})
_TURNS = frozenset({"insertion", "withdrawal", "effective"})


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, bullets taken off, empty ones left out."""
    parts = (_BULLET.sub("", part).strip() for part in _SPLIT.split(text))
    return [part for part in parts if re.search(r"\w", part)]


class Verifier:
    """Checks sentences against one set of facts."""

    def __init__(self, facts: Facts) -> None:
        """Learn the names that these facts may use."""
        self._facts = facts
        self._scanner = Scanner({*facts.labels, *(s.label for s in facts.sightings)})

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
        self.tokens = tokens
        self.words = {t.text for t in tokens if t.kind == "word"}
        self.settled: set[int] = set()
        """Positions that a negation has dealt with."""
        self.seen_labels = {s.label for s in facts.sightings}
        self.present = self.seen_labels | set(facts.therapy_labels)
        self.present |= set(facts.preparation.labels) if facts.preparation else set()

    def run(self) -> tuple[str, ...]:
        self._words()
        self._negations()
        self._names()
        figures = Figures(self.facts, self.tokens, self.settled)
        figures.check()
        evidence = figures.evidence()
        self._run_claims()
        self._review_claims(evidence)
        self._context_claims(figures)
        return tuple(sorted({s.evidence for s in evidence}))

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
        if word in ("nothing", "not", "none", "never") and near & _JUDGED:
            self._require(self.facts.blind_s > 0, "the facts hold no blind time")
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
        self._require(not any(untrue[word] for word in near & set(untrue)), "the facts say otherwise")
        self.words -= near

    def _not_documented(self, low: int, high: int) -> None:
        named = [(i, t) for i, t in enumerate(self.tokens[low:high], low) if t.kind == "label"]
        for i, token in named:
            missing = not any(s.label in token.labels and s.still for s in self.facts.sightings)
            self._require(
                missing and self._known(token), f"{token.text!r} is documented, or unknown to the pack"
            )
            self.settled.add(i)
        turns = {t.text for t in self.tokens[low:high]} & _TURNS
        if turns:
            open_ = [q for q in self.facts.quality if q.name.endswith(("insertion_time", "withdrawal_time"))]
            self._require(
                bool(open_) and all(q.value == NOT_DOCUMENTED for q in open_),
                "the facts hold insertion or withdrawal",
            )
            self.words -= _TURNS
        self._require(bool(named or turns), "a negation that cannot be checked")

    def _absent(self, at: int, low: int, high: int) -> None:
        """Everything named in the scope of the negation must be absent from the facts."""
        word = self.tokens[at].text
        after, before = range(at + 1, high), range(low, at)
        targets = [i for i in after if self._count(i) is not None]
        further = bool(_FURTHER & {t.text for t in self.tokens[at + 1 : at + 4]})
        if not targets and word in ("not", "never", "absent") and not further:
            seen = {t.text for t in self.tokens[at + 1 : at + 4]} & _SEEN
            targets = [i for i in before if self._count(i) is not None] if seen or word == "absent" else []
        if (
            not targets
            and word in ("nothing", "none")
            and {t.text for t in self.tokens[at + 1 : high]} & _SEEN
        ):
            self._require(further or not self.facts.sightings, "the facts hold findings or landmarks")
            return
        self._require(bool(targets), "a negation that cannot be checked")
        for i in targets:
            token = self.tokens[i]
            if further:
                self._require(bool(self._count(i)), f"there is no other {token.text!r} to compare with")
            else:
                self._require(self._count(i) == 0, f"it denies {token.text!r}, which the facts hold")
                self._require(
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

    def _run_claims(self) -> None:
        facts, words = self.facts, self.words
        claims = {
            "completed": facts.finish == "completed",
            "stopped": facts.finish == "stopped",
            "failed": facts.finish == "failed",
            "interrupted": facts.interrupted,
            "dropped": facts.frames["dropped"] > 0 or self._zero("dropped"),
            "skipped": facts.frames["skipped"] > 0 or self._zero("skipped"),
            "pending": any(s.review == "pending" for s in facts.sightings) or facts.frames["pending"] > 0,
            "rejected": facts.rejected > 0,
            "lower": facts.exam == "lower",
            "upper": facts.exam == "upper",
            "capsule": facts.exam == "capsule",
            "blind": facts.blind_s > 0,
            "therapy": facts.therapy_s > 0,
            "warning": bool(facts.warnings),
            "warnings": bool(facts.warnings),
            **{reason: any(b.reason == reason for b in facts.blind) for reason in REASONS},
        }
        for word in sorted(words & set(claims)):
            self._require(claims[word], f"{word!r} does not agree with the facts")

    def _zero(self, word: str) -> bool:
        """True when the sentence counts zero of it; `Figures` has checked the number."""
        return any(t.kind == "number" and t.value == 0 for t in self.tokens)

    def _review_claims(self, evidence: set[Sighting]) -> None:
        about = evidence or set(self.facts.sightings)
        texts = [t.text for t in self.tokens]
        denied = any("not" in texts[max(0, i - 3) : i] for i, text in enumerate(texts) if text == "reviewed")
        claims: tuple[tuple[str, Callable[[Sighting], bool]], ...] = (
            ("confirmed", lambda s: s.review == "confirmed"),
            ("unreviewed", lambda s: s.review == "pending"),
            ("pending", lambda s: s.review == "pending"),
            ("reviewed", lambda s: (s.review == "pending") == denied),
            ("unreliable", lambda s: s.unreliable),
        )
        for word, holds in claims:
            if word in self.words:
                self._require(
                    bool(about) and all(holds(s) for s in about), f"{word!r} does not agree with the facts"
                )

    def _context_claims(self, figures: Figures) -> None:
        if self.words & {"adequate", "inadequate"}:
            self._require("preparation" in figures.contexts, "it judges the preparation without its share")
        if self.words & _TURNS:
            self._require("turn" in figures.contexts, "it speaks of insertion or withdrawal without the time")
        for word in sorted(self.words & {"all", "each", "every", "both", "only", "once", "twice"}):
            self._require(figures.quantity(word), f"{word!r} does not agree with the facts")

    @staticmethod
    def _require(holds: bool, otherwise: str) -> None:
        if not holds:
            raise Unverified(otherwise)
