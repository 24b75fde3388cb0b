"""The published classifier, a vision transformer, on the kernels.

Owns the native network, its contexts and their order of arguments. Must not know what else may run it.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Mapping

import numpy as np

from endostream.engines.kernels.library import addresses, library
from endostream.engines.wish import Outputs, Runner, Wish
from endostream.errors import RunError
from endostream.packs import ModelSpec
from endostream.types import FloatArray

__all__ = ["ARCHITECTURE", "Context", "Transformer", "fits", "open_runner"]

ARCHITECTURE = "dinov2-vits14-linear"
HEAD = 64
"""Channels of an attention head, and outputs computed at once."""
LAYERS = ("qkv", "proj", "fc1", "fc2")
PATCH = 14


def fits(model: ModelSpec) -> bool:
    """True for heads of 64 channels and whole patches."""
    dim, heads = model.options.get("dim", 384), model.options.get("heads", 6)
    patch, size = model.options.get("patch", PATCH), model.preprocessing
    whole = size.height % patch == 0 and size.width % patch == 0
    return bool(whole and patch % 2 == 0 and dim == heads * HEAD)


class Transformer:
    """The weights, packed once; contexts run it.

    Parameters
    ----------
    weights
        `DinoV2Classifier.folded`.
    rows, columns
        The grid of patches.

    Raises
    ------
    RunError
        When this processor has no such kernels, or memory is short.
    """

    def __init__(self, weights: Mapping[str, FloatArray], rows: int, columns: int) -> None:
        native = library()
        dim, inputs = weights["embed.weight"].shape
        patch = round((inputs / 3) ** 0.5)
        self.classes, self.grid, self.size = (
            len(weights["head.bias"]),
            (rows, columns),
            (rows * patch, columns * patch),
        )
        hidden = len(weights["blocks.0.fc1.bias"])
        self.native = native.endostream_transformer(rows, columns, patch, dim, hidden, self.classes)
        if not self.native:
            raise RunError("no kernels for a transformer here, or too little memory")
        self._close = weakref.finalize(self, native.endostream_transformer_close, self.native)
        self._done(
            native.endostream_transformer_embed(
                self.native, *addresses(weights["embed.weight"], weights["start"])
            )
        )
        for number in range(sum(name.endswith(".qkv.bias") for name in weights)):
            layers = [
                weights[f"blocks.{number}.{layer}.{kind}"] for layer in LAYERS for kind in ("weight", "bias")
            ]
            parts = (ctypes.c_void_p * len(layers))(*addresses(*layers))
            self._done(native.endostream_transformer_block(self.native, parts))
        head = [weights[f"head.{name}"] for name in ("weight", "bias", "map_bias")]
        self._done(native.endostream_transformer_head(self.native, *addresses(*head)))

    def _done(self, answer: int) -> None:
        if answer < 0:
            raise RunError("too little memory for the classifier; close other programs")


class Context:
    """One picture in work: memory of its own, and so many threads, the caller's included."""

    def __init__(self, network: Transformer, threads: int) -> None:
        native = library()
        self._network, self._run = network, native.endostream_context_run
        self._context = native.endostream_context(network.native, threads)
        if not self._context:
            raise RunError("too little memory for the classifier; close other programs")
        self._close = weakref.finalize(self, native.endostream_context_close, self._context)

    def __call__(self, batch: FloatArray) -> Outputs:
        """Logits float32[1, C] and class maps float32[1, C, gh, gw] for a picture float32[1, 3, H, W]."""
        network = self._network
        if batch.shape != (1, 3, *network.size):
            height, width = network.size
            raise RunError(f"a network for {width}x{height} pixels was given an array of shape {batch.shape}")
        logits = np.empty((1, network.classes), np.float32)
        maps = np.empty((1, network.classes, *network.grid), np.float32)
        self._run(self._context, *addresses(batch, logits, maps))
        return logits, maps

    def close(self) -> None:
        """Give memory and threads back; safe to call twice."""
        self._close()


def open_runner(weights: Mapping[str, FloatArray], wish: Wish) -> Runner:
    """The classifier of a wish; every calling thread gets a context with its share of the threads."""
    size, patch = wish.model.preprocessing, wish.model.options.get("patch", PATCH)
    network = Transformer(weights, size.height // patch, size.width // patch)
    threads, local = max(1, wish.threads // wish.streams), threading.local()

    def answer(batch: FloatArray) -> Outputs:
        context: Context | None = getattr(local, "context", None)
        if context is None:
            context = local.context = Context(network, threads)
        return context(batch)

    return answer
