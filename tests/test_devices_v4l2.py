"""Video4Linux: what nodes say, who they are, and that nothing a driver does stops the listing.

Everything runs against a kernel made of a table (devices_fakes); no capture hardware was there.
"""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import pytest
from devices_fakes import HDMI_STICK, LAYOUTS, METADATA, Card, Machine, Sizes
from test_capture_media import write_video

from endostream.capture import open_source, v4l2
from endostream.capture.devices import (
    as_json,
    as_text,
    find_again,
    find_device,
    list_devices,
    looks_like_device,
)
from endostream.capture.modes import Mode
from endostream.errors import SourceError

STICK = ("534d", "2109", "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without devices."""
    return Machine(tmp_path, monkeypatch)


def test_questions_are_numbered_as_the_kernel_numbers_them() -> None:
    asked = {v4l2.QUERYCAP, v4l2.ENUM_FMT, v4l2.ENUM_SIZES, v4l2.ENUM_INTERVALS, v4l2.ENUM_INPUT}
    assert asked == set(LAYOUTS)


def test_formats_sizes_and_rates_are_read(machine: Machine) -> None:
    machine.plug("video0", Card(formats=HDMI_STICK, inputs=(b"HDMI",)))
    (found,) = list_devices()
    assert found.formats == ("MJPG", "YUYV") and found.inputs == ()
    assert found.name == "USB Video: USB Video" and found.port == "usb-0000:00:14.0-3"
    assert found.modes == (
        Mode("mjpeg", 1920, 1080, (Fraction(60), Fraction(50), Fraction(25))),
        Mode("mjpeg", 1280, 720, (Fraction(60),)),
        Mode("mjpeg", 720, 576, (Fraction(50),)),
        Mode("yuyv422", 1920, 1080, (Fraction(5),)),
        Mode("yuyv422", 720, 576, (Fraction(25),)),
    )
    assert not machine.kernel.open, "a handle was left open"


def test_a_card_that_scales_tells_a_span(machine: Machine) -> None:
    span = Sizes((64, 2048, 16, 64, 1080, 2), ((1001, 60000), (1, 1), (1, 1)), span=True)
    machine.plug("video0", Card(formats={b"NV12": [span]}))
    (found,) = list_devices()
    rates = (Fraction(60000, 1001), Fraction(1))
    assert found.modes == (Mode("nv12", 2048, 1080, rates, (64, 64), (16, 2), any_rate=True),)
    assert found.modes[0].has_size(1920, 1080)
    assert not found.modes[0].has_size(1921, 1080) and not found.modes[0].has_size(2064, 1080)
    # Unasked, it stays at the size of its input.
    options = dict(find_device("webcam:0").options)
    assert options == {"framerate": "60000/1001", "input_format": "nv12"}
    asked = dict(find_device("webcam:0?size=1280x720&rate=50").options)
    assert asked["video_size"] == "1280x720" and asked["framerate"] == "50"


def test_drivers_that_tell_no_rates_or_nonsense_are_listed(machine: Machine) -> None:
    sizes = [Sizes((640, 480), ()), Sizes((0, 480)), Sizes((320, 240), ((0, 30), (1, 0), (1, 15)))]
    machine.plug("video0", Card(formats={b"YUYV": sizes}))
    (found,) = list_devices()
    assert found.modes == (
        Mode("yuyv422", 640, 480, ()),
        Mode("yuyv422", 320, 240, (Fraction(15),)),
    )


def test_a_driver_that_never_ends_is_left_alone(machine: Machine) -> None:
    many = [Sizes((w, w), ((1, 25),)) for w in range(16, 16 + 8 * 200, 8)]
    formats = {bytes([65 + i, 66, 67, 68]): many for i in range(26)}
    machine.plug("video0", Card(formats=formats))
    machine.plug("video1", Card(formats=HDMI_STICK, endless=True))
    first, second = list_devices()
    assert len(first.modes) <= v4l2.MOST_QUESTIONS
    assert machine.kernel.questions <= 2 * v4l2.MOST_QUESTIONS + 100
    assert [m.format for m in second.modes] == ["mjpeg"] and second.modes[0].rates == (Fraction(60),)
    assert not machine.kernel.open


@pytest.mark.parametrize("questions", [0, 1, 2, 3, 5])
def test_a_device_pulled_while_it_is_asked_does_not_stop_the_listing(
    machine: Machine, questions: int
) -> None:
    machine.plug("video0", Card(formats=HDMI_STICK, dies_after=questions))
    machine.plug("video1", Card(card=b"Second", formats=HDMI_STICK))
    assert "Second" in [d.name for d in list_devices()]
    assert not machine.kernel.open


@pytest.mark.parametrize("seed", range(6))
def test_a_kernel_that_answers_anything_does_not_stop_the_listing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    machine.plug("video0", Card())
    random = Random(seed)

    def ask(handle: int, request: int, question: bytes) -> bytes:
        if random.random() < 0.1:
            raise OSError(random.choice((errno.EINVAL, errno.EIO, errno.ENODEV)), "")
        answer = bytearray(random.randbytes(len(question)))
        if request == v4l2.QUERYCAP:
            answer[84:92] = b"\x01\0\0\0\0\0\0\0"
        return bytes(answer)

    monkeypatch.setattr(v4l2, "ask", ask)
    for _ in range(50):
        for found in list_devices():
            assert found.name.isprintable() and found.identity
            assert as_text([found]) and as_json([found])
    assert not machine.kernel.open


def test_nodes_that_give_no_video_are_left_out(machine: Machine) -> None:
    machine.plug("video0", Card(formats=HDMI_STICK))
    machine.plug("video1", Card(caps=METADATA))
    machine.plug("video2", Card(refuses=errno.ENODEV))
    assert [Path(d.id).name for d in list_devices()] == ["video0"]


@pytest.mark.parametrize(
    ("problem", "advice"),
    [(errno.EBUSY, "in use by another program"), (errno.EACCES, "add your user to the group video")],
)
def test_a_node_that_refuses_says_what_to_do(machine: Machine, problem: int, advice: str) -> None:
    machine.plug("video0", Card(refuses=problem), name="Capture Card")
    (found,) = list_devices()
    assert found.name == "Capture Card" and advice in found.trouble and found.modes == ()
    with pytest.raises(SourceError, match=f"Capture Card .*{advice}"):
        find_device("webcam:0")


def test_truncated_and_strange_names_are_shown(machine: Machine) -> None:
    long = b"A maker with a name of more than thirty-two bytes"
    machine.plug("video0", Card(card=long, formats={b"\xff\x00A ": [Sizes((8, 8))]}), name=" ")
    machine.plug("video1", Card(card="Kamera \u00fc\n".encode()[:9], formats={b"Y16 ": []}), name=" ")
    first, second = list_devices()
    assert first.name == "A maker with a name of more than"
    assert first.name.isprintable() and len(first.formats) == 1
    assert second.name == "Kamera \u00fc" and second.formats == ("Y16",)


@pytest.mark.parametrize(
    ("usb", "pci", "part", "index", "identity"),
    [
        (("534d", "2109", ""), None, "00", "0", "usb:534d:2109"),
        (("0fd9", "0066", "0004 5B1"), None, "00", "0", "usb:0fd9:0066:0004_5B1"),
        (("046d", "085e", "7A"), None, "02", "0", "usb:046d:085e:7A#2.0"),
        (("046d", "085e", "7A"), None, "0a", "1", "usb:046d:085e:7A#10.1"),
        (None, ("1cd7", "0010"), "00", "0", "pci:1cd7:0010@1-3"),
        (None, None, "00", "0", "card:USB Video: USB Video@usb-0000:00:14.0-3"),
    ],
)
def test_an_identity_is_what_stays(
    machine: Machine,
    usb: tuple[str, str, str] | None,
    pci: tuple[str, str] | None,
    part: str,
    index: str,
    identity: str,
) -> None:
    card = Card(formats=HDMI_STICK)
    machine.plug("video4", card, usb=usb, pci=pci, part=part, index=index)
    (found,) = list_devices()
    assert found.identity == identity
    assert looks_like_device(identity) and find_device(identity).file == found.id


def test_udevs_link_is_an_identity_and_a_source(machine: Machine) -> None:
    node = machine.plug("video3", Card(card=b"", bus=b"", formats=HDMI_STICK), name="Old Card")
    link = machine.links / "usb-Maker_Old_Card_0815-video-index0"
    link.symlink_to(node)
    (found,) = list_devices()
    assert found.identity == str(link)
    assert find_device(str(link)).file == node


def test_a_link_of_udev_is_followed_to_its_node(machine: Machine) -> None:
    node = machine.plug("video3", Card(formats=HDMI_STICK), usb=("1", "2", "3"))
    link = machine.links / "usb-Maker_Card-video-index0"
    link.symlink_to(node)
    assert list_devices()[0].identity == "usb:1:2:3"
    assert find_device(str(link)).file == node
    assert looks_like_device("/dev/v4l/by-id/usb-Maker_Card-video-index0")


def test_a_device_is_found_again_on_another_node_and_port(machine: Machine) -> None:
    machine.plug("video0", Card(formats=HDMI_STICK), usb=("0fd9", "0066", "4711"), place="1-1")
    address = find_device("usb:0fd9:0066:4711?size=1280x720")
    machine.pull("video0")
    machine.plug("video0", Card(card=b"Other", formats=HDMI_STICK), usb=("046d", "1", ""), place="1-2")
    with pytest.raises(SourceError, match=r"USB Video: USB Video is not connected: there are .*Other"):
        find_again(address)
    node = machine.plug(
        "video7", Card(bus=b"usb-9", formats=HDMI_STICK), usb=("0fd9", "0066", "4711"), place="1-7"
    )
    found = find_again(address)
    assert found.file == node and found.options == address.options
    assert dict(found.options)["video_size"] == "1280x720"
    assert find_again(found) == found


def test_a_device_that_lost_its_mode_says_so_when_it_returns(machine: Machine) -> None:
    machine.plug("video0", Card(formats=HDMI_STICK), usb=STICK)
    address = find_device("webcam:0?size=1280x720")
    machine.pull("video0")
    machine.plug("video0", Card(formats={b"MJPG": [Sizes((640, 480))]}), usb=STICK)
    with pytest.raises(SourceError, match=r"has no mode with size=1280x720; it offers mjpeg 640x480 60 30"):
        find_again(address)


def test_twins_are_told_apart_by_their_ports(machine: Machine) -> None:
    left = machine.plug("video0", Card(bus=b"usb-1", formats=HDMI_STICK), usb=STICK, place="1-1")
    right = machine.plug("video2", Card(bus=b"usb-2", formats=HDMI_STICK), usb=STICK, place="1-2")
    assert [d.identity for d in list_devices()] == ["usb:534d:2109@usb-1", "usb:534d:2109@usb-2"]
    assert find_device("usb:534d:2109@usb-2").file == right
    for vague in ("usb:534d:2109", "webcam:usb video"):
        with pytest.raises(SourceError, match=r"fits 2 devices; use one of .*video0 .*video2"):
            find_device(vague)
    address = find_device(left)
    # The left one is pulled: the right one must never be taken for it, by whatever name it was remembered.
    machine.pull("video0")
    for again in (lambda: find_again(address), lambda: find_device("usb:534d:2109@usb-1")):
        with pytest.raises(SourceError, match="there are"):
            again()
    # It returns, the other is pulled: what was found as a twin is found alone.
    back = machine.plug("video1", Card(bus=b"usb-1", formats=HDMI_STICK), usb=STICK, place="1-1")
    assert find_again(address).file == back
    machine.pull("video2")
    assert find_again(address).file == back


def test_a_second_one_of_the_make_does_not_confuse_a_running_one(machine: Machine) -> None:
    machine.plug("video0", Card(bus=b"usb-1", formats=HDMI_STICK), usb=STICK, place="1-1")
    address = find_device("webcam:0")
    assert address.identity == "usb:534d:2109" and address.port == "usb-1"
    machine.plug("video1", Card(bus=b"usb-2", formats=HDMI_STICK), usb=STICK, place="1-2")
    assert find_again(address).file.endswith("video0")
    # Alone of its make, it may return on another port.
    machine.pull("video0")
    machine.pull("video1")
    moved = machine.plug("video5", Card(bus=b"usb-3", formats=HDMI_STICK), usb=STICK, place="1-4")
    assert find_again(address).file == moved


def test_devices_that_nothing_tells_apart_are_never_guessed(machine: Machine) -> None:
    machine.plug("video0", Card(bus=b"", formats=HDMI_STICK), usb=STICK, place="1-1")
    machine.plug("video1", Card(bus=b"", formats=HDMI_STICK), usb=STICK, place="1-2")
    address = find_device("webcam:0")
    with pytest.raises(SourceError, match="is not connected"):
        find_again(address)


def test_a_number_is_a_node_and_never_an_index(machine: Machine) -> None:
    machine.plug("video2", Card(formats=HDMI_STICK), usb=STICK)
    machine.plug("video10", Card(card=b"Ten", formats=HDMI_STICK))
    machine.kernel.cards["video10"].bus = b"usb-8"
    ids = {d.id: d for d in list_devices()}
    assert [Path(i).name for i in ids] == ["video2", "video10"]
    with pytest.raises(SourceError, match="no video device 'webcam:0'"):
        find_device("webcam:0")


@pytest.mark.parametrize(
    ("wanted", "channel"), [("1", "1"), ("s-video", "1"), ("composite", "0"), ("HDMI 2", "3")]
)
def test_a_connector_is_chosen_by_name_or_number(machine: Machine, wanted: str, channel: str) -> None:
    inputs = (b"Composite", b"S-Video", b"HDMI 1", b"HDMI 2")
    node = machine.plug("video0", Card(formats=HDMI_STICK, inputs=inputs))
    assert list_devices()[0].inputs == ("Composite", "S-Video", "HDMI 1", "HDMI 2")
    assert dict(find_device(f"{node}?input={wanted}").options)["channel"] == channel
    for wrong in ("HDMI", "7", "SDI"):
        with pytest.raises(SourceError, match=r"has no input .*: it has Composite, S-Video"):
            find_device(f"{node}?input={wrong}")


def test_a_source_follows_its_device_to_another_node(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    write_video(clip)
    nodes: list[str] = []
    really = av.open

    def open_clip(file: Any, *args: Any, **how: Any) -> Any:
        """libav, whose v4l2 input gives the pictures of a file and ends."""
        if how.get("format") != "v4l2":
            return really(file, *args, **how)
        nodes.append(Path(file).name)
        if not Path(file).exists():
            raise av.error.FileNotFoundError(errno.ENOENT, "No such file or directory")
        assert how["options"]["video_size"] == "1280x720" and how["options"]["input_format"] == "mjpeg"
        return really(clip)

    monkeypatch.setattr(av, "open", open_clip)
    machine.plug("video0", Card(formats=HDMI_STICK), usb=("534d", "2109", "0815"), place="1-1")
    with open_source("usb:534d:2109:0815?size=1280x720") as source:
        first = source.read()
        machine.pull("video0")
        machine.plug("video0", Card(card=b"Other", formats=HDMI_STICK), usb=("1", "2", ""), place="1-9")
        machine.plug("video3", Card(formats=HDMI_STICK), usb=("534d", "2109", "0815"), place="1-4")
        frame = first
        while frame is not None and first is not None and frame.epoch == first.epoch:
            frame = source.read()
        assert first is not None and frame is not None
    assert nodes[0] == "video0" and set(nodes[1:]) == {"video3"}
