"""Small videos that the capture tests make for themselves; every picture carries its number as blocks."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

WIDTH, HEIGHT, BITS = 96, 64, 8
BLOCK = WIDTH // BITS


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A soft colour gradient with the number in white and black blocks along the top."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([90 + x % 96, 60 + y % 64, np.full_like(x, 70)], axis=2).astype(np.uint8)
    for bit in range(BITS):
        image[0:16, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    return image


def number_in(image: np.ndarray) -> int:
    """The number that `picture` drew."""
    blocks = [image[4:12, b * BLOCK + 3 : (b + 1) * BLOCK - 3].mean() > 128 for b in range(BITS)]
    return sum(int(bit) << i for i, bit in enumerate(blocks))


def write_video(
    path: Path,
    pts: Iterable[int] = range(30),
    *,
    codec: str = "libx264",
    rate: int = 25,
    format: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    turn: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixels: str = "yuv420p",
    aspect: Fraction | None = None,
    blank: bool = False,
) -> Path:
    """Pictures numbered from 0 at `pts` (units of 1/rate s); `turn` stores them turned, with the matrix."""
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        width, height = size if turn % 180 == 0 else size[::-1]
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.options = options or {}
        stream.codec_context.time_base = Fraction(1, rate)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(turn)
        for number, at in enumerate(pts):
            drawn = np.zeros((*size[::-1], 3), np.uint8) if blank else picture(number, *size)
            image = np.ascontiguousarray(np.rot90(drawn, -turn // 90))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("number", [0, 1, 29, 170, 255])
def test_a_picture_carries_its_number(number: int) -> None:
    assert number_in(picture(number)) == number
