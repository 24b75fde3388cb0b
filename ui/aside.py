"""Slow work beside the main thread: stills, small pictures, verdicts on disk, looking for devices.

Owns one worker thread, one for the record switch, and one for each look at the devices. Must not decide what
is to be done; what goes wrong becomes a notice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QElapsedTimer, QObject, Signal

from endostream.config import Settings
from endostream.errors import EndostreamError
from endostream.types import Analysis, Finding, Frame, Review

from .ledger import Key
from .life import Running, one_line
from .samples import Layers, Notice
from .stills import save_still, still_folder, thumbnail

log = logging.getLogger(__name__)
THUMBNAIL_MS = 500
NEAR = 0.5
"""Seconds between a peak and the picture that may stand for it."""


def asked(settings: Settings) -> Settings:
    """The settings when a person asks for prose: the server on this computer, where none is named."""
    if settings.report.llm != "off":
        return settings
    return replace(settings, report=replace(settings.report, llm="auto"))


class Aside(QObject):
    """Does slow things in order, one at a time; connect its signals to bound methods of QObjects."""

    stillReady = Signal(object, object)  # Key, QImage
    devicesListed = Signal(object)
    recordingRefused = Signal()
    noticed = Signal(object)
    said = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="window-aside")
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="window-record")
        self._closed = False
        self._thumbed: dict[Key, QElapsedTimer] = {}
        self._cancels: list[Callable[[], None]] = []

    def close(self) -> None:
        """Finish what was asked for and end the thread; nobody waits for a language model."""
        self._closed = True
        for cancel in self._cancels:
            cancel()
        self._worker.shutdown(wait=True)
        self._recorder.shutdown(wait=True)

    def forget(self) -> None:
        """Start a run without the pictures of the one before."""
        self._thumbed.clear()

    def save_still(
        self,
        session: Path | None,
        frame: Frame,
        analysis: Analysis | None,
        layers: Layers,
        phi_mask: str = "none",
    ) -> None:
        """Save the picture as shown."""
        folder = still_folder(session)

        def work() -> None:
            path = save_still(folder, frame, analysis, layers, phi_mask)
            self.said.emit(f"Still saved: {path}")

        self._do(work)

    def take_thumbnail(self, key: Key, finding: Finding, analysis: Analysis | None) -> None:
        """Draw a finding's small picture, when this one is near its peak; at most twice a second."""
        if analysis is None or abs(analysis.frame.time - finding.peak.time) > NEAR:
            return
        clock = self._thumbed.get(key)
        if clock is not None and clock.elapsed() < THUMBNAIL_MS:
            return
        clock = self._thumbed.setdefault(key, QElapsedTimer())
        clock.start()
        self._do(lambda: self.stillReady.emit(key, thumbnail(analysis)))

    def write_review(self, session: Path, key: Key, review: Review) -> None:
        """Write a verdict into a finished session, and its report anew."""

        def work() -> None:
            from endostream.pipeline.keeping import write_documents
            from endostream.records.store import set_review

            set_review(session, key[0], review, landmark=key[1])
            write_documents(session)

        self._do(work)

    def word_report(self, session: Path, settings: Settings) -> None:
        """Ask the local language model for the report's prose; a notice says how that went."""

        def work() -> None:
            from endostream.batch import conclude

            told = conclude(session, asked(settings), self._cancels.append)
            self.noticed.emit(Notice(told[0].upper() + told[1:], "info", "report"))

        self._do(work)

    def record(self, pipeline: Running, on: bool) -> None:
        """Begin or end a recording: the disk may take a second to answer, and nobody may wait for it."""

        def work() -> None:
            try:
                pipeline.record(on)
            except EndostreamError:
                self.recordingRefused.emit()
                raise

        self._recorder.submit(self._guarded(work))

    def list_devices(self) -> None:
        """Look for capture devices; `devicesListed` follows."""

        def work() -> None:
            from endostream.capture.devices import examined, list_devices

            found = list_devices()
            self._tell(found)
            whole = [examined(device) for device in found]
            if whole != found:
                self._tell(whole)

        # A thread of its own: a card that hangs when it is asked may hold up nothing else, nor the end.
        threading.Thread(target=self._guarded(work), name="window-devices", daemon=True).start()

    def _tell(self, devices: object) -> None:
        if not self._closed:
            self.devicesListed.emit(devices)

    def _do(self, work: Callable[[], None]) -> None:
        self._worker.submit(self._guarded(work))

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                work()
            except EndostreamError as error:
                self.noticed.emit(Notice(one_line(error), "warning"))
            except Exception as error:
                log.exception("work aside failed")
                self.noticed.emit(Notice(one_line(error), "warning"))

        return guarded
