"""A run: a capture thread, an inference thread, and everything that can happen to them.

Owns threads, lifecycle, counts and errors. Must not know which networks run, where frames come from, or
who listens. The first error is kept, the run is finished properly, then `join` raises it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from endostream import tracing
from endostream.analysis.findings import ReplayTracker
from endostream.errors import InputError
from endostream.pipeline.audience import Audience, one_line
from endostream.pipeline.channel import Latest
from endostream.pipeline.counting import Counter
from endostream.pipeline.intake import Intake
from endostream.pipeline.parts import Parts
from endostream.pipeline.sinks import Sink
from endostream.types import Analysis, BlindSpan, Finish, Frame, Review, State, Status

STATUS_S = 0.5


class Pipeline:
    """One run over one source, from `start` to `join`."""

    def __init__(self, parts: Parts) -> None:
        self.info = parts.info
        self.latest_frame: Latest[Frame] = Latest()
        """The newest captured frame, whether or not it will be analysed."""
        self.latest_analysis: Latest[Analysis] = Latest()
        """The newest analysis; None after a seek."""
        self._parts = parts
        self._audience = Audience(parts.sinks, lenient=parts.drops and parts.watched)
        self._count = Counter()
        self._intake = Intake(parts, self._count, self.latest_frame, lambda: self.latest_analysis.set(None))
        self._channel, self._signals = self._intake.channel, self._intake.signals
        self._lock = threading.Lock()
        self._state: State = "idle"
        self._finish: Finish | None = None
        self._error: BaseException | None = None
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
        try:
            self._audience.open(self.info)
            if self._parts.record:
                self.record(True)
        except BaseException as error:
            self._keep(error)
            self._end()
            raise
        self._parts.source.watch(self._signals.heard)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish early: no more frames are taken, what is on its way is analysed, everything is closed."""
        self._intake.stop()

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
        self._intake.seek(seconds)

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
        keepers = self._audience.keepers
        for sink in keepers:
            sink.still_taken(frame, analysis)
        return bool(keepers)

    def review(self, finding: int, review: Review, note: str = "", *, landmark: bool = False) -> bool:
        """Write down what a person says of a finding or landmark; False when nobody keeps it."""
        keepers = self._audience.keepers
        for sink in keepers:
            sink.reviewed(finding, review, note, landmark)
        return bool(keepers)

    def record(self, on: bool) -> None:
        """Start or end the recording of a live source, which begins some seconds before this call.

        Raises `InputError` in one line when it cannot be recorded.
        """
        recorder, folder = self._parts.recorder, self._parts.folder
        if recorder is None or folder is None:
            raise InputError("only a live source with a session can be recorded; a file is its own recording")
        if on:
            recorder.start(folder)
        else:
            recorder.stop()

    def shown(self, frame: Frame, analysis: Analysis | None) -> None:
        """A window has just shown this frame, with the overlay of `analysis` where it drew one."""
        # What was late when it came is as old as that when it is shown.
        now = time.monotonic() + self._parts.source.lag
        drawn = None if analysis is None else now - analysis.frame.captured
        self._count.shown(now - frame.captured, drawn)

    def status(self) -> Status:
        """How the run is doing; may be asked from any thread."""
        source = self._parts.source
        captured, analysed = self._count.rates()
        state: State = self._state
        if state == "running" and not source.signal:
            state = "no-signal"
        elif state == "running" and self._signals.frozen:
            state = "frozen"
        recorder = self._parts.recorder
        shown_fps, shown, overlay = self._count.display()
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
            warnings=(
                *self._parts.warnings,
                *source.warnings,
                *self._parts.notices(),
                *(() if recorder is None else recorder.said),
            ),
            sinks=dict(self._audience.failed),
            signal=source.detail,
            lag=source.lag,
            recording=None if recorder is None else recorder.state,
            display_fps=shown_fps,
            shown_age_ms=shown,
            overlay_age_ms=overlay,
        )

    # -- capture thread

    def _capture(self) -> None:
        self._state = "running"
        try:
            self._intake.run()
        except BaseException as error:
            self._keep(error)

    # -- inference thread

    def _infer(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._keep(error)
            self._intake.cut_off()
            self._channel.close()
            self._threads[0].join()
            self._intake.gone("failed", self._channel.clear())
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
            if self._signals.news:
                self._hear()
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
        analyzer = self._parts.analyzer
        return self._signals.news or analyzer.ready or analyzer.mask_ready

    def _hear(self) -> None:
        """Pass on what became of the live picture; what was seen of it before is over."""
        while (change := self._signals.take()) is not None:
            self._tell(lambda sink, change=change: sink.signalled(change))  # type: ignore[misc]
            if self._parts.recorder is not None:
                self._parts.recorder.signalled(change)
            if change.state == "lost":
                self.latest_analysis.set(None)
            if self._parts.blind is not None:
                self._blind(self._parts.blind.update(change.time, self._signals.dark_since))
        self._announce()

    def _publish(self, analysis: Analysis) -> None:
        parts, frame = self._parts, analysis.frame
        if frame.epoch != self._epoch:
            self._enter(frame)
        newest = self.latest_frame.get()
        if parts.drops and newest is not None and newest.epoch != frame.epoch:
            self._intake.dropped("epoch", [frame])
            return
        start = time.perf_counter()
        if not self._signals.lost:
            self.latest_analysis.set(analysis)
        if parts.recorder is not None:
            parts.recorder.fate(frame, "analysed", analysis)
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
            reason = "frozen" if self._signals.dark_since == "frozen" else analysis.reason
            self._blind(parts.blind.update(frame.time, reason))

    def _enter(self, frame: Frame) -> None:
        self._epoch, self._last_time = frame.epoch, None
        self.latest_analysis.set(None)
        if self._parts.blind is not None:
            # Without a signal nothing was seen up to this frame; after a seek nothing is known of the gap.
            dark = self._signals.dark_since is not None
            self._blind(self._parts.blind.finish(frame.time if dark else None))

    def _blind(self, spans: list[BlindSpan]) -> None:
        for span in spans:
            self._tell(lambda sink, span=span: sink.blind(span))  # type: ignore[misc]

    def _tell(self, call: Callable[[Sink], None]) -> None:
        self._audience.tell(call)

    # -- the end

    def _end(self) -> None:
        """Close findings, sinks and parts; each guarded: one failure never hides another part's end."""
        self._state = "finishing"
        counts = self._count.counts()
        self._count.dropped("failed" if self._error is not None else "stopped", counts.pending)
        if self._signals.news:
            self._guard(self._hear)
        self._guard(self._finish_findings)
        if self._error is not None:
            self._finish = "failed"
        else:
            self._finish = "stopped" if self._intake.stopped else "completed"
        if self._parts.recorder is not None:
            self._guard(self._parts.recorder.close)
        self._audience.close(self.status, self._keep)
        if self._error is not None:
            self._finish = "failed"
        self._guard(self._parts.source.close)
        for part in self._parts.closing:
            self._guard(part.close)
        self._state = "finished"

    def _dark_until(self) -> float | None:
        """Stream time now, when a live picture is lost: up to here nothing was seen. Else None."""
        last = self.latest_frame.get()
        if not self._signals.lost or last is None:
            return None
        return last.time + time.monotonic() - last.captured

    def _finish_findings(self) -> None:
        parts = self._parts
        if parts.blind is not None:
            self._blind(parts.blind.finish(self._dark_until()))
        if parts.tracker is not None:
            for event in parts.tracker.finish():
                self._tell(lambda sink, event=event: sink.found(event))  # type: ignore[misc]

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._keep(error)

    def _keep(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
            self._intake.failing = True

    def _announce(self) -> None:
        state, now = self._state, time.monotonic()
        if state != self._told_state or now - self._told_at >= STATUS_S:
            self._told_state, self._told_at = state, now
            status = self.status()
            self._tell(lambda sink: sink.stated(status))
