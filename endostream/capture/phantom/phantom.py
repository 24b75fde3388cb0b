"""The phantom: frames of a made-up colonoscopy by index, with what is true about each of them.

Owns the order of the steps from script to picture; it must not know files or codecs.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.capture.phantom import artefacts
from endostream.capture.phantom.camera import lens, pose_at, turned
from endostream.capture.phantom.debris import Debris, build_debris
from endostream.capture.phantom.intervals import Interval, polyp_intervals, quality_intervals
from endostream.capture.phantom.noise import Field, as_field, ramp
from endostream.capture.phantom.panel import Box, build_tower, compose
from endostream.capture.phantom.polyps import Seated, seat
from endostream.capture.phantom.render import expose, shade
from endostream.capture.phantom.scene import CHAPTER_SECONDS, Scene, Stretch, build_scene
from endostream.capture.phantom.surface import Wall, build_wall
from endostream.capture.phantom.trace import solids_at, trace
from endostream.errors import InputError

WORK_SHARE = 0.62
"""Rows of the ray grid per row of the endoscopic image."""


@dataclass(frozen=True, slots=True, eq=False)
class PhantomFrame:
    """One picture of the phantom and its truth."""

    image: NDArray[np.uint8]
    """uint8[H, W, 3] RGB, read-only."""
    mask: NDArray[np.bool_]
    """bool[H, W]: pixels that show a polyp; folds and liquid in front of it are left out. Read-only."""
    time: float
    """Stream time in seconds."""
    inside: bool
    """Whether the tip is in the body."""
    quality: str
    """clear, blur, stool, bubbles, dark or outside."""

    def __repr__(self) -> str:
        return f"PhantomFrame(time={self.time:.3f}, image={self.image.shape}, quality={self.quality!r})"


@dataclass(frozen=True, slots=True, eq=False)
class _Chapter:
    """Everything that one chapter's frames share."""

    scene: Scene
    """The script."""
    wall: Wall
    """The colon."""
    seats: tuple[Seated, ...]
    """Its polyps in place."""
    debris: Debris | None
    """Its badly prepared part."""
    stains: artefacts.Stains
    """Material of the artefacts."""


