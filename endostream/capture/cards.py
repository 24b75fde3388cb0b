"""Which cameras and capture cards this machine has, as the system and libav tell it.

Owns the listings (Video4Linux, DirectShow, AVFoundation, DeckLink) and what makes a device itself: its
identity. Must not know what a user asks for, nor open a stream. Everything here was tested with fakes of the
kernel and of libav, nothing on hardware.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.logging

from endostream.capture.modes import Mode
from endostream.capture.v4l2 import describe

INPUT_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""libav's input for video devices, per `sys.platform`."""
V4L2_NAMES = Path("/sys/class/video4linux")
V4L2_NODES = Path("/dev")
V4L2_LINKS = Path("/dev/v4l/by-id")
IMPOSSIBLE_RATE = "0.01"
"""Pictures per second that no camera gives: asked for it, AVFoundation's input names what there is."""
MOST_LISTED = 64
"""Devices and, below that, modes (times eight) that are read out of a listing."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A video device."""

    id: str
    """What to give as SOURCE; may name another device after a reboot or a replugging."""
    name: str
    """What the maker calls it."""
    kind: str
    """`v4l2`, `avfoundation`, `dshow` or `decklink`."""
    formats: tuple[str, ...] = ()
    """Pixel formats it offers, as four letters each; empty where the system does not tell."""
    identity: str = ""
    """What to give as SOURCE to get this very device, wherever the system counts it."""
    modes: tuple[Mode, ...] = ()
    """Formats, sizes and rates; empty where the system does not tell."""
    port: str = ""
    """Where it is plugged in; tells devices of one make without serial numbers apart."""
    inputs: tuple[str, ...] = ()
    """Its connectors, where it has several."""
    file: str = ""
    """The name libav wants; empty where that is `id`."""
    trouble: str = ""
    """Why it cannot be opened and what to do; empty where nothing is known to be wrong."""


def list_devices() -> list[DeviceInfo]:
    """The video devices of this machine; empty where there are none.

    Modes are read where that costs nothing (Video4Linux); `examined` asks for those of the others.
    """
    kind = INPUT_FORMATS.get(sys.platform, "")
    found = list_v4l2(V4L2_NAMES, V4L2_NODES, V4L2_LINKS) if kind == "v4l2" else list_libav(kind)
    return found + list_libav("decklink")


def has_input(kind: str) -> bool:
    """True where libav was built with this input."""
    return any(kind in names.split(",") for names in av.formats_available)


# Video4Linux


def list_v4l2(names: Path, nodes: Path, links: Path = V4L2_LINKS) -> list[DeviceInfo]:
    """The nodes `video*` that can capture, in order of number, with the names that the kernel gives."""
    found = []
    numbered = {int(p.name[5:]): p for p in nodes.glob("video*") if p.name[5:].isdecimal()}
    for _, node in sorted(numbered.items())[:MOST_LISTED]:
        said = describe(node)
        if not said.captures:
            continue
        name = _line(names / node.name / "name") or said.card or node.name
        identity = _v4l2_identity(names / node.name, said.card, said.bus) or _link(links, node) or str(node)
        found.append(
            DeviceInfo(
                id=str(node),
                name=name,
                kind="v4l2",
                formats=said.formats,
                identity=identity,
                modes=said.modes,
                port=said.bus,
                inputs=said.inputs if len(said.inputs) > 1 else (),
                trouble=said.trouble,
            )
        )
    return told_apart(found)


def _v4l2_identity(about: Path, card: str, bus: str) -> str:
    """What stays the same when the kernel numbers its nodes anew.

    USB: maker, product and serial number, without the port, so that a card may move to another one. PCI: the
    slot too, which is all that two cards of one make differ in. A device of several parts adds which.
    """
    try:
        device = (about / "device").resolve(strict=True)
    except (OSError, RuntimeError):
        return f"card:{card}@{bus}" if card and bus else ""
    part, index = _line(device / "bInterfaceNumber"), _line(about / "index")
    numbers = [int(n, 16) for n in (part or "0", index or "0") if re.fullmatch(r"[0-9a-fA-F]{1,4}", n)]
    which = f"#{numbers[0]}.{numbers[1]}" if len(numbers) == 2 and any(numbers) else ""
    for place in (device, *device.parents):
        if (place / "idVendor").is_file():
            ids = (_line(place / "idVendor"), _line(place / "idProduct"), _line(place / "serial"))
            return "usb:" + ":".join(filter(None, ("_".join(i.split()) for i in ids))) + which
        if (place / "vendor").is_file() and (place / "device").is_file():
            ids = (_line(place / "vendor"), _line(place / "device"), "")
            return f"pci:{ids[0].removeprefix('0x')}:{ids[1].removeprefix('0x')}@{place.name}" + which
    return f"card:{card}@{bus}{which}" if card and bus else ""


def _line(file: Path) -> str:
    """The text of a file of the kernel's, empty where there is none."""
    try:
        return file.read_text(errors="replace")[:256].strip() if file.is_file() else ""
    except OSError:
        return ""


def _link(links: Path, node: Path) -> str:
    """The name by which udev finds a node again."""
    try:
        return next((str(p) for p in sorted(links.iterdir()) if p.resolve() == node.resolve()), "")
    except OSError:
        return ""


