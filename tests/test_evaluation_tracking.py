"""`evaluate tracking`: what is compared, what is counted, and a run from a clip to its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import tissue, write_pack, write_video

from endostream.cli import main
from endostream.evaluation.tracking import Compared, Tracked, compare, spoken_table
from endostream.evaluation.video_truth import Truth, read_truth
from endostream.packs import Thresholds
from endostream.types import FloatArray, Frame, ImageArray, MaskArray

SIZE = (160, 120)
SCENE = 12
"""Frames of a scene, at 20 a second."""


def picture(index: int) -> ImageArray:
    """Two scenes of texture; each moves 2 pixels a frame to the right."""
    rng = np.random.default_rng(index // SCENE)
    wide = cv2.GaussianBlur(rng.standard_normal((SIZE[1], 400)).astype(np.float32), (0, 0), 3.0)
    at = 100 - 2 * (index % SCENE)
    grey = np.clip(128 + 50 * wide / wide.std(), 20, 255).astype(np.uint8)[:, at : at + SIZE[0]]
    return np.repeat(grey[..., None], 3, axis=2)


def mask(index: int) -> MaskArray:
    found = np.zeros((SIZE[1], SIZE[0]), bool)
    at = 50 + 2 * (index % SCENE)
    found[40:64, at : at + 24] = True
    return found


def seen(frames: int) -> Iterator[tuple[Frame, FloatArray]]:
    """A network that is always right."""
    for i in range(frames):
        logits = np.where(mask(i), np.float32(6.0), np.float32(-6.0))
        yield Frame(i, None, Fraction(1, 20), i / 20, picture(i), captured=0.0, wall=0.0), logits


def truth(folder: Path, frames: int) -> Truth:
    lines = ["frame,mask,sequence"]
    for i in range(frames):
        cv2.imwrite(str(folder / f"{i}.png"), mask(i).astype(np.uint8) * 255)
        lines.append(f"{i},{i}.png,{'ab'[i // SCENE]}")
    (folder / "truth.csv").write_text("\n".join(lines))
    return read_truth(folder / "truth.csv", "polyps", ("background", "polyps"))


def test_carried_masks_are_held_against_the_network_and_cuts_are_counted(tmp_path: Path) -> None:
    found = compare(seen(2 * SCENE), truth(tmp_path, 2 * SCENE), Thresholds(), 0.2, name="made.mp4")
    figures = found.figures()
    # 4 frames are younger than the age at the start of the clip; after the cut 4 have no mask of their scene.
    assert figures["frames"] == figures["carried"] == 2 * (SCENE - 4) and figures["dropped_share"] == 0.0
    assert (figures["after_cut_frames"], figures["after_cut_shown"]) == (4, 0)
    assert figures["network_dice"] == 1.0
    tracked, still = figures["tracked_dice"], figures["still_dice"]
    assert tracked is not None and still is not None and tracked > 0.93
    assert still == pytest.approx(16 / 24, abs=0.01), "8 of 24 pixels on, left where it was"
    assert found.cuts == found.noticed == (SCENE,)
    assert found.scenes == ["a", "b"] and found.figures("b")["frames"] == SCENE - 4


def test_dropped_masks_are_counted_and_left_out_of_every_compared_mean() -> None:
    rows = (
        Compared(3, "", False, 0.9, 0.5, 0.8),
        Compared(4, "", False, 0.7, 0.1, None),
        Compared(5, "", True, 0.9, 0.0, 0.3),
    )
    figures = Tracked("made.mp4", 0.3, rows, (5,), (4,)).figures()
    assert (figures["frames"], figures["carried"], figures["dropped_share"]) == (2, 1, 0.5)
    assert (figures["network_dice"], figures["tracked_dice"], figures["still_dice"]) == (0.9, 0.8, 0.5)
    assert figures["lost_dice"] == pytest.approx(0.1)
    assert (figures["network_dice_dropped"], figures["still_dice_dropped"]) == (0.7, 0.1)
    assert (figures["after_cut_frames"], figures["after_cut_shown"]) == (1, 1)


def test_nothing_carried_gives_no_dice() -> None:
    found = Tracked("made.mp4", 0.3, (Compared(3, "", False, 0.9, 0.5, None),), (), ())
    assert found.figures()["tracked_dice"] is None and found.figures()["lost_dice"] is None
    assert any(line.split() == ["tracked_dice", "-"] for line in spoken_table(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "clip.mp4", 14, picture=lambda index: tissue(2 * index))
    (folder / "clip_truth").mkdir()
    for index in range(14):
        target = np.zeros((64, 96), np.uint8)
        target[20:40, 30:60] = 255 * (index < 12)
        cv2.imwrite(str(folder / "clip_truth" / f"{index:06d}.png"), target)
    (folder / "none.csv").write_text("index,label\n0,polyps\n")
    write_pack(folder / "tiny")
    return folder


def test_from_clip_to_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["evaluate", "tracking", str(folder / "clip.mp4"), "--pack", str(folder / "tiny"), "--age", "0.2"]
    assert main([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clip"] == "clip.mp4" and told["age_s"] == 0.2
    # Frames 5 to 11 have a finding in the truth and a mask 0.2 s older at 25 frames a second.
    assert told["figures"]["frames"] == 7
    assert main([*given, "--every", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["frames", "2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["missing.mp4"], "no clip"),
        (["clip.mp4", "--age", "9"], "give --age over 0 and up to 1"),
        (["clip.mp4", "--truth", "none.csv"], "holds no masks"),
    ],
    ids=["clip", "age", "truth"],
)
def test_wrong_use_is_one_line(
    given: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    assert main(["evaluate", "tracking", *given, "--pack", str(folder / "tiny")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said
