"""A kernel made of a table: it answers Video4Linux questions in the layout of linux/videodev2.h, by ctypes.

The layout here is independent of the one in the product (struct formats); sizes were compared with a C
compiler's for x86-64: 104, 64, 44, 52 and 80 bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from endostream.capture import v4l2

U32 = ctypes.c_uint32
CHAR = ctypes.c_char


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_uint8 * 16),
        ("card", ctypes.c_uint8 * 32),
        ("bus_info", ctypes.c_uint8 * 32),
        ("version", U32),
        ("capabilities", U32),
        ("device_caps", U32),
        ("reserved", U32 * 3),
    )


class Format(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("type", U32),
        ("flags", U32),
        ("description", ctypes.c_uint8 * 32),
        ("pixelformat", U32),
        ("mbus_code", U32),
        ("reserved", U32 * 3),
    )


class Discrete(ctypes.Structure):
    _fields_ = (("width", U32), ("height", U32))


class Stepwise(ctypes.Structure):
    _fields_ = (
        ("min_width", U32),
        ("max_width", U32),
        ("step_width", U32),
        ("min_height", U32),
        ("max_height", U32),
        ("step_height", U32),
    )


class SizeUnion(ctypes.Union):
    _fields_ = (("discrete", Discrete), ("stepwise", Stepwise))


class Size(ctypes.Structure):
    _fields_ = (("index", U32), ("pixel_format", U32), ("type", U32), ("u", SizeUnion), ("reserved", U32 * 2))


class Fract(ctypes.Structure):
    _fields_ = (("numerator", U32), ("denominator", U32))


class FractSpan(ctypes.Structure):
    _fields_ = (("min", Fract), ("max", Fract), ("step", Fract))


class IntervalUnion(ctypes.Union):
    _fields_ = (("discrete", Fract), ("stepwise", FractSpan))


class Interval(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("pixel_format", U32),
        ("width", U32),
        ("height", U32),
        ("type", U32),
        ("u", IntervalUnion),
        ("reserved", U32 * 2),
    )


class Input(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("name", ctypes.c_uint8 * 32),
        ("type", U32),
        ("audioset", U32),
        ("tuner", U32),
        ("std", ctypes.c_uint64),
        ("status", U32),
        ("capabilities", U32),
        ("reserved", U32 * 3),
    )


CAPTURE, METADATA, OWN_CAPS = 0x1, 0x800000, 0x80000000


def request(number: int, size: int, *, write: bool) -> int:
    """The number of an ioctl of 'V' (asm-generic/ioctl.h)."""
    return ((3 if write else 2) << 30) | (size << 16) | (ord("V") << 8) | number


LAYOUTS: dict[int, type[ctypes.Structure]] = {
    request(0, ctypes.sizeof(Capability), write=False): Capability,
    request(2, ctypes.sizeof(Format), write=True): Format,
    request(74, ctypes.sizeof(Size), write=True): Size,
    request(75, ctypes.sizeof(Interval), write=True): Interval,
    request(26, ctypes.sizeof(Input), write=True): Input,
}


@dataclass
class Sizes:
    """One size, or a span of them, with seconds per picture."""

    size: tuple[int, ...]
    """(width, height), or (min width, max width, step, min height, max height, step)."""
    intervals: Sequence[tuple[int, int]] = ((1, 60), (1, 30))
    span: bool = False
    """True when `intervals` are the least, the most and the step."""


@dataclass
class Card:
    """What a node answers."""

    card: bytes = b"USB Video: USB Video"
    bus: bytes = b"usb-0000:00:14.0-3"
    formats: dict[bytes, list[Sizes]] = field(default_factory=dict)
    inputs: Sequence[bytes] = (b"Camera 1",)
    caps: int = CAPTURE
    refuses: int = 0
    """errno of open."""
    dies_after: int = 10**9
    """Questions after which every one fails with ENODEV."""
    endless: bool = False
    """Answers every index as it answers 0."""


class Kernel:
    """Answers `open_node`, `ask` and `close_node`; counts what was asked."""

    def __init__(self, cards: dict[str, Card]) -> None:
        self.cards = cards
        self.open: dict[int, Card] = {}
        self.questions = 0
        self._next = 100

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the real kernel's place."""
        monkeypatch.setattr(v4l2, "open_node", self.open_node)
        monkeypatch.setattr(v4l2, "ask", self.ask)
        monkeypatch.setattr(v4l2, "close_node", lambda handle: self.open.pop(handle))

    def open_node(self, node: Path) -> int:
        card = self.cards.get(node.name)
        problem = errno.ENOENT if card is None else card.refuses
        if problem or card is None:
            raise OSError(problem, os.strerror(problem))
        self._next += 1
        self.open[self._next] = card
        return self._next

    def ask(self, handle: int, number: int, question: bytes) -> bytes:
        card = self.open[handle]
        self.questions += 1
        card.dies_after -= 1
        if card.dies_after < 0:
            raise OSError(errno.ENODEV, "No such device")
        layout = LAYOUTS[number]
        assert len(question) == ctypes.sizeof(layout)
        said: Any = layout.from_buffer_copy(question)
        answers: dict[type, Callable[[Card, Any], None]] = {
            Capability: _capability,
            Format: _format,
            Size: _size,
            Interval: _interval,
            Input: _input,
        }
        try:
            answers[layout](card, said)
        except (IndexError, KeyError):
            raise OSError(errno.EINVAL, "Invalid argument") from None
        return bytes(said)


