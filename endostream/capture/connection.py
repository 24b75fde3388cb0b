"""One connection to a live source: opened, read until it breaks, closed; in a thread that may hang in libav.

Owns the container and the thread. Must not know whether there will be another connection, nor who reads:
what it finds it tells its listener, who may have stopped listening long ago.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.video.stream import VideoStream

from endostream.capture.address import Address
from endostream.capture.deinterlacing import Deinterlacer
from endostream.capture.keyframes import begins_anew
from endostream.capture.pixels import RgbConverter
from endostream.capture.tapping import StreamFormat, StreamPacket, Tap
from endostream.capture.timeline import Timeline
from endostream.capture.video_file import FALLBACK_FPS, pick_video, rate_of
from endostream.errors import SourceError
from endostream.types import Deinterlace, ImageArray

if TYPE_CHECKING:
    from endostream.capture.srt import SrtPipe

log = logging.getLogger(__name__)

OPEN_S = 4.0
"""Seconds that opening may take: a sender's key frames are at most so far apart."""
SILENCE_S = 3.0
"""Seconds without a packet after which a connection that does not notice itself is given up."""
JUMP_S = 10.0
"""A time stamp this far (seconds) ahead of the last one is a restarted sender, not a gap."""
STEP_BACK_S = 0.5
"""A time stamp this far (seconds) behind the last one is a restarted sender, not a picture out of order."""
MOST_EARLY = 300
"""Packets kept until the first picture says what they are."""
SLOWEST_HZ, FASTEST_HZ = 0.5, 240.0
"""Rates that are believed."""
IDLE_DEVICE_S = 0.004
"""Seconds between two looks at a device that has no picture ready."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture on its way to the reader."""

    image: ImageArray
    """uint8[H, W, 3], RGB."""
    seconds: float
    """Stream time."""
    pts: int | None
    """Presentation time stamp."""
    time_base: Fraction
    """Seconds per pts unit."""
    captured: float
    """Monotonic clock in seconds at which it was decoded."""
    wall: float
    """Wall clock in seconds at which it was decoded."""
    epoch: int
    """Counts connections, restarts of the sender's clock and changes of size."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a connection carries."""

    codec: str
    """libav's name of the codec."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    fps: float | None
    """Average frame rate in Hz, where the stream states one."""

    def __str__(self) -> str:
        """As people read it: `1280x720, 25 fps, h264`."""
        rate = f", {self.fps:.3g} fps" if self.fps else ""
        return f"{self.width}x{self.height}{rate}, {self.codec}"


class Listener(Protocol):
    """Who a connection works for; every call comes from the connection's thread, and none may wait long."""

    def begun(self, connection: Connection, described: Described) -> tuple[int, float] | None:
        """A new stretch begins: its epoch and the stream time of its first picture; None to give up."""

    def pictured(self, connection: Connection, picture: Picture) -> bool:
        """A picture came; False to give up."""

    def ended(self, connection: Connection) -> None:
        """The connection is closed; nothing more comes from it."""


