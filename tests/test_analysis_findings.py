"""Findings: the same trace gives the same findings at any rate, and short spikes give none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from endostream.analysis.findings import (
    Bounds,
    FindingRules,
    FindingTracker,
    ReplayTracker,
    Sample,
    findings_of,
)
from endostream.analysis.smoothing import Smoother, alpha, softmax
from endostream.types import Finding, FindingEvent

RULES = FindingRules(("background", "polyps"), background=("background",))
# Stretches of (start, end, probability of polyps); elsewhere 0.05.
TRACE = [(2.0, 6.0, 0.95), (6.6, 9.0, 0.9), (14.0, 14.3, 0.99), (20.0, 24.0, 0.8), (30.0, 36.0, 0.97)]
LENGTH = 42.0


def scripted(time: float) -> float:
    return next((p for start, end, p in TRACE if start <= time < end), 0.05)


def times(rate: float, jitter: float = 0.0) -> list[float]:
    rng = np.random.default_rng(5)
    grid = np.arange(0.0, LENGTH, 1.0 / rate)
    return sorted(float(t) for t in np.maximum(0.0, grid + rng.uniform(-jitter, jitter, grid.size) / rate))


def track(stamps: list[float], probability: Callable[[float], float] = scripted) -> list[Finding]:
    smoother, tracker = Smoother(0.561), FindingTracker(RULES)
    last: dict[int, FindingEvent] = {}
    for index, time in enumerate(stamps):
        p = probability(time)
        scores = smoother.update(time, np.asarray([1.0 - p, p], np.float32))
        for event in tracker.update(time, scores, index):
            last[event.finding.id] = event
    for event in tracker.finish():
        last[event.finding.id] = event
    return [last[k].finding for k in sorted(last)]


@pytest.mark.parametrize(("rate", "jitter"), [(10, 0), (25, 0), (60, 0), (10, 0.4), (25, 0.4), (60, 0.4)])
def test_same_findings_at_any_rate(rate: float, jitter: float) -> None:
    exact = track(times(1000))
    seen = track(times(rate, jitter))
    assert [f.label for f in seen] == [f.label for f in exact] == ["polyps"] * 3
    for a, b in zip(seen, exact, strict=True):
        assert a.end is not None and b.end is not None
        assert a.start == pytest.approx(b.start, abs=(1 + jitter) / rate + 1e-6)
        assert a.end == pytest.approx(b.end, abs=(1 + jitter) / rate + 1e-6)


@pytest.mark.parametrize("rate", [5, 10, 25, 30, 60])
def test_short_spikes_give_no_finding(rate: float) -> None:
    stamps = [float(t) for t in np.arange(0.0, 100.0, 1.0 / rate)]
    assert track(stamps, lambda t: 1.0 if t % 1.0 < 0.2 else 0.0) == []


def test_a_finding_needs_its_hold_off_and_ends_where_it_was_last_seen() -> None:
    tracker = FindingTracker(FindingRules(("polyps",), Bounds(0.6, 0.4, 0.5, 1.0)))

    def at(time: float, score: float) -> list[FindingEvent]:
        return tracker.update(time, np.asarray([score], np.float32))

    assert at(0.0, 0.7) == [] and at(0.4, 0.9) == []
    (opened,) = at(0.5, 0.8)
    assert (opened.change, opened.finding.start, opened.finding.peak.time) == ("opened", 0.0, 0.4)
    assert at(1.0, 0.5) == [] and at(1.2, 0.3) == [] and at(2.1, 0.1) == []
    closed, *_ = at(2.3, 0.7)
    assert (closed.change, closed.finding.end) == ("closed", pytest.approx(1.2, abs=1e-3))


def test_a_gap_up_to_merge_s_does_not_split() -> None:
    def count(gap: float) -> int:
        samples = [Sample(t, np.asarray([0.9], np.float32)) for t in (0.0, 0.3, 0.6)]
        samples += [Sample(0.6 + gap + t, np.asarray([0.9], np.float32)) for t in (0.0, 0.3, 0.6)]
        return len(findings_of(samples, FindingRules(("polyps",))))

    assert count(0.9) == 1 and count(1.2) == 2


def test_landmarks_are_not_findings_and_foreign_organs_open_nothing() -> None:
    labels = ("cecum", "z-line", "esophagitis-a", "bbps-2-3")
    for exam, expected in (("lower", {"cecum": True}), ("upper", {"z-line": True, "esophagitis-a": False})):
        rules = FindingRules(labels, Bounds(0.3, 0.2), exam=exam)  # type: ignore[arg-type]
        samples = [Sample(t / 10, np.full(4, 0.9, np.float32)) for t in range(20)]
        assert {e.finding.label: e.landmark for e in findings_of(samples, rules)} == expected


def test_scores_are_those_a_session_stores() -> None:
    # 0.59995 rounds to 0.6001 in float16: a fresh run and a stored one must agree on which side it is.
    assert float(np.float16(0.59995)) > 0.6
    tracker = FindingTracker(FindingRules(("polyps",)))
    events = [e for t in (0.0, 0.5) for e in tracker.update(t, np.asarray([0.59995], np.float32))]
    assert [e.change for e in events] == ["opened"]


def test_going_back_never_doubles_a_finding() -> None:
    tracker = ReplayTracker(RULES)
    state: dict[int, FindingEvent] = {}

    def play(start: float, end: float) -> None:
        last = None
        for k in range(int(start * 25), int(end * 25)):
            time = k / 25
            p = 0.95 if 4.0 <= time < 8.0 else 0.02
            if last is not None:
                tracker.forget(last, time)
            last = time
            for event in tracker.update(time, np.asarray([1 - p, p], np.float32), k):
                state[event.finding.id] = event

    play(0.0, 12.0)
    before = [e.finding for e in state.values()]
    play(2.0, 9.0)
    play(20.0, 21.0)
    for event in tracker.finish():
        state[event.finding.id] = event
    kept = [e.finding for e in state.values() if e.change != "removed"]
    assert [(f.id, f.label, f.start, f.end) for f in kept] == [
        (f.id, f.label, f.start, f.end) for f in before
    ]


def test_watching_again_with_another_result_replaces_the_finding() -> None:
    tracker = ReplayTracker(FindingRules(("polyps",)))
    for k in range(100):
        tracker.update(k / 25, np.asarray([0.9 if 25 <= k < 60 else 0.0], np.float32), k)
    changes = []
    for k in range(100):
        changes += tracker.update(k / 25, np.asarray([0.0], np.float32), k)
    changes += tracker.finish()
    assert [e.change for e in changes][-1] == "removed"


def test_smoothing_weight_equals_the_published_one_at_five_a_second() -> None:
    assert alpha(0.2, 0.561) == pytest.approx(0.3, abs=1e-3)
    smoother, fixed = Smoother(0.561), Smoother(0.0, per_sample=0.3)
    rng = np.random.default_rng(0)
    for k in range(20):
        p = softmax(rng.normal(size=5).astype(np.float32))
        assert np.allclose(smoother.update(k / 5, p), fixed.update(k / 5, p), atol=2e-3)


def test_a_blind_frame_is_no_evidence() -> None:
    smoother = Smoother(0.5)
    sure = np.asarray([0.1, 0.9], np.float32)
    smoother.update(0.0, sure)
    decayed = smoother.update(0.5, sure, judged=False)
    assert decayed[1] == pytest.approx(0.9 * np.exp(-1.0), rel=1e-5) and decayed.sum() < 0.5
