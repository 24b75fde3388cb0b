"""Training a mask network with a presence head beside it.

Owns the segmenter's task. It must not know checkpoints, logs or packs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from endostream.errors import InputError
from endostream.models.light import LightUNet, read_presence
from endostream.models.unet import UNet
from endostream.training.losses import mask_losses, presence_loss
from endostream.training.samples import Sample
from endostream.training.settings import Training
from endostream.training.validation import HeldOut, mask_figures, presence_figures, run_network

__all__ = ["PlainModule", "SegmenterModule", "SegmenterTask"]


class SegmenterModule(nn.Module):
    """The mask network and, for training only, heads that say whether and roughly where a polyp is."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.net = LightUNet(width, depth)
        self.presence = nn.Linear(self.net.seen, 2)
        self.coarse = nn.Conv2d(self.net.seen, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give mask logits float[B, 1, H, W], presence logits float[B, 2], mask logits at stride 16."""
        logits, seen = self.net.both(x)
        return logits, read_presence(self.presence, seen)[0], self.coarse(seen)


class PlainModule(nn.Module):
    """The published UNet in the place of the light network: its mask logits say presence as well."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = UNet(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give mask logits, presence logits (the mean of the highest percent of them), and coarse ones."""
        logits: Tensor = self.net(x)
        flat = logits.flatten(1)
        highest = flat.topk(max(1, flat.shape[1] // 100), dim=1).values.mean(1)
        presence = torch.stack((torch.zeros_like(highest), highest), 1)
        return logits, presence, functional.avg_pool2d(logits, 16)


class SegmenterTask:
    """BCE + Dice on masks, presence beside them."""

    def __init__(self, training: Training, held: list[HeldOut]) -> None:
        self.training, self.held = training, held
        network = training.network
        if training.architecture not in ("light", "unet"):
            raise InputError(f"unknown architecture {training.architecture!r}: one of light, unet")
        if training.architecture == "unet":
            self.module: nn.Module = PlainModule(network.width)
        else:
            self.module = SegmenterModule(network.width, network.depth)

    def losses(self, outputs: tuple[Tensor, Tensor, Tensor], batch: Sample) -> dict[str, Tensor]:
        """Give the weighted parts of the loss."""
        logits, presence, coarse = outputs
        weights = self.training.loss
        parts = mask_losses(logits.float(), batch.mask, weights)
        labels = torch.as_tensor(batch.presence)
        parts["presence"] = weights.presence * presence_loss(presence.float(), labels, weights)
        rough = functional.adaptive_avg_pool2d(batch.mask, (coarse.shape[2], coarse.shape[3]))
        rough_parts = mask_losses(coarse.float(), rough, weights)
        parts["coarse"] = weights.coarse * torch.stack(list(rough_parts.values())).sum()
        return parts

    def figures(self, network: Callable[[Tensor], tuple[Tensor, ...]], part: int = 1) -> dict[str, float]:
        """Give Dice per source, false masks, and the presence head's figures on every `part`-th picture."""
        masks, scores = [], []
        for item, (logits, presence, _) in run_network(
            network, self.held[::part], self.training.schedule.side
        ):
            masks.append((item, np.asarray(logits[0].numpy() > 0)))
            scores.append((item, float(presence.softmax(0)[1])))
        return mask_figures(masks) | {f"presence_{k}": v for k, v in presence_figures(scores).items()}
