"""A recording in its session: whose files are whose, what is on the disk when, what every artefact says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from packets import START, TICKS, stamps
from PIL import Image
from test_recording_recorder import RULES, Camera, until

from endostream.capture.recording import milliseconds
from endostream.pipeline.keeping import SessionSink
from endostream.pipeline.recorder import Recorder
from endostream.records.files import free_part, part_name, remove_session
from endostream.records.session import Session
from endostream.records.sidecar import read_sidecar
from endostream.types import (
    Analysis,
    Finding,
    FindingEvent,
    Frame,
    Peak,
    Prediction,
    RunInfo,
    SignalChange,
    SourceInfo,
    Status,
)

INFO = RunInfo(
    SourceInfo("card", "device", True, False, False, 160, 96, 25.0, None, None),
    {"name": "tiny", "version": "1", "sha256": "0"},
    ("background", "polyps"),
    {},
    {"engine": "torch", "device": "cpu", "precision": "fp32"},
    phi_mask="tower-9",
)


def analysed(number: int) -> Analysis:
    frame = Frame(number, number, TICKS, number / 25, np.zeros((96, 160, 3), np.uint8), 0.0, 0.0)
    scores = np.array([0.25, 0.75], np.float32)
    said = Prediction("frame", ("background", "polyps"), scores, scores)
    return Analysis(frame, (said,), None, None, None, None, False, True, None)


def test_files_are_numbered_after_those_that_are_there(tmp_path: Path) -> None:
    assert [part_name(n) for n in (1, 2, 999, 1000)] == [
        "recording.mkv",
        "recording-002.mkv",
        "recording-999.mkv",
        "recording-1000.mkv",
    ]
    assert free_part(tmp_path) == 1
    for number in (1, 2, 7):
        (tmp_path / part_name(number)).touch()
    (tmp_path / "recording-old.mkv").touch()
    assert free_part(tmp_path) == 8


def test_removing_a_session_takes_its_recording_and_nothing_else(tmp_path: Path) -> None:
    own = ["recording.mkv", "recording-002.mkv", "recording-1234.mkv", "recording.jsonl", "session.db"]
    other = ["recording-old.mkv", "recording-02.mkv", "my recording-002.mkv", "recording-003.mp4"]
    for name in (*own, *other):
        (tmp_path / name).touch()
    (tmp_path / "recording-005.mkv").mkdir()
    remove_session(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*other, "recording-005.mkv"}
    remove_session(tmp_path / "nowhere")


def test_what_happened_is_on_the_disk_before_a_long_silence(tmp_path: Path) -> None:
    sink = SessionSink(tmp_path / "s")
    sink.opened(INFO)
    sink.analysed(analysed(0))
    sink.analysed(analysed(1))
    sink.signalled(SignalChange("lost", 0.04, 1e9, "no packet for 1 s"))
    now = Session.open(tmp_path / "s")  # read beside the writer: only what is committed
    assert now.analysed == 2
    (event,) = [e for e in now.events() if e.kind == "signal"]
    assert event.data == {"state": "lost", "time_s": 0.04, "wall": 1e9, "detail": "no packet for 1 s"}
    sink.closed(Status(state="finished", finish="completed"))


def test_every_artefact_names_the_mask(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    sink = SessionSink(folder)
    sink.opened(INFO)
    sink.analysed(analysed(0))
    sink.found(FindingEvent("opened", Finding(1, "polyps", 0.0, None, Peak(0.0, 0.75))))
    sink.still_taken(analysed(0).frame, None)
    sink.closed(Status(state="finished", finish="completed"))
    for name in ("findings.json", "timings.json"):
        table = json.loads((folder / name).read_text())
        assert (table["phi_mask"], table["research_use_only"]) == ("tower-9", True)
    for name in ("report.md", "report.html"):
        assert "tower-9" in (folder / name).read_text().replace("\\", "")
    assert Session.open(folder).info.phi_mask == "tower-9"
    stills = sorted((folder / "stills").iterdir())
    assert len(stills) == 4
    for path in stills:
        with Image.open(path) as still:
            said = still.getexif()[0x010E]
        assert said == "Research use only. Not for diagnosis. Patient text mask: tower-9."


def test_recording_into_a_session_leaves_its_lock_alone(tmp_path: Path) -> None:
    sink, recorder = SessionSink(tmp_path / "s"), Recorder(RULES)
    sink.opened(INFO)
    camera = Camera(recorder).connect()
    recorder.start(tmp_path / "s")
    camera.run(10)
    recorder.close()
    sink.closed(Status(state="finished", finish="completed"))
    assert not (tmp_path / "s" / "session.lock").exists()
    assert len(read_sidecar(tmp_path / "s" / "recording.jsonl").frames) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_a_killed_process_leaves_plays() -> None:
    """Twice, of the twenty times of `make soak`."""
    script = Path(__file__).parent / "rig" / "kill_recording.py"
    done = subprocess.run(
        [sys.executable, str(script), "--times", "2", "--longest", "1", "--seed", "5"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| none |") == 2 and "2 of 2 without" in done.stdout


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("no file system can be mounted here")
    recorder = Recorder(replace(RULES, keep_free_bytes=-(10**9)))
    try:
        camera = Camera(recorder, codec="mjpeg").connect()
        recorder.start(disk)
        camera.run(90)
        until(lambda: recorder.state.state == "failed")
        assert recorder.state.reason.startswith("disk full while writing recording.")
        camera.run(10)
        recorder.close()
        there = stamps(disk / "recording.mkv")
        assert len(there) > 10
        assert there == [milliseconds(START + n * 3600, TICKS) for n in range(len(there))]
        sidecar = read_sidecar(disk / "recording.jsonl")
        assert len(sidecar.frames) >= len(there) and not sidecar.damaged
    finally:
        recorder.close()
        subprocess.run(["umount", str(disk)], check=True)
