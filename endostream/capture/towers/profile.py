"""What a tower profile says, and how it is laid over a frame of any size.

Owns the rule of scaling. Must not know files, sources or colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from endostream.capture.source import MIN_SIDE

Box = tuple[int, int, int, int]
"""[x0, y0, x1, y1): pixels of a frame, the right and lower edge not included."""

SAME_ASPECT = 0.01
"""Aspect ratios this close (natural logarithm) are the same: 1366x768 is 16:9."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One screen of a tower at one resolution."""

    width: int
    """Frame width in pixels that the boxes are measured in."""
    height: int
    """Frame height in pixels."""
    image: Box
    """The endoscopic picture."""
    corner: int = 0
    """Pixels cut off each corner of the picture, along both edges; 0 for a rectangle."""
    masks: tuple[Box, ...] = ()
    """Where patient text is, anywhere in the frame."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A layout laid over frames of one size."""

    width: int
    """Frame width in pixels."""
    height: int
    """Frame height in pixels."""
    image: Box
    """What is kept: whole pixels inside the scaled box of the picture."""
    corner: tuple[int, int] = (0, 0)
    """Pixels cut off each corner along the horizontal and the vertical edge."""
    masks: tuple[Box, ...] = ()
    """What is filled: every pixel that a scaled mask touches."""
    layout: Layout | None = None
    """What it was scaled from; None for the whole frame."""
    stretched: bool = False
    """True when no layout has this aspect ratio: somebody should look whether it fits."""
    too_small: bool = False
    """True when the picture at this size is too small to be analysed: everything is filled then."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is kept."""
        x0, y0, x1, y1 = self.image
        return x1 - x0, y1 - y0

    @property
    def whole(self) -> bool:
        """True when nothing is cropped and nothing filled."""
        return self.size == (self.width, self.height) and not self.masks and self.corner == (0, 0)


@dataclass(frozen=True, slots=True)
class TowerProfile:
    """Where the picture and the patient text are on a tower's screen."""

    name: str
    """Lower-case name; the `phi_mask` of every artefact."""
    title: str
    """One line for people."""
    audience: str = ""
    """Which towers or rooms it is meant for."""
    notes: str = ""
    """What to know before trusting it."""
    layouts: tuple[Layout, ...] = ()
    """One or more; empty only for `none` and `auto`."""
    path: Path | None = None
    """The file it was read from."""
    shipped: bool = False
    """True for those that come with EndoStream."""

    @property
    def alters(self) -> bool:
        """True when pictures are masked or cropped, so that the source's own packets must not be kept."""
        return self.name != NONE

    def fit(self, width: int, height: int) -> Fitted:
        """The boxes for frames of this size.

        The layout of the same resolution; else the one nearest in size among those of the same aspect ratio;
        else the one nearest in aspect ratio, stretched along both axes (`stretched` says so). Masks grow
        outwards to whole pixels and the picture shrinks inwards, so that no scaling uncovers a pixel.
        """
        if not self.layouts:
            return Fitted(width, height, (0, 0, width, height))
        layout = min(self.layouts, key=lambda each: _distance(each, width, height))
        return _scaled(layout, width, height)


def _distance(layout: Layout, width: int, height: int) -> tuple[bool, float, float]:
    aspect = abs(math.log(width / height) - math.log(layout.width / layout.height))
    size = abs(math.log(width * height) - math.log(layout.width * layout.height))
    same = aspect < SAME_ASPECT
    other = (layout.width, layout.height) != (width, height)
    return other, 0.0 if same else aspect, size


def _scaled(layout: Layout, width: int, height: int) -> Fitted:
    def down(value: int, new: int, old: int) -> int:
        return value * new // old

    def up(value: int, new: int, old: int) -> int:
        return -(-value * new // old)

    w, h = layout.width, layout.height
    x0, y0, x1, y1 = layout.image
    image = up(x0, width, w), up(y0, height, h), down(x1, width, w), down(y1, height, h)
    aspect = abs(math.log(width / height) - math.log(w / h))
    stretched = aspect >= SAME_ASPECT
    if min(image[2] - image[0], image[3] - image[1]) < MIN_SIDE:
        everything = 0, 0, width, height
        return Fitted(width, height, everything, (0, 0), (everything,), layout, stretched, True)
    return Fitted(
        width,
        height,
        image,
        (up(layout.corner, width, w), up(layout.corner, height, h)),
        tuple(
            (down(a, width, w), down(b, height, h), up(c, width, w), up(d, height, h))
            for a, b, c, d in layout.masks
        ),
        layout,
        stretched,
    )


NONE, AUTO = "none", "auto"
NO_PROFILE = TowerProfile(
    NONE,
    "Nothing is masked",
    audience="video without patient text, or with text that may be kept",
    notes="Frames stay as they are, and recordings may keep the source's own packets.",
    shipped=True,
)
AUTO_PROFILE = TowerProfile(
    AUTO,
    "Crop to the picture found",
    audience="towers that show a bright picture on a dark surround",
    notes=(
        "The picture is looked for in the first second. This is a crop and no promise: text inside the "
        "picture stays, and where no picture is found the whole frame does. Only masks hide text."
    ),
    shipped=True,
)
SPECIAL = (NO_PROFILE, AUTO_PROFILE)
"""Names that no file may take."""
