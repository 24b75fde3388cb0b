"""One renderer for everything that is drawn on a picture: stills, report, annotated video.

Owns colours, contour, mask fill, heat map and the bar under the picture. Pixels outside what is drawn stay as
they are; words stand in a bar below the picture, never on it. Must not know Qt, models or sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from endostream.types import Analysis, FloatArray, Frame, ImageArray, MaskArray
from endostream.vocabulary import NOTICE

COLOURS: dict[str, tuple[int, int, int]] = {
    "finding": (0xF5, 0xB3, 0x01),
    "landmark": (0x4C, 0xC9, 0xF0),
    "therapy": (0xB3, 0x88, 0xEB),
    "blind": (0x6B, 0x72, 0x80),
    "failure": (0xEF, 0x44, 0x44),
    "healthy": (0x34, 0xD3, 0x99),
    "ground": (0x0D, 0x11, 0x17),
    "text": (0xE6, 0xED, 0xF3),
    "secondary": (0x9A, 0xA7, 0xB4),
}
"""One accent per meaning, RGB."""

FILL = 0.12
TOLERANCE = 0.75
"""Pixels by which a drawn outline may leave out a step of the mask's edge."""
HEAT = 0.45


@dataclass(frozen=True, slots=True)
class Layers:
    """What is drawn."""

    contour: bool = True
    """The outline of the mask, with a faint fill."""
    heatmap: bool = True
    """The class map, where there is one for a label that is not background."""
    bar: bool = True
    """The bar below the picture: label, confidence, time, the research-use notice."""
    heat_opacity: float = HEAT
    """At most 0.45."""


