"""What a SOURCE asks of a device: the query, the mode that is taken, the messages, the listing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from devices_fakes import HDMI_STICK, Card, Machine

from endostream.capture import devices
from endostream.capture.devices import DeviceInfo, as_json, find_device, looks_like_device
from endostream.capture.modes import Mode, Wish, choose, folded, parse_query, shown_rate, split_query
from endostream.cli import main
from endostream.errors import SourceError


def mode(name: str, size: str, *rates: float | str) -> Mode:
    width, _, height = size.partition("x")
    return Mode(name, int(width), int(height), tuple(Fraction(str(r)) for r in rates))


STICK = [
    mode("mjpeg", "1920x1080", 30, 25),
    mode("mjpeg", "1280x720", 60, 50),
    mode("yuyv422", "1920x1080", 5),
    mode("yuyv422", "1280x720", 10),
    mode("yuyv422", "640x480", 30),
]
CARD = [
    mode("yuyv422", "1920x1080", 60, 50, 25),
    mode("mjpeg", "1920x1080", 60, 50),
    mode("nv12", "3840x2160", 30),
]
NTSC = [mode("uyvy422", "1280x720", "60000/1001", "30000/1001")]


@pytest.mark.parametrize(
    ("modes", "query", "taken"),
    [
        (STICK, "", "mjpeg 1920x1080 30"),
        (CARD, "", "yuyv422 1920x1080 60"),
        ([mode("mjpeg", "2560x1440", 60), mode("mjpeg", "1280x720", 120, 60, 30)], "", "mjpeg 1280x720 60"),
        ([mode("mjpeg", "3840x2160", 30), mode("mjpeg", "2560x1440", 30)], "", "mjpeg 2560x1440 30"),
        ([mode("yuyv422", "1280x720", 10), mode("yuyv422", "640x480", 15)], "", "yuyv422 640x480 15"),
        ([mode("yuyv422", "1600x1200", 20), mode("yuyv422", "800x600", 24.9)], "", "yuyv422 800x600 24.9"),
        ([mode("h264", "1920x1080", 30), mode("mjpeg", "1280x720", 30)], "", "mjpeg 1280x720 30"),
        ([mode("h264", "1920x1080", 30), mode("gray", "1920x1080", 30)], "", "h264 1920x1080 30"),
        ([mode("yuyv422", "1920x1080"), mode("yuyv422", "640x480", 30)], "", "yuyv422 640x480 30"),
        ([mode("yuyv422", "1280x720"), mode("yuyv422", "640x480")], "", "yuyv422 1280x720 -"),
        ([mode("mjpeg", "640x480", 120, 90)], "", "mjpeg 640x480 90"),
        (NTSC, "", "uyvy422 1280x720 59.94"),
        (STICK, "size=1280x720", "mjpeg 1280x720 60"),
        (STICK, "rate=50", "mjpeg 1280x720 50"),
        (STICK, "rate=5", "yuyv422 1920x1080 5"),
        (STICK, "format=yuyv422", "yuyv422 640x480 30"),
        (STICK, "format=YUY2&size=1920x1080", "yuyv422 1920x1080 5"),
        (STICK, "format=MJPG&rate=25.0", "mjpeg 1920x1080 25"),
        (CARD, "size=3840x2160", "nv12 3840x2160 30"),
        (CARD, "size=1920X1080&rate=50/1", "yuyv422 1920x1080 50"),
        (NTSC, "rate=60", "uyvy422 1280x720 59.94"),
        (NTSC, "rate=59.94", "uyvy422 1280x720 59.94"),
        (NTSC, "rate=30000/1001", "uyvy422 1280x720 29.97"),
        ([], "size=720x576&rate=25", "- 720x576 25"),
    ],
)
def test_the_mode_that_is_taken(modes: list[Mode], query: str, taken: str) -> None:
    for order in (modes, modes[::-1]):
        choice = choose(order, parse_query(query), "Card")
        size = f"{choice.size[0]}x{choice.size[1]}" if choice.size else "-"
        rate = shown_rate(choice.rate) if choice.rate else "-"
        assert f"{choice.format or '-'} {size} {rate}" == taken


def test_a_rate_is_asked_for_as_exactly_as_the_device_counts_it() -> None:
    assert choose(NTSC, parse_query("rate=60"), "Card").rate == Fraction(60000, 1001)
    both = [mode("uyvy422", "1280x720", 60, "60000/1001")]
    assert choose(both, parse_query("rate=60"), "Card").rate == 60
    assert choose(both, parse_query("rate=59.94"), "Card").rate == Fraction(60000, 1001)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("size=1024x768", r"Card has no mode with size=1024x768; it offers mjpeg 1920x1080 30 25, 1280x720"),
        ("size=1920x1080&rate=50", "no mode with size=1920x1080&rate=50; it offers"),
        ("format=nv12", "no mode with format=nv12; it offers mjpeg"),
        ("rate=120", "no mode with rate=120"),
        ("sise=640x480", r"no setting 'sise': did you mean size=\?"),
        ("framerate=50", r"no setting 'framerate': did you mean rate=\?"),
        ("zoom=2", "no setting 'zoom': use size, rate, format, input"),
        ("size=640", "size=640 is not WIDTHxHEIGHT; write for example size=1920x1080"),
        ("size=0x480", "is not WIDTHxHEIGHT"),
        ("size=", "size= is empty"),
        ("rate=fast", "rate=fast is not pictures per second"),
        ("rate=0", "rate=0 is not"),
        ("rate=5/0", "rate=5/0 is not"),
        ("rate=1e9", "is not pictures per second"),
        ("rate=25&rate=50", "rate= is given twice"),
    ],
)
def test_a_wish_that_cannot_be_met_says_what_can(query: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        choose(STICK, parse_query(query), "Card")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "name", "query"),
    [
        ("webcam:0?size=640x480&rate=25", "webcam:0", "size=640x480&rate=25"),
        ("webcam:0?", "webcam:0", ""),
        ("Which Card? No. 2", "Which Card? No. 2", ""),
        ("Which Card? No. 2?rate=25", "Which Card? No. 2", "rate=25"),
        (r"@device_pnp_\\?\usb#vid_534d&pid_2109#1", r"@device_pnp_\\?\usb#vid_534d&pid_2109#1", ""),
        (r"@device_pnp_\\?\usb#vid_534d#1?rate=25", r"@device_pnp_\\?\usb#vid_534d#1", "rate=25"),
        ("?size=640x480", "?size=640x480", ""),
    ],
)
def test_a_query_is_only_what_looks_like_one(spec: str, name: str, query: str) -> None:
    assert split_query(spec) == (name, query)


@pytest.fixture
def odd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices whose names hold what a SOURCE uses."""
    names = ("rtsp: what?", "Card?size=1x1", "webcam:7", "Card", "3", "USB Video: Two")
    found = [
        DeviceInfo(f"/dev/video{i}", name, "v4l2", modes=tuple(CARD), identity=f"usb:1:{i}")
        for i, name in enumerate(names)
    ]
    monkeypatch.setattr(devices, "list_devices", lambda: found)


