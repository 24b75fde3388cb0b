"""Pictures that show nearly the same, found by a difference hash and coarse colours.

Owns these signatures and their clusters: what a random split must not divide where patients are not known. It
must not know layouts or figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.datasets.items import Dataset, Item, decode

__all__ = ["CLOSE", "clusters", "grouped", "shared", "signature"]

SIDE = 16
CLOSE = (70, 12.0)
"""Bits of 256, and levels of 255, up to which two signatures are of nearly the same picture.

Measured on 880 Kvasir-SEG pictures of 869 known groups (6 of these stay divided, 2 pairs are joined wrongly)
and on 480 frames of 23 CVC-ClinicDB sequences (191 clusters). Without the colours 391 of the 880 are one.
"""

Bits = NDArray[np.uint8]
Colours = NDArray[np.float32]


def grouped(dataset: Dataset) -> Dataset:
    """Give the data set with near-duplicates of unknown groups put into one group each.

    Items whose group is known keep it. Every picture of an unknown group is read once (2 ms on one core).
    """
    unknown = [item for item in dataset.items if item.group == item.image]
    if not unknown:
        return dataset
    with ThreadPoolExecutor() as pool:
        signatures = list(pool.map(lambda item: _signature_of(dataset, item), unknown))
    roots = clusters(np.stack([bits for bits, _ in signatures]), np.stack([rgb for _, rgb in signatures]))
    names = {item.image: unknown[root].image for item, root in zip(unknown, roots, strict=True)}
    items = tuple(replace(item, group=names.get(item.image, item.group)) for item in dataset.items)
    return replace(dataset, items=items)


def signature(image: NDArray[np.uint8]) -> tuple[Bits, Colours]:
    """Give what a picture uint8[H, W, 3] is recognised by.

    256 bits as uint8[32] (is each of 16 x 16 cells lighter than its left neighbour) and 8 x 8 mean colours.
    The outer 6 % are left out: a tower's border is the same in every picture of a site.
    """
    height, width = image.shape[:2]
    y, x = int(0.06 * height), int(0.06 * width)
    inner = np.ascontiguousarray(image[y : height - y, x : width - x])
    grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    colours = cv2.resize(inner, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.packbits(small[:, 1:] > small[:, :-1]), colours.reshape(-1)


def clusters(hashes: Bits, colours: Colours, close: tuple[int, float] = CLOSE) -> list[int]:
    """Give each signature the number of its cluster's first member (chains of near ones; union-find)."""
    parent = list(range(len(hashes)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    # With bits as -1 and 1 a product of matrices counts how many agree.
    bits = np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
    enough = bits.shape[1] - 2 * close[0]
    for start in range(0, len(bits), 512):
        agree = bits[start : start + 512] @ bits[start:].T
        pairs = np.argwhere(agree >= enough) + start
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        for part in np.array_split(pairs, 1 + len(pairs) // 65536):
            near = np.abs(colours[part[:, 0]] - colours[part[:, 1]]).mean(1) <= close[1]
            for first, second in part[near].tolist():
                one, two = root(first), root(second)
                parent[max(one, two)] = min(one, two)
    return [root(number) for number in range(len(hashes))]


def _signature_of(dataset: Dataset, item: Item) -> tuple[Bits, Colours]:
    content, _ = dataset.bytes_of(item)
    # A JPEG is decoded at an eighth of its size: the signature needs no more.
    small = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_COLOR_8) if content else None
    if small is None or min(small.shape[:2]) < 2 * SIDE:
        return signature(decode(replace(item, mask=""), content, b"").image)
    return signature(np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8))


def shared(first: Iterable[Item], second: Iterable[Item]) -> int:
    """Give how many items of the second list have a near-duplicate in the first (items of `grouped`)."""
    groups = {item.group for item in first}
    return sum(item.group in groups for item in second)
