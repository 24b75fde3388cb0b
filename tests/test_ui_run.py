"""The window around a run: the bridge between threads, the controller's decisions, what the window shows."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endostream_ui import app as window_app
from endostream_ui.actions import ACTIONS
from endostream_ui.bridge import Bridge
from endostream_ui.controller import Controller
from endostream_ui.dialogs import PackDialog
from endostream_ui.footer import NOTICE
from endostream_ui.indicator import Kind
from endostream_ui.life import shown_spec
from endostream_ui.main_window import MainWindow
from endostream_ui.preferences import Preferences
from endostream_ui.samples import Layers, Sample
from endostream_ui.source_dialog import SourceChoice, SourceDialog
from endostream_ui.wiring import Wiring
from PIL import Image
from PySide6.QtCore import QObject, Qt, QThread, Slot
from PySide6.QtWidgets import QApplication, QMenu
from small import write_pack, write_video
from ui_fakes import (
    Builds,
    analysis,
    finding,
    frame,
    live_frame,
    opened,
    qt,  # noqa: F401
    run_info,
    settle,
    span,
    spin,
)

from endostream.capture.devices import DeviceInfo
from endostream.config import Settings
from endostream.errors import InputError
from endostream.types import FindingEvent, RunInfo

Open = Callable[..., tuple[MainWindow, Controller, Builds]]


@pytest.fixture
def opens(qt: QApplication, tmp_path: Path) -> Iterator[Open]:  # noqa: F811
    """A window over fake pipelines; closed and deleted after the test."""
    made: list[tuple[MainWindow, Controller, Wiring]] = []

    def make(
        info: RunInfo | None = None, error: Exception | None = None, source: str | None = "/x/clip.mp4"
    ) -> tuple[MainWindow, Controller, Builds]:
        builds = Builds(info, error)
        controller = Controller(Settings(), build=builds)
        window = MainWindow(controller, Preferences(tmp_path / "window.ini"))
        made.append((window, controller, Wiring(controller, window)))
        window.show()
        if source is not None:
            controller.open(source)
            spin(lambda: controller.running or controller.failure)
            settle()
        return window, controller, builds

    yield make
    for window, controller, _ in made:
        controller.close()
        window.close()
        window.deleteLater()
        controller.deleteLater()


class Catcher(QObject):
    """Receives on the thread it lives on, and remembers which that was."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[int, Any, bool]] = []

    @Slot(int, object)
    def take(self, run: int, value: object) -> None:
        """Remember a value."""
        self.got.append((run, value, QThread.currentThread() is self.thread()))


