"""A run: a capture thread, an inference thread, and everything that can happen to them.

Owns threads, lifecycle, counts and errors. Must not know which networks run, where frames come from, or
who listens. The first error is kept, the run is finished properly, then `join` raises it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from endostream import tracing
from endostream.analysis.analyzer import Analyzer
from endostream.analysis.findings import FindingTracker, ReplayTracker
from endostream.analysis.visibility import BlindLedger
from endostream.capture.pacing import Pacer
from endostream.capture.source import Source
from endostream.errors import EndostreamError
from endostream.pipeline.channel import Channel, Latest
from endostream.pipeline.counting import Counter
from endostream.pipeline.sampling import Sampler
from endostream.pipeline.sinks import Background, Sink
from endostream.types import Analysis, BlindSpan, Finish, Frame, Review, RunInfo, State, Status

FILE_AHEAD = 4
STATUS_S = 0.5


class Closable(Protocol):
    """Something the run gives back at its end."""

    def close(self) -> None:
        """Give it back."""


@dataclass(slots=True)
class Parts:
    """What a run is made of; the run owns all of it once it has started."""

    source: Source
    """Frames."""
    analyzer: Analyzer
    """Frame to analysis."""
    tracker: FindingTracker | ReplayTracker | None
    """Analyses to findings; None for independent pictures."""
    info: RunInfo
    """What sinks are told."""
    sampler: Sampler = field(default_factory=Sampler)
    """Which frames are analysed."""
    blind: BlindLedger | None = None
    """The ledger of blind time; None for independent pictures."""
    sinks: Sequence[Sink] = ()
    """Listeners."""
    pacer: Pacer | None = None
    """Plays a recorded source at its own pace; None reads as fast as it is analysed."""
    closing: Sequence[Closable] = ()
    """Given back after the run, in order."""
    warnings: tuple[str, ...] = ()
    """What could not be done so far."""
    notices: Callable[[], tuple[str, ...]] = tuple
    """What cannot be done as asked for since the run began."""

    @property
    def drops(self) -> bool:
        """True when pictures may be dropped: live, or shown at their own pace."""
        return self.pacer is not None or self.info.source.live


class Pipeline:
    """One run over one source, from `start` to `join`."""

    def __init__(self, parts: Parts) -> None:
        self.info = parts.info
        self.latest_frame: Latest[Frame] = Latest()
        """The newest captured frame, whether or not it will be analysed."""
        self.latest_analysis: Latest[Analysis] = Latest()
        """The newest analysis; None after a seek."""
        self._parts = parts
        self._sinks = list(parts.sinks)
        self._failed_sinks: dict[str, str] = {}
        capacity = 1 if parts.drops else FILE_AHEAD
        self._channel: Channel[Frame] = Channel(capacity, drop_oldest=parts.drops)
        self._count = Counter()
        self._lock = threading.Lock()
        self._state: State = "idle"
        self._finish: Finish | None = None
        self._error: BaseException | None = None
        self._stopped = False
        self._seek_to: float | None = None
        self._epoch = 0
        self._last_time: float | None = None
        self._map_looked_at = True
        self._told_state: State = "idle"
        self._told_at = 0.0
        self._threads = [
            threading.Thread(target=self._capture, name="capture", daemon=True),
            threading.Thread(target=self._infer, name="inference", daemon=True),
        ]

    # -- called by whoever runs it

    def start(self) -> None:
        """Open the sinks and start both threads; raises what a sink raises when it cannot open."""
        self._state = "starting"
        opened: list[Sink] = []
        try:
            for sink in self._sinks:
                opened.append(sink)
                sink.opened(self.info)
        except BaseException as error:
            self._keep(error)
            self._sinks = opened
            self._end()
            raise
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish early: no more frames are taken, what is on its way is analysed, everything is closed."""
        self._stopped = True
        if self._parts.pacer is not None:
            self._parts.pacer.close()
        self._parts.source.cancel()

    def join(self, timeout: float | None = None) -> Status:
        """Wait for the end; the final status, or the status after `timeout` seconds.

        Raises the first error of the run once it is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if self.running:
            return self.status()
        if self._error is not None:
            raise self._error
        return self.status()

    @property
    def running(self) -> bool:
        """True while a thread of this run is alive."""
        return any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Stop and wait, without raising: for a window that closes."""
        self.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def pause(self) -> None:
        """Hold a recorded source at the picture it shows."""
        if self._parts.pacer is not None:
            self._parts.pacer.pause()
            self._state = "paused"

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._parts.pacer is not None:
            self._parts.pacer.resume()
            self._state = "running"

    def set_speed(self, factor: float) -> None:
        """Play a recorded source at 0.25 to 4 times its pace."""
        if self._parts.pacer is not None:
            self._parts.pacer.set_speed(factor)

    def seek(self, seconds: float) -> None:
        """Go to a stream time in seconds; what is on its way is dropped."""
        if self._parts.pacer is None or not self.info.source.seekable:
            return
        with self._lock:
            self._seek_to = seconds
            self._parts.pacer.interrupt()

    def show_heatmap(self, on: bool) -> None:
        """Say whether anybody looks at the heat map; a paced run has it then and while a finding is open."""
        self._map_looked_at = on

    def take_still(self) -> bool:
        """Ask for a still of the picture shown; False when there is none or nobody keeps stills."""
        frame, analysis = self.latest_frame.get(), self.latest_analysis.get()
        if frame is None:
            return False
        if analysis is not None and (analysis.frame.epoch, analysis.frame.index) != (
            frame.epoch,
            frame.index,
        ):
            near = analysis.frame.epoch == frame.epoch and abs(analysis.frame.time - frame.time) < 0.5
            frame, analysis = (analysis.frame, analysis) if near else (frame, None)
        for sink in self._keepers():
            sink.still_taken(frame, analysis)
        return bool(self._keepers())

    def review(self, finding: int, review: Review, note: str = "", *, landmark: bool = False) -> bool:
        """Write down what a person says of a finding or landmark; False when nobody keeps it."""
        for sink in self._keepers():
            sink.reviewed(finding, review, note, landmark)
        return bool(self._keepers())

    def _keepers(self) -> list[Background]:
        return [s for s in self._sinks if isinstance(s, Background) and s.name not in self._failed_sinks]

    def status(self) -> Status:
        """How the run is doing; may be asked from any thread."""
        source = self._parts.source
        captured, analysed = self._count.rates()
        state: State = self._state
        if state == "running" and not source.signal:
            state = "no-signal"
        return Status(
            state=state,
            finish=self._finish,
            error=None if self._error is None else one_line(self._error),
            counts=self._count.counts(),
            duration=self._count.duration,
            input_fps=captured,
            fps=analysed,
            stages=self._count.stages(),
            frame_age_ms=self._count.ages(),
            warnings=(*self._parts.warnings, *source.warnings, *self._parts.notices()),
            sinks=dict(self._failed_sinks),
        )

    # -- capture thread

    def _capture(self) -> None:
        try:
            self._state = "running"
            while (read := self._next_frame()) is not None:
                frame, took = read
                choice = self._parts.sampler.choose(frame)
                if choice == "stop":
                    break
                self._count.captured(took)
                self.latest_frame.set(frame)
                if choice == "skip":
                    self._count.skipped()
                    continue
                given_up = self._channel.put(frame)
                tracing.count("channel", waiting=len(self._channel), dropped=len(given_up))
                self._count.dropped("busy" if self._error is None else "failed", len(given_up))
        except BaseException as error:
            self._keep(error)
        finally:
            self._channel.close()

    def _next_frame(self) -> tuple[Frame, float] | None:
        parts = self._parts
        while True:
            with self._lock:
                turn = 0 if parts.pacer is None else parts.pacer.turn
                target, self._seek_to = self._seek_to, None
            if target is not None:
                parts.source.seek(target)
                self._count.dropped("epoch", len(self._channel.clear()))
            began = time.monotonic()
            frame = parts.source.read()
            if frame is None or self._stopped:
                return None
            took = time.monotonic() - began
            if parts.pacer is not None:
                if not parts.pacer.wait(frame, turn):
                    if parts.pacer.closed:
                        return None
                    continue
                frame = replace(frame, captured=time.monotonic(), wall=time.time())
            return frame, took

    # -- inference thread

    def _infer(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._keep(error)
            self._parts.source.cancel()
            if self._parts.pacer is not None:
                self._parts.pacer.close()
            self._channel.close()
            self._threads[0].join()
            self._channel.clear()
        self._threads[0].join()
        self._end()

    def _work(self) -> None:
        """Keep as many frames on their way as the networks like; finish them in order."""
        analyzer = self._parts.analyzer
        analyzer.ring(self._channel.wake)
        analyzer.map_wanted = self._map_looked_at
        while True:
            # Either a frame comes, or one that is on its way is ready, or a mask has come meanwhile.
            frame = None
            if analyzer.pending < analyzer.depth:
                frame = self._channel.get(self._has_news, analyzer.not_before)
            else:
                self._channel.wait(self._has_news)
            if analyzer.mask_ready:
                analyzer.attend(self.latest_frame.get())
            if frame is not None:
                self._announce()
                analyzer.submit(frame)
            elif analyzer.ready or (analyzer.pending and self._channel.closed):
                self._publish(analyzer.finish())
            elif not analyzer.pending and self._channel.closed and not len(self._channel):
                return

    def _has_news(self) -> bool:
        return self._parts.analyzer.ready or self._parts.analyzer.mask_ready

    def _publish(self, analysis: Analysis) -> None:
        parts, frame = self._parts, analysis.frame
        if frame.epoch != self._epoch:
            self._enter(frame.epoch)
        newest = self.latest_frame.get()
        if newest is not None and newest.epoch != frame.epoch:
            self._count.dropped("epoch")
            return
        start = time.perf_counter()
        self.latest_analysis.set(analysis)
        self._count.analysed(frame.time, time.monotonic() - frame.captured, analysis.took)
        self._tell(lambda sink: sink.analysed(analysis))
        tracing.add("publish", start, time.perf_counter(), frame=frame.index)
        if parts.tracker is not None and analysis.acting is not None:
            if isinstance(parts.tracker, ReplayTracker) and self._last_time is not None:
                parts.tracker.forget(self._last_time, frame.time)
            for event in parts.tracker.update(frame.time, analysis.acting.scores, frame.index):
                self._tell(lambda sink, event=event: sink.found(event))  # type: ignore[misc]
        parts.analyzer.map_wanted = self._map_looked_at or bool(parts.tracker and parts.tracker.open)
        self._last_time = frame.time
        if parts.blind is not None:
            self._blind(parts.blind.update(frame.time, analysis.reason))

    def _enter(self, epoch: int) -> None:
        self._epoch, self._last_time = epoch, None
        self.latest_analysis.set(None)
        if self._parts.blind is not None:
            self._blind(self._parts.blind.finish())

    def _blind(self, spans: list[BlindSpan]) -> None:
        for span in spans:
            self._tell(lambda sink, span=span: sink.blind(span))  # type: ignore[misc]

    def _tell(self, call: Callable[[Sink], None]) -> None:
        for sink in self._sinks:
            if sink.name in self._failed_sinks:
                continue
            try:
                call(sink)
            except Exception as error:
                self._failed_sinks[sink.name] = one_line(error)
                if not self._parts.drops:
                    raise

    # -- the end

    def _end(self) -> None:
        """Close findings, sinks and parts; each guarded: one failure never hides another part's end."""
        self._state = "finishing"
        counts = self._count.counts()
        self._count.dropped("failed" if self._error is not None else "stopped", counts.pending)
        self._guard(self._finish_findings)
        if self._error is not None:
            self._finish = "failed"
        else:
            self._finish = "stopped" if self._stopped else "completed"
        for sink in self._sinks:
            self._guard(lambda sink=sink: sink.closed(self.status()), sink.name)  # type: ignore[misc]
        if self._error is not None:
            self._finish = "failed"
        self._guard(self._parts.source.close)
        for part in self._parts.closing:
            self._guard(part.close)
        self._state = "finished"

    def _finish_findings(self) -> None:
        parts = self._parts
        if parts.blind is not None:
            self._blind(parts.blind.finish())
        if parts.tracker is not None:
            for event in parts.tracker.finish():
                self._tell(lambda sink, event=event: sink.found(event))  # type: ignore[misc]

    def _guard(self, call: Callable[[], None], sink: str | None = None) -> None:
        try:
            call()
        except Exception as error:
            if sink is not None:
                self._failed_sinks.setdefault(sink, one_line(error))
                if self._parts.drops:
                    return
            self._keep(error)

    def _keep(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error

    def _announce(self) -> None:
        state, now = self._state, time.monotonic()
        if state != self._told_state or now - self._told_at >= STATUS_S:
            self._told_state, self._told_at = state, now
            status = self.status()
            self._tell(lambda sink: sink.stated(status))


def one_line(error: BaseException) -> str:
    """An error as a user reads it: its own line when it is ours, else its kind and message."""
    if isinstance(error, EndostreamError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
