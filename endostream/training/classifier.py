"""Training the frame classifier: a polyp shows, or only background.

Owns the classifier's task and its start from a trained segmenter. It must not know logs or packs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from endostream.errors import InputError
from endostream.models.light import LightClassifier
from endostream.training.losses import presence_loss
from endostream.training.samples import Sample
from endostream.training.settings import Training
from endostream.training.validation import HeldOut, presence_figures, run_network

__all__ = ["ClassifierTask", "from_segmenter"]


class ClassifierTask:
    """Cross-entropy of polyp against background."""

    def __init__(self, training: Training, held: list[HeldOut]) -> None:
        if training.architecture != "light":
            raise InputError("a classifier has no other architecture than light: correct the config")
        self.training, self.held = training, held
        self.module: nn.Module = LightClassifier(2, training.network.width, training.network.depth)

    def losses(self, outputs: tuple[Tensor, Tensor], batch: Sample) -> dict[str, Tensor]:
        """Give the loss; samples with a sliver of a polyp are left out."""
        labels = torch.as_tensor(batch.presence)
        return {"presence": presence_loss(outputs[0].float(), labels, self.training.loss)}

    def figures(self, network: Callable[[Tensor], tuple[Tensor, ...]], part: int = 1) -> dict[str, float]:
        """Give AUROC, calibration error and false positive rates on every `part`-th picture."""
        pairs = run_network(network, self.held[::part], self.training.schedule.side)
        return presence_figures([(item, float(logits.softmax(0)[1])) for item, (logits, _) in pairs])


def from_segmenter(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a classifier's weights out of a trained segmenter's: encoder, first fusion, presence head."""
    found = {}
    for key, value in state.items():
        if key.startswith(("net.encoder.", "net.fuse16.")):
            found[key.removeprefix("net.")] = value
        elif key.startswith("presence."):
            found["head." + key.removeprefix("presence.")] = value
    if not found:
        raise InputError("--init names a run that is not a segmenter's: see `endostream train segmenter`")
    return found
