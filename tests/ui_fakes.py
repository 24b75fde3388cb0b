"""What the window's tests share: pictures with a known mask, a pipeline of ten lines, waiting by events."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
from endostream_ui.app import application
from PySide6.QtCore import QCoreApplication, QDeadlineTimer, QEvent, QEventLoop
from PySide6.QtWidgets import QApplication

from endostream.pipeline.channel import Latest
from endostream.types import (
    Analysis,
    BlindSpan,
    Finding,
    FindingEvent,
    Frame,
    FrameCounts,
    Peak,
    Prediction,
    Recording,
    RunInfo,
    SignalChange,
    SignalState,
    SourceInfo,
    Status,
)

LABELS = ("polyps", "cecum", "bbps-0-1", "bbps-2-3", "hemorrhoids", "dyed-lifted-polyps", "background")
WIDTH, HEIGHT = 320, 240
BOX = (120, 80, 200, 160)
"""x0, y0, x1, y1 of the known mask."""


def frame(index: int = 0, epoch: int = 0, rate: float = 25.0) -> Frame:
    """A picture with a smooth ramp, so that a changed pixel is seen."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([60 + x * 100 // WIDTH, 40 + y * 80 // HEIGHT, np.full_like(x, 50)], axis=2)
    image = image.astype(np.uint8)
    image.setflags(write=False)
    return Frame(index, index, Fraction(1, 25), index / rate, image, index / rate, 0.0, epoch)


def live_frame(index: int = 0, epoch: int = 0, rate: float = 25.0, ago: float = -60.0) -> Frame:
    """A live picture, captured `ago` seconds before now; one of the future does not age in a slow test."""
    made = frame(index, epoch, rate)
    return replace(made, captured=time.monotonic() - ago, wall=time.time() - ago)


def analysis(
    of: Frame, top: str = "polyps", score: float = 0.9, mask: bool = True, visible: bool = True, **more: Any
) -> Analysis:
    """An analysis whose mask is the known box and whose class map is high in its middle."""
    scores = np.full(len(LABELS), (1 - score) / (len(LABELS) - 1), np.float32)
    scores[LABELS.index(top)] = score
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    heat = np.zeros((16, 16), np.float32)
    heat[6:10, 6:10] = 1.0
    values: dict[str, Any] = {
        "heatmap": heat,
        "mask_source": "network",
        "mask_time": of.time,
        "segmented": True,
        "reason": None if visible else "blurred",
    }
    values.update(more)
    return Analysis(
        frame=of,
        predictions=(Prediction("c", LABELS, scores, scores),),
        mask=drawn if mask else None,
        visible=visible,
        **values,
    )


def finding(number: int = 1, start: float = 0.0, end: float | None = None, label: str = "polyps") -> Finding:
    """A finding that peaks where it starts."""
    return Finding(number, label, start, end, Peak(start, 0.9))


def run_info(duration: float | None = 10.0, live: bool = False) -> RunInfo:
    """A run over a file of ten seconds, or over a device."""
    kind = "device" if live else "file"
    source = SourceInfo("clip.mp4", kind, live, not live, False, WIDTH, HEIGHT, 25.0, duration, None)
    pack = {"name": "polyp", "version": "1.0", "background": "background", "unreliable": "hemorrhoids"}
    engine = {"engine": "openvino", "device": "cpu", "precision": "bf16"}
    return RunInfo(source, pack, LABELS, {}, engine)


