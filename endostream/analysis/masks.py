"""From a segmenter's logits to a mask at source size.

Owns the thresholds' meaning. Must not know networks, gates or drawing.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from endostream.types import FloatArray, MaskArray

FAR_BELOW = -20.0


def logit(probability: float) -> float:
    """The logit of a probability; 0 and 1 are far away, not infinite."""
    if not 0.0 < probability < 1.0:
        return FAR_BELOW if probability <= 0.0 else -FAR_BELOW
    return math.log(probability / (1.0 - probability))


def drop_unsure(logits: FloatArray, threshold: float, peak: float) -> FloatArray:
    """Logits float32[h, w] without the patches over `threshold` in which no pixel reaches `peak`.

    Hysteresis in the plane: a patch that is nowhere sure is mostly a fold or a reflection. What it does on
    the shipped pack's held-out pictures stands in `docs/training.md`.
    About 0.5 ms at 256 x 256.
    """
    if peak <= threshold:
        return logits
    count, patches = cv2.connectedComponents((logits > logit(threshold)).astype(np.uint8))
    if count < 2:
        return logits
    sure = np.zeros(count, bool)
    sure[np.unique(patches[logits >= logit(peak)])] = True
    sure[0] = True
    return np.where(sure[patches], logits, np.float32(FAR_BELOW)).astype(np.float32)


def mask_at(
    logits: FloatArray,
    size: tuple[int, int],
    threshold: float,
    peak: float = 0.0,
    published: bool = False,
) -> MaskArray:
    """The mask bool[H, W] for a source of `size` (width, height) from logits float32[h, w].

    A pixel belongs to it over `threshold` (a probability), when its patch reaches `peak`. `published` is the
    predecessor's way: over 0.5 at the network's size, enlarged by nearest neighbour.
    """
    if published:
        small = (1.0 / (1.0 + np.exp(-logits)) > 0.5).astype(np.uint8)
        return cv2.resize(small, size, interpolation=cv2.INTER_NEAREST).astype(bool)
    kept = drop_unsure(logits, threshold, peak)
    return np.asarray(cv2.resize(kept, size, interpolation=cv2.INTER_LINEAR) > logit(threshold))
