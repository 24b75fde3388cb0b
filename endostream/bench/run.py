"""The product at work on sources that never end: warm, measured in stretches, held in between.

Owns what is timed, and when. Must not know packs, engines or how figures are shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from endostream import tracing
from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.analysis.networks import Networks
from endostream.bench.figures import Taken
from endostream.bench.looped import LoopedSource
from endostream.bench.memory import MemoryCurve
from endostream.bench.screen import POLL_S, Screen
from endostream.capture import Pacer
from endostream.errors import InputError
from endostream.pipeline.parts import Parts
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.sinks import QuietSink
from endostream.types import Analysis, FrameCounts, RunInfo, Status

WARM_FRAMES = 10
"""Frames analysed before anything is measured, besides the warm-up of the networks."""
DRAW_EVERY_S = 0.5
"""At full speed an overlay is drawn this often, so that drawing is measured and hardly counts."""
SETTLED_S = 0.005
"""Time a frame that was just due when its run was held needs to be counted: microseconds, in truth."""
LOOK_S = 0.002
"""Seconds between two looks at a mask that is on its way."""
CATCH_UP_S, LONGEST_CATCH_UP_S = 0.5, 30.0
"""A live source is at its own pace when its time goes by no faster than ours over so many seconds."""
KEPT = 256
"""Analysed frames whose capture is remembered: 4 s at 60 a second, and no mask is carried for one."""


class Watch(QuietSink):
    """Hears every analysis and writes its times down while it is told to.

    Parameters
    ----------
    over
        Set when the run has ended.
    """

    name = "bench"

    def __init__(self, over: threading.Event) -> None:
        self.changed = threading.Condition()
        """Notified with every analysis and at the end."""
        self.analysed_frames = 0
        """Since the start."""
        self.ended = False
        """True when the run has ended."""
        self.taken: Taken | None = None
        """Where times are written down; None while nothing is measured."""
        self._over = over
        self._captured: dict[float, float] = {}
        self._mask_time = float("-inf")

    def analysed(self, analysis: Analysis) -> None:
        """A frame was analysed."""
        now, frame = time.monotonic(), analysis.frame
        with self.changed:
            self.analysed_frames += 1
            self._captured[frame.time] = frame.captured
            if len(self._captured) > KEPT:
                del self._captured[next(iter(self._captured))]
            if self.taken is not None:
                self._write(self.taken, analysis, now)
            if analysis.mask_time is not None:
                self._mask_time = max(self._mask_time, analysis.mask_time)
            self.changed.notify_all()

    def _write(self, taken: Taken, analysis: Analysis, now: float) -> None:
        taken.frames += 1
        taken.ages.append(now - analysis.frame.captured)
        for name, seconds in analysis.took.items():
            if name in taken.stages:
                taken.stages[name].append(seconds)
        made = analysis.mask_time
        if made is None:
            return
        if made in self._captured:
            taken.mask_ages.append(now - self._captured[made])
        # A mask that comes late is first seen carried to a later frame: its own time makes it a new one.
        taken.masks += made > self._mask_time

    def held(self, seconds: float) -> None:
        """The run stood still for so long: no mask made before has aged by it."""
        with self.changed:
            self._captured = {time: captured + seconds for time, captured in self._captured.items()}

    def closed(self, status: Status) -> None:
        """The run is over."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self._over.set()