class FakePipeline:
    """The contract of the pipeline, driven by the test from a thread of its own."""

    def __init__(self, sinks: list[Any], info: RunInfo, error: Exception | None = None) -> None:
        self.sinks, self.info, self.error = sinks, info, error
        self.latest_frame: Latest[Frame] = Latest()
        self.latest_analysis: Latest[Analysis] = Latest()
        self.asked: list[tuple[Any, ...]] = []
        self.painted: list[tuple[Frame, Analysis | None]] = []
        self.refuses: Exception | None = None
        self.state, self.more = "idle", {}
        self.over = threading.Event()

    def tell(self, *calls: tuple[str, Any]) -> None:
        """Call the sinks from another thread, as the pipeline does."""
        work = threading.Thread(target=lambda: [getattr(s, n)(v) for n, v in calls for s in self.sinks])
        work.start()
        work.join()

    def show(self, picture: Frame, of: Analysis | None = None) -> None:
        """Publish a picture and, when given, an analysis."""
        self.latest_frame.set(picture)
        if of is not None:
            self.latest_analysis.set(of)
            self.tell(("analysed", of))

    def signal(self, state: SignalState, detail: str = "", time: float = 0.0) -> None:
        """Lose, freeze or give back the live picture as the pipeline does: the slot first, then the sinks."""
        self.state = {"lost": "no-signal", "frozen": "frozen", "good": "running"}[state]
        self.more = {**self.more, "signal": detail}
        if state == "lost":
            self.latest_analysis.set(None)
        self.tell(("signalled", SignalChange(state, time, 0.0, detail)))

    def record(self, on: bool) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.asked.append(("record", on))
        self.more = {**self.more, "recording": Recording("on" if on else "off", seconds=10.0, megabytes=34.0)}

    def shown(self, frame: Frame, analysis: Analysis | None) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.painted.append((frame, analysis))

    def show_heatmap(self, on: bool) -> None:
        self.asked.append(("heatmap", on))

    def start(self) -> None:
        self.state = "running"
        for sink in self.sinks:
            sink.opened(self.info)

    def join(self, timeout: float | None = None) -> Status:
        self.over.wait()
        self.state = "finished"
        for sink in self.sinks:
            sink.closed(self.status())
        if self.error is not None:
            raise self.error
        return self.status()

    def status(self) -> Status:
        finish = "completed" if self.state == "finished" else None
        counts = FrameCounts(100, 90, {"busy": 10})
        return Status(self.state, finish, counts=counts, input_fps=25.0, fps=22.5, **self.more)

    def stop(self) -> None:
        self.asked.append(("stop",))
        self.over.set()

    def close(self) -> None:
        self.over.set()

    def pause(self) -> None:
        self.asked.append(("pause",))
        self.state = "paused"

    def resume(self) -> None:
        self.asked.append(("resume",))
        self.state = "running"

    def seek(self, seconds: float) -> None:
        self.asked.append(("seek", round(seconds, 3)))

    def set_speed(self, factor: float) -> None:
        self.asked.append(("speed", factor))

    def take_still(self) -> bool:
        return False

    def review(self, number: int, review: str, note: str = "", *, landmark: bool = False) -> bool:
        self.asked.append(("review", number, review) + (("landmark",) if landmark else ()))
        return True


class Builds:
    """Stands for the composition root: gives fake pipelines and keeps them."""

    def __init__(self, info: RunInfo | None = None, error: Exception | None = None) -> None:
        self.info, self.error = info or run_info(), error
        self.settings: Any = None
        self.made: list[FakePipeline] = []
        self.asked: list[tuple[str, Any]] = []

    def __call__(
        self, spec: str, settings: Any, *, sinks: list[Any], folder: Any, say: Any, cancelled: Any
    ) -> FakePipeline:
        assert not cancelled.is_set()
        say("compiling the networks")
        self.asked.append((spec, folder))
        self.settings = settings
        if self.error is not None:
            raise self.error
        self.made.append(FakePipeline(sinks, self.info))
        return self.made[-1]

    @property
    def last(self) -> FakePipeline:
        """The newest pipeline."""
        return self.made[-1]


def spin(until: Callable[[], Any], seconds: float = 20.0) -> None:
    """Let Qt work until something is true; fail when it never is."""
    deadline = QDeadlineTimer(round(seconds * 1000))
    while not until():
        if deadline.hasExpired():
            pytest.fail("what was waited for did not happen")
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)


def settle() -> None:
    """Let Qt deliver everything that is waiting."""
    for _ in range(3):
        QCoreApplication.processEvents()


@pytest.fixture
def qt() -> Iterator[QApplication]:
    """The application; a test that leaves a top-level widget alive fails."""
    app = application()
    before = set(app.topLevelWidgets())
    yield app
    gc.collect()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    left = [type(w).__name__ for w in set(app.topLevelWidgets()) - before if type(w).__name__ != "QLabel"]
    assert not left, f"widgets left alive: {left}"


def opened(number: int = 1, start: float = 0.0, landmark: bool = False) -> FindingEvent:
    """The event of a finding that has just opened."""
    return FindingEvent("opened", finding(number, start), landmark)


def span(start: float, end: float) -> BlindSpan:
    """A blurred stretch."""
    return BlindSpan(start, end, "blurred")
