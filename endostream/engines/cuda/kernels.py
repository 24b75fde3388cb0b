"""The four published resize kernels as matrices: one product resizes all rows, another all columns.

Owns the coefficient rules of PIL and OpenCV. Must not know torch, devices or packs beyond a kernel's name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import floor

import numpy as np

from endostream.types import FloatArray

__all__ = ["rounds_between", "weights"]


def rounds_between(kernel: str) -> bool:
    """True where the published code stores whole numbers between its two passes: PIL, columns first."""
    return kernel.startswith("pil-")


@lru_cache(maxsize=64)
def weights(kernel: str, source: int, target: int) -> FloatArray:
    """The weight of every source pixel in every target pixel along one side.

    Parameters
    ----------
    kernel
        `pil-bilinear` or `pil-bicubic` (antialiased: widened by the scale), `cv2-linear` or `cv2-cubic`
        (two or four taps at any scale, the border repeated).
    source, target
        Pixels along the side before and after.

    Returns
    -------
    FloatArray
        float32[target, source], rows summing to 1; read-only.
    """
    table = _pil(kernel, source, target) if rounds_between(kernel) else _cv2(kernel, source, target)
    found = table.astype(np.float32)
    found.setflags(write=False)
    return found


def _pil(kernel: str, source: int, target: int) -> np.ndarray:
    """As in Pillow's `Resample.c`: the filter is stretched over the pixels that fall into one."""
    shape, reach = (_triangle, 1.0) if kernel == "pil-bilinear" else (_cubic(-0.5), 2.0)
    scale = source / target
    stretch = max(scale, 1.0)
    table = np.zeros((target, source))
    for row in range(target):
        centre = (row + 0.5) * scale
        first = max(0, int(centre - reach * stretch + 0.5))
        last = min(source, int(centre + reach * stretch + 0.5))
        taps = shape((np.arange(first, last) + 0.5 - centre) / stretch)
        table[row, first:last] = taps / taps.sum()
    return table


def _cv2(kernel: str, source: int, target: int) -> np.ndarray:
    """As in OpenCV's `resize`: interpolation between the nearest pixels, in steps of 1/2048."""
    shape, before = (_triangle, 0) if kernel == "cv2-linear" else (_cubic(-0.75), 1)
    table = np.zeros((target, source))
    for row in range(target):
        place = (row + 0.5) * (source / target) - 0.5
        first = floor(place) - before
        pixels = np.arange(first, first + 2 * before + 2)
        taps = np.round(shape(pixels - place) * 2048.0)
        np.add.at(table[row], np.clip(pixels, 0, source - 1), taps / taps.sum())
    return table


def _triangle(away: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(away)))


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys' cubic convolution with the slope `a` at 1."""

    def shape(away: np.ndarray) -> np.ndarray:
        x = np.abs(away)
        near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
        return np.asarray(np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0)))

    return shape