def contours(mask: MaskArray) -> list[NDArray[np.int32]]:
    """External contours of a mask bool[H, W], each int32[N, 2] as x, y in mask pixels."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(c, dtype=np.int32).reshape(-1, 2) for c in found]


def draw_mask(image: NDArray[np.uint8], mask: MaskArray) -> None:
    """Draw outline (2 px at 720p, on a dark edge) and faint fill of `mask` into `image`, in place.

    At 720p 1 ms for one patch, 4 ms for nine that reach over the whole picture.
    """
    # Three quarters of a pixel under a line of two or more are not seen, and a third of the points is left.
    outlines = [cv2.approxPolyDP(c, TOLERANCE, True) for c in contours(mask)]
    if not outlines:
        return
    line = max(2, round(image.shape[0] / 360))
    points = np.concatenate(outlines)[:, 0]
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0) + 1
    part = image[y0:y1, x0:x1]
    part[:] = cv2.copyTo(cv2.LUT(part, _tint()), mask[y0:y1, x0:x1].astype(np.uint8), part.copy())
    cv2.polylines(image, outlines, True, COLOURS["ground"], line + 2, cv2.LINE_AA)
    cv2.polylines(image, outlines, True, COLOURS["finding"], line, cv2.LINE_AA)


@lru_cache(maxsize=1)
def _tint() -> NDArray[np.uint8]:
    """What the fill makes of a level 0..255, per channel: uint8[256, 1, 3]."""
    level = np.arange(256.0).reshape(-1, 1, 1)
    return np.round(level * (1.0 - FILL) + np.asarray(COLOURS["finding"]) * FILL).astype(np.uint8)


@lru_cache(maxsize=4)
def _heat_colours(opacity: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For a level 0..255: inferno times its weight, and what stays of the picture; uint8[256, 1, 3] each."""
    ramp = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    colours = cv2.cvtColor(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    weight = np.clip((np.arange(256) - 63.0) / 128.0, 0.0, 1.0).reshape(-1, 1, 1) * opacity
    kept = np.repeat(np.round(255.0 * (1.0 - weight)), 3, axis=2)
    return np.round(colours * weight).astype(np.uint8), kept.astype(np.uint8)


def draw_heatmap(image: NDArray[np.uint8], heatmap: FloatArray, opacity: float = HEAT) -> None:
    """Blend a class map float32[gh, gw] in 0..1 into `image` in place; where it is low nothing changes.

    Coloured at an eighth of the size (the map is far coarser) and enlarged, only where it is hot: at 720p
    1 ms for a spot, 8 ms for a map that is hot everywhere, against 14 ms at full size.
    """
    height, width = image.shape[:2]
    small = (max(1, -(-width // 8)), max(1, -(-height // 8)))
    level = np.clip(cv2.resize(heatmap, small, interpolation=cv2.INTER_CUBIC) * 255.0, 0, 255).astype(
        np.uint8
    )
    hot = np.argwhere(level > 63)
    if hot.size == 0:
        return
    (top, left), (bottom, right) = np.maximum(hot.min(axis=0) - 2, 0), hot.max(axis=0) + 3
    # Enlarged whole cells only, so that the part stays in step with the picture.
    colours, kept = (table[level[top:bottom, left:right], 0] for table in _heat_colours(min(opacity, HEAT)))
    rows, columns = colours.shape[:2]
    x, y = left * width / small[0], top * height / small[1]
    box = (round(y), round(y + rows * height / small[1]), round(x), round(x + columns * width / small[0]))
    part = image[box[0] : box[1], box[2] : box[3]]
    size = (part.shape[1], part.shape[0])
    faded = cv2.multiply(part, cv2.resize(kept, size, interpolation=cv2.INTER_LINEAR), scale=1.0 / 255.0)
    part[:] = cv2.add(faded, cv2.resize(colours, size, interpolation=cv2.INTER_LINEAR))


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=256)
def _words(text: str, size: int, colour: str) -> NDArray[np.uint8]:
    font = _font(size)
    left, _, right, _ = font.getbbox(text)
    picture = Image.new("RGB", (max(1, int(right - left) + 2), round(size * 1.4)), COLOURS["ground"])
    ImageDraw.Draw(picture).text((1 - left, size * 0.1), text, fill=COLOURS[colour], font=font)
    return np.asarray(picture)


def clock(seconds: float) -> str:
    """Stream time as h:mm:ss.s."""
    tenths = int(seconds * 10.0 + 1e-6)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def bar_height(height: int) -> int:
    """Pixels of the bar under a picture `height` pixels high; always even."""
    return max(20, round(height * 0.05)) // 2 * 2


def _bar(frame: Frame, analysis: Analysis | None, width: int, height: int) -> NDArray[np.uint8]:
    bar = np.empty((height, width, 3), np.uint8)
    bar[:] = COLOURS["ground"]
    size = max(9, round(height * 0.5))
    left: list[tuple[str, str]] = [(clock(frame.time), "secondary")]
    if analysis is None:
        left.append(("not analysed", "secondary"))
    elif not analysis.visible:
        left.append((f"not judged: {analysis.reason}", "secondary"))
    elif analysis.acting is not None:
        prediction = analysis.acting
        colour = "finding" if analysis.mask is not None and analysis.mask.any() else "text"
        word = "" if prediction.known else "unknown: "
        left.append((f"{word}{prediction.label} {prediction.confidence:.2f}", colour))
    x = size
    for text, colour in left:
        x = _put(bar, _words(text, size, colour), x) + size
    notice = _words(NOTICE, size, "secondary")
    start = width - notice.shape[1] - size
    if start > x:
        _put(bar, notice, start)
    elif width > x:
        _put(bar, _words("Research use only", size, "secondary"), x)
    return bar


def _put(bar: NDArray[np.uint8], words: NDArray[np.uint8], x: int) -> int:
    height, width = bar.shape[:2]
    y = max(0, (height - words.shape[0]) // 2)
    part = words[: height - y, : max(0, width - x)]
    bar[y : y + part.shape[0], x : x + part.shape[1]] = part
    return x + int(words.shape[1])


def render(frame: Frame, analysis: Analysis | None, layers: Layers | None = None) -> ImageArray:
    """The picture with its overlays, uint8[H + bar, W, 3] RGB.

    The frame itself is not changed. Without an analysis the bar says so: "not analysed" never looks like
    "nothing found".
    """
    layers = layers or Layers()
    height, width = frame.image.shape[:2]
    extra = bar_height(height) if layers.bar else 0
    canvas = np.empty((height + extra, width, 3), np.uint8)
    picture = canvas[:height]
    picture[:] = frame.image
    if analysis is not None:
        if layers.heatmap and analysis.heatmap is not None:
            draw_heatmap(picture, analysis.heatmap, layers.heat_opacity)
        if layers.contour and analysis.mask is not None:
            draw_mask(picture, analysis.mask)
    if extra:
        canvas[height:] = _bar(frame, analysis, width, extra)
    return canvas
