"""Input that is broken or not a video: one clear line, or the frames that are there and a warning."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from test_capture_contract import free_port, nothing_left
from test_capture_media import number_in, picture, write_video

from endostream.capture import list_devices, open_source
from endostream.capture.video_file import VideoFile
from endostream.errors import RunError, SourceError

FAST = {"preset": "ultrafast", "g": "10", "bf": "0"}
FASTSTART = {"movflags": "faststart"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, index in front."""
    return write_video(
        tmp_path_factory.mktemp("clip") / "clip.mp4", range(50), options=FAST, container_options=FASTSTART
    )


def cut(path: Path, to: Path, part: float) -> Path:
    """The first part of a file: a share of it, or as many bytes."""
    data = path.read_bytes()
    to.write_bytes(data[: int(len(data) * part if isinstance(part, float) else part)])
    return to


def sound(path: Path) -> Path:
    """A file with nothing but sound, and a cover picture."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tiny(path: Path) -> Path:
    """A video of 2 x 2 pixels."""
    return write_video(path, range(3), options={"preset": "ultrafast"}, size=(2, 2), blank=True)


def text(path: Path, content: str = "colonoscopy of a text file\n" * 50) -> Path:
    """A file of text, whatever its name."""
    path.write_text(content)
    return path


def without_moov(clip: Path, path: Path) -> Path:
    """A recording that was cut off before its index was written."""
    whole = write_video(path.with_name("whole.mp4"), range(50), options=FAST)
    return cut(whole, path, 0.5)


def one_pixel(path: Path) -> Path:
    """A picture of one pixel."""
    Image.new("RGB", (1, 1)).save(path)
    return path


def folder(path: Path, *names: str) -> Path:
    """A folder with files that are no pictures."""
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"\x89PNG but not really")
    return path


def garbled(clip: Path, path: Path) -> Path:
    """A sound container around packets that no decoder understands."""
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = os.urandom(len(data) - start)
    path.write_bytes(data)
    return path


Make = Callable[[Path, Path], Path | str]
HOSTILE: dict[str, tuple[Make, str]] = {
    "missing": (lambda d, c: d / "gone.mp4", "no such file or device"),
    "missing bare word": (lambda d, c: "gone", "no such file or device"),
    "nothing": (lambda d, c: " ", "no source given"),
    "text as mp4": (lambda d, c: text(d / "t.mp4"), "not a video"),
    "text as txt": (lambda d, c: text(d / "t.txt"), "no video"),
    "html as mp4": (lambda d, c: text(d / "h.mp4", "<!DOCTYPE html><html></html>"), "not a video"),
    "playlist with a web address": (
        lambda d, c: text(d / "p.mp4", "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
        "video",
    ),
    "zero bytes": (lambda d, c: text(d / "z.mp4", ""), "empty"),
    "cut off without index": (lambda d, c: without_moov(c, d / "m.mp4"), "cut off"),
    "cut off in the index": (lambda d, c: cut(c, d / "i.mp4", 0.02), "cut off"),
    "index but no picture": (
        lambda d, c: cut(c, d / "n.mp4", c.read_bytes().index(b"mdat") + 8),
        "1 packets decode",
    ),
    "sound only": (lambda d, c: sound(d / "s.m4a"), "sound but no video"),
    "2x2 video": (lambda d, c: tiny(d / "two.mp4"), "2x2 pixels; at least 16x16"),
    "undecodable": (lambda d, c: garbled(c, d / "g.mp4"), "damaged or encrypted|holds no picture"),
    "1x1 picture": (lambda d, c: one_pixel(d / "one.png"), "1x1 pixels; at least 16x16"),
    "text as png": (lambda d, c: text(d / "t.png"), "not a readable picture"),
    "empty png": (lambda d, c: text(d / "e.png", ""), "empty"),
    "folder without pictures": (lambda d, c: folder(d / "f", "a.txt"), "holds no pictures"),
    "empty folder": (lambda d, c: folder(d / "f"), "holds no pictures"),
    "folder of broken pictures": (lambda d, c: folder(d / "f", "a.png", "b.jpg"), "none of the 2 pictures"),
    "unknown protocol": (lambda d, c: "gopher://127.0.0.1/x", "protocol gopher: is not known"),
    "srt without a port": (lambda d, c: "srt://127.0.0.1", "write srt://HOST:PORT"),
    "no host": (lambda d, c: "rtsp:", "without a host"),
    "bad port": (lambda d, c: "tcp://127.0.0.1:http", "address is wrong"),
    "phantom option": (lambda d, c: "phantom:?sede=3", "did you mean 'seed'"),
    "phantom size": (lambda d, c: "phantom:?size=big", "WIDTHxHEIGHT"),
    "phantom number": (lambda d, c: "phantom:?seconds=nan", "number from"),
    "no such device": (lambda d, c: "/dev/video97", "no video device '/dev/video97'"),
    "no such webcam": (lambda d, c: "webcam:No Such Card", "no video device"),
    "silent udp": (lambda d, c: f"udp://127.0.0.1:{free_port()}", "no picture within 0.2 s"),
    "refused tcp": (lambda d, c: f"tcp://127.0.0.1:{free_port()}", "onnection refused"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_analysed_is_said_in_one_line(
    name: str, tmp_path: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, said = HOSTILE[name]
    spec = str(make(tmp_path, clip))
    with pytest.raises(SourceError, match=said) as caught:
        open_source(spec, first_frame_timeout=0.2)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
    assert capfd.readouterr() == ("", "")


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything; nobody may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs Unix permissions")
@pytest.mark.parametrize("what", ["clip.mp4", "clip.png", "folder", "folder/clip.mp4"])
def test_what_may_not_be_read_says_so(clip: Path, what: str) -> None:
    with TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o755)
        (place / "folder").mkdir()
        for name in ("clip.mp4", "clip.png", "folder/clip.mp4"):
            cut(clip, place / name, 1.0).chmod(0)
        (place / "folder").chmod(0)
        with nobody(), pytest.raises(SourceError, match="may not be read"):
            open_source(str(place / what))
        (place / "folder").chmod(0o755)


def test_failed_opens_leave_nothing(clip: Path, tmp_path: Path) -> None:
    bad = [garbled(clip, tmp_path / "g.mp4"), tiny(tmp_path / "two.mp4"), text(tmp_path / "t.mp4")]
    with nothing_left():
        for path in bad:
            with pytest.raises(SourceError):
                open_source(str(path))


def test_a_cut_off_file_gives_what_is_there_and_says_what_is_missing(clip: Path, tmp_path: Path) -> None:
    with open_source(str(cut(clip, tmp_path / "cut.mp4", 0.6))) as source:
        frames = list(iter(source.read, None))
        warnings = source.warnings
    assert 10 < len(frames) < 45
    assert [number_in(f.image) for f in frames] == list(range(len(frames)))
    missing = 2.0 - len(frames) / 25
    assert any(f"ends early: {missing:.1f} s of 2.0 s are missing" in line for line in warnings)


def test_damaged_packets_are_counted_and_the_rest_is_delivered(tmp_path: Path) -> None:
    path = write_video(tmp_path / "d.avi", range(30), codec="mjpeg", pixels="yuvj420p")
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for number in (7, 20):
        where, size = places[number]
        assert where is not None
        start = data.index(b"\xff\xd8", where)
        data[start : start + size - 8] = bytes(size - 8)
    path.write_bytes(data)
    with open_source(str(path)) as source:
        frames = list(iter(source.read, None))
        assert source.skipped_packets == 2
        assert source.warnings == ("2 damaged packets were skipped",)
    expected = [n for n in range(30) if n not in (7, 20)]
    assert [number_in(f.image) for f in frames] == expected
    assert [f.time for f in frames] == pytest.approx([n / 25 for n in expected])


def test_a_change_of_size_is_delivered_as_it_is(tmp_path: Path) -> None:
    parts = [
        write_video(tmp_path / f"{w}.h264", range(10), options=FAST, format="h264", size=(w, h))
        for w, h in ((96, 64), (160, 96))
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(p.read_bytes() for p in parts))
    with open_source(str(path)) as source:
        frames = list(iter(source.read, None))
    assert [f.image.shape for f in frames] == [(64, 96, 3)] * 10 + [(96, 160, 3)] * 10
    assert all(b.time > a.time for a, b in pairwise(frames))
    assert frames[-1].time == pytest.approx(19 / 25, abs=0.05)


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    cover = picture(99, 192, 128)
    with av.open(str(path), "w") as container:
        art: Any = container.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 192, 128, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        still = av.VideoFrame.from_ndarray(cover)
        still.pts, still.time_base = 0, Fraction(1)
        container.mux(art.encode(still))
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(picture(number))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert any(s.disposition & av.stream.Disposition.attached_pic for s in container.streams.video)
    with open_source(str(path)) as source:
        assert [number_in(f.image) for f in iter(source.read, None)] == list(range(5))


def test_pixels_that_are_not_square_are_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "sar.mp4", range(3), options=FAST, aspect=Fraction(4, 3))
    with open_source(str(path)) as source:
        assert source.warnings == ("pixels are not square (4:3); analysed as stored",)
        assert (source.info.width, source.info.height) == (96, 64)


def test_connecting_can_be_given_up() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        stop = threading.Event()

        def accept_and_stop() -> None:
            connection, _ = listener.accept()
            stop.set()
            connection.close()

        peer = threading.Thread(target=accept_and_stop)
        peer.start()
        began = time.monotonic()
        with pytest.raises(SourceError):
            open_source(f"tcp://127.0.0.1:{port}", first_frame_timeout=30, cancelled=stop)
        peer.join()
    assert time.monotonic() - began < 5


def test_a_clip_behind_a_web_address_ends(clip: Path) -> None:
    body = clip.read_bytes()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        url = f"http://user:secret@127.0.0.1:{server.server_port}/patient.mp4?token=1"
        with open_source(url) as source:
            assert source.info.name == f"http://127.0.0.1:{server.server_port}"
            frames = list(iter(source.read, None))
            assert source.read() is None
        serving.join()
    assert [number_in(f.image) for f in frames] == list(range(50))
    assert {f.epoch for f in frames} == {0}


def test_a_disk_that_goes_away_fails_the_run(clip: Path, tmp_path: Path) -> None:
    path = cut(clip, tmp_path / "gone.ts", 1.0)
    source = open_source(str(path))
    assert isinstance(source, VideoFile)
    path.unlink()
    with source, pytest.raises(RunError, match=r"reading gone\.ts failed: No such file"):
        source._broken(av.error.InvalidDataError(1, "damaged"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceError, match="not a regular file"):
        open_source(str(tmp_path / "pipe.mp4"))


def test_devices_can_be_listed() -> None:
    assert all(d.id and d.name for d in list_devices())
