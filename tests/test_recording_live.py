"""A live source into the recorder, over this computer: what was captured is what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from packets import picture
from test_recording_recorder import RULES

from endostream.capture import open_source
from endostream.capture.loopback import Clip, encode_clip, open_sender
from endostream.capture.loopback.protocols import Protocol
from endostream.capture.pixels import RgbConverter
from endostream.capture.recording import milliseconds
from endostream.capture.source import Source
from endostream.pipeline.recorder import Recorder
from endostream.records.sidecar import Sidecar, read_sidecar
from endostream.types import Frame

RATE = 50


@pytest.fixture(scope="module")
def clip() -> Clip:
    return encode_clip([picture(n, 320, 192) for n in range(200)], RATE)


@pytest.fixture(scope="module")
def smaller() -> Clip:
    return encode_clip([picture(n, 192, 128) for n in range(200)], RATE)


def take(source: Source, recorder: Recorder, done: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Read until `done`; every frame is told to the recorder, as a run would."""
    frames: list[Frame] = []
    while not done(frames):
        frame = source.read()
        assert frame is not None
        frames.append(frame)
        recorder.frame(frame)
        recorder.fate(frame, "busy")
    return frames


def recorded(folder: Path, sidecar: Sidecar) -> dict[tuple[int, int], np.ndarray]:
    """The pictures of all parts by epoch and millisecond."""
    found = {}
    for part in sidecar.parts:
        converter = RgbConverter()
        with av.open(str(folder / part.file)) as container:
            for decoded in container.decode(video=0):
                found[part.epoch, decoded.pts] = converter.convert(decoded)
    return found


def check(folder: Path, frames: list[Frame]) -> Sidecar:
    """Every frame from the first one recorded on has a line, and its picture is there bit for bit."""
    sidecar = read_sidecar(folder / "recording.jsonl")
    pictures = recorded(folder, sidecar)
    lines = {line.index: line for line in sidecar.frames}
    kept = [f for f in frames if f.index >= sidecar.frames[0].index]
    assert [f.index for f in kept] == sorted(lines)
    for frame in kept:
        assert frame.pts == lines[frame.index].pts and frame.time == lines[frame.index].time
        place = (frame.epoch, milliseconds(frame.pts or 0, frame.time_base))
        assert np.array_equal(pictures[place], frame.image), place
    return sidecar


@pytest.mark.parametrize("protocol", ["udp", "tcp", "rtsp", "http"])
def test_every_frame_is_recorded_bit_for_bit(tmp_path: Path, clip: Clip, protocol: Protocol) -> None:
    recorder = Recorder(RULES)
    with open_sender(protocol, clip) as sender, open_source(sender.url, tap=recorder) as source:
        recorder.start(tmp_path)
        frames = take(source, recorder, lambda seen: len(seen) >= 60)
        recorder.close()
    sidecar = check(tmp_path, frames)
    (part,) = sidecar.parts
    assert (part.codec, part.width, part.height, part.mode) == ("h264", 320, 192, "copy")
    assert len(sidecar.frames) >= 60 - RATE / 2 - 5, "from the next key frame on"


def test_a_cut_and_another_size_begin_new_files(tmp_path: Path, clip: Clip, smaller: Clip) -> None:
    recorder = Recorder(RULES)
    with open_sender("tcp", clip) as sender, open_source(sender.url, tap=recorder) as source:
        recorder.start(tmp_path)
        frames = take(source, recorder, lambda seen: len(seen) >= 40)
        sender.cut()
        sender.restore()
        first = frames[-1].epoch
        frames += take(source, recorder, lambda seen: len(seen) >= 30 and seen[-1].epoch > first)
        sender.switch(smaller)
        frames += take(source, recorder, lambda seen: sum(f.image.shape[1] == 192 for f in seen) >= 40)
        recorder.close()
    sidecar = check(tmp_path, frames)
    assert [(p.width, p.height) for p in sidecar.parts] == [(320, 192), (320, 192), (192, 128)]
    assert sorted({p.epoch for p in sidecar.parts}) == sorted({f.epoch for f in frames})
