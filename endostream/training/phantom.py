"""Procedural frames as training pictures, rendered once to a folder.

Owns that folder's layout (`images/`, `masks/`). It must not know how frames are mixed into a batch. Nothing
measured on these frames is an accuracy.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from endostream.capture.phantom import Phantom
from endostream.errors import InputError
from endostream.training.data import Picture

__all__ = ["load_phantom", "render_phantom"]

SIZES = ((640, 360), (480, 360), (480, 480))


def render_phantom(folder: Path, seeds: tuple[int, ...], frames: int, longest: int = 400) -> int:
    """Render frames of several seeds, evenly over each clip, and give how many were written.

    Pictures are kept as JPEG of quality 90, as towers and recorders compress them, half of them without the
    tower's border.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    written = 0
    for number, seed in enumerate(seeds):
        width, height = SIZES[number % len(SIZES)]
        phantom = Phantom(seed=seed, width=width, height=height, seconds=50)
        for order, index in enumerate(np.linspace(0, phantom.frames - 1, frames).astype(int)):
            made = phantom.frame(int(index))
            image, mask = made.image, made.mask.astype(np.uint8) * 255
            if order % 2:
                x0, y0, x1, y1 = phantom.image_box
                image, mask = image[y0:y1, x0:x1], mask[y0:y1, x0:x1]
            scale = min(1.0, longest / max(mask.shape))
            size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
            small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA)
            jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            png = cv2.imencode(".png", cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))[1]
            name = f"{seed:04d}_{int(index):06d}"
            (folder / "images" / f"{name}.jpg").write_bytes(jpeg.tobytes())
            (folder / "masks" / f"{name}.png").write_bytes(png.tobytes())
            written += 1
    return written


def load_phantom(folder: Path) -> list[Picture]:
    """Give the rendered pictures of a folder, sorted by name."""
    paths = sorted((folder / "images").glob("*.jpg"))
    if not paths:
        raise InputError(f"no phantom frames: render them with `endostream train phantom --out {folder}`")
    found = []
    for path in paths:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        stored = (folder / "masks" / f"{path.stem}.png").read_bytes()
        mask = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None or mask is None:
            raise InputError(f"cannot decode {path}: render the phantom frames again")
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        flat = np.asarray(mask > 127, np.uint8)
        found.append(Picture(rgb, flat, "phantom", f"phantom:{path.stem[:4]}", "phantom"))
    return found
