"""A recording again: the pictures of its parts, with the index, time and epoch that they had live.

Owns decoding the parts and finding the line that a picture belongs to. Must not know how lines are spelled
in a sidecar, or what is made of the frames.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.video.stream import VideoStream

from endostream.capture.deinterlacing import Deinterlacer
from endostream.capture.pixels import RgbConverter
from endostream.capture.source import SourceBase
from endostream.capture.timeline import TICK
from endostream.capture.video_file import DECODER_THREADS, FALLBACK_FPS, OPEN_OPTIONS, pick_video
from endostream.errors import SourceError
from endostream.types import Deinterlace, Frame, SourceInfo

NEAR_MS = 1.0
"""Matroska keeps whole milliseconds, rounded either way where a time stamp lies between two."""


@dataclass(frozen=True, slots=True)
class RecordedPart:
    """One file of a recording."""

    file: Path
    """The file."""
    epoch: int
    """Epoch of all its frames."""
    deinterlace: Deinterlace
    """As the live source did it; `off` where the pictures were recorded after it."""


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One frame as it was delivered live."""

    index: int
    """Delivered frames of the live source counted from 0."""
    epoch: int
    """Raised by a reconnect or a jump of the time stamps."""
    pts: int | None
    """The live source's own time stamp in `time_base` units."""
    time_base: Fraction
    """Seconds per pts unit."""
    time: float
    """Stream time in seconds."""
    wall: float
    """Wall clock in seconds when it was captured."""
    analysed: bool
    """True when it was analysed live."""

    @property
    def stamp(self) -> float:
        """Milliseconds of its time stamp; of its time, where the source gave no time stamps."""
        return 1000.0 * (self.time if self.pts is None else float(self.pts * self.time_base))


class _Epoch:
    """The frames of one epoch in the order of their time stamps; each belongs to one picture."""

    def __init__(self, frames: Sequence[RecordedFrame]) -> None:
        self._frames = sorted(frames, key=lambda frame: frame.stamp)
        self._stamps = [frame.stamp for frame in self._frames]
        self._free = [True] * len(frames)
        self._seen: set[int] = set()

    def take(self, stamp: float) -> RecordedFrame | None:
        """The frame nearest to `stamp` (milliseconds) that no picture has had yet."""
        at, best = bisect_left(self._stamps, stamp - NEAR_MS), -1
        while at < len(self._stamps) and (far := abs(self._stamps[at] - stamp)) <= NEAR_MS:
            if self._free[at] and (best < 0 or far < abs(self._stamps[best] - stamp)):
                best = at
            at += 1
        if best < 0:
            return None
        self._free[best] = False
        return self._frames[best]

    def again(self, stamp: float) -> bool:
        """True when a picture of this millisecond came before: parts overlap by what the ring kept."""
        key = round(stamp)
        known = key in self._seen
        self._seen.add(key)
        return known

    def between(self, stamp: float) -> RecordedFrame | None:
        """A frame for a picture that has none, on the line through its neighbours; None without any."""
        if not self._frames:
            return None
        at = bisect_left(self._stamps, stamp)
        low, high = self._frames[max(at - 1, 0)], self._frames[min(at, len(self._frames) - 1)]
        near = high if at == 0 else low
        share = (stamp - near.stamp) / 1000.0  # outside the frames known, a second is a second
        seconds, wall = near.time + share, near.wall + share
        if low.stamp < stamp < high.stamp:
            share = (stamp - low.stamp) / (high.stamp - low.stamp)
            seconds = low.time + share * (high.time - low.time)
            wall = low.wall + share * (high.wall - low.wall)
        pts = round(Fraction(stamp / 1000.0) / near.time_base)
        return replace(near, pts=pts, time=seconds, wall=wall, analysed=False)


