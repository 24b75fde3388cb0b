"""Training the published UNet by its published recipe: BCE + Dice, the best epoch by Dice.

Owns the task, its samples and its figures. It must not know logs, checkpoints or packs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from endostream.models.unet import UNet
from endostream.training.kept import Changes, Kept, to_tensor
from endostream.training.recipes import MaskRecipe

__all__ = ["MaskSample", "MaskSamples", "MaskTask", "overlaps"]


class MaskSample(NamedTuple):
    """One input with its mask."""

    image: Tensor
    """float32[3, S, S]."""
    mask: Tensor
    """float32[1, S, S], 0 or 1."""


class MaskSamples(Dataset[MaskSample]):
    """One epoch of samples after the other: sample e * size + i is picture i in epoch e.

    With copies an epoch holds every picture three times: as it is, mirrored, and with another brightness (one
    factor of 0.7 to 1.3 per picture, the same in every epoch).
    """

    def __init__(self, kept: Kept, recipe: MaskRecipe) -> None:
        self.kept, self.seed = kept, recipe.seed
        self.copies = 3 if recipe.change.copies else 1
        self.change = Changes(recipe.change, recipe.schedule.side, recipe.normalise)

    def __len__(self) -> int:
        """Give the samples of an epoch."""
        return self.copies * len(self.kept)

    def __getitem__(self, number: int) -> MaskSample:
        """Give sample `number` of the run; it depends on the seed and its number alone."""
        copy, item = divmod(number % len(self), len(self.kept))
        image, mask = self.kept.images[item], self.kept.masks[item]
        if copy == 1:
            image, mask = image[:, ::-1], mask[:, ::-1]
        elif copy == 2:
            factor = np.random.default_rng((self.seed, item)).uniform(0.7, 1.3)
            image = (image * factor).clip(0, 255).astype(np.uint8)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng((self.seed, number)).integers(2**62)))
            picture, target = self.change(image, mask)
        return MaskSample(picture, target)


class MaskTask:
    """Binary cross-entropy and Dice."""

    def __init__(self, recipe: MaskRecipe, kept: Kept) -> None:
        self.recipe, self.kept = recipe, kept
        self.module: nn.Module = UNet(recipe.width)

    def losses(self, outputs: Tensor, batch: MaskSample) -> dict[str, Tensor]:
        """Give both parts of the loss; Dice is taken over all pixels of the batch."""
        logits, smooth = outputs.float(), self.recipe.smooth
        probability = logits.sigmoid()
        overlap = 2 * (probability * batch.mask).sum() + smooth
        dice = 1 - overlap / (probability.sum() + batch.mask.sum() + smooth)
        return {"bce": functional.binary_cross_entropy_with_logits(logits, batch.mask), "dice": dice}

    def figures(self, network: Callable[[Tensor], Tensor], part: int = 1) -> dict[str, float]:
        """Give the validation's loss, Dice per picture, and Dice pooled per batch as it was published."""
        chosen, batch = list(range(0, len(self.kept), part)), self.recipe.schedule.batch
        side, normalise = self.recipe.schedule.side, self.recipe.normalise
        bce, pooled, single = [], [], []
        for start in range(0, len(chosen), batch):
            numbers = chosen[start : start + batch]
            inputs = torch.stack([to_tensor(self.kept.images[n], normalise, side) for n in numbers])
            truth = torch.from_numpy(self.kept.masks[numbers])[:, None].float()
            with torch.inference_mode():
                logits = network(inputs.contiguous(memory_format=torch.channels_last)).float().cpu()
            bce += [functional.binary_cross_entropy_with_logits(logits, truth)] * len(numbers)
            found, right = np.asarray(logits.numpy() > 0), np.asarray(truth.numpy() > 0)
            pooled.append(overlaps(found, right)[0])
            single += [overlaps(one, other) for one, other in zip(found, right, strict=True)]
        dice, iou = np.array(single).mean(0).tolist()
        figures = {"bce_loss": float(torch.stack(bce).mean()), "dice": dice, "iou": iou}
        return figures | {"dice_by_batch": float(np.mean(pooled))}


def overlaps(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Give Dice and IoU of two masks; both are 1 where neither marks anything."""
    both, either = int((found & truth).sum()), int((found | truth).sum())
    if not either:
        return 1.0, 1.0
    return 2 * both / (both + either), both / either
