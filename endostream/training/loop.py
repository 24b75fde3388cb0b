"""The training loop: steps, averaged weights, log, checkpoints, validation.

Owns what a run writes while it lasts (`log.csv`, `metrics.csv`, `last.ckpt`, `best.ckpt`). It must not know
what is trained: a task gives the module, the loss and the figures.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from endostream.errors import InputError
from endostream.training.schedule import Order, optimizer_for, rate_at, settled, steps_per_epoch
from endostream.training.settings import Running

__all__ = ["Run", "Task", "fabric_for", "rate_at", "train"]


class Task(Protocol):
    """What a loop needs to know about what it trains."""

    module: nn.Module

    def losses(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """Give the weighted parts of the loss."""

    def figures(self, network: Callable[[Tensor], Any], part: int = 1) -> dict[str, float]:
        """Give the figures of a network in evaluation mode on every `part`-th held-out picture."""


class Numbered(Sized, Protocol):
    """Samples by number; their length is that of an epoch, or of the run where no epochs are counted."""

    def __getitem__(self, number: int) -> Any:
        """Give a sample."""


def fabric_for(training: Running) -> Fabric:
    """Give the processes and devices of a run; starts the other processes where there are several."""
    try:
        fabric = Fabric(
            accelerator=training.accelerator,
            devices=training.devices,
            strategy=training.strategy,
            precision=cast(Any, training.precision),
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise InputError(f"cannot train on these devices: {' '.join(str(error).split())}") from error
    if fabric.world_size > 1:
        fabric.launch()
    return fabric


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

    def __init__(
        self, task: Task, training: Running, folder: Path, size: int = 0, fabric: Fabric | None = None
    ) -> None:
        self.task, self.training, self.folder, self.size = task, training, folder, size
        self.schedule = settled(training.schedule, size)
        self.fabric = fabric or fabric_for(training)
        task.module.to(memory_format=torch.channels_last)
        optimizer = optimizer_for(task.module, self.schedule)
        self.module, self.optimizer = self.fabric.setup(task.module, optimizer)
        self.ema = averaged(task.module, self.schedule.ema).to(self.fabric.device)
        self.step, self.seconds = 0, 0.0
        self.sums: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.waited = 0

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint lies."""
        return self.folder / "last.ckpt"

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.fabric.world_size == 1

    @property
    def ended(self) -> bool:
        """Whether the schedule is through, or the run waited in vain for a better epoch."""
        patience = self.schedule.patience
        return self.step >= self.schedule.steps or (patience > 0 and self.waited >= patience)

    def save(self) -> None:
        """Write a checkpoint; a kill while writing leaves the former one."""
        state = {"module": self.module, "optimizer": self.optimizer, "ema": self.ema.state_dict()}
        state |= {"step": self.step, "seconds": self.seconds, "sums": self.sums}
        self._write(self.checkpoint, state | {"best": self.best, "waited": self.waited})

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        fresh = path.with_name(f"fresh-{path.name}")
        self.fabric.save(fresh, state)
        if self.fabric.is_global_zero:
            os.replace(fresh, path)

    def restore(self) -> None:
        """Go back to the newest checkpoint and drop the log lines that came after it."""
        if not self.checkpoint.is_file():
            raise InputError(f"nothing to resume in {self.folder}: run without --resume")
        rest = self.fabric.load(self.checkpoint, {"module": self.module, "optimizer": self.optimizer})
        self.ema.load_state_dict(rest["ema"])
        self.step, self.seconds = int(rest["step"]), float(rest["seconds"])
        self.sums = dict(rest.get("sums", {}))
        self.best, self.waited = dict(rest.get("best", {})), int(rest.get("waited", 0))
        for name in ("log.csv", "metrics.csv"):
            path = self.folder / name
            if path.is_file() and self.fabric.is_global_zero:
                lines = path.read_text(encoding="utf-8").splitlines()
                kept = lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= self.step]
                path.write_text("\n".join(kept) + "\n", encoding="utf-8")

    def loader(self, samples: Numbered) -> Any:
        """Give the batches that are still to come, of each the part of this process."""
        fabric = self.fabric
        order = Order(self.schedule, self.training.seed, self.size, fabric.global_rank, fabric.world_size)
        loader = DataLoader(
            cast(Any, samples),
            batch_sampler=cast(Any, order.since(self.step)),
            num_workers=self.training.workers,
            worker_init_fn=_quiet_worker,
            prefetch_factor=4 if self.training.workers else None,
        )
        return fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    def update(self, batch: Any) -> dict[str, Tensor]:
        """Take one optimiser step and give the parts of its loss."""
        rate = rate_at(self.step, self.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        inputs = batch.image
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        parts = self.task.losses(self.module(inputs), batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(torch.stack(list(parts.values())).sum())
        if self.schedule.clip:
            norm = self.schedule.clip
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=norm, error_if_nonfinite=False)
        self.optimizer.step()
        self.ema.update_parameters(self.task.module)
        self.step += 1
        return {name: value.detach() for name, value in parts.items()}

    def validate(self, part: int = 1) -> dict[str, float]:
        """Give the figures of the averaged weights, measured by the first process, and log them."""
        figures: dict[str, float] = {}
        if self.fabric.is_global_zero:
            network = self.ema.module.eval()
            with self.fabric.autocast():
                figures = self.task.figures(lambda x: network(x.to(self.fabric.device)), part)
            row = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
            row |= {name: round(value, 4) for name, value in figures.items()}
            _append(self.folder / "metrics.csv", row)
        return figures if self.alone else self.fabric.broadcast(figures)

    def judge(self, figures: dict[str, float]) -> None:
        """Keep the averaged weights of the best epoch so far, and count the epochs since."""
        name = self.schedule.monitor
        if not name:
            return
        if name not in figures:
            raise InputError(f"[schedule] monitor {name!r} is no figure: one of {', '.join(sorted(figures))}")
        sign = -1 if name.endswith("loss") else 1
        if self.best and sign * figures[name] <= sign * self.best["value"]:
            self.waited += 1
            return
        self.best, self.waited = {"value": figures[name], "step": float(self.step)}, 0
        self._write(self.folder / "best.ckpt", {"ema": self.ema.state_dict(), "step": self.step})

    def clock(self) -> float:
        """Give the first process's monotonic seconds, so that all decide alike."""
        now = time.monotonic()
        return now if self.alone else float(self.fabric.broadcast(now))


def train(
    run: Run, samples: Numbered, minutes: float | None = None, progress: bool = True
) -> dict[str, float]:
    """Run to the end of the schedule, or for some minutes, and give the figures of the averaged weights.

    The run folder holds a checkpoint afterwards, also when the run is interrupted from the keyboard.
    """
    schedule = run.schedule
    began = saved = validated = run.clock()
    before = run.seconds
    epoch = steps_per_epoch(schedule, run.size) if schedule.epochs else 0
    figures: dict[str, float] | None = None
    quiet = not progress or not run.fabric.is_global_zero
    bar = tqdm(total=schedule.steps, initial=run.step, disable=quiet, unit="step", mininterval=10)
    try:
        for batch in () if run.ended else run.loader(samples):
            for name, value in run.update(batch).items():
                run.sums[name] = run.sums.get(name, 0.0) + float(value)
            bar.update()
            now = run.clock()
            run.seconds = before + now - began
            figures = None
            if run.step % schedule.log_every == 0:
                _log(run)
                if run.training.yielding:
                    _yield_cores()
            if epoch and run.step % epoch == 0:
                figures = run.validate()
                run.judge(figures)
                run.save()
                saved = run.clock()
                if run.ended:
                    break
            if now - saved > schedule.checkpoint_s:
                run.save()
                saved = run.clock()
            due = not epoch and schedule.validate_s and now - validated > schedule.validate_s
            if due and run.step < schedule.steps:
                run.validate(schedule.validate_part)
                validated = run.clock()
            if minutes is not None and now - began > 60 * minutes:
                break
    except KeyboardInterrupt:
        bar.write("interrupted: continue with --resume")
    finally:
        bar.close()
        run.save()
    return run.validate() if figures is None else figures


def _log(run: Run) -> None:
    schedule = run.schedule
    row: dict[str, Any] = {"step": run.step, "images": run.step * schedule.batch}
    row |= {"minutes": round(run.seconds / 60, 2)}
    row |= {"rate": f"{rate_at(run.step - 1, schedule):.3e}"}
    means = {name: value / schedule.log_every for name, value in run.sums.items()}
    if not run.alone:
        stacked = torch.tensor(list(means.values()), device=run.fabric.device)
        means = dict(zip(means, cast(Tensor, run.fabric.all_reduce(stacked)).tolist(), strict=True))
    row |= {"loss": round(sum(means.values()), 5)}
    run.sums = {}
    if run.fabric.is_global_zero:
        _append(run.folder / "log.csv", row | {name: round(value, 5) for name, value in means.items()})


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
