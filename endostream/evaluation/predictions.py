"""`endostream evaluate predictions`: saved class probabilities against a truth table.

Owns what is told about them: figures, tables, plots, warnings. It must not know how files are read or rows
brought together.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from endostream.evaluation.alignment import PATH, Aligned, align
from endostream.evaluation.calibration import BINS, Calibration, wilson
from endostream.evaluation.challenge import HALF, Judged, judge
from endostream.evaluation.plots import bars_plot, confusion_plot, reliability_plot
from endostream.evaluation.results import Plot, Results, Table
from endostream.evaluation.tables import Sheet, read_table

__all__ = ["DEFINITIONS", "evaluate_predictions"]

DEFINITIONS = {
    "mean_auc": "mean of the one-against-the-rest ROC AUC of every class; 0 where it is not defined",
    "balanced_accuracy": "mean recall of the classes of the truth; predicted is the class of the highest "
    "probability, the first column where several are highest",
    "avg_precision, avg_sensitivity, avg_f1": "macro over the classes that occur in the truth or as the "
    "highest probability; 0/0 counts 0",
    "avg_specificity": "mean over all classes, by the highest probability; 0/0 counts 0",
    "class_wise_metrics": f"an image counts as every class of probability {HALF} or more; 0/0 counts 0",
    "mean_average_precision": "mean over all classes of the area under the precision-recall curve by "
    "trapezoids; 0 for a class without images",
    "ranking_score": "(mean_auc + balanced_accuracy) / 2",
    "ece": f"expected calibration error of the highest probability, {BINS} bins of equal width",
}
_DIFFERENCES = {
    "mean_auc": "not defined: organisers count 0, usual leaves the class out",
    "balanced_accuracy": "the same",
    "avg_precision": "class that is never predicted: organisers count 0, usual leaves it out",
    "avg_sensitivity": "class without images that is predicted: organisers count 0, usual leaves it out",
    "avg_f1": "as before; usual is over the classes of the truth",
    "avg_specificity": "not defined: organisers count 0, usual leaves the class out",
    "mean_average_precision": "area by trapezoids against area by steps; no images: 0 against left out",
}
_RATES = ("precision", "recall", "f1_score", "specificity", "accuracy")


def evaluate_predictions(
    predictions: Path, truth: Path, command: str, labels: tuple[str, ...] | None = None
) -> Results:
    """Measure a CSV or XLSX of class probabilities against a truth table in the Capsule Vision 2024 format.

    Parameters
    ----------
    predictions
        Table with `image_path`, one column per class, and perhaps `Dataset` and `predicted_class`.
    truth
        Table with `image_path` and `class_label`, or with one column of 0 and 1 per class.
    command
        The command that is run, for the page.
    labels
        The classes, where the tables alone should not settle them.

    Raises
    ------
    InputError
        A table cannot be read, or a row is missing, unknown, double or wrong; the row is named.
    """
    said, known = read_table(predictions, PATH), read_table(truth, PATH)
    pairs = align(said, known, labels)
    judged = judge(pairs.probabilities, pairs.truth, pairs.labels)
    predicted = pairs.probabilities.argmax(axis=1)
    highest, correct = pairs.probabilities.max(axis=1), predicted == pairs.truth
    report = {key: value for key, value in judged.report.items() if key != "class_wise_metrics"}
    figures: dict[str, float | None] = {
        "mean_auc": report["mean_auc"],
        "balanced_accuracy": report["balanced_accuracy"],
        "ranking_score": judged.figures["ranking_score"],
        "ece": Calibration(highest, correct).error,
        **{key: value for key, value in report.items() if key.startswith("avg_")},
        "mean_average_precision": judged.figures["mean_average_precision"],
        "accuracy": judged.figures["accuracy"],
        "mean_confidence": float(highest.mean()),
    }
    return Results(
        kind="predictions",
        title=f"Predictions of {said.file}",
        command=command,
        facts=_facts(said, known, pairs, judged, (predictions, truth)),
        figures=figures,
        tables=_tables(pairs, judged, correct),
        plots=_plots(pairs, judged, highest, correct),
        warnings=(*_warnings(pairs, judged), *pairs.warnings),
    )


def _facts(
    said: Sheet, known: Sheet, pairs: Aligned, judged: Judged, files: tuple[Path, Path]
) -> dict[str, Any]:
    """What was measured on what."""
    ties = (pairs.probabilities == pairs.probabilities.max(axis=1, keepdims=True)).sum(axis=1) > 1
    described = [
        {
            "file": sheet.file,
            **({"sheet": sheet.sheet} if sheet.sheet else {}),
            "rows": len(sheet.rows),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for sheet, path in zip((said, known), files, strict=True)
    ]
    return {
        "predictions": described[0],
        "truth": described[1],
        "images": len(pairs.truth),
        "classes": list(pairs.labels),
        "rows_matched_by": pairs.matched_by,
        "rows_with_several_highest": int(ties.sum()),
        "organisers_report": judged.report,
        "usual_report": judged.usual,
        "definitions": DEFINITIONS,
    }


def _tables(pairs: Aligned, judged: Judged, correct: NDArray[np.bool_]) -> tuple[Table, ...]:
    """Definitions side by side, classes at 0.5 and at the highest probability, sources, confusion."""
    organisers = {**judged.report, "mean_average_precision": judged.figures["mean_average_precision"]}
    compared = Table(
        "definitions",
        "The organisers' definitions and the usual ones",
        ("figure", "organisers", "usual", "difference"),
        tuple((key, organisers[key], judged.usual[key], said) for key, said in _DIFFERENCES.items()),
        "Compare entries of the challenge by the organisers' figures, anything else by the usual ones.",
    )
    classes = list(zip(pairs.labels, judged.classes, strict=True))
    half = Table(
        "classes",
        f"Classes, at a probability of at least {HALF}",
        (
            "class",
            "images",
            "AUC",
            "average precision",
            "precision",
            "recall",
            "F1",
            "specificity",
            "accuracy",
        ),
        tuple((n, c.pictures, c.auc, c.average_precision, *(c.half[k] for k in _RATES)) for n, c in classes),
        "– is not defined (0/0); the organisers' report in results.json holds 0 there.",
    )
    chosen = judged.confusion.sum(axis=0).tolist()
    highest = Table(
        "classes_highest",
        "Classes, by the highest probability",
        ("class", "images", "predicted", "precision", "recall", "F1", "specificity", "accuracy"),
        tuple(
            (n, c.pictures, times, *(c.highest[k] for k in _RATES))
            for (n, c), times in zip(classes, chosen, strict=True)
        ),
        "– is not defined (0/0).",
    )
    confusion = Table(
        "confusion",
        "Confusion matrix as numbers",
        ("truth", *pairs.labels),
        tuple((n, *row) for n, row in zip(pairs.labels, judged.confusion.tolist(), strict=True)),
        "Rows are the truth, columns the class of the highest probability.",
    )
    sources = (_sources(pairs, correct),) if pairs.sources else ()
    return (compared, half, highest, *sources, confusion)


def _sources(pairs: Aligned, correct: NDArray[np.bool_]) -> Table:
    """Accuracy of every `Dataset`."""
    rows = []
    names = np.asarray(pairs.sources)
    for name in sorted(set(pairs.sources)):
        here = names == name
        truth = pairs.truth[here]
        recalls = [float(correct[here][truth == i].mean()) for i in np.unique(truth)]
        low, high = wilson(correct[here].sum(), here.sum())
        accuracy = float(correct[here].mean())
        rows.append(
            (name, int(here.sum()), len(recalls), accuracy, float(low), float(high), float(np.mean(recalls)))
        )
    columns = ("source", "images", "classes", "accuracy", "low", "high", "balanced accuracy")
    note = (
        "By the highest probability; balanced over the classes that the source has. low and high: Wilson "
        "95 % interval of the accuracy, too narrow where images of one patient resemble each other."
    )
    return Table("sources", "Sources", columns, tuple(rows), note)


def _plots(
    pairs: Aligned, judged: Judged, highest: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[Plot, ...]:
    """Reliability, recall of every class with its interval, and the confusion matrix."""
    counts = judged.confusion.sum(axis=1)
    low, high = wilson(judged.confusion.diagonal(), counts)
    recall = bars_plot(
        "recall",
        "Recall by the highest probability",
        [f"{name} ({n:,})" for name, n in zip(pairs.labels, counts.tolist(), strict=True)],
        [c.highest["recall"] for c in judged.classes],
        low.tolist(),
        high.tolist(),
        "recall",
        "In brackets the images of the class; Wilson 95 % intervals, as if images were independent.",
    )
    return reliability_plot(highest, correct), recall, confusion_plot(judged.confusion, pairs.labels)


def _warnings(pairs: Aligned, judged: Judged) -> tuple[str, ...]:
    """Classes that the truth does not have, and what they do to the mean AUC."""
    found = []
    none = [name for name, c in zip(pairs.labels, judged.classes, strict=True) if not c.pictures]
    every = [
        name for name, c in zip(pairs.labels, judged.classes, strict=True) if c.pictures == len(pairs.truth)
    ]
    if none:
        found.append(f"the truth has no image of {_listed(none)}: AUC and recall are not defined there")
    if every:
        found.append(f"every image of the truth is {every[0]}: no AUC is defined")
    if none or every:
        usual = judged.usual["mean_auc"]
        said = f"{usual:.4f} over the other classes" if usual is not None else "not defined otherwise"
        report = judged.report["mean_auc"]
        found.append(f"an AUC that is not defined counts 0 in the organisers' mean AUC: {report:.4f}, {said}")
    return tuple(found)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
