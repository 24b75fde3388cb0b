"""One contract that every source keeps, whatever its kind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_capture_media import HEIGHT, WIDTH, number_in, picture, write_video

from endostream.capture import open_source
from endostream.capture.source import Source
from endostream.errors import InputError, SourceError
from endostream.types import SignalChange

COUNT = 30
EVEN = tuple(range(COUNT))
UNEVEN = tuple(2 * i + i % 2 + 20 * (i > 14) for i in range(COUNT))
X264 = {"preset": "ultrafast", "g": "10", "bf": "0"}
BFRAMES = {"preset": "medium", "g": "12", "bf": "3", "b_strategy": "0"}
OPEN_GOP = {**BFRAMES, "x264-params": "open-gop=1"}


@dataclass(frozen=True)
class Case:
    """A source and what it must give."""

    make: Callable[[Path], str]
    pts: tuple[int, ...] = EVEN
    rate: int = 25
    numbered: bool = True
    warned: tuple[str, ...] = ()


def video(name: str, **how: object) -> Case:
    """A case with a video file of this name."""
    pts = how.pop("pts", EVEN)
    warned = how.pop("warned", ())
    assert isinstance(pts, tuple) and isinstance(warned, tuple)
    first = pts[0]
    return Case(
        lambda folder: str(write_video(folder / name, pts, **how)),  # type: ignore[arg-type]
        pts=tuple(p - first for p in pts),
        warned=warned,
    )


def folder_of_pictures(folder: Path) -> str:
    """Ten pictures of two sizes, and a file that is no picture."""
    there = folder / "pictures"
    there.mkdir()
    for number in range(10):
        height = HEIGHT + 16 * (number % 2)
        Image.fromarray(picture(number, height=height)).save(there / f"p{number:02d}.png")
    (there / "notes.txt").write_text("not a picture")
    return str(there)


def one_picture(folder: Path) -> str:
    """A single picture."""
    Image.fromarray(picture(0)).save(folder / "one.png")
    return str(folder / "one.png")


CASES: dict[str, Case] = {
    "mp4": video("a.mp4", options=X264),
    "mp4-bframes": video("b.mp4", options=BFRAMES),
    "mp4-open-gop": video("g.mp4", options=OPEN_GOP),
    "mp4-fragmented": video(
        "f.mp4", options=X264, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "mp4-uneven": video("u.mp4", options=BFRAMES, pts=UNEVEN),
    "mp4-late-start": video("l.mp4", options=BFRAMES, pts=tuple(range(75, 75 + COUNT))),
    "mp4-turned-90": video("t90.mp4", options=X264, turn=90),
    "mp4-turned-180": video("t180.mp4", options=X264, turn=180),
    "mp4-turned-270": video("t270.mp4", options=X264, turn=270),
    "mkv-bframes": video("b.mkv", options=BFRAMES),
    "mkv-uneven": video("u.mkv", options=X264, pts=UNEVEN),
    "mkv-late-start": video("l.mkv", options=X264, pts=tuple(range(75, 75 + COUNT))),
    "mov-mjpeg": video("m.mov", codec="mpeg4"),
    "avi-mpeg4": video("a.avi", codec="mpeg4"),
    "avi-x264": video("x.avi", options=X264),
    "avi-bframes": video("b.avi", options=BFRAMES),
    "mpegts": video("a.ts", options=X264, format="mpegts"),
    "mpegts-bframes": video("b.ts", options=BFRAMES, format="mpegts"),
    "mpegts-mpeg2": video("p.ts", codec="mpeg2video", format="mpegts"),
    "mpg-program": video("p.mpg", codec="mpeg2video"),
    "webm-vp8": video("a.webm", codec="libvpx", options={"deadline": "realtime", "cpu-used": "8"}),
    "raw-h264": video(
        "a.h264", options=X264, format="h264", warned=("29 frames without a usable time stamp were placed",)
    ),
    "pictures": Case(folder_of_pictures, pts=tuple(range(10)), rate=1),
    "picture": Case(one_picture, pts=(0,), rate=1),
    "phantom": Case(
        lambda folder: "phantom:?seed=3&seconds=0.4&size=96x64", tuple(range(10)), numbered=False
    ),
}


@pytest.fixture(scope="session")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The SOURCE of a case; its media are made once."""
    made: dict[str, str] = {}

    def spec(name: str) -> str:
        if name not in made:
            made[name] = CASES[name].make(tmp_path_factory.mktemp(name))
        return made[name]

    return spec


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every case in turn."""
    found: Case = CASES[request.param]
    return found


@pytest.fixture
def spec(request: pytest.FixtureRequest, case: Case, specs: Callable[[str], str]) -> str:
    """The SOURCE of the case."""
    return specs(next(n for n, c in CASES.items() if c is case))


def open_handles() -> set[str]:
    """Files, sockets and pipes that this process holds."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").is_dir() else ():
        try:
            found.add(f"{entry.name} {os.readlink(entry)}")
        except FileNotFoundError:
            continue
    return {line for line in found if "/proc/" not in line}


