"""What the recorder's thread does with what it is given: keep it for later, encode it, write it.

Owns the ring, the encoder and the recording that goes on. Must not know queues or who calls. All calls come
from one thread and may wait for the disk; none raises.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from endostream.capture.encoding import EncodedMode, PictureEncoder
from endostream.capture.recording import milliseconds
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import EndostreamError, RunError
from endostream.pipeline.clip import Clip, Disk
from endostream.pipeline.ring import Ring, Stretch
from endostream.records.sidecar import FrameLine, Line
from endostream.types import Frame

log = logging.getLogger(__name__)

GRACE_S = 2.0
"""Seconds after the end of a recording in which lines of its frames are taken still: networks need time."""
KEYLESS_S = 12.0
"""Seconds of packets without a key frame after which pictures are encoded instead: cameras send one every ten
seconds at least, and a recording of nothing must not look like one."""
LOSS_LINE_S = 1.0
"""Seconds between two lines about lost pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """Record from now on."""

    folder: Path
    """The session folder."""
    since: float | None
    """Monotonic clock in seconds from which on; None for all that is kept."""
    phi_mask: str
    """Name of the tower profile, or `none`."""
    keep_free: int
    """Bytes that stay free."""
    disk: Disk
    """Where to."""
    answered: threading.Event = field(default_factory=threading.Event)
    """Set once the recording has begun or failed to."""
    errors: list[EndostreamError] = field(default_factory=list)
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class End:
    """Record no more."""

    wall: float
    """Wall clock in seconds."""