class Connection:
    """One attempt at a source; starts at once.

    Parameters
    ----------
    address
        Where it is.
    listener
        Who hears what comes.
    deinterlace
        Which pictures are deinterlaced.
    tap
        Hears the packets; None when nobody does.
    """

    def __init__(
        self, address: Address, listener: Listener, deinterlace: Deinterlace = "auto", tap: Tap | None = None
    ) -> None:
        self._address, self._listener, self._tap = address, listener, tap
        self._given_up = threading.Event()
        self._deinterlace: Deinterlace = deinterlace
        self._deinterlacer = Deinterlacer(deinterlace)
        self._converter = RgbConverter()
        self._stamps: deque[tuple[float, float]] = deque()
        self._format: StreamFormat | None = None
        self._described: Described | None = None
        self._fps: float | None = None
        self._pipe: SrtPipe | None = None
        self._last_dts: float | None = None
        self._codec = ""
        self._early: list[StreamPacket] = []
        self.active = time.monotonic()
        """Monotonic clock of the last sign of life: the start, a packet."""
        self.opened = False
        """True once the source has answered with something that can be decoded."""
        self.pictures = 0
        """Pictures given."""
        self.damaged = 0
        """Packets that were left out."""
        self.reason = ""
        """Why it ended, where that is known."""
        self.wrong: SourceError | None = None
        """What makes this no source at all: sound only, an unknown codec."""
        self.finite = False
        """True for a clip behind a web address, which has an end and waits for its reader."""
        self._epoch = 0
        self._timeline = Timeline(1.0 / FALLBACK_FPS)
        self._thread = threading.Thread(target=self._run, name=f"capture {address.name}", daemon=True)
        self._thread.start()

    # The owner's side

    @property
    def alive(self) -> bool:
        """True while the thread runs, be it stuck in a library."""
        return self._thread.is_alive()

    @property
    def warning(self) -> str:
        """What cannot be done with its pictures, in one line; else empty."""
        return self._deinterlacer.warning

    def give_up(self) -> None:
        """Let it end as soon as its library lets go; returns at once."""
        self._given_up.set()

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout)

    # The connection's thread

    def _run(self) -> None:
        try:
            self._read()
        except av.FFmpegError as error:
            self.reason = _spoken(error)
        except SourceError as error:
            self.reason, self.wrong = str(error), error if self._proven(error) else None
        except Exception as error:  # a device driver or filter that fails must not end the run
            log.exception("a connection to %s failed", self._address.name)
            self.reason = f"{type(error).__name__}: {error}"
        finally:
            if self._pipe is not None:
                self._pipe.close()
                self.reason = self._pipe.failure or self.reason
            self._listener.ended(self)

    def _proven(self, error: SourceError) -> bool:
        """True when the source itself answered and is wrong, not when it is away."""
        return self.opened or self._address.again is None

    def _read(self) -> None:
        if self._address.again is not None:
            self._address = self._address.again()
        with self._open() as container:
            if self._given_up.is_set():
                return
            self.active = time.monotonic()
            self.opened = True
            self.finite = bool(container.duration) and self._address.kind == "stream"
            stream = self._prepared(container)
            for packet in self._packets(container, stream):
                self.active = time.monotonic()
                for decoded in self._decoded(packet, stream):
                    if not self._give(decoded, stream):
                        return
            for decoded in self._deinterlacer.flush() if self.finite else ():
                self._give(decoded, stream)

    def _open(self) -> InputContainer:
        address = self._address
        if address.piped:
            # Imported here: SRT alone needs it.
            from endostream.capture.srt import open_srt

            self._pipe = open_srt(address.url, SILENCE_S, self._given_up)
            piped: InputContainer = av.open(self._pipe, "r", format="mpegts", options=dict(address.options))
            return piped
        return av.open(
            address.url,
            "r",
            format=address.format,
            options=dict(address.options),
            timeout=(OPEN_S, SILENCE_S),
        )

    def _prepared(self, container: InputContainer) -> VideoStream:
        stream = pick_video(container, self._address.name)
        context = stream.codec_context
        context.thread_type = "SLICE"
        context.thread_count = 2
        # Measured: order is kept with B-frames too, and nothing waits that need not.
        context.flags |= Flags.low_delay
        self._codec = context.name
        # Where no rate was counted, libav takes the clock of the fields or of the time stamps for one.
        known = (stream.average_rate, context.framerate, rate_of(stream))
        self._fps = next((float(rate) for rate in known if rate and SLOWEST_HZ <= rate <= FASTEST_HZ), None)
        return stream

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
        """Packets until the end of the stream; a device that has none ready is asked again."""
        while not self._given_up.is_set():
            try:
                for packet in container.demux(stream):
                    yield packet
                    if self._given_up.is_set():
                        return
                return
            except av.BlockingIOError:
                if time.monotonic() - self.active > SILENCE_S:
                    self.reason = f"no picture for {SILENCE_S:g} s"
                    return
                self._given_up.wait(IDLE_DEVICE_S)

    def _decoded(self, packet: av.Packet[VideoStream], stream: VideoStream) -> Iterator[av.VideoFrame]:
        """The pictures that a packet completes, each of the stretch it belongs to."""
        if not packet.size and not self.finite:
            return  # the connection broke: what comes out of the decoder now is old and shall not look live
        if self._restarted(packet):
            yield from self._drained(stream)
        try:
            frames = [] if packet.is_corrupt else packet.decode()
        except av.EOFError:
            frames = []
        except av.FFmpegError:
            self.damaged += packet.size > 0
            return
        self.damaged += packet.is_corrupt
        for frame in frames:
            if self._changed(frame, stream):
                for late in self._deinterlacer.flush():
                    if not self._give(late, stream):
                        return
                if not self._begin(frame, stream):
                    self._given_up.set()
                    return
        # After decoding: only then is it known whether it begins another kind of picture.
        self._pass_on(packet)
        for frame in frames:
            self._stamps.append((time.monotonic(), time.time()))
            yield from self._deinterlacer.feed(frame)

    def _restarted(self, packet: av.Packet[VideoStream]) -> bool:
        """True when the sender's clock began anew before this packet."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or packet.time_base is None:
            return False
        now, last = float(stamp * packet.time_base), self._last_dts
        self._last_dts = now
        return last is not None and not -STEP_BACK_S <= now - last <= JUMP_S

    def _drained(self, stream: VideoStream) -> Iterator[av.VideoFrame]:
        """What decoder and filter still hold; the next picture begins a new stretch."""
        try:
            for frame in stream.codec_context.decode(None):
                self._stamps.append((time.monotonic(), time.time()))
                yield from self._deinterlacer.feed(frame)
        except av.FFmpegError:
            self.damaged += 1
        stream.codec_context.flush_buffers()
        yield from self._deinterlacer.flush()
        self._described = None

    def _changed(self, frame: av.VideoFrame, stream: VideoStream) -> bool:
        known, format_ = self._described, self._format
        if known is None or format_ is None:
            return True
        return (known.width, known.height, format_.pixel_format) != (
            frame.width,
            frame.height,
            frame.format.name,
        )

    def _begin(self, frame: av.VideoFrame, stream: VideoStream) -> bool:
        """A stretch of pictures of one kind on one clock; False when nobody wants it."""
        context = stream.codec_context
        self._described = Described(context.name, frame.width, frame.height, self._fps)
        begun = self._listener.begun(self, self._described)
        if begun is None:
            return False
        self._epoch, start = begun
        self._timeline = Timeline(1.0 / (self._fps or FALLBACK_FPS), jump=JUMP_S)
        if start > 0.0:
            self._timeline.rejoin(start)
        self._format = StreamFormat(
            codec=context.name,
            width=frame.width,
            height=frame.height,
            pixel_format=frame.format.name,
            time_base=stream.time_base or Fraction(1, av.time_base),
            rate=None if self._fps is None else Fraction(self._fps).limit_denominator(1001),
            extradata=bytes(context.extradata) if context.extradata else None,
        )
        if self._tap is not None:
            self._tap.connected(self._format, self._epoch)
            for packet in self._early:
                self._tap.packet(packet)
        self._early.clear()
        return True

    def _pass_on(self, packet: av.Packet[VideoStream]) -> None:
        # One that was given up has a successor, whose packets the tap hears by now.
        if self._tap is None or not packet.size or self._given_up.is_set():
            return
        if packet.is_corrupt:
            return  # it was not decoded: with it a recording would show other pictures than were analysed
        data = bytes(packet)
        passed = StreamPacket(
            data=data,
            pts=packet.pts,
            dts=packet.dts,
            keyframe=packet.is_keyframe or bool(begins_anew(self._codec, data)),
            arrived=self.active,
        )
        if self._described is not None:
            self._tap.packet(passed)
            return
        # Where pictures come out of order, the first one comes out some packets later.
        if passed.keyframe or len(self._early) >= MOST_EARLY:
            self._early.clear()
        self._early.append(passed)

    def _give(self, frame: av.VideoFrame, stream: VideoStream) -> bool:
        time_base = frame.time_base or stream.time_base or Fraction(1, av.time_base)
        captured, wall = self._stamps.popleft()
        stamp = frame.pts if frame.pts is not None else frame.dts
        seconds = self._timeline.place(stamp, time_base)
        image = self._converter.convert(frame)
        self.pictures += 1
        picture = Picture(image, seconds, frame.pts, time_base, captured, wall, self._epoch)
        return not self._given_up.is_set() and self._listener.pictured(self, picture)


def _spoken(error: av.FFmpegError) -> str:
    """Why a connection broke, for people: silence has many names in libav."""
    if isinstance(error, av.ExitError) or error.errno in (errno.EIO, errno.ETIMEDOUT, errno.EAGAIN):
        return "nothing arrives"
    if isinstance(error, av.EOFError):
        return "the sender ended the stream"
    return (error.strerror or type(error).__name__).lower()
