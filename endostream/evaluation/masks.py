"""Figures of masks: overlap per picture and pooled, false masks, sizes, and the frame score beside them.

Owns definitions and tables. It must not know packs, networks or files.

Definitions: a picture whose truth is empty has no Dice; it counts as a false mask or not. A polyp picture
without a mask has Dice, IoU and recall 0 and no precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from endostream.evaluation.intervals import (
    Interval,
    group_draws,
    mean_interval,
    ranking_intervals,
    ratio_interval,
    spread,
)
from endostream.types import MaskArray

__all__ = [
    "FALSE_MASK",
    "SIZES",
    "Counts",
    "Judged",
    "Overlap",
    "Presence",
    "Share",
    "count_pixels",
    "overlap",
    "presence",
    "share",
    "size_of",
]

FALSE_MASK = 0.002
"""Share of the picture over which a mask on a polyp-free picture counts as false."""
SIZES = ("up to 1 %", "1 to 5 %", "over 5 %")
"""Classes of polyp area in the picture."""
BINS = 15


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels of one picture."""

    tp: int
    """In the truth and in the mask."""
    fp: int
    """In the mask only."""
    fn: int
    """In the truth only."""
    tn: int
    """In neither."""

    @property
    def truth(self) -> int:
        """Pixels of the truth."""
        return self.tp + self.fn

    @property
    def found(self) -> int:
        """Pixels of the mask."""
        return self.tp + self.fp

    @property
    def area(self) -> int:
        """Pixels of the picture."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def dice(self) -> float | None:
        """2 tp / (2 tp + fp + fn); None where the truth is empty."""
        return 2 * self.tp / (self.truth + self.found) if self.truth else None

    @property
    def iou(self) -> float | None:
        """Tp / (tp + fp + fn); None where the truth is empty."""
        return self.tp / (self.truth + self.fp) if self.truth else None

    @property
    def recall(self) -> float | None:
        """Tp / (tp + fn); None where the truth is empty."""
        return self.tp / self.truth if self.truth else None

    @property
    def precision(self) -> float | None:
        """Tp / (tp + fp); None where the truth or the mask is empty."""
        return self.tp / self.found if self.truth and self.found else None

    @property
    def false_mask(self) -> bool:
        """Whether the mask covers more than 0.2 % of the picture (meant for empty truths)."""
        return self.found > FALSE_MASK * self.area

    def without_mask(self) -> Counts:
        """The same picture with an empty mask: what the app shows when its gate stays shut."""
        return Counts(0, 0, self.truth, self.fp + self.tn)


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture with what the pack made of it."""

    name: str
    """Base name."""
    source: str
    """Public set or folder."""
    group: str
    """Sequence, centre or cluster."""
    kind: str
    """`polyp`, `crop` (polyp-free crop of a polyp frame), `empty` (no polyp) or `other` (another organ)."""
    score: float | None
    """Probability of a polyp by the frame classifier; None for a pack without one."""
    gated: bool
    """Whether the gate lets the segmenter look at such a frame of a video."""
    counts: Counts
    """Pixels without the gate."""

    def pixels(self, gate: bool) -> Counts:
        """Pixels without or behind the gate."""
        return self.counts if self.gated or not gate else self.counts.without_mask()


@dataclass(frozen=True, slots=True)
class Overlap:
    """How masks and truths of some polyp pictures overlap."""

    pictures: int
    """Pictures with a polyp."""
    groups: int
    """Their groups."""
    dice: float | None
    """Mean over pictures."""
    dice_interval: Interval
    """95 % interval of it."""
    iou: float | None
    """Mean over pictures."""
    iou_interval: Interval
    """95 % interval of it."""
    precision: float | None
    """Mean over the pictures that got a mask."""
    recall: float | None
    """Mean over pictures."""
    pooled: Counts
    """Pixels of all pictures together."""
    pooled_interval: Interval
    """95 % interval of the pooled Dice."""
    missed: float | None
    """Share of the pictures whose mask misses the polyp wholly."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of some pictures."""

    pictures: int
    """How many there are."""
    groups: int
    """Their groups."""
    value: float | None
    """The share."""
    interval: Interval
    """95 % interval of it."""


@dataclass(frozen=True, slots=True)
class Presence:
    """How well the frame score tells polyp frames from others."""

    polyps: int
    """Polyp frames."""
    others: int
    """Pictures without a polyp."""
    auroc: float | None
    """Area under the ROC curve; None where one side is missing."""
    auroc_interval: Interval
    """95 % interval of it."""
    precision: float | None
    """Average precision."""
    precision_interval: Interval
    """95 % interval of it."""
    ece: float | None
    """Expected calibration error of the probability of a polyp, 15 bins of equal width."""
    ece_interval: Interval
    """95 % interval of it."""
    sensitivity: float | None
    """Share of the polyp frames at or over the opening threshold."""
    sensitivity_interval: Interval
    """95 % interval of it."""


