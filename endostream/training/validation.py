"""How a network does on held-out pictures: whole frames and polyp-free crops of them.

Owns the held-out inputs and their figures. It must not know losses, augmentation or loops. Phantom frames
never enter a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from endostream.datasets import free_box
from endostream.training.augment import to_input
from endostream.training.data import Picture

__all__ = ["HeldOut", "held_out", "mask_figures", "presence_figures", "run_network"]

FALSE_MASK = 0.002
FREE_SHARE = (0.5, 0.71)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """One input of the validation."""

    picture: Picture
    """The picture as the network sees it, already cut."""
    free: bool
    """Whether it is a polyp-free crop of a frame that has a polyp."""


def held_out(pictures: list[Picture], margin: float = 0.06, seed: int = 0) -> list[HeldOut]:
    """Give every picture whole and, of each polyp frame that has room, one polyp-free square crop.

    The crop's side is 0.5 to 0.71 of the geometric mean of the frame's sides: a quarter to a half of the
    frame's area, missing every polyp by `margin` of its side.
    """
    rng = np.random.default_rng(seed)
    found = [HeldOut(picture, free=False) for picture in pictures if picture.kind != "phantom"]
    for picture in pictures:
        box = free_box(picture.mask, rng, FREE_SHARE, margin) if picture.kind == "polyp" else None
        if box is not None:
            x0, y0, x1, y1 = box
            image, mask = picture.image[y0:y1, x0:x1], picture.mask[y0:y1, x0:x1]
            found.append(HeldOut(Picture(image, mask, picture.source, picture.group, "empty"), free=True))
    return found


def run_network(
    network: Callable[[Tensor], tuple[Tensor, ...]], held: list[HeldOut], side: int, batch: int = 16
) -> Iterator[tuple[HeldOut, tuple[Tensor, ...]]]:
    """Give every held-out picture with the network's outputs for it (without the batch axis)."""
    for start in range(0, len(held), batch):
        part = held[start : start + batch]
        inputs = torch.stack([to_input(item.picture.image, side) for item in part])
        with torch.inference_mode():
            outputs = network(inputs.contiguous(memory_format=torch.channels_last))
        for number, item in enumerate(part):
            yield item, tuple(output[number].float().cpu() for output in outputs)


def mask_figures(pairs: list[tuple[HeldOut, NDArray[np.bool_]]]) -> dict[str, float]:
    """Give Dice per source over whole polyp frames and the share of polyp-free pictures that got a mask.

    Dice is per picture at the mask's size, then averaged; pictures without a polyp are not in it.
    """
    dice: dict[str, list[float]] = {}
    false: dict[str, list[bool]] = {}
    for item, found in pairs:
        picture = item.picture
        if picture.kind == "polyp":
            truth = to_mask(picture.mask, found.shape)
            value = 2 * float((truth & found).sum()) / max(1.0, float(truth.sum() + found.sum()))
            dice.setdefault(picture.source, []).append(value)
        else:
            name = "free_crops" if item.free else picture.kind
            false.setdefault(name, []).append(float(found.mean()) > FALSE_MASK)
    figures = {f"dice_{name}": float(np.mean(values)) for name, values in sorted(dice.items())}
    figures |= {f"false_mask_{name}": float(np.mean(values)) for name, values in sorted(false.items())}
    return figures


def to_mask(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Give a mask at another size (nearest)."""
    at = [
        ((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(mask.shape, shape, strict=True)
    ]
    return np.asarray(mask[np.ix_(at[0], at[1])] > 0)


def presence_figures(pairs: list[tuple[HeldOut, float]]) -> dict[str, float]:
    """Give AUROC (polyp frames against polyp-free crops, and against all negatives) and ECE (15 bins)."""
    truth = torch.tensor([int(item.picture.kind == "polyp") for item, _ in pairs])
    score = torch.tensor([value for _, value in pairs])
    crops = torch.tensor([item.picture.kind == "polyp" or item.free for item, _ in pairs])
    figures = {}
    for name, chosen in (("free_crops", crops), ("all", torch.ones_like(crops))):
        # Undefined where the held-out pictures are all of one kind.
        if 0 < int(truth[chosen].sum()) < int(chosen.sum()):
            figures[f"auroc_{name}"] = float(binary_auroc(score[chosen], truth[chosen]))
    figures["ece"] = float(binary_calibration_error(score, truth, n_bins=15))
    if truth.any():
        figures["sensitivity_0.6"] = float((score[truth == 1] >= 0.6).float().mean())
    for name in ("free_crops", "empty", "other"):
        found = [value for item, value in pairs if _group_name(item) == name]
        if found:
            figures[f"false_0.6_{name}"] = float(np.mean(np.array(found) >= 0.6))
    return figures


def _group_name(item: HeldOut) -> str:
    return "free_crops" if item.free else item.picture.kind
