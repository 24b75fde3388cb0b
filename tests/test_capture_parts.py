"""The parts of capture one by one: time lines, devices, pictures, the phantom as a source and as a file."""

from __future__ import annotations

import gc
import json
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from test_capture_media import picture, write_video

from endostream.capture import devices, open_source
from endostream.capture.devices import DeviceInfo, find_device, list_v4l2
from endostream.capture.phantom import Phantom
from endostream.capture.phantom_source import parse_phantom, write_phantom
from endostream.capture.pictures import read_picture
from endostream.capture.pixels import turned
from endostream.capture.timeline import Timeline
from endostream.capture.v4l2 import captures, describe, pixel_format
from endostream.errors import InputError, SourceError

FFMPEG = shutil.which("ffmpeg")
MS = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [
        ([0, 40, 80], [0, 0.04, 0.08]),
        ([-80, -40, 0], [0, 0.04, 0.08]),
        ([90_000, 90_040, 95_000], [0, 0.04, 5.0]),
        ([None, None, None], [0, 0.04, 0.08]),
        ([0, None, 80], [0, 0.04, 0.08]),
        ([0, 40, 40, 80], [0, 0.04, 0.041, 0.08]),
        ([0, 40, 30, 80], [0, 0.04, 0.041, 0.08]),
        ([5000, 5040, 0, 40], [0, 0.04, 0.08, 0.12]),
        ([None, 1000, 1040], [0, 0.04, 0.08]),
    ],
    ids=[
        "plain",
        "negative",
        "gap kept",
        "none",
        "one missing",
        "doubled",
        "swapped",
        "restart",
        "late stamps",
    ],
)
def test_time_rises_from_zero(stamps: list[int | None], seconds: list[float]) -> None:
    line = Timeline(0.04)
    assert [line.place(s, MS) for s in stamps] == pytest.approx(seconds, abs=1e-9)


def test_a_live_jump_is_worth_the_pause() -> None:
    line = Timeline(0.04, jump=10.0)
    line.place(0, MS)
    assert line.place(500_000, MS, pause=2.0) == pytest.approx(2.0)
    assert line.place(500_040, MS) == pytest.approx(2.04)
    assert line.breaks == 1 and not line.stamped


