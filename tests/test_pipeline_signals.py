"""A live run whose picture is lost, freezes, comes back, or comes too fast: what is told and counted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from endostream.analysis.visibility import BlindLedger
from endostream.errors import InputError, RunError
from endostream.pipeline.keeping import SessionSink
from endostream.pipeline.parts import Parts
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.sampling import Sampler
from endostream.pipeline.signals import FROZEN_S, Freeze
from endostream.pipeline.sinks import Background, QuietSink
from endostream.records.session import Session
from endostream.types import (
    Analysis,
    BlindSpan,
    Frame,
    Recording,
    RunInfo,
    SignalChange,
    SourceInfo,
    Status,
)

PATIENCE_S = 10.0


def frame(at: float, value: int = 90, epoch: int = 0, index: int = 0) -> Frame:
    image = np.full((64, 64, 3), value, np.uint8)
    return Frame(index, round(at * 1000), Fraction(1, 1000), at, image, at, 0.0, epoch)


class FakeLive:
    """A live source driven by the test: frames are pushed, the signal is said."""

    def __init__(self) -> None:
        self.info = SourceInfo("tower", "stream", True, False, False, 64, 64, 25.0, None, None)
        self.signal, self.detail, self.overrun, self.lag = True, "64x64, 25 fps", 0, 0.0
        self.warnings: tuple[str, ...] = ()
        self.skipped_packets = 0
        self.changed = threading.Condition()
        self.frames: deque[Frame] = deque()
        self.over = False
        self.listener: Callable[[SignalChange], None] | None = None

    def push(self, *frames: Frame) -> None:
        with self.changed:
            self.frames.extend(frames)
            self.changed.notify_all()

    def say(self, state: str, at: float) -> None:
        assert self.listener is not None
        self.signal = state != "lost"
        self.listener(SignalChange(state, at, 0.0, "because"))  # type: ignore[arg-type]

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        self.listener = listener

    def read(self) -> Frame | None:
        with self.changed:
            self.changed.wait_for(lambda: self.frames or self.over)
            return self.frames.popleft() if self.frames else None

    def seek(self, time: float) -> None:
        raise AssertionError

    def cancel(self) -> None:
        with self.changed:
            self.over = True
            self.changed.notify_all()

    close = cancel


class AtOnce:
    """An analyzer that has every answer at once."""

    depth, not_before, mask_ready, map_wanted = 1, 0.0, False, False

    def __init__(self) -> None:
        self.waiting: list[Frame] = []

    def ring(self, wake: Callable[[], None]) -> None:
        pass

    @property
    def pending(self) -> int:
        return len(self.waiting)

    @property
    def ready(self) -> bool:
        return bool(self.waiting)

    def submit(self, frame: Frame) -> None:
        self.waiting.append(frame)

    def finish(self) -> Analysis:
        return Analysis(self.waiting.pop(0), (), None, None, None, None, False, True, None)


class Ear(QuietSink):
    """Writes down everything it hears; `wait` waits for it."""

    name = "ear"

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.heard: list[object] = []

    def _hear(self, what: object) -> None:
        with self.changed:
            self.heard.append(what)
            self.changed.notify_all()

    def analysed(self, analysis: Analysis) -> None:
        self._hear(analysis.frame.time)

    def signalled(self, change: SignalChange) -> None:
        self._hear(change.state)

    def blind(self, span: BlindSpan) -> None:
        self._hear(span)

    def wait(self, *wanted: object) -> None:
        with self.changed:
            heard = self.changed.wait_for(lambda: all(w in self.heard for w in wanted), PATIENCE_S)
        assert heard, f"{wanted} not in {self.heard}"


class FakeRecorder:
    def __init__(self) -> None:
        self.fates: list[tuple[float, str]] = []
        self.frames: list[float] = []
        self.signals: list[str] = []
        self.calls: list[str] = []
        self.state, self.said = Recording("off"), ("the disk is slow",)

    def start(self, folder: object, *, before_s: float | None = None) -> None:
        self.calls.append(f"start {folder}")

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame.time)

    def fate(self, frame: Frame, fate: str, analysis: Analysis | None = None) -> None:
        self.fates.append((frame.time, fate))

    def signalled(self, change: SignalChange) -> None:
        self.signals.append(change.state)


class Live:
    """A run over a fake live source, with an ear."""

    def __init__(self, **more: object) -> None:
        self.source, self.ear = FakeLive(), Ear()
        info = RunInfo(self.source.info, {}, (), {}, {})
        parts = Parts(self.source, AtOnce(), None, info, blind=BlindLedger(0.4), sinks=[self.ear])  # type: ignore[arg-type]
        for name, value in more.items():
            setattr(parts, name, value)
        self.pipeline = Pipeline(parts)
        self.pipeline.start()

    def end(self) -> Status:
        self.pipeline.stop()
        return self.pipeline.join()


def test_a_loss_is_told_the_overlay_goes_and_the_ledger_knows() -> None:
    live = Live()
    live.source.push(frame(0.0, 10), frame(0.5, 20))
    live.ear.wait(0.5)
    assert live.pipeline.latest_analysis.get() is not None
    live.source.say("lost", 0.5)
    live.ear.wait("lost")
    status = live.pipeline.status()
    assert live.pipeline.latest_analysis.get() is None
    assert (status.state, status.signal) == ("no-signal", "64x64, 25 fps")
    live.source.say("good", 4.0)
    live.source.push(frame(4.0, 30, epoch=1))
    live.ear.wait("good", 4.0)
    assert live.pipeline.latest_analysis.get() is not None and live.pipeline.status().state == "running"
    live.end()
    assert BlindSpan(0.5, 4.0, "no-signal") in live.ear.heard


def test_an_analysis_that_was_under_way_at_the_loss_is_not_drawn() -> None:
    live = Live()
    live.source.say("lost", 0.0)
    live.ear.wait("lost")
    live.source.push(frame(0.1, 10))
    live.ear.wait(0.1)
    assert live.pipeline.latest_analysis.get() is None
    live.end()


def test_a_loss_at_the_end_of_a_run_is_in_the_ledger() -> None:
    live = Live()
    live.source.push(frame(0.0, 10))
    live.ear.wait(0.0)
    live.source.say("lost", 0.0)
    live.ear.wait("lost")
    live.source.say("good", 2.0)
    live.ear.wait("good")
    live.end()
    assert BlindSpan(0.0, 2.0, "no-signal") in live.ear.heard


def test_a_frozen_picture_is_a_state_of_its_own() -> None:
    live = Live()
    times = [i / 10 for i in range(16)]
    for at in times:  # one by one: none is dropped
        live.source.push(frame(at, 50 if at else 40))
        live.ear.wait(at)
    live.ear.wait("frozen")
    assert live.pipeline.status().state == "frozen"
    assert live.pipeline.latest_analysis.get() is not None, "its analysis is still true"
    live.source.push(frame(1.6, 60))
    live.ear.wait(1.6, "good")
    assert live.pipeline.status().state == "running"
    live.end()
    spans = [h for h in live.ear.heard if isinstance(h, BlindSpan)]
    assert [s.reason for s in spans] == ["frozen"]
    assert spans[0].start == pytest.approx(0.1) and spans[0].end == pytest.approx(1.6)


def test_noise_is_no_freeze_and_a_cut_ends_one() -> None:
    freeze, noise = Freeze(), np.random.default_rng(3)
    told = []
    for i in range(40):
        image = noise.normal(100, 4, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        told.append(freeze.look(replace(frame(i / 10), image=image)))
    assert told == [None] * 40
    for i in range(40, 60):
        told.append(freeze.look(replace(frame(i / 10), image=image)))
    changes = [c for c in told if c]
    assert [c.state for c in changes] == ["frozen"] and changes[0].time == pytest.approx(3.9)
    freeze.forget()
    assert not freeze.frozen and freeze.look(replace(frame(6.1), image=image)) is None


def test_a_coder_that_refines_a_still_picture_does_not_hide_the_freeze() -> None:
    freeze = Freeze()
    changes = [freeze.look(frame(i * FROZEN_S / 5, 90 + i % 3)) for i in range(8)]
    assert [c.state for c in changes if c] == ["frozen"]


def test_another_size_is_another_picture() -> None:
    freeze = Freeze()
    small = replace(frame(5.0), image=np.full((32, 32, 3), 90, np.uint8))
    assert freeze.look(frame(0.0)) is None and freeze.look(small) is None
    assert freeze.look(replace(small, captured=5.0 + FROZEN_S)) is not None


def test_pictures_that_nobody_took_are_captured_and_dropped() -> None:
    live = Live()
    live.source.push(frame(0.0, 10))
    live.ear.wait(0.0)
    live.source.overrun = 3
    live.source.push(frame(1.0, 20))
    live.ear.wait(1.0)
    counts = live.end().counts
    assert (counts.captured, counts.analysed, counts.dropped, counts.pending) == (5, 2, {"late": 3}, 0)


def test_a_lost_signal_does_not_make_a_run_longer() -> None:
    live = Live(sampler=Sampler(until=0.2, live=True))
    live.source.push(frame(0.0, 10))
    live.ear.wait(0.0)
    live.source.say("lost", 0.0)
    status = live.pipeline.join(PATIENCE_S)
    assert (status.state, status.finish) == ("finished", "completed")


def test_the_recorder_hears_every_frame_its_fate_and_every_change() -> None:
    recorder = FakeRecorder()
    live = Live(recorder=recorder, folder="session", record=True)
    live.source.push(frame(0.0, 10))
    live.ear.wait(0.0)
    live.source.say("lost", 0.0)
    live.ear.wait("lost")
    status = live.pipeline.status()
    assert status.recording == Recording("off") and "the disk is slow" in status.warnings
    live.pipeline.record(False)
    live.end()
    assert recorder.frames == [0.0] and recorder.fates == [(0.0, "analysed")]
    assert recorder.signals == ["lost"]
    assert recorder.calls == ["start session", "stop", "close"]


class FullDisk(QuietSink):
    name = "session"

    def analysed(self, analysis: Analysis) -> None:
        raise RunError("disk full; free some space")


def test_headless_a_live_run_that_keeps_nothing_more_ends_and_fails() -> None:
    live = Live(sinks=[FullDisk()], watched=False)
    live.source.push(frame(0.0, 10))
    with pytest.raises(RunError, match="disk full; free some space"):
        live.pipeline.join(PATIENCE_S)
    assert live.pipeline.status().finish == "failed"


def test_in_the_window_it_goes_on_and_says_so() -> None:
    live = Live(sinks=[FullDisk(), ear := Ear()])
    for at in (0.0, 1.0):
        live.source.push(frame(at, round(20 * at)))
        ear.wait(at)
    status = live.end()
    assert (status.finish, status.sinks) == ("stopped", {"session": "disk full; free some space"})


def test_a_run_without_a_recorder_says_what_to_do() -> None:
    live = Live()
    with pytest.raises(InputError, match="a file is its own recording"):
        live.pipeline.record(True)
    live.end()


def test_what_a_window_shows_is_measured() -> None:
    live = Live()
    assert live.pipeline.status().shown_age_ms == {}
    live.source.push(frame(0.0, 10))
    live.ear.wait(0.0)
    analysis = live.pipeline.latest_analysis.get()
    assert analysis is not None
    live.pipeline.shown(analysis.frame, analysis)
    live.pipeline.shown(analysis.frame, None)
    status = live.end()
    assert status.shown_age_ms["p50_ms"] > 0 and status.overlay_age_ms["p50_ms"] > 0
    assert status.display_fps > 0


class Kept(SessionSink):
    """A session sink that says when it has written a change down."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written = threading.Semaphore(0)

    def signalled(self, change: SignalChange) -> None:
        super().signalled(change)
        self.written.release()


