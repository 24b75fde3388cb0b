"""`endostream replay`: what it refuses, where it writes, what it prints; when findings count as the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from live_sessions import Stretch, live_session, write_clip, write_seeing_pack
from small import write_pack, write_video

from endostream.cli import main
from endostream.errors import InputError
from endostream.records.lock import FolderLock
from endostream.records.session import Session
from endostream.replay import Wish, replay, run
from endostream.replay.comparison import Comparison, Pair, Verdict, matched
from endostream.types import Finding, Peak


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def made(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("live")
    clip = write_clip(base / "clip.mkv", 60)
    live_session(clip, base / "session", pack, [Stretch(0, 60, 90_000, 0.0)])
    return base / "session"


@pytest.fixture
def session(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "session")
    return tmp_path / "session"


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith(("loading", "compiling"))]
    return line


def test_it_says_what_it_found(session: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(session), "--pack", str(pack)]) == 0
    said = capsys.readouterr().out
    assert "live equals replay: the same findings, to the last digit" in said
    (row,) = [line for line in said.splitlines() if line.startswith("polyps")]
    assert row.split()[-5:] == ["+0.000", "s", "+0.000", "s", "0.0"]
    assert f"results: {session / 'replay'}" in said and "Not for diagnosis" in said
    assert main(["sessions", "show", str(session / "replay")]) == 0


def test_json_is_one_document_and_the_same_as_the_file(
    session: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(session), "--pack", str(pack), "--json", "--every-frame"]) == 0
    text = capsys.readouterr().out
    found: dict[str, Any] = json.loads(text)
    assert found == json.loads((session / "replay" / "replay.json").read_text())
    assert found["frames"]["replayed"] == 60 > found["frames"]["listed"] > 10
    assert found["frames"]["missing"] == 0 and found["every_frame"] is True
    assert (
        found["recorded"] == ["copy"] and found["phi_mask"] == "none" and found["research_use_only"] is True
    )
    assert str(session) not in text


def test_a_replay_replaces_a_replay_and_nothing_else(
    session: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["replay", str(session), "--pack", str(pack)]
    assert main(command) == main(command) == 0
    out = tmp_path / "out"
    assert main([*command, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main([*command, "--out", str(out)]) == 2
    assert "--overwrite" in complaint(capsys)
    assert main([*command, "--out", str(out), "--overwrite"]) == 0
    clip, other = write_video(tmp_path / "clip.mp4", 5), tmp_path / "other"
    assert main(["analyze", str(clip), "--out", str(other), "--pack", str(pack)]) == 0
    capsys.readouterr()
    assert (out / "replay.json").is_file()
    assert main(["analyze", str(clip), "--out", str(out), "--pack", str(pack), "--overwrite"]) == 0
    assert not (out / "replay.json").exists(), "of a session that is gone"
    capsys.readouterr()
    for target in (other, session):
        before = (target / "session.db").read_bytes()
        assert main([*command, "--out", str(target), "--overwrite"]) == 2
        assert "choose another folder" in complaint(capsys)
        assert (target / "session.db").read_bytes() == before
    shutil.rmtree(session / "replay")
    shutil.copytree(other, session / "replay")
    assert main(command) == 2 and "no replay" in complaint(capsys)


@pytest.mark.parametrize(
    ("missing", "word"),
    [("recording.jsonl", "recorded"), ("recording.mkv", "is missing"), (None, "no session")],
)
def test_without_a_recording_it_says_what_to_do(
    missing: str | None, word: str, session: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing is not None:
        (session / missing).unlink()
    name = session if missing is not None else session.parent / "nothing"
    assert main(["replay", str(name), "--pack", str(pack)]) == 2
    assert word in complaint(capsys) and not (session / "replay").exists()


def test_another_pack_is_refused_by_name(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_pack(tmp_path / "tiny", bias=0.5)
    assert main(["replay", str(session), "--pack", str(other)]) == 2
    line = complaint(capsys)
    assert "tiny 1.0.0" in line and Session.open(session).info.pack["sha256"][:12] in line
    assert "--pack" in line
    assert main(["replay", str(session)]) == 2  # `tiny` is no known name
    assert "name its folder with --pack" in complaint(capsys)
    assert not (session / "replay").exists()


def test_a_session_that_goes_on_is_not_replayed(session: Path, pack: Path) -> None:
    lock = FolderLock(session)
    try:
        with pytest.raises(InputError, match="still being written"):
            replay(session, pack=str(pack))
    finally:
        lock.release()


def test_what_ran_live_runs_again_unless_it_cannot(
    session: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Session.open(session).info.engine
    outcome = replay(session, pack=str(pack), wish=Wish())
    assert outcome.document["engine"]["replay"] == outcome.document["engine"]["live"] == ran
    assert (ran["engine"], ran["precision"]) == ("torch", "fp32"), "not what a run chooses by itself"

    def refuse(*_: str) -> None:
        raise InputError("no CUDA device was found")

    monkeypatch.setattr(run, "choose", refuse)
    outcome = replay(session, pack=str(pack))
    assert any("no CUDA device was found" in line for line in outcome.document["warnings"])
    assert outcome.comparison.verdict in ("identical", "within one frame")


def test_stopping_early_compares_as_far_as_it_came(session: Path, pack: Path) -> None:
    outcome = replay(session, pack=str(pack), stops=lambda stop: stop())
    assert outcome.status.finish == "stopped" and outcome.document["finish"] == "stopped"
    assert any("stopped before the end" in line for line in outcome.document["warnings"])


def finding(start: float, end: float | None, label: str = "polyps", number: int = 1) -> Finding:
    return Finding(number, label, start, end, Peak(start, 0.9))


def verdict(live: list[Finding], again: list[Finding]) -> Verdict:
    nothing = matched([], [])
    return Comparison(matched(live, again), nothing, True, 0.04, 10, 0, 0.0, 0, 0, 0).verdict


@pytest.mark.parametrize(
    ("live", "again", "said"),
    [
        ([], [], "identical"),
        ([(1.0, 2.0)], [(1.0, 2.0)], "identical"),
        ([(1.0, 2.0)], [(1.03, 1.96)], "within one frame"),
        ([(1.0, 2.0)], [(1.0, 2.041)], "within 0.2 s"),
        ([(1.0, 2.0)], [(0.8, 2.2)], "within 0.2 s"),
        ([(1.0, 2.0)], [(0.79, 2.0)], "different"),
        ([(1.0, 2.0), (3.0, 3.49)], [(1.0, 2.0)], "within 0.2 s"),
        ([(1.0, 2.0)], [(1.0, 2.0), (3.0, 3.49)], "within 0.2 s"),
        ([(1.0, 2.0)], [(1.0, 2.0), (3.0, 3.51)], "different"),
        ([(1.0, 2.0), (3.0, 3.4)], [(1.0, 2.0), (4.0, 4.4)], "different"),
    ],
)
def test_what_counts_as_the_same(
    live: list[tuple[float, float]], again: list[tuple[float, float]], said: str
) -> None:
    assert verdict([finding(*span) for span in live], [finding(*span) for span in again]) == said


def test_findings_are_matched_by_label_and_the_longest_overlap() -> None:
    live = [finding(0.0, 2.0, number=1), finding(3.0, 9.0, number=2), finding(3.0, 9.0, "cecum", 3)]
    again = [finding(0.5, 4.0, number=7), finding(4.5, 9.0, number=8), finding(20.0, None, "cecum", 9)]
    found = matched(live, again)
    assert [(p.live.id, p.replay.id) for p in found.pairs] == [(1, 7), (2, 8)]
    assert [f.id for f in found.only_live] == [3] and [f.id for f in found.only_replay] == [9]
    pair = Pair(finding(1.0, 3.0), finding(0.9, None))
    assert (round(pair.start_s, 6), pair.end_s) == (-0.1, 0.0), "an end that is not known is not apart"
