"""The last seconds of a live source's packets, so that a recording can begin before it was asked for.

Owns what is kept and what goes. Must not know files, threads or pictures.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.records.sidecar import Line, PartMode

RING_BYTES = 192 << 20
"""Most that is kept: ten seconds at 160 Mbit/s. Lossless 1080p keeps fewer seconds."""
RING_LINES = 20_000
"""Most lines kept of frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Packets of one kind that follow each other: a part of a recording holds one stretch at most."""

    format: StreamFormat
    """How the packets are coded."""
    epoch: int
    """Epoch of their frames."""
    time_base: Fraction
    """Seconds per unit of the source's own pts."""
    mode: PartMode
    """Packets as they came, or pictures encoded anew."""
    encoder: str = ""
    """What encoded them; empty for `copy`."""


@dataclass(slots=True)
class _Group:
    """A key frame and what depends on it."""

    stretch: Stretch
    begin: float
    packets: list[StreamPacket] = field(default_factory=list)
    size: int = 0


class Ring:
    """Groups of packets, each beginning with a key frame, and the lines of the frames since the first.

    Parameters
    ----------
    seconds
        How much is kept: at least this, and up to one group more.
    most
        Bytes at most; then less is kept.
    """

    def __init__(self, seconds: float, most: int = RING_BYTES) -> None:
        self._seconds, self._most = seconds, most
        self._groups: deque[_Group] = deque()
        self._size = 0
        self._lines: deque[tuple[float, Line]] = deque(maxlen=RING_LINES)

    def add(self, stretch: Stretch, packet: StreamPacket) -> None:
        """Keep a packet; one that depends on a packet that is not here goes at once."""
        last = self._groups[-1] if self._groups else None
        if packet.keyframe:
            last = _Group(stretch, packet.arrived)
            self._groups.append(last)
        elif last is None or last.stretch is not stretch:
            return
        last.packets.append(packet)
        last.size += len(packet.data)
        self._size += len(packet.data)
        self._trim(packet.arrived - self._seconds)

    def _trim(self, since: float) -> None:
        while self._size > self._most or (len(self._groups) > 1 and self._groups[1].begin <= since):
            self._size -= self._groups.popleft().size
        begin = self._groups[0].begin if self._groups else since
        while self._lines and self._lines[0][0] < begin:
            self._lines.popleft()

    def note(self, captured: float, line: Line) -> None:
        """Keep the line of a frame captured, or of a change noticed, at `captured` (monotonic seconds)."""
        if self._groups:
            self._lines.append((captured, line))

    def take(self, since: float | None) -> tuple[list[tuple[Stretch, StreamPacket]], list[Line]]:
        """Give everything away: packets from the last key frame before `since` on (monotonic seconds; None:
        all), and the lines of that time.
        """
        groups, lines = list(self._groups), list(self._lines)
        self._groups.clear()
        self._lines.clear()
        self._size = 0
        if since is not None:
            first = max((n for n, group in enumerate(groups) if group.begin <= since), default=0)
            groups = groups[first:]
        begin = groups[0].begin if groups else math.inf
        return (
            [(group.stretch, packet) for group in groups for packet in group.packets],
            [line for captured, line in lines if captured >= begin],
        )
