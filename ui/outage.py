"""A live picture that is lost or frozen: since when, why, and when that is over.

Owns which of several voices is believed: changes of the signal, the run's state, a picture that comes.
Must not know Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from endostream.types import Frame, SignalChange, State

from .ages import spoken_span


@dataclass(frozen=True, slots=True)
class Outage:
    """A picture that is not what it looks like."""

    kind: Literal["no-signal", "frozen"]
    """No picture comes, or the same one again and again."""
    reason: str
    """Why, as far as the source knows."""
    since: float
    """Monotonic clock in seconds of the last new picture."""
    time: float
    """Stream time in seconds of the last new picture."""

    def lasted(self, now: float) -> str:
        """How long it has lasted, for people; `now` is the monotonic clock."""
        return spoken_span(now - self.since)

    def words(self, now: float) -> str:
        """One line that says what is shown."""
        if self.kind == "frozen":
            return f"the picture has not changed for {self.lasted(now)}"
        return f"no signal for {self.lasted(now)}: this is the last picture"


class SignalWatch:
    """The outage of a live run, or None."""

    def __init__(self) -> None:
        self.outage: Outage | None = None
        self._noticed = 0.0

    def hear(self, change: SignalChange, newest: Frame | None, now: float) -> None:
        """Take a change of the signal in; `newest` is the newest picture, `now` the monotonic clock."""
        if change.state == "good":
            self.outage = None
        elif change.state == "frozen":
            lasted = 0.0 if newest is None else max(0.0, newest.time - change.time)
            self._begin(Outage("frozen", change.detail, now - lasted, change.time), now)
        else:
            since = now if newest is None else min(now, newest.captured)
            self._begin(Outage("no-signal", change.detail, since, change.time), now)

    def read(self, state: State, reason: str, newest: Frame | None, now: float) -> None:
        """Take in what the run says of itself at this moment."""
        if state not in ("no-signal", "frozen"):
            self.outage = None
        elif self.outage is None or self.outage.kind != state:
            word = "frozen" if state == "frozen" else "lost"
            time = newest.time if newest is not None else 0.0
            self.hear(SignalChange(word, time, 0.0, reason), newest, now)  # type: ignore[arg-type]
        elif reason and reason != self.outage.reason:
            self.outage = replace(self.outage, reason=reason)

    def see(self, frame: Frame) -> None:
        """A picture taken after the loss was noticed ends it, before anybody says so."""
        outage = self.outage
        if outage is not None and outage.kind == "no-signal" and frame.captured > self._noticed:
            self.outage = None

    def _begin(self, outage: Outage, now: float) -> None:
        before = self.outage
        if before is not None and before.kind == outage.kind:  # the same one: only more is known of it
            outage = replace(outage, since=min(outage.since, before.since))
        self.outage, self._noticed = outage, now