def count_pixels(truth: MaskArray, found: MaskArray) -> Counts:
    """Give the four counts of two masks bool[H, W] of one size."""
    tp = int(np.count_nonzero(truth & found))
    in_truth, in_found = int(np.count_nonzero(truth)), int(np.count_nonzero(found))
    return Counts(tp, in_found - tp, in_truth - tp, truth.size - in_truth - in_found + tp)


def size_of(counts: Counts) -> str:
    """Give the class of polyp area: up to 1 %, 1 to 5 %, over 5 % of the picture."""
    part = counts.truth / counts.area
    return SIZES[0] if part <= 0.01 else SIZES[1] if part <= 0.05 else SIZES[2]


def mean(values: Sequence[float | None]) -> float | None:
    """Give the mean of the values that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def overlap(items: Sequence[Judged], gate: bool) -> Overlap:
    """Give the overlap figures of the polyp pictures among the items, without or behind the gate."""
    items = [item for item in items if item.kind == "polyp"]
    pixels, groups = [item.pixels(gate) for item in items], [item.group for item in items]
    dice = [p.dice or 0.0 for p in pixels]
    iou = [p.iou or 0.0 for p in pixels]
    pooled = Counts(*(sum(getattr(p, name) for p in pixels) for name in ("tp", "fp", "fn", "tn")))
    return Overlap(
        pictures=len(items),
        groups=len(set(groups)),
        dice=mean(dice),
        dice_interval=mean_interval(dice, groups),
        iou=mean(iou),
        iou_interval=mean_interval(iou, groups),
        precision=mean([p.precision for p in pixels]),
        recall=mean([p.recall for p in pixels]),
        pooled=pooled,
        pooled_interval=ratio_interval(
            [2.0 * p.tp for p in pixels], [float(p.truth + p.found) for p in pixels], groups
        ),
        missed=mean([float(p.tp == 0) for p in pixels]),
    )


def share(flags: Sequence[bool], groups: Sequence[str]) -> Share:
    """Give the share of True with its interval."""
    values = [float(flag) for flag in flags]
    return Share(len(values), len(set(groups)), mean(values), mean_interval(values, groups))


def presence(items: Sequence[Judged], opens: float) -> Presence | None:
    """Give the figures of the frame score over the items; None where a score is missing.

    Parameters
    ----------
    items
        Polyp frames and pictures without a polyp.
    opens
        Score at which the pack opens a finding.
    """
    scores = np.array([item.score for item in items if item.score is not None], np.float64)
    if len(scores) != len(items) or not items:
        return None
    truth = np.array([item.kind == "polyp" for item in items])
    groups = [item.group for item in items]

    both = 0 < np.count_nonzero(truth) < len(truth)
    area, precision = ranking_intervals(scores, truth, groups)
    polyps = [item for item in items if item.kind == "polyp"]
    found = share([(item.score or 0.0) >= opens for item in polyps], [item.group for item in polyps])
    return Presence(
        polyps=len(polyps),
        others=len(items) - len(polyps),
        auroc=float(roc_auc_score(truth, scores)) if both else None,
        auroc_interval=area,
        precision=float(average_precision_score(truth, scores)) if truth.any() else None,
        precision_interval=precision,
        ece=calibration_error(scores, truth),
        ece_interval=_error_interval(scores, truth, groups),
        sensitivity=found.value,
        sensitivity_interval=found.interval,
    )


def calibration_error(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Give the expected calibration error of the positive class's probability, 15 bins of equal width."""
    return float(
        binary_calibration_error(torch.from_numpy(scores), torch.from_numpy(truth.astype(np.int64)), BINS)
    )


def _error_interval(scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: Sequence[str]) -> Interval:
    """Give the interval of the calibration error: per bin only the sum of score - truth is needed."""
    index, times, over = group_draws(groups)
    if not over:
        return Interval(None, None, "")
    place = np.clip((scores * BINS).astype(np.intp), 0, BINS - 1)
    gaps = np.zeros((times.shape[1], BINS))
    np.add.at(gaps, (index, place), scores - truth)
    drawn = times @ np.bincount(index, minlength=times.shape[1])
    return spread(np.abs(times @ gaps).sum(axis=1) / drawn, over)