class RecordedSource(SourceBase):
    """The frames of a recorded live source that were analysed then, in their order, as fast as they decode.

    A picture belongs to the frame of its epoch whose time stamp is the same to the millisecond. Frames that
    the parts do not hold are left out and counted (`missing`).

    Parameters
    ----------
    parts : sequence of RecordedPart
        The files in the order in which they were recorded.
    frames : sequence of RecordedFrame
        Every frame that is known of; those that were analysed are delivered.
    info : SourceInfo
        The live source.
    every : bool
        Deliver every picture of the parts, counted anew from 0; one without a frame of its own gets a time
        between those of its neighbours, and time stamps to the millisecond.

    Raises
    ------
    SourceError
        No part can be read.
    """

    def __init__(
        self,
        parts: Sequence[RecordedPart],
        frames: Sequence[RecordedFrame],
        info: SourceInfo,
        every: bool = False,
    ) -> None:
        super().__init__()
        self._every = every
        self._converter = RgbConverter()
        self._parts = [part for part in parts if self._readable(part)]
        if not self._parts:
            raise SourceError(
                f"{self._said[0] if self._said else 'the recording has no file'}; "
                "copy the session folder again, with its recording"
            )
        by_epoch: dict[int, list[RecordedFrame]] = {part.epoch: [] for part in parts}
        for frame in frames:
            by_epoch.setdefault(frame.epoch, []).append(frame)
        self._epochs = {epoch: _Epoch(known) for epoch, known in by_epoch.items()}
        self.missing = sum(frame.analysed for frame in frames)
        """Frames analysed live whose picture has not been met; final once the source has ended."""
        self._interval = 1.0 / (info.fps or FALLBACK_FPS)
        self._last = -self._interval
        width, height = self._size
        self._info = replace(
            info,
            kind="file",
            live=False,
            seekable=False,
            width=width,
            height=height,
            duration=None,
            frames=None if every else self.missing,
        )
        self._playing = self._play()

    def _readable(self, part: RecordedPart) -> bool:
        """True when the part can be opened; else that is said once. The first one tells the size."""
        try:
            with _opened(part) as container:
                stream = pick_video(container, part.file.name)
                if not hasattr(self, "_size"):
                    self._size = (stream.width, stream.height)
        except (av.FFmpegError, OSError, SourceError):
            missing = not part.file.is_file()
            self._warn(f"{part.file.name} {'is missing' if missing else 'holds no picture that can be read'}")
            return False
        return True

    def _next(self) -> Frame | None:
        return next(self._playing, None)

    def _go_to(self, time: float) -> None:
        raise SourceError(f"{self.info.name} is replayed from its beginning")

    def _release(self) -> None:
        if hasattr(self, "_playing"):
            self._playing.close()  # type: ignore[attr-defined]

    def _play(self) -> Iterator[Frame]:
        for part in self._parts:
            for picture in self._pictures(part):
                if self._cancelled.is_set():
                    return
                frame = self._delivered(picture, self._epochs[part.epoch], part.epoch)
                if frame is not None:
                    yield frame

    def _delivered(self, picture: av.VideoFrame, epoch: _Epoch, number: int) -> Frame | None:
        if picture.pts is None or picture.time_base is None:
            return None
        stamp = 1000.0 * float(picture.pts * picture.time_base)
        known, seen = epoch.take(stamp), epoch.again(stamp)
        if known is not None:
            self.missing -= known.analysed
            if not (known.analysed or self._every):
                return None
            return self._frame_of(picture, known, known.time)
        if not self._every or seen:
            return None
        made = epoch.between(stamp) or self._alone(picture, number)
        # What was worked out is right to a millisecond only, and time must rise.
        return self._frame_of(picture, made, max(made.time, self._last + TICK))

    def _frame_of(self, picture: av.VideoFrame, known: RecordedFrame, seconds: float) -> Frame:
        image = self._converter.convert(picture)
        image.flags.writeable = False
        self._last = max(seconds, self._last)
        self._index += 1
        return Frame(
            index=self._index - 1 if self._every else known.index,
            pts=known.pts,
            time_base=known.time_base,
            time=seconds,
            image=image,
            captured=time.monotonic(),
            wall=known.wall,
            epoch=known.epoch,
        )

    def _alone(self, picture: av.VideoFrame, epoch: int) -> RecordedFrame:
        """For an epoch of which no frame is known: it follows the last picture."""
        assert picture.time_base is not None
        after = self._last + self._interval
        return RecordedFrame(-1, epoch, picture.pts, picture.time_base, after, time.time(), False)

    def _pictures(self, part: RecordedPart) -> Iterator[av.VideoFrame]:
        """The pictures of a part in display order, deinterlaced; a file that was cut off just ends."""
        deinterlacer = Deinterlacer(part.deinterlace)
        with _opened(part) as container:
            stream = pick_video(container, part.file.name)
            context = stream.codec_context
            # As the live source decodes: also where packets are damaged, the pictures are the same.
            context.thread_type = "SLICE"
            context.thread_count = DECODER_THREADS
            context.flags |= Flags.low_delay
            for packet in self._packets(container, stream, part):
                try:
                    frames = packet.decode()
                except av.EOFError:
                    frames = []
                except av.FFmpegError:
                    self._skipped += packet.size > 0
                    continue
                for frame in frames:
                    yield from deinterlacer.feed(frame)
            with suppress(av.FFmpegError):
                for frame in stream.decode(None):
                    yield from deinterlacer.feed(frame)
        yield from deinterlacer.flush()

    def _packets(
        self, container: InputContainer, stream: VideoStream, part: RecordedPart
    ) -> Iterator[av.Packet[VideoStream]]:
        try:
            yield from container.demux(stream)
        except av.FFmpegError as error:
            self._warn(f"{part.file.name} is damaged ({error.strerror}); what is there was analysed")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        skipped = f"{self._skipped} damaged packets were skipped"
        return (*self._said, skipped) if self._skipped else tuple(self._said)


def _opened(part: RecordedPart) -> InputContainer:
    return av.open(f"file:{part.file}", "r", options=dict(OPEN_OPTIONS))
