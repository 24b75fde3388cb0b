"""`analyze` from end to end with a tiny pack: its folder, twice the same, killed, interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from small import tissue, write_pack, write_video

from endostream.cli import main
from endostream.errors import InputError
from endostream.records.session import Session
from endostream.vocabulary import marking


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", 60)


def analyze(source: Path | str, out: Path, pack: Path, *more: str) -> int:
    return main(["analyze", str(source), "--out", str(out), "--pack", str(pack), *more])


def document(folder: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / "findings.json").read_text())  # type: ignore[no-any-return]


def rows(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def test_everything_that_was_asked_for_is_there(clip: Path, pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ["--save-masks", "--save-heatmaps", "--annotated"]
    assert analyze(clip, out, pack, *more) == 0
    found = document(out)
    assert found["finish"] == "completed" and found["research_use_only"] is True and found["warnings"] == []
    assert found["frames"] == {"captured": 60, "analysed": 60, "dropped": 0, "skipped": 0, "pending": 0}
    (finding,) = found["findings"]
    assert finding["label"] == "polyps" and (out / finding["still"]).is_file()
    assert [(s.finding, s.path) for s in Session.open(out).stills] == [(1, finding["still"])]
    lines = rows(out)
    assert [r["index"] for r in lines] == list(range(60))
    assert lines[10]["time_s"] == pytest.approx(0.4) and lines[10]["mask_source"] == "network"
    masks = sorted(p.name for p in (out / "masks").iterdir())
    assert masks == [f"{r['index']:06d}.png" for r in lines if r["segmented"]] and len(masks) == 60
    mask = cv2.imread(str(out / "masks" / "000010.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None and mask.shape == (64, 96) and set(np.unique(mask)) <= {0, 255}
    assert np.count_nonzero(mask) / mask.size == pytest.approx(lines[10]["mask_area"], abs=1e-6)
    heat = np.load(out / "heatmaps" / "000010.npy")
    assert heat.dtype == np.float16 and heat.ndim == 2 and 0 <= heat.min() <= heat.max() <= 1
    with av.open(str(out / "annotated.mp4")) as video:
        assert video.metadata["comment"] == marking("none")
        assert sum(1 for _ in video.decode(video=0)) == 60
    for name in ("session.db", "report.md", "report.html", "timings.json"):
        assert (out / name).stat().st_size > 0
    for name in ("findings.json", "frames.jsonl"):
        assert str(tmp_path) not in (out / name).read_text()


def test_two_runs_give_the_same_bytes(clip: Path, pack: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert analyze(clip, tmp_path / name, pack) == 0
    for name in ("findings.json", "frames.jsonl", "report.md", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_thresholds_can_be_moved_later_without_the_networks(clip: Path, pack: Path, tmp_path: Path) -> None:
    from endostream.analysis.findings import Bounds, FindingRules, Sample, findings_of

    out = tmp_path / "out"
    assert analyze(clip, out, pack) == 0
    session = Session.open(out)
    samples = [Sample(r.time, r.predictions[0].scores, r.index) for r in session.frames()]
    again = findings_of(samples, FindingRules(session.info.labels, background=("background",)))
    assert [e.finding.start for e in again] == [f.start for f in session.findings]
    high = FindingRules(session.info.labels, Bounds(open=0.99), background=("background",))
    assert findings_of(samples, high) == []


def test_a_part_and_a_rate(clip: Path, pack: Path, tmp_path: Path) -> None:
    assert analyze(clip, tmp_path / "o", pack, "--start", "0.8", "--duration", "1.0", "--every", "0.2") == 0
    assert [r["time_s"] for r in rows(tmp_path / "o")] == pytest.approx([0.8, 1.0, 1.2, 1.4, 1.6])
    counts = document(tmp_path / "o")["frames"]
    assert counts["captured"] == counts["analysed"] + counts["skipped"] == 25


def test_a_folder_of_pictures_is_independent_pictures(pack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, (width, height) in enumerate([(96, 64), (64, 96), (120, 120)]):
        cv2.imwrite(str(folder / f"p{k}.png"), np.ascontiguousarray(tissue(k, (width, height))[..., ::-1]))
    (folder / "p1.png").write_bytes(b"no picture")
    assert analyze(folder, tmp_path / "o", pack, "--save-masks") == 0
    lines = rows(tmp_path / "o")
    assert [r["file"] for r in lines] == ["p0.png", "p2.png"] and all(r["segmented"] for r in lines)
    found = document(tmp_path / "o")
    assert found["findings"] == [] and len(found["warnings"]) == 1 and "p1.png" in found["warnings"][0]


def test_a_session_is_not_overwritten_unless_asked(clip: Path, pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert analyze(clip, out, pack, "--duration", "0.2") == 0
    (out / "mine.txt").write_text("keep")
    before = (out / "frames.jsonl").read_bytes()
    assert analyze(clip, out, pack) == 2
    assert (out / "frames.jsonl").read_bytes() == before
    assert analyze(clip, out, pack, "--overwrite") == 0
    assert len(rows(out)) == 60 and (out / "mine.txt").read_text() == "keep"


def test_no_socket_is_opened_at_all(
    clip: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("analyze opened a socket")

    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert analyze(clip, tmp_path / "o", pack, "--annotated") == 0


def start(source: Path | str, out: Path, pack: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "endostream",
        "analyze",
        str(source),
        "--out",
        str(out),
        "--pack",
        str(pack),
    ]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )


def wait_for_rows(folder: Path, count: int, process: subprocess.Popen[str]) -> int:
    """Poll the session as another program would; the frames written so far."""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(InputError):  # not there yet, or not yet a session
            seen = sum(1 for _ in Session.open(folder).frames())
            if seen >= count:
                return seen
    raise AssertionError(f"never wrote {count} frames: {process.communicate(timeout=5)}")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(
        tmp_path_factory.mktemp("clips") / "long.mp4", 6000, picture=lambda k: tissue(k % 50, (64, 48))
    )


def test_kill_leaves_a_session_that_opens(long_clip: Path, pack: Path, tmp_path: Path) -> None:
    process = start(long_clip, tmp_path / "o", pack)
    seen = wait_for_rows(tmp_path / "o", 100, process)
    process.kill()
    process.communicate()
    session = Session.open(tmp_path / "o")
    assert sum(1 for _ in session.frames()) >= seen
    assert session.status.finish == "failed"
    assert main(["sessions", "show", str(tmp_path / "o")]) == 0
    assert main(["report", str(tmp_path / "o"), "--llm", "off"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_finishes_cleanly(
    number: signal.Signals, long_clip: Path, pack: Path, tmp_path: Path
) -> None:
    process = start(long_clip, tmp_path / "o", pack)
    wait_for_rows(tmp_path / "o", 50, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    found = document(tmp_path / "o")
    assert found["finish"] == "stopped" and found["frames"]["pending"] == 0
    assert 50 <= found["frames"]["analysed"] == found["frames"]["captured"] < 6000
    assert "results:" in out
