"""A source that never ends and can be held: the clip again and again, on one time line.

Owns looping and holding. Must not know who reads the frames or what is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from endostream import tracing
from endostream.bench.figures import Times, times
from endostream.capture.source import Source
from endostream.types import Frame, SignalChange, SourceInfo


class LoopedSource:
    """Plays what `opened` gives from the beginning again whenever it ends; a live source just ends.

    Parameters
    ----------
    opened
        Gives the open source, and a fresh one for each further round.
    """

    def __init__(self, opened: Callable[[], Source]) -> None:
        self.opened = opened
        """Gives a fresh open source."""
        self._source = opened()
        self._changed = threading.Condition()
        self._held = False
        self._cancelled = False
        self._index = 0
        self._offset = self._next_time = 0.0
        self.delivered = 0
        """Frames given to the run so far."""
        self.decode_s: Times = times()
        """Seconds each of them took to read; empty for a live source, where reading is waiting."""

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        return self._source.info

    @property
    def signal(self) -> bool:
        """False while a live source has lost its picture."""
        return self._source.signal

    @property
    def detail(self) -> str:
        """What a live picture is, or why there is none."""
        return self._source.detail

    @property
    def overrun(self) -> int:
        """Pictures of a live source that nobody took in time."""
        return self._source.overrun

    @property
    def lag(self) -> float:
        """Seconds by which a live picture comes later than it could."""
        return self._source.lag

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        """Call `listener` whenever a live picture is lost or comes back."""
        self._source.watch(listener)

    @property
    def skipped_packets(self) -> int:
        """Damaged packets that were left out."""
        return self._source.skipped_packets

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        return self._source.warnings

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
        frame = self._source.read()
        if frame is None and not self._cancelled and not self.info.live and self._index:
            self._again()
            frame = self._source.read()
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
        self._source.close()
        self._source = self.opened()
        self._offset = self._next_time

    def seek(self, time: float) -> None:
        """A measurement only goes forwards: there is nothing to do."""

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()
        self._source.cancel()

    def close(self) -> None:
        """Give everything back; may be called again."""
        self.cancel()
        self._source.close()

    def __enter__(self) -> Self:
        """The source itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()
