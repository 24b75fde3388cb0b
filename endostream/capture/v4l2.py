"""What a Video4Linux node says of itself: read-only questions to the kernel.

Owns the layout of the answers (linux/videodev2.h). Must not open streams. Tested against a kernel made of a
table, not against hardware.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from endostream.capture.modes import Mode

QUERYCAP = 0x80685600
"""VIDIOC_QUERYCAP: struct v4l2_capability, 104 bytes."""
ENUM_FMT = 0xC0405602
"""VIDIOC_ENUM_FMT: struct v4l2_fmtdesc, 64 bytes."""
ENUM_SIZES = 0xC02C564A
"""VIDIOC_ENUM_FRAMESIZES: struct v4l2_frmsizeenum, 44 bytes."""
ENUM_INTERVALS = 0xC034564B
"""VIDIOC_ENUM_FRAMEINTERVALS: struct v4l2_frmivalenum, 52 bytes."""
ENUM_INPUT = 0xC050561A
"""VIDIOC_ENUMINPUT: struct v4l2_input, 80 bytes."""
VIDEO_CAPTURE = 0x1
"""V4L2_CAP_VIDEO_CAPTURE; also V4L2_BUF_TYPE_VIDEO_CAPTURE."""
HAS_DEVICE_CAPS = 0x80000000
DISCRETE = 1
"""V4L2_FRMSIZE_TYPE_DISCRETE and V4L2_FRMIVAL_TYPE_DISCRETE; 2 is continuous, 3 stepwise."""
MOST_FORMATS = 64
MOST_SIZES = 128
MOST_RATES = 64
MOST_INPUTS = 16
MOST_QUESTIONS = 4096
"""Questions put to one node: a driver that never comes to an end is left alone after these (some 10 ms)."""

LIBAV_NAMES = {
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "NV12": "nv12",
    "YU12": "yuv420p",
    "YV12": "yuv420p",
    "422P": "yuv422p",
    "411P": "yuv411p",
    "RGB3": "rgb24",
    "BGR3": "bgr24",
    "BGR4": "bgr0",
    "RGB4": "0rgb",
    "RGBP": "rgb565le",
    "GREY": "gray",
    "Y16": "gray16le",
    "MJPG": "mjpeg",
    "JPEG": "mjpeg",
    "H264": "h264",
    "BA81": "bayer_bggr8",
    "GBRG": "bayer_gbrg8",
    "GRBG": "bayer_grbg8",
    "RGGB": "bayer_rggb8",
}
"""What libav's v4l2 input calls the kernel's four letters."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a node said."""

    captures: bool
    """False where the node certainly gives no video."""
    card: str = ""
    """The maker's name."""
    bus: str = ""
    """Where it is plugged in, such as `usb-0000:00:14.0-3`."""
    formats: tuple[str, ...] = ()
    """Pixel formats, four letters each."""
    modes: tuple[Mode, ...] = ()
    """Formats, sizes and rates."""
    inputs: tuple[str, ...] = ()
    """Names of its connectors, in their order."""
    trouble: str = ""
    """Why it cannot be opened and what to do; empty where nothing is known to be wrong."""


def open_node(node: Path) -> int:
    """A handle of a node; raises `OSError`."""
    return os.open(node, os.O_RDONLY | os.O_NONBLOCK)


def ask(handle: int, request: int, question: bytes) -> bytes:
    """The kernel's answer to one question, as long as the question; raises `OSError` when there is none."""
    import fcntl

    return fcntl.ioctl(handle, request, question)


def close_node(handle: int) -> None:
    """Give a handle back."""
    os.close(handle)


def describe(node: Path) -> Report:
    """What a node says of itself; one that cannot be asked counts as capturing: opening it will tell."""
    try:
        handle = open_node(node)
    except OSError as error:
        return Report(error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO), trouble=_trouble(error))
    try:
        answer = ask(handle, QUERYCAP, bytes(104))
        if not captures(answer):
            return Report(False)
        card, bus = text(answer[16:48]), text(answer[48:80])
        questions = _Questions(handle)
        formats = tuple(questions.formats())
        return Report(True, card, bus, formats, tuple(questions.modes(formats)), tuple(questions.inputs()))
    except OSError as error:
        return Report(error.errno != errno.ENODEV, trouble=_trouble(error))
    finally:
        close_node(handle)


