"""Rates, optimisers and the order of the samples.

Owns these three, as pure functions of the step: a resumed run is the same run. It must not know data, tasks
or logs.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from endostream.errors import InputError
from endostream.training.settings import Schedule

__all__ = ["Order", "optimizer_for", "rate_at", "settled"]

UNDECAYED = ("cls_token", "pos_embed")


def settled(schedule: Schedule, size: int) -> Schedule:
    """Give the schedule with its steps counted: `epochs` times over `size` samples."""
    if not schedule.epochs:
        return schedule
    return dataclasses.replace(schedule, steps=schedule.epochs * steps_per_epoch(schedule, size))


def steps_per_epoch(schedule: Schedule, size: int) -> int:
    """Give the steps of one epoch; its last batch may be smaller."""
    return max(1, math.ceil(size / schedule.batch))


def rate_at(step: int, schedule: Schedule) -> float:
    """Give the learning rate of a step: linear warm-up, then a hold and a cosine to zero, or milestones."""
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    if schedule.curve == "steps":
        epoch = step * schedule.epochs // max(1, schedule.steps)
        return float(schedule.rate * 0.1 ** sum(epoch >= stone for stone in schedule.milestones))
    start = max(schedule.warmup, int(schedule.hold * schedule.steps))
    if step < start:
        return schedule.rate
    part = min(1.0, (step - start) / max(1, schedule.steps - start))
    return schedule.rate * 0.5 * (1 + math.cos(math.pi * part))


def optimizer_for(module: nn.Module, schedule: Schedule) -> Optimizer:
    """Give the optimiser of a module's trained parameters.

    Vectors, tokens and position tables are not decayed. Every group has a `scale` of the rate: 1, or less for
    the early blocks of a transformer (`layer_decay`).
    """
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    deepest = max((_block(name) for name, _ in module.named_parameters()), default=0)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and not name.endswith(UNDECAYED)
            found.setdefault((_scale(name, schedule.layer_decay, deepest), decayed), []).append(parameter)
    if not found:
        raise InputError("every parameter of the network is frozen: nothing can be trained")
    groups = [
        {"params": found[scale, decayed], "weight_decay": schedule.decay if decayed else 0.0, "scale": scale}
        for scale, decayed in sorted(found, key=lambda key: (-key[0], not key[1]))
    ]
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.rate, fused=True)
    if schedule.optimizer == "adam":
        return torch.optim.Adam(groups, lr=schedule.rate, fused=True)
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=schedule.rate, momentum=0.9, nesterov=True)
    raise InputError(f"unknown optimizer {schedule.optimizer!r} in [schedule]: one of adamw, adam, sgd")


def _block(name: str) -> int:
    found = re.search(r"(?:^|\.)blocks\.(\d+)\.", name)
    return int(found[1]) + 1 if found else 0


def _scale(name: str, decay: float, deepest: int) -> float:
    """Give 1 for a head, `decay` for the last block, and once more for each one before it."""
    if decay == 1.0 or not (_block(name) or "embed" in name or name.endswith(UNDECAYED)):
        return 1.0
    return float(decay ** (deepest + 1 - _block(name)))


class Order:
    """Which samples each step takes, the same for any number of processes and loaders.

    Counted in steps, step s takes the samples s * batch and up. Counted in epochs, sample e * size + i is
    item i in epoch e, and every epoch has an order of its own. Process r of n takes every n-th of a batch.
    """

    def __init__(self, schedule: Schedule, seed: int, size: int, rank: int = 0, world: int = 1) -> None:
        self.schedule, self.seed, self.size = schedule, seed, size
        self.rank, self.world = rank, world
        self.start = 0

    def since(self, step: int) -> Order:
        """Give the same order from a step on."""
        order = Order(self.schedule, self.seed, self.size, self.rank, self.world)
        order.start = step
        return order

    def __len__(self) -> int:
        return self.schedule.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.schedule.steps):
            numbers = self.whole(step)
            # A last batch smaller than the number of processes is taken by several of them.
            yield numbers[self.rank :: self.world] or numbers[:1]

    def whole(self, step: int) -> list[int]:
        """Give the samples of one step over all processes."""
        batch = self.schedule.batch
        if not self.schedule.epochs:
            return list(range(step * batch, (step + 1) * batch))
        epoch, place = divmod(step, steps_per_epoch(self.schedule, self.size))
        order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
        return [int(item) + epoch * self.size for item in order[place * batch : (place + 1) * batch]]
