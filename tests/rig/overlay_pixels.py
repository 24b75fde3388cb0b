"""What the pixels of a grabbed picture say of the overlay: where its contour is, and whether there is one.

Owns reading them. Must not know the window, or what ought to be there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.bench.rig.counter import Box
from endostream.types import ImageArray

AMBER = 110
"""The lesser of red and green over blue: the contour has 178, half covered pixels 90, ground and block 40."""
FAINT = 12
"""The same, over which something amber is left in a dimmed picture: neither that nor its words have any."""
WEIGHED = 75
"""The same, from which on a pixel is weighed when the middle of a line is looked for."""
REACH = 4
"""Pixels on either side of a line in which its middle is looked for."""


@dataclass(frozen=True, slots=True)
class Contour:
    """An upright box drawn with a line."""

    left: float
    """The pixel columns and rows that the middle of the line lies on, in fractions of a pixel."""
    top: float
    right: float
    bottom: float
    astray: int
    """Pixels of the line's colour that belong to no side of the box."""

    @property
    def box(self) -> Box:
        """The pixels that it goes around, its own included: x0, y0, x1, y1."""
        return round(self.left), round(self.top), round(self.right) + 1, round(self.bottom) + 1

    def beside(self, box: Box, scale: float = 1.0) -> float:
        """Pixels of the source by which its worst side is off the edge of `box`, which is in such pixels.

        `scale` is how large a pixel of the source is in the grabbed picture.
        """
        x0, y0, x1, y1 = box
        sides = ((self.left, x0), (self.top, y0), (self.right, x1 - 1), (self.bottom, y1 - 1))
        return max(abs((side + 0.5) / scale - 0.5 - edge) for side, edge in sides)


def amber(image: ImageArray) -> NDArray[np.uint8]:
    """How amber each pixel of uint8[H, W, 3] is."""
    red, green, blue = cv2.split(image)
    return np.asarray(cv2.subtract(cv2.min(red, green), blue), np.uint8)


def contour(image: ImageArray) -> Contour | None:
    """The contour in a picture uint8[H, W, 3]; None where there is none. 1 ms at 720p."""
    strength = amber(image)
    strong = strength > AMBER
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    if not len(rows) or columns[-1] - columns[0] < 4 * REACH or rows[-1] - rows[0] < 4 * REACH:
        return None
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]), int(rows[0]), int(rows[-1])
    wide, high = (x1 - x0) // 4, (y1 - y0) // 4
    middle_rows = strength[y0 + high : y1 - high + 1]
    middle_columns = strength[:, x0 + wide : x1 - wide + 1].T
    inner = strong[y0 + REACH : y1 - REACH + 1, x0 + REACH : x1 - REACH + 1]
    return Contour(
        left=_line(middle_rows, x0),
        top=_line(middle_columns, y0),
        right=_line(middle_rows, x1),
        bottom=_line(middle_columns, y1),
        astray=int(np.count_nonzero(inner)),
    )


def _line(strength: NDArray[np.uint8], near: int) -> float:
    """Where a line that runs down through the rows has its middle."""
    start = max(0, near - REACH)
    part = strength[:, start : near + REACH + 1].astype(float)
    part[part < WEIGHED] = 0.0
    profile = part.mean(axis=0)
    return start + float((profile * np.arange(len(profile))).sum() / max(profile.sum(), 1e-9))


def drawn_on(image: ImageArray, bare: ImageArray) -> int:
    """Pixels of a grabbed picture that are not those of the picture it shows, of the same size."""
    return int(np.count_nonzero(cv2.max(*_apart(image, bare))))


def _apart(image: ImageArray, bare: ImageArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    apart = cv2.absdiff(image, bare)
    first, second, third = cv2.split(apart)
    return np.asarray(cv2.max(first, second), np.uint8), np.asarray(third, np.uint8)
