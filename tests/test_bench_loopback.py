"""The file sent to this computer itself: one time line, the file's pace, and nothing left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import numpy as np
import pytest
from small import tissue, write_video

from endostream.capture.loopback import LoopbackSource, Sender
from endostream.errors import InputError, RunError

FRAMES, RATE = 15, 50


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of a second, with pictures out of order (B-frames) as encoders make them."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES, fps=RATE)


def test_rounds_follow_each_other_on_one_time_line_at_the_files_pace(clip: Path) -> None:
    with LoopbackSource(clip) as source:
        assert (source.info.name, source.info.live) == ("loopback:clip.mp4", True)
        frames = [source.read() for _ in range(3 * FRAMES)]
        overrun = source.overrun
        with pytest.raises(InputError):
            source.seek(0.0)
        source.cancel()
        assert source.read() is None
        assert source.warnings == ()
    times = [frame.time for frame in frames if frame is not None]
    # A live source gives up what nobody took in time, and counts it: no other picture may be missing.
    steps = np.diff(times) * RATE
    assert steps == pytest.approx(np.maximum(1.0, np.round(steps)), abs=0.05)
    assert np.round(steps - 1.0).sum() <= overrun
    assert {frame.epoch for frame in frames if frame is not None} == {0}
    clock = frames[-1].captured - frames[FRAMES].captured  # type: ignore[union-attr]
    # The first round may come in one piece, out of the buffer; then no faster than it was filmed.
    assert clock > 0.6 * (times[-1] - times[FRAMES])


def test_pictures_arrive_as_they_are_in_the_file(clip: Path) -> None:
    with LoopbackSource(clip) as source:
        first = source.read()
    assert first is not None
    assert np.abs(first.image.astype(int) - tissue(0)).mean() < 12


def test_a_file_that_goes_away_is_told_to_the_reader(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    with LoopbackSource(copy) as source:
        copy.unlink()
        with pytest.raises(RunError, match=r"sending copy\.mp4 failed"):
            # The round in progress goes on; the next one finds no file.
            while source.read() is not None:
                pass


def test_a_sender_that_nobody_hears_ends_when_told(clip: Path) -> None:
    sender = Sender(clip)
    sender.close()
    sender.close()
    assert sender.error is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("send ")]


def test_only_h264_is_sent_and_the_message_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(tissue(index), format="rgb24")))
        out.mux(stream.encode(None))
    with pytest.raises(InputError, match="mpeg4") as caught:
        LoopbackSource(path)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InputError, match="no such file"):
        LoopbackSource(tmp_path / "nothing.mp4")
