"""The product at work on a source that never ends: warm, measured in stretches, held in between.

Owns what is timed, and when. Must not know packs, engines or how figures are shown.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.analysis.networks import Networks
from endostream.analysis.overlay import render
from endostream.bench.looped import LoopedSource
from endostream.bench.result import STAGES
from endostream.capture import Pacer
from endostream.errors import InputError
from endostream.pipeline.pipeline import Parts, Pipeline
from endostream.pipeline.sinks import QuietSink
from endostream.types import Analysis, RunInfo, Status

WARM_FRAMES = 10
"""Frames analysed before anything is measured, besides the warm-up of the networks."""
DRAW_EVERY_S = 0.5
"""At full speed an overlay is drawn this often, so that drawing is measured and hardly counts."""


@dataclass(slots=True)
class Taken:
    """Times collected while measuring."""

    frames: int = 0
    """Frames analysed."""
    masks: int = 0
    """Network masks."""
    dropped: int = 0
    """Frames dropped."""
    seconds: float = 0.0
    """Time they took."""
    stages: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STAGES})
    """Seconds per stage and frame."""
    ages: list[float] = field(default_factory=list)
    """Captured to published, in seconds."""
    mask_ages: list[float] = field(default_factory=list)
    """The same for the frame of the mask."""
    delays: list[float] = field(default_factory=list)
    """Captured to overlay drawn, in seconds."""


class Watch(QuietSink):
    """Hears every analysis and writes its times down while it is told to."""

    name = "bench"

    def __init__(self) -> None:
        self.changed = threading.Condition()
        """Notified with every analysis and at the end."""
        self.analysed_frames = 0
        """Since the start."""
        self.newest: Analysis | None = None
        """The last analysis."""
        self.over = False
        """True when the run has ended."""
        self.taken: Taken | None = None
        """Where times are written down; None while nothing is measured."""
        self._mask_time: float | None = None

    def analysed(self, analysis: Analysis) -> None:
        """A frame was analysed."""
        age = time.monotonic() - analysis.frame.captured
        with self.changed:
            self.analysed_frames += 1
            self.newest = analysis
            if self.taken is not None:
                self._write(self.taken, analysis, age)
            self._mask_time = analysis.mask_time
            self.changed.notify_all()

    def _write(self, taken: Taken, analysis: Analysis, age: float) -> None:
        taken.frames += 1
        taken.ages.append(age)
        for name, seconds in analysis.took.items():
            if name in taken.stages:
                taken.stages[name].append(seconds)
        if analysis.mask_time is None:
            return
        taken.mask_ages.append(age + analysis.frame.time - analysis.mask_time)
        if analysis.mask_source == "network" and analysis.mask_time != self._mask_time:
            taken.masks += 1

    def closed(self, status: Status) -> None:
        """The run is over."""
        with self.changed:
            self.over = True
            self.changed.notify_all()


class Run:
    """The product at work on a source that never ends, measured stretch by stretch."""

    def __init__(
        self, source: LoopedSource, networks: Networks, rules: AnalyzerRules, pack: Mapping[str, str]
    ) -> None:
        self._source = source
        self.watch = Watch()
        self.taken = Taken()
        """Everything measured so far."""
        labels = networks.classifiers[0].labels if networks.classifiers else ()
        self._paced = rules.paced
        self.pipeline = Pipeline(
            Parts(
                source=source,
                analyzer=Analyzer(networks, rules),
                tracker=None,
                info=RunInfo(source.info, pack, labels, {}, dict(networks.info)),
                sinks=[self.watch],
                pacer=Pacer() if rules.paced and not source.info.live else None,
                closing=[networks],
            )
        )

    def warm(self) -> None:
        """Start, and run until the first frames are through; then hold a source that can be held."""
        if not self._paced:
            self._source.release()
        self.pipeline.start()
        self._wait(lambda: self.watch.analysed_frames >= WARM_FRAMES, None)
        if not self._paced:
            self._drain()

    def measure(self, seconds: float) -> None:
        """Measure for so many seconds and add what was seen to `taken`."""
        watch, taken = self.watch, self.taken
        before = sum(self.pipeline.status().counts.dropped.values())
        first = len(self._source.decode_s)
        start = time.monotonic()
        with watch.changed:
            watch.taken, watch.newest = taken, None
        self._source.release()
        self._draw_until(start + seconds)
        if not self._paced:
            self._drain()
        with watch.changed:
            watch.taken = None
        taken.seconds += time.monotonic() - start
        taken.dropped += sum(self.pipeline.status().counts.dropped.values()) - before
        taken.stages["decode"] += self._source.decode_s[first:]

    def _draw_until(self, end: float) -> None:
        """Draw the newest overlay as a window would: whenever there is one, or now and then at full speed."""
        drawn: Analysis | None = None
        while (now := time.monotonic()) < end and not self.watch.over:
            self._wait(lambda last=drawn: self.watch.newest is not last, end - now)  # type: ignore[misc]
            newest = self.watch.newest
            if newest is None or newest is drawn:
                continue
            drawn = newest
            render(newest.frame, newest)
            self.taken.delays.append(time.monotonic() - newest.frame.captured)
            if not self._paced:
                self._wait(lambda: False, min(DRAW_EVERY_S, end - time.monotonic()))

    def _drain(self) -> None:
        """Hold the source and wait until everything it gave is analysed."""
        self._source.hold()
        self._wait(lambda: self.watch.analysed_frames >= self._source.delivered, None)

    def _wait(self, reached: Callable[[], bool], timeout: float | None) -> None:
        """Wait for a state of the watch, the end of the run, or so many seconds."""
        watch = self.watch
        with watch.changed:
            watch.changed.wait_for(lambda: watch.over or reached(), timeout)
        if watch.over:
            self.pipeline.join()
            raise InputError(
                f"{self._source.info.name} ended before the measurement did; take a longer source"
            )


def memory_mb() -> float | None:
    """Memory this process holds, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024.0
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
