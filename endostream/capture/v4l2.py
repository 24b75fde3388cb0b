"""What a Video4Linux node says of itself: two read-only questions to the kernel.

Owns the layout of those two answers (linux/videodev2.h). Must not open streams.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

QUERYCAP = 0x80685600
"""VIDIOC_QUERYCAP: struct v4l2_capability, 104 bytes."""
ENUM_FMT = 0xC0405602
"""VIDIOC_ENUM_FMT: struct v4l2_fmtdesc, 64 bytes."""
VIDEO_CAPTURE = 0x1
HAS_DEVICE_CAPS = 0x80000000
MOST_FORMATS = 64


def describe(node: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether the node captures video, and its pixel formats; a node that does not answer is taken to."""
    import fcntl

    try:
        handle = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # busy or not permitted: it is there, and opening it will say what is wrong
        return True, ()
    try:
        answer = fcntl.ioctl(handle, QUERYCAP, bytes(104))
        if not captures(answer):
            return False, ()
        formats: list[str] = []
        for index in range(MOST_FORMATS):
            try:
                answer = fcntl.ioctl(handle, ENUM_FMT, struct.pack("=II56x", index, VIDEO_CAPTURE))
            except OSError:  # the kernel's way of saying that there are no more
                break
            formats.append(pixel_format(answer))
        return True, tuple(formats)
    except OSError:
        return True, ()
    finally:
        os.close(handle)


def captures(answer: bytes) -> bool:
    """True when a v4l2_capability says that this node (not a sibling of it) captures video."""
    whole, own = struct.unpack_from("=II", answer, 84)
    return bool((own if whole & HAS_DEVICE_CAPS else whole) & VIDEO_CAPTURE)


def pixel_format(answer: bytes) -> str:
    """The four letters of a v4l2_fmtdesc."""
    return answer[44:48].decode("ascii", errors="replace").strip()
