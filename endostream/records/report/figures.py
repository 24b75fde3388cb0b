"""Every number of a sentence held against the fact that it must be.

Owns what a number may stand for, judged from the words around it: a count, a time, a length, a share or a
score. Must not know words that are no figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from endostream.records.facts import Facts, Sighting
from endostream.records.report.binding import BREAKS, Binding, Unverified
from endostream.records.report.lexicon import LANDMARK_WORDS, REASONS, words
from endostream.records.report.tokens import Token

START = words("start starts started starting begin begins began beginning from onset opened appeared since")
END = words("end ends ended ending until till last closed to")
_PEAK = words("peak peaks peaked peaking surest maximum")
_LENGTH = words("for lasted lasting lasts duration length over spanned spanning long")
_WHOLE = words(
    "video examination exam recording record procedure footage material clip sequence total analysis"
)
_BLIND = REASONS | words("blind judged assessed evaluated")
_TURN = {"insertion": "insertion_time", "withdrawal": "withdrawal_time"}
_SCORE = words("peak confidence score scores confidences probability")
_STRETCHES = words("stretch stretches interval intervals period periods span spans")
FRAME_VERBS = {
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
Test = tuple[str, Callable[[Sighting], bool]]


class Figures:
    """The numbers of one sentence."""

    def __init__(self, facts: Facts, tokens: list[Token], binding: Binding) -> None:
        self.contexts: set[str] = set()
        """Which sorts of fact were used: `preparation`, `turn`, `blind`."""
        self._facts = facts
        self._tokens = tokens
        self._binding = binding
        self._words = {t.text for t in tokens}

    def check(self) -> None:
        """Return when every number is a fact; else raise `Unverified`."""
        checks = {"time": self._time, "range": self._time, "percent": self._percent, "number": self._number}
        # Positions first: figures before them in the sentence may belong to them.
        for at, token in enumerate(self._tokens):
            if token.kind == "ordinal" and not self._binding.ordinal(at):
                raise Unverified(f"{token.text!r} is not what the facts say")
        for at, token in enumerate(self._tokens):
            if token.kind in checks and at not in self._binding.ids and not checks[token.kind](at):
                raise Unverified(f"{token.text!r} is not what the facts say")

    def _segment(self, at: int) -> list[Token]:
        return [self._tokens[i] for i in self._binding.segment(at)]

    def _names_here(self, at: int) -> bool:
        """True when the same breath names a sighting that the facts hold."""
        places = self._binding.segment(at)
        return any(i in self._binding.ids or self._binding.count(i) for i in places)

    def _near(self, at: int, wanted: Iterable[str]) -> bool:
        """True when one of the words stands in the same breath; in the whole sentence when that names
        nothing.
        """
        wanted = frozenset(wanted)
        segment = self._segment(at)
        if any(t.text in wanted for t in segment):
            return True
        named = any(t.kind == "label" or t.text in _BLIND or t.text in _TURN for t in segment)
        return not named and bool(self._words & wanted)

    def _back(self, at: int, number: int = 4) -> list[str]:
        """The words just before `at`, nearest first, up to the last figure or break."""
        found: list[str] = []
        for token in reversed(self._tokens[max(0, at - number) : at]):
            if token.kind not in ("word", "ordinal") or token.text in BREAKS:
                break
            found.append(token.text)
        return found

    # Times

    def _time(self, at: int) -> bool:
        token, back = self._tokens[at], set(self._back(at))
        moment = bool(back & (START | END))
        if self._near(at, _BLIND) and not self._names_here(at):
            self.contexts.add("blind")
            return not moment and self._blind_time(at)
        if self._near(at, _TURN):
            return not moment and self._turn_time(at)
        if self._near(at, ("therapy",)) and not self._names_here(at):
            return not moment and token.kind == "time" and token.means(self._facts.therapy_s)
        whole = self._whole_words(at) and not self._names_here(at)
        if whole or self._of_everything(at) or self._near(at, ("frame", "frames")):
            return not back & START and self._whole(at)
        return self._binding.bind(at, *self._time_test(at))

    def _blind_time(self, at: int) -> bool:
        token, facts = self._tokens[at], self._facts
        if token.kind != "time":
            return False
        if not any(t.text in REASONS for t in self._segment(at)):
            return token.means(facts.blind_s) or (self._whole_words(at) and token.means(facts.duration_s))
        reasons = [i for i, t in enumerate(self._tokens) if t.text in REASONS]
        nearest = min(reasons, key=lambda i: (abs(i - at), i > at))
        return any(b.reason == self._tokens[nearest].text and token.means(b.seconds) for b in facts.blind)

    def _turn_time(self, at: int) -> bool:
        here = {t.text for t in self._segment(at)}
        here = here if here & set(_TURN) else self._words
        named = [name for word, name in _TURN.items() if word in here]
        if len(named) != 1 or not here & words("time duration length lasted"):
            return False
        effective = "effective" in here and named[0] == "withdrawal_time"
        name = f"effective_{named[0]}" if effective else named[0]
        figures = [q.value for q in self._facts.quality if q.name == name]
        self.contexts.add("turn")
        token = self._tokens[at]
        return token.kind == "time" and any(
            isinstance(v, float) and token.means(v, floor=True) for v in figures
        )

    def _whole_words(self, at: int) -> bool:
        return any(t.text in _WHOLE for t in self._tokens[max(0, at - 5) : at + 4])

    def _of_everything(self, at: int) -> bool:
        """True for `a video of 1 minute` and `1 minute of video`."""
        before = [t.text for t in self._tokens[max(0, at - 2) : at]]
        after = [t.text for t in self._tokens[at + 1 : at + 4]]
        return (before[1:] == ["of"] and before[0] in _WHOLE) or (
            after[:1] == ["of"] and bool(_WHOLE & set(after))
        )

    def _whole(self, at: int) -> bool:
        """True when it is the length of everything."""
        token, facts = self._tokens[at], self._facts
        if token.kind == "range":
            last = Token("time", "", token.until, step=token.step)
            return token.value == 0 and last.means(facts.duration_s, floor=True)
        return token.means(facts.duration_s, floor=True)

    def _time_test(self, at: int) -> Test:
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
            if word in START or word == "first":
                return "start", lambda s: token.means(s.start_s, floor=floor)
            if word in END:
                return "end", lambda s: token.means(s.end_s, floor=floor)
        if any(t.text == "long" for t in self._tokens[at + 1 : at + 2]):
            return "length", lambda s: token.means(s.length_s)
        return "time", lambda s: any(token.means(t, floor=floor) for t in (s.start_s, s.end_s, s.peak_s))

    # Shares and scores

    def _percent(self, at: int) -> bool:
        token, facts = self._tokens[at], self._facts
        if self._near(at, ("adequate", "inadequate", "preparation")):
            return self._preparation_share(at)
        if self._near(at, _SCORE):
            return self._score(at)
        if self._near(at, _BLIND):
            self.contexts.add("blind")
            alone = not any(t.text in REASONS for t in self._segment(at)) and not self._names_here(at)
            return alone and token.means(facts.blind_share * 100)
        verbs = self._words & set(FRAME_VERBS)
        if len(verbs) != 1 or not self._near(at, ("frame", "frames")) or self._names_here(at):
            return False
        part, whole = facts.frames[FRAME_VERBS[verbs.pop()]], facts.frames["captured"]
        return whole > 0 and token.means(100 * part / whole)

    def _preparation_share(self, at: int) -> bool:
        preparation = self._facts.preparation
        if preparation is None or not self._words & {"frame", "frames"} or self._names_here(at):
            return False
        self.contexts.add("preparation")
        share = 1 - preparation.share if self._near(at, ("inadequate",)) else preparation.share
        return self._tokens[at].means(share * 100)

    def _score(self, at: int) -> bool:
        """A score belongs to a sighting; one decimal must be exact, so that 0.96 is not called 1.0."""
        token = self._tokens[at]
        after = self._tokens[at + 1].text if at + 1 < len(self._tokens) else ""
        if not self._words & _SCORE or after == "of":
            return False
        scale, step = (100.0, 1.0) if token.kind == "percent" else (1.0, 0.01)

        def fits(sighting: Sighting) -> bool:
            fact = sighting.peak_confidence * scale
            return token.means(fact) if token.step <= step else abs(token.value - fact) < 1e-6

        return 0 <= token.value <= scale and self._binding.bind(at, "score", fits)

    # Counts

    def _number(self, at: int) -> bool:
        token, facts, binding = self._tokens[at], self._facts, self._binding
        if "." in token.text:
            return self._score(at)
        before = [t.text for t in self._tokens[max(0, at - 2) : at]]
        ahead = self._ahead(at)
        if self._near(at, ("adequate", "inadequate", "preparation")):
            return self._preparation_count(at)
        if before[1:] == ["of"] and self._tokens[at - 2].kind == "number":
            return bool(ahead & {"frame", "frames"}) and token.value == facts.frames["captured"]
        if ahead & {"frame", "frames"} or (ahead & set(FRAME_VERBS) and self._words & {"frame", "frames"}):
            return self._frames(at)
        name = binding.next_name(at, 4)
        if name is not None and not any(
            t.text in BREAKS or t.kind == "number" for t in self._tokens[at + 1 : name]
        ):
            return self._sightings(at, name)
        if ahead & _STRETCHES:
            reasons = REASONS & self._words
            return token.value == sum(b.spans for b in facts.blind if not reasons or b.reason in reasons)
        known = {
            "warning": len(facts.warnings),
            "warnings": len(facts.warnings),
            "still": sum(s.still is not None for s in facts.sightings),
            "stills": sum(s.still is not None for s in facts.sightings),
            "dropped": facts.frames["dropped"],
            "skipped": facts.frames["skipped"],
            "rejected": facts.rejected,
        }
        if ahead & set(known):
            return all(token.value == known[word] for word in ahead & set(known))
        counts = [binding.count(i) for i, t in enumerate(self._tokens) if t.kind == "label"]
        return "times" in ahead and counts == [int(token.value)]

    def _ahead(self, at: int) -> set[str]:
        """The words that follow in the same breath, up to the next figure; `of 1500` is passed over."""
        rest = self._tokens[at + 1 : at + 8]
        if len(rest) > 1 and rest[0].text == "of" and rest[1].kind == "number":
            rest = rest[2:]
        found: set[str] = set()
        for token in rest:
            if token.text in BREAKS or token.kind not in ("word", "label"):
                break
            found.add(token.text)
        return found

    def _preparation_count(self, at: int) -> bool:
        preparation, token = self._facts.preparation, self._tokens[at]
        if preparation is None or self._names_here(at):
            return False
        self.contexts.add("preparation")
        if at and self._tokens[at - 1].text in ("of", "the"):
            return token.value == preparation.judged
        inadequate = self._near(at, ("inadequate",))
        return token.value == (
            preparation.judged - preparation.adequate if inadequate else preparation.adequate
        )

    def _frames(self, at: int) -> bool:
        """A number of frames; never a number of frames in which something was seen."""
        token, frames = self._tokens[at], self._facts.frames
        if self._names_here(at):
            return False
        places = [i for i, t in enumerate(self._tokens) if t.text in FRAME_VERBS]
        if not places:
            told = any(self._binding.count(i) for i in range(len(self._tokens)))
            return not told and token.value == frames["analysed"] == frames["captured"]
        nearest = min(places, key=lambda i: (i < at, abs(i - at)))
        return token.value == frames[FRAME_VERBS[self._tokens[nearest].text]]

    def _sightings(self, at: int, name: int) -> bool:
        """A count of a class, of findings or of landmarks, perhaps of one state of review."""
        token, binding = self._tokens[at], self._binding
        if name in binding.settled:
            return token.value == 0
        found = binding.pool(name)
        after = {t.text for t in self._tokens[at:]}
        if "rejected" in after:
            generic = self._tokens[name].kind != "label" and self._tokens[name].text not in LANDMARK_WORDS
            return generic and token.value == self._facts.rejected
        wanted = {"confirmed": "confirmed", "pending": "pending", "unreviewed": "pending"}
        states = {wanted[word] for word in after & set(wanted)}
        if states:
            found = [s for s in found if s.review in states]
            binding.named |= set(found)
        # "one of the findings" counts nothing.
        one_of = token.value == 1 and self._tokens[at + 1].text == "of" and bool(found)
        return token.value == len(found) or one_of
