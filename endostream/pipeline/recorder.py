"""Records a live source beside everything else: its own queue, its own thread, and a disk that may fail.

Owns the queue between the callers' threads and the recording's, and what is said of its state. Must not know
files, containers or networks. No call for a frame or a packet waits or raises: what the disk or the encoder
cannot take is left out and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from endostream.capture.recording import COPYABLE
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import InputError
from endostream.pipeline.clip import Disk
from endostream.pipeline.reel import GRACE_S, Begin, Connected, End, Item, Noted, Reel
from endostream.records.sidecar import FrameLine, SignalLine
from endostream.types import Analysis, Frame, Recording, SignalChange

log = logging.getLogger(__name__)

QUEUE_BYTES = 64 << 20
"""Most that may wait for the disk or the encoder: 24 pictures of 720p, two minutes of packets at 4 Mbit/s."""
LEAST_PICTURES = 6
"""Pictures that may wait however large they are."""
QUEUE_LINES = 20_000
"""Lines that may wait: eleven minutes of a disk that hangs."""
MARGIN_BYTES = 200_000_000
"""A recording begins only with this much more free than it must leave."""
ANSWER_S = 1.0
"""Seconds that `start` waits for the disk's answer, and `close` for its end."""
RECENT_S = 3.0
"""Seconds for which a loss is still said to go on."""


@dataclass(frozen=True, slots=True)
class RecorderRules:
    """How a source is recorded."""

    mode: Literal["auto", "encode", "lossless"] = "auto"
    """`auto`: packets as they came where that is possible, else encoded."""
    before_s: float = 10.0
    """Seconds before the press that a recording can begin with. Where packets cannot be kept as they come,
    the encoder runs all the time for them (720p30: a third of a core)."""
    keep_free_bytes: int = 2_000_000_000
    """The recording ends before the disk has less free than this."""
    masked: bool = False
    """True where patient text is masked or the picture cropped: packets as they came would show it."""
    phi_mask: str | None = None
    """Name of the tower profile, or `none` for nothing to mask; None while that is undecided."""
    copyable: bool = True
    """False where packets as they came are no use."""

    @property
    def copies(self) -> bool:
        """True when packets may be kept as they come."""
        return self.mode == "auto" and not self.masked and self.copyable


