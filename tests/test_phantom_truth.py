"""The phantom's truth: masks, intervals and the files that carry them agree with one another."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from endostream.capture.phantom import Interval, Phantom, write_truth
from endostream.errors import RunError


@pytest.fixture(scope="module")
def full() -> Phantom:
    return Phantom(seed=7, width=160, height=96, seconds=50.0, fps=5.0)


def labelled(phantom: Phantom, label: str) -> list[Interval]:
    return [interval for interval in phantom.intervals if interval.label == label]


def test_four_polyps_with_pauses_between(full: Phantom) -> None:
    polyps = labelled(full, "polyp")
    assert len(polyps) >= 4
    assert all(3.0 <= p.end - p.start <= 6.2 for p in polyps), polyps
    assert all(b.start - a.end >= 4.0 for a, b in itertools.pairwise(polyps)), polyps


def test_intervals_agree_with_masks(full: Phantom) -> None:
    inside = np.zeros(full.frames, bool)
    for p in labelled(full, "polyp"):
        inside[round(p.start * full.fps) : round(p.end * full.fps)] = True
    over = np.array([full.mask(i).mean() > 0.005 for i in range(full.frames)])
    assert np.flatnonzero(over != inside).size == 0


def test_polyps_become_large(full: Phantom) -> None:
    x0, y0, x1, y1 = full.image_box
    for p in labelled(full, "polyp"):
        frames = range(round(p.start * full.fps), round(p.end * full.fps))
        largest = max(full.mask(i)[y0:y1, x0:x1].mean() for i in frames)
        assert 0.05 <= largest <= 0.35, p


def test_frame_and_mask_are_one(full: Phantom) -> None:
    for index in (40, 95, 150, 200):
        assert np.array_equal(full.frame(index).mask, full.mask(index))
        assert full.frame(index).quality == full.quality(index)


def test_a_polyp_shows_in_the_picture(full: Phantom) -> None:
    """Inside the mask the picture differs from its surroundings: the mask is not beside the polyp."""
    contrasts = []
    for p in labelled(full, "polyp"):
        frame = full.frame(round((p.start + p.end) / 2 * full.fps))
        ring = cv2.dilate(frame.mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & ~frame.mask
        picture = frame.image.astype(float)
        contrasts.append(np.abs(picture[frame.mask].mean(axis=0) - picture[ring].mean(axis=0)).max())
    assert min(contrasts) > 4.0, contrasts


def test_outside_the_body_there_is_no_polyp(full: Phantom) -> None:
    outside = [i for i in range(full.frames) if full.quality(i) == "outside"]
    assert outside and outside[0] == 0
    for index in outside[::4]:
        frame = full.frame(index)
        assert not frame.inside and not frame.mask.any()


def test_qualities_fill_the_clip(full: Phantom) -> None:
    stretches = [interval for interval in full.intervals if interval.label != "polyp"]
    assert stretches[0].start == 0.0 and stretches[-1].end == pytest.approx(50.0)
    for a, b in itertools.pairwise(stretches):
        assert a.end == pytest.approx(b.start)
    for index in range(0, full.frames, 7):
        here = [s.label for s in stretches if s.start <= index / full.fps + 1e-9 < s.end]
        assert here == [full.quality(index)]


def test_truth_on_disk(tmp_path: Path) -> None:
    phantom = Phantom(seed=3, width=96, height=64, seconds=4.0, fps=5.0)
    write_truth(phantom, tmp_path / "truth")
    document = json.loads((tmp_path / "truth" / "truth.json").read_text())
    assert (document["seed"], document["fps"], document["frames"]) == (3, 5.0, 20)
    assert (document["width"], document["height"]) == (96, 64)
    assert document["synthetic"] is True
    assert [tuple(box) for box in document["panel_boxes"]] == list(phantom.panel_boxes)
    assert tuple(document["image_box"]) == phantom.image_box
    assert len(document["intervals"]) == len(phantom.intervals)
    assert document["quality"] == [phantom.frame(i).quality for i in range(20)]
    files = sorted((tmp_path / "truth" / "masks").iterdir())
    assert [f.name for f in files] == [f"{i:06d}.png" for i in range(20)]
    some = 0
    for index, file in enumerate(files):
        mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert mask is not None and set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask > 0, phantom.frame(index).mask)
        some += int(mask.any())
    assert some > 3


def test_truth_names_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="choose another folder"):
        write_truth(Phantom(seed=3, width=64, height=64, seconds=1.0, fps=2.0), tmp_path / "file")
