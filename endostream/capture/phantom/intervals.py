"""When a polyp can be seen and how good the picture is: the phantom's truth over time.

Owns the reduction of masks and script to intervals; it must not know light or codecs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from endostream.capture.phantom.camera import lens, pose_at, turned
from endostream.capture.phantom.debris import Debris
from endostream.capture.phantom.polyps import Seated
from endostream.capture.phantom.scene import Scene
from endostream.capture.phantom.surface import Wall
from endostream.capture.phantom.trace import solids_at, trace

VISIBLE_SHARE = 0.005
"""Share of the picture from which on a polyp counts as visible."""
_COARSE_ROWS = 88
"""Rows of the ray grid with which the intervals are searched before they are refined."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Something that holds from one time to another."""

    label: str
    """polyp, or a quality: clear, blur, stool, bubbles, dark, outside."""
    start: float
    """Time of the first frame in seconds."""
    end: float
    """Time after the last frame in seconds."""


class Masks(Protocol):
    """Gives the masks that count in the end; the members mean what they mean in `Phantom`."""

    fps: float
    """Pictures per second."""
    width: int
    """Picture width in pixels."""
    height: int
    """Picture height in pixels."""

    @property
    def frames(self) -> int:
        """Number of frames."""

    @property
    def image_box(self) -> tuple[int, int, int, int]:
        """The endoscopic image's box."""

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return the mask of a frame."""


def quality_intervals(scene: Scene, offset: float, fps: float, frames: int) -> list[Interval]:
    """Return the script's stretches as intervals on the frame grid, equal neighbours joined."""
    total = frames / fps
    out: list[Interval] = []
    for stretch in scene.stretches:
        start = min(total, 0.0 + np.ceil((stretch.start + offset) * fps - 1e-6) / fps)
        end = min(total, np.ceil((stretch.end + offset) * fps - 1e-6) / fps)
        if end <= start:
            continue
        if out and out[-1].label == stretch.quality:
            out[-1] = Interval(stretch.quality, out[-1].start, float(end))
        else:
            out.append(Interval(stretch.quality, float(start), float(end)))
    return out


def polyp_intervals(
    masks: Masks, scene: Scene, wall: Wall, seats: tuple[Seated, ...], debris: Debris | None, offset: float
) -> list[Interval]:
    """Return when polyps cover more than VISIBLE_SHARE: found on a coarse grid, refined on real masks."""
    x0, y0, x1, y1 = masks.image_box
    rows = min(_COARSE_ROWS, y1 - y0)
    directions = lens(max(8, round(rows * (x1 - x0) / (y1 - y0))), rows)
    share = (x1 - x0) * (y1 - y0) / (masks.width * masks.height)
    step = max(1, round(masks.fps * 0.16))
    first = int(np.ceil(offset * masks.fps - 1e-6))
    last = min(masks.frames, int(np.ceil((offset + scene.seconds) * masks.fps - 1e-6)))
    out: list[Interval] = []
    start: int | None = None
    for index in [*range(first, last, step), last]:
        seen = False
        if index < last:
            time = index / masks.fps - offset
            pose = pose_at(scene, wall, seats, time)
            if pose.focus >= 0 and pose.grown > 0 and scene.stretch_at(time).quality != "outside":
                solids = solids_at(wall, pose, seats, debris)
                rays = turned(pose, directions)
                seen = float((trace(solids, pose, rays).polyp > 0.5).mean()) * share > VISIBLE_SHARE
        if seen and start is None:
            start = index
        elif not seen and start is not None:
            edges = _refined(masks, start, index, first, last)
            if edges is not None:
                out.append(Interval("polyp", edges[0] / masks.fps, edges[1] / masks.fps))
            start = None
    return out


def _refined(masks: Masks, start: int, end: int, first: int, last: int) -> tuple[int, int] | None:
    """Return the first visible frame and the one after the last, walked to on real masks."""

    def visible(index: int) -> bool:
        return first <= index < last and float(masks.mask(index).mean()) > VISIBLE_SHARE

    while start < end and not visible(start):
        start += 1
    while start > first and visible(start - 1):
        start -= 1
    while end > start and not visible(end - 1):
        end -= 1
    while end < last and visible(end):
        end += 1
    return (start, end) if end > start else None
