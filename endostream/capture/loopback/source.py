"""A video file read as the live stream that it becomes on its way through this computer's own network.

Owns a sender and the source that reads what it sends. Must not know how either of them works.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from endostream.capture.loopback.file_sender import Sender
from endostream.capture.opening import open_source
from endostream.capture.source import Source
from endostream.errors import RunError
from endostream.types import Frame, SignalChange, SourceInfo


class LoopbackSource:
    """The live source that reads what a `Sender` sends; closing it ends both.

    Parameters
    ----------
    path
        A video file with H.264.

    Raises
    ------
    SourceError
        The file cannot be sent, or nothing arrives.
    """

    def __init__(self, path: Path) -> None:
        self._given_up = threading.Event()
        self._name = path.name
        self._sender = Sender(path, self._give_up)
        try:
            self._source: Source = open_source(self._sender.url, cancelled=self._given_up)
        except BaseException:
            self._sender.close()
            raise
        self._info = replace(self._source.info, name=f"loopback:{path.name}")
        if self._given_up.is_set():
            self._source.cancel()

    def _give_up(self) -> None:
        """Nothing more will be sent: nobody shall wait for it."""
        self._given_up.set()
        if hasattr(self, "_source"):
            self._source.cancel()

    @property
    def info(self) -> SourceInfo:
        """What the stream says of itself, under the file's name."""
        return self._info

    @property
    def signal(self) -> bool:
        """False while the picture is lost."""
        return self._source.signal

    @property
    def detail(self) -> str:
        """What the picture is, or why there is none."""
        return self._source.detail

    @property
    def overrun(self) -> int:
        """Pictures that nobody took in time, since the first `read`."""
        return self._source.overrun

    @property
    def lag(self) -> float:
        """Seconds by which a live picture comes later than it could."""
        return self._source.lag

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        """Call `listener` whenever the picture is lost or comes back, from another thread."""
        self._source.watch(listener)

    @property
    def skipped_packets(self) -> int:
        """Damaged packets that were left out."""
        return self._source.skipped_packets

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        return self._source.warnings

    def read(self) -> Frame | None:
        """Wait for the next frame; None after `cancel` or `close`. Raises `RunError` when sending failed."""
        frame = self._source.read()
        error = self._sender.error
        if frame is None and error is not None:
            raise RunError(
                f"sending {self._name} failed ({error}); check the file and start again"
            ) from error
        return frame

    def seek(self, time: float) -> None:
        """A live source cannot be searched in; raises `InputError`."""
        self._source.seek(time)

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        self._source.cancel()

    def close(self) -> None:
        """End the reader, then the sender; may be called again."""
        # In this order: the reader's thread sits in libav until the next packet comes.
        self._source.close()
        self._sender.close()

    def __enter__(self) -> Self:
        """The source itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()
