"""What of a run is on the screen: the newest picture, its analysis, how far the run has come.

Owns the polling of the two newest values. Must not know Qt, widgets or the life of the run.
"""

from __future__ import annotations

from endostream.types import Analysis, Frame, State

from .indicator import Situation
from .life import Running
from .samples import Sample, overlay_age

BEHIND = 1.0
"""Seconds behind the furthest analysed time from which a file is being seen again."""


class Watch:
    """The newest picture and analysis of one run."""

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.analysis: Analysis | None = None
        self.sample: Sample | None = None
        self._furthest = 0.0
        self._versions = (-1, -1)

    @property
    def time(self) -> float:
        """Stream time in seconds of the picture shown."""
        return self.frame.time if self.frame is not None else 0.0

    @property
    def age(self) -> float | None:
        """Seconds between the picture shown and its analysis; None when it has none."""
        return overlay_age(self.frame, self.analysis)

    @property
    def behind(self) -> bool:
        """True when the picture shown lies before what was already analysed."""
        return self._furthest - self.time > BEHIND

    @property
    def judged(self) -> Sample | None:
        """The newest sample, when the picture shown belongs to the same stretch."""
        return self.sample if self.age is not None else None

    def situation(
        self, state: State, failure: str | None, doing: str, labels: tuple[str, ...], again: bool
    ) -> Situation:
        """The facts for the indicator; `labels` are the findings seen now."""
        return Situation(
            state=state,
            failure=failure,
            doing=doing,
            sample=self.judged,
            age=self.age,
            open_labels=labels,
            replaying=again,
        )

    def take(self, sample: Sample) -> None:
        """Take in the numbers of an analysed frame."""
        self.sample = sample
        self._furthest = max(self._furthest, sample.time)

    def look(self, pipeline: Running) -> tuple[Frame | None, Analysis | None] | None:
        """What is newer than at the last look; None when nothing is."""
        versions = (pipeline.latest_frame.version, pipeline.latest_analysis.version)
        if versions == self._versions:
            return None
        frame = pipeline.latest_frame.get() if versions[0] != self._versions[0] else None
        analysis = pipeline.latest_analysis.get() if versions[1] != self._versions[1] else None
        self._versions = versions
        self.frame = frame or self.frame
        self.analysis = analysis or self.analysis
        return frame, analysis
