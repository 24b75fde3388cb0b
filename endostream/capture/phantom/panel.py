"""The tower around the picture: black border, cut corners and a dummy patient panel with a clock.

Owns the layout and the burnt-in text; it must not know what the endoscope sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.capture.phantom.noise import Field, as_field

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in source pixels, x1 and y1 outside."""

LINES = ("DEMO PHANTOM", "ID 0000-TEST", "2000-01-01", "00:00:00", "NOT A PATIENT")
"""What is burnt in; the fourth line is the running clock."""
CLOCK = 3
"""Which line is the clock."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TINT = (206, 208, 204)


@dataclass(frozen=True, slots=True, eq=False)
class Tower:
    """The fixed surroundings of the endoscopic image for one picture size."""

    width: int
    """Picture width in pixels."""
    height: int
    """Picture height in pixels."""
    image_box: Box
    """Where the endoscopic image lies."""
    panel_boxes: tuple[Box, ...]
    """Where text is burnt in, one box per line."""
    opening: Field
    """float32[h, w, 1] of the image box: 1 inside the octagon, 0 in its cut corners."""
    scale: float
    """Font scale of the text."""

    def __repr__(self) -> str:
        return f"Tower({self.width}x{self.height}, image_box={self.image_box})"


def build_tower(width: int, height: int) -> Tower:
    """Return the surroundings for a picture size: text at the left, the image at the right."""
    tall = max(8, round(0.955 * height))
    wide = max(8, min(round(tall * 1.17), round(0.70 * width)))
    tall = min(tall, max(8, round(wide / 1.05)))
    x1 = width - max(1, round(0.018 * width))
    y0 = (height - tall) // 2
    image_box = (x1 - wide, y0, x1, y0 + tall)
    room = image_box[0] - 2 * max(1, round(0.015 * width))
    longest = max(cv2.getTextSize(line, _FONT, 1.0, 1)[0][0] for line in LINES)
    scale = max(0.08, min(room / longest, height / 900))
    line_height = max(4, round(34 * scale * 1.25))
    left = max(1, round(0.015 * width))
    boxes = []
    for row, line in enumerate(LINES):
        text_width = cv2.getTextSize(line, _FONT, scale, 1)[0][0]
        if row == CLOCK:
            text_width = round(_pitch(scale) * len(line))
        top = round(0.08 * height) + row * round(line_height * 1.45)
        right = min(left + text_width + 6, image_box[0])
        boxes.append((max(0, left - 3), max(0, top), right, min(height, top + line_height)))
    return Tower(width, height, image_box, tuple(boxes), _octagon(wide, tall), scale)


def compose(tower: Tower, image: NDArray[np.uint8], time: float) -> NDArray[np.uint8]:
    """Return uint8[H, W, 3]: the endoscopic image in its place, with the panel at a time in seconds."""
    out = np.full((tower.height, tower.width, 3), 3, np.uint8)
    x0, y0, x1, y1 = tower.image_box
    out[y0:y1, x0:x1] = image
    seconds = int(time + 1e-6)
    clock = f"{seconds // 3600 % 100:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    for row, (line, box) in enumerate(zip(LINES, tower.panel_boxes, strict=True)):
        area = np.ascontiguousarray(out[box[1] : box[3], box[0] : box[2]])
        if area.size == 0:
            continue
        at = max(1, round(area.shape[0] * 0.76))
        if row == CLOCK:
            for place, letter in enumerate(clock):
                spot = (3 + round(place * _pitch(tower.scale)), at)
                cv2.putText(area, letter, spot, _FONT, tower.scale, _TINT, 1, cv2.LINE_AA)
        else:
            cv2.putText(area, line, (3, at), _FONT, tower.scale, _TINT, 1, cv2.LINE_AA)
        out[box[1] : box[3], box[0] : box[2]] = area
    return out


def _pitch(scale: float) -> float:
    """Return the distance between two letters of the clock in pixels."""
    return 21.0 * scale


def _octagon(width: int, height: int) -> Field:
    """Return the soft-edged octagon that fills a box."""
    cut = 0.145 * height
    corners = np.array(
        [
            [cut, 0], [width - cut, 0], [width, cut], [width, height - cut],
            [width - cut, height], [cut, height], [0, height - cut], [0, cut],
        ]
    )  # fmt: skip
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round((corners - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.4, height * 0.0016))
    return as_field(np.minimum(soft, mask).astype(np.float32) / 255)[..., None]
