"""A run from start to join: counts, errors, stopping, seeking; real threads over a fake source."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from endostream.analysis.findings import Bounds, FindingRules, FindingTracker, ReplayTracker
from endostream.capture.pacing import Pacer
from endostream.errors import RunError
from endostream.pipeline.parts import Parts
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.sampling import Sampler, published_sampler
from endostream.pipeline.sinks import Background, QuietSink
from endostream.types import (
    Analysis,
    FindingEvent,
    Frame,
    Prediction,
    RunInfo,
    SignalChange,
    SourceInfo,
    Status,
)

LABELS = ("background", "polyps")


class FakeSource:
    def __init__(self, frames: int, live: bool = False, fail_at: int | None = None) -> None:
        self.info = SourceInfo("fake", "file", live, not live, False, 16, 16, 25.0, frames / 25, frames)
        self.signal, self.warnings, self.skipped_packets = True, (), 0
        self.detail, self.overrun, self.lag = "", 0, 0.0
        self.total, self.at, self.index, self.epoch, self.fail_at = frames, 0, 0, 0, fail_at
        self.cancelled, self.closed = threading.Event(), False

    def read(self) -> Frame | None:
        if self.cancelled.is_set() or self.at >= self.total:
            return None
        if self.at == self.fail_at:
            raise RunError("the device was lost; connect it again")
        image = np.full((16, 16, 3), 90, np.uint8)
        frame = Frame(self.index, self.at, Fraction(1, 25), self.at / 25, image, 0.0, 0.0, self.epoch)
        self.at, self.index = self.at + 1, self.index + 1
        return frame

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        self.listener = listener

    def seek(self, time: float) -> None:
        self.at, self.epoch = round(time * 25), self.epoch + 1

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.closed = True


class FakeAnalyzer:
    """Says polyps between 1 and 3 seconds."""

    depth = 3
    not_before = 0.0
    mask_ready = False

    def __init__(self, fail_at: int | None = None, gate: threading.Event | None = None) -> None:
        self.fail_at, self.gate = fail_at, gate
        self.waiting: list[Frame] = []
        self.map_wanted = False
        self.wanted_at: list[tuple[float, bool]] = []

    def ring(self, wake: Callable[[], None]) -> None:
        pass

    @property
    def ready(self) -> bool:
        return bool(self.waiting)

    @property
    def pending(self) -> int:
        return len(self.waiting)

    def submit(self, frame: Frame) -> None:
        assert self.pending < self.depth
        self.waiting.append(frame)

    def finish(self) -> Analysis:
        return self.analyse(self.waiting.pop(0))

    def analyse(self, frame: Frame) -> Analysis:
        self.wanted_at.append((frame.time, self.map_wanted))
        if self.gate is not None:
            self.gate.wait(5)
        if frame.index == self.fail_at:
            raise RunError("out of memory; use --device cpu")
        p = 0.9 if 1.0 <= frame.time < 3.0 else 0.1
        scores = np.asarray([1 - p, p], np.float32)
        prediction = Prediction("fake", LABELS, scores, scores)
        return Analysis(frame, (prediction,), None, None, None, None, False, True, None, {"total": 0.001})


class Listener(QuietSink):
    def __init__(self, fail_at: int | None = None, name: str = "listener") -> None:
        self.name, self.fail_at = name, fail_at
        self.frames: list[int] = []
        self.events: list[FindingEvent] = []
        self.threads: set[str] = set()
        self.end: Status | None = None

    def analysed(self, analysis: Analysis) -> None:
        self.threads.add(threading.current_thread().name)
        if analysis.frame.index == self.fail_at:
            raise OSError(28, "No space left on device")
        self.frames.append(analysis.frame.index)

    def found(self, event: FindingEvent) -> None:
        self.events.append(event)

    def closed(self, status: Status) -> None:
        self.end = status


def run(
    source: FakeSource, *sinks: object, analyzer: FakeAnalyzer | None = None, **parts: object
) -> Pipeline:
    rules = FindingRules(LABELS, Bounds(), background=("background",))
    info = RunInfo(source.info, {"name": "fake"}, LABELS, {}, {})
    return Pipeline(
        Parts(source, analyzer or FakeAnalyzer(), FindingTracker(rules), info, sinks=list(sinks), **parts)  # type: ignore[arg-type]
    )


def balanced(status: Status) -> bool:
    c = status.counts
    return c.captured == c.analysed + c.total_dropped + c.skipped + c.pending


def test_a_file_is_analysed_whole_and_in_order() -> None:
    plain, threaded = Listener(), Listener(name="threaded")
    pipeline = run(FakeSource(100), plain, Background(threaded))
    pipeline.start()
    sums = []
    while pipeline.running:
        sums.append(balanced(pipeline.status()))
        pipeline.join(0.001)
    status = pipeline.join()
    assert status.finish == "completed" and status.state == "finished" and all(sums)
    assert (status.counts.analysed, status.counts.pending, status.counts.dropped) == (100, 0, {})
    assert plain.frames == threaded.frames == list(range(100))
    assert plain.threads == {"inference"} and threaded.threads == {"sink-threaded"}
    assert [e.change for e in plain.events] == ["opened", "closed"]
    assert plain.end is not None and plain.end.finish == "completed"
    assert pipeline._parts.source.closed  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["source", "analyzer", "sink", "background"])
def test_the_first_error_is_raised_after_a_proper_end(where: str) -> None:
    other = Listener(name="other")
    failing = Listener(40 if where in ("sink", "background") else None, "failing")
    source = FakeSource(100, fail_at=40 if where == "source" else None)
    sink = Background(failing) if where == "background" else failing
    pipeline = run(source, sink, other, analyzer=FakeAnalyzer(40 if where == "analyzer" else None))
    pipeline.start()
    with pytest.raises((RunError, OSError)):
        pipeline.join()
    status = pipeline.status()
    assert status.finish == "failed" and status.error and "\n" not in status.error
    assert balanced(status) and status.counts.pending == 0
    assert other.end is not None and other.events[-1].change == "closed" and source.closed
    if where == "source":
        assert status.counts.analysed == 40


def test_a_failing_sink_does_not_take_a_live_picture_with_it() -> None:
    class Failing(Listener):
        def analysed(self, analysis: Analysis) -> None:
            raise OSError(28, "No space left on device")

    failing, other = Failing(name="failing"), Listener(name="other")
    pipeline = run(FakeSource(60, live=True), failing, other)
    pipeline.start()
    status = pipeline.join()
    assert status.finish == "completed" and status.error is None
    assert list(status.sinks) == ["failing"] and "No space" in status.sinks["failing"]
    assert other.frames and other.frames[-1] == 59


def test_live_frames_that_come_too_fast_are_dropped_and_counted() -> None:
    gate = threading.Event()
    listener = Listener()
    source = FakeSource(50, live=True)
    slow = FakeAnalyzer(gate=gate)
    slow.depth = 1
    pipeline = run(source, listener, analyzer=slow)
    pipeline.start()
    pipeline._threads[0].join(5)
    assert pipeline.status().counts.captured == 50 and balanced(pipeline.status())
    gate.set()
    counts = pipeline.join().counts
    assert counts.dropped["busy"] == 50 - counts.analysed and counts.analysed <= 2
    assert listener.frames[-1] == 49


@pytest.mark.parametrize("looked_at", [True, False])
def test_the_heat_map_is_wanted_while_it_is_looked_at_or_a_finding_is_open(looked_at: bool) -> None:
    analyzer, listener = FakeAnalyzer(), Listener()
    analyzer.depth = 1
    pipeline = run(FakeSource(125), listener, analyzer=analyzer)
    pipeline.show_heatmap(looked_at)
    pipeline.start()
    pipeline.join()
    (opened, closed) = (e.finding for e in listener.events)
    wanted = [time for time, on in analyzer.wanted_at if on]
    if looked_at:
        assert len(wanted) == 125
    else:
        assert 1.0 < opened.start + 0.4 < min(wanted) < 2.0, "from the frame after it opened"
        assert closed.end is not None and closed.end <= max(wanted) < 4.5
    assert not [e for e in listener.events if e.landmark]


def test_stop_finishes_cleanly_and_analyses_what_is_on_its_way() -> None:
    gate, listener = threading.Event(), Listener()
    pipeline = run(FakeSource(10_000), listener, analyzer=FakeAnalyzer(gate=gate))
    pipeline.start()
    pipeline.stop()
    gate.set()
    status = pipeline.join()
    assert status.finish == "stopped" and balanced(status) and status.counts.pending == 0
    assert listener.end is not None and len(listener.frames) == status.counts.analysed < 10_000


def test_a_sink_that_cannot_open_fails_the_start_and_everything_is_given_back() -> None:
    class Refusing(Listener):
        def opened(self, info: RunInfo) -> None:
            raise RunError("no room")

    source, other = FakeSource(10), Listener(name="other")
    pipeline = run(source, other, Background(Refusing(name="refusing")))
    with pytest.raises(RunError, match="no room"):
        pipeline.start()
    assert source.closed and other.end is not None and not pipeline.running


def test_seeking_raises_the_epoch_and_drops_what_was_on_its_way() -> None:
    listener, pacer = Listener(), Pacer(4.0)
    source = FakeSource(200)
    pipeline = run(source, listener, pacer=pacer)
    pipeline._parts.tracker = ReplayTracker(FindingRules(LABELS, background=("background",)))
    pacer.pause()
    pipeline.start()
    seen = threading.Event()
    listener.analysed = lambda analysis: (  # type: ignore[method-assign]
        listener.frames.append(analysis.frame.pts or 0),
        seen.set() if analysis.frame.epoch == 1 else None,
    )
    pipeline.seek(7.0)
    assert seen.wait(5)
    assert listener.frames[-1] == 175
    pipeline.stop()
    assert balanced(pipeline.join())


def test_sampling_in_seconds_and_the_published_way() -> None:
    def frames(rate: float, count: int) -> list[Frame]:
        image = np.zeros((2, 2, 3), np.uint8)
        return [Frame(k, k, Fraction(1, 1), k / rate, image, k / rate, 0.0) for k in range(count)]

    every = Sampler(every=0.5)
    assert [f.time for f in frames(25, 60) if every.choose(f) == "take"] == [0.0, 0.52, 1.0, 1.52, 2.0]
    until = Sampler(until=1.0)
    assert [until.choose(f) for f in frames(25, 26)] == ["take"] * 25 + ["stop"]
    published = published_sampler(29.97)
    chosen = [published.choose(f) for f in frames(29.97, 1900)]
    assert chosen.index("stop") == 1798 and [k for k, c in enumerate(chosen[:1798]) if c == "take"][:3] == [
        0,
        5,
        10,
    ]
