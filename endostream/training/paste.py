"""Frames with one more polyp: a polyp of another frame, made small, turned and cloned onto free tissue.

Owns that one operation (OpenCV's Poisson cloning, or a soft edge). Small polyps are rare in the public sets,
and where only erased polyps carry the traces of cloning, a network learns those traces. It must not know
batches or networks.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.training.data import Picture

__all__ = ["with_polyp"]

Image = NDArray[np.uint8]
AREA = (0.002, 0.04)
"""Part of the frame that a pasted polyp fills, least and most."""
VISIBLE = 12.0
"""Least mean change of the pixels under a cloned polyp, of 255."""


def with_polyp(base: Picture, donor: Picture, rng: np.random.Generator) -> tuple[Image, Image] | None:
    """Give the base frame and its mask with the donor's largest polyp added, or None where it finds no room.

    Parameters
    ----------
    base
        Any frame; its own polyps stay.
    donor
        A frame with a polyp that does not touch the frame's edge.

    Returns
    -------
    uint8[H, W, 3] and uint8[H, W], new arrays of the base's size.
    """
    patch = _cut(donor)
    if patch is None:
        return None
    image, mask = patch
    height, width = base.mask.shape
    share = float(np.exp(rng.uniform(*np.log(AREA))))
    scale = min(1.0, float(np.sqrt(share * height * width / max(1, int(mask.sum())))))
    size = (max(6, round(image.shape[1] * scale)), max(6, round(image.shape[0] * scale)))
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    image = _turned(cv2.resize(image, size, interpolation=cv2.INTER_AREA), turns, flip)
    mask = _turned(cv2.resize(mask, size), turns, flip)
    h, w = mask.shape
    place = _room(base, w, h, rng)
    if place is None or not mask.any():
        return None
    x, y = place
    frame, truth = base.image.copy(), base.mask.copy()
    grow = max(2, round(0.1 * max(h, w)))
    hole = cv2.dilate(mask, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
    hole[[0, -1], :] = 0
    hole[:, [0, -1]] = 0
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), max(0.7, grow / 2))[..., None]
    under = frame[y : y + h, x : x + w].copy()
    frame[y : y + h, x : x + w] = (under * (1 - soft) + image * soft).astype(np.uint8)
    left, top, wide, high = cv2.boundingRect(hole)
    if rng.random() < 0.7 and wide > 2 and high > 2:
        inner = np.s_[top : top + high, left : left + wide]
        centre = (x + left + wide // 2, y + top + high // 2)
        source, edge = np.ascontiguousarray(image[inner]), np.ascontiguousarray(hole[inner]) * 255
        cloned = np.asarray(cv2.seamlessClone(source, base.image, edge, centre, cv2.NORMAL_CLONE), np.uint8)
        change = cv2.absdiff(np.ascontiguousarray(cloned[y : y + h, x : x + w]), under)
        # Cloning can even a polyp out: what cannot be seen must not be taught.
        if float(change[mask > 0].max(1).mean()) > VISIBLE:
            frame = cloned
    truth[y : y + h, x : x + w] |= mask
    return frame, truth


def _turned(picture: NDArray[Any], turns: int, flip: bool) -> Image:
    turned = np.rot90(picture, turns)
    return np.ascontiguousarray(turned[:, ::-1] if flip else turned, np.uint8)


def _cut(donor: Picture) -> tuple[Image, Image] | None:
    """Give the surroundings of a frame's largest polyp and its mask, or None where the edge cuts it."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(donor.mask)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))
    x, y, w, h, _ = boxes[largest].tolist()
    rim = max(6, round(0.25 * max(w, h)))
    x0, y0, x1, y1 = x - rim, y - rim, x + w + rim, y + h + rim
    height, width = donor.mask.shape
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return None
    return donor.image[y0:y1, x0:x1], (labels[y0:y1, x0:x1] == largest).astype(np.uint8)


def _room(base: Picture, w: int, h: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Give the corner of a w x h place of lit tissue that no polyp touches."""
    height, width = base.mask.shape
    if w >= width - 2 or h >= height - 2:
        return None
    dark = (base.image.max(2) < 50).astype(np.uint8)
    table = cv2.integral(np.where(base.mask > 0, 255, dark).astype(np.uint8))
    covered = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    # One pixel of the frame stays around the place: cloning needs it.
    places = np.argwhere(covered[1:-1, 1:-1] < 0.05 * w * h)
    if not len(places):
        return None
    y, x = places[rng.integers(len(places))]
    return int(x) + 1, int(y) + 1
