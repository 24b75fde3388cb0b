"""The indicator: which one word says how things are, decided in one place.

Owns the states, their words, colours and shapes. Must not know Qt or where the facts come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from endostream.types import State

from .ages import GONE, STALE, spoken_age
from .samples import Sample


class Kind(Enum):
    """The states of the indicator."""

    READY = "ready"
    STARTING = "starting"
    ANALYSING = "analysing"
    FINDING = "finding"
    BLIND = "blind"
    DELAYED = "delayed"
    NO_SIGNAL = "no-signal"
    FROZEN = "frozen"
    PAUSED = "paused"
    REPLAY = "replay"
    FINISHING = "finishing"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Look:
    """How a state looks: never colour alone."""

    word: str
    """What it is called."""
    role: str
    """The palette's colour."""
    shape: str
    """The outline of `icons`."""


LOOKS: dict[Kind, Look] = {
    Kind.READY: Look("READY", "secondary", "open-dot"),
    Kind.STARTING: Look("STARTING", "text", "spinner"),
    Kind.ANALYSING: Look("ANALYSING", "running", "dot"),
    Kind.FINDING: Look("FINDING", "finding", "triangle"),
    Kind.BLIND: Look("BLIND", "secondary", "hatched"),
    Kind.DELAYED: Look("DELAYED", "text", "clock"),
    Kind.NO_SIGNAL: Look("NO SIGNAL", "failure", "no-signal"),
    Kind.FROZEN: Look("FROZEN", "text", "frozen"),
    Kind.PAUSED: Look("PAUSED", "text", "pause"),
    Kind.REPLAY: Look("REPLAY", "text", "replay"),
    Kind.FINISHING: Look("FINISHING", "secondary", "spinner"),
    Kind.FINISHED: Look("FINISHED", "secondary", "check"),
    Kind.FAILED: Look("FAILED", "failure", "failed"),
}

CHECK = "check the cable and the tower's output"

REASONS: dict[str, str] = {
    "outside": "outside the body",
    "dark": "too dark",
    "overexposed": "too bright",
    "blurred": "blurred",
    "covered": "view covered",
    "flush": "flushing",
    "no-signal": "no signal",
    "frozen": "picture frozen",
}
"""The reasons of `Analysis.reason`, for people."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """What the status strip shows."""

    kind: Kind
    """The state."""
    detail: str = ""
    """What it is doing, why, or what to do."""

    @property
    def look(self) -> Look:
        """Word, colour and shape."""
        return LOOKS[self.kind]


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """The facts from which the indicator is decided."""

    state: State = "idle"
    """The pipeline's own state."""
    failure: str | None = None
    """The first error and what to do."""
    doing: str = ""
    """What the start is busy with."""
    sample: Sample | None = None
    """The newest sample of this epoch."""
    age: float | None = None
    """Seconds between the picture shown and its analysis."""
    open_labels: tuple[str, ...] = ()
    """Labels of the findings that are open now."""
    replaying: bool = False
    """True when this stretch was analysed before."""
    outage: str = ""
    """What is known of a lost or frozen picture."""
    waited: float = 0.0
    """Seconds for which a live source has sent no picture; 0 while they come."""
    lag: float = 0.0
    """Seconds by which live pictures come later than they could."""
    synced: bool = False
    """True when the picture shown is the analysed one, so that it is the picture that is behind."""


def reason_for_people(reason: str | None) -> str:
    """The reason of blindness in words."""
    return REASONS.get(reason or "", reason or "cannot be judged")


def indicate(now: Situation) -> Indicator:
    """The one state that describes the situation; graver facts win."""
    if now.failure is not None:
        return Indicator(Kind.FAILED, now.failure)
    fixed = {
        "idle": Indicator(Kind.READY, "choose a source"),
        "starting": Indicator(Kind.STARTING, now.doing),
        "no-signal": Indicator(Kind.NO_SIGNAL, f"not analysed: {now.outage or CHECK}"),
        "frozen": Indicator(Kind.FROZEN, now.outage or "the picture does not change"),
        "paused": Indicator(Kind.PAUSED, "Space plays on"),
        "finishing": Indicator(Kind.FINISHING, "writing the session"),
        "finished": Indicator(Kind.FINISHED, ""),
    }
    if now.state in fixed:
        return fixed[now.state]
    if now.sample is None or now.age is None:
        return Indicator(Kind.STARTING, "waiting for the first analysis")
    if now.waited > STALE:
        return Indicator(Kind.DELAYED, f"no new picture for {spoken_age(now.waited)}")
    if now.lag > STALE:
        return Indicator(
            Kind.DELAYED, f"the picture comes {spoken_age(now.lag)} late: the connection is slow"
        )
    if now.synced and now.age > GONE:
        return Indicator(Kind.DELAYED, f"the picture is {spoken_age(now.age)} behind")
    if now.age > STALE and not now.synced:
        return Indicator(Kind.DELAYED, f"analysis is {spoken_age(now.age)} behind the picture")
    if not now.sample.visible:
        return Indicator(Kind.BLIND, reason_for_people(now.sample.reason))
    seen = ", ".join(dict.fromkeys(now.open_labels))
    if now.replaying:
        return Indicator(Kind.REPLAY, f"seen before: {seen}" if seen else "this stretch was analysed before")
    if seen:
        return Indicator(Kind.FINDING, seen)
    return Indicator(Kind.ANALYSING, "no finding")
