"""Playing a recorded source at its own pace: when is a frame due?

Owns the clock of playback (speed, pause). Must not know what frames show or who looks at them.
"""

from __future__ import annotations

import threading
import time

from endostream.capture.around import SourceAround
from endostream.capture.source import Source
from endostream.types import Frame

SLOWEST, FASTEST = 0.25, 4.0
SLACK = 0.1
"""Seconds of delay that playback makes up for; a longer stall moves the whole rest back instead."""


class Pacer:
    """Makes a thread wait until a frame is due.

    The due time is always worked out from one anchor, so that rounding never adds up to a drift. The
    first frame of an epoch is due at once, also while paused: after a seek the new place is seen.

    Parameters
    ----------
    speed : float
        1 is real time; 0.25 to 4.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._changed = threading.Condition()
        self._speed = _checked(speed)
        self._paused = False
        self._closed = False
        self._turn = 0
        self._epoch: int | None = None
        self._anchor_time = 0.0
        self._anchor_clock = 0.0

    @property
    def speed(self) -> float:
        """Stream seconds per second."""
        return self._speed

    @property
    def paused(self) -> bool:
        """True while nothing is due."""
        return self._paused

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def set_speed(self, speed: float) -> None:
        """Play at this speed from now on (0.25 to 4; ValueError otherwise)."""
        speed = _checked(speed)
        with self._changed:
            now = time.monotonic()
            if self._epoch is not None and not self._paused:
                self._anchor_time += (now - self._anchor_clock) * self._speed
                self._anchor_clock = now
            self._speed = speed
            self._changed.notify_all()

    def pause(self) -> None:
        """Let nothing be due until `resume`."""
        with self._changed:
            if not self._paused:
                now = time.monotonic()
                self._anchor_time += (now - self._anchor_clock) * self._speed
                self._anchor_clock = now
                self._paused = True
                self._changed.notify_all()

    def resume(self) -> None:
        """Go on from where `pause` stopped."""
        with self._changed:
            if self._paused:
                self._anchor_clock = time.monotonic()
                self._paused = False
                self._changed.notify_all()

    def interrupt(self) -> None:
        """Make a `wait` in progress return False (for a seek: its frame is no longer wanted)."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Make every `wait`, now and later, return False."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def turn(self) -> int:
        """Counts interruptions: taken before a frame is read, it lets `wait` see one that came meanwhile."""
        return self._turn

    def wait(self, frame: Frame, turn: int | None = None) -> bool:
        """Wait until `frame` is due; False when it is not wanted any more (`interrupt`, `close`).

        With `turn`, an interruption since then counts too.
        """
        with self._changed:
            if self._closed or (turn is not None and turn != self._turn):
                return False
            if self._epoch != frame.epoch:
                self._epoch = frame.epoch
                self._anchor_time, self._anchor_clock = frame.time, time.monotonic()
                return True
            turn = self._turn
            while not self._closed and self._turn == turn:
                remaining = None if self._paused else self._remaining(frame)
                if remaining is not None and remaining <= 0:
                    if -remaining > SLACK:
                        self._anchor_clock -= remaining + SLACK
                    return True
                self._changed.wait(remaining)
            return False

    def _remaining(self, frame: Frame) -> float:
        due = self._anchor_clock + (frame.time - self._anchor_time) / self._speed
        return due - time.monotonic()


def _checked(speed: float) -> float:
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"speed {speed} is not between {SLOWEST} and {FASTEST}")
    return float(speed)


class PacedSource(SourceAround):
    """A recorded source whose `read` gives every frame when it is due (see `Pacer`)."""

    def __init__(self, source: Source, pacer: Pacer | None = None) -> None:
        super().__init__(source)
        self.pacer = pacer or Pacer()
        """Its clock: speed and pause."""

    def read(self) -> Frame | None:
        """The next frame, when it is due; None at the end and after `cancel`."""
        frame = self.source.read()
        if frame is None:
            return None
        # Interrupted, but not closed: the caller gets its thread back, with the frame a little early.
        return frame if self.pacer.wait(frame) or not self.pacer.closed else None

    def seek(self, time: float) -> None:
        """Make the next frame the first one at or after `time`; it is due at once."""
        self.source.seek(time)

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        self.pacer.close()
        self.source.cancel()

    def close(self) -> None:
        """Give everything back; may be called again."""
        self.pacer.close()
        self.source.close()


def paced(source: Source, pacer: Pacer | None = None) -> Source:
    """The source at its own pace; a live source has one already and comes back as it is."""
    return source if source.info.live else PacedSource(source, pacer)
