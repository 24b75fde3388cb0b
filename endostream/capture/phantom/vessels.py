"""Branching vessels on a map that wraps: a seeded random walk drawn with soft lines."""

from __future__ import annotations

import cv2
import numpy as np

from endostream.capture.phantom.noise import Field, as_field


def draw_vessels(rng: np.random.Generator, rows: int, cols: int, detail: float) -> tuple[Field, Field]:
    """Return the fine red net and the deep bluish veins as 0..1 maps of rows x cols."""
    fine = np.zeros((rows, cols), np.uint8)
    deep = np.zeros((rows, cols), np.uint8)
    step = 9.0 * detail
    for _ in range(170):
        start = (rng.uniform(0, cols), rng.uniform(0, rows))
        _grow(rng, fine, start, rng.uniform(0, 6.3), 3.2 * detail, step, 34, 0)
    for _ in range(26):
        start = (rng.uniform(0, cols), rng.uniform(0, rows))
        _grow(rng, deep, start, rng.uniform(0, 6.3), 6.5 * detail, step * 1.3, 40, 1)
    soft = cv2.GaussianBlur(fine, (0, 0), max(0.6, 1.1 * detail)).astype(np.float32) / 255
    soft_deep = cv2.GaussianBlur(deep, (0, 0), max(0.8, 3.5 * detail)).astype(np.float32) / 255
    return as_field(soft), as_field(soft_deep)


def _grow(
    rng: np.random.Generator,
    canvas: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    start: tuple[float, float],
    heading: float,
    width: float,
    step: float,
    length: int,
    depth: int,
) -> None:
    """Draw one wandering branch and, thinner, those that leave it."""
    turns = np.cumsum(rng.normal(0.0, 0.23, length)) + heading
    xs = start[0] + np.cumsum(np.cos(turns)) * step
    ys = start[1] + np.cumsum(np.sin(turns)) * step
    tone = int(np.clip(90 + 50 * width, 70, 255))
    _draw(canvas, np.stack([xs, ys], axis=1), max(1, round(width)), tone)
    if depth >= 3 or width < 0.5:
        return
    for at in range(3, length, int(rng.integers(5, 10))):
        side = rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 1.1)
        _grow(
            rng, canvas, (xs[at], ys[at]), turns[at] + side, width * 0.62, step,
            max(4, int(length * rng.uniform(0.35, 0.6))), depth + 1,
        )  # fmt: skip


def _draw(
    canvas: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    points: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    thickness: int,
    tone: int,
) -> None:
    """Draw a polyline and its copies across the borders it leaves."""
    rows, cols = canvas.shape
    low, high = points.min(axis=0) - thickness, points.max(axis=0) + thickness
    for shift_x in (0, cols, -cols):
        for shift_y in (0, rows, -rows):
            shift = np.array([shift_x, shift_y])
            if (high + shift < 0).any() or (low + shift > (cols, rows)).any():
                continue
            moved = np.round((points + shift) * 8).astype(np.int32)
            cv2.polylines(canvas, [moved], False, tone, thickness, cv2.LINE_AA, 3)
