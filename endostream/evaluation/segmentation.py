"""Measuring a pack's masks and frame score on pictures with masks.

Owns what is run on what: whole frames, polyp-free crops of them, with and without the gate. The pack is read
and run by the app's own parts. It must not know how figures are written.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from endostream.datasets import Dataset, Item, free_box
from endostream.errors import InputError
from endostream.evaluation.failures import WorstPictures, write_contact_sheet
from endostream.evaluation.intervals import DRAWS
from endostream.evaluation.mask_tables import mask_figures, mask_tables, score_figures, score_table
from endostream.evaluation.masks import FALSE_MASK, Judged, count_pixels
from endostream.evaluation.pack_runner import PackRunner, Seen, describe_pack
from endostream.evaluation.plots import bars_plot, reliability_plot
from endostream.evaluation.results import Plot, Results, Table
from endostream.evaluation.selection import open_items, warnings_of
from endostream.packs import Pack, find_pack, verify_pack
from endostream.types import FloatArray, ImageArray, MaskArray

__all__ = ["evaluate_segmentation"]

Say = Callable[[str], None]
CROP_SHARE = (0.5, 0.71)
CROP_MARGIN = 0.06
SEED = 0
TELL_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A picture on its way through the pack."""

    item: Item
    kind: str
    image: ImageArray
    truth: MaskArray


def evaluate_segmentation(
    data: Path,
    layout: str = "auto",
    pack: str = "polyp",
    *,
    held_out: bool = False,
    sources: Sequence[str] = (),
    groups: Sequence[str] = (),
    crops: int | bool = True,
    limit: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    gate: Literal["pack", "open"] = "pack",
    failures: Path | None = None,
    worst: int = 12,
    command: str = "",
    say: Say | None = None,
) -> Results:
    """Give the figures of a pack's masks and frame score on a folder of pictures with masks.

    Parameters
    ----------
    data, layout, held_out, sources, groups, limit
        Which pictures; see `selection.open_items`.
    pack
        Name or folder.
    crops
        Polyp-free square crops per polyp frame.
    engine, device, precision
        What to run on.
    gate
        `pack` gives every figure without and behind the pack's gate, `open` without it only.
    failures
        Where to write a contact sheet of the `worst` pictures of either kind (PNG).
    command
        How this was called, for the page.
    say
        Hears what takes time.

    Raises
    ------
    InputError
        The data, the pack or the machine does not allow it.
    RunError
        A network failed or the contact sheet cannot be written.
    """
    spec = find_pack(pack)
    if spec.segmenter is None:
        raise InputError(f"pack {spec.name} draws no masks: endostream evaluate classification")
    verify_pack(spec)
    dataset, items = open_items(
        data, layout, spec, held_out=held_out, sources=sources, groups=groups, limit=limit
    )
    _check(items)
    kept = WorstPictures(worst if failures is not None else 0)
    with PackRunner(spec, engine=engine, device=device, precision=precision, say=say) as runner:
        judged = _judge(spec, runner, _pictures(dataset, items, int(crops), say), kept)
        info = runner.info
    if failures is not None:
        write_contact_sheet(failures, kept.failures())
    facts = {
        "pack": describe_pack(spec),
        "runs_on": info,
        "data": data.resolve().name,
        "layout": dataset.layout,
        "data_sha256": dataset.digest(items),
        "held_out": held_out,
        **_counts(judged, items),
        "limit": limit,
        "crops_per_frame": int(crops),
        "crop": "square, side 0.5 to 0.71 of the geometric mean of the frame's sides, missing every polyp by "
        "6 % of its side, one random place per frame, seeded by the picture's name",
        "false_mask_over": FALSE_MASK,
        "intervals": f"95 %, percentile bootstrap over groups, {DRAWS} draws, seed 0",
    }
    return _results(spec, judged, facts, gate == "pack", command, warnings_of(spec, items, held_out))


def _check(items: Sequence[Item]) -> None:
    if not items:
        raise InputError("no picture is left to evaluate: ask for other sources or groups")
    bare = [i for i in items if not i.mask and i.organ == "colon" and i.label != "no_polyp"]
    if bare:
        raise InputError(
            f"{len(bare)} pictures have no mask, the first is {bare[0].image}: "
            "name a folder with masks, or use endostream evaluate classification"
        )


def _pictures(
    dataset: Dataset, items: Sequence[Item], crops: int, say: Say | None
) -> Iterator[tuple[_Asked, ImageArray]]:
    """Every picture whole and, after each one with a polyp, its polyp-free crops."""
    told = time.monotonic()
    for number, item in enumerate(items):
        if say is not None and time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"{number} of {len(items)} pictures")
        read = dataset.read(item)
        mask = read.mask if read.mask is not None else np.zeros(read.image.shape[:2], np.uint8)
        truth = mask > 0
        kind = "other" if item.organ == "other" else "polyp" if truth.any() else "empty"
        yield _Asked(item, kind, read.image, truth), read.image
        if kind != "polyp":
            continue
        rng = np.random.default_rng([SEED, zlib.crc32(item.image.encode())])
        for _ in range(crops):
            box = free_box(mask, rng, CROP_SHARE, CROP_MARGIN)
            if box is not None:
                x0, y0, x1, y1 = box
                cut = np.ascontiguousarray(read.image[y0:y1, x0:x1])
                yield _Asked(item, "crop", cut, truth[y0:y1, x0:x1]), cut


