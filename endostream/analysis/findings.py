"""Findings out of smoothed scores: hysteresis, hold-off, merging; all in seconds of stream time.

Owns when a finding opens, where it starts and ends, and when it was surest. Consumes scores rounded to
float16, exactly what a session stores, so that thresholds can be moved later without running a network.
Must not know frames, pictures, models or storage.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from endostream.types import Exam, Finding, FindingEvent, FloatArray, Peak
from endostream.vocabulary import in_context, term


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a finding of one label opens, stays and closes."""

    open: float = 0.6
    """Score at which it may open."""
    close: float = 0.4
    """Score under which it may close."""
    minimum_s: float = 0.5
    """Hold-off: seconds from reaching `open`, without falling under `close`, to a sample over `open`."""
    merge_s: float = 1.0
    """Gaps up to this many seconds do not split it."""


@dataclass(frozen=True, slots=True)
class FindingRules:
    """Which labels open findings, and when."""

    labels: tuple[str, ...]
    """C class names in the order of the scores."""
    bounds: Bounds = field(default_factory=Bounds)
    """For labels without bounds of their own."""
    by_label: Mapping[str, Bounds] = field(default_factory=dict)
    """Bounds of single labels."""
    background: tuple[str, ...] = ()
    """Labels that never open anything."""
    exam: Exam = "any"
    """Exam context: labels of another organ open nothing."""

    def tracked(self) -> list[tuple[int, str, bool]]:
        """Index, label and whether it is a landmark, for every label that may open something."""
        rows = []
        for index, label in enumerate(self.labels):
            role = term(label).role
            if label in self.background or role not in ("finding", "landmark"):
                continue
            if in_context(label, self.exam):
                rows.append((index, label, role == "landmark"))
        return rows


@dataclass(slots=True)
class _Track:
    """The state of one label."""

    index: int
    label: str
    landmark: bool
    bounds: Bounds
    before: tuple[float, float] | None = None
    start: float | None = None
    last: float = 0.0
    peak: Peak = field(default_factory=lambda: Peak(0.0, 0.0))
    finding: Finding | None = None

    def crossed(self, time: float, score: float, bound: float) -> float:
        """When the score crossed `bound` between the sample before and this one, in seconds.

        Interpolated, and moved back by half the interval that the exponential average leads by (a sample
        stands for the whole time since the one before): start and end hardly depend on the sampling rate.
        """
        if self.before is None or score == self.before[1] or time - self.before[0] > self.bounds.merge_s:
            return time
        since, old = self.before
        share = min(max((bound - old) / (score - old), 0.0), 1.0)
        return min(time, since + (share + 0.5) * (time - since))


