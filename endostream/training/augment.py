"""How a training picture is changed: tower overlays and sensor faults, geometry, colour.

Geometry, colour, blur and noise are torchvision's, JPEG is OpenCV's; only what no library draws (a tower's
border, panels, specular spots, interlace) is ours. It must not know data sets, networks or losses.
"""

from __future__ import annotations

import string
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from endostream.training.settings import Augmentation

__all__ = ["MEAN", "STD", "Augment", "dress", "to_input"]

Image = NDArray[np.uint8]
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Augment:
    """Turns a cut-out picture and its mask into a network's input and target."""

    def __init__(self, strength: Augmentation) -> None:
        self.strength = strength
        colour, damage, geometry = strength.colour, strength.damage, strength.geometry
        self._affine = v2.RandomApply(
            [
                v2.RandomAffine(
                    degrees=25 * geometry,
                    translate=(0.08 * geometry, 0.08 * geometry),
                    scale=(1 - 0.35 * geometry, 1 + 0.25 * geometry),
                    shear=8 * geometry,
                    interpolation=v2.InterpolationMode.BILINEAR,
                )
            ],
            p=0.5 * geometry,
        )
        self._colour: Any = v2.Compose(
            [
                v2.ColorJitter(0.35 * colour, 0.3 * colour, 0.35 * colour),
                # A hue shift costs as much as all the rest together, so only some pictures get one.
                v2.RandomApply([v2.ColorJitter(hue=0.05 * colour)], p=0.3),
                v2.RandomApply([v2.GaussianBlur(7, (0.4, 2.2))], p=0.2 * damage),
            ]
        )
        self._noise: Any = v2.RandomApply([v2.GaussianNoise(0.0, 0.04)], p=0.2 * damage)

    def __call__(
        self, image: Image, mask: Image, side: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Give float32[3, side, side], normalised, and float32[1, side, side], 0 or 1.

        torch's own generator is used as well: the caller seeds it.
        """
        image, mask = dress(image, mask, self.strength, rng)
        picture, target = _resized(image, mask, side)
        if self.strength.geometry > 0:
            picture, target = self._moved(picture, target, rng)
        picture = self._noise(v2.functional.to_dtype(self._colour(picture), torch.float32, scale=True))
        if self.strength.colour > 0 and rng.random() < 0.4:
            picture = picture.clamp(0, 1) ** float(np.exp(rng.normal(0, 0.3 * self.strength.colour)))
        normal = v2.functional.normalize(picture, list(MEAN), list(STD))
        return _plain(normal), _plain(target).float()

    def _moved(self, picture: Any, target: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        if flip:
            picture, target = v2.functional.horizontal_flip(picture), v2.functional.horizontal_flip(target)
        picture = tv_tensors.Image(torch.rot90(picture.as_subclass(Tensor), turns, (1, 2)))
        target = tv_tensors.Mask(torch.rot90(target.as_subclass(Tensor), turns, (1, 2)))
        return self._affine(picture, target)  # type: ignore[no-any-return]


def to_input(image: Image, side: int) -> Tensor:
    """Give float32[3, side, side] for a picture as the app prepares it: antialiased squash, normalised."""
    picture, _ = _resized(image, np.zeros(image.shape[:2], np.uint8), side)
    scaled = v2.functional.to_dtype(picture, torch.float32, scale=True)
    return _plain(v2.functional.normalize(scaled, list(MEAN), list(STD)))


def _plain(value: Any) -> Tensor:
    return cast(Tensor, value.as_subclass(Tensor))


def _resized(image: Image, mask: Image, side: int) -> tuple[Any, Any]:
    picture = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
    target = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(mask[None])))
    resize = v2.Resize((side, side), antialias=True)
    return resize(picture), resize(target)


def dress(image: Image, mask: Image, strength: Augmentation, rng: np.random.Generator) -> tuple[Image, Image]:
    """Give copies with a tower's overlays and a camera's faults; a mask under an overlay is removed."""
    image, mask = image.copy(), mask.copy()
    if rng.random() < 0.3 * strength.damage:
        _spots(image, rng)
    if rng.random() < 0.12 * strength.damage:
        _interlace(image, rng)
    if rng.random() < 0.12 * strength.damage:
        image = _motion(image, rng)
    if rng.random() < strength.tower:
        if rng.random() < 0.5:
            _panel(image, mask, rng)
        if rng.random() < 0.3:
            _corners(image, mask, rng)
        if rng.random() < 0.5:
            image, mask = _bordered(image, mask, rng)
        if rng.random() < 0.5:
            _text(image, rng)
    if rng.random() < 0.25 * strength.damage:
        image = _compressed(image, int(rng.integers(25, 91)))
    return image, mask


def _compressed(image: Image, quality: int) -> Image:
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]


def _spots(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 9))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, max(2, width // 28))), int(rng.integers(1, max(2, width // 40))))
        cv2.ellipse(layer, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(layer, (0, 0), 1.0)[..., None].astype(np.float32) / 255
    image[:] = (image * (1 - soft) + rng.integers(225, 256) * soft).astype(np.uint8)


def _interlace(image: Image, rng: np.random.Generator) -> None:
    image[1::2] = np.roll(image[1::2], int(rng.integers(-6, 7)), axis=1)


def _motion(image: Image, rng: np.random.Generator) -> Image:
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
    shift = np.array([np.cos(angle), np.sin(angle)]) * middle
    start, end = np.rint(middle - shift).astype(int), np.rint(middle + shift).astype(int)
    cv2.line(kernel, tuple(start.tolist()), tuple(end.tolist()), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _panel(image: Image, mask: Image, rng: np.random.Generator) -> None:
    """Paste a picture-in-picture box into a corner: flat, or a shrunken copy of the picture."""
    height, width = image.shape[:2]
    h, w = int(height * rng.uniform(0.15, 0.38)), int(width * rng.uniform(0.15, 0.38))
    top, left = (0 if rng.random() < 0.3 else height - h), (0 if rng.random() < 0.7 else width - w)
    box = np.s_[top : top + h, left : left + w]
    colours = ((0, 0, 0), (10, 90, 60), (20, 130, 70), (0, 60, 110), (40, 40, 40))
    image[box] = colours[int(rng.integers(len(colours)))]
    if rng.random() < 0.4:
        inner = cv2.resize(np.ascontiguousarray(np.roll(image, width // 2, axis=1)), (w, h))
        image[box] = cv2.GaussianBlur(inner, (0, 0), 3.0)
    mask[box] = 0


def _corners(image: Image, mask: Image, rng: np.random.Generator) -> None:
    """Black out what lies outside an octagon or a circle, as many towers do."""
    height, width = image.shape[:2]
    keep = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        radius = int(max(height, width) * rng.uniform(0.5, 0.6))
        cv2.circle(keep, (width // 2, height // 2), radius, 1, -1)
    else:
        cut = int(min(height, width) * rng.uniform(0.08, 0.25))
        points = [(cut, 0), (width - cut, 0), (width, cut), (width, height - cut)]
        points += [(width - cut, height), (cut, height), (0, height - cut), (0, cut)]
        cv2.fillPoly(keep, [np.array(points, np.int32)], 1)
    image[keep == 0] = int(rng.integers(0, 12))
    mask[keep == 0] = 0


def _bordered(image: Image, mask: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    height, width = image.shape[:2]
    wide = rng.random() < 0.3
    top, bottom = int(height * rng.uniform(0, 0.12)), int(height * rng.uniform(0, 0.12))
    left, right = int(width * rng.uniform(0, 0.5 if wide else 0.12)), int(width * rng.uniform(0, 0.12))
    sides = ((top, bottom), (left, right))
    grey = int(rng.integers(0, 16))
    return np.pad(image, (*sides, (0, 0)), constant_values=grey), np.pad(mask, sides)


def _text(image: Image, rng: np.random.Generator) -> None:
    """Burn a few lines of random letters in; they cover too little to change the mask."""
    height, width = image.shape[:2]
    size, x = rng.uniform(0.3, 0.55) * width / 384, int(width * rng.choice([0.01, 0.02, 0.7]))
    y = int(height * rng.uniform(0.05, 0.7))
    letters = np.array(list(string.ascii_uppercase + string.digits + "/:. "))
    colour = (255, 255, 255) if rng.random() < 0.7 else (230, 220, 80)
    for _ in range(int(rng.integers(1, 6))):
        line = "".join(rng.choice(letters, int(rng.integers(3, 13))))
        cv2.putText(image, line, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
        y += max(8, int(32 * size))
