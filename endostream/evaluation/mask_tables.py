"""From judged pictures to the figures and tables of a segmentation's page.

Owns names, columns and notes. It must not know packs, data sets or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from endostream.evaluation.intervals import Interval
from endostream.evaluation.masks import SIZES, Judged, Overlap, Presence, overlap, presence, share, size_of
from endostream.evaluation.results import Cell, Table

__all__ = ["KINDS", "mask_figures", "mask_tables", "score_figures", "score_table"]

KINDS = {
    "crop": ("free_crops", "polyp-free crops"),
    "empty": ("empty", "frames without a polyp"),
    "other": ("other", "another organ"),
}
"""Kinds of polyp-free picture: their name in figures and in tables."""
ALL = "all"

Row = tuple[Cell, ...]


def _gates(both: bool) -> tuple[tuple[bool, str, str], ...]:
    """Whether the gate acts, the figures' prefix, the tables' word."""
    without = (False, "", "open")
    return (without, (True, "gated_", "pack")) if both else (without,)


def _by_source(items: Sequence[Judged]) -> dict[str, list[Judged]]:
    """The items of every source by its name, and all of them at the end, where there are several."""
    found: dict[str, list[Judged]] = {}
    for item in items:
        found.setdefault(item.source, []).append(item)
    ordered = {name: found[name] for name in sorted(found)}
    return ordered if len(ordered) == 1 else {**ordered, ALL: list(items)}


def mask_figures(items: Sequence[Judged], gates: bool) -> dict[str, float | None]:
    """Give the figures of the masks without the gate and, with `gates`, behind it."""
    figures: dict[str, float | None] = {}
    for gate, prefix, _ in _gates(gates):
        for source, part in _by_source([item for item in items if item.kind == "polyp"]).items():
            found = overlap(part, gate)
            figures[f"{prefix}dice_{source}"] = found.dice
        found = overlap(items, gate)
        pooled = found.pooled
        own: dict[str, float | None] = {
            "dice": found.dice,
            "dice_low": found.dice_interval.low,
            "dice_high": found.dice_interval.high,
            "iou": found.iou,
            "precision": found.precision,
            "recall": found.recall,
            "missed": found.missed,
            "dice_pooled": pooled.dice,
            "iou_pooled": pooled.iou,
            "precision_pooled": pooled.precision,
            "recall_pooled": pooled.recall,
        }
        figures.pop(f"{prefix}dice_{ALL}", None)
        figures |= {f"{prefix}{name}": value for name, value in own.items()}
        for kind, (name, _) in KINDS.items():
            chosen = [item for item in items if item.kind == kind]
            if chosen:
                false = share([i.pixels(gate).false_mask for i in chosen], [i.group for i in chosen])
                figures[f"{prefix}false_mask_{name}"] = false.value
    return figures


def mask_tables(items: Sequence[Judged], gates: bool, opens: float) -> tuple[Table, ...]:
    """Give the tables of overlap by source and by size, of false masks, and of every picture."""
    polyps = [item for item in items if item.kind == "polyp"]
    rows = _rows(_by_source(polyps), gates, _overlap_row)
    sources = Table(
        "sources",
        "Overlap by source",
        ("source", "gate", "pictures", "groups", "Dice", "low", "high", "IoU", "IoU low", "IoU high",
         "precision", "recall", "missed", "Dice pooled", "pooled low", "pooled high", "interval over"),
        rows,
        "Pictures with a polyp, at the mask's own size. Dice, IoU and recall are means over pictures, 0 "
        "where the pack drew nothing; precision is the mean over the pictures that got a mask; missed: share "
        "whose mask does not touch the polyp; pooled: pixels of all pictures together. low and high: 95 %, "
        "by drawing groups again (pictures where a source has one group only: such an interval says nothing "
        "about another group). gate open: every picture is segmented, as in a folder of pictures; gate pack: "
        "only where the frame score opens the pack's gate and the frame can be judged.",
    )  # fmt: skip
    by_size = {size: [item for item in polyps if size_of(item.counts) == size] for size in SIZES}
    sizes = Table(
        "sizes",
        "Overlap by size of the polyp",
        ("area of the picture", "gate", "pictures", "groups", "Dice", "low", "high", "recall", "missed"),
        _rows(by_size, gates, _size_row),
        "Area of the truth as a share of the picture. A picture with several polyps counts by their sum.",
    )
    return sources, sizes, _false_table(items, gates, opens), _pictures(items)


def _rows(
    parts: dict[str, list[Judged]], gates: bool, row: Callable[[str, str, Overlap], Row]
) -> tuple[Row, ...]:
    return tuple(
        row(name, said, overlap(part, gate))
        for gate, _, said in _gates(gates)
        for name, part in parts.items()
        if part
    )


def _overlap_row(name: str, gate: str, found: Overlap) -> Row:
    return (
        name, gate, found.pictures, found.groups, found.dice, *_limits(found.dice_interval), found.iou,
        *_limits(found.iou_interval), found.precision, found.recall, found.missed, found.pooled.dice,
        *_limits(found.pooled_interval), found.dice_interval.over or None,
    )  # fmt: skip


def _size_row(name: str, gate: str, found: Overlap) -> Row:
    limits = _limits(found.dice_interval)
    return (name, gate, found.pictures, found.groups, found.dice, *limits, found.recall, found.missed)


def _limits(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


def _false_table(items: Sequence[Judged], gates: bool, opens: float) -> Table:
    rows: list[Row] = []
    for kind, (_, said) in KINDS.items():
        for source, part in _by_source([item for item in items if item.kind == kind]).items():
            groups = [item.group for item in part]
            row: list[Cell] = [said, source, len(part), len(set(groups))]
            for gate, _, _ in _gates(gates):
                false = share([item.pixels(gate).false_mask for item in part], groups)
                row += [false.value, *_limits(false.interval)]
            scored = [item.score for item in part if item.score is not None]
            over = share([s >= opens for s in scored], groups) if len(scored) == len(part) else None
            row += [over.value, *_limits(over.interval)] if over else [None, None, None]
            rows.append(tuple(row))
    behind = ("false mask, gate pack", "gated low", "gated high") if gates else ()
    return Table(
        "false_masks",
        "False masks on polyp-free pictures",
        ("picture", "source", "pictures", "groups", "false mask", "low", "high", *behind, "score opens",
         "opens low", "opens high"),
        tuple(rows),
        "false mask: share of the pictures whose mask covers more than 0.2 % of the area. score opens: share "
        f"with a frame score of at least {opens:g}, at which the pack would open a finding. Single pictures, "
        "no smoothing, no hold-off.",
    )  # fmt: skip


def _pictures(items: Sequence[Judged]) -> Table:
    rows = []
    for item in items:
        pixels, gated = item.counts, item.pixels(True)
        area = pixels.truth / pixels.area
        rows.append((item.name, item.kind, item.source, item.group, item.score, item.gated, area,
                     pixels.found / pixels.area, pixels.dice, gated.dice, pixels.iou, pixels.precision,
                     pixels.recall))  # fmt: skip
    return Table(
        "pictures",
        "Every picture",
        ("picture", "kind", "source", "group", "score", "gate opens", "truth area", "mask area", "Dice",
         "Dice behind the gate", "IoU", "precision", "recall"),
        tuple(rows),
        "Areas as shares of the picture. No Dice where the truth is empty.",
    )  # fmt: skip


def score_figures(
    items: Sequence[Judged], opens: float
) -> tuple[dict[str, float | None], dict[str, Presence]]:
    """Give the figures of the frame score, and what they were taken from by name."""
    polyps = [item for item in items if item.kind == "polyp"]
    others = [item for item in items if item.kind != "polyp"]
    crops = [item for item in others if item.kind == "crop"]
    sets: dict[str, list[Judged]] = {}
    if crops:
        for source, part in _by_source(polyps + crops).items():
            sets[source] = part
        sets[ALL] = polyps + crops
    if len(others) > len(crops):
        sets["every negative"] = polyps + others
    found = {name: value for name, part in sets.items() if (value := presence(part, opens))}
    figures: dict[str, float | None] = {}
    for name, suffix in ((ALL, "_free_crops"), ("every negative", "_all")):
        if name in found:
            seen = found[name]
            figures[f"auroc{suffix}"] = seen.auroc
            figures[f"auroc{suffix}_low"], figures[f"auroc{suffix}_high"] = _limits(seen.auroc_interval)
            figures[f"average_precision{suffix}"] = seen.precision
            figures[f"ece{suffix}"] = seen.ece
            figures["sensitivity_open"] = seen.sensitivity
    for kind, (name, _) in KINDS.items():
        scores = [item.score for item in items if item.kind == kind and item.score is not None]
        if scores:
            figures[f"false_open_{name}"] = sum(score >= opens for score in scores) / len(scores)
    return figures, found


def score_table(found: dict[str, Presence], opens: float) -> Table:
    """Give the table of the frame score."""
    rows = tuple(
        (
            name, seen.polyps, seen.others, seen.auroc, *_limits(seen.auroc_interval), seen.precision,
            *_limits(seen.precision_interval), seen.ece, *_limits(seen.ece_interval), seen.sensitivity,
            *_limits(seen.sensitivity_interval), seen.auroc_interval.over or None,
        )
        for name, seen in found.items()
    )  # fmt: skip
    return Table(
        "scores",
        "Frame score",
        ("source", "polyp frames", "polyp-free pictures", "AUROC", "low", "high", "average precision",
         "AP low", "AP high", "ECE", "ECE low", "ECE high", "sensitivity", "sensitivity low",
         "sensitivity high", "interval over"),
        rows,
        "Whole polyp frames against polyp-free crops of them; `every negative` adds the frames without a "
        "polyp and those of another organ. ECE: 15 bins of the polyp's probability. Average precision and "
        f"ECE depend on the share of polyp frames. sensitivity: share of the polyp frames at {opens:g} or "
        "more, the pack's opening threshold, without smoothing.",
    )  # fmt: skip
