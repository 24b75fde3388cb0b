"""Which network it is, whatever runs it: the key under which prepared forms of it are kept.

Owns what a network's numbers depend on. Must not know any engine.
"""

from __future__ import annotations

import hashlib
import importlib.util

import endostream
from endostream.engines.cache import key_of
from endostream.models import ARCHITECTURES
from endostream.packs import ModelSpec

__all__ = ["model_key"]


def model_key(model: ModelSpec, seed: int | None) -> str:
    """Everything the network of a model depends on; the source text stands for the architecture's code."""
    code = importlib.util.find_spec(ARCHITECTURES.get(model.architecture, "").partition(":")[0] or __name__)
    source = code.loader.get_data(code.origin) if code and code.origin else b""  # type: ignore[union-attr]
    return key_of(
        (
            endostream.__version__,
            hashlib.sha256(source).hexdigest(),
            model.architecture,
            sorted(model.options.items()),
            (model.preprocessing.width, model.preprocessing.height),
            model.sha256 if seed is None else f"seed {seed}",
        )
    )
