"""Moving pictures whose every detail is known: a counter, a bright block on red ground, and where it is.

Owns what is drawn, and clips of it, each made once in a process. Must not know how they are sent or measured.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from endostream.bench.rig import counter
from endostream.bench.rig.counter import Box
from endostream.capture.loopback import Clip, encode_clip
from endostream.types import ImageArray

BLOCK = (40, 225, 90)
"""RGB of the block: green, which no mucosa is."""
ROUND = 120
"""Pictures after which block and ground are where they were, so that a clip of so many loops smoothly."""
_GROUND = ((158.0, 30.0), (84.0, 18.0), (66.0, 14.0))
"""Mean and spread of red, green and blue."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a clip shows."""

    width: int = 1280
    """Pixels, even."""
    height: int = 720
    """Pixels, even."""
    fps: int = 30
    """Pictures a second."""
    seconds: float = 4.0
    """Length; 4 s at 30 pictures a second loop without a step."""
    interlaced: bool = False
    """Two fields in every picture, the upper one half a picture earlier."""
    hidden: tuple[int, int] = (0, 0)
    """Numbers of the first picture without the block and of the first one with it again."""

    @property
    def pictures(self) -> int:
        """Number of pictures."""
        return max(1, round(self.seconds * self.fps))

    def shows_block(self, number: float) -> bool:
        """True when the block is in the picture."""
        return not self.hidden[0] <= number < self.hidden[1]

    def block_at(self, number: float) -> Box:
        """Where the block is in picture `number`; halves are the lower fields of interlaced pictures."""
        return block_at(number, self.width, self.height)


def block_at(number: float, width: int, height: int) -> Box:
    """Box of the block, all edges even: it goes around once in `ROUND` pictures, above the counter, where
    tower profiles let it be seen.
    """
    turn = 2.0 * math.pi * number / ROUND
    w, h = 2 * round(0.07 * width), 2 * round(0.11 * height)
    x = 2 * round((0.5 - 0.14 * math.cos(turn)) * width / 2) - w // 4 * 2
    y = 2 * round((0.4 + 0.2 * math.sin(2.0 * turn)) * height / 2) - h // 4 * 2
    return x, y, x + w, y + h


def picture(scene: Scene, number: int) -> ImageArray:
    """Picture `number` of a scene, uint8[H, W, 3]."""
    upper = _field(scene, number)
    if scene.interlaced:
        upper[1::2] = _field(scene, number + 0.5)[1::2]
    counter.draw(upper, number)
    return upper


@functools.lru_cache(maxsize=8)
def make_clip(scene: Scene) -> Clip:
    """The scene as H.264; 4 s of 720p30 take about 1.5 s, once in a process."""
    return encode_clip(_pictures(scene), Fraction(scene.fps), interlaced=scene.interlaced)


def _pictures(scene: Scene) -> Iterator[ImageArray]:
    for number in range(scene.pictures):
        yield picture(scene, number)


def _field(scene: Scene, number: float) -> ImageArray:
    width, height = scene.width, scene.height
    swing = _swing(width)
    x = round(swing * (1.0 + math.sin(2.0 * math.pi * number / ROUND)))
    image = _ground(width, height)[:, x : x + width].copy()
    if scene.shows_block(number):
        x0, y0, x1, y1 = scene.block_at(number)
        image[y0:y1, x0:x1] = BLOCK
    return image


def _swing(width: int) -> int:
    return max(2, width // 32)


@functools.lru_cache(maxsize=4)
def _ground(width: int, height: int) -> ImageArray:
    """Red texture, coarse and fine, wider than the picture: the view swings over it."""
    rng = np.random.default_rng(5)
    size = (height, width + 2 * _swing(width) + 2)
    field = np.zeros(size, np.float32)
    for share, weight in ((0.05, 0.5), (0.012, 0.6), (0.004, 0.5)):
        noise = cv2.GaussianBlur(rng.normal(0, 1, size).astype(np.float32), (0, 0), max(1.0, share * width))
        field += weight * noise / noise.std()
    bands = [mean + spread * field for mean, spread in _GROUND]
    return np.asarray(np.clip(np.stack(bands, -1), 24, 210), np.uint8)
