"""The chooser of sources: devices and their modes, streams, and what is decided about patient text."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from endostream_ui.controller import Controller
from endostream_ui.device_choice import device_spec, fitting, formats, rates, sizes
from endostream_ui.main_window import MainWindow
from endostream_ui.preferences import Preferences
from endostream_ui.source_dialog import SourceChoice, SourceDialog
from endostream_ui.wiring import Wiring
from PySide6.QtWidgets import QApplication, QComboBox, QWidget
from ui_fakes import Builds, qt, run_info, spin  # noqa: F401

from endostream.capture.devices import DeviceInfo, find_device
from endostream.capture.modes import Mode, parse_query, split_query
from endostream.capture.towers import list_profiles
from endostream.config import Settings


def fps(*values: int) -> tuple[Fraction, ...]:
    """Rates."""
    return tuple(Fraction(v) for v in values)


CARD = DeviceInfo(
    "/dev/video2",
    "Cam Link 4K",
    "v4l2",
    identity="usb:0fd9:0066",
    modes=(
        Mode("nv12", 3840, 2160, fps(30, 25)),
        Mode("nv12", 1920, 1080, fps(60, 50, 25)),
        Mode("mjpeg", 1280, 720, fps(60, 50)),
    ),
    inputs=("HDMI", "S-Video"),
)
PLAIN = DeviceInfo("/dev/video0", "USB capture", "v4l2")


@pytest.fixture
def dialog(qt: QApplication, tmp_path: Path) -> Iterator[SourceDialog]:  # noqa: F811
    parent = QWidget()
    made = SourceDialog(parent, Preferences(tmp_path / "window.ini"))
    made.show()
    yield made
    parent.deleteLater()


def pick(box: QComboBox, data: object) -> None:
    """Choose an entry as a person does."""
    box.setCurrentIndex(next(i for i in range(box.count()) if box.itemData(i) == data))
    box.activated.emit(box.currentIndex())


def offered(box: QComboBox) -> list[object]:
    """What can be chosen, `any` left out."""
    return [box.itemData(i) for i in range(1, box.count())]


def taken(dialog: SourceDialog) -> list[SourceChoice]:
    """What the dialog emits from now on."""
    caught: list[SourceChoice] = []
    dialog.taken.connect(caught.append)
    return caught


def test_modes_narrow_each_other_and_build_the_spec(dialog: SourceDialog) -> None:
    caught = taken(dialog)
    dialog.set_devices([PLAIN, CARD])
    assert dialog.device == PLAIN and not dialog.size.isEnabled() and not dialog.input.isVisible()
    dialog.devices.setCurrentRow(1)
    assert offered(dialog.size) == [(3840, 2160), (1920, 1080), (1280, 720)]
    pick(dialog.size, (1920, 1080))
    assert offered(dialog.rate) == list(fps(60, 50, 25)) and offered(dialog.format) == ["nv12"]
    pick(dialog.rate, Fraction(50))
    assert offered(dialog.size) == [(1920, 1080), (1280, 720)], "only sizes that come at 50 a second"
    pick(dialog.format, "nv12")
    pick(dialog.input, "HDMI")
    dialog.take_device()
    spec = "usb:0fd9:0066?size=1920x1080&rate=50&format=nv12&input=HDMI"
    assert caught == [SourceChoice(spec, "", "usb:0fd9:0066", device=True)]
    name, query = split_query(spec)
    wish = parse_query(query)
    assert name == CARD.identity
    assert (wish.size, wish.rate, wish.format, wish.input) == ((1920, 1080), Fraction(50), "nv12", "HDMI")


def test_device_without_modes_is_opened_as_it_is(dialog: SourceDialog) -> None:
    caught = taken(dialog)
    dialog.set_devices([PLAIN])
    dialog.devices.itemActivated.emit(dialog.devices.item(0))
    assert caught == [SourceChoice("/dev/video0", "", "/dev/video0", device=True)]


def test_spec_opens_the_device_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("endostream.capture.devices.list_devices", lambda: [PLAIN, CARD])
    found = find_device(device_spec(CARD, (1920, 1080), Fraction(50), "nv12"))
    assert found.file == "/dev/video2" and dict(found.options)["video_size"] == "1920x1080"


def test_span_of_sizes_offers_the_usual_ones() -> None:
    span = Mode("yuyv422", 1920, 1200, fps(30), least=(320, 200), step=(2, 2))
    assert sizes([span])[:2] == [(1920, 1200), (1920, 1080)] and (640, 480) in sizes([span])
    assert (3840, 2160) not in sizes([span])
    assert fitting([span], (1280, 720), None, "") == [span] and formats([span]) == ["yuyv422"]
    assert rates([span, *CARD.modes])[0] == 60


def test_device_used_last_is_chosen_wherever_the_system_counts_it(qt: QApplication, tmp_path: Path) -> None:  # noqa: F811
    preferences = Preferences(tmp_path / "window.ini")
    preferences.device = "usb:0fd9:0066"
    parent = QWidget()
    made = SourceDialog(parent, preferences)
    moved = DeviceInfo("/dev/video7", "Cam Link 4K", "v4l2", identity="usb:0fd9:0066")
    made.set_devices([PLAIN, moved])
    assert made.device == moved
    made.devices.setCurrentRow(0)
    made.set_devices([PLAIN, CARD])
    assert made.device == PLAIN, "a second listing keeps what is chosen"
    made.close()
    parent.deleteLater()


def test_every_tower_profile_can_be_chosen_once(dialog: SourceDialog) -> None:
    box = dialog._decision
    names = [box.itemData(i) for i in range(box.count())]
    assert names[:3] == ["", "none", "auto"] and len(set(names)) == len(names)
    assert {p.name for p in list_profiles()} <= set(names)
    assert dialog.decision == "", "undecided until a person decides"


def test_decision_is_remembered_for_each_device_and_stream(
    qt: QApplication,  # noqa: F811
    tmp_path: Path,
) -> None:
    preferences = Preferences(tmp_path / "window.ini")
    parent = QWidget()

    def ask() -> SourceDialog:
        made = SourceDialog(parent, preferences)
        made.set_devices([PLAIN, CARD])
        return made

    preferences.set_profile("usb:0fd9:0066", "text-left")
    preferences.set_profile("udp://tower:5000", "none")
    first = ask()
    assert first.decision == ""
    first.devices.setCurrentRow(1)
    assert first.decision == "text-left"
    first.address.setText("udp://someone:secret@tower:5000")
    assert first.decision == "none"
    caught = taken(first)
    first.take_device()
    assert caught[-1].profile == "text-left", "not the stream's, which was shown last"
    second = ask()
    caught = taken(second)
    pick(second._decision, "auto")
    second.take_device()
    assert caught[-1] == SourceChoice("/dev/video0", "auto", "/dev/video0", device=True)
    preferences.save()
    written = (tmp_path / "window.ini").read_text()
    assert "tower:5000" not in written and "0fd9" not in written, "only digests of what a decision is about"
    parent.deleteLater()


def test_streams_and_paths(dialog: SourceDialog, tmp_path: Path) -> None:
    caught = taken(dialog)
    dialog.address.setText(" srt://tower.local:9000 ")
    pick(dialog._decision, "none")
    dialog.take_address()
    dialog.address.setText(str(tmp_path))
    dialog.take_address()
    assert caught == [
        SourceChoice("srt://tower.local:9000", "none", "srt://tower.local:9000"),
        SourceChoice(str(tmp_path)),
    ]
    assert caught[1].profile is None, "a recorded source has nothing to decide"


def test_choice_opens_with_its_profile_and_is_remembered(
    qt: QApplication,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("endostream.capture.devices.list_devices", lambda: [PLAIN, CARD])
    builds = Builds(run_info(None, live=True))
    controller = Controller(Settings(), build=builds)
    window = MainWindow(controller, Preferences(tmp_path / "window.ini"))
    wiring = Wiring(controller, window)
    window.choose_source()
    (asking,) = window.findChildren(SourceDialog)
    spin(lambda: asking.device is not None)
    asking.devices.setCurrentRow(1)
    pick(asking._decision, "text-left")
    asking.take_device()
    spin(lambda: controller.running)
    assert builds.asked[-1][0] == "usb:0fd9:0066" and builds.settings.profile == "text-left"
    assert controller.profile == "text-left"
    assert window.preferences.device == "usb:0fd9:0066"
    assert window.preferences.profile("usb:0fd9:0066") == "text-left"
    controller.close()
    window.close()
    del wiring
    window.deleteLater()
    controller.deleteLater()
