"""Figures of a video: sensitivity, first detection, false alarms per minute, flicker.

Owns the definitions; every one is written at its function and repeated on the page. Works on arrays and on
the product's own tracker, so that a threshold is moved without running a network. Must not know files,
networks or pages.

False positives per minute are counts of a Poisson process; their bounds are the exact ones (Garwood 1936).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from endostream.analysis.findings import Bounds, FindingRules, FindingTracker
from endostream.evaluation.video_clips import Watched
from endostream.types import FindingEvent

__all__ = [
    "CARRY_S",
    "Alarms",
    "Counts",
    "Detection",
    "Episode",
    "alarms",
    "changes",
    "detections",
    "episodes",
    "mask_counts",
    "minutes_free",
    "poisson_upper",
    "pooled",
    "score_counts",
]

CARRY_S = 1.0
"""Seconds after which the smoothed score owes at most 0.17 to what was seen before (tau 0.561 s)."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One finding that the product would open."""

    start: float
    """Seconds at which the score rose over the opening threshold."""
    end: float
    """Seconds at which it was last seen."""
    declared: float
    """Seconds at which it was shown: after the hold-off."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What became of one truth interval."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    found: bool | None
    """A finding overlaps it; one that only runs into it must hold on, None when that cannot be told."""
    declared: float | None
    """Seconds at which the first finding of its own was shown; None without one."""

    @property
    def delay(self) -> float | None:
        """First detection: seconds from the start to the moment a finding is shown, hold-off included."""
        return None if self.declared is None else self.declared - self.start


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames by what is there and what was said."""

    tp: int = 0
    """In view and said."""
    fn: int = 0
    """In view and not said."""
    tn: int = 0
    """Not in view and not said."""
    fp: int = 0
    """Not in view and said."""

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(self.tp + other.tp, self.fn + other.fn, self.tn + other.tn, self.fp + other.fp)

    @property
    def sensitivity(self) -> float | None:
        """Share tp / (tp + fn); None without a frame that has it in view."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def specificity(self) -> float | None:
        """Share tn / (tn + fp); None without a frame free of it."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp else None


@dataclass(frozen=True, slots=True)
class Alarms:
    """What the findings of some clips are worth at one threshold and hold-off."""

    findings: int = 0
    """Findings that opened."""
    false: int = 0
    """Findings that overlap no truth interval, judged frames only."""
    minutes: float = 0.0
    """Analysed minutes in which the finding is known not to be in view."""
    visible_minutes: float = 0.0
    """The part of them that could be judged."""
    spans: int = 0
    """Truth intervals of which it can be told whether they were found."""
    found: int = 0
    """Truth intervals that were found."""
    carried: int = 0
    """Those among them that only a finding from before ran into: they have no first detection."""
    delays: tuple[float, ...] = ()
    """Seconds from the start of a truth interval to the first finding declared for it, by interval."""

    def __add__(self, other: Alarms) -> Alarms:
        """Both together."""
        return Alarms(
            self.findings + other.findings,
            self.false + other.false,
            self.minutes + other.minutes,
            self.visible_minutes + other.visible_minutes,
            self.spans + other.spans,
            self.found + other.found,
            self.carried + other.carried,
            self.delays + other.delays,
        )

    @property
    def rate(self) -> float | None:
        """False positives per analysed minute free of the finding."""
        return self.false / self.minutes if self.minutes > 0.0 else None

    @property
    def visible_rate(self) -> float | None:
        """False positives per minute that is free of the finding and could be judged."""
        return self.false / self.visible_minutes if self.visible_minutes > 0.0 else None

    @property
    def upper(self) -> float | None:
        """One-sided 95 % upper bound of `rate`."""
        return poisson_upper(self.false) / self.minutes if self.minutes > 0.0 else None

    @property
    def sensitivity(self) -> float | None:
        """Share of truth intervals that a finding overlaps."""
        return self.found / self.spans if self.spans else None

    @property
    def delay(self) -> float | None:
        """Median of `delays`."""
        return statistics.median(self.delays) if self.delays else None


def poisson_upper(count: int, level: float = 0.95) -> float:
    """The exact one-sided upper bound of a Poisson mean after `count` events: 3.0 after none at 95 %."""
    return float(chi2.ppf(level, 2 * (count + 1))) / 2.0


