"""Held-out pictures through the pack's own preprocessing: the figures that a pack carries.

Owns these figures. It must not know how a network was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from endostream.datasets import Dataset, Item
from endostream.engines.preprocess import Preprocessor
from endostream.packs import Preprocessing
from endostream.training.labels import label_figures, recalls
from endostream.training.recipes import LabelRecipe, MaskRecipe, Recipe
from endostream.training.unet import overlaps
from endostream.training.validation import FALSE_MASK, to_mask

__all__ = ["measured_labels", "measured_masks"]

Found = tuple[dict[str, float], dict[str, Any]]
BATCH = 16


def measured_labels(
    network: nn.Module, recipe: LabelRecipe, dataset: Dataset, items: list[Item], classes: tuple[str, ...]
) -> Found:
    """Give the classifier's figures on items, and recall per class."""
    logits = torch.cat([outputs[0] for outputs, _ in _run(network, recipe, dataset, items)])
    truth = torch.tensor([classes.index(item.label) for item in items])
    figures = {f"test_{name}": value for name, value in label_figures(logits, truth).items()}
    return figures, {"per_class": recalls(logits, truth, classes)}


def measured_masks(network: nn.Module, recipe: MaskRecipe, dataset: Dataset, items: list[Item]) -> Found:
    """Give Dice and IoU per picture, mean over those with a mask, and false masks on the others.

    At the network's input size, threshold 0.5; a false mask covers more than 0.2 % of the picture.
    """
    scores: dict[str, list[tuple[float, float]]] = {}
    false: list[float] = []
    place = 0
    for outputs, masks in _run(network, recipe, dataset, items):
        for logits, mask in zip(outputs[0], masks, strict=True):
            found = np.asarray(logits[0].numpy() > 0)
            if mask is None or not mask.any():
                false.append(float(found.mean() > FALSE_MASK))
            else:
                scores.setdefault(items[place].source, []).append(overlaps(found, to_mask(mask, found.shape)))
            place += 1
    figures: dict[str, float] = {"test_pictures": float(len(items))}
    every = [pair for pairs in scores.values() for pair in pairs]
    if every:
        figures |= {"test_dice": _mean(every, 0), "test_iou": _mean(every, 1)}
    if len(scores) > 1:
        figures |= {f"test_dice_{name}": _mean(pairs, 0) for name, pairs in sorted(scores.items())}
    if false:
        figures["test_false_mask"] = float(np.mean(false))
    return figures, {}


def _mean(pairs: list[tuple[float, float]], column: int) -> float:
    return float(np.mean([pair[column] for pair in pairs]))


def _run(
    network: nn.Module, recipe: Recipe, dataset: Dataset, items: list[Item]
) -> Iterator[tuple[tuple[Tensor, ...], list[NDArray[np.uint8] | None]]]:
    """Give the outputs of batches of items with their masks."""
    how = recipe.preprocessing()
    spec = Preprocessing(how["width"], how["height"], how["kernel"], tuple(how["mean"]), tuple(how["std"]))
    prepare = Preprocessor(spec, exact=True)
    device = next(network.parameters()).device
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), BATCH):
            pictures = list(pool.map(dataset.read, items[start : start + BATCH]))
            inputs = torch.from_numpy(np.concatenate([prepare(p.image).copy() for p in pictures]))
            with torch.inference_mode():
                outputs = network(inputs.to(device))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            yield tuple(output.float().cpu() for output in outputs), [p.mask for p in pictures]
