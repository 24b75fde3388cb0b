"""Frames behind a tower profile: what is masked never comes out, and nothing else about a frame changes."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_capture_media import number_in, write_video
from test_towers_deinterlacing import INTERLACED
from test_towers_profiles import layouts

from endostream.capture import open_source, paced
from endostream.capture.masked import FILL, covered, masked
from endostream.capture.source import Source, SourceBase
from endostream.capture.towers import NO_PROFILE, Layout, TowerProfile, find_profile
from endostream.errors import SourceError
from endostream.types import Frame, ImageArray, SignalChange, SourceInfo

SIZES = [(720, 576), (1280, 720), (1920, 1080), (3840, 2160)]
Picture = tuple[ImageArray, float]


class Played(SourceBase):
    """A source that gives the pictures it was given, at these times."""

    def __init__(self, pictures: Iterable[Picture], *, live: bool = False, independent: bool = False) -> None:
        super().__init__()
        self.pictures = list(pictures)
        self.position = 0
        self.heard: list[str] = []
        height, width = self.pictures[0][0].shape[:2]
        kind = "pictures" if independent else "stream" if live else "file"
        self._info = SourceInfo("played", kind, live, not live, independent, width, height, 25.0, None, None)  # type: ignore[arg-type]

    def _next(self) -> Frame | None:
        if self.position >= len(self.pictures):
            return None
        image, at = self.pictures[self.position]
        self.position += 1
        return self._frame(image.copy(), at, round(at * 90000), Fraction(1, 90000), stamps=(at, 1e9 + at))

    def _go_to(self, time: float) -> None:
        self.position = next((i for i, (_, at) in enumerate(self.pictures) if at >= time), len(self.pictures))

    def _release(self) -> None:
        self.heard.append("closed")


def white(width: int, height: int) -> ImageArray:
    """A frame that is bright everywhere."""
    return np.full((height, width, 3), 255, np.uint8)


def profile_of(*layouts: Layout) -> TowerProfile:
    """A profile with these layouts."""
    return TowerProfile("tested", "Tested", layouts=layouts)


def hidden(layout: Layout, width: int, height: int) -> np.ndarray:
    """bool[H, W]: pixels of a frame of this size that a mask or a cut corner touches."""
    x, y = np.arange(width), np.arange(height)
    # Edges of every pixel in the layout's own coordinates, times the new size: whole numbers.
    left, right, top, bottom = (
        x * layout.width,
        (x + 1) * layout.width,
        y * layout.height,
        (y + 1) * layout.height,
    )
    found = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in layout.masks:
        columns = (right > x0 * width) & (left < x1 * width)
        rows = (bottom > y0 * height) & (top < y1 * height)
        found |= rows[:, None] & columns[None]
    x0, y0, x1, y1 = layout.image
    # Distance of the pixel's outer corner from both edges of the picture, in the layout's pixels.
    across = np.minimum(left / width - x0, x1 - right / width)
    down = np.minimum(top / height - y0, y1 - bottom / height)
    return found | (across[None] + down[:, None] < layout.corner - 1e-9)


@given(layouts(), st.integers(16, 900), st.integers(16, 900))
def test_no_pixel_of_a_masked_box_ever_comes_out(layout: Layout, width: int, height: int) -> None:
    profile = profile_of(layout)
    fitted = profile.fit(width, height)
    image = covered(white(width, height), fitted)
    if fitted.too_small:
        assert (image == FILL).all() and image.shape == (height, width, 3)
        return
    x0, y0, x1, y1 = fitted.image
    assert image.shape == (y1 - y0, x1 - x0, 3)
    assert x0 * layout.width >= layout.image[0] * width and x1 * layout.width <= layout.image[2] * width
    assert y0 * layout.height >= layout.image[1] * height and y1 * layout.height <= layout.image[3] * height
    must = hidden(layout, width, height)[y0:y1, x0:x1]
    assert (image[must] == FILL).all()
    # And nothing else is hidden, but for what the cuts grew by to whole pixels.
    across, down = fitted.corner
    x, y = np.arange(x1 - x0), np.arange(y1 - y0)[:, None]
    near = np.minimum(x, x[::-1]) * down + np.minimum(y, y[::-1]) * across < across * down
    assert (image[~(must | near)] == 255).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["text-left", "text-right", "full-height-centre"])
def test_shipped_profiles_hide_their_text(name: str, size: tuple[int, int]) -> None:
    """Text drawn where the profile says that towers write: nothing of it is left."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    profile = find_profile(name)
    for x0, y0, x1, y1 in profile.fit(width, height).masks:
        at, scale = (x0 + 4, (y0 + y1) // 2), (x1 - x0) / 400
        cv2.putText(image, "DOE, JANE 1961-04-12", at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 2)
    assert image.any()
    with masked(Played([(image, 0.0)]), profile) as source:
        frame = source.read()
        assert frame is not None and not frame.image.any()
        assert (source.info.width, source.info.height) == frame.image.shape[1::-1] != size


def test_none_gives_the_source_itself() -> None:
    source = Played([(white(64, 48), 0.0)])
    assert masked(source, NO_PROFILE) is source


def test_everything_but_the_picture_stays() -> None:
    pictures = [(white(64, 48), 0.04 * i) for i in range(3)]
    plain, behind = Played(pictures), masked(Played(pictures), profile_of(Layout(64, 48, (16, 8, 64, 48))))
    for _ in pictures:
        a, b = plain.read(), behind.read()
        assert a is not None and b is not None
        assert b.image.shape == (40, 48, 3)
        names = [field.name for field in dataclasses.fields(Frame) if field.name != "image"]
        assert [getattr(a, n) for n in names] == [getattr(b, n) for n in names]
    assert behind.read() is None and behind.read() is None


@pytest.mark.parametrize(
    ("layout", "copies"),
    [
        (Layout(64, 48, (0, 0, 64, 48)), False),  # the frame itself
        (Layout(64, 48, (0, 8, 64, 48)), False),  # whole rows
        (Layout(64, 48, (0, 8, 64, 48), masks=((0, 0, 64, 8),)), False),  # a mask that is cropped away
        (Layout(64, 48, (16, 8, 64, 48)), True),
        (Layout(64, 48, (0, 0, 64, 48), masks=((0, 0, 8, 8),)), True),
        (Layout(64, 48, (0, 0, 64, 48), corner=8), True),
    ],
)
def test_frames_are_read_only_and_copied_once_where_needed(layout: Layout, copies: bool) -> None:
    image = white(64, 48)
    image.flags.writeable = False
    out = covered(image, profile_of(layout).fit(64, 48))
    assert not out.flags.writeable and out.flags.c_contiguous
    assert np.shares_memory(out, image) is not copies
    assert (image == 255).all()


def test_the_profile_follows_a_change_of_size_in_mid_stream() -> None:
    profile = find_profile("full-height-centre")
    pictures = [(white(*size), 0.04 * i) for i, size in enumerate([*SIZES, *SIZES])]
    seen = []
    with masked(Played(pictures, live=True), profile) as source:
        while (frame := source.read()) is not None:
            height, width = frame.image.shape[:2]
            seen.append((width, height))
            assert not frame.image[0, 0].any() and frame.image[height // 2, width // 2].all()
            assert (frame.image[:, :, 0] == FILL).mean() == pytest.approx(0.05, abs=0.03)
        assert source.warnings == ()
    assert seen == 2 * [(648, 576), (960, 720), (1440, 1080), (2880, 2160)]


def test_another_shape_warns_once_and_says_how_to_check() -> None:
    pictures = [(white(1024, 768), 0.0), (white(640, 480), 0.04), (white(1024, 768), 0.08)]
    with masked(Played(pictures), find_profile("text-left")) as source:
        assert [f.image.shape for f in iter(source.read, None)] == [
            (768, 819, 3),
            (480, 480, 3),
            (768, 819, 3),
        ]
        first, second = source.warnings
    assert first == (
        "tower profile text-left has no layout like 1024x768, so that for 1280x1024 was stretched; "
        "check it: endostream towers draw SOURCE --profile text-left --out check.png"
    )
    assert "640x480" in second and "\n" not in first + second


def test_a_picture_that_is_too_small_is_refused_at_first_and_hidden_later() -> None:
    profile = find_profile("text-left")
    with pytest.raises(SourceError, match=r"under text-left is 20x16 .*; choose another tower profile"):
        masked(Played([(white(20, 16), 0.0)]), profile)
    with masked(Played([(white(720, 576), 0.0), (white(20, 16), 0.04)]), profile) as source:
        frames = list(iter(source.read, None))
        assert source.warnings == (
            "20x16 frames are too small for tower profile text-left: they are masked as a whole",
        )
    assert frames[1].image.shape == (16, 20, 3) and not frames[1].image.any()


class Told(Played):
    """A source with something to tell."""

    signal, detail, overrun, skipped_packets = False, "no packets", 7, 3
    warnings = ("3 damaged packets were skipped",)

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        listener(SignalChange("lost", 1.0, 2.0))


def test_everything_else_is_the_source_s_own() -> None:
    inner = Told([(white(64, 48), 0.04 * i) for i in range(9)])
    source = masked(inner, profile_of(Layout(64, 48, (0, 8, 64, 48))))
    told = source.signal, source.detail, source.overrun, source.skipped_packets, source.warnings
    assert told == (False, "no packets", 7, 3, ("3 damaged packets were skipped",))
    changes: list[SignalChange] = []
    source.watch(changes.append)
    assert [c.state for c in changes] == ["lost"]
    assert source.info == dataclasses.replace(inner.info, height=40)
    source.seek(0.2)
    frame = source.read()
    assert frame is not None and frame.time == 0.2 and frame.epoch == 1
    caller = threading.Thread(target=source.cancel)
    caller.start()
    caller.join()
    assert source.read() is None
    with source as entered:
        assert entered is source
    source.close()
    assert inner.heard == ["closed"]


def test_no_source_escapes_the_contract() -> None:
    """Every name of the contract is answered; one that is added later must be passed on too."""
    wanted = {n for n in vars(Source) if not n.startswith("_") or n in ("__enter__", "__exit__")}
    assert wanted - set(dir(masked(Played([(white(64, 48), 0.0)]), find_profile("auto")))) == set()


def test_a_576i_file_is_deinterlaced_and_masked_on_its_way(tmp_path: Path) -> None:
    """The number along the top of each picture is under a mask; the same blocks in the middle are not."""
    path = write_video(tmp_path / "i.mp4", range(6), options=INTERLACED, size=(720, 576))
    with av.open(str(path)) as container:
        assert all(f.interlaced_frame for f in container.decode(video=0))
    profile = profile_of(Layout(720, 576, (0, 0, 720, 576), masks=((0, 0, 40, 16),)))
    with open_source(str(path)) as plain, masked(open_source(str(path)), profile) as behind:
        for index in range(6):
            a, b = plain.read(), behind.read()
            assert a is not None and b is not None and b.index == index and a.pts == b.pts
            assert number_in(a.image) == index and not b.image[:16, :40].any()
            assert np.array_equal(a.image[16:], b.image[16:])


def test_a_paced_source_may_be_masked() -> None:
    pictures = [(white(64, 48), 0.01 * i) for i in range(4)]
    began = time.monotonic()
    with paced(masked(Played(pictures), profile_of(Layout(64, 48, (0, 8, 64, 48))))) as source:
        assert [f.image.shape for f in iter(source.read, None)] == [(40, 64, 3)] * 4
    assert time.monotonic() - began >= 0.03
