"""What the words of a sentence claim beyond its numbers: quantities, states, and what belongs to what.

Owns the rules for words that are true of some sessions only. Must not know numbers or negations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from endostream.records.facts import Facts, Sighting
from endostream.records.report.binding import Binding, Unverified
from endostream.records.report.figures import END, FRAME_VERBS, START, Figures
from endostream.records.report.lexicon import REASONS, words
from endostream.records.report.tokens import Token
from endostream.vocabulary import term

TURNS = words("insertion withdrawal effective")
_ELSEWHERE = TURNS | REASONS | words("blind therapy preparation adequate inadequate rejected")
"""What no sentence may tell in one breath with a finding, because nothing links the two."""
_JOINING = words(", ; : and or as ( )")
_PLACING = words(
    """
    in at within into from of with on near through to up by for during that which is are was were be been as
    cause causes caused
    """
)
_INSIDE = words("in on within near into onto under behind")
_ARTICLES = words("the a an one this that")
_EQUATING = _ARTICLES | words("is are was were be of class labelled labeled label named : ( ,")
_EXAM = words("exam examination endoscopy procedure video context")
_QUANTITIES = words("all each every both only once twice another additional other further last")
_EXTREMES = START | END | words("first maximum surest")


def require(holds: bool, otherwise: str) -> None:
    """Raise `Unverified` with the reason unless `holds`."""
    if not holds:
        raise Unverified(otherwise)


class Relations:
    """The claims of one sentence whose numbers have been checked."""

    def __init__(self, facts: Facts, tokens: list[Token], figures: Figures, binding: Binding) -> None:
        self._facts = facts
        self._tokens = tokens
        self._figures = figures
        self._binding = binding

    def check(self, claimed: set[str]) -> None:
        """Return when every claim of the words `claimed` holds; else raise `Unverified`."""
        self._states(claimed)
        self._reviews(claimed)
        self._links(claimed)
        self._contexts(claimed)
        for at, token in enumerate(self._tokens):
            if token.text in _QUANTITIES and token.text in claimed:
                require(self._quantity(at), f"{token.text!r} does not agree with the facts")

    def _states(self, claimed: set[str]) -> None:
        facts = self._facts
        zero = any(t.kind == "number" and t.value == 0 for t in self._tokens)
        holds = {
            "completed": facts.finish == "completed",
            "stopped": facts.finish == "stopped",
            "failed": facts.finish == "failed",
            "interrupted": facts.interrupted,
            "dropped": facts.frames["dropped"] > 0 or zero,
            "skipped": facts.frames["skipped"] > 0 or zero,
            "pending": any(s.review == "pending" for s in facts.sightings) or facts.frames["pending"] > 0,
            "rejected": facts.rejected > 0,
            "blind": facts.blind_s > 0,
            "therapy": facts.therapy_s > 0,
            "warning": bool(facts.warnings),
            "warnings": bool(facts.warnings),
            **{reason: any(b.reason == reason for b in facts.blind) for reason in REASONS},
        }
        for word in sorted(claimed & set(holds)):
            require(holds[word], f"{word!r} does not agree with the facts")
        if claimed & {"human", "reviewer"}:
            told = claimed & words("confirmed reviewed review rejected")
            require(bool(told), "it speaks of a person without a review")
        for at, token in enumerate(self._tokens):
            after = self._tokens[at + 1].text if at + 1 < len(self._tokens) else ""
            if token.text in ("lower", "upper", "capsule"):
                require(
                    facts.exam == token.text and after in _EXAM,
                    f"{token.text!r} is not the exam of the facts",
                )
            if token.text == "probability":
                of_score = at > 0 and self._tokens[at - 1].text in ("peak", "smoothed", "maximum")
                require(of_score, "it takes a score for the probability of a disease")
            if token.text in ("diagnosis", "diagnostic"):
                denied = any(t.text == "not" for t in self._tokens[max(0, at - 3) : at])
                require(denied, f"it speaks of {token.text}, which this software does not make")

    def _reviews(self, claimed: set[str]) -> None:
        about = self._binding.evidence() or set(self._facts.sightings)
        texts = [t.text for t in self._tokens]
        denied = any("not" in texts[max(0, i - 3) : i] for i, text in enumerate(texts) if text == "reviewed")
        claims: tuple[tuple[str, Callable[[Sighting], bool]], ...] = (
            ("confirmed", lambda s: s.review == "confirmed"),
            ("unreviewed", lambda s: s.review == "pending"),
            ("pending", lambda s: s.review == "pending"),
            ("reviewed", lambda s: (s.review == "pending") == denied),
            ("unreliable", lambda s: s.unreliable),
        )
        for word, holds in claims:
            if word in claimed:
                require(
                    bool(about) and all(holds(s) for s in about), f"{word!r} does not agree with the facts"
                )

    def _mentions(self) -> list[int]:
        """Places at which a class with sightings is named as present."""
        settled = self._binding.settled
        return [
            i
            for i, t in enumerate(self._tokens)
            if t.kind == "label"
            and i not in settled
            and any(s.label in t.labels for s in self._facts.sightings)
        ]

    def _links(self, claimed: set[str]) -> None:
        """Classes and ids may stand side by side, but nothing may be placed in, on or before another."""
        mentions = self._mentions()
        ids = {i: s for i, s in self._binding.ids.items() if self._tokens[i].kind != "label"}
        mixed = sorted(_ELSEWHERE & claimed)
        require(not (mixed and (mentions or ids)), f"nothing links a finding with {', '.join(mixed)}")
        for first, second in itertools.pairwise(mentions):
            if not set(self._tokens[first].labels) & set(self._tokens[second].labels):
                between = self._tokens[first + 1 : second]
                while between and (between[-1].text in _ARTICLES or between[-1].kind == "number"):
                    between = between[:-1]
                side_by_side = any(t.text in _JOINING for t in between) and between[-1].text not in _PLACING
                require(
                    side_by_side, f"nothing links {self._tokens[first].text} with {self._tokens[second].text}"
                )
        classes = {self._tokens[i].labels for i in mentions}
        for i in mentions:
            placed = [t.text for t in self._tokens[max(0, i - 2) : i] if t.text not in _ARTICLES][-1:]
            require(
                len(classes) < 2 or not set(placed) & _INSIDE,
                f"nothing links the rest with {self._tokens[i].text!r}",
            )
            require(self._is_such(i), f"{self._tokens[i].text!r} is named as what it is not")
        labels = {label for i in mentions for label in self._tokens[i].labels}
        for i, sighting in ids.items():
            require(
                not labels or sighting.label in labels,
                f"{sighting.kind} {self._tokens[i].text} is another class",
            )
        for i in mentions if ids else []:
            nearest = max((p for p in ids if p < i), default=min(ids))
            named = ids[nearest]
            require(
                named.label in self._tokens[i].labels,
                f"{named.kind} {named.id} is not {self._tokens[i].text}",
            )

    def _is_such(self, at: int) -> bool:
        """True unless "finding" or "landmark" is said of a class that is the other."""
        for i in range(at - 1, -1, -1):
            if self._tokens[i].text not in _EQUATING and self._tokens[i].kind != "number":
                named = self._tokens[i].kind == "word" and self._binding.count(i) is not None
                labels = self._tokens[at].labels
                return not named or any(s.label in labels for s in self._binding.pool(i))
        return True

    def _contexts(self, claimed: set[str]) -> None:
        contexts = self._figures.contexts
        spoken = any(
            t.kind == "label"
            and i not in self._binding.settled
            and all(term(x).role == "preparation" for x in t.labels)
            for i, t in enumerate(self._tokens)
        )
        if spoken or claimed & {"adequate", "inadequate"}:
            require("preparation" in contexts, "it judges the preparation without its share")
        if claimed & TURNS:
            require("turn" in contexts, "it speaks of insertion or withdrawal without the time")
        if self._mentions() and claimed & _EXTREMES - {"to", "from"}:
            figure = any(t.kind in ("time", "range", "percent") or "." in t.text[:-1] for t in self._tokens)
            require(figure or bool(self._binding.ids), "it claims an order or an extreme without the figure")

    def _quantity(self, at: int) -> bool:
        """True when `all`, `both`, `only`, `once`, `another` and the like agree with the facts."""
        word, tokens, binding = self._tokens[at].text, self._tokens, self._binding
        if word in ("once", "twice"):
            counts = [binding.count(i) for i, t in enumerate(tokens) if t.kind == "label"]
            return counts == [1 if word == "once" else 2]
        name = binding.next_name(at, 3)
        count = None if name is None else binding.count(name)
        if word == "only":
            return name is None or tokens[at + 1].kind == "number" or count == 1
        if word == "last":
            return name is None
        if word == "both":
            return count == 2
        if word in ("another", "additional", "other", "further"):
            return name in binding.settled or (count or 0) >= 2
        if any(t.text in ("frame", "frames") for t in tokens[at : at + 5]):
            around = (*tokens[at:], *reversed(tokens[:at]))
            verb = next((t.text for t in around if t.text in FRAME_VERBS), None)
            frames = self._facts.frames
            told = any(binding.count(i) for i in binding.segment(at))
            return verb is not None and not told and frames[FRAME_VERBS[verb]] == frames["captured"]
        # `_reviews` requires what is said of all of them.
        return name is not None and bool(
            {t.text for t in tokens} & words("reviewed confirmed pending unreviewed")
        )
