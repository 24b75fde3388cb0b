"""Quality indicators of an examination, estimated from a session; never a guess.

Owns their definitions:

* blind time: stretches that could not be judged.
* insertion: from the first frame that could be judged to the first caecum or ileum landmark.
* withdrawal: from the end of the last caecum or ileum landmark to the last frame that could be judged.
* effective withdrawal: withdrawal without therapy and blind time.
* preparation: frames called adequate among the judged frames whose label speaks of preparation.
* photo documentation: the time of the still of each landmark that the pack knows and the exam may show.

Must not know how they are shown. Everything is marked estimated; what is missing is "not documented".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from endostream.records.session import Session
from endostream.types import BlindSpan, Finding
from endostream.vocabulary import in_context, term

NOT_DOCUMENTED = "not documented"
ADEQUATE = "bbps-2-3"
TURN = ("cecum", "ileum")
"""Landmarks at which insertion ends and withdrawal begins."""
THERAPY_GAP_S = 1.0
"""Sightings of therapy closer than this belong together."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Observed:
    """What one pass over the frames of a session yields."""

    first_judged: float | None
    """Stream time of the first frame that could be judged, in seconds."""
    last_judged: float | None
    """Stream time of the last one."""
    preparation: Mapping[str, int]
    """Judged frames per label that speaks of preparation."""
    therapy: tuple[Span, ...]
    """Stretches in which therapy was seen, in seconds."""
    therapy_labels: tuple[str, ...]
    """Which labels said so."""

    @property
    def prepared(self) -> int:
        """Judged frames whose label speaks of preparation."""
        return sum(self.preparation.values())

    @property
    def adequate(self) -> int:
        """Judged frames called adequately prepared."""
        return self.preparation.get(ADEQUATE, 0)


@dataclass(frozen=True, slots=True)
class Indicator:
    """One estimated figure."""

    name: str
    """What it is."""
    value: float | str
    """The figure, or `not documented`."""
    unit: str
    """`s` or `share`."""

    def to_dict(self) -> dict[str, object]:
        """As it stands in `findings.json`."""
        value = round(self.value, 6) if isinstance(self.value, float) else self.value
        return {"name": self.name, "value": value, "unit": self.unit, "estimated": True}


def observe(session: Session) -> Observed:
    """One pass over the frames: judged stretch, preparation and therapy."""
    first = last = None
    preparation: Counter[str] = Counter()
    therapy: list[Span] = []
    therapy_labels: set[str] = set()
    for frame in session.frames():
        if not frame.visible:
            continue
        first = frame.time if first is None else first
        last = frame.time
        role = term(frame.label).role if frame.label is not None else "background"
        if role == "preparation":
            preparation[frame.label or ""] += 1
        elif role == "therapy":
            therapy_labels.add(frame.label or "")
            joined = bool(therapy) and frame.time - therapy[-1][1] <= THERAPY_GAP_S
            start = therapy.pop()[0] if joined else frame.time
            therapy.append((start, frame.time))
    if session.info.source.independent:
        first = last = None
        therapy = []
    ordered = dict(sorted(preparation.items()))
    return Observed(first, last, ordered, tuple(therapy), tuple(sorted(therapy_labels)))


def total(spans: Iterable[Span], within: Span | None = None) -> float:
    """Seconds covered by `spans` (which may overlap), inside `within` when given."""
    low, high = within if within else (float("-inf"), float("inf"))
    covered, reached = 0.0, low
    for start, end in sorted(spans):
        start, end = max(start, reached), min(end, high)
        if end > start:
            covered += end - start
            reached = end
    return covered


def _turn(landmarks: tuple[Finding, ...]) -> Span | None:
    seen = [f for f in landmarks if f.label in TURN and f.review != "rejected"]
    if not seen:
        return None
    return min(f.start for f in seen), max(f.end if f.end is not None else f.peak.time for f in seen)


def _times(session: Session, seen: Observed) -> Iterable[Indicator]:
    turn = _turn(session.landmarks)
    insertion: float | str = NOT_DOCUMENTED
    withdrawal: float | str = NOT_DOCUMENTED
    effective: float | str = NOT_DOCUMENTED
    if turn and seen.first_judged is not None and seen.last_judged is not None:
        insertion = max(0.0, turn[0] - seen.first_judged)
        withdrawal = max(0.0, seen.last_judged - turn[1])
        lost = [*seen.therapy, *((b.start, b.end) for b in session.blind)]
        effective = max(0.0, withdrawal - total(lost, (turn[1], seen.last_judged)))
    yield Indicator("insertion_time", insertion, "s")
    yield Indicator("withdrawal_time", withdrawal, "s")
    yield Indicator("effective_withdrawal_time", effective, "s")


def _documented(session: Session) -> Iterable[Indicator]:
    for label in session.info.labels:
        if term(label).role == "landmark" and in_context(label, session.info.exam):
            stills = [
                f.peak.time
                for f in session.landmarks
                if f.label == label and f.still and f.review != "rejected"
            ]
            yield Indicator(f"still_of_{label}", min(stills) if stills else NOT_DOCUMENTED, "s")


def indicators(session: Session, seen: Observed | None = None) -> tuple[Indicator, ...]:
    """Every indicator that makes sense for this exam; pass `seen` when it was computed already."""
    seen = observe(session) if seen is None else seen
    found: list[Indicator] = []
    if session.info.exam in ("lower", "any"):
        found += _times(session, seen)
    found += _documented(session)
    share = seen.adequate / seen.prepared if seen.prepared else NOT_DOCUMENTED
    found.append(Indicator("adequate_preparation_share", share, "share"))
    found.append(Indicator("blind_time", blind_time(session.blind), "s"))
    return tuple(found)


def blind_time(spans: tuple[BlindSpan, ...]) -> float:
    """Seconds that could not be judged."""
    return float(total((b.start, b.end) for b in spans))


def quality_indicators(session: Session) -> list[dict[str, object]]:
    """Every indicator as plain values, in a fixed order."""
    return [indicator.to_dict() for indicator in indicators(session)]
