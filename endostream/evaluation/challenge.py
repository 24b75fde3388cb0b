"""The figures of the Capsule Vision 2024 challenge as its organisers define them, and the usual ones.

Owns definitions, over arrays. It must not know tables, files or pages. Source of the definitions: the
organisers' repository misahub2023/Capsule-Vision-2024-Challenge, `Results/gen_metrics_test.py` and, for the
mean average precision, the script given to participants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassFigures", "Judged", "judge"]

HALF = 0.5
"""Probability from which the organisers' class-wise figures count a picture as that class."""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against all others; None where a figure is not defined (0/0)."""

    pictures: int
    """Pictures of this class in the truth."""
    auc: float | None
    """Area under the ROC curve."""
    pr_auc: float | None
    """Area under the precision-recall curve by trapezoids, as the participants' script has it."""
    average_precision: float | None
    """Area under the same curve by steps, which does not flatter."""
    half: dict[str, float | None]
    """precision, recall, f1_score, specificity, accuracy at a probability of at least 0.5."""
    highest: dict[str, float | None]
    """The same where a picture belongs to the class of its highest probability."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Every figure of one table of probabilities."""

    report: dict[str, Any]
    """The organisers' report with their keys; what is not defined is 0."""
    figures: dict[str, float | None]
    """Further figures by name."""
    usual: dict[str, float | None]
    """The keys of the report by the usual definitions: what is not defined does not count."""
    classes: tuple[ClassFigures, ...]
    """One entry per class."""
    confusion: NDArray[np.int64]
    """Counts [truth, prediction]."""


def judge(probabilities: NDArray[np.float64], truth: NDArray[np.int64], labels: Sequence[str]) -> Judged:
    """Judge class probabilities.

    Parameters
    ----------
    probabilities
        float[N, C] in 0…1; the rows need not sum to 1.
    truth
        int[N], the index of each picture's class.
    labels
        Names of the C classes.
    """
    from sklearn.metrics import precision_recall_fscore_support

    predicted, n = probabilities.argmax(axis=1), len(labels)
    confusion = np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)
    classes = tuple(_one(probabilities[:, i], truth == i, predicted == i) for i in range(n))
    # What scikit-learn's balanced_accuracy_score gives, without its warnings about classes that are missing.
    balanced = float(np.mean([c.highest["recall"] for c in classes if c.pictures]))
    # Without `labels`, as the organisers: over the classes that occur in the truth or the prediction.
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, average="macro", zero_division=0
    )
    mean_auc = float(np.mean([c.auc or 0.0 for c in classes]))
    report = {
        "mean_auc": mean_auc,
        "balanced_accuracy": balanced,
        "avg_precision": float(precision),
        "avg_sensitivity": float(recall),
        "avg_f1": float(f1),
        "avg_specificity": _mean([c.highest["specificity"] or 0.0 for c in classes]),
        "class_wise_metrics": {
            name: {**{key: value or 0.0 for key, value in c.half.items()}, "auc": c.auc or 0.0}
            for name, c in zip(labels, classes, strict=True)
        },
    }
    usual = {
        "mean_auc": _mean([c.auc for c in classes]),
        "balanced_accuracy": balanced,
        "avg_precision": _mean([c.highest["precision"] for c in classes]),
        "avg_sensitivity": _mean([c.highest["recall"] for c in classes]),
        "avg_f1": _mean([c.highest["f1_score"] for c in classes if c.pictures]),
        "avg_specificity": _mean([c.highest["specificity"] for c in classes]),
        "mean_average_precision": _mean([c.average_precision for c in classes]),
    }
    figures = {
        "ranking_score": (mean_auc + balanced) / 2,
        "mean_average_precision": _mean([c.pr_auc or 0.0 for c in classes]),
        "accuracy": float((predicted == truth).mean()),
    }
    return Judged(report, figures, usual, classes, confusion)


def _one(score: NDArray[np.float64], true: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> ClassFigures:
    """One class against the rest."""
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

    both = bool(true.any()) and not true.all()
    area = pr_area = steps = None
    if both:
        area = float(roc_auc_score(true, score))
    if true.any():
        precision, recall, _ = precision_recall_curve(true, score)
        pr_area, steps = float(auc(recall, precision)), float(average_precision_score(true, score))
    return ClassFigures(
        int(true.sum()), area, pr_area, steps, _rates(true, score >= HALF), _rates(true, chosen)
    )


def _rates(true: NDArray[np.bool_], said: NDArray[np.bool_]) -> dict[str, float | None]:
    """Rates of a yes-or-no decision by the organisers' names; None for 0/0."""
    tp, fp = int((true & said).sum()), int((~true & said).sum())
    fn, tn = int((true & ~said).sum()), int((~true & ~said).sum())
    return {
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1_score": _ratio(2 * tp, 2 * tp + fp + fn),
        "specificity": _ratio(tn, tn + fp),
        "accuracy": _ratio(tp + tn, len(true)),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined; None without one."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
