"""Packs over labelled folders: the same masks as the app's, the gate, held-out groups, the two commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small import tissue, write_pack

from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.analysis.networks import Answer
from endostream.batch import analyse
from endostream.cli import main
from endostream.config import Settings
from endostream.errors import InputError
from endostream.evaluation.masks import count_pixels
from endostream.evaluation.pack_runner import gate_opens
from endostream.evaluation.segmentation import evaluate_segmentation, polyp_classes
from endostream.evaluation.selection import open_items
from endostream.packs import read_pack
from endostream.pipeline.build import Keeping
from endostream.types import Frame

HELD = """
[thresholds]
mask = 0.459
mask_peak = 0.4595
[data]
held_out_groups = ["one:seq1"]
held_out_share = 0.5
held_out_share_of = ["two"]
[training.segmenter]
seed = 4
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pack(tmp_path_factory.mktemp("packs") / "small-pack")
    file = folder / "pack.toml"
    file.write_text(file.read_text() + HELD)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of four groups, one picture without a polyp, one of another organ."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for number in range(8):
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), tissue(number * 9)[..., ::-1])
        mask = np.zeros((64, 96), np.uint8)
        if number != 6:
            cv2.circle(mask, (14 + number, 20), 4 + 2 * number, 255, -1)
        cv2.imwrite(str(folder / f"mask{number}.png"), mask)
        source = "one" if number < 4 else "two"
        other = number == 7
        row = [name, "" if other else f"mask{name}", "other_organ" if other else "polyp_seg"]
        label = "larynx" if other else "polyp" if mask.any() else "no_polyp"
        rows.append([*row, label, source, f"{source}:seq{number // 2}"])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "mask", "task", "label", "source", "group"], *rows])
    return folder


def measured(data: Path, pack: Path, **how: Any) -> Any:
    return evaluate_segmentation(data, pack=str(pack), engine="torch", device="cpu", precision="fp32", **how)


