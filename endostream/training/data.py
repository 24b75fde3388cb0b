"""Decoded pictures for training, kept in memory.

Owns the picture in memory and its kind. It must not know networks, losses or augmentation; folders and splits
are `endostream.datasets`'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.datasets import Dataset, Item
from endostream.datasets.items import decode

__all__ = ["Picture", "load_pictures"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture with its mask."""

    image: Image
    """uint8[H, W, 3], RGB."""
    mask: Image
    """uint8[H, W], 1 on a polyp, else 0."""
    source: str
    """Public set it comes from."""
    group: str
    """Sequence or cluster."""
    kind: str
    """`polyp`, `empty` (colon without a polyp), `other` (another organ) or `phantom`."""


def load_pictures(dataset: Dataset, items: Iterable[Item], longest: int = 0) -> tuple[list[Picture], str]:
    """Give the decoded pictures of items and the sha256 of their names and bytes.

    Parameters
    ----------
    longest
        Pictures are shrunk to this longest side; 0 keeps their size.
    """
    digest = hashlib.sha256()

    def stored() -> Iterable[tuple[Item, bytes, bytes]]:
        for item in items:
            image, mask = dataset.bytes_of(item)
            digest.update(item.image.encode() + image + mask)
            yield item, image, mask

    with ThreadPoolExecutor(2) as pool:
        pictures = list(pool.map(lambda found: _picture(found[0], found[1], found[2], longest), stored()))
    return pictures, digest.hexdigest()


def _picture(item: Item, image_bytes: bytes, mask_bytes: bytes, longest: int) -> Picture:
    found = decode(item, image_bytes, mask_bytes)
    image = found.image
    mask = np.zeros(image.shape[:2], np.uint8) if found.mask is None else found.mask
    scale = longest / max(mask.shape) if longest else 1.0
    if scale < 1:
        size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    kind = "other" if item.organ == "other" else "polyp" if mask.any() else "empty"
    return Picture(image, mask, item.source, item.group, kind)
