"""The run that counts now: late words of earlier ones are not heard, and one that hangs is left behind.

Owns the life of the pipeline and the number of its run. Must not decide what a run is for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from endostream.types import BlindSpan, FindingEvent, RunInfo, SignalChange, Status

from .bridge import Bridge
from .life import Build, Ending, Life, Running, Wish
from .samples import Sample

log = logging.getLogger(__name__)
QUEUED = Qt.ConnectionType.QueuedConnection
GIVE_UP_MS = 1500
"""After a stop, milliseconds until a run whose source does not let go is left behind."""


class Current(QObject):
    """One run at a time; connect its signals to bound methods of QObjects on the main thread."""

    said = Signal(str)
    built = Signal(object)  # Running
    opened = Signal(object)  # RunInfo
    sampled = Signal(object)  # Sample
    found = Signal(object)  # FindingEvent
    blinded = Signal(object)  # BlindSpan
    signalled = Signal(object)  # SignalChange
    stated = Signal(object)  # Status
    ended = Signal(object)  # Ending

    def __init__(self, build: Build) -> None:
        super().__init__()
        self._build = build
        self._life: Life | None = None
        self._number = 0
        self.pipeline: Running | None = None
        """The pipeline, once it has started."""
        self._patience = QTimer(self, interval=GIVE_UP_MS, singleShot=True)
        self._patience.timeout.connect(self._lose_patience)

    @property
    def alive(self) -> bool:
        """True while a run lives that has to be finished."""
        return self._life is not None

    def begin(self, wish: Wish, folder: Path | None) -> None:
        """Begin another run; the one before is over or was left behind."""
        self._number += 1
        bridge = Bridge(self._number)
        self._life = life = Life(bridge, self._build, folder)
        self.pipeline = None
        for signal, slot in (
            (bridge.runOpened, self._on_opened),
            (bridge.sampled, self._on_sampled),
            (bridge.findingChanged, self._on_found),
            (bridge.blindSpanEnded, self._on_blind),
            (bridge.signalChanged, self._on_signalled),
            (bridge.statusChanged, self._on_stated),
            (life.said, self._on_said),
            (life.built, self._on_built),
            (life.ended, self._on_ended),
        ):
            signal.connect(slot, QUEUED)
        life.begin(wish)

    def stop(self) -> None:
        """Ask for the end; `ended` follows, for a source that hangs without waiting for it."""
        if self._life is not None:
            self._life.stop()
            self._patience.start()

    def leave(self) -> None:
        """Let the run end by itself; nothing more is heard of it."""
        self._patience.stop()
        if self._life is not None:
            self._life.stop()
            self._life = self.pipeline = None

    def close(self, timeout: float, writing: float) -> bool:
        """Stop and wait, for a session being written longer than for a source; False when it goes on."""
        life, pipeline = self._life, self.pipeline
        self.leave()
        if life is None or life.wait(timeout):
            return True
        if pipeline is not None and pipeline.status().state in ("finishing", "finished"):
            return life.wait(writing)
        return False

    def _lose_patience(self) -> None:
        if self._life is None:
            return
        status = None if self.pipeline is None else self.pipeline.status()
        if status is not None and status.state in ("finishing", "finished"):
            self._patience.start()  # the source has let go; writing the session may take its time
            return
        log.warning("a source did not let go of its run, which is left to end by itself")
        error = None if status is None else "the source hangs and was left behind; open it again"
        self.leave()
        self.ended.emit(Ending(status, error, None))

    # The run's words, while it counts

    def _current(self, run: int) -> bool:
        return run == self._number and self._life is not None

    def _pass(self, run: int, tell: Callable[[object], None], value: object) -> None:
        if self._current(run):
            tell(value)

    def _on_said(self, run: int, text: str) -> None:
        if self._current(run):
            self.said.emit(text)

    def _on_built(self, run: int, pipeline: Running) -> None:
        if self._current(run):
            self.pipeline = pipeline
            self.built.emit(pipeline)

    def _on_opened(self, run: int, info: RunInfo) -> None:
        self._pass(run, self.opened.emit, info)

    def _on_sampled(self, run: int, sample: Sample) -> None:
        self._pass(run, self.sampled.emit, sample)

    def _on_found(self, run: int, event: FindingEvent) -> None:
        self._pass(run, self.found.emit, event)

    def _on_blind(self, run: int, span: BlindSpan) -> None:
        self._pass(run, self.blinded.emit, span)

    def _on_signalled(self, run: int, change: SignalChange) -> None:
        self._pass(run, self.signalled.emit, change)

    def _on_stated(self, run: int, status: Status) -> None:
        self._pass(run, self.stated.emit, status)

    def _on_ended(self, run: int, ending: Ending) -> None:
        if not self._current(run):
            return
        self._patience.stop()
        life, self._life = self._life, None
        self.pipeline = None
        if life is not None:
            life.wait(1.0)
        self.ended.emit(ending)
