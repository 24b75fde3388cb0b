"""RGB pictures to packets of the best encoder that opens here.

Owns the table of encoders and one open encoder. Must not know files, queues or what is recorded when.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from endostream.capture.pixels import is_hd
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import RunError
from endostream.types import ImageArray

log = logging.getLogger(__name__)

EncodedMode = Literal["encode", "lossless"]
MILLISECOND: Final = Fraction(1, 1000)
"""The unit of time of every encoder."""
KEY_MS = 1000
"""Time from one key frame to the next at most."""
FALLBACK_RATE: Final = Fraction(25)
"""Pictures a second that an encoder is told of where the source does not say, or says nonsense."""
FASTEST = 240
"""Pictures a second over which a source's rate is the clock of its time stamps."""
LARGE = 1920 * 1080
"""Pictures from this size on (pixels) are encoded by two threads: 18 ms of one core at 1080p."""
TRIAL_W, TRIAL_H, TRIAL_PICTURES = 640, 368, 3
"""What an encoder must encode before it is trusted with a recording."""
AVCOL_BT709, AVCOL_SMPTE170M = 1, 6


@dataclass(frozen=True, slots=True)
class Encoder:
    """One way to encode."""

    name: str
    """libav's name of the encoder."""
    codec: str
    """libav's name of what it makes."""
    pixel_format: str
    """libav's name of the pixel format that it takes."""
    options: tuple[tuple[str, str], ...]
    """Its own options."""
    even: bool = True
    """True when width and height must be even."""


def _x264(**options: str) -> tuple[tuple[str, str], ...]:
    # Without latency: no picture waits in the encoder when the process is killed.
    return (*options.items(), ("tune", "zerolatency"), ("forced-idr", "1"))


_NVENC = (("preset", "p4"), ("tune", "ll"), ("rc", "vbr"), ("cq", "19"), ("forced-idr", "1"))
_QSV = (("global_quality", "20"), ("async_depth", "1"), ("forced_idr", "1"))
_MF = (("rate_control", "quality"), ("quality", "85"), ("hw_encoding", "1"))
_MPEG4 = (("flags", "+qscale"), ("global_quality", str(3 * 118)))
_FFV1 = (("level", "3"), ("slices", "4"), ("slicecrc", "1"))
ENCODERS: Final[Mapping[EncodedMode, tuple[Encoder, ...]]] = {
    "encode": (
        Encoder("h264_nvenc", "h264", "yuv420p", _NVENC),
        Encoder("h264_qsv", "h264", "nv12", _QSV),
        Encoder("h264_videotoolbox", "h264", "nv12", (("realtime", "1"),)),
        Encoder("h264_mf", "h264", "nv12", _MF),
        # 720p: 10 ms of one core a picture; veryfast takes 15 for files a fifth smaller.
        Encoder("libx264", "h264", "yuv420p", _x264(preset="superfast", crf="18")),
        Encoder("mpeg4", "mpeg4", "yuv420p", _MPEG4),
    ),
    "lossless": (
        # 720p: 8 ms and 68 Mbit/s; ffv1 takes 19 ms for 31 Mbit/s.
        Encoder("libx264rgb", "h264", "rgb24", _x264(preset="ultrafast", qp="0"), even=False),
        Encoder("ffv1", "ffv1", "bgr0", _FFV1, even=False),
    ),
}
"""In order of preference. Those that need hardware say by failing that it is not there."""