class Phantom:
    """A made-up colonoscopy, the same for the same arguments.

    Parameters
    ----------
    seed
        Chooses the colon, the polyps and their order of looks.
    width, height
        Size of the pictures in pixels, 64 to 4096.
    seconds
        Length; from 75 s on several chapters follow one another, each a colon of its own.
    fps
        Pictures per second.
    """

    def __init__(
        self, seed: int = 7, width: int = 1280, height: int = 720, seconds: float = 50.0, fps: float = 25.0
    ) -> None:
        if not (64 <= width <= 4096 and 64 <= height <= 4096):
            raise InputError(f"phantom of {width}x{height}: choose a size from 64x64 to 4096x4096")
        if not (0 < fps <= 240 and 0 < seconds <= 86400 and seconds * fps >= 1):
            raise InputError(f"phantom of {seconds:g} s at {fps:g} fps: choose up to 86400 s and 240 fps")
        if seed < 0:
            raise InputError(f"phantom seed {seed}: choose a seed of 0 or more")
        self.seed, self.width, self.height = seed, width, height
        self.seconds, self.fps = float(seconds), float(fps)
        self._tower = build_tower(width, height)
        x0, y0, x1, y1 = self._tower.image_box
        self._work = (max(16, round(WORK_SHARE * (y1 - y0))), max(16, round(WORK_SHARE * (x1 - x0))))
        self._detail = float(np.clip((y1 - y0) / 690, 0.14, 1.3))
        self._chapter_count = max(1, round(self.seconds / CHAPTER_SECONDS))
        self._chapters: OrderedDict[int, _Chapter] = OrderedDict()
        self._grain = _grain(seed, y1 - y0, x1 - x0)
        self._lens = lens(self._work[1], self._work[0])
        self._vignette = _vignette(*self._work)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return max(1, round(self.seconds * self.fps))

    @property
    def panel_boxes(self) -> tuple[Box, ...]:
        """Boxes (x0, y0, x1, y1) of the burnt-in text in source pixels."""
        return self._tower.panel_boxes

    @property
    def image_box(self) -> Box:
        """Box (x0, y0, x1, y1) of the endoscopic image in source pixels."""
        return self._tower.image_box

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        """Polyps in view (over 0.5 % of the picture) and the stretches of every quality, by start."""
        found: list[Interval] = []
        for number in range(self._chapter_count):
            offset = number * self._chapter_seconds
            chapter = self._chapter(number)
            found += quality_intervals(chapter.scene, offset, self.fps, self.frames)
            found += polyp_intervals(self, chapter.scene, chapter.wall, chapter.seats, chapter.debris, offset)
        return tuple(sorted(found, key=lambda interval: (interval.start, interval.end, interval.label)))

    def frame(self, index: int) -> PhantomFrame:
        """Return a frame; the same for the same index whatever was asked before.

        Raises IndexError outside 0 <= index < frames.
        """
        time, number, local = self._when(index)
        chapter = self._chapter(number)
        stretch = chapter.scene.stretch_at(local)
        if stretch.quality == "outside":
            leave = float(ramp(0.75, 1.0, (local - stretch.start) / (stretch.end - stretch.start)))
            picture = artefacts.outside(chapter.stains, *self._work, local, leave)
            share = np.zeros(self._work, np.float32)
        else:
            picture, share = self._inside(chapter, stretch, local)
        image = compose(self._tower, self._finish(picture, index), time)
        image.flags.writeable = False
        mask = self._place_mask(share)
        return PhantomFrame(image, mask, time, stretch.quality != "outside", stretch.quality)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return only the mask of a frame; the light is not computed."""
        _, number, local = self._when(index)
        chapter = self._chapter(number)
        if chapter.scene.stretch_at(local).quality == "outside":
            return self._place_mask(np.zeros(self._work, np.float32))
        pose = pose_at(chapter.scene, chapter.wall, chapter.seats, local)
        solids = solids_at(chapter.wall, pose, chapter.seats, chapter.debris)
        return self._place_mask(trace(solids, pose, turned(pose, self._lens)).polyp)

    def quality(self, index: int) -> str:
        """Return only the quality of a frame."""
        _, number, local = self._when(index)
        return self._chapter(number).scene.stretch_at(local).quality

    @property
    def _chapter_seconds(self) -> float:
        return self.seconds / self._chapter_count

    def _when(self, index: int) -> tuple[float, int, float]:
        """Return stream time, chapter number and chapter time of a frame."""
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        time = index / self.fps
        number = min(int(time / self._chapter_seconds), self._chapter_count - 1)
        return time, number, time - number * self._chapter_seconds

    def _chapter(self, number: int) -> _Chapter:
        """Return a chapter, built once; the last two are kept."""
        chapter = self._chapters.get(number)
        if chapter is None:
            seed = self.seed + 7919 * number
            scene = build_scene(seed, self._chapter_seconds)
            wall = build_wall(seed, self._detail)
            seats = tuple(seat(polyp, wall) for polyp in scene.polyps)
            soiled = any(stretch.quality == "stool" for stretch in scene.stretches)
            debris = build_debris(seed, scene.stool_z, self._detail) if soiled else None
            chapter = _Chapter(scene, wall, seats, debris, artefacts.build_stains(seed, *self._work))
            self._chapters[number] = chapter
            while len(self._chapters) > 2:
                self._chapters.popitem(last=False)
        return chapter

    def _inside(self, chapter: _Chapter, stretch: Stretch, local: float) -> tuple[Field, Field]:
        """Return the display picture on the ray grid and the polyp's share of every pixel."""
        pose = pose_at(chapter.scene, chapter.wall, chapter.seats, local)
        solids = solids_at(chapter.wall, pose, chapter.seats, chapter.debris)
        rays = turned(pose, self._lens)
        hits = trace(solids, pose, rays)
        breathing = 1.0 + 0.07 * float(np.sin(1.9 * local + self.seed)) + 0.04 * float(np.sin(4.3 * local))
        picture = expose(shade(solids, pose, rays, hits) * self._vignette, breathing)
        picture = _spoilt(picture, chapter, stretch, local)
        return picture, hits.polyp

    def _finish(self, picture: Field, index: int) -> NDArray[np.uint8]:
        """Return the endoscopic image uint8[h, w, 3] at full size: bloom, edges, grain, cut corners."""
        x0, y0, x1, y1 = self._tower.image_box
        height, width = y1 - y0, x1 - x0
        glow = cv2.GaussianBlur(np.maximum(picture - 0.85, 0.0), (0, 0), max(0.4, 0.012 * picture.shape[0]))
        picture = np.clip(picture + 0.7 * glow, 0.0, 1.0)
        picture = as_field(cv2.GaussianBlur(picture, (0, 0), 0.55))
        full = as_field(cv2.resize(picture * 255.0, (width, height), interpolation=cv2.INTER_CUBIC))
        soft = cv2.GaussianBlur(full, (0, 0), max(0.4, 0.0022 * height))
        full = full + 0.45 * (full - soft)
        rng = np.random.default_rng([self.seed, index, 71])
        gy, gx = int(rng.integers(64)), int(rng.integers(64))
        full = full + self._grain[gy : gy + height, gx : gx + width, None]
        done: NDArray[np.uint8] = np.clip(full * self._tower.opening + 3.0, 0, 255).astype(np.uint8)
        return done

    def _place_mask(self, share: Field) -> NDArray[np.bool_]:
        """Return the full-size mask of a polyp's share on the ray grid."""
        x0, y0, x1, y1 = self._tower.image_box
        mask = np.zeros((self.height, self.width), np.bool_)
        if share.max() > 0.5:
            full = cv2.resize(share, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
            mask[y0:y1, x0:x1] = (full > 0.5) & (self._tower.opening[..., 0] > 0.5)
        mask.flags.writeable = False
        return mask

    def __repr__(self) -> str:
        return f"Phantom(seed={self.seed}, {self.width}x{self.height}, {self.seconds:g} s, {self.fps:g} fps)"


def _spoilt(picture: Field, chapter: _Chapter, stretch: Stretch, local: float) -> Field:
    """Return the picture with its stretch's artefacts, which come and go at the stretch's ends."""
    length = stretch.end - stretch.start
    progress = (local - stretch.start) / length
    edge = min(0.3 / length, 0.25)
    amount = float(ramp(0.0, edge, progress) * ramp(1.0, 1.0 - edge, progress))
    if stretch.quality == "blur":
        shake = 0.6 + 0.4 * float(np.sin(6.1 * local))
        return artefacts.blur(picture, (0.35 + 0.65 * amount) * shake, 2.3 * local)
    if stretch.quality == "bubbles":
        return artefacts.flush(picture, chapter.stains, 0.2 + 0.8 * amount, local, progress)
    if stretch.quality == "stool":
        return artefacts.blur(picture, 0.04, 0.0)
    if stretch.quality == "dark":
        entering = stretch is chapter.scene.stretches[1]
        away = float(ramp(1.0, 0.55 if entering else 0.7, progress))
        amount = away if entering else away * float(ramp(0.0, 0.3, progress))
        bright = 0.25 + 0.35 * progress if entering else 0.62
        return artefacts.press(picture, chapter.stains, amount, local, bright)
    return picture


def _grain(seed: int, height: int, width: int) -> Field:
    """Return sensor noise a little larger than the image, in display steps."""
    rng = np.random.default_rng([seed, 83])
    noise = rng.standard_normal((height + 64, width + 64)).astype(np.float32)
    return as_field(1.5 * (0.6 * noise + 0.9 * cv2.GaussianBlur(noise, (0, 0), 0.8)))


def _vignette(height: int, width: int) -> Field:
    """Return the fall of brightness towards the corners, float32[h, w, 1]."""
    y, x = np.mgrid[0:height, 0:width]
    away = np.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5) / np.hypot(0.5, 0.5)
    return as_field(1.0 - 0.45 * away**2.4)[..., None]
