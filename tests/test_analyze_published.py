"""`--protocol published` repeats the predecessor: held against an independent reference, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from reference_published import load_networks, reference_video, sampled, write_checkpoints
from small import tissue, write_video

from endostream.cli import main
from endostream.models import build

pytestmark = pytest.mark.timeout(300)  # two networks of full size, twice, in plain fp32


class Made(NamedTuple):
    clip: Path
    files: tuple[Path, Path]


@pytest.fixture(scope="module", autouse=True)
def own_packs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The pack imported here must not be seen by other tests, which rely on the bare recipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDOSTREAM_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, own_packs: None) -> Made:
    """A clip whose pictures open and close the gate, and the networks that do so, imported."""
    folder = tmp_path_factory.mktemp("published")

    def picture(index: int) -> np.ndarray:  # type: ignore[type-arg]
        image = tissue(7 * index, (160, 120))
        cv2.circle(image, (30 + 3 * index, 60), 8 + index, (230, 140 - 3 * index, 90), -1)
        return image

    clip = write_video(folder / "clip.mp4", 18, 15.0, picture)
    files = write_checkpoints(folder, 0, list(sampled(clip)))
    assert main(["packs", "import", *map(str, files), "--pack", "endodinov2"]) == 0
    return Made(clip, files)


@pytest.fixture(scope="module")
def out(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our run over the clip."""
    folder = tmp_path_factory.mktemp("ours")
    more = ["--protocol", "published", "--engine", "torch", "--precision", "fp32"]
    more += ["--save-masks", "--save-heatmaps", "--pack", "endodinov2"]
    assert main(["analyze", str(made.clip), "--out", str(folder / "out"), *more]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def expected(made: Made) -> list[dict[str, Any]]:
    """The reference's answers."""
    return reference_video(made.clip, made.files)


def test_the_reference_is_not_ours(made: Made) -> None:
    classifier, segmenter = load_networks(*made.files)
    assert type(classifier).__module__ == type(segmenter).__module__ == "reference_published"
    assert type(classifier).__module__ != type(build("dinov2-vits14-linear", {})).__module__


def test_own_sampling_is_refused(made: Made, tmp_path: Path) -> None:
    for more in (["--every", "1"], ["--start", "1"], ["--duration", "1"]):
        arguments = ["analyze", str(made.clip), "--out", str(tmp_path / "o"), "--pack", "endodinov2"]
        assert main([*arguments, "--protocol", "published", *more]) == 2


def test_every_third_frame_is_analysed(out: Path) -> None:
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [r["index"] for r in lines] == list(range(0, 18, 3))


def test_labels_confidences_maps_and_masks_are_the_predecessors(
    out: Path, expected: list[dict[str, Any]]
) -> None:
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert len(expected) == len(lines) == 6 and [r["index"] for r in lines] == list(range(0, 18, 3))
    assert {e["segmentation_available"] for e in expected} == {True, False}
    for want, row in zip(expected, lines, strict=True):
        assert (row["label"], row["raw_label"]) == (want["label"], want["raw_label"])
        assert row["confidence"] == pytest.approx(want["confidence"], abs=1e-4)
        assert row["raw_confidence"] == pytest.approx(want["raw_confidence"], abs=1e-4)
        heat = np.load(out / "heatmaps" / f"{row['index']:06d}.npy").astype(np.float32)
        assert np.abs(heat - want["cam"]).max() <= 1e-3
        assert row["segmented"] == want["segmentation_available"]
        if row["segmented"]:
            mask = cv2.imread(str(out / "masks" / f"{row['index']:06d}.png"), cv2.IMREAD_GRAYSCALE)
            assert mask is not None and np.mean((mask > 0) == want["mask"]) >= 0.999


def test_the_predecessors_json(out: Path, expected: list[dict[str, Any]]) -> None:
    found = json.loads((out / "published.json").read_text())
    keys = ["frame_idx", "predicted_class", "confidence", "polyp_detected", "segmentation_available"]
    assert [list(row) for row in found] == [keys] * 6 and [r["frame_idx"] for r in found] == list(range(6))
    for want, row in zip(expected, found, strict=True):
        assert row["predicted_class"] == want["label"] and row["polyp_detected"] == (
            want["label"] == "polyps"
        )
        assert row["segmentation_available"] == want["segmentation_available"]
