"""Video files: packets to frames with exact times, exact seeks, and damage that is counted.

Owns the container of one file. Must not know pacing, analysis or live signals.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from endostream.capture.deinterlacing import Deinterlacer
from endostream.capture.pixels import UPRIGHT, RgbConverter, turn_of
from endostream.capture.source import MIN_SIDE, SourceBase, starts_late, too_small
from endostream.capture.timeline import TICK, Timeline
from endostream.errors import RunError, SourceError
from endostream.types import Deinterlace, Frame, SourceInfo

DECODER_THREADS = 2
"""The networks need the other cores; two threads decode 720p H.264 far faster than real time."""
STEPS_BACK = (0.0, 1.0, 5.0, 30.0)
"""Seconds before the wanted time at which a seek is tried; after that the file is read from its beginning."""
TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})
"""Decoders that draw text files; a text file is not a video."""
FALLBACK_FPS = 25.0
OPEN_OPTIONS = {"protocol_whitelist": "file"}
"""A file may not make us open anything but files (playlists can name web addresses)."""


def pick_video(container: InputContainer, name: str) -> VideoStream:
    """The video stream of a container: not a cover picture, the largest where there are several."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    known = [s for s in streams if s.codec_context is not None and s.codec_context.name not in TEXT_CODECS]
    if known:
        return max(known, key=lambda s: (s.width * s.height, -s.index))
    if any(s.codec_context is None for s in streams):
        raise SourceError(f"{name}: its video codec is not supported; convert it to H.264 and try again")
    if container.streams.audio:
        raise SourceError(f"{name} holds sound but no video; give a video file")
    raise SourceError(f"{name} holds no video that can be read (cut off, or another kind of file)")


