"""Two networks that begin alike: run the common part once.

Owns which architectures may share a trunk, and whether two models of a pack really do. Must not know
engines or lanes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from endostream.models import load
from endostream.packs import ModelSpec, Pack

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_rest", "load_trunk", "shares_trunk"]

SHARED: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {
    ("light-classifier", "light-unet"): (
        "endostream.models.light:LightTrunk",
        "endostream.models.light:LightRest",
        ("encoder.", "fuse16."),
    ),
}
"""Architectures of classifier and segmenter: the trunk, the rest, and the weights that must be the same."""


def shares_trunk(pack: Pack) -> bool:
    """True when the acting classifier and the segmenter begin with the same weights on the same input.

    Needs the weight files, not torch: 30 ms for the shipped pack.
    """
    found = _pair(pack)
    if found is None:
        return False
    classifier, segmenter = found
    if classifier.preprocessing != segmenter.preprocessing or pack.missing:
        return False
    # A side that is no multiple of 32 rounds up on its way down, and 4 times the first grid is not the input.
    if classifier.preprocessing.width % 32 or classifier.preprocessing.height % 32:
        return False
    *_, prefixes = SHARED[classifier.architecture, segmenter.architecture]
    return _equal(pack, classifier, segmenter, prefixes)


def _pair(pack: Pack) -> tuple[ModelSpec, ModelSpec] | None:
    if not pack.classifiers or pack.segmenter is None:
        return None
    pair = (pack.classifiers[0], pack.segmenter)
    return pair if (pair[0].architecture, pair[1].architecture) in SHARED else None


def _equal(pack: Pack, one: ModelSpec, other: ModelSpec, prefixes: tuple[str, ...]) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with (
            safe_open(pack.path(one), framework="numpy") as first,
            safe_open(pack.path(other), framework="numpy") as second,
        ):
            names = [{n for n in sorted(file.keys()) if n.startswith(prefixes)} for file in (first, second)]
            return names[0] == names[1] and all(
                np.array_equal(first.get_tensor(n), second.get_tensor(n)) for n in sorted(names[0])
            )
    except (OSError, SafetensorError):
        # Whoever loads the network says what is wrong with the file.
        return False


def load_trunk(pack: Pack) -> nn.Module:
    """The classifier of a pack that `shares_trunk`, giving its features too; raises `PackError`."""
    classifier, segmenter = _known(pack)
    return _wrapped(pack, classifier, SHARED[classifier.architecture, segmenter.architecture][0])


def load_rest(pack: Pack) -> nn.Module:
    """What the segmenter of a pack that `shares_trunk` does after the trunk; raises `PackError`."""
    classifier, segmenter = _known(pack)
    return _wrapped(pack, segmenter, SHARED[classifier.architecture, segmenter.architecture][1])


def _known(pack: Pack) -> tuple[ModelSpec, ModelSpec]:
    found = _pair(pack)
    assert found is not None, "asked for only where networks share a trunk"
    return found


def _wrapped(pack: Pack, model: ModelSpec, key: str) -> nn.Module:
    module, _, name = key.partition(":")
    wrapper: nn.Module = getattr(importlib.import_module(module), name)(load(pack, model))
    return wrapper.eval()
