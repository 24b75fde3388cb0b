"""Measuring a pack's frame classifier on pictures sorted by class.

Owns which label of the data means which class of the pack, and what is run. It must not know how figures are
written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from endostream.datasets import Dataset, Item
from endostream.errors import InputError
from endostream.evaluation.intervals import DRAWS, Interval
from endostream.evaluation.labels import LabelFigures, label_figures, label_intervals
from endostream.evaluation.pack_runner import PackRunner, describe_pack
from endostream.evaluation.plots import confusion_plot, reliability_plot
from endostream.evaluation.results import Cell, Results, Table
from endostream.evaluation.selection import open_items, thinned, warnings_of
from endostream.packs import Pack, find_pack, verify_pack
from endostream.types import ImageArray

__all__ = ["evaluate_classification"]

Say = Callable[[str], None]
TELL_S = 5.0
DEFAULT_MAP = {"polyp": "polyps", "no_polyp": "background"}
"""What a manifest's words mean where the pack does not have them as labels."""

Scores = NDArray[np.float32]
Truth = NDArray[np.intp]


def evaluate_classification(
    data: Path,
    layout: str = "auto",
    pack: str = "polyp",
    *,
    labels: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
    held_out: bool = False,
    sources: Sequence[str] = (),
    groups: Sequence[str] = (),
    limit: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    command: str = "",
    say: Say | None = None,
) -> Results:
    """Give the figures of a pack's first classifier on a folder of classes or a manifest.

    Parameters
    ----------
    data, layout, held_out, sources, groups, limit
        Which pictures; see `selection.open_items`.
    pack
        Name or folder.
    labels
        Label of the data to class of the pack, for those that are called differently.
    leave_out
        Labels of the data that are not evaluated.
    engine, device, precision
        What to run on.
    command
        How this was called, for the page.
    say
        Hears what takes time.

    Raises
    ------
    InputError
        The data has labels that the pack does not know, or data, pack or machine do not allow it.
    RunError
        A network failed.
    """
    spec = find_pack(pack)
    if not spec.classifiers:
        raise InputError(f"pack {spec.name} has no classifier: endostream evaluate segmentation")
    verify_pack(spec)
    known = spec.classifiers[0].labels
    dataset, items = open_items(data, layout, spec, held_out=held_out, sources=sources, groups=groups)
    wrong = sorted(set(leave_out) - {item.label for item in items})
    if wrong:
        raise InputError(f"--leave-out names {wrong[0]!r}, which is no label of the chosen pictures")
    items = [item for item in items if item.label not in leave_out]
    meaning = class_numbers(items, known, labels or {}, spec.name)
    items = thinned(items, limit)
    with PackRunner(spec, engine=engine, device=device, precision=precision, masks=False, say=say) as runner:
        found = [seen.scores for seen in runner.run(_pictures(dataset, items, say))]
        info = runner.info
    scores = np.stack([row for row in found if row is not None])
    truth = np.array([meaning[item.label] for item in items], np.intp)
    facts = {
        "pack": describe_pack(spec),
        "runs_on": info,
        "data": data.resolve().name,
        "layout": dataset.layout,
        "data_sha256": dataset.digest(items),
        "held_out": held_out,
        "pictures": len(items),
        "groups": len({item.group for item in items}),
        "limit": limit,
        "labels": {name: known[number] for name, number in sorted(meaning.items())},
        "left_out": list(leave_out),
        "intervals": f"95 %, percentile bootstrap over groups, {DRAWS} draws, seed 0",
    }
    return _results(spec, items, truth, scores, facts, command, held_out)


def class_numbers(
    items: Sequence[Item], known: Sequence[str], labels: Mapping[str, str], pack: str
) -> dict[str, int]:
    """Give the class number that every label of the data means.

    A label is looked up in `labels`, then among the pack's own, then in a manifest's usual words.

    Raises
    ------
    InputError
        Naming every label that the pack does not know, or pictures without a label.
    """
    counts = Counter(item.label for item in items)
    if not counts:
        raise InputError("no picture is left to evaluate: ask for other sources, groups or labels")
    wrong = sorted(set(labels) - set(counts))
    if wrong:
        raise InputError(f"--map names {wrong[0]!r}, which is no label of the data ({_listed(counts)})")
    if counts.get("") and "" not in labels:
        raise InputError(
            f"{counts['']} pictures have no class: name a folder of classes or a manifest with labels"
        )
    found, unknown = {}, []
    for label in sorted(counts):
        name = labels.get(label) or (label if label in known else DEFAULT_MAP.get(label, label))
        if name in known:
            found[label] = known.index(name)
        else:
            unknown.append(label if name == label or label not in labels else f"{label}={name}")
    if unknown:
        raise InputError(
            f"pack {pack} does not know {_listed(unknown)}: map them to its classes ({_listed(known)}) with "
            f"--map {unknown[0].split('=')[0]}=CLASS, or add --leave-out {unknown[0].split('=')[0]}"
        )
    return found


def _listed(names: Sequence[str] | Counter[str]) -> str:
    names = list(names)
    return ", ".join(names[:25]) + (f" and {len(names) - 25} more" if len(names) > 25 else "")


