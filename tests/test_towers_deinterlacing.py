"""Interlaced pictures become whole ones; nothing is lost, reordered, delayed without need, or recoloured."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from test_capture_media import number_in, write_video

from endostream.capture.deinterlacing import SETTLED, Deinterlacer
from endostream.capture.pixels import RgbConverter, turn_of

RATE = 25
INTERLACED = {"preset": "ultrafast", "bf": "0", "x264-params": "tff=1"}
PROGRESSIVE = {"preset": "ultrafast", "bf": "0"}
BT601, BT709, LIMITED, FULL = 5, 1, 1, 2


def bar_at(field: int) -> int:
    """Left edge of the moving bar in the field counted from 0."""
    return 40 + 8 * field


def write_moving(
    path: Path, count: int = 12, *, flagged: bool = True, size: tuple[int, int] = (720, 576)
) -> Path:
    """A bright bar that moves from field to field, top field first; `flagged` says so in the stream."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.options = INTERLACED if flagged else PROGRESSIVE
        for number in range(count):
            image = np.full((height, width, 3), 30, np.uint8)
            for parity in (0, 1):
                left = bar_at(2 * number + parity)
                image[parity::2, left : left + 80] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[av.VideoFrame]:
    """Every picture of a file."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def run(deinterlacer: Deinterlacer, frames: Iterable[av.VideoFrame]) -> list[av.VideoFrame]:
    """Everything that comes out."""
    return [out for frame in frames for out in deinterlacer.feed(frame)] + deinterlacer.flush()


def combing(frame: av.VideoFrame) -> float:
    """How much neighbouring lines differ beyond what lines two apart differ."""
    luma = frame.to_ndarray(format="gray").astype(np.int16)
    return float(np.abs(luma[1:-1] - luma[:-2]).mean() - np.abs(luma[2:] - luma[:-2]).mean())


def stamps(frames: Iterable[av.VideoFrame]) -> list[tuple[int | None, int | None, Fraction | None]]:
    """What must survive."""
    return [(f.pts, f.dts, f.time_base) for f in frames]


def made(count: int, width: int = 64, height: int = 48, pixels: str = "yuv420p") -> list[av.VideoFrame]:
    """Pictures that no decoder gave."""
    frames = [av.VideoFrame(width, height, pixels) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = 3 * number, Fraction(1, 75)
    return frames


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[av.VideoFrame]]:
    """576i flagged and unflagged, and numbered progressive pictures."""
    folder = tmp_path_factory.mktemp("interlaced")
    return {
        "interlaced": decoded(write_moving(folder / "i.mp4")),
        "unflagged": decoded(write_moving(folder / "u.mp4", flagged=False)),
        "numbered": decoded(write_video(folder / "p.mp4", range(60), options=PROGRESSIVE)),
        "numbered-interlaced": decoded(write_video(folder / "n.mp4", range(60), options=INTERLACED)),
    }


@pytest.mark.parametrize(
    ("mode", "clip"), [("auto", "interlaced"), ("on", "interlaced"), ("on", "unflagged")]
)
def test_the_comb_is_gone_and_the_picture_is_that_of_its_own_moment(
    clips: dict[str, list[av.VideoFrame]], mode: str, clip: str
) -> None:
    frames = clips[clip]
    out = run(Deinterlacer(mode), frames)  # type: ignore[arg-type]
    assert stamps(out) == stamps(frames)
    assert len({f.pts for f in out}) == len(out) == 12
    assert min(combing(f) for f in frames) > 2.0
    # The first and last one lack a neighbour.
    assert max(combing(f) for f in out[1:-1]) < 0.2
    for number, frame in enumerate(out):
        bright = np.flatnonzero(frame.to_ndarray(format="gray")[288] > 120)
        assert abs(int(bright[0]) - bar_at(2 * number)) <= 8
        assert not frame.interlaced_frame


@pytest.mark.parametrize(
    ("mode", "clip"), [("auto", "numbered"), ("auto", "unflagged"), ("off", "interlaced")]
)
def test_what_needs_nothing_passes_as_the_same_object_at_once(
    clips: dict[str, list[av.VideoFrame]], mode: str, clip: str
) -> None:
    deinterlacer = Deinterlacer(mode)  # type: ignore[arg-type]
    for frame in clips[clip]:
        assert [id(f) for f in deinterlacer.feed(frame)] == [id(frame)]
    assert deinterlacer.flush() == [] and not deinterlacer.active


def test_the_delay_is_one_picture_and_flush_gives_the_last(clips: dict[str, list[av.VideoFrame]]) -> None:
    deinterlacer = Deinterlacer()
    frames = clips["interlaced"]
    counts = [len(deinterlacer.feed(frame)) for frame in frames]
    assert counts == [0] + [1] * (len(frames) - 1)
    assert [f.pts for f in deinterlacer.flush()] == [frames[-1].pts]
    assert deinterlacer.flush() == [] and not deinterlacer.active
    assert [f.pts for f in run(deinterlacer, frames[:1])] == [frames[0].pts]


def test_auto_follows_a_change_of_material_without_losing_or_reordering(
    clips: dict[str, list[av.VideoFrame]],
) -> None:
    combed, plain = clips["numbered-interlaced"], clips["numbered"]
    fed = [*plain[:3], *combed[3:10], *plain[10:50], *combed[50:60]]
    deinterlacer = Deinterlacer()
    out = run(deinterlacer, fed)
    assert [number_in(f.to_ndarray(format="rgb24")) for f in out] == list(range(60))
    assert stamps(out) == stamps(fed)
    untouched = [i for i, (a, b) in enumerate(zip(fed, out, strict=True)) if a is b]
    assert untouched == [0, 1, 2, *range(10 + SETTLED - 1, 50)]
    # Progressive pictures that still go through are not altered.
    for i in range(12, 20):
        assert np.array_equal(fed[i].to_ndarray(), out[i].to_ndarray())


def test_one_stray_progressive_picture_costs_nothing(clips: dict[str, list[av.VideoFrame]]) -> None:
    combed, plain = clips["numbered-interlaced"], clips["numbered"]
    deinterlacer = Deinterlacer()
    counts = [len(deinterlacer.feed(f)) for f in (*combed[:5], plain[5], *combed[6:10])]
    assert counts == [0] + [1] * 9
    deinterlacer.close()
    assert deinterlacer.flush() == []


def test_size_format_rate_and_time_base_may_change_between_pictures(
    clips: dict[str, list[av.VideoFrame]],
) -> None:
    small = clips["numbered"]
    fed = [*clips["interlaced"][:4], *made(3, 128, 96), *made(3, 128, 96, "yuv422p"), *made(1), *small[:3]]
    for number, frame in enumerate(fed):
        frame.opaque = number
    out = run(Deinterlacer("on"), fed)
    assert stamps(out) == stamps(fed)
    assert [f.opaque for f in out] == list(range(len(fed)))
    assert [(f.width, f.height) for f in out] == [(f.width, f.height) for f in fed]


def test_from_576i_to_720p_the_next_picture_passes_at_once(clips: dict[str, list[av.VideoFrame]]) -> None:
    deinterlacer = Deinterlacer()
    before, after = clips["interlaced"][:4], made(1, 1280, 720)[0]
    for frame in before:
        deinterlacer.feed(frame)
    out = deinterlacer.feed(after)
    assert [f.pts for f in out] == [before[-1].pts, after.pts]
    assert out[-1] is after and not deinterlacer.active


def test_pictures_without_stamps_get_none() -> None:
    frames = [av.VideoFrame(64, 48, "yuv420p") for _ in range(4)]
    assert stamps(run(Deinterlacer("on"), frames)) == [(None, None, None)] * 4


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv422p", "yuvj422p", "nv12", "yuyv422", "uyvy422", "yuv422p10le"]
)
@pytest.mark.parametrize(("matrix", "value_range"), [(BT601, LIMITED), (BT709, LIMITED), (BT709, FULL)])
def test_colours_survive(pixels: str, matrix: int, value_range: int) -> None:
    """What a capture card gives comes out in the same colours as without deinterlacing."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(
        [np.tile(ramp, (48, 1)), np.tile(ramp[::-1], (48, 1)), np.full((48, 64), 80, np.uint8)], 2
    )
    source = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = source.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=value_range)
    frame.colorspace, frame.color_range = matrix, value_range
    out = run(Deinterlacer("on"), [frame] * 3)
    wanted = RgbConverter().convert(frame).astype(int)
    assert np.abs(wanted - image).mean() < 6
    for picture in out:
        assert picture.colorspace == frame.colorspace
        assert np.abs(RgbConverter().convert(picture).astype(int) - wanted).max() <= 4