class PictureEncoder:
    """Encodes pictures as they come; packets keep their time, and come in the order of the pictures.

    Odd sizes are padded to even ones by repeating the last row or column, but for `lossless`, which gives
    back every picture bit for bit. Colours are BT.709 for HD and BT.601 below, and marked so.

    Parameters
    ----------
    width, height : int
        Size of every picture in pixels.
    rate : Fraction or None
        Average frame rate in Hz, for the encoder's own bookkeeping.
    mode : str
        `encode` or `lossless`.

    Raises
    ------
    RunError
        No encoder opens.
    """

    def __init__(self, width: int, height: int, rate: Fraction | None, mode: EncodedMode) -> None:
        self.size = (width, height)
        """Width and height of every picture in pixels."""
        self._last: int | None = None
        self._last_key = 0
        self._captured: dict[int, float] = {}
        self._reformatter = VideoReformatter()
        self._matrix = Colorspace.ITU709 if is_hd(width, height) else Colorspace.ITU601
        told = rate if rate is not None and 1 <= rate <= FASTEST else FALLBACK_RATE
        self._encoder, self._context = _open_first(width, height, told, mode)
        self.name = self._encoder.name
        """libav's name of the encoder in use."""
        context = self._context
        self.format = StreamFormat(
            codec=self._encoder.codec,
            width=context.width,
            height=context.height,
            pixel_format=self._encoder.pixel_format,
            time_base=MILLISECOND,
            rate=rate,
            extradata=context.extradata,
        )
        """How the packets are coded."""

    def encode(self, image: ImageArray, shown: int, captured: float) -> list[StreamPacket]:
        """The packets that a picture completes: uint8[H, W, 3], RGB, shown at `shown` milliseconds, captured
        at `captured` (monotonic seconds), which its packet gives as its arrival.

        None for a picture that is not later than the one before. Raises `RunError` when the encoder fails.
        """
        if self._last is not None and shown <= self._last:
            return []
        frame = self._converted(image)
        frame.pts, frame.time_base = shown, MILLISECOND
        if self._last is None or shown - self._last_key >= KEY_MS:
            frame.pict_type, self._last_key = PictureType.I, shown
        self._last = shown
        self._captured[shown] = captured
        return self._packets(frame)

    def finish(self) -> list[StreamPacket]:
        """The packets that were still on their way; the encoder takes no more pictures."""
        return self._packets(None) if self._last is not None else []

    def _packets(self, frame: av.VideoFrame | None) -> list[StreamPacket]:
        try:
            coded = self._context.encode(frame)
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise RunError(
                f"{self.name} cannot encode any more: {reason}; start the recording again"
            ) from error
        return [
            StreamPacket(bytes(p), p.pts, p.dts, bool(p.is_keyframe), self._captured.pop(p.pts or 0, 0.0))
            for p in coded
        ]

    def _converted(self, image: ImageArray) -> av.VideoFrame:
        width, height = self.size
        if self._encoder.even and (width % 2 or height % 2):
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        wanted = self._encoder.pixel_format
        if wanted == "rgb24":
            return frame
        if wanted == "bgr0":
            return self._reformatter.reformat(frame, format=wanted)
        return self._reformatter.reformat(
            frame,
            format=wanted,
            dst_colorspace=self._matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )


def _open_first(
    width: int, height: int, rate: Fraction, mode: EncodedMode
) -> tuple[Encoder, VideoCodecContext]:
    """The first encoder of the table that works here, opened for pictures of this size."""
    for encoder in ENCODERS[mode]:
        if works(encoder):
            try:
                return encoder, _open(encoder, width, height, rate)
            except (av.FFmpegError, OSError, ValueError) as error:
                log.info("%s does not take %dx%d: %s", encoder.name, width, height, error)
    raise RunError(f"no encoder opens for {width}x{height} pictures; install PyAV from its own wheel")


def _open(encoder: Encoder, width: int, height: int, rate: Fraction) -> VideoCodecContext:
    context = av.CodecContext.create(encoder.name, "w")
    assert isinstance(context, VideoCodecContext)
    padded = (width + width % 2, height + height % 2) if encoder.even else (width, height)
    context.width, context.height = padded
    context.pix_fmt, context.time_base = encoder.pixel_format, MILLISECOND
    context.framerate = rate
    context.gop_size = max(1, round(rate * KEY_MS / 1000)) if encoder.codec != "ffv1" else 1
    context.max_b_frames = 0
    context.thread_count = 2 if width * height >= LARGE else 1
    context.flags |= Flags.global_header
    context.options = dict(encoder.options)
    if encoder.name in ("h264_videotoolbox", "h264_mf"):
        context.bit_rate = round(width * height * rate * 0.15)
    if encoder.pixel_format in ("yuv420p", "nv12"):
        hd = is_hd(width, height)
        context.color_range = ColorRange.MPEG
        context.colorspace = AVCOL_BT709 if hd else AVCOL_SMPTE170M
        context.color_primaries = ColorPrimaries.BT709 if hd else ColorPrimaries.SMPTE170M
        context.color_trc = ColorTrc.BT709 if hd else ColorTrc.SMPTE170M
    context.open()
    return context


@functools.cache
def works(encoder: Encoder) -> bool:
    """True when `encoder` really encodes here: opened, fed and read back, once in the life of the process."""
    if encoder.name not in av.codecs_available:
        return False
    grey = np.full((TRIAL_H, TRIAL_W, 3), 128, np.uint8)
    try:
        context = _open(encoder, TRIAL_W, TRIAL_H, FALLBACK_RATE)
        packets = []
        for number in range(TRIAL_PICTURES):
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format=encoder.pixel_format)
            frame.pts, frame.time_base = number * 40, MILLISECOND
            packets += context.encode(frame)
        packets += context.encode(None)
        decoder = av.CodecContext.create(encoder.codec, "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_count, decoder.extradata = 1, context.extradata
        decoder.width, decoder.height = TRIAL_W, TRIAL_H
        seen = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    except (av.FFmpegError, OSError, ValueError) as error:
        log.debug("%s does not work here: %s", encoder.name, error)
        return False
    return len(seen) == TRIAL_PICTURES and bool(
        abs(float(seen[-1].to_ndarray(format="rgb24").mean()) - 128.0) < 8.0
    )
