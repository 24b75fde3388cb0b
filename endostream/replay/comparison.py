"""Two sessions of the same pictures side by side: findings, their ends, and the stored probabilities.

Owns how findings are matched and what counts as the same. Must not know how either session came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from endostream.analysis.findings import Bounds, FindingRules, Sample, findings_of
from endostream.records.session import FrameRow, Session
from endostream.records.sidecar import FrameLine
from endostream.types import Finding, FloatArray, RunInfo

Verdict = Literal["identical", "within one frame", "within 0.2 s", "different"]
LOSSY_S = 0.2
"""Seconds by which the ends of a finding may move where the recording lost detail."""
BRIEF_S = 0.5
"""A finding shorter than this may come or go then, one at most."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Pair:
    """One finding as it was live and as it is in the replay."""

    live: Finding
    """Live."""
    replay: Finding
    """In the replay."""

    @property
    def start_s(self) -> float:
        """Seconds by which it starts later in the replay."""
        return self.replay.start - self.live.start

    @property
    def end_s(self) -> float:
        """Seconds by which it ends later in the replay."""
        if self.live.end is None or self.replay.end is None:
            return 0.0
        return self.replay.end - self.live.end

    @property
    def apart_s(self) -> float:
        """The larger of the two, without sign."""
        return max(abs(self.start_s), abs(self.end_s))


@dataclass(frozen=True, slots=True)
class Matches:
    """Findings, or landmarks, of two sessions."""

    pairs: tuple[Pair, ...]
    """Those of the same label that overlap, by start."""
    only_live: tuple[Finding, ...]
    """Without a counterpart in the replay."""
    only_replay: tuple[Finding, ...]
    """Without a counterpart live."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a replay compares with its session."""

    findings: Matches
    """Findings."""
    landmarks: Matches
    """Landmarks, which are no findings."""
    stored: bool
    """True when the live findings are those of the session; False when they were worked out from its stored
    probabilities, because it was interrupted or not all of it was replayed."""
    interval_s: float
    """Seconds between two pictures of the live source, which is what `frames` are counted in."""
    frames: int
    """Analysed frames that both have."""
    apart: int
    """Those of them whose stored probabilities differ."""
    largest: float
    """The largest difference of a stored smoothed probability."""
    judged_apart: int
    """Frames that could be judged in one and not in the other, or not for another reason."""
    unrecorded: int
    """Analysed frames of the session that the replay does not have."""
    extra: int
    """Analysed frames of the replay that the session does not have."""

    @property
    def verdict(self) -> Verdict:
        """What the two have in common; landmarks count too."""
        pairs = (*self.findings.pairs, *self.landmarks.pairs)
        lonely = [f for m in (self.findings, self.landmarks) for f in (*m.only_live, *m.only_replay)]
        apart = max((pair.apart_s for pair in pairs), default=0.0)
        if not lonely and apart == 0.0:
            return "identical"
        if not lonely and self.in_frames(apart) <= 1.0:
            return "within one frame"
        brief = all(f.end is not None and f.end - f.start < BRIEF_S for f in lonely)
        if apart <= LOSSY_S + _ROUNDING and len(lonely) <= 1 and brief:
            return "within 0.2 s"
        return "different"

    def in_frames(self, seconds: float) -> float:
        """Seconds in pictures of the live source."""
        return round(abs(seconds) / self.interval_s, 3) if self.interval_s else 0.0


def rules_of(info: RunInfo) -> FindingRules:
    """The rules that opened the findings of a session."""
    settings = info.settings
    return FindingRules(
        labels=info.labels,
        bounds=Bounds(**settings.get("finding", {})),
        by_label={k: Bounds(**v) for k, v in settings.get("finding_labels", {}).items()},
        background=tuple(filter(None, info.pack.get("background", "").split(", "))),
        exam=info.exam,
    )