def episodes(clip: Watched, label: str, bounds: Bounds) -> list[Episode]:
    """The findings that the product opens for `label` on this clip with these bounds, by start."""
    if float(clip.score.max()) < bounds.open:
        return []
    tracker = FindingTracker(FindingRules((label,), bounds))
    declared: dict[int, float] = {}
    shown: list[Episode] = []

    def take(events: Sequence[FindingEvent], time: float) -> None:
        for event in events:
            finding = event.finding
            declared.setdefault(finding.id, time)
            if event.change == "closed" and finding.end is not None:
                shown.append(Episode(finding.start, finding.end, declared[finding.id]))

    for time, score in zip(clip.time.tolist(), clip.score, strict=True):
        take(tracker.update(time, np.array([score], np.float32)), time)
    take(tracker.finish(), float(clip.time[-1]))
    return sorted(shown, key=lambda e: e.start)


def minutes_free(clip: Watched) -> tuple[float, float]:
    """Minutes in which the finding is known not to be in view: analysed, and of these judgeable."""
    free = clip.known & ~clip.present
    seconds = float(clip.lasts[free].sum()), float(clip.lasts[free & clip.visible].sum())
    return seconds[0] / 60.0, seconds[1] / 60.0


def _overlap(episode: Episode, span: tuple[float, float]) -> bool:
    return episode.start < span[1] and max(episode.end, episode.declared) > span[0]


def _on_judged(clip: Watched, episode: Episode) -> bool:
    inside = (clip.time >= episode.start) & (clip.time <= max(episode.end, episode.declared))
    return bool((inside & clip.known).any())


def detections(clip: Watched, label: str, bounds: Bounds) -> list[Detection]:
    """What became of every truth interval of one clip with these bounds.

    An interval is found when a finding overlaps it. A finding that was declared before the interval, or that
    belongs to an earlier one (a scene cut does not close findings), is not its own: it counts only when the
    score reaches `open` again `CARRY_S` seconds after the start or later, and it gives no first detection.
    An interval too short for that is neither found nor missed.
    """
    shown = episodes(clip, label, bounds)
    told = []
    taken: set[Episode] = set()
    for start, end in clip.spans:
        hits = [e for e in shown if _overlap(e, (start, end))]
        own = [e.declared for e in hits if e not in taken and e.declared >= start]
        late = (clip.time >= start + CARRY_S) & (clip.time < end)
        found: bool | None = bool(own)
        if hits and not own:
            found = bool((clip.score[late] >= np.float32(bounds.open)).any()) if late.any() else None
        told.append(Detection(start, end, found, min(own, default=None)))
        taken.update(hits)
    return told


def alarms(clip: Watched, label: str, bounds: Bounds) -> Alarms:
    """What the findings of one clip are worth with these bounds (see `detections`).

    A finding is a false positive when it overlaps no truth interval; one that lies on frames of which the
    truth says nothing is left out.
    """
    shown = episodes(clip, label, bounds)
    met = detections(clip, label, bounds)
    false = [e for e in shown if not any(_overlap(e, s) for s in clip.spans) and _on_judged(clip, e)]
    minutes, visible = minutes_free(clip)
    return Alarms(
        findings=len(shown),
        false=len(false),
        minutes=minutes,
        visible_minutes=visible,
        spans=sum(d.found is not None for d in met),
        found=sum(d.found is True for d in met),
        carried=sum(d.found is True and d.declared is None for d in met),
        delays=tuple(d.delay for d in met if d.delay is not None),
    )


def pooled(clips: Sequence[Watched], label: str, bounds: Bounds, hold_off: float | None = None) -> Alarms:
    """The same over several clips, with another hold-off where one is given."""
    used = bounds if hold_off is None else replace(bounds, minimum_s=hold_off)
    return sum((alarms(clip, label, used) for clip in clips), Alarms())


def _counts(said: NDArray[np.bool_], present: NDArray[np.bool_], known: NDArray[np.bool_]) -> Counts:
    return Counts(
        tp=int((said & present & known).sum()),
        fn=int((~said & present & known).sum()),
        tn=int((~said & ~present & known).sum()),
        fp=int((said & ~present & known).sum()),
    )


def score_counts(clip: Watched, open_at: float) -> Counts:
    """Frames whose smoothed score reaches `open_at`, against the truth; blind frames are not left out."""
    return _counts(clip.score >= np.float32(open_at), clip.present, clip.known)


def mask_counts(clip: Watched) -> Counts:
    """Frames with a mask against the truth.

    Where truth masks are there a frame with the finding in view counts only when the mask overlaps the true
    one; else any mask counts. In frames free of it any mask is false.
    """
    said = clip.area > 0.0
    if clip.dice is not None:
        hit = np.where(np.isnan(clip.dice), said, np.nan_to_num(clip.dice) > 0.0)
        said = np.where(clip.present, hit, said)
    return _counts(said, clip.present, clip.known)


def changes(states: NDArray[np.bool_]) -> int:
    """How often a state changes from one frame to the next."""
    return int((states[1:] != states[:-1]).sum())