class FindingTracker:
    """Turns scores in time order into findings; every change is an event."""

    def __init__(self, rules: FindingRules, first_id: int = 1) -> None:
        self._rules = rules
        self._next = first_id
        self._tracks = [
            _Track(index, label, landmark, rules.by_label.get(label, rules.bounds))
            for index, label, landmark in rules.tracked()
        ]

    @property
    def next_id(self) -> int:
        """The id that the next finding will get."""
        return self._next

    @property
    def open(self) -> list[Finding]:
        """Findings that are open now, landmarks left out."""
        return [t.finding for t in self._tracks if t.finding is not None and not t.landmark]

    def update(self, time: float, scores: FloatArray, index: int = 0) -> list[FindingEvent]:
        """The events at `time` seconds for scores float[C]; `index` names the frame."""
        values = scores.astype(np.float16).astype(np.float64).tolist()
        events: list[FindingEvent] = []
        for track in self._tracks:
            score = values[track.index]
            if track.start is not None or score >= track.bounds.open:
                events += self._step(track, time, score, index)
            track.before = (time, score)
        return events

    def finish(self) -> list[FindingEvent]:
        """Close what is open, at the time each was last seen."""
        events: list[FindingEvent] = []
        for track in self._tracks:
            events += self._close(track)
        return events

    def _step(self, track: _Track, time: float, score: float, index: int) -> list[FindingEvent]:
        bounds, events = track.bounds, list[FindingEvent]()
        if track.start is not None and time - track.last > bounds.merge_s + 1e-9:
            events += self._close(track)
        if track.start is None:
            if score < bounds.open:
                return events
            track.start, track.peak = track.crossed(time, score, bounds.open), Peak(time, score, index)
        elif score < bounds.close:
            if track.before is not None and track.before[1] >= bounds.close:
                track.last = track.crossed(time, score, bounds.close)
            if track.finding is None:
                track.start = None
            return events
        track.last = time
        higher = score > track.peak.confidence
        if higher:
            track.peak = Peak(time, score, index)
        if track.finding is None:
            # The score must be high now, not only once: a single sure frame after a cold start decays through
            # `open` within 0.29 s and is not a finding.
            if score >= bounds.open and time - track.start >= bounds.minimum_s - 1e-9:
                track.finding = Finding(self._next, track.label, track.start, None, track.peak)
                self._next += 1
                events.append(FindingEvent("opened", track.finding, track.landmark))
        elif higher:
            track.finding = replace(track.finding, peak=track.peak)
            events.append(FindingEvent("updated", track.finding, track.landmark))
        return events

    def _close(self, track: _Track) -> list[FindingEvent]:
        finding, end = track.finding, track.last
        track.start = track.finding = None
        if finding is None:
            return []
        return [FindingEvent("closed", replace(finding, end=end, peak=track.peak), track.landmark)]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The smoothed scores of one frame, as stored."""

    time: float
    """Stream time in seconds."""
    scores: FloatArray
    """float[C]."""
    index: int = 0
    """Index of the frame."""


def findings_of(samples: Iterable[Sample], rules: FindingRules) -> list[FindingEvent]:
    """The last event of every finding and landmark in samples given in time order, by id."""
    tracker = FindingTracker(rules)
    last: dict[int, FindingEvent] = {}
    for sample in samples:
        for event in tracker.update(sample.time, sample.scores, sample.index):
            last[event.finding.id] = event
    for event in tracker.finish():
        last[event.finding.id] = event
    return [last[key] for key in sorted(last)]


class ReplayTracker:
    """Findings of a source that may be watched in any order: samples are kept by time and replaced.

    Going back never doubles a finding: whatever has been seen is tracked again in time order, and findings
    keep their id (and so their review and still) while they overlap with what they were.
    """

    def __init__(self, rules: FindingRules, every_s: float = 1.0) -> None:
        self._rules = rules
        self._every = every_s
        self._times: list[float] = []
        self._samples: list[Sample] = []
        self._live = FindingTracker(rules)
        self._known: dict[int, FindingEvent] = {}
        self._ids: dict[int, int] = {}
        self._next = 1
        self._due = 0.0

    @property
    def open(self) -> list[Finding]:
        """Findings that are open at the furthest time seen, landmarks left out."""
        return self._live.open

    def update(self, time: float, scores: FloatArray, index: int = 0) -> list[FindingEvent]:
        """Add or replace the sample at `time`; the events that follow from it."""
        sample = Sample(time, scores, index)
        if not self._times or time > self._times[-1]:
            self._times.append(time)
            self._samples.append(sample)
            return self._told(self._live.update(time, scores, index))
        at = bisect_left(self._times, time)
        if at < len(self._times) and self._times[at] == time:
            self._samples[at] = sample
        else:
            self._times.insert(at, time)
            self._samples.insert(at, sample)
        if abs(time - self._due) >= self._every:
            self._due = time
            return self.recompute()
        return []

    def forget(self, start: float, end: float) -> None:
        """Drop samples with start < time < end: a new pass over this stretch has skipped them."""
        low, high = bisect_right(self._times, start), bisect_left(self._times, end)
        del self._times[low:high], self._samples[low:high]

    def recompute(self) -> list[FindingEvent]:
        """Track all samples again; the events that tell what has changed."""
        live = FindingTracker(self._rules)
        fresh: dict[int, FindingEvent] = {}
        for sample in self._samples:
            for event in live.update(sample.time, sample.scores, sample.index):
                fresh[event.finding.id] = event
        self._live = live
        return self._reconcile([fresh[key] for key in sorted(fresh)])

    def finish(self) -> list[FindingEvent]:
        """Close what is open."""
        events = self.recompute()
        return events + self._told(self._live.finish())

    def _told(self, events: Sequence[FindingEvent]) -> list[FindingEvent]:
        told = []
        for event in events:
            inner = event.finding.id
            if inner not in self._ids:
                self._ids[inner] = self._next
                self._next += 1
            event = replace(event, finding=replace(event.finding, id=self._ids[inner]))
            self._known[event.finding.id] = event
            told.append(event)
        return told

    def _reconcile(self, fresh: Sequence[FindingEvent]) -> list[FindingEvent]:
        old = dict(self._known)
        self._ids, events = {}, list[FindingEvent]()
        for event in fresh:
            match = next((k for k, e in old.items() if _same(e.finding, event.finding)), None)
            if match is None:
                match, self._next = self._next, self._next + 1
                change = "opened"
            else:
                before = old.pop(match)
                after = replace(event.finding, id=match)
                self._ids[event.finding.id] = match
                if before.finding == after:
                    continue
                change = "closed" if after.end is not None else "updated"
            self._ids[event.finding.id] = match
            told = FindingEvent(change, replace(event.finding, id=match), event.landmark)  # type: ignore[arg-type]
            self._known[match] = told
            events.append(told)
            if change == "opened" and told.finding.end is not None:
                events.append(replace(told, change="closed"))
        for key, gone in old.items():
            del self._known[key]
            events.append(replace(gone, change="removed"))
        return events


def _same(a: Finding, b: Finding) -> bool:
    end_a, end_b = (float("inf") if f.end is None else f.end for f in (a, b))
    return a.label == b.label and a.start <= end_b and b.start <= end_a