def _pictures(dataset: Dataset, items: Sequence[Item], say: Say | None) -> Iterator[tuple[int, ImageArray]]:
    told = time.monotonic()
    for number, item in enumerate(items):
        if say is not None and time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"{number} of {len(items)} pictures")
        yield number, dataset.read(item).image


def _results(
    pack: Pack,
    items: Sequence[Item],
    truth: Truth,
    scores: Scores,
    facts: dict[str, Any],
    command: str,
    held_out: bool,
) -> Results:
    model = pack.classifiers[0]
    groups = [item.group for item in items]
    found = label_figures(truth, scores, model.labels)
    intervals, recalls = label_intervals(truth, scores, groups)
    figures: dict[str, float | None] = dict(found.figures)
    for name, interval in intervals.items():
        figures[f"{name}_low"], figures[f"{name}_high"] = interval.low, interval.high
    facts = {
        **facts,
        "classes_without_pictures": list(found.undefined),
        "macro": f"over the {len(model.labels) - len(found.undefined)} classes with pictures",
        "unreliable": list(model.unreliable),
    }
    predicted = scores.argmax(axis=1)
    matrix = Table(
        "confusion",
        "Confusion matrix",
        ("truth", *model.labels),
        tuple((label, *map(int, row)) for label, row in zip(model.labels, found.matrix, strict=True)),
        "Pictures; rows are the truth, columns the class with the highest probability.",
    )
    return Results(
        kind="classification",
        title=f"Classes of pack {pack.name} {pack.version}",
        command=command,
        facts=facts,
        figures=figures,
        tables=(
            _main_table(found, intervals),
            _class_table(found, recalls, model.unreliable),
            _source_table(items, truth, scores, model.labels),
            matrix,
        ),
        plots=(
            confusion_plot(found.matrix, model.labels),
            reliability_plot(scores.max(axis=1), predicted == truth),
        ),
        warnings=_warnings(pack, items, found, held_out),
    )


def _warnings(pack: Pack, items: Sequence[Item], found: LabelFigures, held_out: bool) -> tuple[str, ...]:
    said = warnings_of(pack, items, held_out)
    if found.undefined:
        said = (*said, f"no picture of {_listed(found.undefined)}: in no macro figure")
    return said


def _main_table(found: LabelFigures, intervals: Mapping[str, Interval]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    none = Interval(None, None, "")
    for name, value in found.figures.items():
        interval = intervals.get(name, none)
        rows.append((name, value, interval.low, interval.high, interval.over or None))
    return Table(
        "figures",
        "Main figures",
        ("figure", "value", "low", "high", "interval over"),
        tuple(rows),
        "Macro figures are means over the classes that have pictures; a class that is never predicted has "
        "precision 0. AUROC: each class against the others. mAP: mean average precision. ECE: 15 bins of the "
        "highest probability. top-2: the class is among the two most probable. low and high: 95 %, by "
        "drawing groups again; AUROC, mAP and macro precision without interval.",
    )


def _class_table(found: LabelFigures, recalls: Sequence[Interval], unreliable: Sequence[str]) -> Table:
    rows = tuple(
        (c.label, c.pictures, c.predicted, c.precision, c.recall, interval.low, interval.high, c.f1,
         c.specificity, c.auroc, c.average_precision, c.label in unreliable)
        for c, interval in zip(found.classes, recalls, strict=True)
    )  # fmt: skip
    return Table(
        "classes",
        "Classes",
        ("class", "pictures", "predicted", "precision", "recall", "recall low", "recall high", "F1",
         "specificity", "AUROC", "average precision", "marked unreliable"),
        rows,
        "A class without pictures has no precision, recall, F1, AUROC or average precision; a class of "
        "one group only has no interval.",
    )  # fmt: skip


def _source_table(items: Sequence[Item], truth: Truth, scores: Scores, labels: Sequence[str]) -> Table:
    names = np.array([item.source for item in items], dtype=str)
    groups = np.array([item.group for item in items], dtype=str)
    rows: list[tuple[Cell, ...]] = []
    for name in sorted(set(names.tolist())):
        at = names == name
        found = label_figures(truth[at], scores[at], labels)
        intervals, _ = label_intervals(truth[at], scores[at], groups[at].tolist())
        row: list[Cell] = [
            name,
            int(at.sum()),
            len(set(groups[at].tolist())),
            len(labels) - len(found.undefined),
        ]
        for figure in ("accuracy", "balanced_accuracy", "f1_macro", "ece"):
            row += [found.figures[figure], intervals[figure].low, intervals[figure].high]
        rows.append((*row, intervals["accuracy"].over or None))
    return Table(
        "sources",
        "Sources",
        ("source", "pictures", "groups", "classes", "accuracy", "low", "high", "balanced accuracy",
         "balanced low", "balanced high", "macro F1", "F1 low", "F1 high", "ECE", "ECE low", "ECE high",
         "interval over"),
        tuple(rows),
        "Balanced accuracy and macro F1 over the classes that the source has.",
    )  # fmt: skip
