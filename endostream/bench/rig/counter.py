"""A number that can be read back from a picture after coding, scaling and deinterlacing.

Owns how a number is drawn and read: a row of black and white cells. Must not know what is counted.
"""

from __future__ import annotations

import numpy as np

from endostream.types import ImageArray

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; the last two are not inside."""

BITS, CHECK_BITS = 16, 4
WRAP = 1 << BITS
"""Numbers are drawn modulo this: 36 min at 30 pictures a second."""
GUARD = (1, 0)
"""Cells at both ends, white and black: they show what white and black look like after coding."""
CELLS = 2 * len(GUARD) + BITS + CHECK_BITS
WHITE, BLACK = 235, 16
LEAST_CONTRAST = 80.0
"""Difference of brightness between the guards under which there is no counter in the picture."""
MARGIN = 0.25
"""Share of a cell left out at every side when it is read: coding and scaling blur edges."""
ROWS, COLUMNS = 4, 5
"""Pixels of a cell that are looked at."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.28, 0.72, 0.82, 0.88
"""Where the row is, in shares of the picture: inside what the shipped tower profiles crop to."""


def strip(width: int, height: int) -> Box:
    """Where the row of cells is in a picture of this size."""
    return (
        2 * round(_LEFT * width / 2),
        2 * round(_TOP * height / 2),
        2 * round(_RIGHT * width / 2),
        2 * round(_BOTTOM * height / 2),
    )


def draw(image: ImageArray, number: int) -> None:
    """Draw `number` into the picture uint8[H, W, 3]."""
    x0, y0, x1, y1 = strip(image.shape[1], image.shape[0])
    edges = _edges(x0, x1)
    for cell, bit in enumerate(_cells(number % WRAP)):
        image[y0:y1, edges[cell] : edges[cell + 1]] = WHITE if bit else BLACK


def read(image: ImageArray, place: Box | None = None) -> int | None:
    """The number in a picture uint8[H, W, 3]; None where there is none, or where it is damaged.

    Parameters
    ----------
    image
        The picture, of any size.
    place
        Where the row of cells is, for a picture that was cropped; it may lie where `strip` says else.
        About 60 µs.
    """
    x0, y0, x1, y1 = place or strip(image.shape[1], image.shape[0])
    height, width = y1 - y0, (x1 - x0) / CELLS
    top, bottom = y0 + int(MARGIN * height), max(y1 - int(MARGIN * height), y0 + 1)
    if width < 2.0 or min(x0, top) < 0 or x1 > image.shape[1] or bottom > image.shape[0]:
        return None
    # Green alone, in four rows: black and white differ in every channel alike.
    rows = image[top : bottom : max(1, (bottom - top) // ROWS), x0:x1, 1]
    places = (np.arange(CELLS)[:, None] + np.linspace(MARGIN, 1.0 - MARGIN, COLUMNS)) * width
    values = rows[:, places.astype(int)].mean(axis=(0, 2))
    guards = np.asarray([*GUARD, *GUARD[::-1]], bool)
    outer = np.concatenate([values[: len(GUARD)], values[-len(GUARD) :]])
    white, black = outer[guards].min(), outer[~guards].max()
    if white - black < LEAST_CONTRAST:
        return None
    bits = values > (white + black) / 2.0
    number = sum(1 << i for i, bit in enumerate(bits[len(GUARD) : len(GUARD) + BITS]) if bit)
    return number if list(map(int, bits)) == _cells(number) else None


def _edges(x0: int, x1: int) -> list[int]:
    return [round(x0 + i * (x1 - x0) / CELLS) for i in range(CELLS + 1)]


def _cells(number: int) -> list[int]:
    bits = [number >> i & 1 for i in range(BITS)]
    check = _check(number)
    return [*GUARD, *bits, *(check >> i & 1 for i in range(CHECK_BITS)), *GUARD[::-1]]


def _check(number: int) -> int:
    """Four bits that change with every single bit of the number, and differ from it when it is 0."""
    return (number ^ number >> 4 ^ number >> 8 ^ number >> 12) & 15 ^ 0b1010
