"""Live equals replay with the real recorder in between: copied, lossless, encoded; begun in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from live_sessions import FPS, USUAL, Listening, TappedLive, write_clip, write_seeing_pack
from small import tissue

from endostream.capture.address import Address
from endostream.capture.live import LiveSource
from endostream.capture.recorded import RecordedFrame, RecordedPart, RecordedSource
from endostream.capture.recording import PacketFile
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.config import FindingSettings, RecordingSettings, Settings
from endostream.pipeline import build as building
from endostream.pipeline.build import Keeping, build
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.recorder import Recorder, RecorderRules
from endostream.pipeline.sourcing import Opened
from endostream.records.session import Session
from endostream.records.sidecar import read_sidecar
from endostream.replay import Replay, replay
from endostream.types import Frame


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


def damaged_stream(path: Path) -> None:
    """A transport stream that has lost a packet here and there."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"tune": "zerolatency", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 96, 64, "yuv420p", 12
        for index in range(100):
            noise = np.random.default_rng(index).integers(0, 60, (64, 96, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(tissue(index) // 2 + noise, format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        container.mux(stream.encode(None))
    data = path.read_bytes()
    packets = [data[k : k + 188] for k in range(0, len(data), 188)]
    inner = [p for p in packets if p[1] & 0x5F == 0x01 and p[2] == 0]
    gone = {id(p) for p in inner[200::400]}
    path.write_bytes(b"".join(p for p in packets if id(p) not in gone))


class Packets:
    """A tap that records."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, None

    def connected(self, format: StreamFormat, epoch: int) -> None:
        self.file = PacketFile(self.path, format)

    def packet(self, packet: StreamPacket) -> None:
        self.file.write(packet)


def test_packets_that_were_too_damaged_to_be_decoded_are_not_recorded(tmp_path: Path) -> None:
    damaged_stream(tmp_path / "clip.ts")
    tap, live = Packets(tmp_path / "recording.mkv"), list[Frame]()
    with LiveSource(Address(f"file:{tmp_path / 'clip.ts'}", "clip", "stream"), tap=tap) as source:
        while (frame := source.read()) is not None:
            live.append(frame)
        assert source.skipped_packets > 3 and 60 < len(live) < 100
    tap.file.close()
    frames = [RecordedFrame(f.index, 0, f.pts, f.time_base, f.time, f.wall, True) for f in live]
    with RecordedSource([RecordedPart(tap.path, 0, "off")], frames, source.info) as again:
        for frame in live:
            found = again.read()
            assert found is not None and found.index == frame.index
            assert np.array_equal(found.image, frame.image), f"picture {frame.index}"
