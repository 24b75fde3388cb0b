"""One run from build to end, on its own thread.

Owns the thread that builds the pipeline, waits for its end and closes it. Must not touch widgets: it
tells the main thread through queued signals, each with the number of its run.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import QObject, Signal

from endostream.config import Settings
from endostream.errors import EndostreamError
from endostream.types import Analysis, Frame, Review, Status

from .bridge import Bridge
from .samples import Notice

log = logging.getLogger(__name__)
WAITING, CHECKING = "waiting for a picture from", "; check"
"""How the words about a source that keeps everybody waiting begin, and how the advice in them does."""


class Slot(Protocol):
    """The newest value of a kind, as the pipeline keeps it."""

    @property
    def version(self) -> int:
        """Raised by every new value."""

    def get(self) -> Any:
        """The newest value, or None."""


class Running(Protocol):
    """What the window needs of a pipeline."""

    @property
    def latest_frame(self) -> Slot:
        """The newest picture."""

    @property
    def latest_analysis(self) -> Slot:
        """The newest analysis."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Ask for the end."""

    def join(self, timeout: float | None = None) -> Status:
        """Wait for the end; raises the first error."""

    def close(self) -> None:
        """Let everything go."""

    def pause(self) -> None:
        """Hold a paced file."""

    def resume(self) -> None:
        """Play on."""

    def seek(self, seconds: float) -> None:
        """Go to a stream time."""

    def set_speed(self, factor: float) -> None:
        """Play faster or slower."""

    def show_heatmap(self, on: bool) -> None:
        """Say whether somebody looks at the heat map."""

    def take_still(self) -> bool:
        """Keep a still in the session; False when there is no session."""

    def review(self, finding: int, review: Review, note: str = "", *, landmark: bool = False) -> bool:
        """Write a verdict into the session; False when there is none."""

    def record(self, on: bool) -> None:
        """Begin or end recording a live source; raises `InputError` when that cannot be."""

    def shown(self, frame: Frame, analysis: Analysis | None) -> None:
        """Take down that a picture is on the screen, and whose overlay was drawn on it."""

    def status(self) -> Status:
        """How it is doing."""


Build = Callable[..., Running]
"""(source, settings, *, sinks, folder, say, cancelled) to a pipeline that is ready to start."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A source to open."""

    spec: str
    """SOURCE as on the command line."""
    settings: Settings
    """The settings to open it with."""
    play: bool = True
    """False holds a file at its first frame."""
    at: float | None = None
    """Stream time in seconds to go to at once."""
    replay: bool = False
    """True looks at a finished run again: nothing is recorded and no finding is counted twice."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    status: Status | None
    """The last status, or None when it never started."""
    error: str | None
    """What went wrong and what to do, or None."""
    report: Path | None
    """The report, where one was written."""


def build_product(spec: str, settings: Settings, *, folder: Path | None, **options: Any) -> Running:
    """The product's own pipeline; imported here, because it loads the networks' libraries."""
    from endostream.pipeline.build import Keeping, build

    keeping = None if folder is None else Keeping(folder)
    pipeline: Running = build(spec, settings, paced=True, keeping=keeping, **options)
    return pipeline


def shown_spec(spec: str) -> str:
    """A source as the user wrote it, shortened, without credentials."""
    bare = re.sub(r"(?<=://)[^/@\s]*@", "", spec)
    return (
        bare if "://" in bare or ":" in bare[:8] else bare.replace("\\", "/").rstrip("/").rpartition("/")[2]
    )


def opening_words(spec: str) -> str:
    """What is said while a source is opened: a live one may keep everybody waiting."""
    recorded = spec.startswith("phantom:") or ("://" not in spec and Path(spec).expanduser().exists())
    device = spec.startswith("/dev/")
    if recorded and not device:
        return "opening the source"
    return f"{WAITING} {spec if device else shown_spec(spec)}"


def what_to_check(spec: str) -> str:
    """What a person may look at when a live source keeps everybody waiting."""
    if "://" in spec:
        return "the address, the sender and the network"
    return "the cable and the tower's output"


def one_line(error: BaseException) -> str:
    """An error for people: its own line, or where to look for a cause nobody foresaw."""
    if isinstance(error, EndostreamError):
        return " ".join(str(error).split())
    first = (str(error).splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {first}; run endostream doctor, and report it with the log"


def farewell(ending: Ending, findings: int) -> Notice | None:
    """What is said at the end of a run; nothing of one that was given up before it began."""
    if ending.error is not None:
        return Notice(ending.error, "failure", "open")
    if ending.status is None:
        return None
    found = f"{findings} finding{'s' * (findings != 1)}" if findings else "no finding"
    word = "Finished" if ending.status.finish == "completed" else "Stopped"
    return Notice(f"{word}: {found}.", "info", "report" if ending.report is not None else None)


def troubles(status: Status) -> list[Notice]:
    """What a person must know of a run that goes on: listeners that failed, warnings."""
    failed = [
        Notice(f"{name} failed: {reason}. Picture and analysis go on.", "failure")
        for name, reason in status.sinks.items()
    ]
    recording = status.recording
    # What the recorder says is among the warnings too, which the session keeps: it is told once.
    reason = "" if recording is None else recording.reason
    ended = recording is not None and recording.state == "failed"
    told = failed + [Notice(line, "warning") for line in status.warnings if not (ended and line == reason)]
    if ended:
        told.append(Notice(f"Recording ended: {reason}. The picture goes on.", "failure"))
    elif reason and reason not in status.warnings:
        told.append(Notice(f"Recording: {reason}. The picture goes on.", "warning"))
    return told


class Life(QObject):
    """A run; make it, then `begin`. Signals arrive on the main thread when connected queued."""

    said = Signal(int, str)
    built = Signal(int, object)
    ended = Signal(int, object)

    def __init__(self, bridge: Bridge, build: Build, folder: Path | None) -> None:
        super().__init__()
        self.bridge, self.folder = bridge, folder
        self.run = bridge.run
        self._build = build
        self._pipeline: Running | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, wish: Wish) -> None:
        """Build and start on a thread of its own."""
        self._thread = threading.Thread(
            target=self._live, args=(wish,), name=f"window-run-{self.run}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end; a run that is still being built ends before it starts."""
        self._stopped.set()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.stop()

    def wait(self, timeout: float) -> bool:
        """Wait for the thread; False when it is still busy."""
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def _live(self, wish: Wish) -> None:
        status: Status | None = None
        error: str | None = None
        try:
            status = self._work(wish)
        except EndostreamError as problem:
            # given up by the user while it was opened: that it gave no picture is no news
            error = None if self._stopped.is_set() and self._pipeline is None else one_line(problem)
        except Exception as problem:
            log.exception("a run failed")
            error = one_line(problem)
        if status is None and self._pipeline is not None:
            status = self._pipeline.status()
        report = self.folder / "report.html" if self.folder is not None else None
        there = report is not None and status is not None and report.is_file()
        self.ended.emit(self.run, Ending(status, error, report if there else None))

    def _work(self, wish: Wish) -> Status | None:
        self._say(opening_words(wish.spec))
        pipeline = self._build(
            wish.spec,
            wish.settings,
            sinks=[self.bridge],
            folder=self.folder,
            say=self._say,
            cancelled=self._stopped,
        )
        try:
            if self._stopped.is_set():
                return None
            self._pipeline = pipeline
            pipeline.start()
            self.built.emit(self.run, pipeline)
            if self._stopped.is_set():  # asked for between the lines above
                pipeline.stop()
            return pipeline.join()
        finally:
            pipeline.close()

    def _say(self, text: str) -> None:
        self.said.emit(self.run, text)
