"""What int8 costs a pack: both precisions over the same pictures, and the proof that lets int8 be used.

Owns what is compared with what, and the tables of it. It must not know how networks are quantised or what a
proof is bound to.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from endostream.datasets import Dataset, Item, free_box
from endostream.engines import int8, openvino_engine, proof
from endostream.errors import InputError
from endostream.evaluation.masks import Counts, count_pixels
from endostream.evaluation.pack_runner import PackRunner, describe_pack
from endostream.evaluation.results import Cell, Results, Table
from endostream.evaluation.selection import open_items, warnings_of
from endostream.packs import ModelSpec, Pack, find_pack, verify_pack
from endostream.types import ImageArray, MaskArray

__all__ = ["evaluate_int8", "spoken"]

Say = Callable[[str], None]
TELL_S = 5.0
CROP_SHARE = (0.5, 0.71)
CROP_MARGIN = 0.06
MASKS_HELD = ("dice_fp32", "dice_int8")


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A picture on its way through the pack."""

    source: str
    truth: MaskArray | None
    """bool[H, W], where the picture shows something to outline."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one precision made of one picture."""

    source: str
    top: int | None
    """Most probable class of the acting classifier."""
    scores: tuple[float, ...]
    counts: Counts | None
    """Pixels, where the picture has a truth."""


def evaluate_int8(
    data: Path,
    layout: str = "auto",
    pack: str = "polyp",
    *,
    held_out: bool = False,
    sources: Sequence[str] = (),
    groups: Sequence[str] = (),
    limit: int | None = None,
    command: str = "",
    say: Say | None = None,
) -> Results:
    """Give what int8 costs each network of a pack, and keep it beside the compiled networks.

    Masks are compared by mean Dice over the pictures with a truth, the acting classifier by its most probable
    class over all pictures and one polyp-free crop of each picture with a polyp. Where the loss of Dice is at
    most 0.01 and 99 % of the classes agree, over 100 pictures or more, `--precision int8` is offered from
    then on; where not, it is refused.

    Parameters
    ----------
    data, layout, held_out, sources, groups, limit
        Which pictures; see `selection.open_items`.
    pack
        Name or folder.
    command
        How this was called, for the page and the proof.
    say
        Hears what takes time.

    Raises
    ------
    InputError
        The data, the pack or the machine does not allow it.
    RunError
        A network failed, or the proof cannot be written.
    """
    spec = find_pack(pack)
    verify_pack(spec)
    if not openvino_engine.available():
        raise InputError("int8 runs with OpenVINO only; install openvino")
    if not int8.installed():
        raise InputError(f"measuring int8 needs NNCF: {int8.INSTALL}")
    dataset, items = open_items(
        data, layout, spec, held_out=held_out, sources=sources, groups=groups, limit=limit
    )
    if not items:
        raise InputError("no picture is left to evaluate: ask for other sources or groups")
    full = _judge(spec, "fp32", dataset, items, say)
    small = _judge(spec, "int8", dataset, items, say)
    measured = {m.name: _compared(m, spec, full, small) for m in spec.models}
    measured = {name: found for name, found in measured.items() if found}
    about = {"openvino": openvino_engine.version(), "rest": openvino_engine.others(), "command": command}
    nncf = int8.installed()
    for model in spec.models:
        # Fewer would push aside what a pack came with.
        if measured.get(model.name, {}).get("pictures", 0) >= proof.LEAST_PICTURES:
            proof.write(spec, model, nncf, {**measured[model.name], **about})
    facts = {
        "pack": describe_pack(spec),
        "data": data.resolve().name,
        "layout": dataset.layout,
        "data_sha256": dataset.digest(items),
        "held_out": held_out,
        "pictures": len(items),
        "sample": str(spec.sample),
        "nncf": nncf,
        **about,
    }
    warnings = warnings_of(spec, items, held_out) + _missing(spec, measured)
    return _results(spec, measured, (full, small), facts, command, warnings)


def _judge(
    pack: Pack, precision: str, dataset: Dataset, items: Sequence[Item], say: Say | None
) -> list[_Judged]:
    found = []
    with PackRunner(pack, engine="openvino", device="cpu", precision=precision, say=say) as runner:
        for seen in runner.run(_pictures(dataset, items, precision, say)):
            truth, scores = seen.key.truth, seen.scores
            counts = None if truth is None or seen.mask is None else count_pixels(truth, seen.mask)
            top = None if scores is None else int(scores.argmax())
            listed = () if scores is None else tuple(map(float, scores))
            found.append(_Judged(seen.key.source, top, listed, counts))
    return found


