"""A frame with a profile's boxes drawn on it, for a person to check before trusting the profile.

Owns how that looks. Must not know files or sources. What it draws on is unmasked and may show patient text.
"""

from __future__ import annotations

import cv2
import numpy as np

from endostream.capture.towers.profile import Box, Fitted
from endostream.types import ImageArray

CYAN, VIOLET, BLACK, WHITE = (0, 255, 255), (190, 90, 255), (0, 0, 0), (255, 255, 255)
DIMMED = 0.6
"""What is cropped away stays legible, so that text can be seen to lie there."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
FLAT = 12.0
"""Standard deviation of the grey values under which a frame shows nothing to check boxes against."""


def shows_something(image: ImageArray) -> bool:
    """False for black, blue and other flat frames."""
    return float(image[::8, ::8].mean(axis=2).std()) >= FLAT


def drawn(image: ImageArray, fitted: Fitted, profile: str) -> ImageArray:
    """uint8[H', W, 3] RGB: the frame, the picture's box in cyan, masks hatched in violet, a legend below."""
    height = image.shape[0]
    line = max(2, round(height / 360))
    x0, y0, x1, y1 = fitted.image
    out = (image * DIMMED).astype(np.uint8)
    out[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    for mask in fitted.masks:
        _hatch(out, mask, line)
    outline = _outline(fitted, line // 2)
    cv2.polylines(out, [outline], True, BLACK, line + 2, cv2.LINE_AA)
    cv2.polylines(out, [outline], True, CYAN, line, cv2.LINE_AA)
    for number, mask in enumerate(fitted.masks, start=1):
        _number(out, str(number), mask)
    return np.vstack([out, _legend(out.shape[1], _lines(fitted, profile))])


def _outline(fitted: Fitted, inset: int) -> np.ndarray:
    """The edge of what is kept, drawn on its own pixels."""
    x0, y0, x1, y1 = fitted.image
    left, top, right, bottom = x0 + inset, y0 + inset, x1 - 1 - inset, y1 - 1 - inset
    dx, dy = fitted.corner
    points = [
        (left, top + dy),
        (left + dx, top),
        (right - dx, top),
        (right, top + dy),
        (right, bottom - dy),
        (right - dx, bottom),
        (left + dx, bottom),
        (left, bottom - dy),
    ]
    return np.array(points, np.int32)


def _hatch(out: ImageArray, box: Box, line: int) -> None:
    """Slanted lines that leave what is under them legible."""
    x0, y0, x1, y1 = box
    part = np.ascontiguousarray(out[y0:y1, x0:x1])
    high, wide = part.shape[:2]
    for start in range(-high, wide, 8 * line):
        cv2.line(part, (start, high), (start + high, 0), VIOLET, line, cv2.LINE_AA)
    cv2.rectangle(part, (0, 0), (wide - 1, high - 1), VIOLET, line)
    out[y0:y1, x0:x1] = part


def _number(out: ImageArray, text: str, box: Box) -> None:
    """The number of a mask, in its corner nearest to the middle of the frame: text is rather at the edges."""
    height, width = out.shape[:2]
    scale = max(0.4, height / 1440)
    weight, gap = max(1, round(2 * scale)), round(8 * scale)
    (wide, high), _ = cv2.getTextSize(text, FONT, scale, weight)
    x = box[0] + gap if box[0] + box[2] > width else box[2] - wide - gap
    y = box[1] + high + gap if box[1] + box[3] > height else box[3] - gap
    cv2.rectangle(out, (x - gap, y - high - gap), (x + wide + gap, y + gap), BLACK, cv2.FILLED)
    cv2.putText(out, text, (x, y), FONT, scale, VIOLET, weight, cv2.LINE_AA)


def _lines(fitted: Fitted, profile: str) -> list[str]:
    size = f"{fitted.width}x{fitted.height}"
    layout = fitted.layout
    if layout is None:
        how = f"frame {size}"
    elif (layout.width, layout.height) == (fitted.width, fitted.height):
        how = f"layout {size}"
    else:
        change = "STRETCHED" if fitted.stretched else "scaled"
        how = f"layout {layout.width}x{layout.height} {change} to {size}"
    wide, high = fitted.size
    filled = [*(["violet"] if fitted.masks else []), *(["the cut corners"] if any(fitted.corner) else [])]
    return [
        f"{profile}: {how}. Not masked, may show patient text: delete after checking.",
        f"Kept: {wide}x{high} inside cyan. Filled: {' and '.join(filled) or 'nothing'}.",
    ]


def _legend(width: int, lines: list[str]) -> ImageArray:
    """Lines of text as wide as the frame; under it, so that they cover nothing."""
    widest = max(cv2.getTextSize(line, FONT, 1.0, 1)[0][0] for line in lines)
    scale = min(0.9, (width - 16) / widest)
    step = max(12, round(36 * scale))
    strip = np.zeros((step * len(lines) + step // 2, width, 3), np.uint8)
    for number, line in enumerate(lines, start=1):
        cv2.putText(strip, line, (8, step * number), FONT, scale, WHITE, max(1, round(scale)), cv2.LINE_AA)
    return strip
