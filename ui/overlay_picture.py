"""Overlays at display size: the heat map as a picture, the mask's outline as a path.

Owns the arithmetic from arrays to things a painter draws. Must not know widgets or time.
Blending happens at display size, because at 4K it costs 69 ms at source size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF
from PySide6.QtGui import QImage, QPainterPath, QPolygonF

from endostream.types import FloatArray, ImageArray, MaskArray

HEAT_OPACITY = 0.45
"""The heat map is never more opaque than this."""
FILL_OPACITY = 0.15
"""Nor the mask's fill."""
FLOOR, FULL = 0.25, 0.75
"""Class map values at which the heat map begins to show and reaches its opacity, as in `analysis.overlay`."""

TOLERANCE = 0.3
"""Logical pixels by which the outline may leave its smooth curve."""

_RAMP = np.arange(256, dtype=np.uint8).reshape(1, 256)
_INFERNO = np.asarray(cv2.applyColorMap(_RAMP, cv2.COLORMAP_INFERNO), np.uint8).reshape(256, 3)[:, ::-1]


def scaled(image: ImageArray, width: int, height: int) -> ImageArray:
    """uint8[height, width, 3]: the picture at display size; the same pixels when it already fits.

    Halved exactly while it is twice too large, then bilinear: 4K to 1450 pixels takes 5 ms, where
    averaging over fractions of pixels takes 51.
    """
    while image.shape[1] >= 2 * width and image.shape[0] >= 2 * height:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def as_qimage(image: ImageArray) -> QImage:
    """The RGB picture as a QImage that owns its pixels."""
    height, width = image.shape[:2]
    rgb = np.ascontiguousarray(image)
    return QImage(rgb.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()


def heat_picture(heatmap: FloatArray, width: int, height: int, opacity: float = 1.0) -> QImage:
    """The class map (float32[gh, gw], 0..1) as a premultiplied picture, transparent where it is low."""
    small = (min(width, 256), min(height, 256))
    values = cv2.resize(heatmap.astype(np.float32), small, interpolation=cv2.INTER_CUBIC)
    values = np.clip(values, 0.0, 1.0)
    ramp = np.clip((values - FLOOR) / (FULL - FLOOR), 0.0, 1.0)
    alpha = (ramp * HEAT_OPACITY * min(max(opacity, 0.0), 1.0))[..., None]
    colour = _INFERNO[(values * 255).astype(np.uint8)].astype(np.float32)
    rgba = np.concatenate([colour * alpha, 255 * alpha], axis=2).astype(np.uint8)
    rgba = np.ascontiguousarray(rgba)
    picture = QImage(rgba.data, *small, 4 * small[0], QImage.Format.Format_RGBA8888_Premultiplied)
    return picture.copy()


def outline(mask: MaskArray, width: float, height: float) -> QPainterPath:
    """The outline of the mask (bool[H, W]) in a picture of `width` × `height`, smooth at display size."""
    path = QPainterPath()
    thin = max(1, int(min(mask.shape[1] / width, mask.shape[0] / height)))
    mask = mask[thin // 2 :: thin, thin // 2 :: thin]  # no finer than the screen
    if not mask.any():
        return path
    source_height, source_width = mask.shape
    factor = max(1, min(4, round(width / source_width)))
    padded: NDArray[np.uint8] = np.pad(mask.astype(np.uint8) * np.uint8(255), 1)
    if factor > 1:
        size = (padded.shape[1] * factor, padded.shape[0] * factor)
        padded = np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    _, binary = cv2.threshold(padded, 127, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if len(contour) < 3:
            continue
        points = (_smoothed(contour[:, 0, :].astype(np.float64)) + 0.5) / factor - 1.0
        points *= (width / source_width, height / source_height)
        # Strokes cost by the point: outlining and drawing a large, ragged mask took 28 ms, and takes 13.
        points = cv2.approxPolyDP(points.astype(np.float32)[:, None], TOLERANCE, True)[:, 0]
        path.addPolygon(QPolygonF([QPointF(x, y) for x, y in points]))
        path.closeSubpath()
    return path


def _smoothed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed line without its pixel steps: the mean over five neighbours, every second point."""
    if len(points) < 12:
        return points
    total = sum(np.roll(points, shift, axis=0) for shift in (-2, -1, 0, 1, 2))
    return np.asarray(total / 5.0)[::2]
