"""Pictures coded once and kept in memory, to be sent as often as a test likes.

Owns the coding of clips: H.264 as a live encoder makes it. Must not know how they are sent, or what the
pictures show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace

from endostream.capture.pixels import is_hd
from endostream.errors import RunError
from endostream.types import ImageArray

GOP_S = 0.5
"""Seconds from one key frame to the next."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One coded picture."""

    data: bytes
    """An access unit with start codes (ISO/IEC 14496-10, annex B), parameter sets before every key frame."""
    key: bool
    """True when decoding can begin here."""
    counter: int
    """The number of the picture in its clip, counted from 0."""

    def __repr__(self) -> str:
        return f"Unit({self.counter}, {len(self.data)} bytes{', key' if self.key else ''})"


@dataclass(frozen=True, slots=True)
class Clip:
    """Coded pictures that follow each other at a fixed rate, the first of them a key frame."""

    units: tuple[Unit, ...]
    """In the order in which they are shown and sent."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    rate: Fraction
    """Pictures a second."""
    interlaced: bool = False
    """True for pictures of two fields, the upper one first."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.units) / float(self.rate)

    def __repr__(self) -> str:
        return (
            f"Clip({len(self.units)} pictures of {self.width}x{self.height}"
            f"{'i' if self.interlaced else ''}, {float(self.rate):g} fps)"
        )


def encode_clip(
    pictures: Iterable[ImageArray],
    rate: Fraction | int,
    *,
    interlaced: bool = False,
    crf: int = 23,
    preset: str = "veryfast",
) -> Clip:
    """The pictures as H.264 without B-frames and with a key frame every half second.

    Parameters
    ----------
    pictures
        uint8[H, W, 3], RGB, all of one even size; for `interlaced` woven from two fields, the upper first,
        and with a number of rows that can be divided by four.
    rate
        Pictures a second.
    interlaced
        Code both fields of a picture apart, and say so in the stream.
    crf, preset
        x264's quality and speed.

    Raises
    ------
    RunError
        This build of libav has no x264.
    """
    if "libx264" not in av.codecs_available:
        raise RunError("this build of libav has no x264, which makes the clips; install PyAV from its wheel")
    units: list[Unit] = []
    coder: _Coder | None = None
    for image in pictures:
        if coder is None:
            coder = _Coder((image.shape[1], image.shape[0]), Fraction(rate), interlaced, crf, preset)
        units += coder.units(image)
    if coder is None:
        raise RunError("a clip needs at least one picture")
    units += coder.units(None)
    width, height = coder.size
    return Clip(tuple(units), width, height, Fraction(rate), interlaced)


class _Coder:
    """x264 for one clip."""

    def __init__(
        self, size: tuple[int, int], rate: Fraction, interlaced: bool, crf: int, preset: str
    ) -> None:
        self.size = size
        width, height = size
        hd = is_hd(width, height)
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = 1 / rate, rate
        context.gop_size = max(1, round(GOP_S * rate))
        context.max_b_frames = 0
        context.thread_count = 1
        context.color_range = ColorRange.MPEG
        context.colorspace = 1 if hd else 6
        # A key frame only where it is due, none where the scene seems cut; no global header, so that the
        # parameter sets come with every key frame; delimiters, as every encoder for broadcasting writes them.
        params = "scenecut=0:aud=1" + (":tff=1" if interlaced else "")
        context.options = {"crf": str(crf), "preset": preset, "tune": "zerolatency", "x264-params": params}
        if interlaced:
            context.options = {**context.options, "flags": "+ildct+ilme"}
        self._context = context
        self._matrix = Colorspace.ITU709 if hd else Colorspace.ITU601
        self._fields = _upper_first(width, height, context.time_base) if interlaced else None
        self._count = 0

    def units(self, image: ImageArray | None) -> list[Unit]:
        """What the encoder gives out for one more picture; None takes out the rest."""
        frame = None if image is None else self._frame(image)
        self._count += image is not None
        return [
            Unit(bytes(packet), packet.is_keyframe, int(packet.pts or 0))
            for packet in self._context.encode(frame)
        ]

    def _frame(self, image: ImageArray) -> av.VideoFrame:
        frame = self._coded(image) if self._fields is None else self._woven(image)
        frame.pts, frame.time_base = self._count, self._context.time_base
        if self._fields is None:
            return frame
        self._fields.push(frame)
        marked = self._fields.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked

    def _coded(self, image: ImageArray) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=self._matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )

    def _woven(self, image: ImageArray) -> av.VideoFrame:
        """Both fields converted apart, as cameras do: a line of colour belongs to lines of one field only."""
        fields = [self._coded(np.ascontiguousarray(image[i::2])).to_ndarray() for i in (0, 1)]
        rows, width = image.shape[0] // 2, image.shape[1]
        planes = [np.stack([field[:rows] for field in fields], axis=1).reshape(-1, width)]
        for begin, end in ((rows, rows + rows // 4), (rows + rows // 4, rows + rows // 2)):
            colours = [field[begin:end].reshape(rows // 2, width // 2) for field in fields]
            planes.append(np.stack(colours, axis=1).reshape(-1, width))
        return av.VideoFrame.from_ndarray(np.concatenate(planes), format="yuv420p")


def _upper_first(width: int, height: int, time_base: Fraction) -> Graph:
    """A filter that marks frames as two fields, the upper one first: PyAV itself cannot set the mark."""
    graph = Graph()
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("yuv420p"), time_base=time_base
    )
    mark, sink = graph.add("setfield", "tff"), graph.add("buffersink")
    source.link_to(mark)
    mark.link_to(sink)
    graph.configure()
    return graph
