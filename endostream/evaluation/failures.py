"""A contact sheet of what a pack did worst: the picture, the truth's outline in green, the mask's in magenta.

Owns which pictures are the worst and how they are drawn. It must not know packs or data sets.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from endostream.errors import RunError
from endostream.types import ImageArray, MaskArray

__all__ = ["Failure", "WorstPictures", "write_contact_sheet"]

TILE = (288, 240)
CAPTION = 36
COLUMNS = 4
GREEN, MAGENTA = (40, 220, 70), (255, 0, 200)


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """One picture of the sheet, drawn already."""

    badness: float
    """The larger, the worse."""
    tile: ImageArray
    """uint8[h, w, 3] RGB."""


class WorstPictures:
    """Keeps the worst pictures of a run: the lowest overlaps, and the largest masks where there is no polyp.

    Parameters
    ----------
    count
        Pictures kept of either kind.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._heaps: dict[bool, list[tuple[float, int, Failure]]] = {True: [], False: []}
        self._seen = 0

    def look(
        self, image: ImageArray, truth: MaskArray, found: MaskArray, name: str, badness: float, said: str
    ) -> None:
        """Take a picture with its two masks, when it is among the worst; `said` goes under it."""
        heap, self._seen = self._heaps[bool(truth.any())], self._seen + 1
        if not self._count or badness <= 0.0 or (len(heap) == self._count and badness <= heap[0][0]):
            return
        entry = (badness, -self._seen, Failure(badness, _tile(image, truth, found, (name, said))))
        if len(heap) < self._count:
            heapq.heappush(heap, entry)
        else:
            heapq.heapreplace(heap, entry)

    def failures(self) -> list[Failure]:
        """The worst overlaps, then the largest false masks, each with the worst first."""
        ordered = [sorted(self._heaps[kind], reverse=True) for kind in (True, False)]
        return [failure for heap in ordered for _, _, failure in heap]


def _tile(image: ImageArray, truth: MaskArray, found: MaskArray, lines: Sequence[str]) -> ImageArray:
    scale = min(TILE[0] / image.shape[1], TILE[1] / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for mask, colour in ((truth, GREEN), (found, MAGENTA)):
        at_size = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outline = cv2.findContours(at_size, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(small, outline, -1, colour, 2)
    tile = np.full((TILE[1] + CAPTION, TILE[0], 3), 255, np.uint8)
    x, y = (TILE[0] - size[0]) // 2, (TILE[1] - size[1]) // 2
    tile[y : y + size[1], x : x + size[0]] = small
    for number, line in enumerate(lines):
        where = (4, TILE[1] + 14 + 16 * number)
        cv2.putText(tile, line, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return tile


def write_contact_sheet(path: Path, failures: Sequence[Failure]) -> None:
    """Write the sheet as a PNG, four pictures a row.

    Raises
    ------
    RunError
        The file cannot be written.
    """
    tiles = [failure.tile for failure in failures]
    rows = max(1, -(-len(tiles) // COLUMNS))
    height, width = TILE[1] + CAPTION + 8, TILE[0] + 8
    sheet = np.full((rows * height + 8, COLUMNS * width + 8, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = 8 + number // COLUMNS * height, 8 + number % COLUMNS * width
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    done, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise RunError(f"cannot draw {path.name}: ask for fewer pictures with --failures")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png.tobytes())
    except OSError as error:
        said = error.strerror or str(error)
        raise RunError(f"cannot write {path.name}: {said}; choose another --out") from error