def rate_of(stream: VideoStream) -> float | None:
    """The average frame rate in Hz, where the container states a believable one."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0.01 <= rate <= 1000:
            return float(rate)
    return None


def check_readable(path: Path) -> None:
    """Raise `SourceError` with one clear line for a file that is missing, empty or may not be read."""
    name = path.name
    try:
        if path.exists() and not path.is_file():
            raise SourceError(f"{name} is not a regular file; give a video, a picture or a folder")
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError as error:
        raise SourceError(f"no such file or device: {path}; check the name") from error
    except PermissionError as error:
        raise SourceError(f"{name} may not be read; change its permissions") from error
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}") from error
    if not first:
        raise SourceError(f"{name} is empty (0 bytes); copy it again")


class VideoFile(SourceBase):
    """Every frame of a video file, in display order.

    Parameters
    ----------
    path : Path
        The file.
    start : float
        Stream time in seconds of the first frame wanted.
    as_opencv : bool
        Colours as OpenCV gives them (see `RgbConverter`).
    deinterlace : str
        Which pictures are deinterlaced: `auto` (those that say so), `on` or `off`.

    Raises
    ------
    SourceError
        A file that is missing, unreadable, damaged beyond use, or without a picture of at least 16 x 16.
    """

    def __init__(
        self, path: Path, start: float = 0.0, as_opencv: bool = False, deinterlace: Deinterlace = "auto"
    ) -> None:
        super().__init__()
        self._deinterlacer = Deinterlacer(deinterlace)
        self._path = path
        self._name = path.name
        self._converter = RgbConverter(as_opencv)
        self._ready: deque[tuple[av.VideoFrame, float]] = deque()
        self._order: deque[int] | None = None
        self._reordered = False
        check_readable(path)
        self._container = self._open_container()
        try:
            self._stream = self._open_stream()
            self._expected: float | None = None
            self._timeline = Timeline(1.0 / (rate_of(self._stream) or FALLBACK_FPS))
            self._frames = self._whole_pictures()
            self._end = 0.0
            self._info = self._describe()
            if start > 0:
                self._go_to(start)
                if not self._ready:
                    raise SourceError(starts_late(self._name, start))
        except BaseException:
            self.close()
            raise

    # Opening

    def _open_container(self) -> InputContainer:
        try:
            return av.open(f"file:{self._path}", "r", options=dict(OPEN_OPTIONS))
        except (av.FFmpegError, ValueError) as error:
            raise SourceError(
                f"{self._name} is not a video that can be read (damaged, cut off or another kind of file)"
            ) from error

    def _open_stream(self) -> VideoStream:
        stream = pick_video(self._container, self._name)
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = min(DECODER_THREADS, os.cpu_count() or 1)
        # AVI stores no presentation times: pictures take the times of the packets in their order.
        self._order = deque() if self._container.format.name == "avi" else None
        self._reordered = self._order is not None and stream.codec_context.has_b_frames
        return stream

    def _expected_end(self) -> float | None:
        """Seconds of video that the header promises, or None where it does not say."""
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration and len(container.streams) == 1:
            # Matroska counts from time stamp 0, not from its first picture.
            return max(0.0, container.duration / av.time_base - self._timeline.offset)
        return None

    def _describe(self) -> SourceInfo:
        """Decode the first frame, so that what is promised about the source is known to be true."""
        if not self._fill():
            self._check_nothing()
        frame, _ = self._ready[0]
        self._expected = self._expected_end()
        width, height = frame.width, frame.height
        if min(width, height) < MIN_SIDE:
            raise SourceError(too_small(self._name, width, height))
        turn = turn_of(frame)
        if turn != UPRIGHT and turn[0] % 2:
            width, height = height, width
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self._warn(f"pixels are not square ({aspect.numerator}:{aspect.denominator}); analysed as stored")
        fps, duration = rate_of(self._stream), self._expected
        if duration is None and self._container.duration:
            duration = self._container.duration / av.time_base
        frames = self._stream.frames or (round(duration * fps) if duration and fps else None)
        return SourceInfo(
            name=self._name,
            kind="file",
            live=False,
            seekable=True,
            independent=False,
            width=width,
            height=height,
            fps=fps,
            duration=duration,
            frames=frames,
            codec=self._stream.codec_context.name,
        )

    def _check_nothing(self) -> None:
        if self._skipped:
            raise SourceError(
                f"{self._name}: none of its {self._skipped} packets decode; it is damaged or encrypted"
            )
        raise SourceError(f"{self._name} holds no picture; it may be cut off: copy or record it again")

    # Reading

    def _next(self) -> Frame | None:
        if not self._fill():
            return None
        decoded, seconds = self._ready.popleft()
        self._end = max(self._end, seconds + self._timeline.interval)
        image = self._converter.convert(decoded)
        return self._frame(image, seconds, decoded.pts, self._time_base)

    @property
    def _time_base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, av.time_base)

    def _fill(self) -> bool:
        """True when at least one decoded frame is waiting."""
        if not self._ready:
            decoded = next(self._frames, None)
            if decoded is None:
                return False
            self._ready.append((decoded, self._place(decoded)))
        return True

    def _place(self, decoded: av.VideoFrame) -> float:
        stamp = decoded.pts if decoded.pts is not None else decoded.dts
        if self._order is not None:
            stamp = self._order.popleft() if self._order else None
        return self._timeline.place(stamp, decoded.time_base or self._time_base)

    def _whole_pictures(self) -> Iterator[av.VideoFrame]:
        """Frames in display order, deinterlaced where that is wanted."""
        for frame in self._decode():
            yield from self._deinterlacer.feed(frame)
        yield from self._deinterlacer.flush()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames in display order, the decoder's last ones included."""
        whole = True
        packets = self._container.demux(self._stream)
        try:
            while True:
                try:
                    packet = next(packets, None)
                except av.FFmpegError as error:
                    self._broken(error)
                    whole, packet = False, None
                if packet is None:
                    break
                yield from self._decode_packet(packet)
        finally:
            packets.close()  # type: ignore[attr-defined]
        if not whole:
            yield from self._flush()
        self._ended()

    def _decode_packet(self, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
        if packet.is_corrupt:
            self._skipped += 1
            return []
        if self._order is not None and packet.dts is not None and packet.size:
            self._order.append(packet.dts)
        try:
            return packet.decode()
        except av.EOFError:
            return []
        except av.FFmpegError:
            self._skipped += packet.size > 0
            if self._order:
                self._order.pop()
            return []

    def _flush(self) -> list[av.VideoFrame]:
        try:
            return self._stream.decode(None)
        except av.FFmpegError:
            return []

    def _broken(self, error: av.FFmpegError) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                file.read(1)
        except OSError as gone:
            raise RunError(f"reading {self._name} failed: {gone.strerror}; check the disk") from error
        self._warn(f"{self._name} is damaged: nothing can be read after {self._end:.1f} s")

    def _ended(self) -> None:
        if self._expected is None:
            return
        missing = self._expected - self._end
        if missing > max(0.5, 2 * self._timeline.interval):
            self._warn(
                f"{self._name} ends early: {missing:.1f} s of {self._expected:.1f} s are missing; "
                "what is there was analysed"
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        lines = list(self._said)
        if self._deinterlacer.warning:
            lines.append(self._deinterlacer.warning)
        if self._skipped:
            lines.append(f"{self._skipped} damaged packets were skipped")
        if self._timeline.repaired:
            lines.append(f"{self._timeline.repaired} frames without a usable time stamp were placed")
        return tuple(lines)

    # Seeking

    def _go_to(self, time: float) -> None:
        close_enough = time - TICK
        counts = self._skipped, self._timeline.repaired
        for back in STEPS_BACK if self._timeline.stamped and not self._reordered else ():
            if time - back > 0 and self._jump_to(time - back) and self._ready[0][1] <= time + TICK:
                break
        else:
            self._rewind()
        while not self._cancelled.is_set() and self._fill() and self._ready[0][1] < close_enough:
            self._ready.popleft()
        self._skipped, self._timeline.repaired = counts

    def _jump_to(self, time: float) -> bool:
        """Go to the key frame before `time`; True when a frame came out of it."""
        self._drop()
        try:
            stamp = self._timeline.stamp_at(time, self._time_base)
            self._container.seek(stamp, stream=self._stream, backward=True)
        except av.FFmpegError:
            return False
        self._frames = self._whole_pictures()
        return self._fill()

    def _rewind(self) -> None:
        """Read the file from its beginning again: exact where an index is missing or wrong."""
        self._drop()
        self._container.close()
        self._container = self._open_container()
        self._stream = self._open_stream()
        self._timeline = Timeline(self._timeline.interval)
        self._frames = self._whole_pictures()

    def _drop(self) -> None:
        self._frames.close()  # type: ignore[attr-defined]
        self._deinterlacer.close()
        self._ready.clear()
        if self._order is not None:
            self._order.clear()
        self._timeline.forget()

    def _release(self) -> None:
        frames = getattr(self, "_frames", None)
        if frames is not None:
            frames.close()
        self._ready.clear()
        self._container.close()
        # A decoder's threads live as long as its stream is referred to, and a closed source may be kept.
        with suppress(AttributeError):
            del self._stream
