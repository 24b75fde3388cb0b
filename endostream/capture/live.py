"""Live sources: a device or a network stream that is opened, lost, and opened again.

Owns the thread that waits for packets. Must not know pacing or analysis: what comes too fast is the
pipeline's to drop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.video.stream import VideoStream

from endostream.capture.pixels import RgbConverter
from endostream.capture.source import MIN_SIDE, SourceBase, too_small
from endostream.capture.timeline import Timeline
from endostream.capture.video_file import FALLBACK_FPS, pick_video, rate_of
from endostream.errors import SourceError
from endostream.types import Frame, ImageArray, SourceInfo

FIRST_FRAME_TIMEOUT = 10.0
"""Seconds a live source has for its first frame."""
SILENCE = 3.0
"""Seconds without a packet after which a connection that does not notice itself is given up."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to open it again; the last one repeats."""
JUMP = 10.0
"""A time stamp this far (seconds) ahead of the last one is a restarted sender, not a gap."""
IDLE_DEVICE = 0.004
"""Seconds between two looks at a device that has no picture ready."""
FAREWELL = 1.0
"""Seconds `close` waits for the thread; one that sits in a dead connection ends by its own time limit."""

State = Literal["connecting", "running", "no-signal", "ended"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a live source is."""

    url: str
    """What libav opens."""
    name: str
    """What is shown: without credentials or path."""
    kind: Literal["device", "stream"]
    """What it is."""
    format: str | None = None
    """libav's input format, where it cannot be told from the URL."""
    options: tuple[tuple[str, str], ...] = ()
    """Options for the connection."""


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """One decoded picture on its way from the waiting thread to the reader."""

    image: ImageArray
    """uint8[H, W, 3], RGB."""
    seconds: float
    """Stream time."""
    pts: int | None
    """Presentation time stamp."""
    time_base: Fraction
    """Seconds per pts unit."""
    stamps: tuple[float, float]
    """Monotonic and wall clock at decoding."""
    connection: int
    """Counts breaks: reconnects and time stamps that start anew."""


class LiveSource(SourceBase):
    """Frames of a device or stream as they come; after a loss it reconnects until it is cancelled.

    A thread of its own waits in libav, where nothing can reach it; `read` and `cancel` never do. The
    hand-off between them holds one picture and waits, so nothing is lost or counted here.

    Parameters
    ----------
    address : Address
        Where it is.
    first_frame_timeout : float
        Seconds until `SourceError` when nothing comes.
    cancelled : threading.Event or None
        Set by another thread to give up while still connecting.
    """

    def __init__(
        self,
        address: Address,
        first_frame_timeout: float = FIRST_FRAME_TIMEOUT,
        cancelled: threading.Event | None = None,
    ) -> None:
        super().__init__()
        self._address = address
        self._first_timeout = first_frame_timeout
        self._handoff = threading.Condition()
        self._slot: deque[_Picture] = deque()
        self._state: State = "connecting"
        self._error: BaseException | None = None
        self._connection = 0
        self._reason = ""
        self._codec: str | None = None
        self._fps: float | None = None
        self._finished = False
        self._timeline = Timeline(1.0 / FALLBACK_FPS, jump=JUMP)
        self._last_clock = 0.0
        self._last_seconds = 0.0
        self._converter = RgbConverter()
        self._thread = threading.Thread(target=self._run, name=f"capture {address.name}", daemon=True)
        self._thread.start()
        try:
            self._info = self._await_first(cancelled)
        except BaseException:
            self.close()
            raise

    # The reader's side

    def _await_first(self, cancelled: threading.Event | None) -> SourceInfo:
        deadline = time.monotonic() + self._first_timeout
        with self._handoff:
            while not self._slot and self._error is None and self._state != "ended":
                left = deadline - time.monotonic()
                if left <= 0 or (cancelled is not None and cancelled.is_set()):
                    break
                self._handoff.wait(min(left, 0.05) if cancelled is not None else left)
            if self._error is not None:
                raise self._error
            if not self._slot:
                why = f" ({self._reason})" if self._reason else ""
                raise SourceError(
                    f"{self._address.name} gave no picture within {self._first_timeout:g} s{why}; "
                    "check that it is switched on and sending"
                )
            height, width = self._slot[0].image.shape[:2]
        if min(width, height) < MIN_SIDE:
            raise SourceError(too_small(self._address.name, width, height))
        return SourceInfo(
            name=self._address.name,
            kind=self._address.kind,
            live=True,
            seekable=False,
            independent=False,
            width=width,
            height=height,
            fps=self._fps,
            duration=None,
            frames=None,
            codec=self._codec,
        )

    @property
    def state(self) -> State:
        """Where in its life the connection is."""
        return self._state

    @property
    def signal(self) -> bool:
        """False while the picture is lost."""
        return self._state == "running"

    def _next(self) -> Frame | None:
        with self._handoff:
            while not self._slot and not self._cancelled.is_set() and self._state != "ended":
                self._handoff.wait()
            if self._cancelled.is_set():
                return None
            if not self._slot:
                if self._error is not None:
                    raise self._error
                return None
            picture = self._slot.popleft()
            self._handoff.notify_all()
        self._epoch = picture.connection
        return self._frame(
            picture.image, picture.seconds, picture.pts, picture.time_base, stamps=picture.stamps
        )

    def _go_to(self, time: float) -> None:
        raise SourceError(f"{self._address.name} is live and cannot be searched in")

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        super().cancel()
        with self._handoff:
            self._handoff.notify_all()

    def _release(self) -> None:
        with self._handoff:
            self._slot.clear()
            self._handoff.notify_all()
        self._thread.join(FAREWELL)

    # The waiting thread's side

    def _run(self) -> None:
        failures = 0
        try:
            while not self._cancelled.is_set():
                got = self._connect_once()
                if self._finished:
                    break
                failures = 0 if got else failures + 1
                if self._seen and self._state != "connecting":
                    self._state = "no-signal"
                self._cancelled.wait(PAUSES[min(failures, len(PAUSES) - 1)])
        except BaseException as error:
            self._error = error
        finally:
            self._state = "ended"
            with self._handoff:
                self._handoff.notify_all()

    @property
    def _seen(self) -> bool:
        return self._last_clock > 0

    def _connect_once(self) -> bool:
        """Open, and hand over pictures until the connection breaks; True when there was at least one."""
        got = False
        try:
            with self._open() as container:
                for picture in self._pictures(container):
                    got = True
                    self._hand_over(picture)
                # Only what has a length (a clip behind a web address) can come to its end.
                self._finished = got and bool(container.duration) and self._address.kind == "stream"
        except av.FFmpegError as error:
            self._reason = error.strerror or type(error).__name__
        except SourceError as error:
            if not self._seen:
                raise
            self._reason = str(error)
        return got

    def _open(self) -> InputContainer:
        address = self._address
        return av.open(
            address.url,
            "r",
            format=address.format,
            options=dict(address.options),
            timeout=(self._first_timeout, SILENCE),
        )

    def _pictures(self, container: InputContainer) -> Iterator[_Picture]:
        stream = pick_video(container, self._address.name)
        context = stream.codec_context
        context.thread_type = "SLICE"
        context.thread_count = 2
        # Measured: order is kept with B-frames too, and nothing waits that need not.
        context.flags |= Flags.low_delay
        self._codec, self._fps = context.name, rate_of(stream)
        self._timeline.interval = 1.0 / (self._fps or FALLBACK_FPS)
        if self._seen:
            self._connection += 1
            self._timeline.rejoin(self._timeline_now())
        for packet in self._packets(container, stream):
            try:
                frames = [] if packet.is_corrupt else packet.decode()
            except av.EOFError:
                frames = []
            except av.FFmpegError:
                self._skipped += packet.size > 0
                continue
            self._skipped += packet.is_corrupt
            for frame in frames:
                yield self._picture(frame, stream.time_base or Fraction(1, av.time_base))

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
        """Packets until the end of the stream; a device that has none ready is asked again."""
        last = time.monotonic()
        while not self._cancelled.is_set():
            try:
                for packet in container.demux(stream):
                    last = time.monotonic()
                    yield packet
                    if self._cancelled.is_set():
                        return
                return
            except av.BlockingIOError:
                if time.monotonic() - last > SILENCE:
                    self._reason = f"no picture for {SILENCE:g} s"
                    return
                self._cancelled.wait(IDLE_DEVICE)

    def _timeline_now(self) -> float:
        """Stream time now: what it was at the last picture plus the time gone by."""
        return self._last_seconds + time.monotonic() - self._last_clock

    def _picture(self, frame: av.VideoFrame, time_base: Fraction) -> _Picture:
        stamps = (time.monotonic(), time.time())
        pause = stamps[0] - self._last_clock if self._seen else None
        breaks = self._timeline.breaks
        stamp = frame.pts if frame.pts is not None else frame.dts
        seconds = self._timeline.place(stamp, frame.time_base or time_base, pause)
        self._connection += self._timeline.breaks - breaks
        self._last_clock, self._last_seconds = stamps[0], seconds
        image = self._converter.convert(frame)
        return _Picture(image, seconds, frame.pts, time_base, stamps, self._connection)

    def _hand_over(self, picture: _Picture) -> None:
        with self._handoff:
            while self._slot and not self._cancelled.is_set():
                self._handoff.wait()
            if not self._cancelled.is_set():
                self._slot.append(picture)
                self._state = "running"
                self._handoff.notify_all()