def test_the_masks_are_those_that_the_app_writes(data: Path, pack: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for file in data.glob("[0-9].png"):
        (pictures / file.name).write_bytes(file.read_bytes())
    settings = Settings(pack=str(pack), engine="torch", device="cpu", precision="fp32")
    analyse(str(pictures), settings, keeping=Keeping(tmp_path / "run", masks=True))
    results = measured(data, pack, crops=False)
    table = next(t for t in results.tables if t.name == "pictures")
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert len(rows) == 8
    frames = [json.loads(line) for line in (tmp_path / "run" / "frames.jsonl").read_text().splitlines()]
    areas = []
    for frame in frames:
        row = rows[frame["file"]]
        by_app = cv2.imread(str(tmp_path / "run" / "masks" / f"{frame['index']:06d}.png"), 0) > 0
        truth_file = data / f"mask{frame['file']}"
        truth = cv2.imread(str(truth_file), 0) > 0 if row["kind"] != "other" else np.zeros_like(by_app)
        counts = count_pixels(truth, by_app)
        areas.append(by_app.mean())
        assert row["Dice"] == counts.dice
        assert row["mask area"] == pytest.approx(by_app.mean())
        said = frame["confidence"] if frame["label"] == "polyps" else 1 - frame["confidence"]
        assert row["score"] == pytest.approx(said, abs=1e-3)
    assert 0 < sum(areas) < len(areas), "masks that are neither all empty nor all full"
    dice = [rows[n]["Dice"] for n in rows if rows[n]["kind"] == "polyp"]
    assert results.figures["dice"] == pytest.approx(np.mean(dice))


class FakeLane:
    """Gives logits by the brightness of the picture."""

    name, labels = "frame", ("background", "polyps")

    def __init__(self, role: str) -> None:
        self.role, self.todo = role, list[tuple[int, float]]()

    @property
    def pending(self) -> int:
        return len(self.todo)

    def submit(self, key: int, image: Any) -> None:
        self.todo.append((key, float(image.mean())))

    def take(self) -> Answer:
        key, mean = self.todo.pop(0)
        if self.role == "segmenter":
            return Answer(key, np.ones((4, 4), np.float32), None, {})
        return Answer(key, np.array([0.0, (mean - 110) / 10], np.float32), None, {})


class FakeNetworks:
    info, depth = {"engine": "none"}, 1

    def __init__(self) -> None:
        self.classifiers, self.segmenter = (FakeLane("classifier"),), FakeLane("segmenter")


def frame(index: int, image: Any) -> Frame:
    from fractions import Fraction

    return Frame(index, None, Fraction(1), float(index), image, 0.0, 0.0)


def test_the_gate_opens_where_a_video_would_be_segmented() -> None:
    pictures = [np.clip(tissue(i).astype(float) * light, 0, 255).astype(np.uint8)
                for i, light in enumerate((0.02, 0.1, 0.7, 0.9, 1.0, 1.1, 1.3))]  # fmt: skip
    answers = []
    for gate in ({"polyps": 0.5}, {"polyps": 0.9}, None):
        alone = Analyzer(FakeNetworks(), AnalyzerRules(gate=gate, independent=True))  # type: ignore[arg-type]
        video = Analyzer(FakeNetworks(), AnalyzerRules(gate=gate, smoothing_s=0.0))  # type: ignore[arg-type]
        for number, picture in enumerate(pictures):
            single = alone.analyse(frame(number, picture))
            assert single.segmented, "a picture of a folder is always segmented"
            answers.append(gate_opens(gate, single))
            assert answers[-1] == video.analyse(frame(number, picture)).segmented
    assert set(answers) == {True, False}


def test_crops_miss_every_polyp_and_repeat_by_seed(data: Path, pack: Path) -> None:
    first, second = (measured(data, pack) for _ in range(2))
    assert first == second
    table = next(t for t in first.tables if t.name == "pictures")
    crops = [row for row in table.rows if row[1] == "crop"]
    assert len(crops) >= 4
    assert {row[6] for row in crops} == {0.0}
    kinds = first.facts["kinds"]
    assert (kinds["polyp"], kinds["empty"], kinds["other"]) == (6, 1, 1)
    assert kinds["crop"] == len(crops)
    assert first.figures["auroc_free_crops"] is not None
    assert {plot.name for plot in first.plots} == {"dice", "reliability"}
    assert any("was trained on" in said for said in first.warnings)
    without = measured(data, pack, crops=False, gate="open", held_out=True)
    assert without.warnings == ()
    assert without.facts["pictures"] == 4
    assert "false_mask_free_crops" not in without.figures
    assert not [name for name in without.figures if name.startswith("gated_")]


def test_held_out_groups_are_those_of_the_pack(data: Path, pack: Path) -> None:
    items = open_items(data, "auto", read_pack(pack), held_out=True)[1]
    # sha256 of "4/two:seq2" is at 0.32 of its range, that of "4/two:seq3" at 0.98.
    assert {item.group for item in items} == {"one:seq1", "two:seq2"}
    assert len(items) == 4


def test_held_out_is_refused_where_the_pack_says_nothing(data: Path, tmp_path: Path) -> None:
    silent = write_pack(tmp_path / "silent")
    with pytest.raises(InputError, match="does not say what its training held out"):
        open_items(data, "auto", read_pack(silent), held_out=True)


def test_filters_and_limit(data: Path, pack: Path) -> None:
    spec = read_pack(pack)
    assert {i.source for i in open_items(data, "auto", spec, sources=["two"])[1]} == {"two"}
    assert len(open_items(data, "auto", spec, groups=["one:seq1"])[1]) == 2
    assert [i.image for i in open_items(data, "auto", spec, limit=2)[1]] == ["0.png", "7.png"]
    with pytest.raises(InputError, match="no picture of source 'three': the data has one, two"):
        open_items(data, "auto", spec, sources=["three"])


def test_which_classes_mean_a_polyp(pack: Path) -> None:
    assert polyp_classes(read_pack(pack)) == (1,)


def run(*words: str) -> int:
    return main(["evaluate", *words, "--engine", "torch", "--precision", "fp32", "--device", "cpu"])


def test_the_segmentation_command(
    data: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("segmentation", "--data", str(data), "--pack", str(pack), "--out", str(out), "--no-crops")
    assert run(*words, "--source", "one", "--failures", "2") == 0
    said = capsys.readouterr().out
    assert "dice_one" in said and str(out / "index.html") in said
    document = json.loads((out / "results.json").read_text())
    assert document["kind"] == "segmentation"
    words_said = document["command"].split()
    assert words_said[:3] == ["endostream", "evaluate", "segmentation"]
    wanted = f"--data {data.name} --source one --no-crops --failures 2 --pack small-pack --device cpu "
    assert sorted(words_said[3:]) == sorted((wanted + "--engine torch --precision fp32").split())
    assert str(data.parent) not in (out / "results.json").read_text()
    assert cv2.imread(str(out / "failures.png")) is not None
    assert run(*words) == 2
    assert "already holds results" in capsys.readouterr().err
    assert run(*words, "--overwrite", "--json", "--limit", "3") == 0
    assert json.loads(capsys.readouterr().out)["facts"]["limit"] == 3


def test_the_classification_command(
    data: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("classification", "--data", str(data), "--pack", str(pack), "--out", str(tmp_path / "out"))
    assert run(*words) == 2
    assert "does not know larynx" in capsys.readouterr().err
    assert run(*words, "--map", "larynx") == 2
    assert run(*words, "--leave-out", "colon") == 2
    assert run(*words, "--map", "larynx=background", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    # The classifier of this pack says `polyps` whatever it sees.
    assert document["figures"]["accuracy"] == pytest.approx(6 / 8)
    assert document["figures"]["balanced_accuracy"] == pytest.approx(0.5)
    assert document["facts"]["labels"] == {
        "larynx": "background",
        "no_polyp": "background",
        "polyp": "polyps",
    }
    tables = {table["name"]: table for table in document["tables"]}
    assert tables["confusion"]["rows"] == [["background", 0, 2], ["polyps", 0, 6]]
    assert {plot["name"] for plot in document["plots"]} == {"confusion", "reliability"}
    assert run(*words, "--leave-out", "larynx", "--overwrite") == 0
    assert "balanced_accuracy" in capsys.readouterr().out


def test_pictures_without_masks_are_refused(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "polyps").mkdir()
    cv2.imwrite(str(tmp_path / "polyps" / "a.png"), tissue(0))
    with pytest.raises(InputError, match=r"1 pictures have no mask, the first is polyps/a\.png"):
        measured(tmp_path, pack)
