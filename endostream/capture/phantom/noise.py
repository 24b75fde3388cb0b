"""Seeded periodic noise and smooth ramps: the raw material of the phantom's textures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""A float32 array; the shape is said where it matters."""


def periodic_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Field:
    """Return smooth noise of unit deviation that wraps at its borders, `cells` lumps per axis."""
    grid = rng.standard_normal((max(2, cells[0]), max(2, cells[1]))).astype(np.float32)
    out = _spline(shape[0], grid.shape[0]) @ grid @ _spline(shape[1], grid.shape[1]).T
    return as_field((out - out.mean()) / max(1e-6, float(out.std())))


def _spline(size: int, cells: int) -> Field:
    """Return float32[size, cells]: the weights of a periodic cubic B-spline."""
    at = np.arange(size) * (cells / size)
    whole = np.floor(at).astype(np.int64)
    u = at - whole
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    out = np.zeros((size, cells), np.float32)
    for offset, weight in enumerate(weights):
        np.add.at(out, (np.arange(size), (whole + offset - 1) % cells), weight / 6.0)
    return out


def band_noise(rng: np.random.Generator, size: int, low: float, high: float) -> Field:
    """Return square periodic noise of unit deviation with `low` to `high` waves per side."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    fy = np.fft.fftfreq(size, 1 / size)[:, None]
    fx = np.fft.rfftfreq(size, 1 / size)[None, :]
    f = np.hypot(fy, fx)
    spectrum *= np.exp(-((f / high) ** 2)) - np.exp(-((f / low) ** 2))
    out = np.fft.irfft2(spectrum, s=(size, size))
    return as_field(out / max(1e-9, float(out.std())))


def ramp(low: float, high: float, x: Any) -> Any:
    """Return the smooth step of x from 0 at `low` to 1 at `high` (`low` may be above `high`)."""
    u = np.clip((x - low) / (high - low), 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def as_field(values: Any) -> Field:
    """Return the values as a contiguous float32 array."""
    return np.ascontiguousarray(values, dtype=np.float32)
