"""A video file read as the live stream that it becomes on its way through this computer's own network.

Owns a sender and the source that reads what it sends. Must not know how either of them works.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from endostream.capture.around import SourceAround
from endostream.capture.loopback.file_sender import Sender
from endostream.capture.opening import open_source
from endostream.errors import RunError
from endostream.types import Frame, SourceInfo


class LoopbackSource(SourceAround):
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
            super().__init__(open_source(self._sender.url, cancelled=self._given_up))
        except BaseException:
            self._sender.close()
            raise
        self._info = replace(self.source.info, name=f"loopback:{path.name}")
        if self._given_up.is_set():
            self.source.cancel()

    def _give_up(self) -> None:
        """Nothing more will be sent: nobody shall wait for it."""
        self._given_up.set()
        if hasattr(self, "source"):
            self.source.cancel()

    @property
    def info(self) -> SourceInfo:
        """What the stream says of itself, under the file's name."""
        return self._info

    def read(self) -> Frame | None:
        """Wait for the next frame; None after `cancel` or `close`. Raises `RunError` when sending failed."""
        frame = self.source.read()
        error = self._sender.error
        if frame is None and error is not None:
            raise RunError(
                f"sending {self._name} failed ({error}); check the file and start again"
            ) from error
        return frame

    def close(self) -> None:
        """End the reader, then the sender; may be called again."""
        # In this order: the reader's thread sits in libav until the next packet comes.
        self.source.close()
        self._sender.close()
