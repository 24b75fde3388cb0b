"""Where decoding can begin, read from the bytes of a packet.

Owns the few start codes that say so. Must not know containers: a transport stream that libav is told not to
parse marks no packet as a key frame.
"""

from __future__ import annotations

import re

_STARTS = {
    # A sequence parameter set stands before every picture that decoding can begin with, also where a stream
    # refreshes itself bit by bit and has no other key frames (H.264 7.4.1.2.1, type 7; H.265 table 7-1, 33).
    "h264": re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67]"),
    "hevc": re.compile(rb"\x00\x00\x01\x42"),
    # A sequence header (H.262 6.2.2.1).
    "mpeg2video": re.compile(rb"\x00\x00\x01\xb3"),
}
_LOOKED_AT = 2048
"""Bytes in which the start code is looked for: parameter sets come first."""


def begins_anew(codec: str, data: bytes) -> bool | None:
    """True when decoding can begin with this packet (Annex B bytes); None where this is not known to say."""
    pattern = _STARTS.get(codec)
    if pattern is None or not data.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")):
        return None
    return pattern.search(data, 0, _LOOKED_AT) is not None
