"""Matroska files of packets and pictures: the source's own time stamps, whole at every moment."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from packets import START, TICKS, coded, picture, stamps

from endostream.capture import encoding, headers, open_source, recording
from endostream.capture.encoding import PictureEncoder
from endostream.capture.headers import can_begin, headers_in
from endostream.capture.recording import PacketFile, create_file, milliseconds, picture_size
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import RunError
from endostream.types import ImageArray


def rounded(packets: list[StreamPacket]) -> list[int]:
    return sorted(milliseconds(p.pts, TICKS) for p in packets if p.pts is not None)


def fill(path: Path, format: StreamFormat, packets: list[StreamPacket]) -> PacketFile:
    file = PacketFile(path, format)
    assert all([file.write(p) for p in packets])
    file.close()
    return file


@pytest.mark.parametrize(
    ("pts", "base", "wanted"),
    [
        (0, TICKS, 0),
        (44, TICKS, 0),
        (45, TICKS, 1),
        (-44, TICKS, 0),
        (134, TICKS, 1),
        (135, TICKS, 2),
        (1, Fraction(1001, 30_000), 33),
        (3, Fraction(1, 2000), 2),
        (2**33 - 1, TICKS, 95_443_718),
    ],
)
def test_milliseconds_are_the_nearest(pts: int, base: Fraction, wanted: int) -> None:
    assert milliseconds(pts, base) == wanted


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg", "mpeg2video", "mpeg4"])
def test_packets_are_kept_as_they_are(tmp_path: Path, codec: str) -> None:
    format, packets = coded(codec)
    file = fill(tmp_path / "recording.mkv", format, packets)
    assert stamps(file.path) == rounded(packets)
    assert (file.pictures, file.first) == (30, rounded(packets)[0])
    assert file.seconds == pytest.approx(29 / 25) and file.bytes == file.path.stat().st_size
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    plain = [
        f.to_ndarray(format="rgb24")
        for p in [*packets, None]
        for f in decoder.decode(p and av.Packet(p.data))
    ]
    with av.open(str(file.path)) as container:
        kept = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(plain) == len(kept) == 30
    assert all(np.array_equal(a, b) for a, b in zip(plain, kept, strict=True))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_file_carries_its_headers(tmp_path: Path, codec: str) -> None:
    format, packets = coded(codec)
    file = fill(tmp_path / "recording.mkv", format, packets)
    with av.open(str(file.path)) as container:
        (stream,) = container.streams.video
        extradata = stream.codec_context.extradata
        assert extradata is not None and extradata[0] == 1, "avcC or hvcC"
        assert (stream.codec_context.width, stream.codec_context.height) == (160, 96)
        assert stream.codec_context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("given", [True, False])
def test_pictures_out_of_order_keep_their_times(tmp_path: Path, given: bool) -> None:
    format, packets = coded("h264", b_frames=3, gop=12)
    assert [p.pts for p in packets] != sorted(p.pts or 0 for p in packets)
    if not given:  # RTSP has no decoding time
        packets = [StreamPacket(p.data, p.pts, None, p.keyframe, p.arrived) for p in packets]
    file = fill(tmp_path / "recording.mkv", format, packets)
    assert stamps(file.path) == rounded(packets)


def test_packets_with_lengths_instead_of_start_codes_are_kept(tmp_path: Path) -> None:
    format, packets = coded("h264")
    first = fill(tmp_path / "first.mkv", format, packets)
    with av.open(str(first.path)) as container:
        (stream,) = container.streams.video
        boxed = StreamFormat("h264", 160, 96, None, Fraction(1, 1000), None, stream.codec_context.extradata)
        again = [
            StreamPacket(bytes(p), p.pts, p.dts, bool(p.is_keyframe), 0.0)
            for p in container.demux(stream)
            if p.size
        ]
    assert picture_size(boxed, again[0].data) == (160, 96)
    file = fill(tmp_path / "second.mkv", boxed, again)
    assert stamps(file.path) == rounded(packets)


def test_headers_of_the_connection_are_used_where_packets_have_none(tmp_path: Path) -> None:
    format, packets = coded("h264", count=10)
    sets = headers_in(format, packets[0].data).extradata
    assert sets is not None
    bare = packets[0].data.replace(sets, b"")
    assert len(bare) == len(packets[0].data) - len(sets) and not can_begin(format, bare)
    apart = StreamFormat("h264", 160, 96, None, TICKS, None, sets)
    assert can_begin(apart, bare)
    packets[0] = StreamPacket(bare, packets[0].pts, packets[0].dts, True, 0.0)
    assert stamps(fill(tmp_path / "a.mkv", apart, packets).path) == rounded(packets)


def test_what_has_no_place_in_time_is_left_out(tmp_path: Path) -> None:
    format, packets = coded("mjpeg", count=6)
    file = PacketFile(tmp_path / "a.mkv", format)
    early = StreamPacket(packets[0].data, -90, -90, True, 0.0)
    timeless = StreamPacket(packets[0].data, None, None, True, 0.0)
    back = StreamPacket(packets[0].data, START - 180_000, START - 180_000, True, 0.0)
    said = [file.write(p) for p in (early, timeless, *packets[:3], back, *packets[3:])]
    file.close()
    assert said == [False, False, True, True, True, False, True, True, True]
    assert stamps(file.path) == rounded(packets)


def test_a_file_begins_with_a_key_frame(tmp_path: Path) -> None:
    format, packets = coded("h264", count=20, gop=10)
    file = PacketFile(tmp_path / "a.mkv", format)
    assert [file.write(p) for p in packets[5:]] == [False] * 5 + [True] * 10
    file.close()
    assert stamps(file.path) == rounded(packets[10:])


def test_a_growing_file_plays_to_within_a_moment(tmp_path: Path) -> None:
    """What a killed process leaves is what is on the disk between two writes."""
    format, packets = coded("h264", count=60)
    file = PacketFile(tmp_path / "a.mkv", format)
    behind = []
    for number, packet in enumerate(packets):
        file.write(packet)
        if number % 9 == 8:
            copy = tmp_path / "copy.mkv"
            copy.write_bytes(file.path.read_bytes())
            there = stamps(copy)
            assert there == rounded(packets)[: len(there)]
            behind.append(milliseconds(packet.pts or 0, TICKS) - there[-1])
    file.close()
    assert max(behind) == 40, "one picture"
    assert stamps(file.path) == rounded(packets)


def test_a_file_appears_with_its_first_picture(tmp_path: Path) -> None:
    format, packets = coded("h264", count=3)
    file = PacketFile(tmp_path / "a.mkv", format)
    assert not file.there and file.write(packets[0]) and not file.there
    assert not list(tmp_path.iterdir()), "what cannot be opened is not there"
    assert file.write(packets[1]) and file.there
    assert stamps(file.path) == rounded(packets[:1])
    file.close()
    PacketFile(tmp_path / "none.mkv", format).close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
    single = PacketFile(tmp_path / "b.mkv", format)
    single.write(packets[0])
    single.close()
    assert single.there and stamps(single.path) == rounded(packets[:1])


def test_tags_are_in_the_file(tmp_path: Path) -> None:
    format, packets = coded("h264", count=2)
    file = PacketFile(tmp_path / "a.mkv", format, tags={"PHI_MASK": "tower-9"})
    file.write(packets[0])
    file.close()
    with av.open(str(file.path)) as container:
        assert container.metadata["PHI_MASK"] == "tower-9"


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(b"precious")
    with pytest.raises(RunError, match=r"a\.mkv cannot be written: File exists; choose"):
        PacketFile(path, coded("mjpeg", count=1)[0])
    assert path.read_bytes() == b"precious"


class Full:
    """A disk that takes `room` bytes and then no more."""

    def __init__(self, path: Path, room: int) -> None:
        self._file, self.room = create_file(path), room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 3_000, 30_000])
def test_a_full_disk_is_one_line_and_what_is_there_plays(tmp_path: Path, room: int) -> None:
    format, packets = coded("mjpeg", count=30)
    file = PacketFile(tmp_path / "a.mkv", format, create=lambda path: Full(path, room))
    with pytest.raises(RunError, match=r"^disk full while writing a\.mkv; free some space and record again$"):
        for packet in packets:
            file.write(packet)
    file.close()
    if room == 30_000:
        there = stamps(file.path)
        assert there and there == rounded(packets)[: len(there)]
    else:
        assert not list(tmp_path.iterdir()), "what cannot be opened is not there"


def test_a_disk_that_fills_at_the_end_is_one_line(tmp_path: Path) -> None:
    format, packets = coded("mjpeg", count=3)
    disks: list[Full] = []

    def create(path: Path) -> Full:
        disks.append(Full(path, 1 << 20))
        return disks[0]

    file = PacketFile(tmp_path / "a.mkv", format, create=create)
    assert all([file.write(p) for p in packets])
    disks[0].room = 0
    with pytest.raises(RunError, match=r"^disk full while writing a\.mkv"):
        file.close()
    file.close()


def test_the_kind_of_pictures_is_told_by_their_headers() -> None:
    for codec in ("h264", "hevc", "mjpeg", "mpeg2video", "mpeg4"):
        format, packets = coded(codec, count=12, gop=6)
        kinds = {headers_in(format, p.data).kind for p in packets if p.keyframe}
        assert len(kinds) == 1 and b"" not in kinds, codec
        other_format, other = coded(codec, count=1, size=(192, 96))
        assert headers_in(other_format, other[0].data).kind not in kinds, codec
        assert picture_size(format, other[0].data) == (192, 96), codec
    assert picture_size(format, b"rubbish") is None


def decoded(path: Path) -> Iterator[tuple[int, ImageArray]]:
    with open_source(str(path)) as source:
        while (frame := source.read()) is not None:
            assert frame.pts is not None
            yield frame.pts, frame.image


def record(path: Path, encoder: PictureEncoder, pictures: list[tuple[int, ImageArray]]) -> None:
    file = PacketFile(path, encoder.format)
    packets = [p for shown, image in pictures for p in encoder.encode(image, shown, 0.0)]
    for packet in [*packets, *encoder.finish()]:
        assert file.write(packet)
    file.close()


@pytest.mark.parametrize("name", [e.name for e in encoding.ENCODERS["lossless"]])
@pytest.mark.parametrize("size", [(160, 96), (161, 97)])
def test_lossless_is_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    table = {"lossless": tuple(e for e in encoding.ENCODERS["lossless"] if e.name == name)}
    monkeypatch.setattr(encoding, "ENCODERS", table)
    encoder = PictureEncoder(*size, Fraction(25), "lossless")
    assert encoder.name == name
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (3, size[1], size[0], 3), np.uint8)
    images = [picture(n, *size) for n in range(27)] + list(noise)
    pictures = [(10_000_000 + n * 33 + n % 2, image) for n, image in enumerate(images)]
    record(tmp_path / "a.mkv", encoder, pictures)
    back = list(decoded(tmp_path / "a.mkv"))
    assert [pts for pts, _ in back] == [pts for pts, _ in pictures]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(pictures, back, strict=True))


@pytest.mark.parametrize("name", ["libx264", "mpeg4"])
def test_encoded_pictures_keep_times_look_and_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    table = {"encode": tuple(e for e in encoding.ENCODERS["encode"] if e.name == name)}
    monkeypatch.setattr(encoding, "ENCODERS", table)
    encoder = PictureEncoder(161, 97, None, "encode")
    images = [np.full((97, 161, 3), (200, 60 + n, 40), np.uint8) for n in range(40)]
    pictures = [(777 + n * 50 + n % 3, image) for n, image in enumerate(images)]
    coded_packets = [p for shown, image in pictures for p in encoder.encode(image, shown, 0.0)]
    assert len(coded_packets) == 40, "nothing waits in the encoder"
    keys = [p.pts for p in coded_packets if p.keyframe]
    assert keys[0] == 777 and all(b - a <= 1100 for a, b in pairwise(keys)) and len(keys) >= 2
    file = PacketFile(tmp_path / "a.mkv", encoder.format)
    assert all([file.write(p) for p in [*coded_packets, *encoder.finish()]])
    file.close()
    back = list(decoded(file.path))
    assert [pts for pts, _ in back] == [pts for pts, _ in pictures]
    assert back[0][1].shape == (98, 162, 3)
    for (_, before), (_, after) in zip(pictures, back, strict=True):
        difference = after[:97, :161].astype(int).mean((0, 1)) - before.astype(int).mean((0, 1))
        assert np.abs(difference).max() < 4


def test_pictures_that_do_not_advance_are_left_out() -> None:
    encoder = PictureEncoder(160, 96, Fraction(25), "lossless")
    assert [len(encoder.encode(picture(0), shown, 0.0)) for shown in (5, 5, 4, 6)] == [1, 0, 0, 1]


def test_the_first_encoder_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def working(encoder: encoding.Encoder) -> bool:
        tried.append(encoder.name)
        return encoder.name == "mpeg4"

    monkeypatch.setattr(encoding, "works", working)
    assert PictureEncoder(160, 96, None, "encode").name == "mpeg4"
    assert tried == [e.name for e in encoding.ENCODERS["encode"]]
    with pytest.raises(RunError, match="no encoder opens for 160x96"):
        PictureEncoder(160, 96, None, "lossless")


def test_software_encoders_work_here_and_unknown_ones_do_not() -> None:
    for mode in ("encode", "lossless"):
        assert any(encoding.works(e) for e in encoding.ENCODERS[mode])  # type: ignore[index]
    assert not encoding.works(encoding.Encoder("h264_of_tomorrow", "h264", "yuv420p", ()))
    assert not encoding.works(encoding.Encoder("libx264", "h264", "rgb24", ()))


def test_every_codec_that_is_copied_has_a_name_in_matroska() -> None:
    assert set(headers.MATROSKA_CODECS) > recording.COPYABLE
