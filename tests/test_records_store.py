"""The session folder: written, read, killed, locked, refused, overwritten."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from endostream.errors import InputError, RunError
from endostream.records.library import list_sessions
from endostream.records.lock import is_being_written
from endostream.records.session import INTERRUPTED, Session
from endostream.records.store import SessionWriter, mask_measures, set_review
from endostream.types import (
    Analysis,
    BlindSpan,
    Finding,
    FindingEvent,
    Frame,
    FrameCounts,
    Peak,
    Prediction,
    RunInfo,
    SourceInfo,
    Status,
)

LABELS = ("background", "polyps")


def run_info(**changes: object) -> RunInfo:
    source = SourceInfo("clip.mp4", "file", False, True, False, 64, 48, 25.0, 2.0, 50, "h264")
    info = RunInfo(
        source=source,
        pack={"name": "polyp", "version": "1.0", "sha256": "ab"},
        labels=LABELS,
        settings={"exam": "lower", "smoothing_s": 0.561},
        engine={"engine": "torch", "device": "cpu", "precision": "fp32"},
        exam="lower",
        started=1.0,
    )
    return replace(info, **changes)  # type: ignore[arg-type]


def analysis(index: int, time: float | None = None, score: float = 0.75, **changes: object) -> Analysis:
    time = index / 25 if time is None else time
    image = np.zeros((48, 64, 3), np.uint8)
    frame = Frame(index, index, Fraction(1, 25), time, image, 0.0, 0.0)
    for key in ("epoch", "file"):
        if key in changes:
            frame = replace(frame, **{key: changes.pop(key)})  # type: ignore[arg-type]
    scores = np.array([1 - score, score], np.float32)
    made = Analysis(
        frame, (Prediction("net", LABELS, scores, scores),), None, None, None, None, False, True, None
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def finding(id_: int, start: float = 0.1, **changes: object) -> Finding:
    return replace(Finding(id_, "polyps", start, None, Peak(start + 0.1, 0.9, 3)), **changes)  # type: ignore[arg-type]


def done(count: int) -> Status:
    return Status(finish="completed", counts=FrameCounts(count, count), duration=count / 25)


def test_everything_written_is_read_again(tmp_path: Path) -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 30:34] = True
    with_mask = analysis(1, mask=mask, mask_source="network", mask_time=0.04, segmented=True)
    blind = analysis(2, visible=False, reason="dark", score=0.1)
    writer = SessionWriter.create(tmp_path / "s", run_info())
    for item in (analysis(0), with_mask, blind):
        writer.add_analysis(item)
    writer.add_blind(BlindSpan(0.08, 0.5, "dark"))
    writer.add_still(None, "stills/manual-1.png", 0.04, "manual")
    writer.event("seek", {"to": 3.0})
    writer.finish(done(3))
    session = Session.open(tmp_path / "s")
    rows = list(session.frames())
    assert session.info == run_info()
    assert session.status == replace(done(3), state="finished")
    assert (session.analysed, session.live, session.interrupted) == (3, False, False)
    assert [r.index for r in rows] == [0, 1, 2]
    assert (rows[1].mask_area, rows[1].mask_bbox) == (40 / (48 * 64), (30, 10, 34, 20))
    assert (rows[1].mask_source, rows[1].mask_time, rows[1].segmented) == ("network", 0.04, True)
    assert (rows[2].visible, rows[2].reason, rows[2].label) == (False, "dark", "background")
    assert (rows[0].label, rows[0].confidence) == ("polyps", 0.75)
    assert rows[0].predictions[0].scores.tolist() == [0.25, 0.75]
    assert session.blind == (BlindSpan(0.08, 0.5, "dark"),)
    assert [(s.path, s.kind) for s in session.stills] == [("stills/manual-1.png", "manual")]
    assert [e.kind for e in session.events()] == ["started", "seek", "finished"]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["session.db"]


def test_two_classifiers_and_none(tmp_path: Path) -> None:
    other = Prediction(
        "organ", ("a", "b", "c"), np.array([0, 1, 0], np.float32), np.array([1, 0, 0], np.float32)
    )
    first = analysis(0)
    writer = SessionWriter.create(tmp_path / "two", run_info())
    writer.add_analysis(replace(first, predictions=(*first.predictions, other)))
    writer.finish(done(1))
    (row,) = Session.open(tmp_path / "two").frames()
    assert [p.label for p in row.predictions] == ["polyps", "b"]
    assert row.predictions[1].raw.tolist() == [1, 0, 0]
    writer = SessionWriter.create(tmp_path / "none", run_info(labels=()))
    writer.add_analysis(replace(first, predictions=()))
    writer.finish(done(1))
    (row,) = Session.open(tmp_path / "none").frames()
    assert (row.label, row.confidence, row.predictions) == (None, None, ())


def test_a_replay_replaces_the_moment_and_same_times_of_one_pass_stay(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    for item in (analysis(0, 0.0), analysis(1, 0.04), analysis(2, 0.04), analysis(3, 0.08)):
        writer.add_analysis(item)
    for item in (analysis(4, 0.0, score=0.5, epoch=1), analysis(5, 0.04, epoch=1)):
        writer.add_analysis(item)
    writer.finish(done(4))
    assert [r.index for r in Session.open(tmp_path).frames()] == [4, 5, 2, 3]


def test_pictures_of_one_time_are_told_apart_by_file(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    for name in ("b.png", "a.png", "\udce9.png"):
        writer.add_analysis(analysis(0, 0.0, file=name))
    writer.finish(done(3))
    assert [r.file for r in Session.open(tmp_path).frames()] == ["?.png", "a.png", "b.png"]


def test_findings_follow_the_tracker(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    writer.add_finding(FindingEvent("opened", finding(1)))
    writer.add_finding(FindingEvent("opened", finding(2, 0.5)))
    writer.add_finding(FindingEvent("opened", finding(1, 0.7, label="cecum"), landmark=True))
    writer.add_still(1, "stills/1.png", 0.2, "finding")
    writer.set_review(1, "confirmed", "seen")
    writer.add_finding(FindingEvent("closed", finding(1, end=0.4)))
    writer.add_finding(FindingEvent("removed", finding(2, 0.5)))
    writer.finish(done(0))
    session = Session.open(tmp_path)
    kept = finding(1, end=0.4, still="stills/1.png", review="confirmed", note="seen")
    assert session.findings == (kept,)
    assert [(f.id, f.label, f.still) for f in session.landmarks] == [(1, "cecum", None)]


def test_a_finding_can_be_reviewed_after_the_run(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    writer.add_finding(FindingEvent("opened", finding(1)))
    with pytest.raises(InputError, match="being written"):
        set_review(tmp_path, 1, "rejected")
    writer.finish(done(0))
    set_review(tmp_path, 1, "rejected", "a fold")
    session = Session.open(tmp_path)
    assert [(f.review, f.note) for f in session.findings] == [("rejected", "a fold")]
    assert session.events()[-1].data["review"] == "rejected"
    assert [p.name for p in tmp_path.iterdir()] == ["session.db"]
    with pytest.raises(InputError, match="no finding 7"):
        set_review(tmp_path, 7, "rejected")


KILLED = """
import sys, time, os
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
from test_records_store import SessionWriter, analysis, run_info, finding, FindingEvent
writer = SessionWriter.create(Path(sys.argv[1]), run_info())
writer.add_finding(FindingEvent("opened", finding(1)))
index = 0
while True:
    writer.add_analysis(analysis(index))
    print(index, time.monotonic(), flush=True)
    index += 1
    time.sleep(0.002)
