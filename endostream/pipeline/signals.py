"""What becomes of a live picture: lost, frozen, back; from whoever notices to whoever must know.

Owns the queue of these facts and the eye for a picture that does not change. Must not know sinks or threads:
it is told from the source's watchdog and the capture thread, and asked from the inference thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from endostream.types import Frame, ImageArray, SignalChange, SignalState

FROZEN_S = 1.0
"""Seconds without any change after which a picture is frozen: a camera's own noise changes every picture."""
THINNED = 16
"""Every so many pixels are compared in both directions: 3,600 points at 720p take 0.02 ms."""
SAME_LEVELS = 2
"""Difference in grey levels up to which a point is the same: a coder refines a still picture by as much."""


class Freeze:
    """Says when a picture stops changing, and when it moves again."""

    def __init__(self) -> None:
        self._points: ImageArray | None = None
        self._since = 0.0
        self._time = 0.0
        self.frozen = False
        """True while the picture is frozen."""

    def look(self, frame: Frame) -> SignalChange | None:
        """The change that this frame brings, if any."""
        points = frame.image[::THINNED, ::THINNED]
        if self._points is not None and _same(points, self._points):
            if not self.frozen and frame.captured - self._since >= FROZEN_S:
                self.frozen = True
                return _change("frozen", self._time, "the picture does not change")
            return None
        self._points, self._since, self._time = points.copy(), frame.captured, frame.time
        if not self.frozen:
            return None
        self.frozen = False
        return _change("good", frame.time, "the picture moves again")

    def forget(self) -> None:
        """The picture is lost: whatever comes next is new."""
        self._points, self.frozen = None, False


def _same(a: ImageArray, b: ImageArray) -> bool:
    if a.shape != b.shape:
        return False
    return int(np.abs(a.astype(np.int16) - b).max()) <= SAME_LEVELS


def _change(state: SignalState, time_s: float, detail: str) -> SignalChange:
    return SignalChange(state, time_s, time.time(), detail)


class Signals:
    """The changes of a live picture on their way to the inference thread.

    Parameters
    ----------
    wake
        Called, from any thread, when there is something to `take`.
    lost
        Called at once, from any thread, when the picture is lost: what is drawn must go.
    """

    def __init__(self, wake: Callable[[], None], lost: Callable[[], None]) -> None:
        self._wake, self._at_loss = wake, lost
        self._lock = threading.Lock()
        self._waiting: deque[SignalChange] = deque()
        self._freeze = Freeze()
        self.lost = False
        """True from a loss until the picture is back, as far as the inference thread has heard."""
        self.dark_since: str | None = None
        """Why nothing new is seen (`no-signal`, `frozen`), as far as the inference thread has heard."""

    @property
    def frozen(self) -> bool:
        """True while the picture comes but does not change."""
        return self._freeze.frozen

    @property
    def news(self) -> bool:
        """True when `take` has something to give."""
        return bool(self._waiting)

    def heard(self, change: SignalChange) -> None:
        """The source says that its picture was lost or is back."""
        with self._lock:
            if change.state == "lost":
                self._freeze.forget()
            self._waiting.append(change)
        if change.state == "lost":
            self._at_loss()
        self._wake()

    def look(self, frame: Frame) -> None:
        """A frame was captured: is it another picture than before?"""
        with self._lock:
            change = self._freeze.look(frame)
            if change is not None:
                self._waiting.append(change)
        if change is not None:
            self._wake()

    def take(self) -> SignalChange | None:
        """The oldest change not yet heard of, or None; `lost` and `dark_since` follow it."""
        with self._lock:
            change = self._waiting.popleft() if self._waiting else None
        if change is not None:
            self.lost = change.state == "lost"
            self.dark_since = {"lost": "no-signal", "frozen": "frozen"}.get(change.state)
        return change
