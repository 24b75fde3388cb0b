"""Video files that we write: colours and times come back, and a file is whole or has another name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from test_capture_contract import nothing_left
from test_capture_media import number_in, picture

from endostream.capture import VideoWriter, encode, open_source
from endostream.errors import RunError
from endostream.types import Frame

COLOURS = np.array(
    [(200, 40, 30), (30, 180, 60), (40, 60, 220), (128, 128, 128), (250, 250, 250), (5, 5, 5), (220, 180, 40)]
)
BT709 = "scale=out_color_matrix=bt709"
X264 = ["libx264", "-pix_fmt", "yuv420p"]
FFMPEG = shutil.which("ffmpeg")


def stripes(width: int, height: int) -> np.ndarray:
    """Upright stripes of known colours."""
    column = np.minimum(np.arange(width) * len(COLOURS) // width, len(COLOURS) - 1)
    return np.ascontiguousarray(np.broadcast_to(COLOURS[column].astype(np.uint8), (height, width, 3)))


def middles(image: np.ndarray) -> np.ndarray:
    """The colour in the middle of every stripe."""
    height, width = image.shape[:2]
    places = [int((i + 0.5) * width / len(COLOURS)) for i in range(len(COLOURS))]
    return image[height // 2, places].astype(int)


def frames_of(path: Path) -> list[Frame]:
    """Everything in a file."""
    with open_source(str(path)) as source:
        return list(iter(source.read, None))


def written(path: Path, times: list[float], **how: object) -> Path:
    """A file of numbered pictures at these times."""
    with VideoWriter(path, width=96, height=64, fps=25, **how) as writer:  # type: ignore[arg-type]
        for number, at in enumerate(times):
            writer.write(picture(number), at)
    return path


@pytest.mark.parametrize("size", [(224, 160), (1280, 720)], ids=["bt601", "bt709"])
def test_colours_come_back(tmp_path: Path, size: tuple[int, int]) -> None:
    image = stripes(*size)
    path = tmp_path / "flat.mp4"
    with VideoWriter(path, width=size[0], height=size[1], fps=25) as writer:
        for number in range(3):
            writer.write(image, number / 25)
    with av.open(str(path)) as container:
        marked = container.streams.video[0].codec_context
        assert marked.colorspace == (1 if size[1] == 720 else 6) and marked.color_range == 1
        assert marked.pix_fmt == "yuv420p" and marked.name == "h264"
    seen = frames_of(path)[0].image
    assert np.abs(middles(seen) - COLOURS).max() <= 4
    # Between two stripes half the columns share their colour with the neighbour (4:2:0): not flat.
    flat = [c for c in range(8, size[0] - 8) if (image[0, c - 8 : c + 8] == image[0, c]).all()]
    error = np.mean((seen.astype(float) - image)[:, flat] ** 2)
    assert 10 * np.log10(255**2 / error) > 42


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not on PATH")
@pytest.mark.parametrize(
    ("size", "how", "codec"),
    [
        ("224x160", "", X264),
        (
            "224x160",
            BT709,
            [*X264, "-colorspace", "bt709"],
        ),
        ("224x160", "scale=out_range=full", [*X264, "-color_range", "pc"]),
        ("224x160", "", ["libx264", "-pix_fmt", "yuv444p10le"]),
        ("224x160", "", ["mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "1"]),
        ("224x160", "", ["ffv1", "-pix_fmt", "bgr0"]),
        ("1280x720", BT709, X264),
        (
            "1280x720",
            "scale=out_color_matrix=bt601",
            [*X264, "-colorspace", "smpte170m"],
        ),
    ],
    ids=["sd", "sd709", "full", "444-10", "mjpeg", "rgb", "hd", "hd601"],
)
def test_what_ffmpeg_wrote_has_the_right_colours(
    tmp_path: Path, size: str, how: str, codec: list[str]
) -> None:
    width, height = (int(v) for v in size.split("x"))
    path = tmp_path / "v.mkv"
    assert FFMPEG is not None
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", "-"]
    extra = ["-vf", how] if how else []
    quality = ["-crf", "4", "-preset", "ultrafast"] if codec[0] == "libx264" else []
    subprocess.run(
        [FFMPEG, "-v", "error", *raw, *extra, "-c:v", *codec, *quality, str(path)],
        input=stripes(width, height).tobytes(),
        check=True,
    )
    assert np.abs(middles(frames_of(path)[0].image) - COLOURS).max() <= 4


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not on PATH")
def test_a_frame_is_what_ffmpeg_makes_of_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", [0.0, 0.04])
    assert FFMPEG is not None
    line = [
        FFMPEG,
        "-v",
        "error",
        "-i",
        str(path),
        "-frames:v",
        "1",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    theirs = np.frombuffer(subprocess.run(line, capture_output=True, check=True).stdout, np.uint8)
    ours = frames_of(path)[0].image.astype(int)
    assert np.abs(ours - theirs.reshape(64, 96, 3)).max() <= 2


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_uneven_times_come_back(tmp_path: Path, container: str) -> None:
    times = [0.0, 0.04, 0.05, 0.3, 0.31, 1.0, 1.033]
    frames = frames_of(written(tmp_path / "v", times, container=container))
    assert [number_in(f.image) for f in frames] == list(range(len(times)))
    assert [f.time for f in frames] == pytest.approx(times, abs=1e-3)


def test_the_first_picture_is_at_time_zero_and_the_distance_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mp4", [12.5, 12.54, 13.0], time_base=Fraction(1, 1000))
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == 0
    assert [f.time for f in frames_of(path)] == pytest.approx([0.0, 0.04, 0.5], abs=1e-3)


def test_times_that_do_not_rise_are_made_to(tmp_path: Path) -> None:
    frames = frames_of(written(tmp_path / "v.mp4", [0.0, 0.0, -1.0, 0.2]))
    assert [number_in(f.image) for f in frames] == [0, 1, 2, 3]
    assert frames[-1].time == pytest.approx(0.2, abs=1e-3)


def test_odd_sizes_are_padded_with_their_edge(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    image = stripes(97, 65)
    with VideoWriter(path, width=97, height=65, fps=25) as writer:
        writer.write(image, 0)
    seen = frames_of(path)[0].image
    assert seen.shape == (66, 98, 3)
    assert np.abs(seen[65, 97].astype(int) - image[64, 96]).max() < 12


def test_a_picture_of_another_size_is_fitted(tmp_path: Path) -> None:
    path = tmp_path / "fit.mp4"
    with VideoWriter(path, width=96, height=64, fps=25) as writer:
        writer.write(picture(0), 0)
        writer.write(np.full((128, 128, 3), 200, np.uint8), 0.04)
    seen = frames_of(path)[1].image.astype(int)
    assert abs(seen[32, 48].mean() - 200) < 6 and seen[32, 4].mean() < 12 and seen[32, 91].mean() < 12


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with nothing_left():
        writer = VideoWriter(path, width=96, height=64, fps=25)
        writer.write(picture(0), 0)
        assert not path.exists() and writer.part.name == "v.mp4.part" and writer.part.exists()
        writer.close()
        writer.close()
        assert path.exists() and not writer.part.exists() and writer.frames == 1
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")
        with pytest.raises(RuntimeError):
            writer.write(picture(1), 1)
        del writer


def test_without_a_picture_there_is_no_file(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "v.mp4", width=96, height=64, fps=25).close()
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_only_the_part(tmp_path: Path) -> None:
    code = (
        "import os, numpy, sys; from pathlib import Path; from endostream.capture import VideoWriter\n"
        "w = VideoWriter(Path(sys.argv[1]), width=96, height=64, fps=25)\n"
        "w.write(numpy.zeros((64, 96, 3), numpy.uint8), 0)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "v.mp4")], check=False)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4.part"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    path.with_name("v.mkv.part").symlink_to("/dev/full")
    noise = np.random.default_rng(0)
    with nothing_left():
        writer = VideoWriter(
            path, width=320, height=240, fps=25, container="matroska", crf=0, preset="ultrafast"
        )
        with pytest.raises(RunError, match=r"disk full while writing v\.mkv; free some space") as caught:
            for number in range(60):
                writer.write(noise.integers(0, 255, (240, 320, 3), dtype=np.uint8), number / 25)
        assert caught.value.exit_code == 1
        writer.close()
        del writer, caught
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"v\.mp4 cannot be written: No such file or directory; check the folder"
    ):
        VideoWriter(tmp_path / "gone" / "v.mp4", width=96, height=64, fps=25)


def test_without_x264_the_fallback_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "ENCODERS", ("no-such-encoder", "mpeg4"))
    times = [0.0, 0.04, 0.3]
    frames = frames_of(written(tmp_path / "v.mp4", times))
    assert [number_in(f.image) for f in frames] == [0, 1, 2]
    assert [f.time for f in frames] == pytest.approx(times, abs=1e-3)