"""


def test_kill_9_loses_at_most_the_last_second(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), root=str(Path(__file__).parent.parent))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        times: dict[int, float] = {}
        while not times or max(times.values()) - min(times.values()) < 1.3:
            index, at = child.stdout.readline().split()
            times[int(index)] = float(at)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines()
    times |= {int(a): float(b) for a, b in (line.split() for line in rest if line.count(" ") == 1)}
    session = Session.open(tmp_path)
    rows = list(session.frames())
    assert [r.index for r in rows] == list(range(len(rows)))
    missing = [at for index, at in times.items() if index >= len(rows)]
    assert not missing or max(times.values()) - min(missing) < 1.0
    assert (session.interrupted, session.live) == (True, False)
    assert (session.status.finish, session.status.error) == ("failed", INTERRUPTED)
    assert session.status.counts == FrameCounts(len(rows), len(rows), {}, 0, 0)
    assert [f.id for f in session.findings] == [1]
    with pytest.raises(InputError, match="--overwrite"):
        SessionWriter.create(tmp_path, run_info())
    SessionWriter.create(tmp_path, run_info(), overwrite=True).finish(done(0))
    assert Session.open(tmp_path).analysed == 0


def test_a_killed_session_is_read_without_its_index_file(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path / "s", run_info())
    writer.add_analysis(analysis(0))
    writer.commit()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("session.db", "session.db-wal"):
        (copy / name).write_bytes((tmp_path / "s" / name).read_bytes())
    writer.finish(done(1))
    assert Session.open(copy).analysed == 1


def test_slow_frames_are_committed_before_the_next_would_come_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("endostream.records.store.time.monotonic", lambda: clock[0])
    writer = SessionWriter.create(tmp_path, run_info())
    for index in range(20):
        clock[0] += 0.3
        writer.add_analysis(analysis(index))
        assert Session.open(tmp_path).analysed == index + 1
    for index in range(20, 40):
        clock[0] += 0.1
        writer.add_analysis(analysis(index))
        assert index + 1 - Session.open(tmp_path).analysed <= 4
    writer.finish(done(40))


def test_a_session_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    writer.set_status(Status(state="running", fps=12.0))
    writer.commit()
    session = Session.open(tmp_path)
    assert (session.live, session.interrupted, session.status.finish, session.status.fps) == (
        True,
        False,
        None,
        12.0,
    )
    writer.finish(done(0))
    assert not is_being_written(tmp_path)


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    with pytest.raises(InputError, match=f"process {os.getpid()}.*choose another folder"):
        SessionWriter.create(tmp_path, run_info(), overwrite=True)
    writer.add_analysis(analysis(0))
    writer.finish(done(1))
    writer.finish(done(1))
    assert Session.open(tmp_path).analysed == 1
    with pytest.raises(RunError, match="finished"):
        writer.add_analysis(analysis(1))


def test_overwrite_removes_only_what_a_session_owns(tmp_path: Path) -> None:
    SessionWriter.create(tmp_path, run_info()).finish(done(0))
    mine = ("notes.txt", "stills/readme.txt", "masks/000001.png.bak", "other/000001.png", "clip.mp4")
    theirs = (
        "frames.jsonl",
        "report.html",
        "stills/1.png",
        "masks/000001.png",
        "heatmaps/000001.npy",
        "report.md",
    )
    for name in (*mine, *theirs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "000002.npy").write_text("x")
    for path in (tmp_path / "heatmaps").iterdir():
        path.unlink()
    (tmp_path / "heatmaps").rmdir()
    (tmp_path / "heatmaps").symlink_to(outside)
    with pytest.raises(InputError, match="already holds a session"):
        SessionWriter.create(tmp_path, run_info())
    assert (tmp_path / "report.html").exists()
    SessionWriter.create(tmp_path, run_info(), overwrite=True).finish(done(0))
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == sorted((*mine, "session.db"))
    assert (outside / "000002.npy").exists()


def _file(path: Path) -> Path:
    path.write_text("x")
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda base: _file(base / "a-file"),
        lambda base: _file(base / "a-file") / "below",
        lambda base: Path("/proc/no-such-folder"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(InputError, match="choose another") as caught:
        SessionWriter.create(make(tmp_path), run_info())
    assert "\n" not in str(caught.value)


DISK_FULL = """
import sys, resource, signal
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
from test_records_store import SessionWriter, analysis, run_info, done, RunError, Session
folder = Path(sys.argv[1])
writer = SessionWriter.create(folder, run_info())
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for index in range(100_000):
        writer.add_analysis(analysis(index))
        if index % 50 == 0:
            writer.commit()
