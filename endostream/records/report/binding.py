"""Which finding or landmark a figure of a sentence belongs to.

Owns the step from names, ids and positions in a sentence to sightings. A figure that is right for one
sighting is wrong for another: times and scores told together must belong to the same one. Must not know what
kinds of figure there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from endostream.records.facts import Facts, Sighting
from endostream.records.report.lexicon import FINDING_WORDS, LANDMARK_WORDS, SEEN_WORDS, words
from endostream.records.report.tokens import Token

BREAKS = frozenset({",", ";", ":", "(", ")", ".", "and", "while", "but", "whereas"})
"""What ends a breath."""

_AFTER_POSITION = words("at from was is had with lasted began (")


class Unverified(Exception):
    """Why a sentence cannot be verified."""


@dataclass(slots=True)
class _Group:
    """Figures told together, which must belong to one sighting."""

    anchor: int
    """Position of the name they belong to."""
    candidates: list[Sighting]
    """Sightings that fit every figure so far."""
    used: set[str] = field(default_factory=set)
    """Kinds of figure so far."""


class Binding:
    """The names in one sentence, and the figures bound to them."""

    def __init__(self, facts: Facts, tokens: list[Token], settled: set[int]) -> None:
        """Read the ids and positions in `tokens`; places in `settled` were dealt with as absent."""
        self.facts = facts
        self.tokens = tokens
        self.settled = settled
        self.ids: dict[int, Sighting] = {}
        """Sightings named by id or by position, by the place of the token."""
        self.named: set[Sighting] = set()
        """Sightings meant by a counted state of review."""
        self._groups: list[_Group] = []
        for at, token in enumerate(tokens):
            if token.kind == "number":
                self._read_id(at)

    def count(self, at: int) -> int | None:
        """How many sightings of what is named at `at` there are; None when nothing is named there."""
        token, facts = self.tokens[at], self.facts
        if token.kind == "label":
            return sum(s.label in token.labels for s in facts.sightings)
        if token.text in FINDING_WORDS:
            return len(facts.findings)
        return len(facts.landmarks) if token.text in LANDMARK_WORDS else None

    def next_name(self, at: int, within: int) -> int | None:
        """The first place after `at`, at most `within` tokens on, at which something is named."""
        places = range(at + 1, min(at + 1 + within, len(self.tokens)))
        return next((i for i in places if self.count(i) is not None), None)

    def segment(self, at: int) -> range:
        """The places told in one breath with `at`."""
        low = high = at
        while low > 0 and self.tokens[low - 1].text not in BREAKS:
            low -= 1
        while high + 1 < len(self.tokens) and self.tokens[high + 1].text not in BREAKS:
            high += 1
        return range(low, high + 1)

    def pool(self, at: int) -> list[Sighting]:
        """The sightings that the name at `at` may mean."""
        token, everything = self.tokens[at], self.facts.sightings
        if token.kind == "label":
            return [s for s in everything if s.label in token.labels]
        return [s for s in everything if (s.kind == "landmark") == (token.text in LANDMARK_WORDS)]

    def evidence(self) -> set[Sighting]:
        """The sightings that the sentence speaks of."""
        bound = {s for group in self._groups for s in group.candidates} | set(self.ids.values()) | self.named
        pinned = {s.label for s in bound}
        for at, token in enumerate(self.tokens):
            if token.kind == "label" and at not in self.settled and not pinned & set(token.labels):
                bound |= {s for s in self.facts.sightings if s.label in token.labels}
        return bound

    def _read_id(self, at: int) -> None:
        """`finding 2`, `landmark 1`: remember which sighting is meant."""
        token, back = self.tokens[at], self.tokens[at - 1] if at else None
        if token.step != 1 or back is None or self.count(at - 1) is None:
            return
        fits = [s for s in self.pool(at - 1) if s.id == token.value]
        if len(fits) != 1:
            raise Unverified(f"{back.text} {token.text} is not in the facts")
        self.ids[at] = fits[0]

    def ordinal(self, at: int) -> bool:
        """True when the position named at `at` exists; what follows then belongs to it."""
        token = self.tokens[at]
        name = self.next_name(at, 2)
        after = self.tokens[at + 1].text if at + 1 < len(self.tokens) else ""
        if name is None and token.text == "first" and after in SEEN_WORDS:
            return True  # "first seen at ..."
        if name is None:
            # "two polyps: the first at ... and the second at ..."
            name = next((i for i in range(at - 1, -1, -1) if self.tokens[i].kind == "label"), None)
            place = at if after in _AFTER_POSITION else -1
        else:
            place = name
        if name is None or place < 0:
            return False
        pool = self.pool(name)
        if not 1 <= token.value <= len(pool):
            return False
        self.ids[place] = pool[int(token.value) - 1]
        return True

    def bind(self, at: int, kind: str, fits: Callable[[Sighting], bool]) -> bool:
        """True when the figure at `at` fits what was told with it, or begins another sighting of the same
        name.
        """
        anchor = self._anchor(at)
        if anchor is None:
            return False
        group = self._groups[-1] if self._groups and self._groups[-1].anchor == anchor else None
        if group is not None:
            both = [s for s in group.candidates if fits(s)]
            if both and kind not in group.used:
                group.candidates = both
                group.used.add(kind)
                return True
            if kind not in group.used and not (kind == "time" and "range" in group.used):
                return False
        told = [g.candidates[0] for g in self._groups if g.anchor == anchor and len(g.candidates) == 1]
        fresh = [s for s in self._meant(anchor) if fits(s) and s not in told]
        if fresh:
            self._groups.append(_Group(anchor, fresh, {kind}))
        return bool(fresh)

    def _anchor(self, at: int) -> int | None:
        """The name that a figure belongs to: the one before it, or after it when the sentence begins with
        figures.
        """
        names = [
            i
            for i in range(len(self.tokens))
            if i not in self.settled and (i in self.ids or self.count(i) is not None)
        ]
        if not names:
            return None
        figures = [
            i
            for i, t in enumerate(self.tokens)
            if t.kind in ("time", "range", "percent") or "." in t.text[:-1]
        ]
        before = [i for i in names if i < at]
        after = [i for i in names if i > at]
        if figures and figures[0] < names[0] and after:
            return after[0]
        return before[-1] if before else after[0]

    def _meant(self, anchor: int) -> list[Sighting]:
        if anchor in self.ids:
            return [self.ids[anchor]]
        pool = self.pool(anchor)
        # "finding 1 (polyps)": the id says which.
        pinned = [self.ids[i] for i in self.ids if i < anchor <= i + 3]
        return [s for s in pool if s in pinned] if pinned else pool
