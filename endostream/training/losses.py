"""The losses of the two trainings.

Owns loss functions on tensors. It must not know data, networks or loops.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from endostream.training.settings import Loss

__all__ = ["mask_losses", "presence_loss"]


def mask_losses(logits: Tensor, target: Tensor, weights: Loss) -> dict[str, Tensor]:
    """Give the weighted parts of the mask loss.

    Parameters
    ----------
    logits, target
        float[B, 1, H, W]; the target is 0 or 1.
    """
    parts = {"bce": weights.bce * functional.binary_cross_entropy_with_logits(logits, target)}
    present = target.amax((1, 2, 3)) > 0
    probability, flat = logits.sigmoid().flatten(1), target.flatten(1)
    overlap = 2 * (probability * flat).sum(1) + 1
    dice = 1 - overlap / (probability.sum(1) + flat.sum(1) + 1)
    parts["dice"] = weights.dice * _mean(dice, present)
    # A false mask is small beside the picture: its pixels vanish in a mean over all of them.
    empty = logits.flatten(1)
    worst = functional.softplus(empty.topk(max(1, empty.shape[1] // 100), dim=1).values).mean(1)
    parts["false_alarm"] = weights.false_alarm * _mean(worst, ~present)
    return parts


def presence_loss(logits: Tensor, target: Tensor, weights: Loss) -> Tensor:
    """Give the cross-entropy of logits float[B, 2] against int[B], where -1 is left out."""
    known = target >= 0
    value = functional.cross_entropy(
        logits, target.clamp(min=0), reduction="none", label_smoothing=weights.smoothing
    )
    return _mean(value, known)


def _mean(value: Tensor, chosen: Tensor) -> Tensor:
    """Give the mean of the chosen entries, and 0 where none is chosen."""
    return torch.where(chosen, value, 0).sum() / chosen.sum().clamp(min=1)
