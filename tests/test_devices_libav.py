"""DirectShow, AVFoundation and DeckLink: what libav lists, and what it is told.

Only contracts: libav's listings are played back in the words of its sources (dshow.c, avfoundation.m,
decklink_common.cpp); none of these inputs is in the library here, and no such hardware was there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.logging
import pytest

from endostream.capture import cards, devices
from endostream.capture.cards import examined, list_devices, logged
from endostream.capture.devices import find_again, find_device, looks_like_device
from endostream.capture.modes import Mode
from endostream.errors import SourceError

PATH = r"@device_pnp_\\?\usb#vid_534d&pid_2109&mi_00#7&2d2b&0&0000#{65e8773d-8f56}\global"
OTHER = PATH.replace("2d2b", "9e1c")
DSHOW_MODES = (
    "DirectShow video device options (from video devices)\n",
    ' Pin "Capture" (alternative pin name "0")\n',
    "  vcodec=mjpeg",
    "  min s=1920x1080 fps=5 max s=1920x1080 fps=60.0002\n",
    "  vcodec=mjpeg",
    "  min s=1920x1080 fps=5 max s=1920x1080 fps=60.0002",
    " (pc, bt470bg/bt709/unknown, center)\n",
    "  pixel_format=yuyv422",
    "  min s=640x480 fps=30 max s=640x480 fps=30\n",
    "  unknown compression type 0x32315659",
    "  min s=640x480 fps=30 max s=640x480 fps=30\n",
    "  pixel_format=nv12",
    "  min s=160x120 fps=25 max s=1280x720 fps=25\n",
)
AVF_MODES = (
    "Selected framerate (0.010000) is not supported by the device.\n",
    "Supported modes:\n",
    "  640x480@[15.000000 30.000000]fps\n",
    "  1920x1080@[1.000000 60.000240]fps\n",
    "  1920x1080@[1.000000 60.000240]fps\n",
    "  1280x720@[29.970030 29.970030]fps\n",
)
DECKLINK_MODES = (
    "Supported formats for 'UltraStudio 3G':\n\tformat_code\tdescription",
    "\n\tpal \t\t720x576 at 25000/1000 fps",
    " (interlaced, upper field first)",
    "\n\tHp25\t\t1920x1080 at 25000/1000 fps",
    "\n\tHi50\t\t1920x1080 at 25000/1000 fps",
    " (interlaced, upper field first)",
    "\n\tHp50\t\t1920x1080 at 50000/1000 fps",
    "\n\thp59\t\t1280x720 at 60000/1001 fps",
    "\n",
)


@dataclass
class Listed:
    """A device as PyAV lists it."""

    name: str
    description: str
    media_types: tuple[str, ...] = ("video",)


class Libav:
    """The parts of PyAV that list: input formats, devices, and what opening writes into the log."""

    def __init__(self) -> None:
        self.listed: dict[str, list[Listed]] = {}
        self.log: dict[str, tuple[str, ...]] = {}
        self.opened: list[tuple[str, str, dict[str, str]]] = []

    def enumerate(self, kind: str) -> list[Listed]:
        if kind not in self.listed:
            raise ValueError(f"no such input format: {kind!r}")
        return self.listed[kind]

    def open(self, file: str, *, format: str, options: dict[str, str], timeout: float) -> Any:
        self.opened.append((file, format, options))
        for message in self.log.get(next(iter(options)), ()):
            av.logging.log(av.logging.INFO, "indev", message)
        raise av.error.ExitError(1, "Immediate exit requested")


@pytest.fixture
def libav(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Libav]:
    """PyAV of another system, with what its inputs list; `old` is PyAV 16, which cannot list."""

    def install(
        platform: str, kind: str, *listed: Listed, old: bool = False, **log: tuple[str, ...]
    ) -> Libav:
        fake = Libav()
        fake.listed[kind], fake.log = list(listed), log
        monkeypatch.setattr(cards.sys, "platform", platform)
        monkeypatch.setattr(av, "formats_available", {"mp4", f"{kind},alias", "mpegts"})
        monkeypatch.setattr(av, "open", fake.open)
        if old:
            monkeypatch.delattr(av, "enumerate_input_devices", raising=False)
        else:
            monkeypatch.setattr(av, "enumerate_input_devices", fake.enumerate, raising=False)
        return fake

    return install


def test_directshow_is_known_by_its_device_path(libav: Callable[..., Libav]) -> None:
    libav(
        "win32",
        "dshow",
        Listed("@device_cm_audio", "Microphone", ("audio",)),
        Listed(PATH, "USB Video"),
        Listed(OTHER, "USB Video"),
        list_options=DSHOW_MODES,
    )
    first, second = list_devices()
    assert (first.id, first.name, first.identity) == ("webcam:0", "USB Video", PATH)
    assert second.identity == OTHER and not first.modes
    with pytest.raises(SourceError, match=r"fits 2 devices; use one of webcam:0 \(USB Video\), webcam:1"):
        find_device("USB Video")
    assert looks_like_device(PATH) and looks_like_device(f"{OTHER}?rate=25")
    assert find_device(OTHER).file == f"video={OTHER}"
    assert find_device("webcam:1").identity == OTHER


def test_directshow_modes_are_read_and_chosen(libav: Callable[..., Libav]) -> None:
    fake = libav("win32", "dshow", Listed(PATH, "USB Video"), list_options=DSHOW_MODES)
    fast = (Fraction("60.0002"), Fraction(5))
    assert examined(list_devices()[0]).modes == (
        Mode("mjpeg", 1920, 1080, fast, any_rate=True),
        Mode("yuyv422", 640, 480, (Fraction(30),)),
        Mode("nv12", 1280, 720, (Fraction(25),), (160, 120)),
    )
    assert fake.opened == [(f"video={PATH}", "dshow", {"list_options": "true"})]
    # A compressed mode has no option of its own: size and rate choose it.
    options = dict(find_device("webcam:0").options)
    assert options == {"video_size": "1920x1080", "framerate": "300001/5000", "rtbufsize": "67108864"}
    options = dict(find_device("webcam:0?format=YUYV").options)
    assert options["pixel_format"] == "yuyv422" and options["video_size"] == "640x480"
    assert dict(find_device("webcam:0?size=800x600").options)["pixel_format"] == "nv12"
    assert dict(find_device("webcam:0?rate=50&size=1920x1080").options)["framerate"] == "50"
    with pytest.raises(SourceError, match=r"no mode with size=1920x1080&rate=90; it offers mjpeg"):
        find_device("webcam:0?rate=90&size=1920x1080")


def test_directshow_chooses_a_connector_by_pin(libav: Callable[..., Libav]) -> None:
    libav("win32", "dshow", Listed(PATH, "Grabber"))
    found = find_device("grabber?input=2&size=720x576")
    assert dict(found.options)["crossbar_video_input_pin_number"] == "2"
    assert dict(found.options)["video_size"] == "720x576"
    with pytest.raises(SourceError, match="has no input 'S-Video': leave input= out"):
        find_device("grabber?input=S-Video")


def test_avfoundation_is_opened_by_number_and_known_by_name(libav: Callable[..., Libav]) -> None:
    fake = libav(
        "darwin", "avfoundation", Listed("0", "FaceTime HD"), Listed("1", "Cam Link 4K"), framerate=AVF_MODES
    )
    found = find_device("cam link 4k")
    assert (found.file, found.format, found.identity) == (
        "1:none",
        "avfoundation",
        "avfoundation:Cam Link 4K",
    )
    # libav's own default of 29.97 is refused by cameras that count 30.
    assert dict(found.options) == {"video_size": "1920x1080", "framerate": "750003/12500"}
    assert fake.opened == [("1:none", "avfoundation", {"framerate": cards.IMPOSSIBLE_RATE})]
    asked = dict(find_device("webcam:1?format=nv12&size=640x480&rate=25").options)
    assert asked == {"video_size": "640x480", "framerate": "25", "pixel_format": "nv12"}
    fake.listed["avfoundation"] = [Listed("0", "Cam Link 4K"), Listed("1", "FaceTime HD")]
    assert find_again(found).file == "0:none"
    fake.listed["avfoundation"] = [Listed("0", "FaceTime HD")]
    with pytest.raises(SourceError, match="Cam Link 4K is not connected"):
        find_again(found)


def test_decklink_is_listed_only_where_libav_has_it(libav: Callable[..., Libav]) -> None:
    fake = libav("linux", "decklink", Listed("81:f5e0:0", "UltraStudio 3G"), list_formats=DECKLINK_MODES)
    found = [d for d in list_devices() if d.kind == "decklink"]
    assert [(d.id, d.identity) for d in found] == [("decklink:UltraStudio 3G", "decklink:81:f5e0:0")]
    # The card finds the signal's mode by itself.
    assert find_device("decklink:UltraStudio 3G").options == () and not fake.opened
    address = find_device("decklink:81:f5e0:0?size=1920x1080&rate=25&input=hdmi&format=uyvy422")
    assert (address.file, address.format) == ("81:f5e0:0", "decklink")
    assert dict(address.options) == {"format_code": "Hp25", "raw_format": "uyvy422", "video_input": "hdmi"}
    assert dict(find_device("ultrastudio 3g?format=Hi50").options) == {"format_code": "Hi50"}
    assert dict(find_device("ultrastudio 3g?size=720x576").options) == {"format_code": "pal"}
    with pytest.raises(SourceError, match=r"no mode with rate=30; it offers .*see endostream devices"):
        find_device("ultrastudio 3g?rate=30")


def test_a_library_without_the_input_lists_nothing(
    libav: Callable[..., Libav], monkeypatch: pytest.MonkeyPatch
) -> None:
    for platform in ("win32", "darwin", "freebsd"):
        libav(platform, "v4l2", Listed("x", "X"))
        assert list_devices() == []
        with pytest.raises(SourceError, match="no video device is connected"):
            find_device("webcam:0")


@pytest.mark.parametrize(
    "error", [ValueError("no such input"), av.error.OSError(5, "I/O"), av.error.PatchWelcomeError(1, "no")]
)
def test_an_input_that_cannot_list_has_no_devices(
    libav: Callable[..., Libav], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    libav("win32", "dshow", Listed(PATH, "USB Video"))

    def refuse(kind: str) -> list[Listed]:
        raise error

    monkeypatch.setattr(av, "enumerate_input_devices", refuse)
    assert list_devices() == []


@pytest.mark.parametrize(
    ("platform", "kind", "log", "found"),
    [
        (
            "win32",
            "dshow",
            (
                '"USB Video" (video)\n', f'  Alternative name "{PATH}"\n',
                '"Mic" (audio)\n', '  Alternative name "@a"\n',
            ),
            [(PATH, "USB Video")],
        ),
        (
            "darwin",
            "avfoundation",
            (
                "AVFoundation video devices:\n", "[0] FaceTime HD\n", "[1] Cam Link: 4K\n",
                "AVFoundation audio devices:\n", "[0] Microphone\n",
            ),
            [("avfoundation:FaceTime HD", "FaceTime HD"), ("avfoundation:Cam Link: 4K", "Cam Link: 4K")],
        ),
        (
            "freebsd",
            "decklink",
            ("Blackmagic DeckLink input devices:\n", "\t'DeckLink Mini Recorder'\n", "\t'DeckLink (2)'\n"),
            [(f"decklink:{name}", name) for name in ("DeckLink Mini Recorder", "DeckLink (2)")],
        ),
    ],
)  # fmt: skip
def test_an_older_pyav_lists_by_its_log(
    libav: Callable[..., Libav],
    platform: str,
    kind: str,
    log: tuple[str, ...],
    found: list[tuple[str, str]],
) -> None:
    libav(platform, kind, old=True, list_devices=log)
    assert [(d.identity, d.name) for d in list_devices()] == found


def test_asking_libav_to_tell_leaves_its_log_as_it_was(libav: Callable[..., Libav]) -> None:
    before = av.logging.get_level()
    libav("win32", "dshow", list_options=("one ", "two\n"))
    try:
        for level in (None, av.logging.ERROR):
            av.logging.set_level(level)
            assert logged("video=x", "dshow", {"list_options": "true"}) == "one two\n"
            assert av.logging.get_level() == level
    finally:
        av.logging.set_level(before)


def test_twins_without_an_identity_are_told_apart_by_their_place(libav: Callable[..., Libav]) -> None:
    libav("darwin", "avfoundation", Listed("0", "USB Video"), Listed("1", "USB Video"))
    assert [d.identity for d in list_devices()] == ["avfoundation:USB Video@0", "avfoundation:USB Video@1"]
    assert find_device("avfoundation:USB Video@1").file == "1:none"


def test_devices_are_still_offered_where_modes_are_not_told(libav: Callable[..., Libav]) -> None:
    libav("win32", "dshow", Listed(PATH, "USB Video"), list_options=("Could not enumerate pins.\n",))
    (found,) = list_devices()
    assert examined(found).modes == ()
    assert dict(find_device("webcam:0?size=720x576&rate=25&format=mjpeg").options) == {
        "video_size": "720x576",
        "framerate": "25",
        "rtbufsize": devices.DSHOW_BUFFER,
    }
