"""Training a frame classifier of many classes: DINOv2 under a linear head, frozen or not.

Owns the task, its samples and its figures. It must not know logs, checkpoints or packs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_recall,
)

from endostream.models.dinov2 import DinoV2Classifier
from endostream.training.kept import Changes, Kept, to_tensor
from endostream.training.recipes import LabelRecipe

__all__ = ["LabelModule", "LabelSample", "LabelSamples", "LabelTask", "label_figures", "recalls"]

BATCH = 32


class LabelSample(NamedTuple):
    """One input with its class."""

    image: Tensor
    """float32[3, S, S], normalised, or float32[D], the features of a frozen backbone."""
    label: int
    """Number of the class."""


class LabelSamples(Dataset[LabelSample]):
    """One epoch of samples after the other: sample e * size + i is picture i in epoch e."""

    def __init__(self, kept: Kept, labels: list[int], recipe: LabelRecipe) -> None:
        self.kept, self.labels, self.seed = kept, labels, recipe.seed
        self.change = Changes(recipe.change, recipe.schedule.side, recipe.normalise)
        self.features: Tensor | None = None

    def __len__(self) -> int:
        """Give the samples of an epoch."""
        return len(self.kept)

    def __getitem__(self, number: int) -> LabelSample:
        """Give sample `number` of the run; it depends on the seed and its number alone."""
        item = number % len(self.kept)
        if self.features is not None:
            return LabelSample(self.features[item], self.labels[item])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng((self.seed, number)).integers(2**62)))
            image, _ = self.change(self.kept.images[item])
        return LabelSample(image, self.labels[item])


class LabelModule(nn.Module):
    """The classifier; with a frozen backbone only its head learns."""

    def __init__(self, classes: int, recipe: LabelRecipe) -> None:
        super().__init__()
        self.net = DinoV2Classifier(classes, **recipe.network.options())
        self.frozen = recipe.frozen
        # Pre-training alone uses it; several processes wait for the gradient of every trained parameter.
        self.net.backbone.mask_token.requires_grad_(False)
        if self.frozen:
            self.net.backbone.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits float[B, C] for pictures, or for the features of the frozen backbone float[B, D]."""
        head: Tensor = self.net.head(x if x.ndim == 2 else self.seen(x))
        return head

    def seen(self, x: Tensor) -> Tensor:
        """Give the normalised class token float[B, D] of pictures."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens: Tensor = self.net.backbone(x)
        return tokens[:, 0]


class LabelTask:
    """Cross-entropy over classes, weighted or not."""

    def __init__(
        self, recipe: LabelRecipe, classes: tuple[str, ...], counts: list[int], kept: Kept, labels: list[int]
    ) -> None:
        self.recipe, self.classes, self.kept = recipe, classes, kept
        self.labels = torch.tensor(labels)
        self.module: nn.Module = LabelModule(len(classes), recipe)
        self.weights = class_weights(counts, recipe.loss.balance)
        self._features: Tensor | None = None

    def losses(self, outputs: Tensor, batch: LabelSample) -> dict[str, Tensor]:
        """Give the loss."""
        weight = self.weights.to(outputs.device)
        labels = torch.as_tensor(batch.label)
        smooth = self.recipe.loss.smoothing
        return {
            "cross_entropy": functional.cross_entropy(outputs.float(), labels, weight, label_smoothing=smooth)
        }

    def figures(self, network: Callable[[Tensor], Tensor], part: int = 1) -> dict[str, float]:
        """Give the figures on the validation pictures; features of a frozen backbone are taken once."""
        rows = range(0, len(self.kept), part)
        if self.recipe.frozen and self._features is None:
            module = self.module
            assert isinstance(module, LabelModule)
            device = module.net.head.weight.device
            self._features = self.features(self.kept, lambda x: module.seen(x.to(device)))
        found = []
        for start in range(0, len(rows), BATCH):
            chosen = list(rows[start : start + BATCH])
            inputs = self._inputs(self.kept, chosen) if self._features is None else self._features[chosen]
            with torch.inference_mode():
                found.append(network(inputs).float().cpu())
        return label_figures(torch.cat(found), self.labels[list(rows)])

    def features(self, kept: Kept, network: Callable[[Tensor], Tensor]) -> Tensor:
        """Give the features float32[N, D] of unchanged pictures."""
        numbers, parts = range(len(kept)), []
        for start in range(0, len(kept), BATCH):
            with torch.no_grad():
                parts.append(network(self._inputs(kept, numbers[start : start + BATCH])).float().cpu())
        return torch.cat(parts)

    def _inputs(self, kept: Kept, numbers: Sequence[int]) -> Tensor:
        recipe = self.recipe
        side = recipe.schedule.side
        return torch.stack(
            [to_tensor(kept.images[n], recipe.normalise, side, recipe.centre) for n in numbers]
        )


def class_weights(counts: list[int], power: float) -> Tensor:
    """Give a weight per class, size to minus `power`, so that the mean over pictures is 1.

    A class without training pictures gets 1: no picture asks for it.
    """
    sizes = torch.tensor(counts, dtype=torch.float32)
    raw = torch.where(sizes > 0, sizes.clamp(min=1) ** -power, 0.0)
    weights = raw * sizes.sum() / (raw * sizes).sum().clamp(min=1e-12)
    return torch.where(sizes > 0, weights, 1.0)


def label_figures(logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Give loss, accuracy, balanced accuracy, macro F1 and ECE (15 bins).

    The macro figures are means over the classes that occur in the truth.
    """
    classes = logits.shape[1]
    score = logits.softmax(1)
    present = torch.bincount(truth, minlength=classes) > 0
    recall = multiclass_recall(score, truth, classes, average=None)
    f1 = multiclass_f1_score(score, truth, classes, average=None)
    figures = {
        "loss": float(functional.cross_entropy(logits, truth)),
        "accuracy": float((logits.argmax(1) == truth).float().mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "ece": float(multiclass_calibration_error(score, truth, classes, n_bins=15)),
    }
    if classes > 5:
        figures["top5"] = float((logits.topk(5, 1).indices == truth[:, None]).any(1).float().mean())
    return figures


def recalls(logits: Tensor, truth: Tensor, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Give recall and number of pictures per class that occurs in the truth."""
    hit = logits.argmax(1) == truth
    found = {}
    for number, name in enumerate(classes):
        chosen = truth == number
        if chosen.any():
            found[name] = {"recall": float(hit[chosen].float().mean()), "pictures": int(chosen.sum())}
    return found
