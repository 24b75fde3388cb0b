"""Figures of class probabilities: accuracy, balanced and macro figures, ranking, calibration, per class.

Owns definitions. It must not know packs, data sets or files.

Definitions: a class without pictures has no recall, AUROC or average precision and is in no macro figure;
which ones these are is told. A class that is never predicted has precision 0 (zero_division=0). A
class is predicted where its probability is the highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from endostream.evaluation.intervals import CHUNK, Interval, group_draws, spread

__all__ = ["ClassFigures", "LabelFigures", "label_figures", "label_intervals"]

BINS = 15

Scores = NDArray[np.float32]
Truth = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against the others."""

    label: str
    """Its name."""
    pictures: int
    """Pictures of it."""
    predicted: int
    """Pictures that were called it."""
    precision: float | None
    """Share of those called it that are it; 0 when none was; None without pictures of it."""
    recall: float | None
    """Share of its pictures that were called it."""
    f1: float | None
    """Harmonic mean of both."""
    specificity: float | None
    """Share of the other pictures that were not called it."""
    auroc: float | None
    """Area under its ROC curve."""
    average_precision: float | None
    """Area under its precision-recall curve, as a step function."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelFigures:
    """All figures of one set of pictures."""

    figures: dict[str, float | None]
    """By name."""
    classes: tuple[ClassFigures, ...]
    """In the order of the labels."""
    matrix: NDArray[np.int64]
    """int64[C, C]; rows are the truth."""

    @property
    def undefined(self) -> tuple[str, ...]:
        """Classes without pictures: in no macro figure."""
        return tuple(c.label for c in self.classes if not c.pictures)


def label_figures(truth: Truth, scores: Scores, labels: Sequence[str]) -> LabelFigures:
    """Give the figures of probabilities float32[N, C] against class numbers int[N]."""
    everything = np.arange(len(labels))
    predicted = scores.argmax(axis=1)
    matrix = confusion_matrix(truth, predicted, labels=everything).astype(np.int64)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=everything, zero_division=0
    )
    classes = tuple(
        _class(label, matrix, i, (precision[i], recall[i], f1[i]), truth == i, scores[:, i])
        for i, label in enumerate(labels)
    )
    present = support > 0
    figures: dict[str, float | None] = {
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "precision_macro": float(precision[present].mean()),
        "recall_macro": float(recall[present].mean()),
        "f1_macro": float(f1[present].mean()),
        "auroc_macro": _mean([c.auroc for c in classes]),
        "map_macro": _mean([c.average_precision for c in classes]),
        "ece": float(
            multiclass_calibration_error(
                torch.from_numpy(scores), torch.from_numpy(truth.astype(np.int64)), len(labels), BINS
            )
        ),
        # With two classes every picture is among the first two.
        "top2_accuracy": _top(truth, scores, 2) if len(labels) > 2 else None,
    }
    return LabelFigures(figures, classes, matrix)


def _class(
    label: str,
    matrix: NDArray[np.int64],
    at: int,
    found: tuple[float, float, float],
    truth: NDArray[np.bool_],
    score: NDArray[np.float32],
) -> ClassFigures:
    pictures, predicted = int(matrix[at].sum()), int(matrix[:, at].sum())
    others = int(matrix.sum()) - pictures
    precision, recall, f1 = (float(value) if pictures else None for value in found)
    return ClassFigures(
        label=label,
        pictures=pictures,
        predicted=predicted,
        precision=precision,
        recall=recall,
        f1=f1,
        specificity=1.0 - (predicted - int(matrix[at, at])) / others if others else None,
        auroc=float(roc_auc_score(truth, score)) if pictures and others else None,
        average_precision=float(average_precision_score(truth, score)) if pictures else None,
    )


def _top(truth: Truth, scores: Scores, k: int) -> float:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def label_intervals(
    truth: Truth, scores: Scores, groups: Sequence[str]
) -> tuple[dict[str, Interval], list[Interval]]:
    """Give the intervals of accuracy, balanced accuracy, macro F1 and ECE, and of every class's recall.

    All four come from sums per group, so 1000 draws of 10,000 pictures take seconds. A class that a draw does
    not hold is not in that draw's macro figures.
    """
    classes = scores.shape[1]
    index, times, over = group_draws(groups)
    if not over:
        none = Interval(None, None, "")
        return dict.fromkeys(("accuracy", "balanced_accuracy", "f1_macro", "ece"), none), [none] * classes
    predicted = scores.argmax(axis=1)
    cells = np.zeros((times.shape[1], classes * classes))
    np.add.at(cells, (index, truth * classes + predicted), 1.0)
    confidence = scores.max(axis=1).astype(np.float64)
    gaps = np.zeros((times.shape[1], BINS))
    place = np.clip((confidence * BINS).astype(np.intp), 0, BINS - 1)
    np.add.at(gaps, (index, place), confidence - (predicted == truth))
    parts = [
        _drawn(chosen.astype(np.float64) @ cells, chosen @ gaps, classes)
        for chosen in (times[start : start + CHUNK] for start in range(0, len(times), CHUNK))
    ]
    names = ("accuracy", "balanced_accuracy", "f1_macro", "ece")
    main = {name: spread(np.concatenate([p[i] for p in parts]), over) for i, name in enumerate(names)}
    recalls = np.concatenate([p[4] for p in parts])
    # The pictures of a class in one group only are drawn together or not at all: no spread to tell.
    held = [len(np.unique(index[truth == i])) for i in range(classes)]
    none = Interval(None, None, "")
    return main, [spread(recalls[:, i], over) if held[i] > 1 else none for i in range(classes)]


def _drawn(cells: Floats, gaps: Floats, classes: int) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Accuracy, balanced accuracy, macro F1 and ECE [D] and recalls [D, C] of drawn sums."""
    matrix = cells.reshape(-1, classes, classes)
    total = matrix.sum(axis=(1, 2))
    right, support = matrix.diagonal(axis1=1, axis2=2), matrix.sum(axis=2)
    present = support > 0
    recall = np.divide(right, support, out=np.full_like(support, np.nan), where=present)
    f1 = np.divide(2 * right, support + matrix.sum(axis=1), out=np.full_like(support, np.nan), where=present)
    return (
        right.sum(axis=1) / total,
        np.nanmean(recall, axis=1),
        np.nanmean(f1, axis=1),
        np.abs(gaps).sum(axis=1) / total,
        recall,
    )
