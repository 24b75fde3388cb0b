"""Every number of a sentence bound to the fact it must be.

Owns what a number may stand for, judged from the words around it: a count, a time, a length, a share, a score or an
id. A number that is right for one sighting is wrong for another: times and scores that are told together must belong
to the same one. Must not know words that are no figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from endostream.records.facts import Facts, Sighting
from endostream.records.report.lexicon import FINDING_WORDS, LANDMARK_WORDS, REASONS, words
from endostream.records.report.tokens import Token

_BREAKS = frozenset({",", ";", ":", "(", ")", ".", "and", "while", "but", "whereas"})
_START = words("start starts started begin begins began beginning from onset opened appeared since first")
_END = words("end ends ended ending until till last closed to")
_PEAK = words("peak peaks peaked peaking surest maximum maximal highest max")
_LENGTH = words("for lasted lasting lasts duration length over spanned spanning long")
_WHOLE = words(
    "video examination exam recording record procedure session footage material clip run sequence stream total"
)
_BLIND = REASONS | {"blind", "judged", "assessed", "evaluated", "visible"}
_TURN = {"insertion": "insertion_time", "withdrawal": "withdrawal_time"}
_FRAME_VERBS = {
    "captured": "captured",
    "delivered": "captured",
    "analysed": "analysed",
    "analyzed": "analysed",
    "processed": "analysed",
    "evaluated": "analysed",
    "dropped": "dropped",
    "skipped": "skipped",
    "pending": "pending",
}
_SCORE = words("confidence score probability")


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


class Figures:
    """The numbers of one sentence."""

    def __init__(self, facts: Facts, tokens: list[Token], settled: set[int]) -> None:
        """Take the tokens of a sentence; positions in `settled` were dealt with as absent."""
        self.contexts: set[str] = set()
        """Which sorts of fact were used: `preparation`, `turn`, `blind`, ..."""
        self._facts = facts
        self._tokens = tokens
        self._settled = settled
        self._groups: list[_Group] = []
        self._named: set[Sighting] = set()
        self._ids: dict[int, Sighting] = {}

    def check(self) -> None:
        """Return when every number is a fact; else raise `Unverified`."""
        for at, token in enumerate(self._tokens):
            if token.kind == "number":
                self._find_id(at)
        for at, token in enumerate(self._tokens):
            if token.kind in ("time", "range"):
                self._require(self._time(at), at)
            elif token.kind == "percent":
                self._require(self._percent(at), at)
            elif token.kind == "number" and at not in self._ids:
                self._require(self._number(at), at)
            elif token.kind == "ordinal":
                self._require(self._ordinal(at), at)

    def evidence(self) -> set[Sighting]:
        """The sightings that the sentence speaks of."""
        bound = (
            {s for group in self._groups for s in group.candidates} | set(self._ids.values()) | self._named
        )
        pinned = {s.label for s in bound}
        for at, token in enumerate(self._tokens):
            if token.kind == "label" and at not in self._settled and not pinned & set(token.labels):
                bound |= {s for s in self._facts.sightings if s.label in token.labels}
        return bound

    def quantity(self, word: str) -> bool:
        """True when `all`, `each`, `every`, `both`, `only`, `once` or `twice` agrees with the facts."""
        at = next(i for i, t in enumerate(self._tokens) if t.text == word)
        if word in ("once", "twice"):
            counts = [self._count(i) for i, t in enumerate(self._tokens) if t.kind == "label"]
            return counts == [1 if word == "once" else 2]
        noun = next(
            (i for i in range(at + 1, min(at + 4, len(self._tokens))) if self._count(i) is not None), None
        )
        if word == "only":
            return noun is None or self._tokens[at + 1].kind == "number" or self._count(noun) == 1
        if word == "both":
            return noun is not None and self._count(noun) == 2
        if any(t.text in ("frame", "frames") for t in self._tokens[at : at + 5]):
            verbs = {t.text for t in self._tokens} & set(_FRAME_VERBS)
            frames = self._facts.frames
            return len(verbs) == 1 and all(frames[_FRAME_VERBS[v]] == frames["captured"] for v in verbs)
        # `_review_claims` requires what is said of all of them.
        words = {t.text for t in self._tokens}
        return noun is not None and bool(words & {"reviewed", "confirmed", "pending", "unreviewed"})

    def _require(self, holds: bool, at: int) -> None:
        if not holds:
            raise Unverified(f"{self._tokens[at].text!r} is not what the facts say")

    def _count(self, at: int) -> int | None:
        """How many of what is named at `at` there are."""
        token, facts = self._tokens[at], self._facts
        if token.kind == "label":
            return sum(s.label in token.labels for s in facts.sightings)
        if token.text in FINDING_WORDS:
            return len(facts.findings)
        return len(facts.landmarks) if token.text in LANDMARK_WORDS else None

    def _segment(self, at: int) -> list[int]:
        """Positions told in one breath with `at`."""
        low = at
        while low > 0 and self._tokens[low - 1].text not in _BREAKS:
            low -= 1
        high = at
        while high + 1 < len(self._tokens) and self._tokens[high + 1].text not in _BREAKS:
            high += 1
        return list(range(low, high + 1))

    def _near(self, at: int, words: Iterable[str]) -> bool:
        """True when one of `words` stands in the same breath; in the whole sentence when that names nothing."""
        wanted = frozenset(words)
        segment = self._segment(at)
        if any(self._tokens[i].text in wanted for i in segment):
            return True
        named = any(
            self._tokens[i].kind == "label" or self._tokens[i].text in _BLIND | set(_TURN) for i in segment
        )
        return not named and any(t.text in wanted for t in self._tokens)

    def _back(self, at: int, number: int = 4) -> list[str]:
        """The words just before `at`, nearest first, up to the last figure or break."""
        words: list[str] = []
        for token in reversed(self._tokens[max(0, at - number) : at]):
            if token.kind not in ("word", "ordinal") or token.text in _BREAKS - {"and"}:
                break
            words.append(token.text)
        return words

    # Times

    def _time(self, at: int) -> bool:
        token = self._tokens[at]
        if self._near(at, _BLIND) and self._blind_time(at):
            self.contexts.add("blind")
            return True
        if self._near(at, _TURN):
            return self._turn_time(at)
        if self._near(at, ("therapy",)) and token.kind == "time":
            return token.means(self._facts.therapy_s)
        if self._whole(at):
            return True
        return self._sighting_figure(at, self._time_test(at))

    def _blind_time(self, at: int) -> bool:
        token, facts = self._tokens[at], self._facts
        reasons = [i for i, t in enumerate(self._tokens) if t.text in REASONS]
        if token.kind != "time":
            return False
        if not reasons or not self._near_reason(at):
            return token.means(facts.blind_s) or (self._whole_words(at) and token.means(facts.duration_s))
        nearest = min(reasons, key=lambda i: (abs(i - at), i > at))
        return any(b.reason == self._tokens[nearest].text and token.means(b.seconds) for b in facts.blind)

    def _near_reason(self, at: int) -> bool:
        return any(self._tokens[i].text in REASONS for i in self._segment(at))

    def _turn_time(self, at: int) -> bool:
        words = {self._tokens[i].text for i in self._segment(at)}
        words = words if words & set(_TURN) else {t.text for t in self._tokens}
        named = [name for word, name in _TURN.items() if word in words]
        if len(named) != 1:
            return False
        name = f"effective_{named[0]}" if "effective" in words and named[0] == "withdrawal_time" else named[0]
        figures = [q.value for q in self._facts.quality if q.name == name]
        self.contexts.add("turn")
        token = self._tokens[at]
        return token.kind == "time" and any(
            isinstance(v, float) and token.means(v, floor=True) for v in figures
        )

    def _whole_words(self, at: int) -> bool:
        nearby = {t.text for t in self._tokens[max(0, at - 5) : at + 4]}
        return bool(nearby & _WHOLE)

    def _whole(self, at: int) -> bool:
        """True when it is the length of everything."""
        token, facts = self._tokens[at], self._facts
        label_here = any(self._tokens[i].kind == "label" for i in self._segment(at))
        if label_here or not (self._whole_words(at) or self._near(at, ("frame", "frames"))):
            return False
        if token.kind == "range":
            return token.value == 0 and Token("time", "", token.until, step=token.step).means(
                facts.duration_s
            )
        return token.means(facts.duration_s, floor=True)

    def _time_test(self, at: int) -> tuple[str, Callable[[Sighting], bool]]:
        token = self._tokens[at]
        floor = ":" in token.text
        if token.kind == "range":
            last = Token("time", "", token.until, step=token.step)
            return "range", lambda s: token.means(s.start_s, floor=floor) and last.means(s.end_s, floor=floor)
        for word in self._back(at):
            if word in _PEAK:
                return "peak", lambda s: token.means(s.peak_s, floor=floor)
            if word in _LENGTH:
                return "length", lambda s: token.means(s.length_s)
            if word in _START:
                return "start", lambda s: token.means(s.start_s, floor=floor)
            if word in _END:
                return "end", lambda s: token.means(s.end_s, floor=floor)
        if any(t.text == "long" for t in self._tokens[at + 1 : at + 2]):
            return "length", lambda s: token.means(s.length_s)
        return "time", lambda s: any(token.means(t, floor=floor) for t in (s.start_s, s.end_s, s.peak_s))

    # Shares and scores

    def _percent(self, at: int) -> bool:
        token, facts = self._tokens[at], self._facts
        if self._near(at, ("adequate", "inadequate")) or self._near(at, ("preparation",)):
            self.contexts.add("preparation")
            share = facts.preparation.share if facts.preparation else None
            if share is not None and self._near(at, ("inadequate",)):
                share = 1 - share
            return share is not None and token.means(share * 100)
        if self._near(at, _SCORE):
            return self._sighting_figure(at, self._score_test(token))
        if self._near(at, _BLIND):
            self.contexts.add("blind")
            return not self._near_reason(at) and token.means(facts.blind_share * 100)
        if self._near(at, ("frame", "frames")) and facts.frames["captured"]:
            verbs = {self._tokens[i].text for i in range(len(self._tokens))} & set(_FRAME_VERBS)
            return len(verbs) == 1 and all(
                token.means(100 * facts.frames[_FRAME_VERBS[v]] / facts.frames["captured"]) for v in verbs
            )
        return self._sighting_figure(at, self._score_test(token))

    @staticmethod
    def _score_test(token: Token) -> tuple[str, Callable[[Sighting], bool]]:
        scale = 100 if token.kind == "percent" else 1
        return "score", lambda s: token.means(s.peak_confidence * scale)

    # Counts, ids and positions

    def _find_id(self, at: int) -> None:
        """`finding 2`, `landmark #1`: remember which sighting is meant."""
        token, back = self._tokens[at], self._tokens[at - 1] if at else None
        if (
            token.step != 1
            or back is None
            or not (back.text in FINDING_WORDS | LANDMARK_WORDS or back.kind == "label")
        ):
            return
        kind = "landmark" if back.text in LANDMARK_WORDS else "finding"
        fits = [s for s in self._facts.sightings if s.id == token.value]
        if back.kind == "label":
            fits = [s for s in fits if s.label in back.labels]
        else:
            fits = [s for s in fits if s.kind == kind]
        if len(fits) != 1:
            raise Unverified(f"{back.text} {token.text} is not in the facts")
        self._ids[at] = fits[0]

    def _number(self, at: int) -> bool:
        token, facts = self._tokens[at], self._facts
        if "." in token.text:
            return 0 <= token.value <= 1 and self._sighting_figure(at, self._score_test(token))
        texts = [t.text for t in self._tokens]
        ahead = self._ahead(at)
        if self._near(at, ("adequate", "inadequate", "preparation")) and facts.preparation:
            return self._preparation_count(at)
        if at and texts[at - 1] == "of" and at > 1 and self._tokens[at - 2].kind == "number":
            return bool(ahead & {"frame", "frames"}) and token.value == facts.frames["captured"]
        if ahead & {"frame", "frames"}:
            return self._frames(at)
        noun = next((i for i in range(at + 1, min(at + 5, len(texts))) if self._count(i) is not None), None)
        if noun is not None and not self._breaks(at, noun):
            return self._sightings(at, noun)
        if texts[at + 1 : at + 2] == ["of"]:
            return token.value == 1 and any(
                t.kind == "label" or t.text in FINDING_WORDS for t in self._tokens[at + 1 : at + 5]
            )
        if ahead & {"stretch", "stretches", "interval", "intervals", "period", "periods", "span", "spans"}:
            reasons = {r for r in REASONS if r in texts}
            return token.value == sum(b.spans for b in facts.blind if not reasons or b.reason in reasons)
        if ahead & {"warning", "warnings"}:
            return token.value == len(facts.warnings)
        if ahead & {"still", "stills"}:
            return token.value == sum(s.still is not None for s in facts.sightings)
        if ahead & {"times", "time"}:
            counts = [self._count(i) for i, t in enumerate(self._tokens) if t.kind == "label"]
            return counts == [int(token.value)]
        if ahead & {"dropped", "skipped", "rejected"}:
            return self._of_kind(token, ahead)
        return False

    def _of_kind(self, token: Token, ahead: set[str]) -> bool:
        facts = self._facts
        known = {
            "dropped": facts.frames["dropped"],
            "skipped": facts.frames["skipped"],
            "rejected": facts.rejected,
        }
        return all(token.value == known[word] for word in ahead & set(known))

    def _breaks(self, at: int, noun: int) -> bool:
        return any(t.text in _BREAKS or t.kind == "number" for t in self._tokens[at + 1 : noun])

    def _ahead(self, at: int) -> set[str]:
        words: set[str] = set()
        for i, token in enumerate(self._tokens[at + 1 : at + 7]):
            if token.text in _BREAKS and i < 6:
                break
            words.add(token.text)
        return words

    def _preparation_count(self, at: int) -> bool:
        preparation = self._facts.preparation
        token = self._tokens[at]
        if preparation is None:
            return False
        self.contexts.add("preparation")
        after_of = at > 1 and self._tokens[at - 1].text in ("of", "the")
        if after_of:
            return token.value == preparation.judged
        inadequate = self._near(at, ("inadequate",))
        return token.value == (
            preparation.judged - preparation.adequate if inadequate else preparation.adequate
        )

    def _frames(self, at: int) -> bool:
        token, frames = self._tokens[at], self._facts.frames
        places = [i for i, t in enumerate(self._tokens) if t.text in _FRAME_VERBS]
        if not places:
            return token.value == frames["analysed"] == frames["captured"]
        nearest = min(places, key=lambda i: (i < at, abs(i - at)))
        return token.value == frames[_FRAME_VERBS[self._tokens[nearest].text]]

    def _sightings(self, at: int, noun: int) -> bool:
        """A count of a class, of findings or of landmarks, perhaps of one state of review."""
        token = self._tokens[at]
        if noun in self._settled:
            return token.value == 0
        named = self._tokens[noun]
        found = [
            s
            for s in self._facts.sightings
            if (
                s.label in named.labels
                if named.kind == "label"
                else (s.kind == "landmark") == (named.text in LANDMARK_WORDS)
            )
        ]
        words = {t.text for t in self._tokens[at:]} - {"more"}
        if "rejected" in words:
            return named.kind != "label" and token.value == self._facts.rejected
        wanted = {"confirmed": "confirmed", "pending": "pending", "unreviewed": "pending"}
        states = {wanted[w] for w in words & set(wanted)}
        if states:
            found = [s for s in found if s.review in states]
            self._named |= set(found)
        # "one of the findings" counts nothing.
        return token.value == len(found) or (
            token.value == 1 and self._tokens[at + 1].text == "of" and bool(found)
        )

    def _ordinal(self, at: int) -> bool:
        token = self._tokens[at]
        noun = next(
            (i for i in range(at + 1, min(at + 3, len(self._tokens))) if self._count(i) is not None), None
        )
        if noun is None:
            return token.text == "first"  # "first seen at ..."
        named = self._tokens[noun]
        pool = self._facts.landmarks if named.text in LANDMARK_WORDS else self._facts.findings
        if named.kind == "label":
            pool = tuple(s for s in self._facts.sightings if s.label in named.labels)
        if not 1 <= token.value <= len(pool):
            return False
        self._ids[noun] = pool[int(token.value) - 1]
        return True

    # Which sighting

    def _anchor(self, at: int) -> int:
        """The name that a figure belongs to: the one before it, or after it when the sentence begins with figures."""
        names = [
            i
            for i, t in enumerate(self._tokens)
            if i not in self._settled
            and (t.kind == "label" or i in self._ids or t.text in FINDING_WORDS | LANDMARK_WORDS)
        ]
        figures = [
            i
            for i, t in enumerate(self._tokens)
            if t.kind in ("time", "range", "percent") or "." in t.text[:-1]
        ]
        # An id says more than the name before it, and the class in "finding 1 (polyps)" must agree with it.
        before = [i for i in names if i < at]
        after = [i for i in names if i > at]
        if names and figures and figures[0] < names[0]:
            return after[0] if after else before[-1]
        return before[-1] if before else (after[0] if after else -1)

    def _pool(self, anchor: int) -> list[Sighting]:
        everything = list(self._facts.sightings)
        if anchor < 0:
            return everything
        if anchor in self._ids:
            return [self._ids[anchor]]
        token = self._tokens[anchor]
        if token.kind == "label":
            pool = [s for s in everything if s.label in token.labels]
            pinned = [self._ids[i] for i in self._ids if i < anchor and anchor - i <= 3]
            return [s for s in pool if s in pinned] if pinned else pool
        return [s for s in everything if (s.kind == "landmark") == (token.text in LANDMARK_WORDS)]

    def _sighting_figure(self, at: int, test: tuple[str, Callable[[Sighting], bool]]) -> bool:
        """Bind a figure: it must fit what was told with it, or begin another sighting of the same name."""
        kind, fits = test
        anchor = self._anchor(at)
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
        fresh = [s for s in self._pool(anchor) if fits(s) and s not in told]
        if not fresh:
            return False
        self._groups.append(_Group(anchor, fresh, {kind}))
        return True