class Recorder:
    """Records packets or pictures of a live source and what became of each of its frames.

    It is the tap of the source (`connected`, `packet`). The thread begins with the first call that needs it.

    Parameters
    ----------
    rules
        How to record.
    disk
        The disk; another one in tests.
    """

    def __init__(self, rules: RecorderRules, *, disk: Disk | None = None) -> None:
        self._rules = rules
        self._disk = disk or Disk()
        self._changed = threading.Condition()
        self._items: deque[tuple[Item, int]] = deque()
        self._waiting = 0
        self._lines = 0
        self._on = False
        self._failure = ""
        self._closed = False
        self._copying = rules.copies
        self._skipping = False
        self._unsaid = 0
        self._lines_until = 0.0
        self._lost = 0
        self._lost_at = -RECENT_S
        self._said: list[str] = []
        before_s = rules.before_s if rules.phi_mask is not None else 0.0
        self._reel = Reel(before_s, self._mode, self._ended, self._say, self._encode)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    @property
    def _mode(self) -> Literal["encode", "lossless"]:
        return "lossless" if self._rules.mode == "lossless" else "encode"

    # The tap: the connection's thread

    def connected(self, format: StreamFormat, epoch: int) -> None:
        """Packets of this format follow; their pictures are frames of this `epoch`."""
        self._copying = self._rules.copies and format.codec in COPYABLE
        self._skipping = False
        if self._rules.phi_mask is not None:
            self._post(Connected(format, epoch, self._copying))

    def packet(self, packet: StreamPacket) -> None:
        """A packet came."""
        if not self._copying or not self._wanted:
            return
        if packet.pts is None:
            # Without time stamps no picture finds its line: the pictures themselves are recorded.
            self._copying = False
            self._post(Connected(None, 0, False))
            return
        size = len(packet.data)
        with self._changed:
            room = self._waiting + size <= QUEUE_BYTES
            # What depends on a picture that was left out is left out with it.
            self._skipping = not room or (self._skipping and not packet.keyframe)
            if self._skipping:
                self._miss()
            else:
                self._post(packet, size)

    # The run's threads

    def frame(self, frame: Frame) -> None:
        """A frame was captured, masks applied."""
        if self._copying or not self._wanted:
            return
        size = frame.image.nbytes
        with self._changed:
            if self._waiting + size > max(QUEUE_BYTES, LEAST_PICTURES * size):
                self._miss()
            else:
                self._post(frame, size)

    def fate(self, frame: Frame, fate: str, analysis: Analysis | None = None) -> None:
        """What became of a frame: `analysed`, or why it was not."""
        if not self._wanted and time.monotonic() > self._lines_until:
            return
        acting = None if analysis is None else analysis.acting
        line = FrameLine(
            index=frame.index,
            epoch=frame.epoch,
            pts=frame.pts,
            time_base=frame.time_base,
            time=frame.time,
            wall=frame.wall,
            fate=fate,
            label=None if acting is None else acting.label,
            scores=None if acting is None else acting.scores.astype(np.float16),
            raw=None if acting is None else acting.raw.astype(np.float16),
        )
        self._post(Noted(line, frame.captured))

    def signalled(self, change: SignalChange) -> None:
        """The picture was lost, froze, or came back."""
        if self._wanted:
            line = SignalLine(change.state, change.time, change.wall, change.detail)
            self._post(Noted(line, time.monotonic()))

    # Whoever runs it

    def start(self, folder: Path, *, before_s: float | None = None) -> None:
        """Record into a session folder, from `before_s` seconds ago on (None: from all that is kept).

        Does nothing where a recording goes on. Waits for the disk's answer, a second at most.

        Raises
        ------
        InputError
            It is undecided whether patient text must be masked, the disk has too little room, or the folder
            cannot be written.
        """
        rules = self._rules
        if rules.phi_mask is None:
            raise InputError(
                "decide about patient text first: choose the tower's profile, or none where there is no text"
            )
        if self._closed:
            raise InputError("the run is over: start another one to record")
        if not folder.is_dir():
            raise InputError(f"cannot record into {folder}: there is no such folder; choose another folder")
        if not self._on:
            self.check_room(folder)
        since = None if before_s is None else time.monotonic() - before_s
        begin = Begin(folder, since, rules.phi_mask, rules.keep_free_bytes, self._disk)
        with self._changed:
            if not self._on:
                self._on, self._failure, self._lost, self._unsaid = True, "", 0, 0
            self._post(begin)
        if begin.answered.wait(ANSWER_S) and begin.errors:
            raise InputError(str(begin.errors[0])) from begin.errors[0]

    def check_room(self, folder: Path) -> None:
        """Raise `InputError` where the disk of `folder`, which need not be there yet, has too little room."""
        there = next((f for f in (folder, *folder.absolute().parents) if f.is_dir()), folder)
        try:
            free = self._disk.free(there)
        except OSError as error:
            raise InputError(
                f"cannot record into {folder}: {error.strerror}; choose another folder"
            ) from error
        needed = self._rules.keep_free_bytes + MARGIN_BYTES
        if free < needed:
            raise InputError(
                f"only {free / 1e9:.1f} GB are left on the disk, {needed / 1e9:.1f} GB are needed to record; "
                "free some space or choose another folder"
            )

    def stop(self) -> None:
        """End the recording; returns at once. Lines of what is recorded are still taken for a moment."""
        with self._changed:
            if self._on:
                self._on = False
                self._lines_until = time.monotonic() + GRACE_S
                self._post(End(time.time()))

    def close(self) -> None:
        """End everything; waits a second at most, and says so when the disk does not answer."""
        with self._changed:
            self._closed = True
            self._on = False
            self._changed.notify_all()
        if self._thread.ident is None:
            return
        self._thread.join(ANSWER_S)
        if self._thread.is_alive():
            self._say("the disk does not answer: the end of the recording may be missing; check the disk")

    @property
    def state(self) -> Recording:
        """How the recording is doing."""
        reel = self._reel
        with self._changed:
            on, failed, lost = self._on, self._failure, self._lost
            recent = time.monotonic() - self._lost_at < RECENT_S
        reason = failed
        if on and recent:
            reason = self._left_out(lost)
        seconds, size = reel.figures
        copying = self._copying
        return Recording(
            state="on" if on else "failed" if failed else "off",
            mode="copy" if copying else self._mode,
            encoder="" if copying else reel.encoder,
            seconds=seconds,
            megabytes=size / 1e6,
            lost=lost,
            reason=reason,
        )

    @property
    def said(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        lost = self._lost
        return (*self._said, *((self._left_out(lost),) if lost else ()))

    def _left_out(self, lost: int) -> str:
        return f"{lost} pictures are missing in the recording: {self._bottleneck}"

    @property
    def _bottleneck(self) -> str:
        if self._reel.encoding_s > self._reel.writing_s:
            return "this computer is too slow to encode them; record smaller pictures or packets as they come"
        return "the disk is too slow; record to a faster one"

    @property
    def _wanted(self) -> bool:
        return self._rules.phi_mask is not None and (self._on or self._rules.before_s > 0.0)

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.append(line)

    def _miss(self) -> None:
        """Count a picture that there is no room for; the lock is held."""
        if self._on:
            self._lost += 1
            self._unsaid += 1
            self._lost_at = time.monotonic()

    def _post(self, item: Item, size: int = 0) -> None:
        with self._changed:
            if self._closed:
                return
            if isinstance(item, Noted):
                if self._lines >= QUEUE_LINES:
                    self._say("the disk does not answer: lines of the recording are missing; check the disk")
                    return
                self._lines += 1
            self._items.append((item, size))
            self._waiting += size
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    # The recorder's own thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._items) or self._closed, self._reel.patience())
                item, size = self._items.popleft() if self._items else (None, 0)
                self._lines -= isinstance(item, Noted)
                unsaid, self._unsaid = self._unsaid, 0
                closing = item is None and self._closed
            if unsaid:
                self._reel.lost(unsaid)
            self._reel.take(item)
            del item  # a picture must not live until the next one comes
            with self._changed:
                self._waiting -= size
            if closing:
                self._reel.close(time.time())
                return

    def _encode(self) -> None:
        """No packet can be kept as it is: from now on pictures are taken."""
        self._copying = False
        self._say("the source sends no key frames: its pictures were encoded anew for the recording")

    def _ended(self, reason: str) -> None:
        """The recording ended by itself; another one may have been asked for already."""
        with self._changed:
            if not any(isinstance(item, Begin) for item, _ in self._items):
                self._on, self._failure = False, reason
            self._say(reason)
