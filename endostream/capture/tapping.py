"""What a live source passes on besides its pictures: the packets they came in, for a recording without loss.

Owns the values that cross from the connection's thread to the recorder's. Must not know files or containers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How a connection's packets are coded: what a container must be told to hold them as they are."""

    codec: str
    """libav's name of the codec (`h264`, `mjpeg`, `rawvideo`)."""
    width: int
    """Coded width in pixels."""
    height: int
    """Coded height in pixels."""
    pixel_format: str | None
    """libav's name of the pixel format."""
    time_base: Fraction
    """Seconds per unit of pts and dts."""
    rate: Fraction | None
    """Average frame rate in Hz, where known."""
    extradata: bytes | None
    """The codec's headers, where the connection gave them apart from the packets."""


@dataclass(frozen=True, slots=True)
class StreamPacket:
    """One compressed picture as it came."""

    data: bytes
    """The bytes."""
    pts: int | None
    """Presentation time stamp in the format's time base."""
    dts: int | None
    """Decoding time stamp in the format's time base."""
    keyframe: bool
    """True when decoding can begin here."""
    arrived: float
    """Monotonic clock in seconds."""


class Tap(Protocol):
    """Hears what comes in. All calls come from a connection's thread, one at a time; none may wait."""

    def connected(self, format: StreamFormat, epoch: int) -> None:
        """Packets of this format follow; their pictures are frames of this `epoch`."""

    def packet(self, packet: StreamPacket) -> None:
        """A packet came; it will be decoded too, and its pictures carry the same pts."""