def compare(live: Session, again: Session, lines: Sequence[FrameLine]) -> Comparison:
    """How the session `again` compares with `live`, of which it is a replay.

    Parameters
    ----------
    live, again
        Finished sessions of the same pictures.
    lines
        What the sidecar says of the frames: it outlives a crash by more frames than the database.
    """
    rows = {_key(row): _Row(Sample(row.time, _scores(row), row.index), row.reason) for row in live.frames()}
    for line in lines:
        if line.scores is not None:
            sample = Sample(line.time, line.scores.astype(np.float32), line.index)
            rows.setdefault(_key(line), _Row(sample, None, stored=False))
    common: list[Sample] = []
    apart = judged = extra = 0
    largest = 0.0
    for row in again.frames():
        known = rows.get(_key(row))
        if known is None:
            extra += 1
            continue
        common.append(known.sample)
        far = _largest(known.sample.scores, _scores(row))
        largest, apart = max(largest, far), apart + (far > 0.0)
        judged += known.stored and known.reason != row.reason
    stored = len(common) == len(rows) and not live.interrupted
    found, landmarks = live.findings, live.landmarks
    if not stored and live.info.labels:
        events = findings_of(common, rules_of(live.info))
        found = tuple(e.finding for e in events if not e.landmark)
        landmarks = tuple(e.finding for e in events if e.landmark)
    steps = np.diff(np.unique(np.asarray([line.time for line in lines], np.float64)))
    return Comparison(
        findings=matched(found, again.findings),
        landmarks=matched(landmarks, again.landmarks),
        stored=stored,
        interval_s=float(np.median(steps)) if steps.size else 0.0,
        frames=len(common),
        apart=apart,
        largest=largest,
        judged_apart=judged,
        unrecorded=len(rows) - len(common),
        extra=extra,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One frame as it was live."""

    sample: Sample
    """Its smoothed scores."""
    reason: str | None
    """Why it could not be judged."""
    stored: bool = True
    """False when only the sidecar knows of it, which says nothing of reasons."""


def matched(live: Iterable[Finding], again: Iterable[Finding]) -> Matches:
    """Findings of the same label that overlap as pairs, those with the longest overlap first."""
    left, right = list(live), list(again)
    pairs = [(o, a, b) for a in left for b in right if (o := _overlap(a, b)) >= 0.0]
    pairs.sort(key=lambda pair: (-pair[0], pair[1].start, pair[2].start))
    chosen = list[Pair]()
    for _, a, b in pairs:
        if any(a is f for f in left) and any(b is f for f in right):
            left = [f for f in left if f is not a]
            right = [f for f in right if f is not b]
            chosen.append(Pair(a, b))
    return Matches(tuple(sorted(chosen, key=lambda p: (p.live.start, p.live.id))), tuple(left), tuple(right))


def _overlap(a: Finding, b: Finding) -> float:
    """Seconds that two findings have in common; negative when none, or when their labels differ."""
    if a.label != b.label:
        return -1.0
    ends = [float("inf") if f.end is None else f.end for f in (a, b)]
    return min(ends) - max(a.start, b.start)


def _key(row: FrameRow | FrameLine) -> tuple[int, int]:
    return row.epoch, round(row.time * 1e6)


def _scores(row: FrameRow) -> FloatArray:
    return row.predictions[0].scores if row.predictions else np.zeros(0, np.float32)


def _largest(a: FloatArray, b: FloatArray) -> float:
    return float(np.abs(a - b).max()) if a.size and a.shape == b.shape else 0.0


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values, not rounded."""
    return {
        "verdict": comparison.verdict,
        "frame_s": comparison.interval_s,
        "live_findings": "stored" if comparison.stored else "recomputed",
        "findings": _matches(comparison.findings, comparison.in_frames),
        "landmarks": _matches(comparison.landmarks, comparison.in_frames),
        "probabilities": {
            "frames_compared": comparison.frames,
            "frames_apart": comparison.apart,
            "largest_difference": comparison.largest,
            "judged_apart": comparison.judged_apart,
        },
    }


def _matches(matches: Matches, in_frames: Callable[[float], float]) -> dict[str, Any]:
    return {
        "both": [
            {
                "label": pair.live.label,
                "live": _span(pair.live),
                "replay": _span(pair.replay),
                "start_apart_s": pair.start_s,
                "end_apart_s": pair.end_s,
                "start_apart_frames": in_frames(pair.start_s),
                "end_apart_frames": in_frames(pair.end_s),
            }
            for pair in matches.pairs
        ],
        "only_live": [{"label": f.label, **_span(f)} for f in matches.only_live],
        "only_replay": [{"label": f.label, **_span(f)} for f in matches.only_replay],
    }


def _span(finding: Finding) -> dict[str, Any]:
    return {"start_s": finding.start, "end_s": finding.end}
