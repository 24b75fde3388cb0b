"""The capture thread of a run: frames from the source to the channel, each counted, none lost silently.

Owns the source while the run lasts, the pace of recorded ones, seeks, and what becomes of frames that are not
analysed. Must not know networks or sinks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from endostream import tracing
from endostream.pipeline.channel import Channel, Latest
from endostream.pipeline.counting import Counter
from endostream.pipeline.parts import Parts
from endostream.pipeline.signals import Signals
from endostream.types import Frame

FILE_AHEAD = 4


class Intake:
    """Reads the source until it ends or is stopped; `run` is the capture thread.

    Parameters
    ----------
    parts
        The run's parts.
    count
        Counts every frame.
    latest
        Where the newest frame is shown.
    at_loss
        Called, from any thread, when a live picture is lost.
    """

    def __init__(
        self, parts: Parts, count: Counter, latest: Latest[Frame], at_loss: Callable[[], None]
    ) -> None:
        self._parts, self._count, self._latest = parts, count, latest
        capacity = 1 if parts.drops else FILE_AHEAD
        self.channel: Channel[Frame] = Channel(capacity, drop_oldest=parts.drops)
        """Frames on their way to the inference thread; closed when no more come."""
        self.signals = Signals(self.channel.wake, at_loss)
        """What became of the live picture."""
        self.stopped = False
        """True when the run was asked to finish early."""
        self.failing = False
        """True when frames are dropped because the run has failed."""
        self._lock = threading.Lock()
        self._seek_to: float | None = None
        self._overrun = 0
        self._time_up: threading.Timer | None = None

    # -- called from other threads

    def stop(self) -> None:
        """Take no more frames."""
        self.stopped = True
        self.cut_off()

    def cut_off(self) -> None:
        """Make the thread end, whatever it waits for."""
        if self._parts.pacer is not None:
            self._parts.pacer.close()
        self._parts.source.cancel()

    def seek(self, seconds: float) -> None:
        """Go on at a stream time; what waits in the channel is dropped."""
        if self._parts.pacer is None or not self._parts.info.source.seekable:
            return
        with self._lock:
            self._seek_to = seconds
            self._parts.pacer.interrupt()

    def dropped(self, cause: str, frames: Sequence[Frame]) -> None:
        """These frames will not be analysed."""
        self._count.dropped(cause, len(frames))
        self.gone(cause, frames)

    def gone(self, fate: str, frames: Sequence[Frame]) -> None:
        """Let the recording know what became of these frames."""
        if self._parts.recorder is not None:
            for frame in frames:
                self._parts.recorder.fate(frame, fate)

    # -- the capture thread

    def run(self) -> None:
        """Read, count, hand over; closes the channel at the end, also when the source raises."""
        parts, live = self._parts, self._parts.info.source.live
        try:
            while (read := self._next_frame()) is not None:
                frame, took = read
                choice = parts.sampler.choose(frame)
                if choice == "stop":
                    break
                if live:
                    self._arrived(frame)
                self._count.captured(None if live else took)
                self._latest.set(frame)
                if choice == "skip":
                    self._count.skipped()
                    self.gone("skipped", [frame])
                    continue
                given_up = self.channel.put(frame)
                tracing.count("channel", waiting=len(self.channel), dropped=len(given_up))
                self.dropped("failed" if self.failing else "busy", given_up)
        finally:
            if self._time_up is not None:
                self._time_up.cancel()
            self.channel.close()

    def _arrived(self, frame: Frame) -> None:
        """A live frame: is it another picture, and were there any that nobody took?"""
        until = self._parts.sampler.until
        if self._time_up is None and until is not None:
            # A lost signal must not make a run longer than was asked for.
            self._time_up = threading.Timer(until, self._parts.source.cancel)
            self._time_up.daemon = True
            self._time_up.start()
        late = self._parts.source.overrun - self._overrun
        self._overrun += late
        self._count.missed(late)
        self.signals.look(frame)
        if self._parts.recorder is not None:
            self._parts.recorder.frame(frame)

    def _next_frame(self) -> tuple[Frame, float] | None:
        parts = self._parts
        while True:
            with self._lock:
                turn = 0 if parts.pacer is None else parts.pacer.turn
                target, self._seek_to = self._seek_to, None
            if target is not None:
                parts.source.seek(target)
                self.dropped("epoch", self.channel.clear())
            began = time.monotonic()
            frame = parts.source.read()
            if frame is None or self.stopped:
                return None
            took = time.monotonic() - began
            if parts.pacer is not None:
                if not parts.pacer.wait(frame, turn):
                    if parts.pacer.closed:
                        return None
                    continue
                frame = replace(frame, captured=time.monotonic(), wall=time.time())
            return frame, took
