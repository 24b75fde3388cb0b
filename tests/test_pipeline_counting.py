"""Durations counted in bins give the percentiles of the durations themselves."""

from __future__ import annotations

import numpy as np
import pytest

from endostream.pipeline.counting import Counter, Spread


@pytest.mark.parametrize("count", [1, 7, 5000])
def test_percentiles_are_right_to_half_a_percent(count: int) -> None:
    values = np.random.default_rng(count).lognormal(-4.0, 1.5, count)
    spread = Spread()
    for value in values:
        spread.add(float(value))
    expected = np.percentile(values, [50, 95, 99], method="lower") * 1000.0
    assert list(spread.percentiles().values()) == pytest.approx(list(expected), rel=0.006)


def test_durations_outside_the_bins_count_at_the_ends() -> None:
    spread = Spread()
    assert spread.percentiles() == {}
    for value in (0.0, -1.0, 1e-9):
        spread.add(value)
    assert spread.percentiles()["p50_ms"] == pytest.approx(0.001, rel=0.01)
    for _ in range(20):
        spread.add(1e6)
    assert spread.percentiles()["p50_ms"] == pytest.approx(100_000, rel=0.02)


def test_every_stage_and_the_age_have_percentiles() -> None:
    counter = Counter()
    assert counter.stages() == {} and counter.ages() == {}
    counter.captured(0.002)
    counter.analysed(1.0, 0.05, {"classify": 0.02, "total": 0.03})
    assert sorted(counter.stages()) == ["classify", "decode", "total"]
    assert counter.ages()["p95_ms"] == pytest.approx(50, rel=0.006)
