"""What a data set is: labelled pictures by name, read one at a time.

Owns the item, the data set, and how a picture and its mask are decoded. It must not know layouts, networks or
figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.datasets.files import Files
from endostream.errors import InputError

__all__ = ["Dataset", "Item", "LabelledPicture"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture, not yet read."""

    image: str
    """Path inside the data folder, or member name inside one of its tar files."""
    mask: str
    """Path or member of its mask, empty where there is none."""
    label: str
    """Class name, `polyp`, `no_polyp`, or empty."""
    source: str
    """Public set it comes from, such as `kvasir_seg`, or what the manifest says."""
    group: str
    """What a split must never divide (sequence, centre, cluster); the picture's own name where unknown."""
    organ: str
    """`colon`, or `other` for another organ."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPicture:
    """One decoded picture with its mask."""

    image: Image
    """uint8[H, W, 3], RGB."""
    mask: Image | None
    """uint8[H, W], 1 on the finding, else 0; None where the item has no mask."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The items of one folder and how to read them."""

    folder: Path
    """Where the files lie."""
    layout: str
    """`manifest`, `hyperkvasir-labelled`, `images-masks`, `cvc-clinicdb` or `polypgen`."""
    items: tuple[Item, ...]
    """In a fixed order: that of the manifest, else by class and name."""
    _files: Files = field(init=False, repr=False, compare=False)
    """The folder's files, unpacked or not."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_files", Files(self.folder))

    def bytes_of(self, item: Item) -> tuple[bytes, bytes]:
        """Give the stored bytes of an item's picture and of its mask (empty where there is none)."""
        return self._files.read(item.image), self._files.read(item.mask) if item.mask else b""

    def read(self, item: Item) -> LabelledPicture:
        """Give the decoded picture and mask of an item.

        Raises
        ------
        InputError
            When a file is missing, cannot be decoded, or the mask has another size; it is named.
        """
        return decode(item, *self.bytes_of(item))

    def digest(self, items: Iterable[Item]) -> str:
        """Give the sha256 over names and bytes of items, in their order."""
        digest = hashlib.sha256()
        for item in items:
            image, mask = self.bytes_of(item)
            digest.update(item.image.encode() + image + mask)
        return digest.hexdigest()

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names that occur, sorted."""
        return tuple(sorted({item.label for item in self.items if item.label}))


def decode(item: Item, image_bytes: bytes, mask_bytes: bytes) -> LabelledPicture:
    """Give the picture and mask that an item's bytes hold; see `Dataset.read`."""
    found = _decoded(image_bytes, cv2.IMREAD_COLOR)
    if found is None:
        raise InputError(f"cannot decode {item.image}: fetch the data again")
    image = np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)
    if not item.mask:
        return LabelledPicture(image, None)
    grey = _decoded(mask_bytes, cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise InputError(f"cannot decode the mask {item.mask}: fetch the data again")
    if grey.shape != image.shape[:2]:
        sizes = f"{grey.shape[1]}x{grey.shape[0]} instead of {image.shape[1]}x{image.shape[0]}"
        raise InputError(f"{item.mask} is not a mask of {item.image} ({sizes}): fetch the data again")
    return LabelledPicture(image, (grey > 127).astype(np.uint8))


def _decoded(content: bytes, how: int) -> Image | None:
    if not content:
        return None
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    except cv2.error:
        return None
    return None if found is None else np.asarray(found, np.uint8)