def kernel_threads() -> int:
    """Threads of this process, those of the decoder included."""
    return len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").is_dir() else 0


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails when the block leaves a thread or a file behind."""
    handles, threads, tasks = open_handles(), set(threading.enumerate()), kernel_threads()
    yield
    assert set(threading.enumerate()) <= threads
    assert open_handles() <= handles
    # A joined thread is gone for Python a moment before it is gone for the kernel.
    deadline = time.monotonic() + 5
    while kernel_threads() > tasks and time.monotonic() < deadline:
        os.sched_yield()
    assert kernel_threads() <= tasks


def times_of(case: Case) -> list[float]:
    """Stream times that the case was written with."""
    return [p / case.rate for p in case.pts]


def test_every_frame_is_delivered_as_promised(case: Case, spec: str) -> None:
    with open_source(spec) as source:
        frames = list(iter(source.read, None))
        assert [source.read() for _ in range(3)] == [None, None, None]
        info, warnings = source.info, source.warnings
    assert [f.index for f in frames] == list(range(len(case.pts)))
    assert [f.time for f in frames] == pytest.approx(times_of(case), abs=2e-3)
    assert frames[0].time == 0.0
    assert all(b.time > a.time for a, b in pairwise(frames))
    for frame in frames:
        assert frame.image.dtype == np.uint8 and frame.image.ndim == 3 and frame.image.shape[2] == 3
        assert frame.image.flags.c_contiguous and not frame.image.flags.writeable
        assert frame.epoch == 0
    if case.numbered:
        assert [number_in(f.image) for f in frames] == list(range(len(case.pts)))
    assert (info.height, info.width) == frames[0].image.shape[:2]
    assert warnings == case.warned and not info.live and info.seekable


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.numbered])
def test_colours_are_rgb_and_upright(name: str, specs: Callable[[str], str]) -> None:
    with open_source(specs(name)) as source:
        first = source.read()
    assert first is not None and first.image.shape == (HEIGHT, WIDTH, 3)
    seen, drawn = first.image[20:].astype(int), picture(0)[20:].astype(int)
    assert np.abs(seen - drawn).mean() < 6


@pytest.mark.parametrize("share", [0.0, 0.31, 0.5, 0.97])
def test_a_seek_lands_on_the_first_frame_not_before(case: Case, spec: str, share: float) -> None:
    times = times_of(case)
    wanted = share * times[-1]
    expected = next(i for i, t in enumerate(times) if t >= wanted - 1e-6)
    with open_source(spec) as source:
        for _ in range(min(3, len(times))):
            source.read()
        source.seek(wanted)
        frame = source.read()
        after = source.read()
    assert frame is not None and frame.epoch == 1
    assert frame.time == pytest.approx(times[expected], abs=2e-3)
    assert frame.index == min(3, len(times))
    if case.numbered:
        assert number_in(frame.image) == expected
        assert after is None or number_in(after.image) == expected + 1


def test_a_seek_works_after_the_end_and_past_it(case: Case, spec: str) -> None:
    with open_source(spec) as source:
        frames = list(iter(source.read, None))
        source.seek(frames[-1].time + 100)
        assert source.read() is None
        source.seek(frames[-1].time)
        last = source.read()
        assert last is not None and last.time == pytest.approx(frames[-1].time)
        assert np.array_equal(last.image, frames[-1].image)
        assert source.read() is None
        source.seek(0)
        first = source.read()
        assert first is not None and first.time == 0.0 and first.epoch == 3
        assert np.array_equal(first.image, frames[0].image)


def test_start_begins_late_without_an_epoch(case: Case, spec: str) -> None:
    times = times_of(case)
    middle = len(times) // 2
    with open_source(spec, start=times[middle]) as source:
        frames = list(iter(source.read, None))
    assert [f.time for f in frames] == pytest.approx(times[middle:], abs=2e-3)
    assert frames[0].index == 0 and frames[0].epoch == 0


def test_a_start_past_the_end_is_refused(case: Case, spec: str) -> None:
    with nothing_left(), pytest.raises(SourceError, match="ends before 1000 s; choose an earlier start"):
        open_source(spec, start=1000)


def test_closing_gives_everything_back(case: Case, spec: str) -> None:
    open_source(spec).close()
    with nothing_left():
        for stop_after in (0, 2):
            source = open_source(spec)
            for _ in range(stop_after):
                source.read()
            source.close()
            source.close()
            assert source.read() is None


def test_cancel_ends_reading(case: Case, spec: str) -> None:
    with open_source(spec) as source:
        caller = threading.Thread(target=source.cancel)
        caller.start()
        caller.join()
        assert source.read() is None and source.read() is None


# Live: the same promises, but nothing can be asked for again.

FFMPEG = shutil.which("ffmpeg")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def sender(clip: str, protocol: str, port: int, *pace: str) -> Iterator[None]:
    """Another program that sends the clip as MPEG-TS."""
    query = {"udp": "?pkt_size=1316", "tcp": "?listen=1"}[protocol]
    assert FFMPEG is not None
    line = [FFMPEG, "-v", "quiet", *pace, "-i", clip, "-c", "copy", "-f", "mpegts"]
    with subprocess.Popen([*line, f"{protocol}://127.0.0.1:{port}{query}"]) as process:
        try:
            yield
        finally:
            process.kill()


def read_some(source: Source, count: int) -> list[int]:
    """The numbers of the next frames, which must rise in time."""
    numbers, last = [], -1.0
    for _ in range(count):
        frame = source.read()
        assert frame is not None and frame.time > last and frame.index == len(numbers)
        assert frame.image.flags.c_contiguous and not frame.image.flags.writeable
        last = frame.time
        numbers.append(number_in(frame.image))
    return numbers


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not on PATH")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_stream_keeps_the_contract(protocol: str, specs: Callable[[str], str]) -> None:
    port = free_port()
    with (
        nothing_left(),
        sender(specs("mpegts"), protocol, port, "-re", "-stream_loop", "-1"),
        open_source(f"{protocol}://127.0.0.1:{port}") as source,
    ):
        assert source.info.live and not source.info.seekable and source.info.kind == "stream"
        assert source.info.name == f"{protocol}://127.0.0.1:{port}"
        numbers = read_some(source, 20)
        if protocol == "tcp":
            assert numbers[0] <= 3 and source.overrun == 0
            assert numbers == list(range(numbers[0], numbers[0] + 20))
        assert source.signal
        with pytest.raises(InputError):
            source.seek(0)
        waiting = threading.Thread(target=lambda: list(iter(source.read, None)))
        waiting.start()
        source.cancel()
        waiting.join(2)
        assert not waiting.is_alive()


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not on PATH")
def test_a_lost_stream_comes_back_in_a_new_epoch(specs: Callable[[str], str]) -> None:
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    told: list[SignalChange] = []
    lost = threading.Event()
    with sender(specs("mpegts"), "tcp", port, "-re"), open_source(url) as source:
        back = threading.Semaphore(0)
        source.watch(lambda c: (told.append(c), lost.set() if c.state == "lost" else back.release()))
        before = source.read()
        assert lost.wait(10) and not source.signal
        with sender(specs("mpegts"), "tcp", port, "-re"):
            after = before
            while after is not None and before is not None and after.epoch == before.epoch:
                after = source.read()
        assert before is not None and after is not None and after.epoch == before.epoch + 1
        assert after.time > before.time and number_in(after.image) <= 1
        assert all(back.acquire(timeout=10) for _ in range(2))
        assert [c.state for c in told[:3]] == ["good", "lost", "good"]
        height, width = after.image.shape[:2]
        assert told[0].detail == told[2].detail == source.detail == f"{width}x{height}, 25 fps, h264"
