"""Stills: the picture with its overlay in a file, and the small picture of a finding.

Owns where a still goes and what it is called. The drawing is `endostream.analysis.overlay`'s, never a
grab of the widget. Must not know the pipeline.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PySide6.QtCore import QStandardPaths
from PySide6.QtGui import QImage

from endostream.analysis import overlay
from endostream.errors import RunError
from endostream.types import Analysis, Frame
from endostream.vocabulary import marking

from .overlay_picture import as_qimage
from .samples import Layers, spoken_time

THUMBNAIL = 240
"""Width in pixels of a finding's small picture."""


def still_folder(session: Path | None) -> Path:
    """Where stills go: into the session, else into the user's pictures."""
    if session is not None:
        return session / "stills"
    pictures = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.PicturesLocation)
    return Path(pictures or Path.home()) / "EndoStream"


def save_still(
    folder: Path, frame: Frame, analysis: Analysis | None, layers: Layers, phi_mask: str = "none"
) -> Path:
    """Write the picture as shown, with the research-use notice in its bar, and give the file's path.

    Raises `RunError` when the folder cannot be written.
    """
    drawn = overlay.Layers(
        contour=layers.shows_contour,
        heatmap=layers.shows_heatmap,
        heat_opacity=overlay.HEAT * layers.opacity,
    )
    picture = overlay.render(frame, analysis, drawn)
    stamp = spoken_time(frame.time, hours=True).replace(":", "-")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"still_{stamp}_{frame.index:06d}.png"
        if path.exists():
            path = folder / f"still_{stamp}_{frame.index:06d}_{time.monotonic_ns()}.png"
        said = PngInfo()
        said.add_text("Description", marking(phi_mask))
        Image.fromarray(picture).save(path, compress_level=3, pnginfo=said)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"the still was not saved in {folder} ({reason}); free or choose the folder"
        ) from error
    return path


def thumbnail(analysis: Analysis, aspect: float = 92 / 64) -> QImage:
    """The small picture of a finding: the part of its frame around the mask, with the contour."""
    drawn = overlay.render(analysis.frame, analysis, overlay.Layers(heatmap=False, bar=False))
    x, y, width, height = around(analysis, aspect)
    part = drawn[y : y + height, x : x + width]
    size = (THUMBNAIL, max(1, round(height * THUMBNAIL / width)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return as_qimage(np.asarray(small, np.uint8))


def around(analysis: Analysis, aspect: float) -> tuple[int, int, int, int]:
    """x, y, width, height of the part of the frame shown small: three times the mask, at least half of it.

    The whole width or height where there is no mask.
    """
    height, width = analysis.frame.image.shape[:2]
    largest = min(float(width), height * aspect)
    if analysis.mask is None or not analysis.mask.any():
        return _within((width / 2, height / 2), largest, aspect, (width, height))
    rows, columns = np.flatnonzero(analysis.mask.any(axis=1)), np.flatnonzero(analysis.mask.any(axis=0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    wanted = 3.0 * max(right - left, (bottom - top) * aspect)
    middle = ((left + right) / 2, (top + bottom) / 2)
    return _within(middle, float(np.clip(wanted, largest / 2, largest)), aspect, (width, height))


def _within(
    middle: tuple[float, float], wide: float, aspect: float, frame: tuple[int, int]
) -> tuple[int, int, int, int]:
    width = max(1, min(round(wide), frame[0]))
    height = max(1, min(round(wide / aspect), frame[1]))
    x = min(max(0, round(middle[0] - width / 2)), frame[0] - width)
    y = min(max(0, round(middle[1] - height / 2)), frame[1] - height)
    return x, y, width, height