def told_apart(found: list[DeviceInfo]) -> list[DeviceInfo]:
    """The devices with identities that differ: the port is added where two are the same."""
    often = Counter(d.identity for d in found)
    return [replace(d, identity=f"{d.identity}@{d.port}") if often[d.identity] > 1 else d for d in found]


# What libav lists


def list_libav(kind: str) -> list[DeviceInfo]:
    """The devices that one of libav's inputs lists; empty in a build without it."""
    if not kind or not has_input(kind):
        return []
    found = []
    for index, (name, label) in enumerate(_enumerated(kind)[:MOST_LISTED]):
        where, identity, port = f"webcam:{index}", name, ""
        file = f"video={name}"
        if kind == "avfoundation":
            # libav tells a number and a name; the number changes with what else is plugged in.
            identity, port, file = f"avfoundation:{label}", name, f"{name}:none"
        elif kind == "decklink":
            where, identity, file = f"decklink:{label}", f"decklink:{name}", name
        found.append(DeviceInfo(where, label, kind, identity=identity, port=port, file=file))
    return told_apart(found)


def _enumerated(kind: str) -> list[tuple[str, str]]:
    """Name and label of the video devices of an input."""
    listing = getattr(av, "enumerate_input_devices", None)
    if listing is None:  # PyAV 16 and older
        return _enumerated_from_log(kind)
    try:
        found = [d for d in listing(kind) if not d.media_types or "video" in d.media_types]
    except (av.FFmpegError, ValueError, OSError):  # an input that cannot list has no devices to offer
        return []
    return [(d.name, d.description or d.name) for d in found if d.name]


def _enumerated_from_log(kind: str) -> list[tuple[str, str]]:
    """The same from what libav writes when it is asked to list."""
    said = logged("dummy", kind, {"list_devices": "true"})
    if kind == "dshow":
        pattern = r'"([^"\n]+)" \([^)\n]*video[^)\n]*\)\s+Alternative name "([^"\n]+)"'
        return [(name, label) for label, name in re.findall(pattern, said)]
    if kind == "avfoundation":
        video = said.partition("video devices:")[2].partition("audio devices:")[0]
        return [(number, label.strip()) for number, label in re.findall(r"\[(\d+)\] (.+)", video)]
    return [(name, name) for name in re.findall(r"^\s+'(.+)'\s*$", said, re.MULTILINE)]


def logged(file: str, kind: str, options: dict[str, str]) -> str:
    """What libav writes into its log while it is asked to open a device so that it only tells."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        # Telling ends with an error by design.
        with av.logging.Capture() as lines, suppress(av.FFmpegError, OSError, ValueError):
            av.open(file, format=kind, options=options, timeout=2.0).close()
        return "".join(message for _, _, message in lines)
    finally:
        av.logging.set_level(before)


def examined(device: DeviceInfo) -> DeviceInfo:
    """The device with its modes, where libav tells them only when it is asked for them alone."""
    if device.modes or device.kind == "v4l2":
        return device
    if device.kind == "dshow":
        modes = _dshow_modes(logged(device.file, "dshow", {"list_options": "true"}))
    elif device.kind == "avfoundation":
        modes = _avfoundation_modes(logged(device.file, "avfoundation", {"framerate": IMPOSSIBLE_RATE}))
    else:
        modes = _decklink_modes(logged(device.file, "decklink", {"list_formats": "1"}))
    return replace(device, modes=tuple(dict.fromkeys(modes[: MOST_LISTED * 8])))


NUMBER = r"(\d+(?:\.\d+)?)"


def _dshow_modes(said: str) -> list[Mode]:
    """`vcodec=mjpeg  min s=640x480 fps=5 max s=1920x1080 fps=60`, or pixel_format= for raw ones."""
    pattern = (
        rf"(?:vcodec|pixel_format)=(\S+)\s+min s=(\d+)x(\d+) fps={NUMBER} max s=(\d+)x(\d+) fps={NUMBER}"
    )
    modes = []
    for name, least_width, least_height, rate, width, height, other in re.findall(pattern, said):
        least, size = (int(least_width), int(least_height)), (int(width), int(height))
        rates = _rates(rate, other)
        span = None if least == size else least
        modes.append(Mode(name, *size, rates, least=span, any_rate=len(rates) > 1))
    return modes


def _avfoundation_modes(said: str) -> list[Mode]:
    """`1920x1080@[1.000000 60.000240]fps`; the pixel formats are not told."""
    found = re.findall(rf"(\d+)x(\d+)@\[{NUMBER} {NUMBER}\]fps", said)
    spans = [(int(width), int(height), _rates(low, high)) for width, height, low, high in found]
    return [Mode("", width, height, rates, any_rate=len(rates) > 1) for width, height, rates in spans]


def _decklink_modes(said: str) -> list[Mode]:
    """`Hi50  1920x1080 at 25000/1000 fps (interlaced, upper field first)`, chosen by its four letters."""
    found = re.findall(r"^\t(\S.{0,3}?)\s+(\d+)x(\d+) at (\d+)/(\d*[1-9]\d*) fps", said, re.MULTILINE)
    return [
        Mode(code.lower(), int(width), int(height), (Fraction(int(pictures), int(seconds)),), code=code)
        for code, width, height, pictures, seconds in found
        if int(pictures)
    ]


def _rates(one: str, other: str) -> tuple[Fraction, ...]:
    return tuple(sorted({Fraction(one), Fraction(other)} - {Fraction(0)}, reverse=True))
