"""Which pictures of a data folder an evaluation looks at.

Owns filters, the held-out part that a pack names, and the even thinning of `--limit`. It must not know
figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from endostream.datasets import Dataset, Item, grouped, open_dataset, split
from endostream.errors import InputError
from endostream.packs import Pack

__all__ = ["held_out_items", "open_items", "thinned", "warnings_of"]


def open_items(
    data: Path,
    layout: str,
    pack: Pack,
    *,
    held_out: bool = False,
    sources: Sequence[str] = (),
    groups: Sequence[str] = (),
    limit: int | None = None,
) -> tuple[Dataset, list[Item]]:
    """Give the data set and the chosen items, in its order.

    Parameters
    ----------
    data, layout
        See `open_dataset`. Near-duplicates of unknown groups are put into one group.
    pack
        Names what was held out.
    held_out
        Only the groups that the pack's training held out.
    sources, groups
        Only these; empty takes all.
    limit
        At most so many, evenly spread over the chosen ones.

    Raises
    ------
    InputError
        The folder, the filter or the pack does not allow it; one line says why.
    """
    dataset = grouped(open_dataset(data, layout))
    items = held_out_items(pack, dataset.items) if held_out else list(dataset.items)
    items = _only(items, "source", sources)
    items = _only(items, "group", groups)
    return dataset, thinned(items, limit)


def thinned(items: list[Item], limit: int | None) -> list[Item]:
    """Give at most `limit` of the items, evenly spread over their order."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def held_out_items(pack: Pack, items: Sequence[Item]) -> list[Item]:
    """Give the items of the groups that the pack's training held out: the same split as training made."""
    data = pack.details.get("data", {})
    groups = tuple(data.get("held_out_groups", ()))
    share, sources = float(data.get("held_out_share", 0.0)), tuple(data.get("held_out_share_of", ()))
    if not groups and not (share and sources):
        raise InputError(f"pack {pack.name} does not say what its training held out: leave out --held-out")
    held = split(items, groups, share, sources, _seed(pack))[1]
    if not held:
        raise InputError(f"no picture is in a group that pack {pack.name} held out: leave out --held-out")
    return held


def _seed(pack: Pack) -> int:
    """The seed of the training's split: stated in `data`, else that of the runs."""
    training: Mapping[str, Any] = pack.details.get("training", {})
    places = (pack.details.get("data", {}), training, *(training.get(m.role, {}) for m in pack.models))
    return int(next((place["seed"] for place in places if "seed" in place), 0))


def needs_held_out(pack: Pack, items: Sequence[Item]) -> bool:
    """Whether some of the pictures look like those that the pack was trained on: its figures would flatter.

    The data holds groups that the training held out by name, or sources of which it held out a share; what it
    did not hold out of them it was trained on.
    """
    data = pack.details.get("data", {})
    named, sources = set(data.get("held_out_groups", ())), set(data.get("held_out_share_of", ()))
    trained = {group.split(":")[0] for group in named} | sources
    return any(item.source in trained for item in items)


def _only(items: list[Item], what: str, wanted: Sequence[str]) -> list[Item]:
    known = sorted({getattr(item, what) for item in items})
    for name in wanted:
        if name not in known:
            shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            raise InputError(f"no picture of {what} {name!r}: the data has {shown}")
    return [item for item in items if not wanted or getattr(item, what) in wanted]


def warnings_of(pack: Pack, items: Sequence[Item], held_out: bool) -> tuple[str, ...]:
    """Give what a reader of a pack's figures on these items must be told first."""
    found = [pack.site_note] if pack.site_note else []
    if not held_out and needs_held_out(pack, items):
        found.append(
            f"some of these pictures are of sources that pack {pack.name} was trained on: its figures are "
            "flattering unless none of them was; --held-out takes only what the training held out"
        )
    if held_out and any(name in pack.details.get("metrics", {}) for name in ("temperature", "shift")):
        found.append("the frame score was calibrated on the held-out pictures: their ECE is a fit's own")
    return tuple(found)
