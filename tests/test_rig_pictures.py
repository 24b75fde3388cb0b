"""The rig's pictures: a counter and a block that survive coding, scaling, cropping and deinterlacing."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

import av
import cv2
import numpy as np
import pytest
from av.filter import Graph
from numpy.typing import NDArray

from endostream.analysis.visibility import VisibilityRules, judge
from endostream.bench.rig import counter, stub
from endostream.bench.rig.clips import ROUND, Scene, block_at, make_clip, picture
from endostream.bench.rig.view import Views
from endostream.capture.loopback import Clip, encode_clip
from endostream.capture.towers import find_profile, list_profiles
from endostream.errors import RunError

SD = Scene(720, 576, 25, 1.0)
TV = Scene(720, 576, 25, 1.0, interlaced=True)


def decoded(clip: Clip) -> list[av.VideoFrame]:
    """What a player makes of a clip."""
    data = b"".join(unit.data for unit in clip.units)
    with av.open(BytesIO(data), format="h264") as container:
        return list(container.decode(video=0))


def rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return frame.to_ndarray(format="rgb24")  # type: ignore[return-value]


@pytest.mark.parametrize("number", [0, 1, 29, 255, 4095, 43690, counter.WRAP - 1, counter.WRAP + 7])
def test_a_number_is_read_back_at_any_size(number: int) -> None:
    image = picture(SD, 0)
    counter.draw(image, number)
    for size in ((720, 576), (224, 224), (320, 200), (1920, 1080)):
        smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        assert counter.read(smaller) == number % counter.WRAP, size


def test_no_number_is_read_where_there_is_none_or_where_it_is_damaged() -> None:
    ground = np.full((576, 720, 3), 90, np.uint8)
    assert counter.read(ground) is None
    image = picture(SD, 12)
    x0, y0, x1, y1 = counter.strip(720, 576)
    cell = (x1 - x0) / counter.CELLS
    for bit in range(counter.BITS + counter.CHECK_BITS):
        flipped = image.copy()
        left = x0 + round((len(counter.GUARD) + bit) * cell)
        part = flipped[y0:y1, left : left + round(cell)]
        part[:] = counter.BLACK + counter.WHITE - part
        assert counter.read(flipped) is None, bit
    assert counter.read(image[: y1 - 20]) != 12
    assert counter.read(image[:8, :8]) is None


def test_counter_and_block_survive_coding() -> None:
    clip = make_clip(SD)
    frames = [rgb(frame) for frame in decoded(clip)]
    assert len(frames) == SD.pictures == len(clip.units)
    for number, image in enumerate(frames):
        assert counter.read(image) == number
        assert counter.read(cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)) == number
        assert stub.block_box(stub.block_mask(image)) == SD.block_at(number)
        assert judge(image, VisibilityRules()) is None


def test_an_interlaced_clip_is_marked_and_survives_bwdif() -> None:
    frames = decoded(make_clip(TV))
    assert all(frame.interlaced_frame for frame in frames)
    assert not any(frame.interlaced_frame for frame in decoded(make_clip(SD)))
    for number, image in enumerate(_deinterlaced(frames)):
        assert counter.read(image) == number
        found = stub.block_box(stub.block_mask(image))
        assert found is not None
        # The upper field comes first, and it is what is kept: the block is where the counter says.
        assert np.abs(np.subtract(found, TV.block_at(number))).max() <= 2, number


def _deinterlaced(frames: list[av.VideoFrame]) -> list[NDArray[np.uint8]]:
    graph = Graph()
    source = graph.add_buffer(width=720, height=576, format=frames[0].format, time_base=Fraction(1, 25))
    deinterlace, sink = graph.add("bwdif", "mode=send_frame"), graph.add("buffersink")
    source.link_to(deinterlace)
    deinterlace.link_to(sink)
    graph.configure()
    out = []
    for index, frame in enumerate(frames):
        frame.pts, frame.time_base = index, Fraction(1, 25)
        source.push(frame)
        try:
            out.append(rgb(sink.pull()))  # type: ignore[arg-type]
        except av.BlockingIOError:
            continue
    assert len(out) >= len(frames) - 2
    return out


def test_clips_have_what_live_encoders_send() -> None:
    clip = make_clip(SD)
    keys = [unit.counter for unit in clip.units if unit.key]
    assert keys == [0, 12, 24]  # half a second
    assert all(unit.data.startswith(b"\0\0\0\1\x09") for unit in clip.units)  # delimiters
    assert all(b"\0\0\1\x67" in unit.data or b"\0\0\0\1\x67" in unit.data for unit in clip.units if unit.key)
    assert [frame.pict_type for frame in decoded(clip)].count(av.video.frame.PictureType.B) == 0
    assert clip.seconds == pytest.approx(1.0)
    assert make_clip(Scene(720, 576, 25, 1.0)) is clip


def test_a_clip_needs_a_picture() -> None:
    with pytest.raises(RunError, match="at least one picture"):
        encode_clip([], 25)


def test_the_block_goes_around_and_hides_when_told() -> None:
    scene = Scene(320, 180, 30, 4.0, hidden=(30, 60))
    assert block_at(0, 320, 180) == block_at(ROUND, 320, 180)
    assert len({scene.block_at(number) for number in range(ROUND)}) > ROUND / 2
    for number in (0, 29, 60):
        assert stub.block_box(stub.block_mask(picture(scene, number))) == scene.block_at(number)
    assert stub.block_box(stub.block_mask(picture(scene, 30))) is None


@pytest.mark.parametrize("size", [(720, 576), (1280, 720), (1920, 1080)])
def test_every_shipped_profile_lets_counter_and_block_be_seen(size: tuple[int, int]) -> None:
    scene = Scene(*size)
    for profile in list_profiles():
        view = Views([scene], profile).of(scene)
        x0, y0, x1, y1 = view.fitted.image
        for number in range(0, ROUND, 30):
            image = picture(scene, number)[y0:y1, x0:x1]
            assert Views([scene], profile).read(image) == number, profile.name
            assert stub.block_box(stub.block_mask(image)) == view.block_at(number), profile.name


def test_views_tell_scenes_apart_by_size() -> None:
    other = Scene(320, 180)
    views = Views([SD, other], find_profile("none"))
    assert views.read(picture(other, 5)) == 5
    assert views.read(picture(Scene(322, 180), 5)) is None
    assert views.of(SD).read(picture(other, 5)) is None
