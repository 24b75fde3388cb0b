"""Stills as they are embedded in a page.

Owns their size and encoding. Must not know pages.
"""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from endostream.records.files import inside

WIDEST = 520
"""Pixels: two stills side by side on paper at 150 dots per inch."""
QUALITY = 82


def embedded(folder: Path, still: str | None) -> str | None:
    """The still as a `data:` URI of moderate size, or None when there is none that can be read."""
    path = inside(folder, still) if still else None
    if path is None:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a damaged picture is shown as missing
        return None
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = WIDEST / max(width, height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}" if done else None
