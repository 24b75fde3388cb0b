"""Coded pictures as an MPEG transport stream: the bytes that a live encoder puts on the wire.

Owns packets, tables, clocks and counters of ISO/IEC 13818-1 for one programme with one H.264 stream. Must not
know sockets or clips.
"""

from __future__ import annotations

import functools

PACKET = 188
"""Bytes of a transport packet."""
VIDEO, TABLE = 0x100, 0x1000
"""PIDs of the pictures and of the programme map, as ffmpeg numbers them."""
H264 = 0x1B
"""Stream type of H.264."""
WRAP = 1 << 33
"""Time stamps have 33 bits."""
HZ = 90_000
"""Ticks of a time stamp in a second."""
DELAY = HZ // 10
"""Ticks from the clock to the time stamp of the picture that arrives then."""


class TransportStream:
    """Turns coded pictures into transport packets, with one set of counters for as long as it lives.

    Parameters
    ----------
    bounded
        Say in every picture's header how long it is, where that fits. Most encoders do not, and a reader then
        knows that a picture has ended only when the next one begins.
    """

    def __init__(self, bounded: bool = False) -> None:
        self._bounded = bounded
        self._counters: dict[int, int] = {}

    def picture(self, data: bytes, seconds: float, key: bool) -> bytes:
        """Tables and one picture, with the time stamp `seconds`."""
        stamp = round(seconds * HZ) % WRAP
        body = _elementary(data, stamp, self._bounded)
        parts = [self._table(0, _associations()), self._table(TABLE, _programme())]
        flags = 0x10 | (0x40 if key else 0)
        extra = bytes([flags]) + _clock((stamp - DELAY) % WRAP)
        place = PACKET - 4 - 1 - len(extra)
        parts.append(self._packet(VIDEO, body[:place], True, extra))
        for begin in range(place, len(body), PACKET - 4):
            parts.append(self._packet(VIDEO, body[begin : begin + PACKET - 4], False, b""))
        return b"".join(parts)

    def _table(self, pid: int, section: bytes) -> bytes:
        payload = b"\0" + section
        return self._packet(pid, payload + b"\xff" * (PACKET - 4 - len(payload)), True, b"")

    def _packet(self, pid: int, payload: bytes, start: bool, extra: bytes) -> bytes:
        """One packet; what is missing to its size is stuffed in front of the payload."""
        counter = self._counters.get(pid, -1) + 1 & 15
        self._counters[pid] = counter
        missing = PACKET - 4 - len(payload)
        field = b""
        if missing == 1:
            field = b"\0"
        elif missing:
            field = bytes([missing - 1]) + (extra or b"\0")
            field += b"\xff" * (missing - len(field))
        control = (0x30 if field else 0x10) | counter
        return bytes([0x47, (0x40 if start else 0) | pid >> 8, pid & 255, control]) + field + payload


def _elementary(data: bytes, stamp: int, bounded: bool) -> bytes:
    """The picture behind its header (PES)."""
    header = bytes([0x80, 0x80, 5]) + _stamp(0x2, stamp)
    size = len(header) + len(data)
    length = size if bounded and size < 1 << 16 else 0
    return b"\0\0\x01\xe0" + length.to_bytes(2, "big") + header + data


def _stamp(kind: int, ticks: int) -> bytes:
    return bytes(
        [
            kind << 4 | (ticks >> 30 & 7) << 1 | 1,
            ticks >> 22 & 255,
            (ticks >> 15 & 127) << 1 | 1,
            ticks >> 7 & 255,
            (ticks & 127) << 1 | 1,
        ]
    )


def _clock(ticks: int) -> bytes:
    return (ticks << 15 | 0x7E00).to_bytes(6, "big")


@functools.cache
def _associations() -> bytes:
    return _section(0x00, 1, bytes([0, 1, 0xE0 | TABLE >> 8, TABLE & 255]))


@functools.cache
def _programme() -> bytes:
    clock = bytes([0xE0 | VIDEO >> 8, VIDEO & 255])
    return _section(0x02, 1, clock + b"\xf0\0" + bytes([H264]) + clock + b"\xf0\0")


def _section(table: int, number: int, body: bytes) -> bytes:
    size = 5 + len(body) + 4
    head = bytes([table, 0xB0 | size >> 8, size & 255]) + number.to_bytes(2, "big") + b"\xc1\0\0"
    return head + body + _crc(head + body).to_bytes(4, "big")


def _crc(data: bytes) -> int:
    """CRC-32 as transport streams have it: not reflected, not inverted at the end."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 1 << 31 else value << 1) & 0xFFFFFFFF
    return value
