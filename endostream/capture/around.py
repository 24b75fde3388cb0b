"""A source around another one, which changes some of what it gives and passes the rest on.

Owns the passing on, so that no part of the contract (`Source`) is forgotten where one is wrapped. Must not
know what is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from endostream.capture.source import Source
from endostream.types import Frame, SignalChange, SourceInfo


class SourceAround:
    """A source that is the one inside in everything that a child does not change.

    Parameters
    ----------
    source
        The one inside; closing this one closes it.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        """The one inside."""

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        return self.source.info

    @property
    def signal(self) -> bool:
        """False while a live source has lost its picture."""
        return self.source.signal

    @property
    def detail(self) -> str:
        """What a live picture is, or why there is none."""
        return self.source.detail

    @property
    def overrun(self) -> int:
        """Pictures of a live source that nobody took in time."""
        return self.source.overrun

    @property
    def lag(self) -> float:
        """Seconds by which a live picture comes later than it could."""
        return self.source.lag

    @property
    def skipped_packets(self) -> int:
        """Damaged packets that were left out."""
        return self.source.skipped_packets

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        return self.source.warnings

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        """Call `listener` whenever a live picture is lost or comes back, from another thread."""
        self.source.watch(listener)

    def read(self) -> Frame | None:
        """The next frame; None at the end, after `cancel` or `close`."""
        return self.source.read()

    def seek(self, time: float) -> None:
        """Make the next frame the first one at or after `time` (stream seconds) and raise the epoch."""
        self.source.seek(time)

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        self.source.cancel()

    def close(self) -> None:
        """Give everything back; may be called again."""
        self.source.close()

    def __enter__(self) -> Self:
        """The source itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()
