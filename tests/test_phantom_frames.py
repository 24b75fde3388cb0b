"""The phantom's frames: the same for the same arguments, of the size asked for, with honest masks."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from endostream.capture.phantom import Phantom
from endostream.errors import InputError

SMALL = {"width": 160, "height": 96, "seconds": 10.0, "fps": 10.0}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(seed=7, **SMALL)


@pytest.fixture(scope="module")
def full() -> Phantom:
    return Phantom(seed=7, width=160, height=96, seconds=50.0, fps=5.0)


def test_same_bytes_in_any_order(phantom: Phantom) -> None:
    indices = [3, 20, 50, 85, 91]
    forth = {i: phantom.frame(i) for i in indices}
    other = Phantom(seed=7, **SMALL)
    back = {i: other.frame(i) for i in reversed(indices)}
    for i in indices:
        assert np.array_equal(forth[i].image, back[i].image), f"frame {i} depends on what was asked before"
        assert np.array_equal(forth[i].mask, back[i].mask)


def test_another_seed_is_another_colon(phantom: Phantom) -> None:
    other = Phantom(seed=8, **SMALL).frame(50).image.astype(int)
    assert np.abs(other - phantom.frame(50).image.astype(int)).mean() > 3.0


def test_frames_are_read_only_rgb(phantom: Phantom) -> None:
    frame = phantom.frame(50)
    assert frame.image.shape == (96, 160, 3) and frame.image.dtype == np.uint8
    assert frame.mask.shape == (96, 160) and frame.mask.dtype == np.bool_
    assert not frame.image.flags.writeable and not frame.mask.flags.writeable
    x0, y0, x1, y1 = phantom.image_box
    red, green, blue = frame.image[y0:y1, x0:x1].reshape(-1, 3).mean(axis=0)
    assert red > 1.15 * green and green > 0.9 * blue, "mucosa is pink in RGB order"
    assert frame.time == pytest.approx(5.0) and frame.inside and frame.quality == "clear"


def test_count_and_range(phantom: Phantom) -> None:
    assert phantom.frames == 100
    for index in (-1, 100):
        with pytest.raises(IndexError):
            phantom.frame(index)


def test_nothing_moves_outside_image_and_panel(phantom: Phantom) -> None:
    border = np.ones((96, 160), bool)
    for x0, y0, x1, y1 in (phantom.image_box, *phantom.panel_boxes):
        border[y0:y1, x0:x1] = False
    first = phantom.frame(2).image
    for index in (40, 60, 95):
        image = phantom.frame(index).image
        assert image[border].max() < 16, "the border is black"
        assert np.array_equal(image[border], first[border])
    for x0, y0, x1, y1 in phantom.panel_boxes:
        assert first[y0:y1, x0:x1].max() > 60, "every panel box holds text"


def test_the_clock_runs() -> None:
    phantom = Phantom(seed=7, width=640, height=360, seconds=10.0, fps=1.0)
    changed = []
    for box in phantom.panel_boxes:
        x0, y0, x1, y1 = box
        a, b = (phantom.frame(i).image[y0:y1, x0:x1] for i in (0, 9))
        changed.append(not np.array_equal(a, b))
    assert changed.count(True) == 1, "only the clock changes"


def test_boxes_lie_in_the_picture_and_apart() -> None:
    for width, height in ((64, 64), (1920, 1080), (1280, 720), (333, 777), (65, 91)):
        phantom = Phantom(width=width, height=height)
        boxes = [phantom.image_box, *phantom.panel_boxes]
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        for a, b in itertools.combinations(boxes, 2):
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, f"{a} meets {b} in {width}x{height}"


@pytest.mark.parametrize("size", [(64, 64), (65, 91), (97, 64)])
def test_odd_and_small_sizes(size: tuple[int, int]) -> None:
    phantom = Phantom(seed=2, width=size[0], height=size[1], seconds=2.0, fps=5.0)
    for index in range(0, phantom.frames, 3):
        frame = phantom.frame(index)
        assert frame.image.shape == (size[1], size[0], 3) and frame.mask.shape == (size[1], size[0])


@pytest.mark.parametrize(
    "wrong",
    [{"width": 32}, {"height": 9000}, {"seconds": 0.0}, {"fps": -1.0}, {"seed": -1}, {"seconds": np.nan}],
)
def test_wrong_arguments_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError) as caught:
        Phantom(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and "choose" in str(caught.value)


def test_a_long_phantom_tells_another_chapter(full: Phantom) -> None:
    long = Phantom(seed=7, width=64, height=64, seconds=100.0, fps=1.0)
    assert long.frame(0).quality == "outside" and long.frame(51).quality == "outside"
    a, b = (long.frame(i).image[:, 20:].astype(int) for i in (18, 68))
    assert np.abs(a - b).mean() > 3.0


def test_every_quality_looks_its_part(full: Phantom) -> None:
    by_quality: dict[str, list[int]] = {}
    for index in range(full.frames):
        by_quality.setdefault(full.quality(index), []).append(index)
    assert set(by_quality) == {"clear", "blur", "stool", "bubbles", "dark", "outside"}
    x0, y0, x1, y1 = full.image_box

    def look(quality: str) -> tuple[float, float, float]:
        some = by_quality[quality][2 :: max(1, len(by_quality[quality]) // 5)]
        pictures = [full.frame(i).image[y0:y1, x0:x1].astype(np.float32) for i in some]
        smooth = [cv2.GaussianBlur(p.mean(axis=2), (0, 0), 0.8) for p in pictures]
        curves = [np.abs(cv2.Laplacian(p, cv2.CV_32F)[12:-12, 12:-12]).mean() for p in smooth]
        edges = float(np.median(curves))
        whole = np.mean([p.mean(axis=(0, 1)) for p in pictures], axis=0)
        return edges, float(whole.mean()), float(whole[0] / whole[2])

    clear, blur, dark, outside = (look(quality) for quality in ("clear", "blur", "dark", "outside"))
    assert blur[0] < 0.6 * clear[0], "blur has softer edges"
    assert dark[1] < 0.75 * clear[1], "dark is darker"
    assert outside[2] < 1.1 < clear[2], "the room is not red"
