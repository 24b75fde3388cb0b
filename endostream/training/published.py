"""Starting and resuming runs of the published networks: the classifier of many classes and the UNet.

Owns the composition of such a run. It must not know how a step is taken or how a pack looks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from endostream.datasets import Dataset, Item, open_dataset
from endostream.errors import InputError
from endostream.training.backbone import load_backbone
from endostream.training.held import measured_labels, measured_masks
from endostream.training.kept import keep
from endostream.training.labels import LabelModule, LabelSamples, LabelTask
from endostream.training.loop import Run, train
from endostream.training.partition import divided
from endostream.training.recipes import LabelRecipe, MaskRecipe
from endostream.training.runs import averaged_weights, describe, prepare
from endostream.training.settings import read_config
from endostream.training.unet import MaskSamples, MaskTask

__all__ = ["start_labels", "start_unet"]


def start_labels(
    config: Path,
    data: Path,
    out: Path,
    *,
    backbone: Path | None = None,
    from_scratch: bool = False,
    resume: bool = False,
    minutes: float | None = None,
    devices: int | str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Train a classifier of the folder's classes and give its figures on the held-out pictures.

    Raises
    ------
    InputError
        When config, data, backbone or run folder cannot be used; nothing is trained then.
    """
    recipe = read_config(LabelRecipe, config, "labels")
    if not resume and (backbone is None) != from_scratch:
        raise InputError("name a DINOv2 checkpoint with --backbone FILE, or say --from-scratch; not both")
    dataset, classes = _classes(open_dataset(data, recipe.layout, recipe.manifest, recipe.tasks))
    recipe, fabric = prepare(recipe, out, resume, devices)
    parts = divided(dataset, recipe.partition)
    kept, others = (
        keep(dataset, part, recipe.keep, recipe.kernel) for part in (parts.train, parts.validation)
    )
    numbers = [classes.index(item.label) for item in parts.train]
    counts = [numbers.count(number) for number in range(len(classes))]
    truth = [classes.index(item.label) for item in parts.validation]
    work = LabelTask(recipe, classes, counts, others, truth)
    module = work.module
    assert isinstance(module, LabelModule)
    origin = load_backbone(module.net.backbone, backbone) if backbone is not None and not resume else None
    samples = LabelSamples(kept, numbers, recipe)
    run = Run(work, recipe, out, len(samples), fabric)
    if recipe.frozen and not recipe.change.any:
        samples.features = work.features(kept, lambda x: module.seen(x.to(fabric.device)))
    facts = {
        "classes": list(classes),
        "pictures_per_class": dict(sorted(Counter(item.label for item in dataset.items).items())),
        "init": origin,
    }
    digest = _digest(kept.digest, others.digest, dataset, parts.test, parts.validation)
    _begin(run, facts | {"data_sha256": digest, "layout": dataset.layout, "partition": parts.record}, resume)
    train(run, samples, minutes, progress)
    return _end(run, module.net, lambda net: measured_labels(net, recipe, dataset, parts.test, classes))


def start_unet(
    config: Path,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    minutes: float | None = None,
    devices: int | str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Train the UNet by its published recipe and give its figures on the held-out pictures.

    Raises
    ------
    InputError
        When config, data or run folder cannot be used; nothing is trained then.
    """
    recipe = read_config(MaskRecipe, config, "unet")
    dataset = open_dataset(data, recipe.layout, recipe.manifest)
    if not any(item.mask for item in dataset.items):
        raise InputError(f"{data} has no masks: name a folder with images/ and masks/")
    recipe, fabric = prepare(recipe, out, resume, devices)
    parts = divided(dataset, recipe.partition)
    side = recipe.schedule.side
    kept, others = (
        keep(dataset, p, side, recipe.kernel, masks=True) for p in (parts.train, parts.validation)
    )
    work = MaskTask(recipe, others)
    module = work.module
    samples = MaskSamples(kept, recipe)
    run = Run(work, recipe, out, len(samples), fabric)
    digest = _digest(kept.digest, others.digest, dataset, parts.test, parts.validation)
    facts = {"data_sha256": digest, "layout": dataset.layout, "partition": parts.record, "init": None}
    _begin(run, facts, resume)
    train(run, samples, minutes, progress)
    return _end(run, module, lambda net: measured_masks(net, recipe, dataset, parts.test))


def _classes(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """Give the data set without unlabelled pictures, and its classes."""
    dataset = replace(dataset, items=tuple(item for item in dataset.items if item.label))
    classes = dataset.labels
    if len(classes) < 2:
        raise InputError(
            f"{dataset.folder} ({dataset.layout}) has {len(classes)} class(es): a classifier needs two"
        )
    return dataset, classes


def _digest(first: str, second: str, dataset: Dataset, test: list[Item], validation: list[Item]) -> str:
    """Give one hash of the data: parts of those of training, validation and test."""
    if test is validation:
        return f"{first[:32]}{second[:32]}"
    return f"{first[:24]}{second[:20]}{dataset.digest(test)[:20]}"


def _begin(run: Run, facts: dict[str, Any], resume: bool) -> None:
    if resume:
        run.restore()
    if run.fabric.is_global_zero:
        describe(run.folder, run.training, facts, run.step)


def _end(
    run: Run, network: nn.Module, measure: Callable[[nn.Module], tuple[dict[str, float], dict[str, Any]]]
) -> dict[str, float]:
    """Measure the best epoch's weights as the app sees pictures, and write `figures.json`."""
    fabric: Fabric = run.fabric
    figures: dict[str, float] = {}
    if fabric.is_global_zero:
        state: dict[str, Tensor] = averaged_weights(run.folder)
        if isinstance(run.task.module, LabelModule):
            state = {key.removeprefix("net."): value for key, value in state.items()}
        network.load_state_dict(state)
        network.eval()
        figures, details = measure(network)
        best = {"best_epoch_step": run.best.get("step", float(run.step))}
        figures = best | figures
        text = json.dumps(figures | details, indent=1)
        (run.folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    if not run.alone:
        figures = fabric.broadcast(figures)
        torch.distributed.barrier()
    return figures