def test_the_way_up_survives(tmp_path: Path) -> None:
    frames = decoded(write_video(tmp_path / "turned.mp4", range(5), options=INTERLACED, turn=90))
    assert turn_of(frames[0]) != (0, False)
    out = run(Deinterlacer(), frames)
    assert [turn_of(f) for f in out] == [turn_of(f) for f in frames]
    assert [number_in(RgbConverter().convert(f)) for f in out] == list(range(5))


def test_what_libav_cannot_deinterlace_passes_with_a_warning() -> None:
    deinterlacer = Deinterlacer("on")
    good, tiny = made(3), made(3, 2, 2)
    out = run(deinterlacer, [*good, *tiny])
    assert len(out) == 6 and all(a is b for a, b in zip(out[3:], tiny, strict=True))
    assert "2x2 yuv420p pictures cannot be deinterlaced" in deinterlacer.warning
    assert "\n" not in deinterlacer.warning


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc to measure memory")
def test_memory_does_not_grow_over_5000_pictures() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    deinterlacer = Deinterlacer("on")
    before = 0
    for number in range(5000):
        frame = av.VideoFrame(192, 144, "yuv420p")
        frame.pts = number
        for out in deinterlacer.feed(frame):
            assert out.pts == number - 1
        if number == 500:
            before = resident()
    # 41 kB a picture: a leak of every one would be 187 MB.
    assert resident() - before < 8e6
