"""The headers of compressed video: found in a packet, and told to libav without opening a connection.

Owns the few bytes of each codec that a container must know. Must not know files, threads or libav.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from endostream.capture.tapping import StreamFormat

MATROSKA_CODECS: Final[Mapping[str, str]] = {
    "h264": "V_MPEG4/ISO/AVC",
    "hevc": "V_MPEGH/ISO/HEVC",
    "mjpeg": "V_MJPEG",
    "mpeg2video": "V_MPEG2",
    "mpeg4": "V_MPEG4/ISO/ASP",
    "ffv1": "V_FFV1",
}
"""libav's names of the codecs that are recorded, and Matroska's."""

_SEARCHED = 1 << 14
"""Bytes of a packet in which its headers lie: they come before the first slice."""
_START = re.compile(b"\x00\x00\x01")
_H264_SETS, _H264_SPS = frozenset({7, 8, 13}), 7
_HEVC_SETS, _HEVC_SPS = frozenset({32, 33, 34}), 33
_BOXED = 1
"""First byte of headers whose packets hold lengths instead of start codes (MP4, FLV, Matroska)."""
_MPEG2_SEQUENCE, _MPEG2_END = b"\x00\x00\x01\xb3", re.compile(b"\x00\x00\x01[\x00\xb8]")
_MPEG4_OBJECT, _MPEG4_END = re.compile(b"\x00\x00\x01[\x20-\x2f]"), re.compile(b"\x00\x00\x01[\xb3\xb6]")
_JPEG_SIZES = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_BARE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class Headers:
    """What a packet says of the stream it begins."""

    kind: bytes = b""
    """Bytes that stay the same as long as the pictures are of one kind; empty when the packet has none."""
    extradata: bytes | None = None
    """The headers as a container keeps them; None when the packet has none."""


def headers_in(format: StreamFormat, data: bytes) -> Headers:
    """The headers at the beginning of a key frame's packet of one of the codecs known here."""
    codec = format.codec
    if codec in ("h264", "hevc"):
        if format.extradata and format.extradata[0] == _BOXED:
            return Headers()
        return _parameter_sets(data[:_SEARCHED], codec == "hevc")
    if codec == "mpeg2video":
        return _section(data[:_SEARCHED], data.find(_MPEG2_SEQUENCE, 0, _SEARCHED), _MPEG2_END, 8)
    if codec == "mpeg4":
        found = _MPEG4_OBJECT.search(data, 0, _SEARCHED)
        return _section(data[:_SEARCHED], found.start() if found else -1, _MPEG4_END, None)
    if codec == "mjpeg":
        return Headers(kind=_jpeg_size(data))
    return Headers()


def can_begin(format: StreamFormat, data: bytes) -> bool:
    """True when a file may begin with this key frame's packet: its headers are known."""
    if format.codec not in ("h264", "hevc"):
        return True
    return bool(format.extradata or headers_in(format, data).extradata)


def _section(data: bytes, start: int, end: re.Pattern[bytes], compared: int | None) -> Headers:
    """From `start` to the next `end`; the first `compared` bytes tell the kind of the pictures."""
    if start < 0:
        return Headers()
    stop = end.search(data, start + 4)
    section = data[start : stop.start() if stop else len(data)]
    return Headers(kind=section[:compared], extradata=section)


def _units(data: bytes) -> Iterator[bytes]:
    """The units between start codes, without their start codes and padding."""
    starts = [found.end() for found in _START.finditer(data)]
    for start, after in zip(starts, [*(s - 3 for s in starts[1:]), len(data)], strict=True):
        unit = data[start:after].rstrip(b"\x00")
        if unit:
            yield unit


def _parameter_sets(data: bytes, hevc: bool) -> Headers:
    kept, kind = [], b""
    for unit in _units(data):
        number = (unit[0] >> 1) & 0x3F if hevc else unit[0] & 0x1F
        if number in (_HEVC_SETS if hevc else _H264_SETS):
            kept.append(b"\x00\x00\x00\x01" + unit)
            kind += unit if number == (_HEVC_SPS if hevc else _H264_SPS) else b""
        elif number < 32 if hevc else 1 <= number <= 5:
            break  # a slice: its headers came before
    return Headers(kind=kind, extradata=b"".join(kept) if kind else None)


def _jpeg_size(data: bytes) -> bytes:
    """The bytes of a JPEG that hold its size and sampling."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _JPEG_BARE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_SIZES:
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return b""


def stream_header(format: StreamFormat, extradata: bytes | None) -> bytes:
    """A Matroska file of one stream and no picture: what libav needs to know a stream by.

    PyAV copies a stream only from another one, and that needs a container; this is the smallest there is.
    """
    video = _element(0xE0, _number(0xB0, format.width) + _number(0xBA, format.height))
    private = extradata or format.extradata or b""
    entry = (
        _number(0xD7, 1)  # track number, track id, kind: video
        + _number(0x73C5, 1)
        + _number(0x83, 1)
        + _element(0x86, MATROSKA_CODECS[format.codec].encode())
        + (_element(0x63A2, private) if private else b"")
        + video
    )
    head = _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2)
    information = _element(0x1549A966, _number(0x2AD7B1, 1_000_000))
    # A reader looks for tracks until the first cluster, so there must be one.
    cluster = _element(0x1F43B675, _number(0xE7, 0))
    body = information + _element(0x1654AE6B, _element(0xAE, entry)) + cluster
    return _element(0x1A45DFA3, head) + _element(0x18538067, body)


def _element(name: int, data: bytes) -> bytes:
    size = (1 << 56 | len(data)).to_bytes(8, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + data


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))