def test_bridge_carries_every_fact_to_the_main_thread_in_order(qt: QApplication) -> None:  # noqa: F811
    bridge, catcher = Bridge(7), Catcher()
    for signal in (bridge.runOpened, bridge.sampled, bridge.findingChanged, bridge.blindSpanEnded):
        signal.connect(catcher.take, Qt.ConnectionType.QueuedConnection)

    def work() -> None:
        bridge.opened(run_info())
        for index in range(500):
            bridge.analysed(analysis(frame(index)))
        bridge.found(opened())
        bridge.blind(span(1.0, 2.0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not catcher.got, "nothing may run on the pipeline's thread"
    spin(lambda: len(catcher.got) == 503)
    assert all(run == 7 and here for run, _, here in catcher.got)
    samples = [value for _, value, _ in catcher.got if isinstance(value, Sample)]
    assert [s.index for s in samples] == list(range(500))
    assert not any(hasattr(s, "image") or hasattr(s, "frame") for s in samples)


def test_run_is_shown_from_picture_to_finding(opens: Open) -> None:
    window, controller, builds = opens()
    pipe = builds.last
    assert controller.indicator.kind is Kind.STARTING
    assert window.scores.heading == "NOT ANALYSED"
    pipe.show(frame(1), analysis(frame(1), top="background"))
    spin(lambda: controller.indicator.kind is Kind.ANALYSING)
    assert window.view.frame_shown is not None and window.scores.rows[0][0] == "background"
    pipe.show(frame(2), analysis(frame(2)))
    pipe.tell(("found", opened()))
    spin(lambda: controller.indicator.kind is Kind.FINDING)
    assert window.strip.indicator.detail == "polyps"
    assert window.findings.findings[0].label == "polyps"
    spin(lambda: window.findings.row((1, False))._still is not None)
    pipe.show(frame(30), None)
    spin(lambda: controller.indicator.kind is Kind.DELAYED)
    assert window.view.analysis_shown is None
    pipe.show(frame(31), analysis(frame(31), visible=False))
    spin(lambda: controller.indicator.kind is Kind.BLIND)
    assert window.scores.heading == "NOT JUDGED: blurred"


def test_live_source_has_no_playing_buttons_and_no_signal_is_not_no_finding(opens: Open) -> None:
    window, controller, builds = opens(run_info(None, live=True), source="webcam:0")
    assert not window.act["play"].isEnabled() and not controller.seekable
    shown = live_frame(1)
    builds.last.show(shown, analysis(shown))
    spin(lambda: controller.indicator.kind is Kind.ANALYSING)
    builds.last.state = "no-signal"
    spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
    assert window.scores.heading == "NO SIGNAL"
    controller.seek(3.0)
    assert ("seek", 3.0) not in builds.last.asked


def test_failing_build_becomes_a_banner_and_the_window_lives(opens: Open) -> None:
    error = InputError("no such file: clip.mp4; check the name")
    window, controller, _ = opens(error=error)
    spin(lambda: controller.indicator.kind is Kind.FAILED)
    assert window.strip.indicator.detail == str(error)
    assert window.banner.notice is not None and window.banner.notice.text == str(error)
    assert window.banner.isVisible() and window.scores.heading == "NOT ANALYSED"
    assert not controller.busy


def test_unforeseen_error_has_one_line_and_what_to_do(opens: Open) -> None:
    window, _, _ = opens(error=ZeroDivisionError("division\nby zero"))
    spin(lambda: window.banner.notice is not None)
    assert window.banner.notice is not None
    assert "\n" not in window.banner.notice.text and "endostream doctor" in window.banner.notice.text


def test_run_that_breaks_says_so_and_keeps_its_last_picture(opens: Open) -> None:
    window, controller, builds = opens()
    builds.last.show(frame(1), analysis(frame(1)))
    spin(lambda: window.view.frame_shown is not None)
    builds.last.error = InputError("the device is gone; plug it in again")
    builds.last.over.set()
    spin(lambda: controller.indicator.kind is Kind.FAILED)
    assert "plug it in again" in window.strip.indicator.detail
    assert window.view.frame_shown is not None and window.scores.heading == "NOT ANALYSED"


def test_error_nobody_caught_becomes_a_banner_and_the_hook_goes_with_the_window(opens: Open) -> None:
    window, controller, _ = opens(source=None)
    before = sys.excepthook
    with window_app._Hook(controller):
        sys.excepthook(KeyError, KeyError("lost"), None)
    assert window.banner.notice is not None and "KeyError" in window.banner.notice.text
    assert sys.excepthook is before


def test_failed_sink_is_told_once_while_the_picture_goes_on(opens: Open) -> None:
    window, controller, builds = opens()
    builds.last.more = {"sinks": {"session": "disk full"}}
    spin(lambda: window.banner.notice is not None)
    assert window.banner.notice is not None and "session failed: disk full" in window.banner.notice.text
    window.banner.clear()
    builds.last.show(frame(1), analysis(frame(1), top="background"))
    spin(lambda: controller.indicator.kind is Kind.ANALYSING)
    later: list[object] = []
    controller.measured.connect(lambda status, age: later.append(status))
    spin(lambda: len(later) >= 2)
    assert window.banner.notice is None


WISHES = {
    "play": ("pause",),
    "start": ("seek", 0.0),
    "forward": ("seek", 5.4),
    "next": ("seek", 6.0),
    "faster": ("speed", 2.0),
    "slower": ("speed", 0.5),
    "confirm": ("review", 2, "confirmed"),
    "reject": ("review", 2, "rejected"),
    "stop": ("stop",),
    "step_forward": ("seek", 0.42),
    "step_back": ("seek", 0.34),
}


@pytest.mark.parametrize("key", WISHES)
def test_wish_reaches_the_pipeline(opens: Open, tmp_path: Path, key: str) -> None:
    window, controller, builds = opens()
    controller._folder = tmp_path
    builds.last.show(frame(10), analysis(frame(10)))
    builds.last.tell(("found", opened(1, 0.1)), ("found", opened(2, 6.0)))
    spin(lambda: window.act["confirm"].isEnabled() and controller.time > 0)
    window.act[key].trigger()
    assert WISHES[key] in builds.last.asked


@pytest.mark.parametrize("frames", [1, -1, 0])
def test_step_lands_on_the_neighbour_for_a_source_that_seeks_to_at_or_after(opens: Open, frames: int) -> None:
    _, controller, builds = opens()
    builds.last.show(frame(10))
    spin(lambda: controller.time > 0)
    controller.step(frames)
    asked = builds.last.asked[-1][1]
    times = [index / 25 for index in range(250)]
    assert next(t for t in times if t >= asked) == pytest.approx((10 + frames) / 25)
    assert ("pause",) in builds.last.asked


def test_heat_map_is_asked_for_only_while_it_is_looked_at(opens: Open) -> None:
    window, controller, builds = opens()
    assert ("heatmap", window.layers.heatmap) in builds.last.asked
    window.act["heatmap"].trigger()
    assert builds.last.asked[-1] == ("heatmap", False)
    shown = frame(10)
    builds.last.show(shown, analysis(shown, heatmap=None))
    spin(lambda: controller.time > 0)
    window.act["heatmap"].trigger()
    assert builds.last.asked[-1] == ("heatmap", True), "the next frame brings it"
    window.act["hide"].trigger()
    assert builds.last.asked[-1] == ("heatmap", False)
    controller.set_playing(False)
    window.act["hide"].trigger()
    assert builds.last.asked[-2] == ("heatmap", True)
    assert builds.last.asked[-1] == ("seek", pytest.approx(9.5 / 25)), "a held picture is looked at again"


def test_verdict_shows_and_survives_later_changes_of_the_finding(opens: Open) -> None:
    window, controller, builds = opens()
    builds.last.show(frame(1), analysis(frame(1)))
    builds.last.tell(("found", opened()))
    spin(lambda: controller.indicator.kind is Kind.FINDING)
    window.act["reject"].trigger()
    spin(lambda: controller.indicator.kind is Kind.ANALYSING)
    builds.last.tell(("found", FindingEvent("closed", finding(1, 0.0, 2.0))))
    spin(lambda: window.findings.findings[0].end == 2.0)
    assert window.findings.findings[0].review == "rejected"


def test_verdict_on_a_landmark_reaches_the_session_as_one(opens: Open, tmp_path: Path) -> None:
    _, controller, builds = opens()
    controller._folder = tmp_path
    builds.last.show(frame(1), analysis(frame(1)))
    told: list[FindingEvent] = []
    controller.findingChanged.connect(told.append)
    builds.last.tell(("found", opened(1, 0.1, landmark=True)))
    spin(lambda: told)
    controller.review((1, True), "confirmed")
    assert ("review", 1, "confirmed", "landmark") in builds.last.asked


def test_late_words_of_an_earlier_run_are_not_heard(opens: Open) -> None:
    window, controller, builds = opens()
    first = builds.last
    first.tell(("found", opened()))
    controller.open("/x/other.mp4")
    spin(lambda: len(builds.made) == 2 and controller.running)
    assert ("stop",) in first.asked
    settle()
    first.tell(("found", opened(5)), ("analysed", analysis(frame(3))))
    settle()
    assert window.findings.findings == ()
    assert window.scores.heading == "NOT ANALYSED"


def test_going_back_in_a_file_is_replay_and_removed_findings_go(opens: Open) -> None:
    window, controller, builds = opens()
    builds.last.show(frame(100), analysis(frame(100)))
    builds.last.tell(("found", FindingEvent("closed", finding(1, 1.0, 2.0))))
    spin(lambda: controller.indicator.kind is Kind.ANALYSING)
    back = replace(frame(35), epoch=1)
    builds.last.latest_analysis.set(None)
    builds.last.show(back)
    spin(lambda: controller.indicator.kind is Kind.STARTING)
    builds.last.show(back, analysis(back))
    spin(lambda: controller.indicator.kind is Kind.REPLAY)
    assert "polyps" in controller.indicator.detail
    builds.last.tell(("found", FindingEvent("removed", finding(1, 1.0, 2.0))))
    spin(lambda: window.findings.findings == ())


def test_end_is_quiet_and_offers_the_report_then_a_click_looks_again(opens: Open, tmp_path: Path) -> None:
    window, controller, builds = opens(source=None)
    controller._keep = lambda spec: tmp_path
    (tmp_path / "report.html").write_text("report")
    controller.open("/x/clip.mp4")
    spin(lambda: controller.running)
    assert builds.asked[-1] == ("/x/clip.mp4", tmp_path)
    builds.last.show(frame(9), analysis(frame(9)))
    builds.last.tell(("found", opened()))
    builds.last.over.set()
    spin(lambda: not controller.busy)
    assert controller.indicator.kind is Kind.FINISHED
    assert window.banner.notice is not None
    assert (window.banner.notice.text, window.banner.notice.action) == ("Finished: 1 finding.", "report")
    assert window.act["report"].isEnabled() and controller.report == tmp_path / "report.html"
    controller.seek(4.0)
    spin(lambda: controller.running)
    assert builds.asked[-1] == ("/x/clip.mp4", None), "looking again records nothing"
    assert ("seek", 4.0) in builds.last.asked
    builds.last.tell(("found", opened(5)))
    builds.last.show(frame(100), analysis(frame(100)))
    spin(lambda: controller.indicator.kind is Kind.REPLAY)
    assert len(window.findings.findings) == 1


def test_closing_the_window_finishes_the_run_first(opens: Open) -> None:
    window, controller, builds = opens()
    builds.last.show(frame(1), analysis(frame(1)))
    window.close()
    assert ("stop",) in builds.last.asked
    spin(lambda: not window.isVisible())
    assert not controller.busy and builds.last.state == "finished"


def test_every_action_is_in_the_menu_and_in_the_help_with_its_key(opens: Open) -> None:
    window, _, _ = opens(source=None)
    menu = window.strip.menu_button.menu()
    listed = [a.objectName() for part in menu.findChildren(QMenu) for a in part.actions()]
    assert sorted(listed) == sorted(a.key for a in ACTIONS)
    assert set(window.help.listed) == {a.key for a in ACTIONS}
    for action in ACTIONS:
        made = window.act[action.key]
        assert action.shown_key in made.toolTip() and made in window.actions()


def test_switches_show_and_hide_without_covering_the_picture(opens: Open) -> None:
    window, _, builds = opens()
    builds.last.show(frame(1), analysis(frame(1)))
    spin(lambda: window.view.frame_shown is not None)
    window.act["help"].setChecked(True)
    settle()
    assert window.help.isVisible()
    assert not window.help.geometry().translated(window.side.pos()).intersects(window.view.geometry())
    window.act["leave"].trigger()
    assert not window.help.isVisible()
    window.act["full"].setChecked(True)
    settle()
    shown = [window.strip, window.view, window.footer.notice]
    hidden = [window.side, window.timeline, window.transport, window.strip.menu_button]
    assert [w.isVisible() for w in shown] == [True] * 3
    assert [w.isVisible() for w in hidden] == [False] * 4
    assert window.footer.notice.text() == NOTICE
    window.act["leave"].trigger()
    assert not window.isFullScreen() and window.side.isVisible()
    for key, part in (("side", window.side), ("timeline", window.timeline)):
        window.act[key].setChecked(False)
        assert not part.isVisible()
    assert window.act["heatmap"].isChecked() is window.layers.heatmap
    window.act["hide"].setChecked(True)
    assert window.layers.hidden and not window.layers.shows_contour


def test_opacity_and_theme_are_remembered_but_hiding_is_not(opens: Open, tmp_path: Path) -> None:
    window, _, _ = opens(source=None)
    window.set_opacity(0.35)
    window.act["heatmap"].setChecked(True)
    window.act["hide"].setChecked(True)
    window.act["light"].setChecked(True)
    window.close()
    later = Preferences(tmp_path / "window.ini")
    assert later.layers == Layers(heatmap=True, contour=True, hidden=False, opacity=0.35)
    assert later.theme == "light"
    later.source = "rtsp://user:secret@tower/live"
    later.save()
    assert "secret" not in (tmp_path / "window.ini").read_text()
    assert shown_spec("rtsp://user:secret@tower/live") == "rtsp://tower/live"


def test_still_is_saved_as_shown_with_its_notice(opens: Open, tmp_path: Path) -> None:
    window, controller, builds = opens()
    controller._folder = tmp_path
    builds.last.show(frame(25), analysis(frame(25)))
    spin(lambda: window.act["still"].isEnabled() and window.view.analysis_shown is not None)
    window.act["still"].trigger()
    spin(lambda: "Still saved" in window.footer.word)
    (path,) = (tmp_path / "stills").glob("*.png")
    with Image.open(path) as picture:
        assert picture.width == 320 and picture.height > 240, "a bar with the notice lies under the picture"
        assert picture.info["Description"] == "Research use only. Not for diagnosis. Patient text mask: none."


def test_still_that_cannot_be_saved_is_a_notice(opens: Open, tmp_path: Path) -> None:
    window, controller, builds = opens()
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    controller._folder = blocked
    builds.last.show(frame(25))
    spin(lambda: window.act["still"].isEnabled())
    window.act["still"].trigger()
    spin(lambda: window.banner.notice is not None)
    assert window.banner.notice is not None and "the still was not saved" in window.banner.notice.text


def test_figures_tell_rates_drops_age_and_engine(opens: Open) -> None:
    window, _, builds = opens()
    builds.last.show(frame(1), analysis(frame(1)))
    spin(lambda: "overlay 0 ms" in window.footer.figures)
    for part in ("in 25.0 fps", "analysed 22.5 fps", "90 analysed", "10 dropped", "openvino cpu bf16"):
        assert part in window.footer.figures


def test_choosers_are_not_modal_and_name_the_import_command(opens: Open) -> None:
    window, _, _ = opens(source=None)
    sources, packs = SourceDialog(window, window.preferences), PackDialog(window, "polyp")
    chosen: list[SourceChoice] = []
    sources.taken.connect(chosen.append)
    sources.set_devices([DeviceInfo("/dev/video0", "USB capture", "v4l2")])
    for dialog in (sources, packs):
        dialog.show()
        assert not dialog.isModal() and QApplication.activeModalWidget() is None
    assert packs.can_use("endodinov2") is False
    assert packs.command_for("endodinov2") == "endostream packs import FILE FILE --pack endodinov2"
    sources.devices.itemActivated.emit(sources.devices.item(0))
    assert chosen == [SourceChoice("/dev/video0", "", "/dev/video0", device=True)]
    packs.close()


def test_dropped_file_is_opened(opens: Open) -> None:
    window, controller, builds = opens(source=None)
    window.view.fileDropped.emit("/x/dropped.mp4")
    spin(lambda: controller.running)
    assert builds.asked[-1][0] == "/x/dropped.mp4"


def test_timed_run_saves_a_picture_of_the_window_and_ends(qt: QApplication, tmp_path: Path) -> None:  # noqa: F811
    builds = Builds()
    shot = tmp_path / "shots" / "window.png"

    def build(*values: Any, **more: Any) -> Any:
        pipe = builds(*values, **more)
        pipe.latest_frame.set(frame(1))
        return pipe

    code = window_app.run("clip.mp4", Settings(), screenshot=shot, quit_after=0.2, keep=None, build=build)
    assert code == 0
    with Image.open(shot) as picture:
        assert picture.width >= 640
    failing = Builds(error=InputError("no such file; check the name"))
    assert window_app.run("clip.mp4", Settings(), quit_after=0.0, keep=None, build=failing) == 1


def test_real_run_is_kept_and_a_verdict_after_its_end_is_in_its_findings(
    qt: QApplication,  # noqa: F811
    tmp_path: Path,
) -> None:
    clip, session = write_video(tmp_path / "clip.mp4", 40), tmp_path / "session"
    settings = Settings(pack=str(write_pack(tmp_path / "tiny")), engine="torch", device="cpu")
    settings = replace(settings, visibility=replace(settings.visibility, enabled=False))
    refused = replace(settings.report, llm="http://127.0.0.1:9/v1")  # nobody listens there
    controller = Controller(replace(settings, report=refused), keep=lambda source: session)
    notices: list[str] = []
    controller.noticed.connect(lambda notice: notices.append(notice.text))
    window = MainWindow(controller, Preferences(tmp_path / "window.ini"))
    wiring = Wiring(controller, window)
    controller.open(str(clip))
    spin(lambda: controller.failure or (controller.indicator.kind is Kind.FINISHED), 60)
    assert controller.failure is None
    assert [f.label for f in window.findings.findings] == ["polyps"]
    assert controller.report == session / "report.html" and window.view.frame_shown is not None
    spin(lambda: any("the template stands" in text for text in notices))
    window.act["confirm"].trigger()
    controller.close()
    kept = json.loads((session / "findings.json").read_text())
    assert [f["review"] for f in kept["findings"]] == ["confirmed"]
    assert kept["frames"]["captured"] == 40
    del wiring
    window.deleteLater()
    controller.deleteLater()


def test_display_is_probed_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    assert window_app.display_available() is True
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert window_app.display_available() is False
    monkeypatch.setenv("QT_QPA_PLATFORM", "no-such-platform")
    assert window_app.display_available() is False
