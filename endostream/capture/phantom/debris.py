"""A badly prepared part of the colon: lumps on the wall, smears, and a pool of turbid liquid.

Owns where the dirt lies; it must not know the camera or the light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from endostream.capture.phantom.noise import Field, as_field, periodic_noise, ramp
from endostream.capture.phantom.surface import TURN

HALF_LENGTH = 2.6
"""Half the length of the soiled part in lumen radii."""
STOOL = np.array([0.27, 0.145, 0.04], np.float32)
"""Linear reflectance of stool."""
LIQUID = np.array([0.36, 0.20, 0.05], np.float32)
"""Linear reflectance of the turbid liquid."""


@dataclass(frozen=True, slots=True, eq=False)
class Debris:
    """The soiled part of one chapter."""

    middle: float
    """Its middle along the colon."""
    lumps: Field
    """float32[Z, T]: height of the lumps over the wall."""
    cover: Field
    """float32[Z, T]: 0..1, how much of the mucosa is smeared."""
    depth: Field
    """float32[Z]: how far below the centreline the pool's surface lies."""

    def columns(self, theta: Field, z: Field) -> tuple[Field, Field]:
        """Return the map coordinates of angles and places along the colon."""
        rows, cols = self.lumps.shape
        u = theta * np.float32((cols - 1) / TURN)
        v = (z - np.float32(self.middle - HALF_LENGTH)) * np.float32((rows - 1) / (2 * HALF_LENGTH))
        return u, v

    def height(self, theta: Field, z: Field) -> Field:
        """Return the height of the lumps, 0 outside the soiled part."""
        u, v = self.columns(theta, z)
        return as_field(cv2.remap(self.lumps, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))

    def soiled(self, theta: Field, z: Field) -> Field:
        """Return the smeared share of every spot."""
        u, v = self.columns(theta, z)
        return as_field(cv2.remap(self.cover, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))

    def surface(self, z: Field) -> Field:
        """Return how far below the centreline the liquid stands at z; beyond the wall outside the pool."""
        last = len(self.depth) - 1
        share = (z - np.float32(self.middle - HALF_LENGTH)) * np.float32(1 / (2 * HALF_LENGTH))
        return as_field(self.depth.take((share * last).astype(np.int32), mode="clip"))

    def __repr__(self) -> str:
        return f"Debris(middle={self.middle:.2f}, depth={float(self.depth.min()):.2f})"


def build_debris(seed: int, middle: float, detail: float) -> Debris:
    """Return the soiled part around a place along the colon."""
    rng = np.random.default_rng([seed, 47])
    rows, cols = int(420 * detail), int(620 * detail)
    z = np.linspace(-HALF_LENGTH, HALF_LENGTH, rows, dtype=np.float32)[:, None]
    theta = np.linspace(0, TURN, cols, dtype=np.float32)[None, :]
    ends = ramp(HALF_LENGTH, HALF_LENGTH - 0.8, np.abs(z))
    lumps = np.zeros((rows, cols), np.float32)
    for _ in range(46):
        size = rng.uniform(0.035, 0.17) * rng.uniform(0.5, 1.0)
        at = np.pi / 2 + rng.normal(0.0, 1.0)
        turn = (theta - at + np.pi) % TURN - np.pi
        away = np.hypot(turn / rng.uniform(0.8, 1.5), z - rng.uniform(-2.1, 2.1)) / size
        ball = np.sqrt(np.maximum(0.0, 1.0 - away**2)) * size * rng.uniform(0.7, 1.1)
        lumps = np.maximum(lumps, as_field(ball))
    rough = periodic_noise(rng, (rows, cols), (60, 70))
    lumps = lumps * (1.0 + 0.16 * rough) * ends
    low = 0.5 + 0.5 * np.cos(theta - np.pi / 2)
    smear = periodic_noise(rng, (rows, cols), (9, 7)) + 0.6 * periodic_noise(rng, (rows, cols), (45, 38))
    cover = ramp(0.7, 1.5, smear + 1.1 * low) * ends * 0.8
    cover = np.maximum(cover, ramp(0.004, 0.02, lumps))
    along = np.linspace(-1.0, 1.0, 2048)
    depth = 0.62 + 0.75 * np.abs(along) ** 3 + 0.03 * np.sin(9 * along)
    return Debris(middle, as_field(lumps), as_field(cover), as_field(depth))
