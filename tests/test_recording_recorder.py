"""The recorder: what goes in comes out on the disk, whatever the disk does, and nobody ever waits for it."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from packets import START, TICKS, coded, picture, stamps

from endostream.capture.encoding import PictureEncoder
from endostream.capture.recording import DiskFile, create_file, milliseconds
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import InputError, RunError
from endostream.pipeline import clip as clip_module
from endostream.pipeline import recorder as recorder_module
from endostream.pipeline import reel as reel_module
from endostream.pipeline.clip import Disk
from endostream.pipeline.recorder import Recorder, RecorderRules
from endostream.records.sidecar import Sidecar, read_sidecar
from endostream.types import Analysis, Frame, ImageArray, Prediction, SignalChange

RULES = RecorderRules(before_s=0.0, keep_free_bytes=0, phi_mask="none")
PATIENCE_S = 10.0


@dataclass
class Camera:
    """A connection: 25 packets a second of a clock that starts anywhere, each captured as a frame."""

    recorder: Recorder
    codec: str = "h264"
    size: tuple[int, int] = (160, 96)
    epoch: int = 0
    clock: int = START
    fates: tuple[str, ...] = ("analysed", "busy", "analysed")
    frames: list[Frame] = field(default_factory=list)
    packets: list[StreamPacket] = field(default_factory=list)

    def connect(self, epoch: int | None = None, size: tuple[int, int] | None = None) -> Camera:
        self.epoch = self.epoch if epoch is None else epoch
        self.size = size or self.size
        self.format, self._ready = coded(self.codec, 100, size=self.size, gop=10)
        self._ready = list(reversed(self._ready))
        self._shift = self.clock - START
        self.recorder.connected(self.format, self.epoch)
        return self

    def run(self, count: int, fate: bool = True) -> Camera:
        for _ in range(count):
            packet = self._ready.pop()
            assert packet.pts is not None and packet.dts is not None
            pts, now = packet.pts + self._shift, time.monotonic()
            packet = replace(packet, pts=pts, dts=packet.dts + self._shift, arrived=now)
            self.clock = pts + 3600
            self.recorder.packet(packet)
            self.packets.append(packet)
            number = len(self.frames)
            seconds = number / 25 + 1e-13
            image = picture(number, *self.size)
            frame = Frame(number, pts, TICKS, seconds, image, now, 1e9 + number / 25, self.epoch)
            self.frames.append(frame)
            self.recorder.frame(frame)
            if fate:
                self.tell(frame)
        return self

    def tell(self, frame: Frame) -> None:
        fate = self.fates[frame.index % len(self.fates)]
        self.recorder.fate(frame, fate, analysis(frame) if fate == "analysed" else None)


def analysis(frame: Frame) -> Analysis:
    scores = np.array([0.25, 0.75], np.float32) + np.float32(frame.index / 10_000)
    prediction = Prediction("frame", ("background", "polyps"), scores, 1 - scores)
    return Analysis(frame, (prediction,), None, None, None, None, False, True, None)


@pytest.fixture
def made() -> Iterator[Callable[..., Recorder]]:
    """Makes recorders and closes them."""
    recorders: list[Recorder] = []

    def make(rules: RecorderRules = RULES, disk: Disk | None = None, **changes: Any) -> Recorder:
        recorders.append(Recorder(replace(rules, **changes), disk=disk))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.close()


def settle(recorder: Recorder, folder: Path) -> None:
    """Everything handed over so far is on its way to the disk: a start of what goes on answers after it."""
    recorder.start(folder)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        pause.wait(0.005)


def ms(frames: list[Frame]) -> list[int]:
    return [milliseconds(f.pts or 0, f.time_base) for f in frames]


def indexes(sidecar: Sidecar) -> list[int]:
    return [line.index for line in sidecar.frames]


def test_packets_and_fates_are_kept_as_they_came(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(phi_mask="tower-9")
    camera = Camera(recorder).connect()
    camera.run(7)
    assert recorder.state.state == "off"
    recorder.start(tmp_path)
    assert recorder.state.state == "on" and recorder.state.mode == "copy"
    camera.run(33)
    settle(recorder, tmp_path)
    state = recorder.state
    assert state.seconds == pytest.approx(29 / 25) and state.megabytes > 0 and state.lost == 0
    recorder.stop()
    recorder.close()
    kept = camera.frames[10:]  # from the first key frame after the start on
    assert stamps(tmp_path / "recording.mkv") == ms(kept)
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    (part,) = sidecar.parts
    assert (part.file, part.epoch, part.codec, part.mode) == ("recording.mkv", 0, "h264", "copy")
    assert (part.width, part.height, part.time_base, part.phi_mask) == (160, 96, TICKS, "tower-9")
    assert indexes(sidecar) == [f.index for f in kept] and sidecar.finished and not sidecar.damaged
    for line, frame in zip(sidecar.frames, kept, strict=True):
        assert (line.pts, line.time_base, line.time) == (frame.pts, frame.time_base, frame.time)
        assert (line.wall, line.epoch) == (frame.wall, frame.epoch)
        analysed = camera.fates[frame.index % 3] == "analysed"
        assert line.fate == camera.fates[frame.index % 3] and (line.scores is not None) == analysed
        if line.scores is not None:
            (said,) = analysis(frame).predictions
            assert line.label == said.label
            assert line.scores.tobytes() == said.scores.astype(np.float16).tobytes()
    with av.open(str(tmp_path / "recording.mkv")) as container:
        assert container.metadata["PHI_MASK"] == "tower-9" and "Research use" in container.metadata["COMMENT"]
    assert recorder.said == () and recorder.state.state == "off"


@pytest.mark.parametrize("mode", ["encode", "lossless"])
def test_pictures_are_encoded_where_packets_may_not_be_kept(
    tmp_path: Path, made: Callable[..., Recorder], mode: str
) -> None:
    changes = {"mode": "auto", "masked": True} if mode == "encode" else {"mode": "lossless"}
    recorder = made(**changes)
    camera = Camera(recorder).connect()
    camera.run(3)
    recorder.start(tmp_path)
    camera.run(30)
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    (part,) = sidecar.parts
    assert (part.mode, part.codec, part.time_base) == (mode, "h264", TICKS)
    assert stamps(tmp_path / part.file) == ms(camera.frames[3:])
    assert indexes(sidecar) == list(range(3, 33))
    assert recorder.state.mode == mode and recorder.state.encoder.startswith("libx264")
    with av.open(str(tmp_path / part.file)) as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(pictures) == 30
    if mode == "lossless":
        assert all(np.array_equal(p, f.image) for p, f in zip(pictures, camera.frames[3:], strict=True))


def test_a_clip_begins_before_the_press(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(before_s=60.0)
    camera = Camera(recorder).connect().run(35)
    recorder.start(tmp_path)
    camera.run(5)
    recorder.close()
    assert stamps(tmp_path / "recording.mkv") == ms(camera.frames)
    assert indexes(read_sidecar(tmp_path / "recording.jsonl")) == list(range(40))


def test_a_clip_begins_as_long_before_as_was_asked(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(before_s=60.0)
    camera = Camera(recorder).connect().run(35)
    recorder.start(tmp_path, before_s=0.0)
    recorder.close()
    assert stamps(tmp_path / "recording.mkv") == ms(camera.frames[30:])
    assert indexes(read_sidecar(tmp_path / "recording.jsonl")) == list(range(30, 35))


def test_pictures_before_the_press_are_encoded_too(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(before_s=60.0, masked=True)
    camera = Camera(recorder).connect().run(35)
    recorder.start(tmp_path)
    camera.run(5)
    recorder.close()
    assert stamps(tmp_path / "recording.mkv") == ms(camera.frames)
    assert indexes(read_sidecar(tmp_path / "recording.jsonl")) == list(range(40))


def test_a_reconnect_and_a_new_size_begin_new_files(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(before_s=60.0)
    camera = Camera(recorder).connect().run(12)  # epoch 0 lies in the ring
    camera.connect(epoch=1).run(10)
    recorder.start(tmp_path)
    camera.run(10)
    recorder.signalled(SignalChange("lost", 1.28, 123.5, "no packet for 1 s"))
    recorder.signalled(SignalChange("good", 2.0, 124.5, "192x96"))
    camera.connect(epoch=2, size=(192, 96)).run(15)
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    names = ["recording.mkv", "recording-002.mkv", "recording-003.mkv"]
    assert [(p.number, p.file, p.epoch, p.width) for p in sidecar.parts] == [
        (1, names[0], 0, 160),
        (2, names[1], 1, 160),
        (3, names[2], 2, 192),
    ]
    for epoch, name in enumerate(names):
        assert stamps(tmp_path / name) == ms([f for f in camera.frames if f.epoch == epoch])
    assert indexes(sidecar) == list(range(47))
    assert [(s.state, s.time, s.wall, s.detail) for s in sidecar.signals] == [
        ("lost", 1.28, 123.5, "no packet for 1 s"),
        ("good", 2.0, 124.5, "192x96"),
    ]


@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
def test_pictures_that_change_within_a_connection_begin_a_new_file(
    tmp_path: Path, made: Callable[..., Recorder], codec: str
) -> None:
    recorder = made()
    recorder.start(tmp_path)
    camera = Camera(recorder, codec=codec).connect().run(10)
    real, recorder.connected = recorder.connected, lambda format, epoch: None  # type: ignore[method-assign]
    camera.connect(size=(192, 96)).run(10)
    recorder.connected = real  # type: ignore[method-assign]
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert [(p.width, p.height, p.epoch) for p in sidecar.parts] == [(160, 96, 0), (192, 96, 0)]
    for number, part in enumerate(sidecar.parts):
        assert stamps(tmp_path / part.file) == ms(camera.frames[number * 10 : number * 10 + 10])


@pytest.mark.parametrize("masked", [False, True])
def test_a_long_recording_becomes_several_files(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    monkeypatch.setattr(clip_module, "MOST_BYTES", 4_000)
    recorder = made(masked=masked)
    recorder.start(tmp_path)
    camera = Camera(recorder).connect().run(60)
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert len(sidecar.parts) > 1 and {(p.epoch, p.width) for p in sidecar.parts} == {(0, 160)}
    assert [s for p in sidecar.parts for s in stamps(tmp_path / p.file)] == ms(camera.frames)
    assert recorder.state.seconds == pytest.approx(59 / 25, abs=0.04 * len(sidecar.parts))


def test_a_second_recording_goes_on_in_the_same_folder(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made()
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(10)
    recorder.stop()
    camera.run(10)
    recorder.start(tmp_path)
    camera.run(10)
    settle(recorder, tmp_path)
    assert recorder.state.seconds == pytest.approx(9 / 25), "of the recording that goes on"
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert [p.file for p in sidecar.parts] == ["recording.mkv", "recording-002.mkv"] and len(
        sidecar.ends
    ) == 2
    assert indexes(sidecar) == [*range(10), *range(20, 30)]
    assert stamps(tmp_path / "recording-002.mkv") == ms(camera.frames[20:])


def test_fates_that_come_after_the_end_belong_to_it(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made()
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(10, fate=False)
    recorder.stop()
    camera.run(5, fate=False)
    for frame in camera.frames:
        camera.tell(frame)
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert indexes(sidecar) == list(range(10)) and sidecar.finished


def test_fates_of_frames_before_the_first_picture_get_no_line(
    tmp_path: Path, made: Callable[..., Recorder]
) -> None:
    recorder = made(before_s=0.0)
    camera = Camera(recorder).connect().run(5, fate=False)
    recorder.start(tmp_path)
    camera.run(8, fate=False)  # the first picture is the tenth
    for frame in camera.frames:
        camera.tell(frame)
    recorder.close()
    assert indexes(read_sidecar(tmp_path / "recording.jsonl")) == [10, 11, 12]


def test_encoded_pictures_of_another_epoch_begin_a_new_file(
    tmp_path: Path, made: Callable[..., Recorder]
) -> None:
    recorder = made(masked=True)
    recorder.start(tmp_path)
    camera = Camera(recorder).connect().run(5)
    camera.connect(epoch=1).run(5)
    camera.connect(epoch=2, size=(192, 96)).run(5)
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert [(p.epoch, p.width) for p in sidecar.parts] == [(0, 160), (1, 160), (2, 192)]
    for part in sidecar.parts:
        assert stamps(tmp_path / part.file) == ms([f for f in camera.frames if f.epoch == part.epoch])


def test_the_end_is_written_though_nothing_more_comes(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reel_module, "GRACE_S", 0.05)
    recorder = made()
    recorder.start(tmp_path)
    Camera(recorder).connect().run(10)
    settle(recorder, tmp_path)
    recorder.stop()
    until(lambda: read_sidecar(tmp_path / "recording.jsonl").finished)


def test_sources_without_time_stamps_are_encoded(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made()
    recorder.start(tmp_path)
    format, packets = coded("mjpeg", 1)
    recorder.connected(replace(format, rate=None), 0)
    frames = []
    for number in range(10):
        recorder.packet(replace(packets[0], pts=None, dts=None))
        frame = Frame(number, None, TICKS, number / 25 + 1e-9, picture(number), 0.0, 1.0, 0)
        frames.append(frame)
        recorder.frame(frame)
        recorder.fate(frame, "busy")
    recorder.close()
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert [p.mode for p in sidecar.parts] == ["encode"]
    assert stamps(tmp_path / "recording.mkv") == [n * 40 for n in range(10)]
    assert indexes(sidecar) == list(range(10)) and sidecar.frames[3].pts is None


def test_sources_without_key_frames_are_encoded(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reel_module, "KEYLESS_S", 0.0)
    recorder = made()
    camera = Camera(recorder).connect()
    camera.run(1)
    recorder.start(tmp_path)
    camera.run(3)  # waits for a key frame: at once too long here
    until(lambda: recorder.state.mode == "encode")
    camera.run(5)
    recorder.close()
    there = stamps(tmp_path / "recording.mkv")
    assert len(there) >= 5 and there == ms(camera.frames[-len(there) :])
    assert recorder.said == (
        "the source sends no key frames: its pictures were encoded anew for the recording",
    )


def test_codecs_that_no_file_holds_are_encoded(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made()
    recorder.start(tmp_path)
    format = StreamFormat("rawvideo", 160, 96, "yuyv422", TICKS, Fraction(25), None)
    recorder.connected(format, 0)
    recorder.packet(StreamPacket(b"\0" * 100, 0, 0, True, 0.0))
    recorder.frame(Frame(0, 0, TICKS, 0.0, picture(0), 0.0, 0.0, 0))
    recorder.close()
    (part,) = read_sidecar(tmp_path / "recording.jsonl").parts
    assert (part.codec, part.mode) == ("h264", "encode")


# Privacy


def test_nothing_is_recorded_while_patient_text_is_undecided(
    tmp_path: Path, made: Callable[..., Recorder]
) -> None:
    recorder = made(before_s=60.0, phi_mask=None)
    camera = Camera(recorder).connect().run(10)
    with pytest.raises(InputError, match=r"^decide about patient text first: "):
        recorder.start(tmp_path)
    camera.run(10)
    assert recorder.state.state == "off" and not list(tmp_path.iterdir())
    assert recorder._thread.ident is None, "not even in memory"


def test_masked_pictures_are_never_copied(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(masked=True, before_s=60.0)
    camera = Camera(recorder).connect()
    for packet in coded("h264", 10)[1]:
        recorder.packet(packet)
    recorder.start(tmp_path)
    camera.run(1)
    recorder.close()
    (part,) = read_sidecar(tmp_path / "recording.jsonl").parts
    assert part.mode == "encode" and stamps(tmp_path / part.file) == ms(camera.frames)


# Disks


class TestDisk(Disk):
    """A disk whose room and speed a test decides."""

    __test__ = False

    def __init__(self) -> None:
        self.room = 10**12
        self.stuck = threading.Event()
        self.free_again = threading.Event()
        self.free_again.set()
        self.error: OSError | None = None

    def free(self, folder: Path) -> int:
        return self.room

    def create(self, path: Path) -> DiskFile:
        disk, file = self, create_file(path)

        class Slow:
            seek, tell, close = file.seek, file.tell, file.close

            def write(self, data: bytes) -> int:
                if not disk.free_again.is_set():
                    disk.stuck.set()
                    disk.free_again.wait(PATIENCE_S)
                if disk.error is not None:
                    raise disk.error
                return file.write(data)

        return Slow()

    def hang(self) -> None:
        self.free_again.clear()

    def answer(self) -> None:
        self.free_again.set()


@pytest.fixture
def disk() -> Iterator[TestDisk]:
    disk = TestDisk()
    yield disk
    disk.answer()


def test_a_start_without_room_is_refused(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk
) -> None:
    recorder = made(disk=disk, keep_free_bytes=2_000_000_000)
    disk.room = 2_199_999_999
    with pytest.raises(InputError, match=r"^only 2\.2 GB are left on the disk, 2\.2 GB are needed") as caught:
        recorder.start(tmp_path)
    assert "\n" not in str(caught.value) and recorder.state.state == "off" and not list(tmp_path.iterdir())
    disk.room = 2_200_000_000
    recorder.start(tmp_path)
    assert recorder.state.state == "on"


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made()
    with pytest.raises(InputError, match=r"^cannot record into .*; choose another folder$"):
        recorder.start(tmp_path / "nowhere")
    assert recorder.state.state == "off"


def test_recording_ends_before_the_disk_is_full(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_module, "LOOK_S", 0.0)
    recorder = made(disk=disk, keep_free_bytes=2_000_000_000)
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(20)
    settle(recorder, tmp_path)
    disk.room = 1_900_000_000
    camera.run(5)
    until(lambda: recorder.state.state == "failed")
    said = "only 1.9 GB are left on the disk: the recording has ended; free some space and record again"
    assert recorder.state.reason == said and recorder.said == (said,)
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert sidecar.finished and sidecar.ends[0].reason == said
    assert stamps(tmp_path / "recording.mkv")[:20] == ms(camera.frames[:20])
    with pytest.raises(InputError, match="are needed to record"):
        recorder.start(tmp_path)
    disk.room = 10**12
    recorder.start(tmp_path)
    assert recorder.state.state == "on" and recorder.state.reason == ""
    camera.run(20)
    recorder.close()
    assert stamps(tmp_path / "recording-002.mkv") == ms(camera.frames[30:])


@pytest.mark.parametrize("before_s", [0.0, 60.0])
def test_a_disk_that_fails_is_said_and_the_source_goes_on(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk, before_s: float
) -> None:
    recorder = made(disk=disk, before_s=before_s)
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(20)
    settle(recorder, tmp_path)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    camera.run(20)
    until(lambda: recorder.state.state == "failed")
    said = "disk full while writing recording.mkv; free some space and record again"
    assert recorder.state.reason == said and recorder.said == (said,)
    camera.run(20)
    there = stamps(tmp_path / "recording.mkv")
    assert len(there) >= 10 and there == ms(camera.frames[: len(there)])
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert sidecar.ends[0].reason == said and set(indexes(sidecar)) >= set(range(20))
    disk.error = None
    recorder.start(tmp_path)
    camera.run(20)
    recorder.close()
    assert stamps(tmp_path / "recording-002.mkv")[-10:] == ms(camera.frames[-10:])


def test_a_disk_that_fails_at_once_is_said_by_start(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk
) -> None:
    recorder = made(disk=disk, before_s=60.0)
    Camera(recorder).connect().run(30)
    disk.error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(InputError, match=r"^recording\.mkv cannot be written: Input/output error; choose"):
        recorder.start(tmp_path)
    assert recorder.state.state == "failed"


def test_nobody_waits_for_a_disk_that_hangs_and_whole_groups_go(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made(disk=disk)
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(20)
    settle(recorder, tmp_path)
    disk.hang()
    while not disk.stuck.wait(0.01):  # the lump in memory must be full before the disk is asked
        camera.run(1)
    begun = len(camera.frames)
    with monkeypatch.context() as patched:
        patched.setattr(recorder_module, "QUEUE_BYTES", sum(len(p.data) for p in camera.packets[:15]))
        before = time.monotonic()
        camera.run(40)
        assert time.monotonic() - before < 2.0
        state = recorder.state
    assert state.state == "on" and 10 <= state.lost <= 40
    assert (
        state.reason
        == f"{state.lost} pictures are missing in the recording: the disk is too slow; record to a faster one"
    )
    disk.answer()
    settle(recorder, tmp_path)
    camera.run(30 - len(camera.frames) % 10)
    recorder.stop()
    recorder.close()
    lost = recorder.state.lost
    assert recorder.said == (
        f"{lost} pictures are missing in the recording: the disk is too slow; record to a faster one",
    )
    sidecar = read_sidecar(tmp_path / "recording.jsonl")
    assert sum(line.pictures for line in sidecar.losses) == lost
    assert indexes(sidecar) == [f.index for f in camera.frames], "facts are not lost"
    there = stamps(tmp_path / "recording.mkv")
    everything = ms(camera.frames)
    assert len(there) + lost == len(everything) and set(there) < set(everything)
    missing = [n for n, stamp in enumerate(everything) if stamp not in set(there)]
    assert missing[-1] % 10 == 9 and missing == list(range(missing[0], missing[-1] + 1)), "up to a key frame"
    assert missing[0] > begun


def test_pictures_wait_for_the_encoder_within_bounds(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, go = threading.Event(), threading.Event()
    real = PictureEncoder.encode

    def slow(self: PictureEncoder, image: ImageArray, shown: int, captured: float) -> list[StreamPacket]:
        busy.set()
        go.wait(PATIENCE_S)
        return real(self, image, shown, captured)

    monkeypatch.setattr(PictureEncoder, "encode", slow)
    recorder = made(mode="lossless")
    monkeypatch.setattr(recorder_module, "QUEUE_BYTES", 0)
    recorder.start(tmp_path)
    camera = Camera(recorder).connect()
    camera.run(1)
    assert busy.wait(PATIENCE_S)
    camera.run(19)
    assert recorder.state.lost == 20 - recorder_module.LEAST_PICTURES
    time_spent = threading.Event()
    time_spent.wait(0.02)
    go.set()
    recorder.close()
    assert stamps(tmp_path / "recording.mkv") == ms(camera.frames[: recorder_module.LEAST_PICTURES])
    assert "too slow to encode" in recorder.said[0]
    assert indexes(read_sidecar(tmp_path / "recording.jsonl")) == list(range(20))


def test_closing_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, disk: TestDisk) -> None:
    recorder = Recorder(RULES, disk=disk)
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(10)
    settle(recorder, tmp_path)
    disk.hang()
    while not disk.stuck.wait(0.01):
        camera.run(1)
    before = time.monotonic()
    recorder.close()
    assert time.monotonic() - before < 1.5
    assert recorder.said == (
        "the disk does not answer: the end of the recording may be missing; check the disk",
    )
    camera.run(5)
    disk.answer()
    recorder._thread.join(PATIENCE_S)
    assert read_sidecar(tmp_path / "recording.jsonl").finished


def test_starting_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "ANSWER_S", 0.1)
    recorder = made(disk=disk, before_s=60.0)
    Camera(recorder).connect().run(30)
    disk.hang()
    recorder.start(tmp_path)
    assert disk.stuck.is_set() and recorder.state.state == "on"
    disk.error = OSError(errno.EIO, "Input/output error")
    disk.answer()
    until(lambda: recorder.state.state == "failed")
    recorder.close()


def test_lines_that_wait_are_bounded(
    tmp_path: Path, made: Callable[..., Recorder], disk: TestDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "QUEUE_LINES", 30)
    recorder = made(disk=disk)
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(10)
    settle(recorder, tmp_path)
    disk.hang()
    while not disk.stuck.wait(0.01):
        camera.run(1)
    camera.run(60)
    assert recorder.said == ("the disk does not answer: lines of the recording are missing; check the disk",)


FULL = """
import resource, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_recording_recorder import RULES, Camera, until
from endostream.pipeline.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
recorder = Recorder(RULES)
camera = Camera(recorder, codec="mjpeg").connect()
recorder.start(Path(sys.argv[1]))
camera.run(60)
until(lambda: recorder.state.state == "failed")
camera.run(20)
print(recorder.state.reason)
recorder.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
def test_a_file_that_may_not_grow_is_one_line(tmp_path: Path) -> None:
    import subprocess

    code = FULL.format(path=[str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "recording.mkv cannot be written: File too large; choose another folder\n"
    there = stamps(tmp_path / "recording.mkv")
    assert there == [milliseconds(START + n * 3600, TICKS) for n in range(len(there))] and there


def test_an_encoder_that_fails_is_said(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made(mode="encode")
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(10)
    settle(recorder, tmp_path)

    def broken(self: PictureEncoder, image: ImageArray, shown: int, captured: float) -> list[StreamPacket]:
        raise RunError("h264_nvenc stopped working: gone; start the recording again")

    with monkeypatch.context() as patched:
        patched.setattr(PictureEncoder, "encode", broken)
        camera.run(10)
        until(lambda: recorder.state.state == "failed")
        assert recorder.state.reason == "h264_nvenc stopped working: gone; start the recording again"
    recorder.start(tmp_path)
    camera.run(5)
    recorder.close()
    assert stamps(tmp_path / "recording.mkv") == ms(camera.frames[:10])
    assert stamps(tmp_path / "recording-002.mkv") == ms(camera.frames[20:])


def test_an_encoder_that_fails_is_not_asked_again_until_the_next_start(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def broken(self: PictureEncoder, image: ImageArray, shown: int, captured: float) -> list[StreamPacket]:
        asked.append(shown)
        raise RunError("libx264 stopped working: gone; start the recording again")

    recorder = made(mode="encode", before_s=60.0)
    with monkeypatch.context() as patched:
        patched.setattr(PictureEncoder, "encode", broken)
        camera = Camera(recorder).connect().run(10)
        until(lambda: recorder.state.state == "failed")
        camera.run(10)
        recorder.start(tmp_path, before_s=0.0)
    assert len(asked) == 1 and recorder.state.state == "on"
    camera.run(5)
    recorder.close()
    assert stamps(tmp_path / "recording.mkv") == ms(camera.frames[20:])


def test_what_nobody_thought_of_ends_the_recording_only(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made()
    camera = Camera(recorder).connect()
    recorder.start(tmp_path)
    camera.run(10)
    settle(recorder, tmp_path)
    monkeypatch.setattr(clip_module.Clip, "write", lambda *args: 1 // 0)
    camera.run(10)
    until(lambda: recorder.state.state == "failed")
    assert recorder.state.reason.startswith("recording failed (ZeroDivisionError: ")
    monkeypatch.setattr(clip_module.Clip, "__init__", lambda *args: 1 // 0)
    with pytest.raises(InputError, match="ZeroDivisionError"):
        recorder.start(tmp_path)


def test_an_end_that_cannot_be_written_is_said(
    tmp_path: Path, made: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(clip: clip_module.Clip, *args: Any) -> None:
        clip._sidecar.close()
        raise RunError("disk full while writing recording.jsonl; free some space and record again")

    recorder = made()
    recorder.start(tmp_path)
    camera = Camera(recorder).connect().run(10)
    recorder.stop()
    with monkeypatch.context() as patched:
        patched.setattr(clip_module.Clip, "end", broken)
        recorder.start(tmp_path)
        assert recorder.state.state == "on", "the new one has nothing to do with it"
    assert recorder.said == ("disk full while writing recording.jsonl; free some space and record again",)
    camera.run(10)
    recorder.close()
    assert stamps(tmp_path / "recording-002.mkv") == ms(camera.frames[10:])


def test_a_second_process_is_kept_out(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    first, second = made(), made()
    first.start(tmp_path)
    with pytest.raises(InputError, match="is being written by another process"):
        second.start(tmp_path)
    assert second.state.state == "failed" and first.state.state == "on"


def test_calls_after_the_end_do_nothing(tmp_path: Path, made: Callable[..., Recorder]) -> None:
    recorder = made(before_s=10.0)
    camera = Camera(recorder).connect().run(10)
    recorder.close()
    camera.run(10)
    recorder.stop()
    recorder.signalled(SignalChange("lost", 0.0, 0.0))
    with pytest.raises(InputError, match="the run is over"):
        recorder.start(tmp_path)
    recorder.close()
    assert not list(tmp_path.iterdir())