def _pictures(
    dataset: Dataset, items: Sequence[Item], precision: str, say: Say | None
) -> Iterator[tuple[_Asked, ImageArray]]:
    """Every picture whole and, after one with a mask, a crop that misses it: polyp-free pictures are rare."""
    told = time.monotonic()
    for number, item in enumerate(items):
        if say is not None and time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"{number} of {len(items)} pictures in {precision}")
        read = dataset.read(item)
        if read.mask is None or not read.mask.any():
            yield _Asked(item.source, None), read.image
            continue
        yield _Asked(item.source, read.mask > 0), read.image
        rng = np.random.default_rng([0, zlib.crc32(item.image.encode())])
        box = free_box(read.mask, rng, CROP_SHARE, CROP_MARGIN)
        if box is not None:
            x0, y0, x1, y1 = box
            yield _Asked(item.source, None), np.ascontiguousarray(read.image[y0:y1, x0:x1])


def _compared(
    model: ModelSpec, pack: Pack, full: Sequence[_Judged], small: Sequence[_Judged]
) -> dict[str, Any]:
    """The figures of one network; empty where nothing here measures it."""
    if model.role == "segmenter":
        before, after = _dice(full), _dice(small)
        if not len(before):
            return {}
        loss = float(before.mean() - after.mean())
        values = (float(before.mean()), float(after.mean()))
        return dict(zip(MASKS_HELD, (round(v, 6) for v in values), strict=True)) | {
            "dice_loss": round(loss, 6),
            "pictures": len(before),
        }
    if model is not pack.classifiers[0]:
        return {}
    changed = np.array([a.top != b.top for a, b in zip(full, small, strict=True)])
    moved = np.abs(np.array([j.scores for j in full]) - np.array([j.scores for j in small])).max(axis=1)
    return {
        "top1_agreement": round(float(1 - changed.mean()), 6),
        "top1_change": round(float(changed.mean()), 6),
        "score_moved_mean": round(float(moved.mean()), 6),
        "score_moved_p99": round(float(np.quantile(moved, 0.99)), 6),
        "classes_seen": len({j.top for j in full}),
        "pictures": len(changed),
    }


def _dice(judged: Sequence[_Judged]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([j.counts.dice for j in judged if j.counts is not None], np.float64)


def _missing(pack: Pack, measured: dict[str, Any]) -> tuple[str, ...]:
    said = []
    for model in pack.models:
        count = measured.get(model.name, {"pictures": 0})["pictures"]
        if count < proof.LEAST_PICTURES:
            kind = "pictures with masks" if model.role == "segmenter" else "pictures"
            least = proof.LEAST_PICTURES
            said.append(f"{model.name}: {count} {kind} are too few to prove int8; name at least {least}")
    return tuple(said)


def spoken(results: Results, pack: str) -> tuple[str, ...]:
    """What to tell who asked: one line per network and what to do."""
    verdicts = next(t for t in results.tables if t.name == "networks").rows
    stays = f"int8 does not hold, it stays in {results.facts['rest']}"
    lines = [f"{row[0]}: {'int8 holds' if row[-1] else stays}" for row in verdicts]
    if any(row[-1] for row in verdicts):
        lines.append(f"offered from now on: endostream analyze … --pack {pack} --precision int8")
    return tuple(lines)


def _results(
    pack: Pack,
    measured: dict[str, dict[str, Any]],
    judged: tuple[list[_Judged], list[_Judged]],
    facts: dict[str, Any],
    command: str,
    warnings: tuple[str, ...],
) -> Results:
    rows: list[tuple[Cell, ...]] = []
    figures: dict[str, float | None] = {}
    for model in pack.models:
        found = measured.get(model.name, {})
        name, limit = proof.LIMITS[model.role]
        rows.append(
            (model.name, model.role, name, found.get(name), limit, found.get("pictures", 0),
             bool(found) and proof.holds(model, found))
        )  # fmt: skip
        figures |= {k: v for k, v in found.items() if k not in ("pictures", "classes_seen")}
    networks = Table(
        "networks",
        "Networks",
        ("network", "role", "figure", "value", "at most", "pictures", "holds"),
        tuple(rows),
        "Against fp32 on the same pictures. dice_loss: mean Dice over the pictures with a mask, fp32 minus "
        "int8. top1_change: share of the pictures and crops with another most probable class.",
    )
    return Results(
        kind="int8",
        title=f"int8 of pack {pack.name} {pack.version}",
        command=command,
        facts=facts,
        figures=figures,
        tables=(networks, _source_table(*judged)),
        warnings=warnings,
    )


def _source_table(full: Sequence[_Judged], small: Sequence[_Judged]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for source in sorted({j.source for j in full}):
        pairs = [(a, b) for a, b in zip(full, small, strict=True) if a.source == source]
        before, after = (_dice([pair[side] for pair in pairs]) for side in (0, 1))
        changed = sum(a.top != b.top for a, b in pairs)
        dices = (float(before.mean()), float(after.mean())) if len(before) else (None, None)
        rows.append((source, len(pairs), changed, len(before), *dices))
    return Table(
        "sources",
        "Sources",
        ("source", "pictures and crops", "other class", "with a mask", "Dice fp32", "Dice int8"),
        tuple(rows),
    )
