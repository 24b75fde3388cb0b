"""Masks from logits: what is nowhere sure is dropped, what is sure is kept whole."""

from __future__ import annotations

import numpy as np

from endostream.analysis.masks import drop_unsure, logit, mask_at


def two_patches() -> np.ndarray:  # type: ignore[type-arg]
    logits = np.full((40, 60), -4.0, np.float32)
    logits[5:15, 5:15] = 1.0
    logits[20:35, 30:50] = 1.0
    logits[27, 40] = logit(0.97)
    return logits


def test_a_patch_without_a_sure_pixel_is_dropped_and_a_sure_one_kept_whole() -> None:
    logits = two_patches()
    kept = drop_unsure(logits, 0.5, 0.95) > 0
    assert not kept[5:15, 5:15].any() and kept[20:35, 30:50].all() and kept.sum() == 15 * 20
    assert (drop_unsure(logits, 0.5, 0.0) > 0).sum() == 100 + 300
    assert not (drop_unsure(logits, 0.5, 0.99) > 0).any()


def test_enlarged_masks_follow_the_same_rule_and_published_ones_do_not() -> None:
    logits = two_patches()
    mask = mask_at(logits, (120, 80), 0.5, 0.95)
    assert mask.shape == (80, 120) and not mask[:32, :32].any() and mask[44:66, 64:96].all()
    published = mask_at(logits, (120, 80), 0.5, 0.95, published=True)
    assert published[10:30, 10:30].all() and published[40:70, 60:100].all()


def test_an_empty_mask_stays_empty() -> None:
    assert not mask_at(np.full((8, 8), -3.0, np.float32), (16, 16), 0.5, 0.9).any()
