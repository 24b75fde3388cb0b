"""Boxes cut out of frames: beside every polyp, or around one.

Owns where a random box lies. It must not know files or networks.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "free_box", "polyp_box"]

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def free_box(
    mask: Image, rng: np.random.Generator, share: tuple[float, float], margin: float, aspect: float = 1.0
) -> Box | None:
    """Give a random box that misses every polyp by a margin, or None where there is no room.

    Parameters
    ----------
    mask
        uint8[H, W], non-zero on a polyp.
    share
        Least and largest side of the box relative to sqrt(H * W).
    margin
        Distance to any polyp, as a share of the box's longer side.
    aspect
        Width over height.

    Returns
    -------
    (x0, y0, x1, y1), half open, in pixels.
    """
    height, width = mask.shape
    side = rng.uniform(*share) * (height * width) ** 0.5
    w, h = min(round(side * aspect**0.5), width), min(round(side / aspect**0.5), height)
    gap = int(np.ceil(margin * max(w, h)))
    padded = cv2.copyMakeBorder(mask, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=0)
    table = cv2.integral(padded)
    outer_h, outer_w = h + 2 * gap, w + 2 * gap
    below = table[outer_h:, outer_w:] - table[outer_h:, :-outer_w]
    covered = below - (table[:-outer_h, outer_w:] - table[:-outer_h, :-outer_w])
    places = np.flatnonzero(covered == 0)
    if not len(places):
        return None
    y, x = divmod(int(places[rng.integers(len(places))]), covered.shape[1])
    return x, y, x + w, y + h


def polyp_box(mask: Image, rng: np.random.Generator, share: tuple[float, float], aspect: float = 1.0) -> Box:
    """Give a random box that holds a random pixel of a polyp; sides as in `free_box`."""
    height, width = mask.shape
    side = rng.uniform(*share) * (height * width) ** 0.5
    w, h = min(round(side * aspect**0.5), width), min(round(side / aspect**0.5), height)
    places = np.flatnonzero(mask)
    y, x = divmod(int(places[rng.integers(len(places))]), width)
    # The pixel lies in the middle 80 % of the box, so that a sliver at the edge is rare.
    x0 = int(np.clip(x - rng.uniform(0.1, 0.9) * w, 0, width - w))
    y0 = int(np.clip(y - rng.uniform(0.1, 0.9) * h, 0, height - h))
    return x0, y0, x0 + w, y0 + h