@pytest.mark.parametrize(
    ("spec", "file", "size"),
    [
        ("rtsp: what?", "/dev/video0", "1920x1080"),
        ("webcam:rtsp: what??size=3840x2160", "/dev/video0", "3840x2160"),
        ("Card?size=1x1", "/dev/video1", "1920x1080"),
        ("Card?size=1x1?size=3840x2160", "/dev/video1", "3840x2160"),
        ("webcam:webcam:7", "/dev/video2", "1920x1080"),
        ("card?size=3840x2160", "/dev/video3", "3840x2160"),
        ("webcam:two", "/dev/video5", "1920x1080"),
        ("usb:1:3?size=3840x2160", "/dev/video3", "3840x2160"),
        ("3", "/dev/video4", "1920x1080"),
        ("/dev/video3?size=3840x2160", "/dev/video3", "3840x2160"),
    ],
)
def test_every_name_can_be_reached(odd_names: None, spec: str, file: str, size: str) -> None:
    assert looks_like_device(spec)
    found = find_device(spec)
    assert found.file == file and dict(found.options)["video_size"] == size


def test_a_file_is_not_taken_for_a_device(odd_names: None) -> None:
    for spec in ("card.mp4", "two", "video?size=1x1", "/tmp/video0"):
        assert not looks_like_device(spec)


def test_what_v4l2_is_told(odd_names: None) -> None:
    found = find_device("card?rate=50")
    options = {"video_size": "1920x1080", "framerate": "50", "input_format": "yuyv422"}
    assert dict(found.options) == options and found.format == "v4l2" and found.query == "rate=50"


@pytest.mark.parametrize(
    ("modes", "lines"),
    [
        (STICK[:3], ["mjpeg 1920x1080 30 25, 1280x720 60 50", "yuyv422 1920x1080 5"]),
        ([mode("nv12", f"{w}x10", 25) for w in range(1, 9)],
         ["nv12 8x10 25, 7x10 25, 6x10 25, 5x10 25, 4x10 25, 3x10 25, 2 smaller"]),
        ([Mode("nv12", 1920, 1080, (Fraction(60), Fraction(1)), (64, 64), (2, 2), True)],
         ["nv12 64x64 to 1920x1080 60 to 1"]),
        ([], []),
    ],
)  # fmt: skip
def test_modes_fold_to_a_line_per_format(modes: Sequence[Mode], lines: list[str]) -> None:
    assert folded(modes) == lines


def test_devices_prints_a_table_that_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    node = machine.plug("video0", Card(formats=HDMI_STICK), usb=("534d", "2109", ""))
    machine.plug("video2", Card(refuses=13), name="It's shut")
    assert main(["devices"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:5] == [
        f"{node}  USB Video: USB Video",
        "    identity  usb:534d:2109",
        "    modes     mjpeg 1920x1080 60 50 25, 1280x720 60, 720x576 50",
        "    modes     yuyv422 1920x1080 5, 720x576 25",
        "    open it   endostream open 'usb:534d:2109?size=1920x1080&rate=60&format=mjpeg'",
    ]
    assert "    trouble   not permitted: add your user to the group video and log in again" in said
    spec = said[4].partition("'")[2].rstrip("'")
    assert find_device(spec).options == find_device(node).options


def test_devices_as_json_hold_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    assert main(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"devices": []}
    node = machine.plug("video0", Card(formats=HDMI_STICK, inputs=(b"A", b"B")), usb=("534d", "2109", "7"))
    assert main(["devices", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["devices"]
    assert said["id"] == node and said["identity"] == "usb:534d:2109:7" and said["inputs"] == ["A", "B"]
    assert said["modes"][0] == {
        "format": "mjpeg",
        "width": 1920,
        "height": 1080,
        "rates": [60.0, 50.0, 25.0],
        "any_rate": False,
        "least": None,
        "step": [1, 1],
        "code": "",
    }
    assert len(said["modes"]) == 5 and as_json(devices.list_devices())[0] == said


def test_a_wish_is_shown_as_it_is_written() -> None:
    query = "size=1280x720&rate=59.94&format=mjpeg&input=1"
    assert str(parse_query(query)) == query
    assert Wish().open and not parse_query("rate=25").open and Wish(input="1").open
