"""A network's weights as the kernels take them, on disk once they were made: a later start needs no torch.

Owns the file. Must not know what the weights are of.
"""

from __future__ import annotations

import numpy as np

from endostream.engines.cache import read_blob, write_blob
from endostream.engines.identity import model_key
from endostream.engines.wish import Wish
from endostream.models import load
from endostream.resources import user_cache
from endostream.types import FloatArray

__all__ = ["folded_weights"]


def folded_weights(wish: Wish) -> dict[str, FloatArray]:
    """What the network's own `folded` gives, contiguous float32.

    Raises `PackError` when the weights are missing or do not fit the architecture.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked
    from safetensors.numpy import save as packed

    pack, model = wish.pack, wish.model
    kind = "pack" if wish.seed is None else "random"
    key = model_key(model, wish.seed)
    path = user_cache("kernels") / f"{pack.name}-{model.name}-folded-{kind}-{key}.blob"
    content = read_blob(path)
    if content is not None:
        wish.say(f"loading {model.role} {model.name} for the CPU ({wish.precision}, own kernels)")
        try:
            return unpacked(content)
        except SafetensorError:
            # Written by another version under the same key: made anew below.
            pass
    wish.say(f"preparing {model.role} {model.name} for the CPU ({wish.precision}, own kernels)")
    folded: dict[str, FloatArray] = load(pack, model, wish.seed).folded()  # type: ignore[operator]
    weights = {name: np.ascontiguousarray(value) for name, value in folded.items()}
    problem = write_blob(path, packed(weights))
    if problem:
        wish.say(f"prepared networks cannot be kept in {path.parent} ({problem}); each start prepares them")
    return weights
