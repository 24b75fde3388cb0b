"""What every source of frames promises, and the bookkeeping that all of them share.

Owns the contract (`Source`) and the counting of frames, epochs and warnings (`SourceBase`).
Must not know containers, codecs, devices or who reads the frames.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

from endostream.errors import InputError
from endostream.types import Frame, ImageArray, SignalChange, SourceInfo

MIN_SIDE = 16
"""Pictures with a side shorter than this (pixels) cannot be analysed."""


def too_small(name: str, width: int, height: int) -> str:
    """The message for a picture under the smallest size."""
    return f"{name} is {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed"


def starts_late(name: str, start: float) -> str:
    """The message for a start that lies after the end."""
    return f"{name} ends before {start:g} s; choose an earlier start"


class Source(Protocol):
    """A place frames come from.

    One thread owns a source and makes every call; `cancel` alone may come from another thread, and
    `info`, `signal`, `warnings` and `skipped_packets` may be looked at from anywhere.
    """

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        ...

    @property
    def signal(self) -> bool:
        """False while a live source has lost its picture and tries to get it back."""
        ...

    @property
    def detail(self) -> str:
        """What the picture of a live source is, or why there is none; empty for recorded ones."""
        ...

    @property
    def overrun(self) -> int:
        """Pictures of a live source that nobody took in time, since the first `read`."""
        ...

    @property
    def lag(self) -> float:
        """Seconds by which a live picture comes later than it could: a line slower than its stream."""
        ...

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        """Call `listener` whenever a live picture is lost or comes back, from another thread."""
        ...

    @property
    def skipped_packets(self) -> int:
        """Damaged packets (or unreadable pictures) that were left out."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        ...

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end, after `cancel` or `close`, again and again."""
        ...

    def seek(self, time: float) -> None:
        """Make the next frame the first one at or after `time` (stream seconds) and raise the epoch."""
        ...

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        ...

    def close(self) -> None:
        """Give everything back; may be called again."""
        ...

    def __enter__(self) -> Self:
        """The source itself; leaving the block closes it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        ...


class SourceBase(ABC):
    """The part of a source that is the same everywhere: index, epoch, warnings, cancelling, closing."""

    def __init__(self) -> None:
        self._info: SourceInfo | None = None
        self._index = 0
        self._epoch = 0
        self._skipped = 0
        self._said: list[str] = []
        self._cancelled = threading.Event()
        self._closed = False

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        if self._info is None:
            raise RuntimeError("a source describes itself only once it is open")
        return self._info

    @property
    def signal(self) -> bool:
        """True: a source that is not live never loses its picture."""
        return True

    @property
    def detail(self) -> str:
        """Nothing: only a live picture needs explaining."""
        return ""

    @property
    def overrun(self) -> int:
        """Pictures of a live source that nobody took in time."""
        return 0

    @property
    def lag(self) -> float:
        """No time: only a live picture can be late."""
        return 0.0

    def watch(self, listener: Callable[[SignalChange], None]) -> None:  # noqa: B027 (recorded: never told)
        """Call `listener` whenever a live picture is lost or comes back."""

    @property
    def skipped_packets(self) -> int:
        """Damaged packets (or unreadable pictures) that were left out."""
        return self._skipped

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        return tuple(self._said)

    def _warn(self, line: str) -> None:
        if line not in self._said:
            self._said.append(line)

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end, after `cancel` or `close`, again and again."""
        if self._closed or self._cancelled.is_set():
            return None
        return self._next()

    @abstractmethod
    def _next(self) -> Frame | None:
        """The next frame, or None at the end."""

    def seek(self, time: float) -> None:
        """Make the next frame the first one at or after `time` (stream seconds) and raise the epoch."""
        if not self.info.seekable:
            raise InputError(f"{self.info.name} cannot be searched in; play it from the beginning")
        if self._closed:
            return
        self._epoch += 1
        self._go_to(max(0.0, time))

    @abstractmethod
    def _go_to(self, time: float) -> None:
        """Make the next frame the first one at or after `time`."""

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Give everything back; may be called again."""
        if not self._closed:
            self._closed = True
            self._cancelled.set()
            self._release()

    def _release(self) -> None:  # noqa: B027 (a source that holds nothing has nothing to give back)
        """Give back what the source holds; called once."""

    def __enter__(self) -> Self:
        """The source itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()

    def _frame(
        self,
        image: ImageArray,
        seconds: float,
        pts: int | None,
        time_base: Fraction,
        file: str | None = None,
        stamps: tuple[float, float] | None = None,
    ) -> Frame:
        """The next delivered frame; `stamps` are its monotonic and wall clock when taken elsewhere."""
        image.flags.writeable = False
        captured, wall = stamps or (time.monotonic(), time.time())
        frame = Frame(
            index=self._index,
            pts=pts,
            time_base=time_base,
            time=seconds,
            image=image,
            captured=captured,
            wall=wall,
            epoch=self._epoch,
            file=file,
        )
        self._index += 1
        return frame
