"""A source that never ends and can be held: the clip again and again, on one time line.

Owns looping and holding. Must not know who reads the frames or what is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from endostream import tracing
from endostream.bench.figures import Times, times
from endostream.capture.around import SourceAround
from endostream.capture.source import Source
from endostream.types import Frame


class LoopedSource(SourceAround):
    """Plays what `opened` gives from the beginning again whenever it ends; a live source just ends.

    Parameters
    ----------
    opened
        Gives the open source, and a fresh one for each further round.
    """

    def __init__(self, opened: Callable[[], Source]) -> None:
        self.opened = opened
        """Gives a fresh open source."""
        super().__init__(opened())
        self._changed = threading.Condition()
        self._held = False
        self._cancelled = False
        self._index = 0
        self._offset = self._next_time = 0.0
        self.delivered = 0
        """Frames given to the run so far."""
        self.decode_s: Times = times()
        """Seconds each of them took to read; empty for a live source, where reading is waiting."""

    def hold(self) -> None:
        """Make the next `read` wait until `release`."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Let frames flow."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def read(self) -> Frame | None:
        """The next frame, with index and time going on from round to round; None after `cancel`."""
        began = time.perf_counter()
        frame = self.source.read()
        if frame is None and not self._cancelled and not self.info.live and self._index:
            self._again()
            frame = self.source.read()
        ended = time.perf_counter()
        if frame is None:
            return None
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._cancelled)
            if self._cancelled:
                return None
            self.delivered += 1
        if not self.info.live:
            self.decode_s.append(ended - began)
            tracing.add("decode", began, ended, frame=self._index)
        frame = self._placed(frame)
        self._index += 1
        return frame

    def _placed(self, frame: Frame) -> Frame:
        """The frame on the one time line; a live one keeps the moment it was decoded."""
        seconds = self._offset + frame.time
        self._next_time = seconds + (1.0 / self.info.fps if self.info.fps else 0.04)
        captured = frame.captured if self.info.live else time.monotonic()
        return replace(frame, index=self._index, time=seconds, epoch=0, captured=captured)

    def _again(self) -> None:
        self.source.close()
        self.source = self.opened()
        self._offset = self._next_time

    def seek(self, time: float) -> None:
        """A measurement only goes forwards: there is nothing to do."""

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()
        self.source.cancel()

    def close(self) -> None:
        """Give everything back; may be called again."""
        self.cancel()
        self.source.close()