def _judge(
    pack: Pack, runner: PackRunner, pictures: Iterator[tuple[_Asked, ImageArray]], kept: WorstPictures
) -> list[Judged]:
    at = polyp_classes(pack)
    judged = []
    for seen in runner.run(pictures):
        asked = seen.key
        assert seen.mask is not None
        found = Judged(
            name=Path(asked.item.image).name,
            source=asked.item.source,
            group=asked.item.group,
            kind=asked.kind,
            score=polyp_score(seen.scores, at),
            gated=seen.gated,
            counts=count_pixels(asked.truth, seen.mask),
        )
        judged.append(found)
        _keep(kept, seen, found)
    return judged


def _keep(kept: WorstPictures, seen: Seen[_Asked], found: Judged) -> None:
    assert seen.mask is not None
    dice = found.counts.dice
    area = found.counts.found / found.counts.area
    said = f"mask {100 * area:.1f} %" if dice is None else f"Dice {dice:.2f}"
    score = "" if found.score is None else f", score {found.score:.2f}"
    name = f"{found.name} {'(crop)' if found.kind == 'crop' else ''}".strip()
    badness = area if dice is None else 1.0 - dice
    shut = "" if found.gated else ", gate shut"
    kept.look(seen.key.image, seen.key.truth, seen.mask, name, badness, f"{said}{score}{shut}")


def polyp_classes(pack: Pack) -> tuple[int, ...]:
    """The classes of the first classifier that stand for what the segmenter outlines.

    Those that open the gate, else those that bear the segmenter's labels, else all but the background.
    """
    if not pack.classifiers:
        return ()
    first = pack.classifiers[0]
    outlined = pack.segmenter.labels if pack.segmenter else ()
    wanted = set(pack.gate.labels) or set(outlined) & set(first.labels)
    wanted = wanted or set(first.labels) - set(first.background)
    return tuple(i for i, label in enumerate(first.labels) if label in wanted)


def polyp_score(scores: FloatArray | None, at: tuple[int, ...]) -> float | None:
    """The probability of these classes together; None without a classifier."""
    return min(1.0, float(scores[list(at)].sum())) if scores is not None and at else None


def _counts(judged: Sequence[Judged], items: Sequence[Item]) -> dict[str, Any]:
    kinds = ("polyp", "crop", "empty", "other")
    polyps = [item for item in judged if item.kind == "polyp"]
    return {
        "pictures": len(items),
        "groups": len({item.group for item in items}),
        "kinds": {kind: sum(item.kind == kind for item in judged) for kind in kinds},
        "polyp_pictures_without_mask": sum(not item.counts.found for item in polyps),
        "polyp_pictures_without_mask_behind_gate": sum(not i.pixels(True).found for i in polyps),
    }


def _results(
    pack: Pack,
    judged: list[Judged],
    facts: dict[str, Any],
    gates: bool,
    command: str,
    warnings: tuple[str, ...],
) -> Results:
    at = polyp_classes(pack)
    opens = pack.thresholds.open
    if at:
        by_label = pack.thresholds.labels.get(pack.classifiers[0].labels[at[0]], {})
        opens = float(by_label.get("open", opens))
    scores, presences = score_figures(judged, opens)
    figures = mask_figures(judged, gates) | scores
    tables = list(mask_tables(judged, gates, opens))
    if presences:
        tables.insert(3, score_table(presences, opens))
    first = ("dice", "gated_false_mask_free_crops", "auroc_free_crops", "ece_free_crops")
    ordered = {name: figures[name] for name in first if name in figures} | figures
    return Results(
        kind="segmentation",
        title=f"Masks of pack {pack.name} {pack.version}",
        command=command,
        facts=facts,
        figures=ordered,
        tables=tuple(tables),
        plots=_plots(judged, tables[0]),
        warnings=warnings,
    )


def _plots(judged: Sequence[Judged], sources: Table) -> tuple[Plot, ...]:
    labels = [f"{row[0]}, gate {row[1]}" for row in sources.rows]
    values, low, high = ([_number(row[column]) for row in sources.rows] for column in (4, 5, 6))
    note = "Mean Dice over pictures with its 95 % interval by groups."
    plots = [bars_plot("dice", "Dice by source", labels, values, low, high, "Dice", note)] if labels else []
    scored = [(i.score, i.kind == "polyp") for i in judged if i.score is not None]
    if scored:
        chosen, truth = zip(*scored, strict=True)
        plots.append(reliability_plot(np.array(chosen), np.array(truth)))
    return tuple(plots)


def _number(cell: object) -> float | None:
    return float(cell) if isinstance(cell, int | float) else None
