"""Training samples: sample number k of a run, always the same for the same seed.

Owns which picture, which cut and which labels a sample has. It must not know networks or loops. A sample
depends on (seed, k) alone, so a resumed run sees exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from endostream.datasets import Box, free_box, polyp_box
from endostream.errors import InputError
from endostream.training.augment import Augment
from endostream.training.data import Picture
from endostream.training.erase import without_polyp
from endostream.training.paste import with_polyp
from endostream.training.settings import Mixture, Training

__all__ = ["Sample", "Samples", "presence_label"]

IGNORED = -1
KINDS = ("whole", "crop", "free", "erased", "empty", "other", "phantom", "pasted")


class Sample(NamedTuple):
    """One input with its targets."""

    image: Tensor
    """float32[3, S, S], normalised."""
    mask: Tensor
    """float32[1, S, S], 0 or 1."""
    presence: int
    """1 polyp, 0 background, -1 a sliver of a polyp that is neither."""


class Samples(Dataset[Sample]):
    """Endless augmented samples with random access."""

    def __init__(self, pictures: list[Picture], training: Training) -> None:
        self.training = training
        self.pictures = pictures
        self.augment = Augment(training.augmentation)
        held: dict[str, list[int]] = {"polyp": [], "empty": [], "other": [], "phantom": []}
        for number, picture in enumerate(pictures):
            held[picture.kind].append(number)
        homes = dict.fromkeys(("whole", "crop", "free", "erased", "pasted"), "polyp")
        self._lists = {name: held[homes.get(name, name)] for name in KINDS}
        late = training.schedule.late_from > 0
        self._phases = [self._phase(mixture) for mixture in (training.mixture, training.late)[: 1 + late]]

    def _phase(self, mixture: Mixture) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Give the share of every kind and, within a kind, how often each picture is drawn (cumulated)."""
        weights = np.array([getattr(mixture, name) if self._lists[name] else 0.0 for name in KINDS])
        if not weights.sum():
            raise InputError("no picture is left to train on: check [mixture], [split] and the manifest")
        odds = {name: self._balanced(found, mixture.balance) for name, found in self._lists.items() if found}
        return np.asarray(weights / weights.sum()), odds

    def _balanced(self, numbers: list[int], balance: float) -> NDArray[np.float64]:
        sources = [self.pictures[number].source for number in numbers]
        sizes = Counter(sources)
        odds = np.array([sizes[source] ** -balance for source in sources])
        return np.asarray(np.cumsum(odds / odds.sum()))

    def __len__(self) -> int:
        """Give the number of samples of the whole run."""
        return self.training.schedule.steps * self.training.schedule.batch

    def __getitem__(self, number: int) -> Sample:
        """Give sample `number` of the run."""
        rng = np.random.default_rng((self.training.seed, number))
        schedule = self.training.schedule
        step = number // schedule.batch
        early = step < schedule.early_steps and schedule.early_side > 0
        shares, odds = self._phases[0 if step < schedule.late_from else -1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            kind = str(rng.choice(KINDS, p=shares))
            picture, kind = self._picked(kind, odds[kind], rng)
            x0, y0, x1, y1 = self._box(picture, kind, rng)
            image, mask = picture.image[y0:y1, x0:x1], picture.mask[y0:y1, x0:x1]
            whole = int(picture.mask.sum())
            tensor, target = self.augment(image, mask, schedule.early_side if early else schedule.side, rng)
        share = float(mask.sum()) / whole if whole else 0.0
        return Sample(tensor, target, presence_label(share, float(target.mean())))

    def _picked(self, kind: str, odds: NDArray[np.float64], rng: np.random.Generator) -> tuple[Picture, str]:
        """Give a random picture of a kind.

        Without room to erase a polyp: a frame to crop beside it. Without room to paste one: a whole frame.
        """
        found = self._lists[kind]

        def drawn() -> Picture:
            number = int(np.searchsorted(odds, rng.random(), side="right"))
            return self.pictures[found[min(number, len(found) - 1)]]

        for _ in range(4):
            picture = drawn()
            if kind == "pasted":
                both = with_polyp(picture, drawn(), rng)
                if both is not None:
                    return Picture(*both, picture.source, picture.group, "polyp"), "whole"
                continue
            if kind != "erased":
                return picture, kind
            image = without_polyp(picture, rng)
            if image is not None:
                nothing = np.zeros_like(picture.mask)
                return Picture(image, nothing, picture.source, picture.group, "empty"), "erased"
        return picture, "free" if kind == "erased" else "whole"

    def _box(self, picture: Picture, kind: str, rng: np.random.Generator) -> Box:
        aspect = float(np.exp(rng.uniform(-0.35, 0.35)))
        if kind == "phantom" and rng.random() < 0.5:
            kind = "crop" if picture.mask.any() and rng.random() < 0.5 else "free"
        if kind == "free":
            for largest in (0.85, 0.85, 0.6, 0.4):
                box = free_box(picture.mask, rng, (0.25, largest), self.training.augmentation.margin, aspect)
                if box is not None and _lit(picture.image, box):
                    return box
            if not picture.mask.any():
                return _trimmed(picture, rng)
            # No room beside a large polyp: a cut around it takes the place.
            return polyp_box(picture.mask, rng, (0.3, 1.0), aspect)
        if kind == "crop":
            return polyp_box(picture.mask, rng, (0.3, 1.0), aspect)
        part = {"empty": 0.5, "other": 0.5, "erased": 0.25}.get(kind, 0.0)
        if rng.random() < part:
            nothing = np.zeros_like(picture.mask)
            return free_box(nothing, rng, (0.3, 0.9), 0.0, aspect) or _trimmed(picture, rng)
        return _trimmed(picture, rng)


def presence_label(share: float, area: float) -> int:
    """Give 1 where a substantial part of a polyp shows, 0 where none does, -1 between.

    Parameters
    ----------
    share
        Visible part of the polyp's pixels, 0 to 1.
    area
        Part of the picture that they fill, 0 to 1.
    """
    if area == 0:
        return 0
    return 1 if (share >= 0.35 and area >= 0.002) or area >= 0.06 else IGNORED


def _trimmed(picture: Picture, rng: np.random.Generator) -> Box:
    """Give the whole frame, in half of the cases without a strip at each side."""
    height, width = picture.mask.shape
    if rng.random() < 0.5:
        return 0, 0, width, height
    left, right, top, bottom = rng.uniform(0, 0.1, 4)
    return int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - bottom))


def _lit(image: NDArray[np.uint8], box: Box) -> bool:
    """Tell whether at least 60 % of a box shows tissue and not a tower's black border."""
    x0, y0, x1, y1 = box
    return float((image[y0:y1:4, x0:x1:4].max(2) > 30).mean()) > 0.6
