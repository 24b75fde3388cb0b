"""Whole frames without their polyp: tissue of the same frame grown over it (OpenCV's Poisson cloning).

Owns that one operation. Without such frames a network learns that a whole frame holds a polyp and a crop
does not. It must not know batches or networks.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.training.data import Picture

__all__ = ["without_polyp"]

LARGEST = 0.12


def without_polyp(
    picture: Picture, rng: np.random.Generator, margin: float = 0.02
) -> NDArray[np.uint8] | None:
    """Give the frame with every polyp replaced by other tissue, or None where there is no tissue to take.

    Parameters
    ----------
    picture
        A frame whose polyps fill at most 12 % of it.
    margin
        How far around a polyp is replaced, as a share of the frame's longer side.
    """
    mask = picture.mask
    if not 0 < float(mask.mean()) <= LARGEST:
        return None
    # The cloning itself shrinks its hole by 3 pixels.
    grow = 3 + max(3, round(margin * max(mask.shape)))
    wide = cv2.dilate(mask, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
    # Cloning needs a rim of the frame around the hole.
    wide[[0, -1], :] = 0
    wide[:, [0, -1]] = 0
    image = picture.image.copy()
    count, _, boxes, _ = cv2.connectedComponentsWithStats(wide)
    for x, y, w, h, _ in boxes[1:count].tolist():
        patch = _tissue(picture.image, np.asarray(wide, np.uint8), w, h, rng)
        if patch is None:
            return None
        hole = (wide[y : y + h, x : x + w] > 0).astype(np.uint8) * 255
        centre = (x + w // 2, y + h // 2)
        image = np.asarray(cv2.seamlessClone(patch, image, hole, centre, cv2.NORMAL_CLONE), np.uint8)
    return image


def _tissue(
    image: NDArray[np.uint8], taken: NDArray[np.uint8], w: int, h: int, rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """Give a w x h piece of lit tissue away from everything that is taken."""
    width = taken.shape[1]
    dark = (image.max(2) < 40).astype(np.uint8)
    table = cv2.integral(np.where(taken > 0, 255, dark).astype(np.uint8))
    covered = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    places = np.flatnonzero(covered < 0.02 * w * h)
    if not len(places):
        return None
    y, x = divmod(int(places[rng.integers(len(places))]), width - w + 1)
    patch = image[y : y + h, x : x + w]
    return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch)
