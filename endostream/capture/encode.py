"""RGB pictures to a video file that is either whole or has another name.

Owns one output container. Must not know where the pictures come from or what is drawn on them.
"""

from __future__ import annotations

import errno
import logging
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from endostream.capture.pixels import is_hd
from endostream.errors import RunError
from endostream.types import ImageArray

log = logging.getLogger(__name__)

Container = Literal["mp4", "matroska"]
TICKS = Fraction(1, 90_000)
"""Default unit of time: every usual frame rate is a whole number of these."""
ENCODERS = ("libx264", "mpeg4")
"""In order of preference; mpeg4 is part of every build."""
MPEG4_QUALITY = 3
"""Fixed quality of the fallback: 1 is best, 31 worst."""
QUALITY_UNIT = 118
"""libav counts quality in steps of 1/118 (FF_QP2LAMBDA)."""
AVCOL_BT709, AVCOL_SMPTE170M = 1, 6


class VideoWriter:
    """Writes H.264 (yuv420p) with the time of every picture kept, so a varying frame rate stays as it is.

    The file grows as `NAME.part` and takes its name when it is closed: under its own name it is always
    whole. The first picture is at time 0 of the file; the others keep their distance to it. Odd sizes are
    padded to even ones by repeating the last row or column; pictures of another size than the writer's are
    scaled into it with their shape kept. Colours are BT.709 for HD and BT.601 below, and marked so.

    Parameters
    ----------
    path : Path
        The file; its folder must be there.
    width, height : int
        Size of the pictures in pixels.
    fps : Fraction or float
        Average frame rate in Hz (for the encoder's rate control; time comes from `write`).
    time_base : Fraction or None
        Unit of time; None means 1/90000 s.
    crf : int
        Quality of H.264: 18 is visually without loss, 28 is small.
    preset : str
        Speed of H.264: `ultrafast` to `veryslow`.
    container : str
        `mp4` (index in front) or `matroska`.
    comment : str
        What the file says of itself in its metadata; empty says nothing.
    gop : int or None
        Pictures from one key frame to the next at most: a few make seeking cheap. None leaves it to the
        encoder.

    Raises
    ------
    RunError
        The file cannot be created, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: Fraction | float,
        time_base: Fraction | None = None,
        crf: int = 20,
        preset: str = "veryfast",
        container: Container = "mp4",
        gop: int | None = None,
        comment: str = "",
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        """Pictures written."""
        self.part = self.path.with_name(self.path.name + ".part")
        """The file while it is being written."""
        self._size = (width, height)
        self._time_base = time_base or TICKS
        self._first: float | None = None
        self._last_pts = -1
        self._reformatter = VideoReformatter()
        self._closed = False
        options = {"movflags": "+faststart"} if container == "mp4" else {}
        try:
            self._container: OutputContainer = av.open(str(self.part), "w", format=container, options=options)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        try:
            self._stream = self._add_stream(Fraction(fps).limit_denominator(100_000), crf, preset)
            if gop is not None:
                self._stream.codec_context.gop_size = gop
            if comment:
                self._container.metadata["comment"] = comment
            # Opens the file: a folder that is not there is known now, not at the first packet.
            self._container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            self._give_up()
            raise self._failure(error) from error

    def _add_stream(self, rate: Fraction, crf: int, preset: str) -> VideoStream:
        width, height = self._size
        self.codec = next((name for name in ENCODERS if name in av.codecs_available), ENCODERS[-1])
        """Name of the encoder in use."""
        hd = is_hd(width, height)
        stream = self._container.add_stream(self.codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 2
        context.color_range = ColorRange.MPEG
        context.colorspace = AVCOL_BT709 if hd else AVCOL_SMPTE170M
        context.color_primaries = ColorPrimaries.BT709 if hd else ColorPrimaries.SMPTE170M
        context.color_trc = ColorTrc.BT709 if hd else ColorTrc.SMPTE170M
        if self.codec == "libx264":
            context.time_base = self._time_base
            context.options = {"crf": str(crf), "preset": preset}
        else:
            # MPEG-4 allows at most 65535 ticks a second.
            self._time_base = max(self._time_base, Fraction(1, 60_000))
            context.time_base = self._time_base
            context.options = {"flags": "+qscale", "global_quality": str(MPEG4_QUALITY * QUALITY_UNIT)}
        self._matrix = Colorspace.ITU709 if hd else Colorspace.ITU601
        return stream

    def write(self, image: ImageArray, time: float) -> None:
        """Add a picture (uint8[H, W, 3], RGB) shown from `time` (seconds, rising) on."""
        if self._closed:
            raise RuntimeError("write after close")
        if self._first is None:
            self._first = time
        pts = max(round((time - self._first) / self._time_base), self._last_pts + 1)
        frame = av.VideoFrame.from_ndarray(self._prepared(image), format="rgb24")
        coded = self._reformatter.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=self._matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        coded.pts, coded.time_base = pts, self._time_base
        self._last_pts = pts
        self._encode(coded)
        self.frames += 1

    def _prepared(self, image: ImageArray) -> ImageArray:
        width, height = self._size
        if image.shape[:2] != (height, width):
            image = _fitted(image, width, height)
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return np.ascontiguousarray(image)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            self._give_up()
            raise self._failure(error) from error

    def close(self) -> None:
        """Finish the file and give it its name; without a picture there is no file. May be called again."""
        if self._closed:
            return
        if not self.frames:
            self._give_up()
            return
        self._encode(None)
        self._closed = True
        try:
            self._container.close()
            self.part.replace(self.path)
        except (av.FFmpegError, OSError) as error:
            self.part.unlink(missing_ok=True)
            raise self._failure(error) from error

    def _give_up(self) -> None:
        """Close and remove what was begun."""
        self._closed = True
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            # The first failure is the one that is reported; this one follows from it.
            log.debug("closing %s: %s", self.part.name, error)
        finally:
            self.part.unlink(missing_ok=True)

    def _failure(self, error: Exception) -> RunError:
        if getattr(error, "errno", None) == errno.ENOSPC:
            return RunError(f"disk full while writing {self.path.name}; free some space and run again")
        reason = getattr(error, "strerror", None) or str(error)
        return RunError(f"{self.path.name} cannot be written: {reason}; check the folder")

    def __enter__(self) -> Self:
        """The writer; leaving the block finishes the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file."""
        self.close()


def _fitted(image: ImageArray, width: int, height: int) -> ImageArray:
    """The picture scaled into width x height with its shape kept, on black."""
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = small
    return canvas