@dataclass(frozen=True, slots=True)
class Connected:
    """Packets of this format follow."""

    format: StreamFormat | None
    """How they are coded; None when they cannot be kept as they are after all."""
    epoch: int
    """Epoch of their frames."""
    copies: bool
    """True when they are kept as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """A line for the sidecar."""

    line: Line
    """The line."""
    captured: float
    """Monotonic clock in seconds of what it is about."""


Item = Begin | End | Connected | Noted | StreamPacket | Frame


class Reel:
    """Keeps the last seconds while nothing is recorded, and records.

    Parameters
    ----------
    before_s
        Seconds kept; 0 keeps nothing.
    mode
        How pictures are encoded where packets cannot be kept.
    ended
        Hears why a recording ended by itself.
    say
        Hears what else went wrong.
    uncopied
        Called when packets cannot be kept as they are, for want of key frames.
    """

    def __init__(
        self,
        before_s: float,
        mode: EncodedMode,
        ended: Callable[[str], None],
        say: Callable[[str], None],
        uncopied: Callable[[], None],
    ) -> None:
        self.figures = (0.0, 0)
        """Seconds recorded and bytes written, of the last recording."""
        self.encoder = ""
        """What encodes."""
        self.encoding_s = self.writing_s = 0.0
        """Seconds spent in the encoder and in the disk."""
        self._ring = Ring(before_s) if before_s > 0.0 else None
        self._mode = mode
        self._ended, self._say, self._uncopied = ended, say, uncopied
        self._failure = ""
        self._clip: Clip | None = None
        self._late: tuple[Clip, float, float] | None = None
        self._copied: Stretch | None = None
        self._rate: Fraction | None = None
        self._coder: PictureEncoder | None = None
        self._coded: Stretch | None = None
        self._broken = False
        self._refused_at: float | None = None
        self._unsaid = 0
        self._said_at = 0.0

    def patience(self) -> float | None:
        """Seconds after which `take` wants to be called without news; None for never."""
        return None if self._late is None else max(0.0, self._late[1] - time.monotonic())

    def take(self, item: Item | None) -> None:
        """Do what is to be done with an item, or with the time that went by."""
        if self._late is not None and time.monotonic() >= self._late[1]:
            self._end_late()
        if isinstance(item, Begin):
            self._begin(item)
            return
        with self._guarded():
            if isinstance(item, StreamPacket):
                if self._copied is not None:
                    self._give(self._copied, [item])
            elif isinstance(item, Frame):
                self._encode(item)
            elif isinstance(item, Noted):
                self._note(item)
            elif isinstance(item, Connected):
                self._connect(item)
            elif isinstance(item, End):
                self._end(item.wall)

    def lost(self, pictures: int) -> None:
        """Pictures could not be kept."""
        self._unsaid += pictures
        if time.monotonic() - self._said_at >= LOSS_LINE_S:
            with self._guarded():
                self._say_losses()

    def close(self, wall: float) -> None:
        """End everything."""
        with self._guarded():
            self._end(wall)
        self._end_late()

    # The recording

    def _begin(self, begin: Begin) -> None:
        if self._clip is None:
            self._end_late()
            self._failure, self._broken, self._refused_at = "", False, None
            self.encoding_s = self.writing_s = 0.0
            self._unsaid = 0
            with self._guarded():
                self._clip = Clip(begin.folder, begin.phi_mask, begin.keep_free, begin.disk)
                self._empty_ring(begin.since)
            if self._failure:
                begin.errors.append(RunError(self._failure))
        begin.answered.set()

    def _empty_ring(self, since: float | None) -> None:
        if self._ring is None:
            return
        packets, lines = self._ring.take(since)
        for stretch, packet in packets:
            self._give(stretch, [packet])
        for line in lines:
            self._write_line(line)

    def _give(self, stretch: Stretch, packets: list[StreamPacket]) -> None:
        if self._clip is None:
            for packet in packets if self._ring is not None else ():
                self._ring.add(stretch, packet)  # type: ignore[union-attr]
            return
        began = time.monotonic()
        for packet in packets:
            self._refused(began, not self._clip.write(stretch, packet))
        self.figures = (self._clip.seconds, self._clip.bytes)
        self.writing_s += time.monotonic() - began

    def _refused(self, now: float, refused: bool) -> None:
        """Packets that are left out for long have no key frames, or none that can be told."""
        if not refused:
            self._refused_at = None
        elif self._refused_at is None:
            self._refused_at = now
        elif now - self._refused_at >= KEYLESS_S and self._copied is not None:
            self._copied = self._refused_at = None
            self._uncopied()

    def _note(self, noted: Noted) -> None:
        if self._clip is not None:
            self._write_line(noted.line)
            return
        if self._late is not None and isinstance(noted.line, FrameLine):
            self._late[0].line(noted.line)
        if self._ring is not None:
            self._ring.note(noted.captured, noted.line)

    def _write_line(self, line: Line) -> None:
        assert self._clip is not None
        self._clip.line(line)

    def _say_losses(self) -> None:
        lost, self._unsaid = self._unsaid, 0
        if lost and self._clip is not None:
            self._said_at = time.monotonic()
            self._clip.lost(lost)

    def _end(self, wall: float) -> None:
        self._finish_coder()
        if self._clip is None:
            return
        self._say_losses()
        self._clip.finish()
        self.figures = (self._clip.seconds, self._clip.bytes)
        self._late, self._clip = (self._clip, time.monotonic() + GRACE_S, wall), None

    def _end_late(self) -> None:
        if self._late is None:
            return
        (clip, _, wall), self._late = self._late, None
        try:
            clip.end(wall)
        except EndostreamError as error:
            self._say(str(error))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """What fails ends the recording, and nothing else."""
        try:
            yield
        except EndostreamError as error:
            self._fail(str(error))
        except OSError as error:
            reason = error.strerror or str(error)
            self._fail(f"the recording cannot be written: {reason}; check the disk and record again")
        except Exception as error:
            log.exception("recording failed")
            self._fail(f"recording failed ({type(error).__name__}: {error}); start it again")

    def _fail(self, reason: str) -> None:
        clip, self._clip = self._clip, None
        late, self._late = self._late, None
        self._coder = self._coded = None
        for broken in (clip, late[0] if late else None):
            if broken is not None:
                with contextlib.suppress(EndostreamError, OSError):
                    broken.end(time.time(), reason)
        self._failure = reason
        self._ended(reason)

    # Packets and pictures

    def _connect(self, connected: Connected) -> None:
        self._copied = self._refused_at = None
        if connected.format is not None:
            self._rate = connected.format.rate
            if connected.copies:
                base = connected.format.time_base
                self._copied = Stretch(connected.format, connected.epoch, base, "copy")

    def _encode(self, frame: Frame) -> None:
        if self._broken or (self._clip is None and self._ring is None):
            return
        began = time.monotonic()
        stamp = frame.pts
        shown = round(frame.time * 1000) if stamp is None else milliseconds(stamp, frame.time_base)
        height, width = frame.image.shape[:2]
        coder, stretch = self._coder, self._coded
        if coder and stretch and (stretch.epoch, coder.size) != (frame.epoch, (width, height)):
            self._finish_coder()
        try:
            coder, stretch = self._coder_for(frame)
            packets = coder.encode(frame.image, shown, frame.captured)
        except EndostreamError:
            self._broken = True  # until another recording is asked for
            raise
        self.encoding_s += time.monotonic() - began
        self._give(stretch, packets)

    def _coder_for(self, frame: Frame) -> tuple[PictureEncoder, Stretch]:
        """The encoder in use, or a new one."""
        if self._coder is None or self._coded is None:
            height, width = frame.image.shape[:2]
            coder = PictureEncoder(width, height, self._rate, self._mode)
            self.encoder = coder.name
            self._coder = coder
            self._coded = Stretch(coder.format, frame.epoch, frame.time_base, self._mode, coder.name)
        return self._coder, self._coded

    def _finish_coder(self) -> None:
        coder, stretch = self._coder, self._coded
        self._coder = self._coded = None
        if coder is not None and stretch is not None:
            self._give(stretch, coder.finish())
