"""Live equals replay with the real recorder in between: copied, lossless, encoded; begun in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_sessions import USUAL, Listening, TappedLive, write_clip, write_seeing_pack

from endostream.config import FindingSettings, RecordingSettings, Settings
from endostream.pipeline import build as building
from endostream.pipeline.build import Keeping, build
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.recorder import Recorder, RecorderRules
from endostream.pipeline.sourcing import Opened
from endostream.records.session import Session
from endostream.records.sidecar import read_sidecar
from endostream.replay import Replay, replay


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", 300)


def recorded(
    clip: Path,
    folder: Path,
    pack: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: Any = "auto",
    before_s: float = 10.0,
    record: bool = True,
    press: Callable[[Pipeline, int], None] = lambda pipeline, delivered: None,
) -> TappedLive:
    """A live session that its own recorder has recorded."""
    recorder = Recorder(RecorderRules(mode=mode, before_s=before_s, keep_free_bytes=0, phi_mask="none"))
    source = TappedLive(clip, USUAL, 3, recorder)
    monkeypatch.setattr(building, "open_for", lambda *_, **__: Opened(source, "none", recorder))
    settings = Settings(
        pack=str(pack),
        engine="torch",
        device="cpu",
        profile="none",
        finding=FindingSettings(merge_s=0.3),
        recording=RecordingSettings(mode=mode),
    )
    sinks = [Listening(source)]
    pipeline = build("fake", settings, paced=False, sinks=sinks, keeping=Keeping(folder, record=record))
    source.before = lambda: press(pipeline, len(source.delivered))
    pipeline.start()
    pipeline.join()
    return source


def check_frames(folder: Path, source: TappedLive, outcome: Replay) -> None:
    sidecar = read_sidecar(folder / "recording.jsonl")
    fates = {line.index: line.fate for line in sidecar.frames}
    assert fates == {f.index: "analysed" if f.index in source.analysed else "busy" for f in source.delivered}
    assert "busy" in fates.values() and sidecar.finished and not sidecar.damaged
    assert [(x.pts, x.time, x.wall, x.epoch) for x in sidecar.frames] == [
        (f.pts, f.time, f.wall, f.epoch) for f in source.delivered
    ]
    assert len(sidecar.parts) == len(USUAL)
    frames = outcome.document["frames"]
    assert frames["listed"] == frames["replayed"] == len(source.analysed)
    assert frames["missing"] == frames["unrecorded"] == 0


@pytest.mark.parametrize("mode", ["auto", "lossless"])
def test_what_is_recorded_bit_by_bit_gives_the_same_findings(
    mode: str, clip: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = recorded(clip, tmp_path / "s", pack, monkeypatch, mode)
    outcome = replay(tmp_path / "s", pack=str(pack))
    check_frames(tmp_path / "s", source, outcome)
    assert outcome.document["recorded"] == ["copy" if mode == "auto" else mode]
    assert outcome.comparison.verdict == "identical" and outcome.comparison.apart == 0
    assert len(outcome.comparison.findings.pairs) >= 4 and outcome.comparison.stored
    assert Session.open(tmp_path / "s").status.recording is not None


def test_what_is_encoded_gives_the_same_findings_within_a_fifth_of_a_second(
    clip: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = recorded(clip, tmp_path / "s", pack, monkeypatch, "encode")
    outcome = replay(tmp_path / "s", pack=str(pack))
    check_frames(tmp_path / "s", source, outcome)
    assert outcome.document["recorded"] == ["encode"] and outcome.comparison.apart > 0, "not lossless"
    assert outcome.comparison.verdict in ("identical", "within one frame", "within 0.2 s")


def test_a_recording_begun_in_the_middle_is_compared_where_both_looked(
    clip: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(pipeline: Pipeline, delivered: int) -> None:
        # On inside the first finding, off in the dark and on again while the next one rises, twice.
        if delivered in (20, 41, 64, 130, 150):
            pipeline.record(delivered not in (41, 130))

    source = recorded(clip, tmp_path / "s", pack, monkeypatch, before_s=0.0, record=False, press=press)
    outcome = replay(tmp_path / "s", pack=str(pack))
    frames = outcome.document["frames"]
    # Where a recording ends among pictures out of order, one or two of them are not in it yet.
    assert frames["missing"] <= 4 and frames["unrecorded"] > 15
    assert frames["replayed"] + frames["unrecorded"] == len(source.analysed)
    # What smoothing had come to before each part is taken over, to the precision it was stored with.
    assert not outcome.comparison.stored and outcome.comparison.largest < 0.001
    assert outcome.comparison.verdict in ("identical", "within one frame")
    assert len(outcome.comparison.findings.pairs) >= 2
