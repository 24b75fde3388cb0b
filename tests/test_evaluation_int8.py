"""What int8 costs: what is compared with what, and that the proof follows from it."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small import tissue, write_pack

from endostream.cli import main
from endostream.engines import int8, open_networks, proof
from endostream.errors import InputError
from endostream.evaluation.int8 import _compared, _Judged
from endostream.evaluation.masks import Counts
from endostream.packs import read_pack

SAMPLE = '[sample]\nphantom = { seeds = [3], frames = 2, size = "96x64" }\n'


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack that says `polyps` to everything, and an empty cache."""
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    folder = write_pack(tmp_path / "small-pack")
    with (folder / "pack.toml").open("a", encoding="utf-8") as file:
        file.write(SAMPLE)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five pictures with a polyp, one without."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    rows = []
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), tissue(number * 9)[..., ::-1])
        mask = np.zeros((64, 96), np.uint8)
        if number != 5:
            cv2.circle(mask, (14 + number, 20), 4 + 2 * number, 255, -1)
        cv2.imwrite(str(folder / f"mask{number}.png"), mask)
        label = "polyp" if mask.any() else "no_polyp"
        rows.append([f"{number}.png", f"mask{number}.png", "polyp_seg", label, "one", f"one:{number}"])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "mask", "task", "label", "source", "group"], *rows])
    return folder


def judged(top: int = 0, score: float = 0.8, tp: int | None = None) -> _Judged:
    """One picture; with `tp` of 10 true pixels found and nothing else."""
    counts = None if tp is None else Counts(tp, 0, 10 - tp, 90)
    return _Judged("one", top, (score, 1 - score), counts)


def test_masks_are_compared_by_mean_dice_and_classes_by_the_most_probable(pack: Path) -> None:
    spec = read_pack(pack)
    full = [judged(tp=10), judged(tp=5), judged(top=1), judged(top=1)]
    small = [judged(tp=5), judged(tp=5, score=0.6), judged(top=0), judged(top=1)]
    classifier, segmenter = (_compared(m, spec, full, small) for m in spec.models)
    assert classifier["top1_agreement"] == 0.75 and classifier["top1_change"] == 0.25
    assert classifier["pictures"] == 4 and classifier["classes_seen"] == 2
    assert classifier["score_moved_mean"] == pytest.approx(0.05)
    assert segmenter == {
        "dice_fp32": pytest.approx((1 + 2 / 3) / 2, abs=1e-6),
        "dice_int8": pytest.approx(2 / 3, abs=1e-6),
        "dice_loss": pytest.approx(1 / 6, abs=1e-6),
        "pictures": 2,
    }
    assert _compared(spec.models[1], spec, full[2:], small[2:]) == {}, "no masks, nothing measured"


@pytest.mark.parametrize(
    ("role", "figures", "good"),
    [
        (1, {"dice_loss": 0.01, "pictures": 100}, True),
        (1, {"dice_loss": -0.2, "pictures": 100}, True),
        (1, {"dice_loss": 0.0101, "pictures": 100}, False),
        (1, {"dice_loss": 0.0, "pictures": 99}, False),
        (0, {"top1_change": 0.01, "pictures": 100}, True),
        (0, {"top1_change": 0.0101, "pictures": 1000}, False),
        (0, {"dice_loss": 0.0, "pictures": 1000}, False),
    ],
)
def test_limits(role: int, figures: dict[str, Any], good: bool, pack: Path) -> None:
    assert proof.holds(read_pack(pack).models[role], figures) is good


def command(pack: Path, data: Path, out: Path) -> int:
    words = ["evaluate", "int8", "--pack", str(pack), "--data", str(data), "--out", str(out), "--json"]
    return main(words)


def test_the_command_measures_and_what_it_finds_decides(
    pack: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(proof, "LEAST_PICTURES", 6)
    assert command(pack, data, tmp_path / "out") == 0
    printed = capsys.readouterr()
    results = json.loads(printed.out)
    spec = read_pack(pack)
    assert results["facts"]["sample"] == str(spec.sample) and results["facts"]["nncf"] == int8.installed()
    assert results["figures"]["top1_agreement"] == 1.0, "this pack says polyps to everything"
    assert "frame: int8 holds" in printed.err
    assert "polyp-mask: 5 pictures with masks are too few to prove int8; name at least 6" in printed.err
    assert proof.granted(spec) == {"frame": int8.installed()}
    kept = tmp_path / "cache" / "openvino" / "tiny-frame-int8.toml"
    written = tomllib.loads(kept.read_text())["int8"]["frame"]
    assert written["pictures"] == 11, "six pictures and a crop of each of the five with a polyp"
    assert written["pack_sha256"] == spec.sha256 and written["weights"] == spec.models[0].sha256
    assert written["command"].startswith("endostream evaluate int8 --data labelled --pack small-pack")
    networks = open_networks(spec, precision="int8")
    assert networks.info["precision"].startswith("int8 (polyp-mask ")
    networks.close()
    assert command(pack, data, tmp_path / "out") == 2, "results are not replaced without --overwrite"


def test_measuring_needs_nncf(
    pack: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(int8, "installed", lambda: "")
    assert command(pack, data, tmp_path / "out") == 2
    assert 'measuring int8 needs NNCF: pip install "endostream[int8]"' in capsys.readouterr().err


def test_too_few_pictures_prove_nothing(
    pack: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(pack, data, tmp_path / "out") == 0
    assert "frame: 11 pictures are too few to prove int8; name at least 100" in capsys.readouterr().err
    with pytest.raises(InputError, match="nobody has measured"):
        proof.granted(read_pack(pack))