def _fill(place: Any, value: bytes) -> None:
    # As a driver that truncates: no zero at the end of a name that is too long.
    place[: len(value[: len(place)])] = list(value[: len(place)])


def _capability(card: Card, said: Any) -> None:
    _fill(said.driver, b"uvcvideo")
    _fill(said.card, card.card)
    _fill(said.bus_info, card.bus)
    said.capabilities, said.device_caps = CAPTURE | METADATA | OWN_CAPS, card.caps


def _at(card: Card, items: Sequence[Any], index: int) -> Any:
    return items[0 if card.endless else index]


def _format(card: Card, said: Any) -> None:
    assert said.type == 1
    said.pixelformat = int.from_bytes(_at(card, list(card.formats), said.index), "little")
    _fill(said.description, b"as the maker calls it")


def _size(card: Card, said: Any) -> None:
    sizes = card.formats[said.pixel_format.to_bytes(4, "little")]
    size = _at(card, sizes, said.index).size
    if len(size) == 2:
        said.type, said.u.discrete = 1, Discrete(*size)
    else:
        said.type, said.u.stepwise = 3, Stepwise(*size)
        if said.index:
            raise IndexError


def _interval(card: Card, said: Any) -> None:
    sizes = card.formats[said.pixel_format.to_bytes(4, "little")]
    wanted = (said.width, said.height)
    found = next(s for s in sizes if wanted == (s.size if len(s.size) == 2 else (s.size[1], s.size[4])))
    if found.span:
        said.type, said.u.stepwise = 3, FractSpan(*(Fract(*i) for i in found.intervals))
    else:
        said.type, said.u.discrete = 1, Fract(*_at(card, found.intervals, said.index))


def _input(card: Card, said: Any) -> None:
    _fill(said.name, _at(card, card.inputs, said.index))


HDMI_STICK = {
    b"MJPG": [
        Sizes((1920, 1080), ((1, 60), (1, 50), (1, 25))),
        Sizes((1280, 720), ((1, 60),)),
        Sizes((720, 576), ((1, 50),)),
    ],
    b"YUYV": [Sizes((1920, 1080), ((1, 5),)), Sizes((720, 576), ((1, 25),))],
}
"""What cheap HDMI sticks on USB 2 offer: raw pictures only slowly."""


class Machine:
    """Folders as the kernel and udev lay them out, and the kernel that answers for their nodes."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes, self.names, self.links = root / "dev", root / "class", root / "dev/v4l/by-id"
        self.links.mkdir(parents=True)
        self.names.mkdir()
        self._bus = root / "devices"
        self.kernel = Kernel({})
        self.kernel.install(monkeypatch)
        from endostream.capture import cards

        monkeypatch.setattr(cards, "V4L2_NODES", self.nodes)
        monkeypatch.setattr(cards, "V4L2_NAMES", self.names)
        monkeypatch.setattr(cards, "V4L2_LINKS", self.links)
        monkeypatch.setattr(cards.sys, "platform", "linux")

    def plug(
        self,
        node: str,
        card: Card,
        *,
        usb: tuple[str, str, str] | None = None,
        pci: tuple[str, str] | None = None,
        place: str = "1-3",
        part: str = "00",
        index: str = "0",
        name: str | None = None,
    ) -> str:
        """Connect a card as `node` (`video0`); the path of the node."""
        (self.nodes / node).write_bytes(b"")
        self.kernel.cards[node] = card
        about = self.names / node
        about.mkdir()
        (about / "index").write_text(f"{index}\n")
        (about / "name").write_text(f"{name or card.card.decode(errors='replace')}\n")
        device = self._bus / place
        device.mkdir(parents=True, exist_ok=True)
        if usb:
            for key, value in zip(("idVendor", "idProduct", "serial"), usb, strict=True):
                if value:
                    (device / key).write_text(f"{value}\n")
            device = device / f"{place}:1.{int(part, 16)}"
            device.mkdir(exist_ok=True)
            (device / "bInterfaceNumber").write_text(f"{part}\n")
        if pci:
            (device / "vendor").write_text(f"0x{pci[0]}\n")
            (device / "device").write_text(f"0x{pci[1]}\n")
        if usb or pci:
            (about / "device").symlink_to(device)
        return str(self.nodes / node)

    def pull(self, node: str) -> None:
        """Disconnect it."""
        (self.nodes / node).unlink()
        del self.kernel.cards[node]
        for file in (self.names / node).iterdir():
            file.unlink()
        (self.names / node).rmdir()
