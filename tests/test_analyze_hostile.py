"""Bad input: one clear line and exit code 2, or a stated warning and a result; never a traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from small import tissue, write_pack, write_video

from endostream.cli import main


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny")


def _text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("This is no video.\n" * 100)
    return path


def _empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def _cut_without_index(folder: Path) -> Path:
    whole = write_video(folder / "whole.mp4", 60)
    data = whole.read_bytes()
    at = data.index(b"mdat")
    path = folder / "cut.mp4"
    path.write_bytes(data[: data.index(b"ftyp") + 28] + data[at - 4 : at + 400])
    return path


def _sound(folder: Path) -> Path:
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def _tiny_video(folder: Path) -> Path:
    return write_video(folder / "tiny.mp4", 5, picture=lambda k: np.full((2, 2, 3), 90, np.uint8))


def _tiny_picture(folder: Path) -> Path:
    path = folder / "one.png"
    cv2.imwrite(str(path), np.zeros((1, 1, 3), np.uint8))
    return path


BAD_SOURCES: dict[str, Callable[[Path], Path]] = {
    "missing": lambda folder: folder / "nowhere.mp4",
    "text": _text,
    "empty": _empty,
    "cut without index": _cut_without_index,
    "sound only": _sound,
    "2x2 video": _tiny_video,
    "1x1 picture": _tiny_picture,
    "empty folder": lambda folder: folder,
}


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 3 and "Traceback" not in error, error
    return error


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_source_that_cannot_be_analysed(
    name: str, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = BAD_SOURCES[name](folder)
    assert main(["analyze", str(source), "--out", str(tmp_path / "out"), "--pack", str(pack)]) == 2
    assert source.name in complaint(capsys)


def test_a_cut_file_with_its_index_is_analysed_as_far_as_it_goes(pack: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = write_video(
        tmp_path / "whole.mp4", 60, picture=lambda k: rng.integers(60, 200, (64, 96, 3), np.uint8)
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert main(["analyze", str(cut), "--out", str(tmp_path / "out"), "--pack", str(pack)]) == 0
    found = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert 10 < found["frames"]["analysed"] < 60 and found["warnings"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pack", "endodinov3"], "endodinov2"),
        (["--pack", "endodinov2"], "endostream packs import"),
        (["--device", "cuda"], "cuda"),
        (["--precision", "int8"], "int8"),
        (["--engine", "tensorrt"], "tensorrt"),
        (["--exam", "lowr"], "lowr"),
        (["--start", "900"], "start"),
        (["--protocol", "published"], "published"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--frobnicate"], "frobnicate"),
    ],
)
def test_wrong_use(
    arguments: list[str], says: str, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in arguments:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    clip = write_video(tmp_path / "clip.mp4", 10)
    given = [] if "--pack" in arguments else ["--pack", str(pack)]
    assert main(["analyze", str(clip), "--out", str(tmp_path / "out"), *given, *arguments]) == 2
    assert says.lower() in complaint(capsys).lower()


def test_an_unknown_key_in_the_config_names_the_nearest(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 5)
    config = tmp_path / "settings.toml"
    config.write_text("[finding]\nminimun_s = 1.0\n")
    out = str(tmp_path / "out")
    assert main(["analyze", str(clip), "--out", out, "--pack", str(pack), "--config", str(config)]) == 2
    assert "minimum_s" in complaint(capsys)
    config.write_text("[finding]\nminimum_s = 1.0\nopen = 0.9\n")
    assert main(["analyze", str(clip), "--out", out, "--pack", str(pack), "--config", str(config)]) == 0
    settings = json.loads((tmp_path / "out" / "findings.json").read_text())["settings"]
    assert settings["finding"]["minimum_s"] == 1.0 and settings["finding"]["open"] == 0.9


def test_a_wrong_checksum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, folder = write_video(tmp_path / "clip.mp4", 5), write_pack(tmp_path / "tiny")
    weights = folder / "segmenter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert main(["analyze", str(clip), "--out", str(tmp_path / "out"), "--pack", str(folder)]) == 2
    assert "segmenter.safetensors" in complaint(capsys)
    assert main(["packs", "verify", str(folder)]) == 2


def test_a_folder_that_cannot_be_written(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 5)
    (tmp_path / "file").write_text("in the way")
    assert main(["analyze", str(clip), "--out", str(tmp_path / "file"), "--pack", str(pack)]) == 2
    assert "file" in complaint(capsys)
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        assert (
            main(["analyze", str(clip), "--out", str(tmp_path / "locked" / "out"), "--pack", str(pack)]) == 2
        )


def test_tissue_is_judged_visible() -> None:
    from endostream.analysis.visibility import VisibilityRules, judge

    assert judge(tissue(0), VisibilityRules()) is None
