"""Compressed pictures as a connection gives them, and what a recording of them holds."""

from __future__ import annotations

import functools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.types import ImageArray

TICKS = Fraction(1, 90_000)
START = 8_589_934_592 - 900_000
"""A broadcaster's clock: anywhere in 33 bits."""


def picture(number: int, width: int = 160, height: int = 96) -> ImageArray:
    rng = np.random.default_rng(number)
    image = np.full((height, width, 3), 90, np.uint8)
    x = number * 7 % (width - 32)
    image[20:52, x : x + 32] = rng.integers(0, 255, (32, 32, 3), np.uint8)
    return image


def coded(
    codec: str, count: int = 30, *, size: tuple[int, int] = (160, 96), b_frames: int = 0, gop: int = 10
) -> tuple[StreamFormat, list[StreamPacket]]:
    """What a connection gives: Annex B packets with a clock of 90 kHz, headers in the key frames only."""
    format, packets = _coded(codec, count, size, b_frames, gop)
    return format, list(packets)


@functools.cache
def _coded(
    codec: str, count: int, size: tuple[int, int], b_frames: int, gop: int
) -> tuple[StreamFormat, tuple[StreamPacket, ...]]:
    name = {"h264": "libx264", "hevc": "libx265"}.get(codec, codec)
    context = av.CodecContext.create(name, "w")
    context.width, context.height = size
    context.pix_fmt = "yuvj422p" if codec == "mjpeg" else "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.gop_size, context.max_b_frames = gop, b_frames
    if codec == "h264":
        context.options = {"sc_threshold": "0", "b-adapt": "0"}
    if codec == "hevc":
        context.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    out = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24")
        frame = frame.reformat(format=context.pix_fmt)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        out += context.encode(frame)
    out += context.encode(None)
    scale = 3600
    packets = tuple(
        StreamPacket(bytes(p), START + p.pts * scale, START + p.dts * scale, bool(p.is_keyframe), n / 25)
        for n, p in enumerate(out)
    )
    return StreamFormat(codec, *size, context.pix_fmt, TICKS, Fraction(25), None), packets


def stamps(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.time_base == Fraction(1, 1000)
        return [frame.pts for frame in container.decode(stream)]
