"""What a sender has sent and when.

Owns the log that latencies are measured against; read from any thread. Must not know clips or sockets.
"""

from __future__ import annotations

import threading
import time
from array import array
from dataclasses import dataclass

LOOKED_BACK_S = 10.0
"""Seconds before which no sending is looked for: pictures are not on their way for so long."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One picture that went out."""

    counter: int
    """Its number in its clip."""
    due: float
    """Monotonic time in seconds at which it was to be sent: when a camera would have made it."""
    at: float
    """Monotonic time in seconds at which its last byte was handed to the socket."""


class Sent:
    """Counter and times of every picture that went out, 24 bytes each."""

    def __init__(self) -> None:
        self._counters, self._due, self._times = array("q"), array("d"), array("d")
        self._place = -1
        self._changed = threading.Condition()

    def add(self, mark: tuple[int, int, float]) -> None:
        """The last byte of a picture (place in the run, counter, when it was due) was handed over just now.

        A picture that goes to several readers counts when the first of them has it.
        """
        place, counter, due = mark
        with self._changed:
            if place <= self._place:
                return
            self._place = place
            self._counters.append(counter)
            self._due.append(due)
            self._times.append(time.monotonic())
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._counters)

    @property
    def last(self) -> float | None:
        """Monotonic time in seconds at which the last picture went out; None before the first."""
        with self._changed:
            return self._times[-1] if self._times else None

    def entries(self, since: int = 0) -> list[tuple[int, float]]:
        """Pairs of counter and monotonic time, from entry `since` on."""
        with self._changed:
            return list(zip(self._counters[since:], self._times[since:], strict=True))

    def find(self, counter: int, before: float) -> Sending | None:
        """The last time that the picture went out before the monotonic time `before`; None when it did not.

        A looped clip sends every counter many times: the answer is right for pictures that have been on
        their way for less than one round.
        """
        with self._changed:
            for place in range(len(self._times) - 1, -1, -1):
                at = self._times[place]
                if at < before - LOOKED_BACK_S:
                    break
                if at <= before and self._counters[place] == counter:
                    return Sending(counter, self._due[place], at)
        return None

    def time_of(self, counter: int, before: float) -> float | None:
        """When the picture went out last before the monotonic time `before`; see `find`."""
        found = self.find(counter, before)
        return None if found is None else found.at

    def wait(self, count: int, timeout: float) -> bool:
        """Wait until at least `count` pictures have gone out; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._times) >= count, timeout)
