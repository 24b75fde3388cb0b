"""The window over a live source: lost, frozen and back, synced pictures, recording, sources that hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endostream_ui import app as window_app
from endostream_ui import observer, record
from endostream_ui.controller import Controller
from endostream_ui.indicator import Kind
from endostream_ui.life import troubles
from endostream_ui.main_window import MainWindow
from endostream_ui.outage import SignalWatch
from endostream_ui.preferences import Preferences
from endostream_ui.record import recording_figures, recording_words
from endostream_ui.wiring import Wiring
from PySide6.QtCore import QElapsedTimer, QTimer
from PySide6.QtWidgets import QApplication
from ui_fakes import Builds, FakePipeline, analysis, live_frame, opened, qt, run_info, settle, span, spin  # noqa: F401

from endostream.config import Settings
from endostream.errors import InputError
from endostream.types import BlindSpan, Frame, FrameCounts, Recording, SignalChange, Status

Open = Callable[..., tuple[MainWindow, Controller, FakePipeline]]


@pytest.fixture
def opens(qt: QApplication, tmp_path: Path) -> Iterator[Open]:  # noqa: F811
    """A window over a fake live source; closed and deleted after the test."""
    made: list[tuple[MainWindow, Controller, Wiring]] = []

    def make(profile: str = "none", live: bool = True) -> tuple[MainWindow, Controller, FakePipeline]:
        builds = Builds(run_info(None, live=True) if live else run_info())
        controller = Controller(Settings(profile=profile), build=builds)
        window = MainWindow(controller, Preferences(tmp_path / "window.ini"))
        made.append((window, controller, Wiring(controller, window)))
        window.show()
        controller.open("webcam:0")
        spin(lambda: controller.running)
        settle()
        return window, controller, builds.last

    yield make
    for window, controller, _ in made:
        controller.close()
        window.close()
        window.deleteLater()
        controller.deleteLater()


def watched(pipe: FakePipeline, controller: Controller, index: int = 10) -> Frame:
    """A picture with a finding on it, seen."""
    shown = live_frame(index)
    pipe.show(shown, analysis(shown))
    pipe.tell(("found", opened(1, shown.time)))
    spin(lambda: controller.indicator.kind is Kind.FINDING)
    return shown


def quiet(controller: Controller) -> None:
    """Leave only the poll of 16 ms: what follows does not wait for the one of 250 ms."""
    controller._slow.stop()


def test_lost_signal_clears_everything_at_once_and_dims_the_picture(opens: Open) -> None:
    window, controller, pipe = opens()
    shown = watched(pipe, controller)
    window.view.grab()
    quiet(controller)
    pipe.signal("lost", "no picture for 1 s", shown.time)
    spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
    assert window.view.analysis_shown is None and not window.view._marked
    assert window.scores.heading == "NO SIGNAL" and window.scores.rows == ()
    assert "no picture for 1 s" in window.strip.indicator.detail
    assert "this is the last picture" in window.view.overlay_line()
    assert window.view.frame_shown is shown
    assert QApplication.activeModalWidget() is None


def test_overlay_goes_with_the_analysis_before_anybody_says_why(opens: Open) -> None:
    window, controller, pipe = opens()
    watched(pipe, controller)
    assert window.view.analysis_shown is not None
    quiet(controller)
    pipe.state = "no-signal"
    pipe.latest_analysis.set(None)  # the sinks hear of it later: the networks are busy
    spin(lambda: window.view.analysis_shown is None)
    assert controller.indicator.kind is Kind.NO_SIGNAL, "asked for in the same poll"


@pytest.mark.parametrize("how", ["a picture", "a word"])
def test_picture_back_is_as_before_within_one_poll(opens: Open, how: str) -> None:
    window, controller, pipe = opens()
    shown = watched(pipe, controller)
    quiet(controller)
    pipe.signal("lost", "gone", shown.time)
    spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
    back = live_frame(40, epoch=1)
    if how == "a word":
        pipe.signal("good", "1280x720")
    pipe.latest_frame.set(back)
    spin(lambda: window.view.frame_shown is back)
    settle()
    assert window.view._outage is None and controller.indicator.kind is Kind.STARTING
    pipe.state = "running"
    pipe.show(back, analysis(back, top="background"))
    spin(lambda: controller.indicator.kind is Kind.FINDING)
    assert window.scores.heading == "what the AI sees now" and window.scores.rows


def test_picture_taken_before_the_loss_was_noticed_does_not_end_it(opens: Open) -> None:
    window, controller, pipe = opens()
    shown = watched(pipe, controller)
    quiet(controller)
    late = live_frame(11, ago=0.5)
    pipe.signal("lost", "gone", shown.time)
    spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
    pipe.latest_frame.set(late)
    spin(lambda: window.view.frame_shown is late)
    assert controller.indicator.kind is Kind.NO_SIGNAL


def test_late_status_of_a_run_neither_hides_nor_brings_back_a_loss(opens: Open) -> None:
    _, controller, pipe = opens()
    shown = watched(pipe, controller)
    quiet(controller)
    running = pipe.status()
    pipe.signal("lost", "gone", shown.time)
    lost = pipe.status()
    pipe.tell(("stated", running))
    settle()
    assert controller.indicator.kind is Kind.NO_SIGNAL
    pipe.signal("good")
    pipe.tell(("stated", lost))
    settle()
    assert controller.indicator.kind is not Kind.NO_SIGNAL


def test_frozen_is_a_state_of_its_own_and_the_picture_stays(opens: Open) -> None:
    window, controller, pipe = opens()
    shown = watched(pipe, controller, 100)
    quiet(controller)
    pipe.signal("frozen", "", shown.time - 3.0)
    spin(lambda: controller.indicator.kind is Kind.FROZEN)
    assert controller.indicator.detail == "the picture has not changed for 3 s"
    assert window.view.overlay_line() == "frozen: the picture has not changed for 3 s"
    assert window.scores.heading == "NOT JUDGED: picture frozen" and window.view.frame_shown is shown
    again = live_frame(101)
    pipe.show(again, analysis(again))
    spin(lambda: window.view.frame_shown is again)
    assert controller.indicator.kind is Kind.FROZEN, "the same picture again is no new picture"
    pipe.signal("good")
    spin(lambda: controller.indicator.kind is Kind.FINDING)
    assert window.scores.heading == "what the AI sees now"


def test_full_screen_says_it_too(opens: Open) -> None:
    window, controller, pipe = opens()
    shown = watched(pipe, controller)
    window.act["full"].setChecked(True)
    pipe.signal("lost", "gone", shown.time)
    spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
    assert window.strip.isVisible() and window.strip.indicator.look.word == "NO SIGNAL"
    assert window.view.isVisible() and window.view._outage is not None


def test_blind_lane_shows_the_loss_while_it_lasts_and_the_ledgers_own_after(opens: Open) -> None:
    window, controller, pipe = opens()
    shown = watched(pipe, controller)
    pipe.signal("lost", "gone", shown.time)
    spin(lambda: "blind: no signal" in window.timeline.described(shown.time + 0.01))
    pipe.signal("lost", "no route to host", shown.time)
    spin(lambda: "no route" in controller.indicator.detail)
    assert window.timeline.described(shown.time + 0.01).count("no signal") == 1
    pipe.signal("good")
    pipe.tell(("blind", BlindSpan(shown.time, shown.time + 5.0, "no-signal")))
    spin(lambda: "blind: no signal" in window.timeline.described(shown.time + 4.9))
    assert window.timeline.described(shown.time + 0.01).count("no signal") == 1
    pipe.tell(("blind", BlindSpan(20.0, 21.0, "frozen")))
    spin(lambda: "blind: picture frozen" in window.timeline.described(20.5))


def test_reasons_of_a_loss_are_taken_from_whoever_knows_them() -> None:
    signal, frame = SignalWatch(), live_frame(5)
    now = frame.captured + 2.0
    signal.read("no-signal", "", frame, now)
    assert signal.outage is not None and signal.outage.reason == ""
    signal.hear(SignalChange("lost", 0.2, 0.0, "connection refused"), frame, now + 0.1)
    assert signal.outage.reason == "connection refused" and signal.outage.since == frame.captured
    signal.read("no-signal", "no route to host", frame, now + 1)
    assert signal.outage.reason == "no route to host"
    assert signal.outage.lasted(frame.captured + 125) == "2 min 05 s"
    signal.read("running", "", frame, now + 2)
    assert signal.outage is None


def test_every_painted_picture_is_reported_once(opens: Open) -> None:
    window, controller, pipe = opens()
    for index in range(5):
        of = live_frame(index)
        pipe.show(of, analysis(of))
        spin(lambda of=of: window.view.frame_shown is of)
        for _ in range(3):
            window.view.grab()
    spin(lambda: len(pipe.painted) >= 5)
    assert [f.index for f, _ in pipe.painted] == [0, 1, 2, 3, 4]
    assert all(a is not None and a.frame is f for f, a in pipe.painted)
    window.act["hide"].setChecked(True)
    of = live_frame(9)
    pipe.show(of, analysis(of))
    spin(lambda: pipe.painted[-1][0] is of)
    assert pipe.painted[-1][1] is None, "no overlay was drawn"
    pipe.signal("lost", "gone", of.time)
    spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
    window.view.grab()
    assert len(pipe.painted) == 6, "a dimmed picture is not shown again"
    controller.shown(live_frame(77), None)
    assert len(pipe.painted) == 6, "a picture of another run is none of this one's"


def test_synced_mode_shows_the_analysed_picture_and_is_remembered(opens: Open, tmp_path: Path) -> None:
    window, controller, pipe = opens()
    window.act["synced"].setChecked(True)
    old = live_frame(10, ago=0.2)
    pipe.show(live_frame(15), analysis(old))
    spin(lambda: window.view.frame_shown is old)
    assert window.view.overlay_line() == "synced, 200 ms behind"
    assert controller.time == old.time and window.strip._time == old.time
    window.view.grab()
    assert pipe.painted[-1] == (old, pipe.latest_analysis.get())
    before = len(pipe.painted)
    newer = live_frame(16)
    pipe.show(newer)
    spin(lambda: controller._watch.newest is newer)
    window.view.grab()
    assert len(pipe.painted) == before, "the same picture is not counted again"
    assert window.view.overlay_line() == "synced, 240 ms behind"
    window.act["synced"].setChecked(False)
    assert window.view.frame_shown is newer
    window.act["synced"].setChecked(True)
    window.close()
    assert Preferences(tmp_path / "window.ini").synced


def test_synced_mode_gives_up_pictures_that_would_look_live(opens: Open) -> None:
    window, controller, pipe = opens()
    window.act["synced"].setChecked(True)
    pipe.show(live_frame(40), analysis(live_frame(10, ago=1.2)))
    spin(lambda: controller.indicator.kind is Kind.DELAYED)
    assert controller.indicator.detail == "the picture is 1.2 s behind"
    newest = live_frame(110)
    pipe.show(newest)
    spin(lambda: window.view.frame_shown is newest)
    assert "no analysis for 4.0 s, this is the newest picture" in window.view.overlay_line()


def test_stalled_source_is_said_before_it_counts_as_lost(opens: Open) -> None:
    _, controller, pipe = opens()
    stalled = live_frame(10, ago=0.7)
    pipe.show(stalled, analysis(stalled))
    spin(lambda: controller.indicator.kind is Kind.DELAYED)
    assert "no new picture for" in controller.indicator.detail


# Recording


def test_recording_shows_in_strip_switch_and_figures(opens: Open) -> None:
    window, _, pipe = opens()
    assert window.act["record"].isEnabled() and not window.act["record"].isChecked()
    assert "10 s before the press" in window.act["record"].toolTip()
    window.act["record"].trigger()
    spin(lambda: window.strip.recording == "REC 00:10")
    assert ("record", True) in pipe.asked and window.act["record"].isChecked()
    window.act["figures"].setChecked(True)
    pipe.more = {"recording": Recording("on", "encode", "x264", 75.0, 182.4, lost=3)}
    spin(lambda: window.strip.recording == "REC 01:15  3 lost")
    assert window.figures.shown["recording"] == "01:15  ·  182 MB\nencoded  ·  3 lost"
    window.act["record"].trigger()
    spin(lambda: ("record", False) in pipe.asked and window.strip.recording == "")
    assert not window.act["record"].isChecked()


def test_refused_recording_is_a_notice_and_the_switch_goes_back(
    opens: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, _, pipe = opens()
    monkeypatch.setattr(record, "SETTLING", 1000.0)  # the answer brings it back, not the time
    pipe.refuses = InputError("only 1.2 GB are left on the disk; free some space")
    window.act["record"].trigger()
    spin(lambda: window.banner.notice is not None)
    assert window.banner.notice is not None and "only 1.2 GB" in window.banner.notice.text
    spin(lambda: not window.act["record"].isChecked())


def test_undecided_patient_text_is_said_calmly_and_nothing_is_asked(opens: Open) -> None:
    window, _, pipe = opens(profile="")
    assert "mask: undecided" in window.strip._subject
    window.act["record"].trigger()
    assert window.banner.notice is not None
    assert (window.banner.notice.level, window.banner.notice.action) == ("info", "open")
    assert not window.act["record"].isChecked() and ("record", True) not in pipe.asked


def test_disk_that_does_not_answer_holds_up_nothing(opens: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    window, _, pipe = opens()
    held, answers = threading.Event(), threading.Event()

    def record(on: bool) -> None:
        held.set()
        answers.wait(10)

    monkeypatch.setattr(pipe, "record", record)
    window.act["record"].trigger()
    assert held.wait(5)
    shown = live_frame(3)
    pipe.show(shown, analysis(shown))
    spin(lambda: window.view.frame_shown is shown)
    assert window.act["record"].isChecked(), "what was asked for shows until there is an answer"
    answers.set()


def test_trouble_that_the_session_keeps_too_is_no_second_banner() -> None:
    line = "3 pictures are missing in the recording: the disk is slow"
    going = Status("running", warnings=(line,), recording=Recording("on", lost=3, reason=line))
    assert [n.text for n in troubles(going)] == [line]
    over = replace(going, recording=Recording("failed", reason=line))
    assert [n.text for n in troubles(over)] == [f"Recording ended: {line}. The picture goes on."]


def test_trouble_of_the_recording_is_told_once_and_the_picture_goes_on(opens: Open) -> None:
    window, controller, pipe = opens()
    told: list[str] = []
    controller.noticed.connect(lambda notice: told.append(notice.text))
    for lost in (1, 2, 3):
        reason = f"{lost} pictures are missing in the recording: the disk is slow"
        pipe.more = {"recording": Recording("on", lost=lost, reason=reason)}
        seen: list[object] = []
        controller.measured.connect(lambda status, age, seen=seen: seen.append(status))
        spin(lambda seen=seen: seen)
    assert told == [
        "Recording: 1 pictures are missing in the recording: the disk is slow. The picture goes on."
    ]
    pipe.more = {"recording": Recording("failed", seconds=9.0, reason="the disk is full; free some space")}
    spin(lambda: window.strip.recording == "REC ended")
    assert told[-1].startswith("Recording ended: the disk is full")
    assert controller.running and not window.act["record"].isChecked()


def test_a_file_has_no_record_switch(opens: Open) -> None:
    window, _, pipe = opens(live=False)
    assert not window.act["record"].isEnabled()
    window.set_recording(True)
    assert ("record", True) not in pipe.asked


def test_words_of_the_recording() -> None:
    assert recording_words(None) == recording_words(Recording()) == ""
    assert recording_figures(None) == "none: only live sources"
    assert recording_figures(Recording()) == "off"
    assert recording_figures(Recording("off", seconds=61.0, megabytes=9.6)) == "off  ·  01:01  ·  10 MB"
    assert (
        recording_figures(Recording("failed", seconds=61.0, megabytes=1800)) == "ended  ·  01:01  ·  1.8 GB"
    )


# Figures


def test_figures_tell_rates_ages_and_why_pictures_were_dropped(
    opens: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, controller, pipe = opens()
    ages = {"p50_ms": 38.0, "p95_ms": 61.0}
    status = Status(
        "running",
        counts=FrameCounts(12003, 10790, {"busy": 1200, "epoch": 13}),
        input_fps=30.0,
        fps=5.0,
        display_fps=29.9,
        shown_age_ms=ages,
        overlay_age_ms={"p50_ms": 212.0, "p95_ms": 1418.0},
    )
    monkeypatch.setattr(pipe, "status", lambda: status)
    window.act["figures"].setChecked(True)
    assert window.figures.isVisible()
    spin(lambda: window.figures.shown["input"] == "30.0 fps")
    shown = window.figures.shown
    assert (shown["analysis"], shown["display"]) == ("5.0 fps", "29.9 fps")
    assert shown["picture age"] == "38 ms   p95 61 ms" and shown["overlay age"] == "212 ms   p95 1.4 s"
    assert shown["dropped"] == "1\u2009213 of 12\u2009003\nbusy 1\u2009200  ·  cut 13"
    assert "1\u2009200: the networks were busy\n13: they were" in window.figures._values["dropped"].toolTip()
    for part in ("shown 29.9 fps", "picture p95 61 ms", "overlay p95 1.4 s"):
        assert part in window.footer.figures
    width = window.figures.minimumSizeHint().width()
    window.figures.set_status(replace(status, counts=FrameCounts(10**12, 0, {c: 10**9 for c in "abcdefg"})))
    assert window.figures.minimumSizeHint().width() == width, "no figure moves the picture"
    changes: list[int] = []
    controller.measured.connect(lambda *values: changes.append(1))
    clock = QElapsedTimer()
    clock.start()
    pipe.tell(*(("stated", status) for _ in range(50)))
    spin(lambda: len(changes) >= 2)
    assert len(changes) <= 1 + clock.elapsed() / 200, "figures change at most four times a second"
    window.act["side"].setChecked(False)
    window.act["figures"].setChecked(False)
    window.act["figures"].setChecked(True)
    assert window.figures.isVisible(), "asked for, they bring the side panel back"


# A source that keeps everybody waiting


class Stuck:
    """A composition root whose source hangs in a library, whatever it is told."""

    def __init__(self, say: str | None = None) -> None:
        self.entered, self.free = threading.Event(), threading.Event()
        self.words = say

    def __call__(self, spec: str, settings: Any, *, say: Any, cancelled: Any, **more: Any) -> Any:
        if self.words is not None:
            say(self.words)
        self.entered.set()
        self.free.wait(30)
        raise InputError("given up")


@pytest.fixture
def stuck(qt: QApplication, tmp_path: Path) -> Iterator[tuple[MainWindow, Controller, Stuck]]:  # noqa: F811
    build = Stuck()
    controller = Controller(Settings(), build=build)
    window = MainWindow(controller, Preferences(tmp_path / "window.ini"))
    wiring = Wiring(controller, window)
    window.show()
    controller.open("udp://user:secret@127.0.0.1:5000")
    assert build.entered.wait(10)
    yield window, controller, build
    build.free.set()
    controller.close()
    window.close()
    del wiring
    window.deleteLater()
    controller.deleteLater()


def test_open_waits_and_says_what_for_and_what_to_check(
    stuck: tuple[MainWindow, Controller, Stuck], monkeypatch: pytest.MonkeyPatch
) -> None:
    window, controller, _ = stuck
    spin(lambda: "waiting" in controller.indicator.detail)
    assert controller.indicator.kind is Kind.STARTING and window.act["stop"].isEnabled()
    assert controller.indicator.detail == "waiting for a picture from udp://127.0.0.1:5000"
    monkeypatch.setattr(observer, "PATIENT_MS", 0)
    spin(lambda: "check the address" in controller.indicator.detail)
    title, lines = window.view._message
    assert title == "Waiting for a picture"
    assert lines.splitlines() == [
        "udp://127.0.0.1:5000",
        "check the address, the sender and the network",
        "Esc gives up",
    ]


def test_escape_gives_up_a_source_that_hangs_within_two_seconds(
    stuck: tuple[MainWindow, Controller, Stuck],
) -> None:
    window, controller, _ = stuck
    began = time.monotonic()
    window.act["leave"].trigger()
    spin(lambda: not controller.busy)
    assert time.monotonic() - began < 2.0
    assert controller.indicator.kind is Kind.READY and window.banner.notice is None


def test_source_that_is_given_up_is_no_failure(opens: Open) -> None:
    window, controller, _ = opens()
    begun = threading.Event()

    def build(*values: Any, cancelled: threading.Event, **more: Any) -> Any:
        begun.set()
        assert cancelled.wait(10)
        raise InputError("udp://127.0.0.1:5000 gave no picture; check that it is switched on and sending")

    controller._run._build = build
    controller.stop()
    spin(lambda: not controller.busy)
    controller.open("udp://127.0.0.1:5000")
    assert begun.wait(10)
    window.banner.clear()
    window.act["leave"].trigger()
    spin(lambda: not controller.busy)
    assert controller.failure is None and window.banner.notice is None
    assert controller.indicator.kind is Kind.READY


def test_hanging_run_is_left_behind_and_the_next_source_opens(opens: Open) -> None:
    window, controller, pipe = opens()
    shown = live_frame(1)
    pipe.show(shown, analysis(shown))
    pipe.stop = lambda: pipe.asked.append(("stop",))  # type: ignore[method-assign]
    began = time.monotonic()
    controller.stop()
    spin(lambda: not controller.busy)
    assert time.monotonic() - began < 2.0
    assert window.banner.notice is not None and "hangs" in window.banner.notice.text
    controller.open("webcam:1")
    spin(lambda: controller.running)
    pipe.tell(("found", opened(7)))
    settle()
    assert window.findings.findings == (), "late words of the one left behind are not heard"
    pipe.over.set()


def test_run_that_is_ending_stays_so_whatever_its_source_does(opens: Open) -> None:
    _, controller, pipe = opens()
    pipe.stop = lambda: None  # type: ignore[method-assign]
    controller.stop()
    assert controller.indicator.kind is Kind.FINISHING
    pipe.signal("lost", "gone")
    controller._measure()
    settle()
    assert controller.indicator.kind is Kind.FINISHING
    pipe.over.set()


def test_session_that_is_being_written_is_waited_for(opens: Open) -> None:
    _, controller, pipe = opens()

    def stop() -> None:
        pipe.state = "finishing"

    pipe.stop = stop  # type: ignore[method-assign]
    controller.stop()
    patience = controller._run._patience
    patience.setInterval(1)
    patience.start()
    rang: list[int] = []
    patience.timeout.connect(lambda: rang.append(1))
    spin(lambda: len(rang) >= 3)
    assert controller.busy, "the source has let go: only the disk is waited for"
    pipe.over.set()
    spin(lambda: not controller.busy)
    assert controller.failure is None


def test_closing_waits_longer_for_the_disk_than_for_a_source(opens: Open) -> None:
    _, controller, pipe = opens()
    asked = threading.Event()

    def status() -> Status:
        asked.set()  # the source's time is over: now the session's counts
        return Status("finishing")

    def write() -> None:
        assert asked.wait(10)
        pipe.over.set()

    pipe.stop = lambda: None  # type: ignore[method-assign]
    pipe.status = status  # type: ignore[method-assign]
    controller._slow.stop()
    asked.clear()
    writer = threading.Thread(target=write)
    writer.start()
    controller.close(timeout=0.05, writing=10.0)
    writer.join()
    assert pipe.state == "finished"


@pytest.mark.parametrize("when", ["opening", "running"])
def test_window_goes_within_three_seconds_whatever_the_source_does(
    qt: QApplication,  # noqa: F811
    when: str,
) -> None:
    build: Any = Stuck() if when == "opening" else Builds(run_info(None, live=True))

    def hang(*values: Any, **more: Any) -> Any:
        pipe = build(*values, **more)
        pipe.stop = pipe.close = lambda: None
        return pipe

    began: list[float] = []

    def quit_when_there() -> None:
        ready = build.entered.is_set() if when == "opening" else bool(build.made)
        if ready and not began:
            began.append(time.monotonic())
            for widget in qt.topLevelWidgets():
                if isinstance(widget, MainWindow):
                    widget.close()

    timer = QTimer(interval=50)
    timer.timeout.connect(quit_when_there)
    timer.start()
    code = window_app.run(
        "udp://127.0.0.1:5000", Settings(), keep=None, build=build if when == "opening" else hang
    )
    timer.stop()
    assert time.monotonic() - began[0] < 3.0 and code in (0, 1)
    (build.free if when == "opening" else build.last.over).set()


def test_profile_is_named_in_the_strip_and_survives_another_pack(opens: Open) -> None:
    window, controller, first = opens(profile="")
    controller.open("webcam:1", Settings(profile="text-left"))
    spin(lambda: controller.running and controller._pipeline is not first)
    pipe: Any = controller._pipeline
    assert "mask: none" in window.strip._subject, "what the run says it masks, not what was asked for"
    controller.use_pack("endodinov2")
    spin(lambda: ("stop",) in pipe.asked and controller.running and controller._pipeline is not pipe)
    assert controller._wish is not None
    assert (controller._wish.settings.pack, controller.profile) == ("endodinov2", "text-left")
