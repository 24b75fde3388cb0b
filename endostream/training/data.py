"""Pictures for training: a manifest with its files, the group-aware split, and boxes cut out of frames.

Owns reading and cutting. It must not know networks, losses or augmentation.
"""

from __future__ import annotations

import csv
import hashlib
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.errors import InputError
from endostream.training.settings import Split

__all__ = ["Picture", "Row", "free_box", "load_pictures", "polyp_box", "read_manifest", "split_rows"]

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]
TASKS = {"polyp_seg": "polyp", "other_organ": "other"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest."""

    image: str
    """Path of the picture inside the data folder."""
    mask: str
    """Path of its mask, or empty."""
    label: str
    """What the picture is labelled with."""
    source: str
    """Public set it comes from."""
    group: str
    """Sequence or cluster; never divided between training and validation."""
    organ: str
    """`polyp` for colonoscopy, `other` for another organ."""


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


class Files:
    """The files of a data folder, whether they lie in it or in one of its tar files."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"no data folder {folder}: name the folder that holds manifest.csv")
        self.folder = folder
        self._tars: dict[str, dict[str, bytes]] = {}

    def read(self, name: str) -> bytes:
        """Give the bytes of one file."""
        path = self.folder / name
        if path.is_file():
            return path.read_bytes()
        top = name.split("/", 1)[0]
        if top not in self._tars:
            self._tars[top] = self._unpacked(top)
        if name not in self._tars[top]:
            raise InputError(f"the manifest names {name}, which is neither in {self.folder} nor in {top}.tar")
        return self._tars[top][name]

    def _unpacked(self, top: str) -> dict[str, bytes]:
        path = self.folder / f"{top}.tar"
        if not path.is_file():
            return {}
        found = {}
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None:
                    found[member.name.removeprefix("./")] = stream.read()
        return found


def read_manifest(folder: Path, name: str = "manifest.csv") -> list[Row]:
    """Give the rows of a manifest that concern polyp segmentation or another organ."""
    path = folder / name
    if not path.is_file():
        raise InputError(f"no manifest {path}: name the folder that holds it with --data")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = {"image", "mask", "task", "label", "source", "group"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(
                f"{path.name} has no column {sorted(missing)[0]!r}: the header names its columns"
            )
        return [
            Row(row["image"], row["mask"], row["label"], row["source"], row["group"], TASKS[row["task"]])
            for row in reader
            if row["task"] in TASKS
        ]


def split_rows(rows: Iterable[Row], split: Split, seed: int) -> tuple[list[Row], list[Row]]:
    """Give the training and the held-out rows; no group is in both."""
    rows = list(rows)
    known = {row.group for row in rows}
    for group in split.groups:
        if group not in known:
            raise InputError(f"the split names group {group!r}, which the manifest does not have")
    held = set(split.groups)
    for row in rows:
        if row.source in split.sources:
            digest = hashlib.sha256(f"{seed}/{row.group}".encode()).digest()
            if int.from_bytes(digest[:8], "big") / 2**64 < split.share:
                held.add(row.group)
    return [row for row in rows if row.group not in held], [row for row in rows if row.group in held]


def load_pictures(folder: Path, rows: list[Row], longest: int) -> tuple[list[Picture], str]:
    """Give the decoded pictures of the rows and the sha256 of all bytes that were read."""
    files = Files(folder)
    digest = hashlib.sha256()

    def pairs() -> Iterable[tuple[Row, bytes, bytes]]:
        for row in rows:
            image, mask = files.read(row.image), files.read(row.mask) if row.mask else b""
            digest.update(row.image.encode() + image + mask)
            yield row, image, mask

    with ThreadPoolExecutor(2) as pool:
        pictures = list(pool.map(lambda pair: _decoded(pair[0], pair[1], pair[2], longest), pairs()))
    return pictures, digest.hexdigest()


def _decoded(row: Row, image_bytes: bytes, mask_bytes: bytes, longest: int) -> Picture:
    image = cv2.imdecode(np.frombuffer(image_bytes, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"cannot decode {row.image}: fetch the data again")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    mask = np.zeros(image.shape[:2], np.uint8)
    if mask_bytes:
        found = cv2.imdecode(np.frombuffer(mask_bytes, np.uint8), cv2.IMREAD_GRAYSCALE)
        if found is None or found.shape != mask.shape:
            raise InputError(f"{row.mask} is not a mask of {row.image}: fetch the data again")
        mask = (found > 127).astype(np.uint8)
    scale = longest / max(mask.shape)
    if scale < 1:
        size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    kind = "other" if row.organ == "other" else "polyp" if mask.any() else "empty"
    return Picture(np.asarray(image, np.uint8), np.asarray(mask, np.uint8), row.source, row.group, kind)


def free_box(
    mask: Image, rng: np.random.Generator, share: tuple[float, float], margin: float, aspect: float = 1.0
) -> Box | None:
    """Give a random box that misses every polyp by a margin, or None where there is no room.

    Parameters
    ----------
    mask
        uint8[H, W], non-zero on a polyp.
    share
        Least and largest side of the box relative to sqrt(H * W).
    margin
        Distance to any polyp, as a share of the box's longer side.
    aspect
        Width over height.

    Returns
    -------
    (x0, y0, x1, y1), half open, in pixels.
    """
    height, width = mask.shape
    side = rng.uniform(*share) * (height * width) ** 0.5
    w, h = min(round(side * aspect**0.5), width), min(round(side / aspect**0.5), height)
    gap = int(np.ceil(margin * max(w, h)))
    padded = cv2.copyMakeBorder(mask, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=0)
    table = cv2.integral(padded)
    outer_h, outer_w = h + 2 * gap, w + 2 * gap
    below = table[outer_h:, outer_w:] - table[outer_h:, :-outer_w]
    covered = below - (table[:-outer_h, outer_w:] - table[:-outer_h, :-outer_w])
    places = np.flatnonzero(covered == 0)
    if not len(places):
        return None
    y, x = divmod(int(places[rng.integers(len(places))]), covered.shape[1])
    return x, y, x + w, y + h


def polyp_box(mask: Image, rng: np.random.Generator, share: tuple[float, float], aspect: float = 1.0) -> Box:
    """Give a random box that holds a random pixel of a polyp; sides as in `free_box`."""
    height, width = mask.shape
    side = rng.uniform(*share) * (height * width) ** 0.5
    w, h = min(round(side * aspect**0.5), width), min(round(side / aspect**0.5), height)
    places = np.flatnonzero(mask)
    y, x = divmod(int(places[rng.integers(len(places))]), width)
    # The pixel lies in the middle 80 % of the box, so that a sliver at the edge is rare.
    x0 = int(np.clip(x - rng.uniform(0.1, 0.9) * w, 0, width - w))
    y0 = int(np.clip(y - rng.uniform(0.1, 0.9) * h, 0, height - h))
    return x0, y0, x0 + w, y0 + h