def test_after_a_reconnect_time_goes_on() -> None:
    line = Timeline(0.04)
    line.place(1000, MS)
    line.rejoin(7.0)
    assert [line.place(s, MS) for s in (50, 90)] == pytest.approx([7.0, 7.04])
    line.rejoin(1.0)
    assert line.place(3, MS) == pytest.approx(7.08)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_pictures_are_turned_counter_clockwise(quarter: int) -> None:
    image = picture(5)
    assert np.array_equal(turned(image, (quarter, False)), np.rot90(image, quarter))
    mirrored = turned(image, (quarter, True))
    assert np.array_equal(mirrored, np.rot90(image, quarter)[:, ::-1]) and mirrored.flags.c_contiguous


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not on PATH")
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("a,b", [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_every_display_matrix_is_applied(tmp_path: Path, a: int, b: int, mirrored: bool) -> None:
    path = tmp_path / "m.mp4"
    sign = -1 if mirrored else 1
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_matrix([v * 65536 for v in (sign * a, b, 0, sign * -b, a, 0, 0, 0, 16384)])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(5))))
        container.mux(stream.encode(None))
    with open_source(str(path)) as source:
        frame = source.read()
    assert FFMPEG is not None and frame is not None
    line = [FFMPEG, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    theirs = np.frombuffer(subprocess.run(line, capture_output=True, check=True).stdout, np.uint8)
    assert frame.image.shape == ((64, 96, 3) if b == 0 else (96, 64, 3))
    assert np.abs(frame.image.astype(int) - theirs.reshape(frame.image.shape)).max() <= 2


# Devices


@pytest.fixture
def three_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three devices, two of one make."""
    found = [
        DeviceInfo("/dev/video0", "Integrated Camera", "v4l2"),
        DeviceInfo("/dev/video2", "USB Video: Magewell One", "v4l2", ("YUYV",)),
        DeviceInfo("/dev/video4", "USB Video: Magewell Two", "v4l2"),
    ]
    monkeypatch.setattr(devices, "list_devices", lambda: found)


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        ("webcam:0", "/dev/video0"),
        ("2", "/dev/video2"),
        ("/dev/video4", "/dev/video4"),
        ("webcam:", "/dev/video0"),
        ("integrated camera", "/dev/video0"),
        ("webcam:magewell one", "/dev/video2"),
    ],
)
def test_the_device_that_is_meant_is_found(three_devices: None, spec: str, file: str) -> None:
    assert devices.looks_like_device(spec)
    assert find_device(spec).file == file


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("webcam:1", r"there are /dev/video0 \(Integrated Camera\)"),
        ("webcam:magewell", "fits 2 devices"),
        ("webcam:no such", "no video device"),
    ],
)
def test_a_device_is_never_guessed(three_devices: None, spec: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        find_device(spec)


@pytest.mark.skipif(sys.platform != "linux", reason="Video4Linux")
def test_nodes_are_listed_by_number_with_the_kernels_names(tmp_path: Path) -> None:
    names, nodes = tmp_path / "class", tmp_path / "dev"
    nodes.mkdir()
    for node in ("video10", "video2", "videodrome", "vbi0"):
        (nodes / node).write_bytes(b"")
    (names / "video2").mkdir(parents=True)
    (names / "video2" / "name").write_text("Capture Card\n")
    found = list_v4l2(names, nodes)
    assert [(Path(d.id).name, d.name) for d in found] == [("video2", "Capture Card"), ("video10", "video10")]
    assert describe(nodes / "video2").captures


def test_the_kernels_answers_are_understood() -> None:
    def capability(whole: int, own: int) -> bytes:
        return struct.pack("=16s32s32sIII12x", b"uvc", b"card", b"usb", 1, whole, own)

    assert captures(capability(0x1, 0))
    assert captures(capability(0x80000001, 0x1))
    assert not captures(capability(0x80000001, 0x800000))
    assert pixel_format(struct.pack("=III32s4s16x", 0, 1, 0, b"YUYV 4:2:2", b"YUYV")) == "YUYV"


# Pictures


def test_pictures_of_every_kind_are_rgb(tmp_path: Path) -> None:
    drawn = picture(3)
    for name in ("a.png", "a.bmp", "a.tif", "a.jpg", "a.webp"):
        Image.fromarray(drawn).save(tmp_path / name, quality=95)
        seen = read_picture(tmp_path / name)
        assert seen.shape == drawn.shape and seen.dtype == np.uint8
        assert np.abs(seen.astype(int) - drawn).mean() < 4
    Image.fromarray(drawn).convert("RGBA").save(tmp_path / "rgba.png")
    assert np.array_equal(read_picture(tmp_path / "rgba.png"), drawn)
    grey = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 64
    Image.fromarray(grey).save(tmp_path / "deep.png")
    seen = read_picture(tmp_path / "deep.png")
    assert seen.shape == (32, 32, 3) and np.abs(seen[:, :, 1].astype(int) - grey // 257).max() <= 1


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(3)).save(tmp_path / "p.jpg", exif=exif, quality=95)
    assert read_picture(tmp_path / "p.jpg").shape == (96, 64, 3)


def test_a_picture_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    Image.fromarray(picture(0)[:8, :8]).save(tmp_path / "2.png")
    with open_source(str(tmp_path)) as source:
        frames = list(iter(source.read, None))
        assert [(f.file, f.index, f.time) for f in frames] == [("0.png", 0, 0.0), ("3.png", 1, 1.0)]
        assert source.skipped_packets == 2
        assert [w.split(":")[0] for w in source.warnings] == ["left out"] * 2
        assert "1.png" in source.warnings[0] and "8x8 pixels" in source.warnings[1]
        source.seek(1.0)
        again = source.read()
        assert again is not None and again.file == "3.png" and again.time == 1.0
    assert source.info.kind == "pictures" and source.info.independent


# The phantom


def test_phantom_options_are_taken() -> None:
    phantom = parse_phantom("phantom:?seed=3&seconds=2&size=160x96&fps=10")
    assert (phantom.seed, phantom.width, phantom.height, phantom.frames) == (3, 160, 96, 20)


@pytest.mark.parametrize(
    "spec", ["phantom:?seed=-1", "phantom:?size=8x8", "phantom:?fps=0", "phantom:?seconds=x"]
)
def test_phantom_options_that_make_no_sense(spec: str) -> None:
    with pytest.raises(InputError):
        open_source(spec)


def test_a_phantom_is_written_with_its_truth(tmp_path: Path) -> None:
    phantom = Phantom(3, 96, 64, 0.2, 25.0)
    path = tmp_path / "out" / "p.mp4"
    write_phantom(path, phantom, tmp_path / "truth")
    with open_source(str(path)) as source:
        frames = list(iter(source.read, None))
    assert [f.time for f in frames] == pytest.approx([i / 25 for i in range(5)], abs=1e-3)
    assert np.abs(frames[2].image.astype(int) - phantom.frame(2).image).mean() < 8
    assert len(list((tmp_path / "truth" / "masks").glob("*.png"))) == 5
    assert json.loads((tmp_path / "truth" / "truth.json").read_text())["frames"] == 5


def test_a_phantom_source_is_the_phantom(tmp_path: Path) -> None:
    with open_source("phantom:?seed=3&seconds=0.2&size=96x64") as source:
        frames = list(iter(source.read, None))
    assert np.array_equal(frames[3].image, Phantom(3, 96, 64, 0.2, 25.0).frame(3).image)


def test_pictures_are_given_back_without_the_garbage_collector(tmp_path: Path) -> None:
    """A decoded frame in a reference cycle stays until a full collection: gigabytes of 1080p."""
    clip = write_video(tmp_path / "clip.mp4", range(40))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        with open_source(str(clip)) as source:
            read = 0
            while source.read() is not None:
                read += 1
        gc.collect()
        kept = [o for o in gc.garbage if isinstance(o, av.VideoFrame)]
        assert read == 40 and all(max(o.width, o.height) <= 16 for o in kept) and len(kept) <= 2
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
