"""95 % confidence intervals by drawing groups again: sequences, centres, clusters, never single pictures.

Owns the bootstrap. It must not know what a figure means.

Pictures of one sequence show one polyp; drawing pictures would call them independent and give intervals that
are several times too narrow (Efron and Tibshirani, An Introduction to the Bootstrap, ch. 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DRAWS",
    "Interval",
    "group_draws",
    "mean_interval",
    "ranking_intervals",
    "ratio_interval",
    "spread",
]

DRAWS = 1000
SEED = 0
CHUNK = 100
"""Draws worked on at once: bounds the memory."""
LEAST_DEFINED = 0.5
"""Share of the draws in which a figure must be defined for its interval to be given."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of a figure over the draws."""

    low: float | None
    """2.5th percentile; None where no interval can be given."""
    high: float | None
    """97.5th percentile."""
    over: str
    """What was drawn: `groups`, or `pictures` where there is one group only; empty without an interval."""


NONE = Interval(None, None, "")


def group_draws(
    groups: Sequence[str], draws: int = DRAWS, seed: int = SEED
) -> tuple[Indices, NDArray[np.int64], str]:
    """Give how often every group is drawn.

    Parameters
    ----------
    groups
        The group of every item, N of them.
    draws
        Number of draws D.
    seed
        Seed of numpy's generator.

    Returns
    -------
    index [N] of every item's group, times [D, G] that every group is drawn, and what was drawn. Where all
    items are of one group each item is drawn for itself: `pictures`. Such an interval says nothing about
    another group.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    over = "groups"
    if len(names) == 1:
        index, over = np.arange(len(groups)), "pictures"
    count = int(index.max()) + 1 if len(index) else 0
    if count < 2:
        return np.asarray(index, np.intp), np.zeros((0, count), np.int64), ""
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=draws)
    return np.asarray(index, np.intp), times, over


def spread(values: Floats, over: str) -> Interval:
    """Give the interval of a figure's values over the draws; draws in which it is not defined are NaN."""
    defined = values[np.isfinite(values)]
    if not len(values) or len(defined) < LEAST_DEFINED * len(values):
        return NONE
    low, high = np.percentile(defined, (2.5, 97.5))
    return Interval(float(low), float(high), over)


def ratio_interval(above: Sequence[float], below: Sequence[float], groups: Sequence[str]) -> Interval:
    """Give the interval of sum(above) / sum(below), such as a pooled Dice."""
    index, times, over = group_draws(groups)
    if not over:
        return NONE
    weights = times.astype(np.float64)
    top = weights @ np.bincount(index, np.asarray(above, np.float64), minlength=times.shape[1])
    bottom = weights @ np.bincount(index, np.asarray(below, np.float64), minlength=times.shape[1])
    return spread(np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0), over)


def mean_interval(values: Sequence[float], groups: Sequence[str]) -> Interval:
    """Give the interval of a mean over pictures."""
    return ratio_interval(values, np.ones(len(values)).tolist(), groups)


def ranking_intervals(
    scores: Floats, truth: NDArray[np.bool_], groups: Sequence[str], draws: int = DRAWS
) -> tuple[Interval, Interval]:
    """Give the intervals of the area under the ROC curve and of the average precision.

    Every draw weighs the items by how often their group was drawn; the scores are sorted once for all draws
    (1000 draws of 700 pictures in 0.1 s, against 10 s by a library that sorts for each).
    """
    index, times, over = group_draws(groups, draws)
    if not over:
        return NONE, NONE
    order = np.argsort(-scores, kind="stable")
    # Equal scores are one step of either curve.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    areas, precisions = [], []
    for start in range(0, len(times), CHUNK):
        weights = times[start : start + CHUNK, index[order]].astype(np.float64)
        hits = np.cumsum(weights * truth[order], axis=1)[:, ends]
        alarms = np.cumsum(weights * ~truth[order], axis=1)[:, ends]
        new_hits = np.diff(hits, axis=1, prepend=0.0)
        new_alarms = np.diff(alarms, axis=1, prepend=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            won = (new_alarms * (hits - new_hits / 2)).sum(axis=1)
            areas.append(won / (hits[:, -1] * alarms[:, -1]))
            share = np.where(hits > 0, hits / (hits + alarms), 0.0)
            precisions.append((new_hits * share).sum(axis=1) / hits[:, -1])
    return spread(np.concatenate(areas), over), spread(np.concatenate(precisions), over)
