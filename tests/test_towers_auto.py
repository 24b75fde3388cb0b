"""Profile `auto`: the picture is found by its light, never guessed, and kept steady."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_towers_masked import Picture, Played, white

from endostream.capture import open_source
from endostream.capture.encode import VideoWriter
from endostream.capture.masked import masked
from endostream.capture.towers import AUTO_PROFILE
from endostream.capture.towers.picture import PictureFinder
from endostream.capture.towers.profile import Box
from endostream.types import Frame, ImageArray

TEXT = ("DOE, JANE", "ID 123-456-789", "F 1961-04-12", "2026-11-21 10:42", "Dr. A. EXAMPLE")
SURE = "tower profile auto crops to the picture and hides no text inside it"
NOTHING = "no picture on a dark surround was found at first"


def tower(width: int = 640, height: int = 360, place: Box | None = None, light: int = 150) -> ImageArray:
    """A tower's screen: an eight-sided picture with a dark lumen on noisy black, lines of text beside it."""
    noise = np.random.default_rng(1).integers(0, 24, (height, width, 1), dtype=np.uint8)
    image = np.repeat(noise, 3, axis=2)
    x0, y0, x1, y1 = place or place_in(width, height)
    scale = height / 700
    for number, text in enumerate(TEXT):
        at = round(8 * scale), round((60 + 56 * number) * scale)
        cv2.putText(
            image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (240, 240, 240), max(1, round(2 * scale))
        )
    cut = (y1 - y0) // 6
    shape = [(x0 + cut, y0), (x1 - cut, y0), (x1, y0 + cut), (x1, y1 - cut), (x1 - cut, y1), (x0 + cut, y1)]
    shape += [(x0, y1 - cut), (x0, y0 + cut)]
    cv2.fillPoly(
        image, [np.array(shape, np.int32) - np.array([0, 0], np.int32)], (light, light // 2, light // 3)
    )
    cv2.circle(image, ((x0 + x1) // 2, (y0 + y1) // 2), (y1 - y0) // 5, (4, 2, 2), cv2.FILLED)
    return image


def place_in(width: int, height: int) -> Box:
    """Where `tower` puts the picture."""
    return width * 2 // 5, height // 20, width * 19 // 20, height * 19 // 20


def dark(width: int = 640, height: int = 360) -> ImageArray:
    """The same screen with the light off: only the text."""
    return tower(width, height, (0, 0, 0, 0), 0)


def around(box: Box | None, place: Box, slack: int = 16) -> bool:
    """True when the box holds the place and at most `slack` pixels more on each side."""
    assert box is not None
    outwards = place[0] - box[0], place[1] - box[1], box[2] - place[2], box[3] - place[3]
    return all(-1 <= more <= slack for more in outwards)


def looked(finder: PictureFinder, images: Iterable[ImageArray], start: float = 0.0) -> float:
    """Show the frames at 25 per second; the time after them."""
    for image in images:
        finder.look(image, start)
        start += 0.04
    return start


def clip(*scenes: tuple[ImageArray, int], start: float = 0.0) -> list[Picture]:
    """Pictures at 25 per second: each image so many times."""
    images = [image for image, count in scenes for _ in range(count)]
    return [(image, start + 0.04 * i) for i, image in enumerate(images)]


# The search


@pytest.mark.parametrize(
    "size", [(720, 576), (720, 480), (1280, 720), (1280, 1024), (1920, 1080), (3840, 2160)]
)
def test_the_picture_is_found_and_the_text_beside_it_is_not(size: tuple[int, int]) -> None:
    finder = PictureFinder(*size)
    looked(finder, [tower(*size)] * 26)
    assert finder.decided and around(finder.box, place_in(*size))


def test_nothing_is_decided_before_a_second() -> None:
    finder = PictureFinder(640, 360)
    looked(finder, [tower()] * 25)
    assert finder.box is None and not finder.decided


def test_a_dark_beginning_does_not_decide() -> None:
    """The scope goes in while the first second runs; at first only a corner of the picture is lit."""
    finder = PictureFinder(640, 360)
    corner = tower(place=(256, 18, 400, 200))
    looked(finder, [dark()] * 6 + [corner] * 8 + [tower()] * 12)
    assert around(finder.box, place_in(640, 360))


@pytest.mark.parametrize("flash", [white(640, 360), tower(place=(4, 4, 636, 340))])
def test_a_single_flash_decides_nothing(flash: ImageArray) -> None:
    finder = PictureFinder(640, 360)
    looked(finder, [*[tower()] * 10, *[flash] * 4, *[tower()] * 12])
    assert around(finder.box, place_in(640, 360))


def test_it_grows_after_a_second_of_evidence_and_never_shrinks() -> None:
    finder = PictureFinder(640, 360)
    small, large = (300, 60, 560, 300), place_in(640, 360)
    at = looked(finder, [tower(place=small)] * 26)
    assert around(finder.box, small)
    at = looked(finder, [tower()] * 20, at)
    assert around(finder.box, small)
    at = looked(finder, [tower()] * 30, at)
    assert around(finder.box, large)
    at = looked(finder, [tower(place=small)] * 60, at)
    at = looked(finder, [dark()] * 60, at)
    assert around(finder.box, large)


def test_light_on_one_side_does_not_give_up_the_other() -> None:
    finder = PictureFinder(640, 360)
    at = looked(finder, [tower(place=(300, 60, 560, 300))] * 26)
    looked(finder, [tower(place=(200, 60, 480, 300))] * 60, at)
    assert around(finder.box, (200, 60, 560, 300))


def test_a_trembling_edge_does_not_change_the_size() -> None:
    finder = PictureFinder(640, 360)
    at = looked(finder, [tower()] * 26)
    before = finder.box
    x0, y0, x1, y1 = place_in(640, 360)
    looked(finder, [tower(place=(x0 - 8, y0 - 4, x1 + 4, y1 + 4))] * 60, at)
    assert finder.box == before


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((360, 640, 3), np.uint8),
        dark(),
        white(640, 360),
        np.full((360, 640, 3), 90, np.uint8),
        tower(place=(400, 100, 500, 180)),  # a small window, not the picture
        np.tile(np.repeat(np.array([0, 255], np.uint8), 12)[None, :, None], (360, 27, 3))[:, :640],
    ],
    ids=["black", "text", "white", "grey", "thumbnail", "stripes"],
)
def test_nothing_is_guessed(image: ImageArray) -> None:
    finder = PictureFinder(640, 360)
    looked(finder, [image] * 60)
    assert finder.decided and finder.box is None


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080)])
def test_a_bright_bar_of_text_that_touches_the_picture_is_no_part_of_it(size: tuple[int, int]) -> None:
    width, height = size
    image = tower(*size)
    image[height // 2 : height // 2 + height // 20] = 230
    image[:, : width // 60] = 230
    finder = PictureFinder(*size)
    looked(finder, [image] * 26)
    assert around(finder.box, place_in(*size))


def test_a_capture_that_makes_black_grey_is_no_picture() -> None:
    """Limited range shown as full has black at 16; noise and a cheap card lift it further."""
    finder = PictureFinder(640, 360)
    looked(finder, [np.maximum(tower(), 29)] * 26)
    assert around(finder.box, place_in(640, 360))


def test_time_that_jumps_back_begins_the_second_anew() -> None:
    finder = PictureFinder(640, 360)
    looked(finder, [tower()] * 20, 100.0)
    looked(finder, [tower()] * 20, 0.0)
    assert not finder.decided
    looked(finder, [tower()] * 7, 0.8)
    assert around(finder.box, place_in(640, 360))


# The source


def box_of(frame: Frame, whole: ImageArray) -> Box:
    """Where in the whole screen the frame was cut out."""
    height, width = frame.image.shape[:2]
    hit = cv2.matchTemplate(whole, frame.image, cv2.TM_SQDIFF)
    x, y = cv2.minMaxLoc(hit)[2]
    return int(x), int(y), int(x) + width, int(y) + height


def test_a_recorded_source_is_cropped_from_its_first_frame_on() -> None:
    inner = Played(clip((tower(), 60)))
    with masked(inner, AUTO_PROFILE) as source:
        info = source.info
        frames = list(iter(source.read, None))
        assert len(source.warnings) == 1 and source.warnings[0].startswith(SURE)
    assert [f.index for f in frames] == list(range(60)) and {f.epoch for f in frames} == {0}
    assert [f.time for f in frames] == [0.04 * i for i in range(60)]
    assert {f.image.shape for f in frames} == {(info.height, info.width, 3)}
    assert around(box_of(frames[0], tower()), place_in(640, 360))
    assert not any(f.image.flags.writeable or not f.image.flags.c_contiguous for f in frames)


def test_a_seek_in_a_recorded_source_counts_on() -> None:
    with masked(Played(clip((tower(), 60))), AUTO_PROFILE) as source:
        source.read()
        source.seek(1.0)
        frame = source.read()
    assert frame is not None and (frame.index, frame.epoch, frame.time) == (1, 1, 1.0)


def test_a_recorded_source_is_searched_further_than_a_dark_second() -> None:
    with masked(Played(clip((dark(), 80), (tower(), 60))), AUTO_PROFILE) as source:
        frame = source.read()
        assert frame is not None and frame.index == 0 and len(source.warnings) == 1
    assert around((0, 0, *frame.image.shape[1::-1]), (0, 0, 352, 324), slack=32)


def test_where_nothing_is_found_the_whole_frame_is_kept_and_said(tmp_path: Path) -> None:
    with masked(Played(clip((dark(), 200))), AUTO_PROFILE) as source:
        frames = list(iter(source.read, None))
        assert source.info.width == 640
        said = source.warnings
    assert len(frames) == 200 and {f.image.shape for f in frames} == {(360, 640, 3)}
    assert said[1].startswith(NOTHING) and "patient text included" in said[1]
    assert all("\n" not in line for line in said)


def test_a_short_clip_is_delivered_whole_too() -> None:
    with masked(Played(clip((tower(), 5))), AUTO_PROFILE) as source:
        assert [f.index for f in iter(source.read, None)] == list(range(5))
        assert any(line.startswith(NOTHING) for line in source.warnings)


def test_a_file_goes_back_to_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "tower.mp4"
    with VideoWriter(path, width=640, height=360, fps=25, crf=20, preset="ultrafast", gop=10) as writer:
        for i in range(40):
            writer.write(tower(light=100 + 3 * i), i / 25)
    with open_source(str(path)) as plain, masked(open_source(str(path)), AUTO_PROFILE) as behind:
        wholes, frames = list(iter(plain.read, None)), list(iter(behind.read, None))
    assert [(f.index, f.pts, f.time, f.epoch) for f in frames] == [
        (f.index, f.pts, f.time, f.epoch) for f in wholes
    ]
    x0, y0, x1, y1 = box_of(frames[0], wholes[0].image)
    assert around((x0, y0, x1, y1), place_in(640, 360))
    for whole, frame in zip(wholes, frames, strict=True):
        assert np.array_equal(whole.image[y0:y1, x0:x1], frame.image)


def test_of_a_live_source_no_uncropped_frame_comes_out() -> None:
    inner = Played(clip((dark(), 10), (tower(), 60)), live=True)
    with masked(inner, AUTO_PROFILE) as source:
        assert (inner.position, source.info.width) == (0, 640)  # opening waits for nothing
        frames = list(iter(source.read, None))
        info = source.info
    # 26 frames of a second were looked at.
    assert [f.index for f in frames] == list(range(44)) and frames[0].time == pytest.approx(26 * 0.04)
    assert {f.image.shape for f in frames} == {(info.height, info.width, 3)}
    assert around(box_of(frames[0], tower()), place_in(640, 360))


def test_a_live_source_whose_picture_comes_late_is_cropped_when_it_is_found() -> None:
    with masked(Played(clip((dark(), 60), (tower(), 60)), live=True), AUTO_PROFILE) as source:
        frames = list(iter(source.read, None))
        assert source.warnings[1].startswith(NOTHING)
    assert frames[0].image.shape == (360, 640, 3)
    assert around(box_of(frames[-1], tower()), place_in(640, 360))
    assert len({f.image.shape for f in frames}) == 2


def test_a_clock_that_stands_still_holds_nothing_back_for_ever() -> None:
    class Standing(Played):
        def _next(self) -> Frame | None:
            image, _ = self.pictures[self.position % len(self.pictures)]
            self.position += 1
            return self._frame(image.copy(), 0.0, None, Fraction(1, 25), stamps=(0.04 * self.position, 1e9))

    with masked(Standing(clip((tower(), 1)), live=True), AUTO_PROFILE) as source:
        frame = source.read()
        assert frame is not None and frame.index == 0 and frame.image.shape == (360, 640, 3)
        assert source.warnings[1].startswith(NOTHING)


def test_cancel_ends_the_search() -> None:
    class Silent(Played):
        """Gives two frames and then waits, as a stalled stream does."""

        waiting = threading.Event()

        def _next(self) -> Frame | None:
            if self.position == 2:
                self.waiting.set()
                self._cancelled.wait(10)
                return None
            return super()._next()

    inner = Silent(clip((tower(), 9)), live=True)
    source = masked(inner, AUTO_PROFILE)
    got: list[Frame | None] = []
    reader = threading.Thread(target=lambda: got.append(source.read()))
    reader.start()
    assert inner.waiting.wait(10)
    source.cancel()
    reader.join(2)
    assert not reader.is_alive() and got == [None]
    source.close()


def test_a_new_size_is_cropped_with_its_first_frame() -> None:
    """576i, 720p, 1080p: no frame shows more than the picture, whatever the first one of a size shows."""
    scenes = clip(
        (tower(720, 576), 30), (tower(1280, 720), 30), (dark(1920, 1080), 5), (tower(1920, 1080), 40)
    )
    with masked(Played(scenes, live=True), AUTO_PROFILE) as source:
        frames = list(iter(source.read, None))
        assert len(source.warnings) == 1
        assert (source.info.width, source.info.height) != (720, 576)
    shapes = [f.image.shape[1::-1] for f in frames]
    by_size = {
        (w, h): (x1 - x0, y1 - y0)
        for w, h in ((720, 576), (1280, 720), (1920, 1080))
        for x0, y0, x1, y1 in [place_in(w, h)]
    }
    starts = [0, 30 - 26, 60 - 26]
    for start, (wide, high) in zip(starts, by_size.values(), strict=True):
        assert all(0 <= w - wide <= 48 and 0 <= h - high <= 48 for w, h in [shapes[start]]), shapes[start]
    assert [f.index for f in frames] == list(range(len(scenes) - 26))
    # The dark frame took the place of the picture in the size before; a second later it is measured.
    assert around(box_of(frames[-1], tower(1920, 1080)), place_in(1920, 1080))


def test_another_shape_whose_first_frame_is_dark_is_whole_and_said() -> None:
    scenes = clip((tower(1280, 720), 30), (dark(1280, 1024), 3))
    with masked(Played(scenes, live=True), AUTO_PROFILE) as source:
        frames = list(iter(source.read, None))
        assert frames[-1].image.shape == (1024, 1280, 3)
        assert source.warnings[1].startswith(NOTHING)


def test_a_folder_tells_the_size_of_its_first_picture() -> None:
    screens = [(dark(), 0.0), (tower(), 1.0)]
    with masked(Played(screens, independent=True), AUTO_PROFILE) as source:
        assert source.info.width == 640
        shapes = [f.image.shape for f in iter(source.read, None)]
    assert shapes[0] == (360, 640, 3) and shapes[1][1] < 640


def test_pictures_of_a_folder_are_each_cropped_to_their_own() -> None:
    screens = [tower(), tower(place=(100, 40, 400, 330)), tower(1280, 720), dark()]
    source = masked(Played([(s, float(i)) for i, s in enumerate(screens)], independent=True), AUTO_PROFILE)
    with source:
        assert source.info.width < 640
        frames = list(iter(source.read, None))
        assert source.warnings[1].startswith(NOTHING)
    assert [f.index for f in frames] == [0, 1, 2, 3] and {f.epoch for f in frames} == {0}
    assert around(box_of(frames[0], screens[0]), place_in(640, 360))
    assert around(box_of(frames[1], screens[1]), (100, 40, 400, 330))
    assert around(box_of(frames[2], screens[2]), place_in(1280, 720))
    assert frames[3].image.shape == (360, 640, 3)
