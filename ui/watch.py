"""What of a run is on the screen: the newest picture, its analysis, how far the run has come.

Owns the polling of the two newest values, and which picture is shown. Must not know Qt, widgets or the
life of the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from endostream.types import Analysis, Frame

from .ages import in_step, live_age, overlay_age, shown_frame, waited
from .life import Running
from .samples import Sample

BEHIND = 1.0
"""Seconds behind the furthest analysed time from which a file is being seen again."""


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What has changed since the last look."""

    frame: Frame | None
    """A newer picture, or None."""
    analysed: bool
    """True when there is another analysis, or none any more."""


class Watch:
    """The newest picture and analysis of one run."""

    def __init__(self) -> None:
        self.newest: Frame | None = None
        self.analysis: Analysis | None = None
        self.sample: Sample | None = None
        self.live = False
        """True for a source whose pictures come at their own pace."""
        self.synced = False
        """True when the picture shown is the one that was analysed."""
        self._furthest = 0.0
        self._versions = (-1, -1)

    @property
    def frame(self) -> Frame | None:
        """The picture shown."""
        return shown_frame(self.newest, self.analysis, self.age) if self.synced else self.newest

    @property
    def time(self) -> float:
        """Stream time in seconds of the picture shown."""
        frame = self.frame
        return frame.time if frame is not None else 0.0

    @property
    def age(self) -> float | None:
        """Seconds between the newest picture and its analysis; None when it has none."""
        if self.live:
            return live_age(self.newest, self.analysis, time.monotonic())
        return overlay_age(self.newest, self.analysis)

    @property
    def waited(self) -> float:
        """Seconds for which a live source has sent nothing; 0 while pictures come."""
        return waited(self.newest, time.monotonic()) if self.live else 0.0

    @property
    def behind(self) -> bool:
        """True when the picture shown lies before what was already analysed."""
        return self._furthest - self.time > BEHIND

    @property
    def judged(self) -> Sample | None:
        """The newest sample, when the picture shown belongs to the same stretch."""
        return self.sample if self.age is not None else None

    def holds(self, frame: Frame) -> bool:
        """True when this picture is one of this run's newest two."""
        return frame is self.newest or (self.analysis is not None and frame is self.analysis.frame)

    def take(self, sample: Sample) -> None:
        """Take in the numbers of an analysed frame."""
        self.sample = sample
        self._furthest = max(self._furthest, sample.time)

    def look(self, pipeline: Running) -> News | None:
        """What is newer than at the last look; None when nothing is."""
        versions = (pipeline.latest_frame.version, pipeline.latest_analysis.version)
        if versions == self._versions:
            return None
        framed, analysed = versions[0] != self._versions[0], versions[1] != self._versions[1]
        self._versions = versions
        frame = pipeline.latest_frame.get() if framed else None
        self.newest = frame or self.newest
        if analysed:
            analysis = pipeline.latest_analysis.get()
            self.analysis = in_step(analysis, self.analysis) if self.synced else analysis
        return News(frame, analysed)