def _trouble(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted: add your user to the group video and log in again"
    if error.errno == errno.EBUSY:
        return "in use by another program: close that first"
    return ""


class _Questions:
    """Everything that one node is asked after it said that it captures; bounded whatever it answers."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._left = MOST_QUESTIONS

    def _each(self, request: int, question: Callable[[int], bytes], most: int) -> Iterator[bytes]:
        """The answers for index 0, 1, … until the kernel says that there are no more."""
        for index in range(most):
            self._left -= 1
            if self._left < 0:
                return
            try:
                yield ask(self._handle, request, question(index))
            except OSError:
                return

    def formats(self) -> Iterator[str]:
        def question(index: int) -> bytes:
            return struct.pack("=II56x", index, VIDEO_CAPTURE)

        seen = set()
        for answer in self._each(ENUM_FMT, question, MOST_FORMATS):
            name = pixel_format(answer)
            if name not in seen:
                seen.add(name)
                yield name

    def modes(self, formats: tuple[str, ...]) -> Iterator[Mode]:
        for name in formats:
            code = name.ljust(4).encode("ascii", errors="replace")[:4]
            called = LIBAV_NAMES.get(name, name.lower())
            question = partial(_size_question, code)
            seen = set()
            for answer in self._each(ENUM_SIZES, question, MOST_SIZES):
                (kind,) = struct.unpack_from("=I", answer, 8)
                if kind == DISCRETE:
                    width, height = struct.unpack_from("=II", answer, 12)
                    least, step = None, (1, 1)
                else:
                    low, width, across, low_y, height, down = struct.unpack_from("=6I", answer, 12)
                    least, step = (low, low_y), (max(across, 1), max(down, 1))
                if (width, height, least) in seen or not (width and height):
                    continue
                seen.add((width, height, least))
                rates, any_rate = self._rates(code, width, height)
                yield Mode(called, width, height, rates, least, step, any_rate)
                if kind != DISCRETE:  # a span is the whole answer
                    break

    def _rates(self, code: bytes, width: int, height: int) -> tuple[tuple[Fraction, ...], bool]:
        """Rates of one size, fastest first, and whether all between them are taken."""

        def question(index: int) -> bytes:
            return struct.pack("=I4sII36x", index, code, width, height)

        rates: set[Fraction] = set()
        for answer in self._each(ENUM_INTERVALS, question, MOST_RATES):
            (kind,) = struct.unpack_from("=I", answer, 16)
            # Seconds per picture; of a span the shortest and the longest come first.
            for numerator, denominator in _fractions(answer, 1 if kind == DISCRETE else 2):
                if numerator and denominator:
                    rates.add(Fraction(denominator, numerator))
            if kind != DISCRETE:
                return tuple(sorted(rates, reverse=True)), len(rates) > 1
        return tuple(sorted(rates, reverse=True)), False

    def inputs(self) -> Iterator[str]:
        for answer in self._each(ENUM_INPUT, lambda index: struct.pack("=I76x", index), MOST_INPUTS):
            yield text(answer[4:36])


def _size_question(code: bytes, index: int) -> bytes:
    return struct.pack("=I4s36x", index, code)


def _fractions(answer: bytes, count: int) -> Iterator[tuple[int, int]]:
    for place in range(count):
        numerator, denominator = struct.unpack_from("=II", answer, 20 + 8 * place)
        yield numerator, denominator


def captures(answer: bytes) -> bool:
    """True when a v4l2_capability says that this node (not a sibling of it) captures video."""
    whole, own = struct.unpack_from("=II", answer, 84)
    return bool((own if whole & HAS_DEVICE_CAPS else whole) & VIDEO_CAPTURE)


def pixel_format(answer: bytes) -> str:
    """The four letters of a v4l2_fmtdesc."""
    return answer[44:48].decode("ascii", errors="replace").strip()


def text(field: bytes) -> str:
    """A name in a fixed field: up to its first zero, without what cannot be shown."""
    said = field.partition(b"\0")[0].decode("utf-8", errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())
