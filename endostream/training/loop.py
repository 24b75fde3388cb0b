"""The training loop: steps, averaged weights, log, checkpoints, validation.

Owns the life of a run folder (`run.json`, `log.csv`, `metrics.csv`, `last.ckpt`). It must not know what is
trained: a task gives the module, the loss and the figures.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from endostream.errors import InputError
from endostream.training.samples import Sample, Samples
from endostream.training.settings import Schedule, Training

__all__ = ["Task", "rate_at", "train"]


class Task(Protocol):
    """What a loop needs to know about what it trains."""

    module: nn.Module

    def losses(self, outputs: Any, batch: Sample) -> dict[str, Tensor]:
        """Give the weighted parts of the loss."""

    def figures(self, network: Callable[[Tensor], tuple[Tensor, ...]], part: int = 1) -> dict[str, float]:
        """Give the figures of a network in evaluation mode on every `part`-th held-out picture."""


def rate_at(step: int, schedule: Schedule) -> float:
    """Give the learning rate of a step: linear warm-up, a hold, then a cosine to zero."""
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    start = max(schedule.warmup, int(schedule.hold * schedule.steps))
    if step < start:
        return schedule.rate
    part = min(1.0, (step - start) / max(1, schedule.steps - start))
    return schedule.rate * 0.5 * (1 + math.cos(math.pi * part))


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """Give the moving average of a module; early steps are forgotten faster than `decay` says."""

    def update(kept: Any, current: Any, number: Any) -> None:
        count = float(number)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        # The lists hold one type each; batch normalisation's counters are whole and have no average.
        if kept[0].is_floating_point():
            torch._foreach_lerp_(kept, current, weight)
        else:
            torch._foreach_copy_(kept, current)

    return AveragedModel(module, multi_avg_fn=update, use_buffers=True)


class Run:
    """One run: the trained module, its average, and the folder that survives a kill."""

    def __init__(self, task: Task, training: Training, folder: Path) -> None:
        self.task, self.training, self.folder = task, training, folder
        schedule = training.schedule
        self.fabric = Fabric(accelerator="auto", devices=1, precision=cast(Any, training.precision))
        task.module.to(memory_format=torch.channels_last)
        groups = [
            {"params": [p for p in task.module.parameters() if p.ndim > 1], "weight_decay": schedule.decay},
            {"params": [p for p in task.module.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=schedule.rate, fused=True)
        self.module, self.optimizer = self.fabric.setup(task.module, optimizer)
        self.ema = averaged(task.module, schedule.ema).to(self.fabric.device)
        self.step, self.seconds = 0, 0.0
        self.sums: dict[str, float] = {}

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint lies."""
        return self.folder / "last.ckpt"

    def save(self) -> None:
        """Write a checkpoint; a kill while writing leaves the former one."""
        state = {"module": self.module, "optimizer": self.optimizer, "ema": self.ema.state_dict()}
        fresh = self.folder / "fresh.ckpt"
        self.fabric.save(fresh, state | {"step": self.step, "seconds": self.seconds, "sums": self.sums})
        os.replace(fresh, self.checkpoint)

    def restore(self) -> None:
        """Go back to the newest checkpoint and drop the log lines that came after it."""
        if not self.checkpoint.is_file():
            raise InputError(f"nothing to resume in {self.folder}: run without --resume")
        rest = self.fabric.load(self.checkpoint, {"module": self.module, "optimizer": self.optimizer})
        self.ema.load_state_dict(rest["ema"])
        self.step, self.seconds = int(rest["step"]), float(rest["seconds"])
        self.sums = dict(rest.get("sums", {}))
        for name in ("log.csv", "metrics.csv"):
            path = self.folder / name
            if path.is_file():
                lines = path.read_text(encoding="utf-8").splitlines()
                kept = lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= self.step]
                path.write_text("\n".join(kept) + "\n", encoding="utf-8")

    def loader(self, samples: Samples) -> Any:
        """Give the batches that are still to come."""
        batch = self.training.schedule.batch
        loader = DataLoader(
            samples,
            batch_size=batch,
            sampler=range(self.step * batch, len(samples)),
            num_workers=self.training.workers,
            worker_init_fn=_quiet_worker,
            prefetch_factor=4 if self.training.workers else None,
        )
        return self.fabric.setup_dataloaders(loader)

    def update(self, batch: Sample) -> dict[str, Tensor]:
        """Take one optimiser step and give the parts of its loss."""
        rate = rate_at(self.step, self.training.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        outputs = self.module(batch.image.contiguous(memory_format=torch.channels_last))
        parts = self.task.losses(outputs, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(torch.stack(list(parts.values())).sum())
        self.fabric.clip_gradients(self.module, self.optimizer, max_norm=5.0, error_if_nonfinite=False)
        self.optimizer.step()
        self.ema.update_parameters(self.task.module)
        self.step += 1
        return {name: value.detach() for name, value in parts.items()}

    def validate(self, part: int = 1) -> dict[str, float]:
        """Give the figures of the averaged weights and log them."""
        network = self.ema.module.eval()
        with self.fabric.autocast():
            figures = self.task.figures(lambda x: network(x.to(self.fabric.device)), part)
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        _append(self.folder / "metrics.csv", row | {name: round(value, 4) for name, value in figures.items()})
        return figures


def train(
    run: Run, samples: Samples, minutes: float | None = None, progress: bool = True
) -> dict[str, float]:
    """Run to the end of the schedule, or for some minutes, and give the figures of the averaged weights.

    The run folder holds a checkpoint afterwards, also when the run is interrupted from the keyboard.
    """
    schedule = run.training.schedule
    began = saved = validated = time.monotonic()
    before = run.seconds
    bar = tqdm(total=schedule.steps, initial=run.step, disable=not progress, unit="step", mininterval=10)
    try:
        for batch in run.loader(samples):
            for name, value in run.update(Sample(*batch)).items():
                run.sums[name] = run.sums.get(name, 0.0) + float(value)
            bar.update()
            now = time.monotonic()
            run.seconds = before + now - began
            if run.step % schedule.log_every == 0:
                _log(run)
                if run.training.yielding:
                    _yield_cores()
            if now - saved > schedule.checkpoint_s:
                run.save()
                saved = time.monotonic()
            if schedule.validate_s and now - validated > schedule.validate_s and run.step < schedule.steps:
                run.validate(schedule.validate_part)
                validated = time.monotonic()
            if minutes is not None and now - began > 60 * minutes:
                break
    except KeyboardInterrupt:
        bar.write("interrupted: continue with --resume")
    finally:
        bar.close()
        run.save()
    return run.validate()


def _log(run: Run) -> None:
    schedule = run.training.schedule
    row: dict[str, Any] = {"step": run.step, "images": run.step * schedule.batch}
    row |= {"minutes": round(run.seconds / 60, 2)}
    row |= {"rate": f"{rate_at(run.step - 1, schedule):.3e}"}
    means = {name: value / schedule.log_every for name, value in run.sums.items()}
    row |= {"loss": round(sum(means.values()), 5)}
    _append(run.folder / "log.csv", row | {name: round(value, 5) for name, value in means.items()})
    run.sums = {}


def _yield_cores() -> None:
    """Use every core while the others' load leaves them free, else one."""
    cores, own = os.cpu_count() or 1, torch.get_num_threads()
    others = os.getloadavg()[0] - own
    wanted = cores if others < 0.4 * cores else 1
    if wanted != own:
        torch.set_num_threads(wanted)


def _append(path: Path, row: dict[str, Any]) -> None:
    fresh = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
