"""Live equals replay: real pipelines over a fake live source, recorded by stream copy and analysed again."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from pathlib import Path

import pytest
from live_sessions import (
    FPS,
    USUAL,
    FakeLive,
    Stretch,
    frame_lines,
    live_run,
    live_session,
    write_clip,
    write_parts,
    write_seeing_pack,
    write_sidecar,
)

from endostream.capture.recorded import RecordedFrame, RecordedPart, RecordedSource
from endostream.config import Settings
from endostream.records.session import Session
from endostream.records.sidecar import read_sidecar
from endostream.replay import replay
from endostream.types import Finding, Frame


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", 300)


@pytest.fixture(scope="module")
def made(clip: Path, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeLive]:
    folder = tmp_path_factory.mktemp("live") / "session"
    return folder, live_session(clip, folder, pack)


@pytest.fixture
def session(made: tuple[Path, FakeLive], tmp_path: Path) -> Path:
    """A copy of the session: sessions are folders that can be copied."""
    shutil.copytree(made[0], tmp_path / "session")
    return tmp_path / "session"


def told(findings: tuple[Finding, ...]) -> list[tuple[object, ...]]:
    return [(f.label, f.start, f.end, f.peak) for f in findings]


def rows(session: Session) -> list[tuple[object, ...]]:
    return [
        (r.index, r.pts, r.time, r.epoch, r.visible, r.reason, *r.predictions[0].scores.tolist())
        for r in session.frames()
    ]


def test_a_recording_by_stream_copy_gives_the_same_session(session: Path, pack: Path) -> None:
    outcome = replay(session, pack=str(pack))
    live, again = Session.open(session), Session.open(outcome.folder)
    assert outcome.folder == session / "replay"
    assert live.status.counts.dropped["busy"] > 20 and live.analysed > 60, "the test needs drops"
    assert len(live.findings) >= 4 and len({f.end for f in live.findings}) == len(live.findings)
    assert told(again.findings) == told(live.findings)
    assert rows(again) == rows(live) and {r[3] for r in rows(live)} == {0, 1, 2}
    assert outcome.comparison.verdict == "identical" and outcome.comparison.stored
    assert (outcome.comparison.apart, outcome.comparison.largest) == (0, 0.0)
    assert again.status.counts.captured == again.analysed and not again.info.source.live
    assert again.info.phi_mask == "none" and again.info.settings["replay"] == {"every_frame": False}
    assert again.info.settings["finding"] == live.info.settings["finding"]
    assert outcome.document["warnings"] == []


def test_thresholds_of_single_labels_are_those_of_the_session(clip: Path, pack: Path, tmp_path: Path) -> None:
    text = (pack / "pack.toml").read_text()
    of_site = tmp_path / "pack"
    shutil.copytree(pack, of_site)
    (of_site / "pack.toml").write_text(text + "[thresholds.labels.polyps]\nmerge_s = 0.2\nopen = 0.7\n")
    settings = Settings(engine="torch", device="cpu")
    source, _ = live_run(clip, tmp_path / "s", of_site, settings=settings)
    write_sidecar(tmp_path / "s", write_parts(clip, USUAL, tmp_path / "s"), frame_lines(source))
    # Since then the label has lost its own thresholds; the weights are the same.
    outcome = replay(tmp_path / "s", pack=str(pack))
    assert outcome.comparison.verdict == "identical" and len(outcome.comparison.findings.pairs) >= 4


def test_every_frame_analyses_what_was_dropped_too(
    made: tuple[Path, FakeLive], session: Path, pack: Path
) -> None:
    outcome = replay(session, pack=str(pack), every_frame=True)
    again = list(Session.open(outcome.folder).frames())
    pictures = sum(s.last - s.first for s in USUAL)
    assert [r.index for r in again] == list(range(pictures)), "also those that nobody took live"
    times = {(r.epoch, r.time): r.pts for r in again}
    assert {(f.epoch, f.time) for f in made[1].delivered} <= set(times), "at their own times"
    assert all(times[f.epoch, f.time] == f.pts for f in made[1].delivered)
    placed = {r.time for r in again if r.epoch == 0}
    assert all(any(abs(k / FPS - t) < 0.0011 for t in placed) for k in USUAL[0].lost)
    assert [r.time for r in again] == sorted({r.time for r in again})
    assert outcome.document["every_frame"] is True and outcome.comparison.unrecorded == 0
    assert outcome.comparison.extra == pictures - len(made[1].analysed)


def recorded(parts: list[RecordedPart], frames: list[RecordedFrame], every: bool = False) -> list[Frame]:
    from live_sessions import INFO

    found = []
    with RecordedSource(parts, frames, INFO, every) as source:
        while (frame := source.read()) is not None:
            found.append(frame)
    return found


def known(source: FakeLive, epoch: int = 0) -> list[RecordedFrame]:
    return [
        RecordedFrame(f.index, f.epoch, f.pts, f.time_base, f.time, f.wall, f.index in source.analysed)
        for f in source.delivered
        if f.epoch == epoch
    ]


def test_parts_that_overlap_give_no_picture_twice(made: tuple[Path, FakeLive], tmp_path: Path) -> None:
    folder, source = made
    twice = [RecordedPart(folder / "recording.mkv", 0, "off")] * 2
    analysed = [f.index for f in known(source) if f.analysed]
    assert [f.index for f in recorded(twice, known(source))] == analysed
    assert len(recorded(twice, known(source), every=True)) == USUAL[0].last


@pytest.mark.parametrize("mode", ["copy", "lossless"])
def test_pictures_are_deinterlaced_as_live_and_never_twice(
    mode: str, clip: Path, pack: Path, session: Path
) -> None:
    sidecar = session / "recording.jsonl"
    sidecar.write_text(sidecar.read_text().replace('"mode":"copy"', f'"mode":"{mode}"'))
    with sqlite3.connect(session / "session.db") as database:
        (text,) = database.execute("SELECT value FROM meta WHERE key = 'info'").fetchone()
        assert '"deinterlace":"auto"' in text
        text = text.replace('"deinterlace":"auto"', '"deinterlace":"on"')
        database.execute("UPDATE meta SET value = ? WHERE key = 'info'", (text,))
    database.close()
    outcome = replay(session, pack=str(pack))
    assert (outcome.comparison.apart > 0) == (mode == "copy"), "the fake live source did not deinterlace"


def test_a_recording_that_was_cut_off_is_compared_as_far_as_it_goes(session: Path, pack: Path) -> None:
    part = session / "recording-002.mkv"
    part.write_bytes(part.read_bytes()[: part.stat().st_size * 6 // 10])
    outcome = replay(session, pack=str(pack))
    frames = outcome.document["frames"]
    assert 5 < frames["missing"] == frames["unrecorded"] < 60
    assert frames["replayed"] + frames["missing"] == frames["listed"]
    assert not outcome.comparison.stored and outcome.comparison.apart < outcome.comparison.frames
    assert outcome.comparison.landmarks.pairs == () and outcome.status.finish == "completed"
    assert len(outcome.document["warnings"]) == 2
    assert f"not in the recording: {frames['missing']} frames" in outcome.document["warnings"][-2]


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_part_that_is_missing_is_said(damage: str, session: Path, pack: Path) -> None:
    part = session / "recording-002.mkv"
    part.unlink()
    if damage == "empty":
        part.write_bytes(b"")
    outcome = replay(session, pack=str(pack))
    assert {r.epoch for r in Session.open(outcome.folder).frames()} == {0, 2}
    assert outcome.comparison.verdict == "identical", "of what both have"
    assert any("recording-002.mkv" in line for line in outcome.document["warnings"])


def test_a_sidecar_cut_in_mid_line_loses_that_line_alone(session: Path, pack: Path) -> None:
    path = session / "recording.jsonl"
    before = read_sidecar(path)
    text = path.read_bytes()
    at = text.rindex(b'"kind":"frame"')
    path.write_bytes(text[: text.index(b"\n", at) - 9])
    cut = read_sidecar(path)
    assert (cut.damaged, len(cut.frames)) == (1, len(before.frames) - 1)
    outcome = replay(session, pack=str(pack))
    listed = sum(f.fate == "analysed" for f in cut.frames)
    assert outcome.document["frames"]["replayed"] == listed and outcome.comparison.verdict == "identical"


def test_a_session_that_was_killed_is_compared_by_its_probabilities(session: Path, pack: Path) -> None:
    with sqlite3.connect(session / "session.db") as database:
        last = database.execute("SELECT max(id) FROM findings").fetchone()[0]
        database.execute("UPDATE findings SET end = NULL WHERE id = ?", (last,))
        database.execute("DELETE FROM meta WHERE key = 'finished'")
        # What was not committed yet is in the sidecar alone.
        database.execute("DELETE FROM frames WHERE number > (SELECT max(number) - 8 FROM frames)")
    database.close()
    assert Session.open(session).interrupted and Session.open(session).findings[-1].end is None
    outcome = replay(session, pack=str(pack))
    assert outcome.comparison.verdict == "identical" and not outcome.comparison.stored
    assert all(p.live.end is not None for p in outcome.comparison.findings.pairs)
    assert outcome.comparison.extra == 0 and outcome.comparison.frames == outcome.document["frames"]["listed"]


def test_time_stamps_that_are_not_there_are_found_by_time(clip: Path, tmp_path: Path) -> None:
    stretch = Stretch(0, 60, 0, 0.0)
    (part,) = write_parts(clip, [stretch], tmp_path)
    frames = [RecordedFrame(k, 0, None, part.time_base, k / FPS, 0.0, k % 2 == 0) for k in range(60)]
    found = recorded([RecordedPart(tmp_path / part.file, 0, "off")], frames)
    assert [f.index for f in found] == list(range(0, 60, 2)) and all(f.pts is None for f in found)


def test_pictures_of_which_nothing_is_known_follow_each_other(clip: Path, tmp_path: Path) -> None:
    (part,) = write_parts(clip, [Stretch(0, 20, 0, 0.0)], tmp_path)
    found = recorded([RecordedPart(tmp_path / part.file, 0, "off")], [], every=True)
    steps = [b.time - a.time for a, b in itertools.pairwise(found)]
    assert [f.index for f in found] == list(range(20)) and found[0].time >= 0.0
    assert steps == pytest.approx([1 / FPS] * 19)
