"""One picture, or a folder of independent pictures in the order of their names.

Owns the reading of picture files. Must not know video.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from endostream.capture.source import MIN_SIDE, SourceBase, starts_late, too_small
from endostream.capture.video_file import check_readable
from endostream.errors import SourceError
from endostream.types import Frame, ImageArray, SourceInfo

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def is_picture(path: Path) -> bool:
    """True when the name of the file says that it is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def read_picture(path: Path) -> ImageArray:
    """uint8[H, W, 3], RGB, turned as its EXIF says, transparency dropped.

    Raises `SourceError` for a file that cannot be read or is smaller than 16 x 16.
    """
    check_readable(path)
    try:
        with Image.open(path) as opened:
            image = _rgb(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        raise SourceError(f"{path.name} is not a readable picture (damaged or another kind)") from error
    height, width = image.shape[:2]
    if min(width, height) < MIN_SIDE:
        raise SourceError(too_small(path.name, width, height))
    return image


def _rgb(opened: Image.Image) -> ImageArray:
    upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith("I") or upright.mode == "F":
        # Deep grey: 16-bit pictures keep their high byte; anything else is stretched to its own range.
        deep = np.asarray(upright, dtype=np.float64)
        low, high = (0.0, 65535.0) if upright.mode.startswith("I") else (float(deep.min()), float(deep.max()))
        grey = np.clip((deep - low) * (255.0 / max(high - low, 1e-9)), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    return np.array(upright.convert("RGB"), dtype=np.uint8)


class Pictures(SourceBase):
    """The pictures of a folder (or one picture) as frames; stream time is the ordinal of the picture.

    Pictures that cannot be read are left out with a warning.

    Raises
    ------
    SourceError
        No picture there, or none that can be read.
    """

    def __init__(self, path: Path, start: float = 0.0) -> None:
        super().__init__()
        folder = path.is_dir()
        try:
            self._paths = sorted(p for p in path.iterdir() if is_picture(p)) if folder else [path]
        except PermissionError as error:
            raise SourceError(f"folder {path.name} may not be read; change its permissions") from error
        if not self._paths:
            known = ", ".join(sorted(s[1:] for s in PICTURE_SUFFIXES))
            raise SourceError(f"folder {path.name} holds no pictures ({known}); give another folder")
        self._good: list[int] = []
        self._bad: dict[int, str] = {}
        self._position = 0
        self._held: ImageArray | None = None
        first = self._load()
        if first is None:
            reason = next(iter(self._bad.values()))
            raise SourceError(
                reason if not folder else f"none of the {len(self._paths)} pictures can be used: {reason}"
            )
        height, width = first.shape[:2]
        self._held = first
        self._info = SourceInfo(
            name=path.name or path.resolve().name,
            kind="pictures" if folder else "picture",
            live=False,
            seekable=True,
            independent=True,
            width=width,
            height=height,
            fps=None,
            duration=None,
            frames=len(self._paths) - len(self._bad),
            codec=None,
        )
        if start > 0:
            self._go_to(start)
            if self._position >= len(self._paths):
                raise SourceError(starts_late(self._info.name, start))

    def _load(self) -> ImageArray | None:
        """The picture at the position, or the next one after it that can be read; None past the last."""
        while self._position < len(self._paths) and not self._cancelled.is_set():
            if self._position not in self._bad:
                try:
                    image = read_picture(self._paths[self._position])
                except SourceError as error:
                    self._bad[self._position] = str(error)
                    self._skipped += 1
                    self._warn(f"left out: {error}")
                else:
                    if not self._good or self._position > self._good[-1]:
                        self._good.append(self._position)
                    return image
            self._position += 1
        return None

    def _next(self) -> Frame | None:
        image = self._held if self._held is not None else self._load()
        self._held = None
        if image is None:
            return None
        ordinal = bisect_left(self._good, self._position)
        path = self._paths[self._position]
        self._position += 1
        return self._frame(image, float(ordinal), ordinal, Fraction(1), file=path.name)

    def _go_to(self, time: float) -> None:
        wanted = math.ceil(time - 1e-9)
        self._held = None
        if wanted < len(self._good):
            self._position = self._good[wanted]
            return
        self._position = self._good[-1] + 1
        while len(self._good) <= wanted and self._load() is not None:
            self._position += 1
        if len(self._good) > wanted:
            self._position = self._good[wanted]

    def _release(self) -> None:
        self._held = None
