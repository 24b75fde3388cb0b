"""The phantom's ground truth as files: masks and one JSON document.

Owns the layout on disk; it must not know how a frame is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from endostream.capture.phantom.phantom import Phantom
from endostream.errors import RunError

SCHEMA = 1
"""Version of truth.json."""


def describe(phantom: Phantom) -> dict[str, Any]:
    """Return what is true about the whole clip, without the frames."""
    return {
        "schema": SCHEMA,
        "synthetic": True,
        "seed": phantom.seed,
        "width": phantom.width,
        "height": phantom.height,
        "fps": phantom.fps,
        "seconds": phantom.seconds,
        "frames": phantom.frames,
        "image_box": list(phantom.image_box),
        "panel_boxes": [list(box) for box in phantom.panel_boxes],
        "intervals": [
            {"label": i.label, "start": round(i.start, 6), "end": round(i.end, 6)} for i in phantom.intervals
        ],
    }


def write_truth(phantom: Phantom, folder: Path | str) -> None:
    """Write masks/{index:06d}.png (0 or 255) for every frame and truth.json into a folder.

    Raises RunError where the folder cannot be written.
    """
    folder = Path(folder)
    qualities: list[str] = []
    try:
        (folder / "masks").mkdir(parents=True, exist_ok=True)
        for index in range(phantom.frames):
            mask = phantom.mask(index).astype(np.uint8) * 255
            ok, png = cv2.imencode(".png", mask)
            if not ok:
                raise RunError(f"mask {index} could not be encoded as PNG")
            (folder / "masks" / f"{index:06d}.png").write_bytes(png.tobytes())
            qualities.append(phantom.quality(index))
        document = {**describe(phantom), "quality": qualities}
        (folder / "truth.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "the disk refuses"
        raise RunError(f"truth cannot be written to {folder}: {reason}; choose another folder") from error
