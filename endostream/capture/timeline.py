"""Stream time: from the time stamps of a container to seconds that start at 0 and only rise.

Owns the repair of time stamps that are missing, doubled or jump back. Must not know where they come from.
"""

from __future__ import annotations

from fractions import Fraction

STEP_BACK = 0.5
"""A time stamp this far (seconds) before the last one starts a new stretch that is joined on."""
TICK = 1e-6
"""Smallest distance (seconds) between two frames."""


class Timeline:
    """Turns time stamps into seconds: start offset removed, gaps kept, always rising.

    Parameters
    ----------
    interval : float
        Seconds between frames on average, used where a frame has no time stamp.
    jump : float or None
        For live streams: a step forward longer than this (seconds) is a break too. None keeps every gap.
    """

    def __init__(self, interval: float, jump: float | None = None) -> None:
        self.interval = interval
        self.repaired = 0
        """Frames whose time stamp was missing, doubled or ran backwards."""
        self.breaks = 0
        """Stretches that were joined on."""
        self.stamped = False
        """True when one offset turns every stamp into time, so that a stamp can be looked for."""
        self._jump = jump
        self._offset: float | None = None
        self._last: float | None = None

    def place(self, stamp: int | None, time_base: Fraction, pause: float | None = None) -> float:
        """Seconds of the frame with this time stamp; `pause` is what a break in the stream is worth."""
        last = self._last
        if stamp is None:
            self.repaired += last is not None
            seconds = 0.0 if last is None else last + self.interval
        else:
            raw = float(stamp * time_base)
            if self._offset is None:
                self._offset = raw - (0.0 if last is None else last + self.interval)
                self.stamped = last is None
            seconds = raw - self._offset
            if last is not None and self._broken(seconds - last):
                self.repaired += 1
                self.breaks += 1
                self.stamped = False
                self._offset += seconds - (last + (self.interval if pause is None else pause))
                seconds = raw - self._offset
        if last is not None and seconds <= last:
            self.repaired += 1
            seconds = last + min(self.interval / 2, TICK * 1000)
        self._last = seconds
        return seconds

    def _broken(self, step: float) -> bool:
        return step < -STEP_BACK or (self._jump is not None and step > self._jump)

    def stamp_at(self, seconds: float, time_base: Fraction) -> int:
        """The time stamp of stream time `seconds`, rounded down."""
        return int((seconds + (self._offset or 0.0)) / float(time_base))

    @property
    def offset(self) -> float:
        """Seconds that the first time stamp stands for."""
        return self._offset or 0.0

    def forget(self) -> None:
        """After a seek: the next frame may lie anywhere."""
        self._last = None

    def rejoin(self, seconds: float) -> None:
        """After a reconnect: the next frame is at `seconds` (or just after the last one)."""
        self._offset = None
        last = -self.interval if self._last is None else self._last
        self._last = max(last, seconds - self.interval)
