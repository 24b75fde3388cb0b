"""The search for the endoscopic picture on a tower's screen, where no profile says where it is.

Owns what counts as the picture: the largest solid bright patch on a dark surround. Must not know sources or
files. It finds a place to crop to; it knows nothing about text inside.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.capture.towers.profile import Box
from endostream.types import ImageArray

CELL = 8
"""Every 8th pixel of every 8th row is looked at: 0.3 ms at 1080p, and boxes are multiples of 8."""
LIT = 32
"""A channel over this is no dark surround: black comes as 0 to 16, and noise on it stays under 30."""
LINE = 0.08
"""What is thinner than this share of the frame's height is text or an icon and not a picture."""
LEAST_SIDE, LEAST_AREA = 0.25, 0.10
"""A picture takes at least a quarter of both sides and a tenth of the frame."""
WINDOW = 1.0
"""Seconds of frames over which light is added up before anything is decided."""
LOOKS_APART = 0.2
"""Seconds of stream time between two looks."""
TWICE = 2
"""A cell counts when it was lit in this many looks of a window: a single flash decides nothing."""
GROWTH = 0.02
"""A new box counts when an edge lies this share of the frame's side (at least a cell) outside the old one."""


class PictureFinder:
    """Where the picture is in frames of one size.

    Light is added up over windows of a second, so that neither a dark first frame nor a flash decides.
    What was found only grows while the frame size stays: a dark scene hides the edges of the picture, and
    cutting a lesion off is worse than keeping some of the surround.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.box: Box | None = None
        """What was found so far; None for nothing."""
        self.decided = False
        """True after the first window, found or not."""
        self._begun: float | None = None
        self._last = 0.0
        self._looks = 0
        self._lit = np.zeros(_cells(width, height), np.uint8)

    def look(self, image: ImageArray, time: float) -> bool:
        """Take in a frame of stream time `time`; True when `box` has changed."""
        if self._begun is None or time < self._last:
            self._begin(time)
        elif time - self._last < LOOKS_APART - 1e-6:
            return False
        self._last = time
        self._looks += 1
        self._lit += _lit(image)
        assert self._begun is not None
        if time - self._begun < WINDOW - 1e-6:
            return False
        found = _largest(self._lit >= min(TWICE, self._looks), self.width, self.height)
        self._begin(None)
        self.decided = True
        return found is not None and self._adopt(found)

    def glance(self, image: ImageArray) -> Box | None:
        """Take what this frame alone shows; for single pictures, and where no second can be waited for."""
        self.box = _largest(_lit(image) > 0, self.width, self.height)
        return self.box

    def _begin(self, time: float | None) -> None:
        self._begun, self._looks = time, 0
        self._lit[:] = 0

    def _adopt(self, found: Box) -> bool:
        if self.box is None:
            self.box = found
            return True
        old = self.box
        wider = max(old[0] - found[0], found[2] - old[2]) > max(CELL, GROWTH * self.width)
        higher = max(old[1] - found[1], found[3] - old[3]) > max(CELL, GROWTH * self.height)
        if wider or higher:
            self.box = (
                min(old[0], found[0]),
                min(old[1], found[1]),
                max(old[2], found[2]),
                max(old[3], found[3]),
            )
        return wider or higher


def _cells(width: int, height: int) -> tuple[int, int]:
    return -(-height // CELL), -(-width // CELL)


def _lit(image: ImageArray) -> NDArray[np.uint8]:
    """uint8[rows, columns] of cells, 1 where a channel is bright."""
    return np.asarray(image[::CELL, ::CELL].max(axis=2) > LIT, dtype=np.uint8)


def _largest(lit: NDArray[np.bool_], width: int, height: int) -> Box | None:
    """The box of the largest solid patch, or None where there is none or no dark surround."""
    rows, columns = lit.shape
    # An odd side: opening with an even one moves everything by a cell.
    side = max(3, round(LINE * rows) | 1)
    # Without a border of its own, opening would take what touches the frame's edge for cut off.
    framed = np.pad(lit.astype(np.uint8), side, mode="edge")
    solid = cv2.morphologyEx(framed, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))[side:-side, side:-side]
    count, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(solid), connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    left, top, wide, high, area = (int(v) for v in stats[largest])
    if wide < LEAST_SIDE * columns or high < LEAST_SIDE * rows or area < LEAST_AREA * rows * columns:
        return None
    x0, y0 = max(0, (left - 1) * CELL), max(0, (top - 1) * CELL)
    x1, y1 = min(width, (left + wide + 1) * CELL), min(height, (top + high + 1) * CELL)
    if x1 - x0 > (1 - GROWTH) * width and y1 - y0 > (1 - GROWTH) * height:
        return None
    return x0, y0, x1, y1
