"""Training, validation and test pictures of the published networks' runs.

Owns the draw and what the run record says of it. It must not know networks or loops.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import random_split

from endostream.datasets import Dataset, Item, grouped, shared
from endostream.errors import InputError
from endostream.training.recipes import Partition

__all__ = ["Parts", "divided"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The items of a run."""

    train: list[Item]
    """To learn from."""
    validation: list[Item]
    """To choose the epoch with."""
    test: list[Item]
    """To measure once; the validation items where no test was asked for."""
    record: dict[str, Any]
    """What the run record says: counts, groups, near-duplicates on both sides."""


def divided(dataset: Dataset, how: Partition) -> Parts:
    """Give the three parts of a data set.

    Pictures of unknown groups are grouped by near-duplicates first. The method `pictures` ignores groups; the
    record then counts the held-out pictures with a near-duplicate, or a frame of their group, in training.
    """
    dataset = grouped(dataset)
    if how.method == "pictures":
        parts = _by_picture(dataset.items, how)
    elif how.method == "groups":
        parts = _by_group(dataset.items, how)
    else:
        raise InputError(f"unknown method {how.method!r} in [partition]: one of groups, pictures")
    for name, part in zip(("training", "validation"), parts, strict=False):
        if not part:
            raise InputError(f"[partition] leaves no picture for {name}: give more pictures or other shares")
    train, validation, test = parts
    record = {
        "method": how.method,
        "seed": how.seed,
        "train": len(train),
        "validation": len(validation),
        "test": len(test),
        "groups": len({item.group for item in dataset.items}),
        "grouped_by": "names of sequences, centres or the manifest; near-duplicates (difference hash and "
        "coarse colours) where these are unknown",
        "validation_shared_with_training": shared(train, validation),
        "test_shared_with_training": shared(train, test),
    }
    return Parts(train, validation, test or validation, record)


def _by_picture(items: tuple[Item, ...], how: Partition) -> tuple[list[Item], list[Item], list[Item]]:
    """Draw as the published notebook does: torch's random_split over classes and names sorted."""
    held = [int(len(items) * share) for share in (how.validation, how.test)]
    counts = [len(items) - sum(held), *held]
    generator = torch.Generator().manual_seed(how.seed)
    chosen: list[Any] = random_split(cast(Any, range(len(items))), counts, generator)
    train, validation, test = ([items[number] for number in part.indices] for part in chosen)
    return train, validation, test


def _by_group(items: tuple[Item, ...], how: Partition) -> tuple[list[Item], list[Item], list[Item]]:
    held = set(how.held)
    unknown = held - {item.group for item in items}
    if unknown:
        raise InputError(f"[partition] names group {min(unknown)!r}, which the data does not have")
    test = [item for item in items if item.group in held]
    rest = [item for item in items if item.group not in held]
    if not held and how.test:
        rest, test = _fold(rest, how.test, how.seed)
    train, validation = _fold(rest, how.validation / (1 - (0.0 if held else how.test)), how.seed + 1)
    return train, validation, test


def _fold(items: list[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Give the rest and about a share of the items, groups whole and classes in like shares."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [item.group for item in items]
    count = min(max(2, round(1 / share)), len(set(groups)))
    if count < 2:
        raise InputError("all pictures are one group: they cannot be divided into training and validation")
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Classes with fewer pictures than folds are missing in some: the run record counts them.
        warnings.simplefilter("ignore", UserWarning)
        rest, part = next(folds.split(groups, [item.label for item in items], groups))
    return [items[number] for number in rest], [items[number] for number in part]
