"""Starting, resuming and reading runs of the light networks: config and data in, run folder out.

Owns the composition of such a run and what every run folder says of itself. It must not know how a step is
taken or how a pack looks.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any, TypeVar

import cv2
import lightning
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from endostream.datasets import grouped, open_dataset, split
from endostream.errors import InputError
from endostream.training.classifier import ClassifierTask, from_segmenter
from endostream.training.data import Picture, load_pictures
from endostream.training.loop import Run, Task, fabric_for, train
from endostream.training.phantom import load_phantom
from endostream.training.samples import Samples
from endostream.training.segmenter import SegmenterTask
from endostream.training.settings import Running, Training, build, read_training
from endostream.training.validation import held_out

__all__ = ["averaged_weights", "describe", "load_split", "prepare", "reached", "read_run", "start"]

T = TypeVar("T", bound=Running)


def start(
    task: str,
    config: Path,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    minutes: float | None = None,
    init: Path | None = None,
    devices: int | str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Train a segmenter or a classifier and give the figures of its averaged weights.

    Raises
    ------
    InputError
        When config, data or run folder cannot be used; nothing is trained then.
    """
    training, fabric = prepare(read_training(config, task), out, resume, devices)
    pictures, held, digest = load_split(training, data)
    inputs = held_out(held, training.augmentation.margin)
    if training.phantom:
        pictures += load_phantom(data / training.phantom)
    work: Task = SegmenterTask(training, inputs) if task == "segmenter" else ClassifierTask(training, inputs)
    if init is not None and not resume:
        _begin_from(work.module, averaged_weights(init), task)
    run = Run(work, training, out, fabric=fabric)
    if resume:
        run.restore()
    if fabric.is_global_zero:
        facts = {
            "data_sha256": digest,
            "pictures": len(pictures),
            "held_out": len(held),
            "held_out_groups": sorted({picture.group for picture in held}),
            "init": init.name if init else None,
        }
        describe(out, training, facts, run.step)
    figures = train(run, Samples(pictures, training), minutes, progress)
    if fabric.is_global_zero:
        (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def prepare(training: T, out: Path, resume: bool, devices: int | str | None) -> tuple[T, Fabric]:
    """Give the settings with the devices of this run, and its processes; make the folder and set the seeds.

    Raises
    ------
    InputError
        When the folder holds a run already, or none to resume, or the devices are not there.
    """
    if not resume and (out / "last.ckpt").exists():
        raise InputError(f"{out} already holds a run: continue it with --resume or name another folder")
    if resume and not (out / "last.ckpt").exists():
        raise InputError(f"nothing to resume in {out}: run without --resume")
    if devices is not None:
        training = dataclasses.replace(training, devices=devices)
    fabric = fabric_for(training)
    out.mkdir(parents=True, exist_ok=True)
    # OpenCV's own threads do not survive the fork of a loader process: it would wait for them for ever.
    cv2.setNumThreads(1)
    lightning.seed_everything(training.seed, verbose=False)
    return training, fabric


def load_split(training: Training, data: Path) -> tuple[list[Picture], list[Picture], str]:
    """Give the training pictures, the held-out pictures and the sha256 of all their bytes."""
    dataset = open_dataset(data, training.layout, training.manifest)
    if not any(item.mask for item in dataset.items):
        raise InputError(f"{data} has no masks: `endostream train labels` trains on classes alone")
    how = training.split
    if how.share:
        dataset = grouped(dataset)
    kept, held = split(dataset.items, how.groups, how.share, how.sources, training.seed)
    if not held:
        raise InputError("the split holds nothing out: name groups, or a share and its sources, in [split]")
    pictures, first = load_pictures(dataset, kept, training.longest)
    others, second = load_pictures(dataset, held, training.longest)
    return pictures, others, f"{first[:32]}{second[:32]}"


def read_run(folder: Path) -> tuple[Training, dict[str, Any]]:
    """Give the settings and the description of a run folder."""
    path = folder / "run.json"
    if not path.is_file():
        raise InputError(f"{folder} is not a run folder: it has no run.json")
    described = json.loads(path.read_text(encoding="utf-8"))
    return build(Training, described["training"], path.name), described


def _begin_from(module: nn.Module, state: dict[str, Tensor], task: str) -> None:
    """Load the averaged weights of a segmenter's run into a segmenter or a classifier."""
    try:
        module.load_state_dict(state if task == "segmenter" else from_segmenter(state))
    except RuntimeError as error:
        raise InputError(
            "--init names a run of another network: give both configs the same [network] and architecture"
        ) from error


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """Give the averaged weights of a run's best epoch, or of its newest checkpoint where none is best."""
    path = next((folder / n for n in ("best.ckpt", "last.ckpt") if (folder / n).is_file()), None)
    if path is None:
        raise InputError(f"{folder} holds no checkpoint yet: train first")
    state = torch.load(path, map_location="cpu", weights_only=True)["ema"]
    return {key.removeprefix("module."): value for key, value in state.items() if key.startswith("module.")}


def reached(folder: Path) -> tuple[int, float]:
    """Give the step and the minutes of a run's newest checkpoint."""
    state = torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)
    return int(state["step"]), float(state["seconds"]) / 60


def describe(out: Path, training: Running, facts: dict[str, Any], step: int) -> None:
    """Write `run.json`: settings, data, start, versions; a resumed run keeps its earlier ones."""
    path = out / "run.json"
    former = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {"training": dataclasses.asdict(training), **facts}
    found |= {"git": _revision(), "torch": torch.__version__, "lightning": lightning.__version__}
    if former:
        # A run that was resumed with another config keeps what it did before.
        found["earlier"] = [*former.pop("earlier", []), {"until_step": step, **former}]
        found["init"] = former["init"]
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _revision() -> str:
    """Give the repository's revision, or `unknown` outside of one."""
    here = Path(__file__).resolve().parent
    result = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else "unknown"