except RunError as error:
    print(error)
try:
    writer.finish(done(1))
except RunError as error:
    print(error)
print(Session.open(folder).analysed)
"""


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(tmp_path: Path) -> None:
    code = DISK_FULL.format(tests=str(Path(__file__).parent), root=str(Path(__file__).parent.parent))
    made = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert made.stderr == ""
    first, *_, last = made.stdout.splitlines()
    assert "cannot write the session" in first and "free some space" in first
    assert int(last) >= 50


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda db: db.unlink(), "no session in"),
        (lambda db: db.write_bytes(b"not a database" * 100), "cannot be read"),
        (lambda db: db.write_bytes(b""), "not an EndoStream session"),
        (lambda db: db.write_bytes(db.read_bytes()[:5000]), "cannot be read"),
        (lambda db: _sql(db, "DELETE FROM meta WHERE key = 'info'"), "cannot be read"),
        (lambda db: _sql(db, "PRAGMA user_version = 99"), "update EndoStream"),
        (lambda db: _sql(db, "PRAGMA application_id = 1"), "not an EndoStream session"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    for index in range(200):
        writer.add_analysis(analysis(index))
    writer.finish(done(200))
    damage(tmp_path / "session.db")
    with pytest.raises(InputError, match=says) as caught:
        list(Session.open(tmp_path).frames())
    assert "\n" not in str(caught.value)


def _sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_the_library_lists_what_is_there(tmp_path: Path) -> None:
    assert list_sessions(tmp_path / "nothing") == ()
    for name, started in (("later", 20.0), ("earlier", 10.0)):
        writer = SessionWriter.create(tmp_path / name, run_info(started=started))
        writer.add_finding(FindingEvent("closed", finding(1, end=0.4)))
        writer.add_finding(FindingEvent("closed", finding(2, end=0.9, review="rejected")))
        writer.finish(done(3))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "session.db").write_bytes(b"?" * 500)
    (tmp_path / "other").mkdir()
    listed = list_sessions(tmp_path)
    assert [(s.name, s.state, s.findings) for s in listed] == [
        ("broken", "unreadable", 0),
        ("earlier", "completed", 1),
        ("later", "completed", 1),
    ]
    assert listed[0].error and "\n" not in listed[0].error
    assert listed[1].pack == "polyp 1.0"


def test_mask_measures() -> None:
    mask = np.zeros((4, 10), bool)
    assert mask_measures(None) == mask_measures(mask) == (0.0, None)
    mask[3, 9] = mask[1, 2] = True
    assert mask_measures(mask) == (0.05, (2, 1, 10, 4))
    assert mask_measures(mask[:, ::-1]) == (0.05, (0, 1, 8, 4))