class Run:
    """The product at work on a source that never ends, measured stretch by stretch.

    Parameters
    ----------
    source
        The source; the run closes it.
    networks
        Warm networks; the run closes them.
    rules
        What the pack and the measurement ask of an analysis.
    pack
        name, version and sha256.
    over
        Set when the run ends before it is closed.
    """

    def __init__(
        self,
        source: LoopedSource,
        networks: Networks,
        rules: AnalyzerRules,
        pack: Mapping[str, str],
        over: threading.Event,
    ) -> None:
        self._source, self._over = source, over
        self._segmenter = networks.segmenter
        self.watch = Watch(over)
        self.taken = Taken()
        """Everything measured so far."""
        labels = networks.classifiers[0].labels if networks.classifiers else ()
        self._paced, self._live = rules.paced, source.info.live
        self.pipeline = Pipeline(
            Parts(
                source=source,
                analyzer=Analyzer(networks, rules),
                tracker=None,
                info=RunInfo(source.info, pack, labels, {}, dict(networks.info)),
                sinks=[self.watch],
                pacer=Pacer() if rules.paced and not self._live else None,
                closing=[networks],
                notices=lambda: networks.warnings,
            )
        )
        self._screen = Screen(self.pipeline, lambda analysis: gate_open(rules, analysis))
        self._drawn_at = 0.0
        self._began = self._stood = 0.0
        self._counts = FrameCounts()
        self._decoded = 0

    def start(self) -> None:
        """Start both threads."""
        self._source.release()
        self.pipeline.start()

    def warm(self) -> None:
        """Wait until the first frames are through; then hold a source that can be held."""
        self._wait(lambda: self.watch.analysed_frames >= WARM_FRAMES)
        if self._live:
            self._catch_up()
            return
        self.hold()
        self._drain()

    def _catch_up(self) -> None:
        """Read what a live source has sent while the networks were made: it is newer than it looks."""
        end = time.monotonic() + LONGEST_CATCH_UP_S
        before = self.pipeline.latest_frame.get()
        while time.monotonic() < end:
            if self._over.wait(CATCH_UP_S):
                self._ended()
            now = self.pipeline.latest_frame.get()
            if now is None or before is None or now.captured == before.captured:
                continue
            if now.time - before.time < 1.1 * (now.captured - before.captured):
                return
            before = now

    def begin(self) -> None:
        """Let frames flow and write down what is seen."""
        self._counts, self._decoded = self.pipeline.status().counts, len(self._source.decode_s)
        self._screen.pass_over()
        self._began = time.monotonic()
        if self._stood:
            self.watch.held(self._began - self._stood)
        with self.watch.changed:
            self.watch.taken = self.taken
        self._source.release()
        if self._paced:
            self.pipeline.resume()

    def look(self) -> None:
        """Show what is new: all of it where frames come at their own pace, else something now and then."""
        if self.watch.ended:
            self._ended()
        now = time.monotonic()
        if (self._paced or now - self._drawn_at >= DRAW_EVERY_S) and self._screen.look(self.taken):
            self._drawn_at = now

    def hold(self) -> None:
        """Let no further frame be due; a live source cannot be held.

        A recorded source that is shown is paused on its own clock, so that nothing is late afterwards.
        """
        if self._paced:
            self.taken.shown_s += time.monotonic() - self._began if self._began else 0.0
            self.pipeline.pause()
            self._stood = 0.0 if self._live else time.monotonic()
        else:
            self._source.hold()

    def end(self) -> None:
        """After `hold`: wait for what is on its way, and write down no more."""
        self._drain()
        with self.watch.changed:
            self.watch.taken = None
        taken, counts, before = self.taken, self.pipeline.status().counts, self._counts
        taken.seconds += time.monotonic() - self._began
        taken.captured += counts.captured - before.captured
        taken.dropped += counts.total_dropped - before.total_dropped
        taken.stages["decode"] += self._source.decode_s[self._decoded :]
        if self._paced and not self._live:
            taken.finishing_s += self._finish_mask()

    def _finish_mask(self) -> float:
        """Wait for the mask on its way, so that it is not made while something else is measured; seconds."""
        start, lane = time.monotonic(), self._segmenter
        while lane is not None and lane.pending and not lane.ready and not self._over.wait(LOOK_S):
            pass
        return time.monotonic() - start

    def close(self) -> None:
        """Stop and give everything back; may be called again."""
        self.pipeline.close()
        self._source.close()

    def _drain(self) -> None:
        """Wait until everything that was captured is analysed or dropped."""
        if self._live:
            return
        if not self._paced:
            self._wait(lambda: self.watch.analysed_frames >= self._source.delivered)
            return
        time.sleep(SETTLED_S)
        self._wait(self._through)

    def _through(self) -> bool:
        counts = self.pipeline.status().counts
        return self.watch.analysed_frames >= counts.captured - counts.total_dropped

    def _wait(self, reached: Callable[[], bool]) -> None:
        """Wait for a state of the watch, or the end of the run."""
        watch = self.watch
        with watch.changed:
            watch.changed.wait_for(lambda: watch.ended or reached())
        if watch.ended:
            self._ended()

    def _ended(self) -> None:
        self.pipeline.join()
        raise InputError(f"{self._source.info.name} ended before the measurement did; take a longer source")


def gate_open(rules: AnalyzerRules, analysis: Analysis) -> bool:
    """True when the gate of `rules` is open on this frame, by the smoothed scores that it acts on."""
    if not analysis.visible:
        return False
    acting = analysis.acting
    if rules.gate is None or acting is None:
        return True
    scores = dict(zip(acting.labels, acting.scores, strict=True))
    return any(scores.get(label, 0.0) >= bound for label, bound in rules.gate.items())


def measure(runs: Sequence[Run], seconds: float, over: threading.Event, memory: MemoryCurve) -> None:
    """Let all runs go for so many seconds at once, showing each as a window would, then hold them.

    Raises what ended a run, or `InputError` for a source that came to its end.
    """
    tracing.release()
    for run in runs:
        run.begin()
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for run in runs:
            run.look()
        memory.look()
        over.wait(max(0.0, min(POLL_S, end - now)))
    for run in runs:
        run.hold()
    for run in runs:
        run.end()
    tracing.hold()