def test_the_ledger_of_a_session_keeps_the_loss(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    ear, kept = Ear(), Kept(folder)
    live = Live(sinks=[ear, Background(kept)])
    for at in (0.0, 0.5):
        live.source.push(frame(at, round(10 + 20 * at)))
        ear.wait(at)
    live.source.say("lost", 0.5)
    assert kept.written.acquire(timeout=PATIENCE_S)
    # What was seen before the silence is on the disk while it lasts.
    assert Session.open(folder).analysed == 2
    assert [e.kind for e in Session.open(folder).events()][-1] == "signal"
    live.source.say("good", 3.0)
    for at in (3.0, 3.1):
        live.source.push(frame(at, round(20 * at), epoch=1))
        ear.wait(at)
    live.end()
    session = Session.open(folder)
    assert session.blind == (BlindSpan(0.5, 3.0, "no-signal"),)
    assert "no-signal" in (folder / "findings.json").read_text()


class Slow(AtOnce):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.let = threading.Event(), threading.Event()

    def finish(self) -> Analysis:
        self.entered.set()
        assert self.let.wait(PATIENCE_S)
        return super().finish()


def test_a_loss_that_is_over_before_anybody_could_hear_of_it_is_in_the_ledger() -> None:
    slow = Slow()
    live = Live(analyzer=slow)
    live.source.push(frame(0.0, 10))
    assert slow.entered.wait(PATIENCE_S)
    live.source.say("lost", 0.0)
    live.source.say("good", 2.0)
    slow.let.set()
    live.ear.wait("lost", "good")
    live.end()
    assert BlindSpan(0.0, 2.0, "no-signal") in live.ear.heard


def test_a_run_that_ends_without_a_signal_was_blind_up_to_its_end() -> None:
    live = Live()
    seen = replace(frame(5.0, 10), captured=time.monotonic() - 30.0)
    live.source.push(seen)
    live.ear.wait(5.0)
    live.source.say("lost", 5.0)
    live.ear.wait("lost")
    live.end()
    (span,) = [h for h in live.ear.heard if isinstance(h, BlindSpan)]
    assert (span.start, span.reason) == (5.0, "no-signal") and span.end == pytest.approx(35.0, abs=5.0)
