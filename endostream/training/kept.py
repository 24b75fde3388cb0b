"""Pictures kept in memory at one size, and how a kept picture becomes a sample.

Owns squashing, augmentation by torchvision's transforms, and normalising. It must not know networks or loops.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from endostream.datasets import Dataset, Item
from endostream.datasets.items import decode
from endostream.engines.preprocess import resize
from endostream.training.augment import MEAN, STD
from endostream.training.recipes import Change

__all__ = ["Changes", "Kept", "keep", "to_tensor"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The pictures of one part of a run."""

    images: Image
    """uint8[N, S, S, 3], RGB."""
    masks: Image
    """uint8[N, S, S], 0 or 1; uint8[0] where there are none."""
    digest: str
    """sha256 over names and bytes of what was read."""

    def __len__(self) -> int:
        return len(self.images)


def keep(dataset: Dataset, items: list[Item], side: int, kernel: str, masks: bool = False) -> Kept:
    """Give the pictures of items squashed to a side by a pack's kernel; masks by the nearest pixel.

    One array, so that loader processes share it: 256 pixels take 0.2 MB a picture.
    """
    images = np.zeros((len(items), side, side, 3), np.uint8)
    truth = np.zeros((len(items), side, side) if masks else 0, np.uint8)
    digest = hashlib.sha256()

    def stored() -> Iterable[tuple[int, bytes, bytes]]:
        for number, item in enumerate(items):
            image, mask = dataset.bytes_of(item)
            digest.update(item.image.encode() + image + mask)
            yield number, image, mask

    def put(found: tuple[int, bytes, bytes]) -> None:
        number, image, mask = found
        picture = decode(items[number], image, mask)
        images[number] = resize(picture.image, side, side, kernel)
        if masks and picture.mask is not None:
            truth[number] = cv2.resize(picture.mask, (side, side), interpolation=cv2.INTER_NEAREST)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(put, stored()):
            pass
    return Kept(images, truth, digest.hexdigest())


def to_tensor(image: Image, normalise: bool, side: int, centre: bool = False) -> Tensor:
    """Give float32[3, side, side] for a kept picture: its centre, or all of it."""
    picture = _picture(image)
    if centre:
        picture = v2.functional.center_crop(picture, [side, side])
    elif image.shape[0] != side:
        picture = v2.functional.resize(picture, [side, side], antialias=True)
    return _normal(picture, normalise)


class Changes:
    """Augmentation of kept pictures; torch's own generator decides, the caller seeds it."""

    def __init__(self, change: Change, side: int, normalise: bool) -> None:
        self.normalise = normalise
        geometry: list[Any] = [v2.Resize((side, side), antialias=True)]
        if change.least:
            geometry = [v2.RandomResizedCrop(side, scale=(change.least, 1.0), antialias=True)]
        geometry += [v2.RandomHorizontalFlip(change.flip), v2.RandomVerticalFlip(change.vertical)]
        affine = v2.RandomAffine(
            degrees=change.degrees,
            translate=(change.shift, change.shift),
            scale=(1 - change.zoom, 1 + change.zoom),
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        self._geometry: Any = v2.Compose([*geometry, v2.RandomApply([affine], change.moved)])
        jitter = v2.ColorJitter(change.brightness, change.contrast, change.saturation, change.hue)
        self._colour: Any = v2.Compose(
            [
                v2.RandomApply([jitter], change.coloured),
                v2.RandomApply([v2.GaussianBlur(7, (0.3, 2.0))], change.blur),
            ]
        )
        self._jpeg = change.jpeg
        self._noise: Any = v2.RandomApply([v2.GaussianNoise(0.0, 0.03)], change.noise)
        self._erase: Any = v2.RandomErasing(change.erase)

    def __call__(self, image: Image, mask: Image | None = None) -> tuple[Tensor, Tensor]:
        """Give float32[3, S, S], normalised, and float32[1, S, S], 0 or 1 (float32[0] without a mask)."""
        picture = _picture(image)
        if mask is None:
            picture, target = self._geometry(picture), torch.zeros(0)
        else:
            truth = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(mask[None])))
            picture, truth = self._geometry(picture, truth)
            target = cast(Tensor, truth.as_subclass(Tensor)).float()
        picture = self._colour(picture)
        if float(torch.rand(())) < self._jpeg:
            picture = _compressed(picture, int(torch.randint(35, 96, ())))
        picture = self._noise(v2.functional.to_dtype(picture, torch.float32, scale=True))
        return cast(Tensor, self._erase(_normal(picture, self.normalise))), target


def _compressed(picture: Any, quality: int) -> Any:
    """Give a picture as JPEG leaves it; torchvision gives its own codec up."""
    image = np.ascontiguousarray(picture.numpy().transpose(1, 2, 0)[..., ::-1])
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _picture(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _picture(image: Image) -> Any:
    return tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))


def _normal(picture: Any, normalise: bool) -> Tensor:
    scaled = v2.functional.to_dtype(picture, torch.float32, scale=True)
    if normalise:
        scaled = v2.functional.normalize(scaled, list(MEAN), list(STD))
    return cast(Tensor, scaled.as_subclass(Tensor))
