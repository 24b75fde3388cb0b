"""A network of 3x3 convolutions as a list of steps, built once and run.

Owns the native network. Must not know any architecture.
"""

from __future__ import annotations

import weakref

import numpy as np

from endostream.engines.kernels.library import Features, addresses, library
from endostream.errors import RunError
from endostream.types import FloatArray

__all__ = ["Network"]


class Network:
    """A network as a list of steps over planes of activations; built once, then run.

    Weights are copied and packed as steps are added. A plane is named by the number that `plane` gave.

    Parameters
    ----------
    kind
        The set of kernels: `AVX512_BF16`, `AVX512` or `AVX2`.
    threads
        Threads that share the items of each step, the caller's included.
    height, width
        Size of the picture in pixels, multiples of 16.

    Raises
    ------
    RunError
        When this processor has not got these kernels, or memory is short.
    """

    def __init__(self, kind: Features, threads: int, height: int, width: int) -> None:
        self._library, self._size = library(), (height, width)
        self._network = self._library.endostream_open(int(kind), threads, height, width)
        if not self._network:
            raise RunError(f"no kernels for {kind.name} here, or too little memory")
        self._close = weakref.finalize(self, self._library.endostream_close, self._network)

    def plane(self, height: int, width: int, channels: int) -> int:
        """A new plane of zeros, height x width pixels with a border of one more."""
        return self._done(self._library.endostream_plane(self._network, height, width, channels))

    def first(self, out: int, at: int, weights: FloatArray, bias: FloatArray) -> None:
        """3x3 convolution with ReLU of the picture's three channels, to channels from `at` on of `out`.

        `weights` is float32[K, 3, 3, 3], `bias` float32[K], K a multiple of 16.
        """
        call, given = self._library.endostream_first, addresses(weights, bias)
        self._done(call(self._network, out, at, len(weights), *given))

    def convolve(
        self,
        source: tuple[int, int],
        out: tuple[int, int],
        pooled: int,
        weights: FloatArray,
        bias: FloatArray,
    ) -> None:
        """3x3 convolution with ReLU from (plane, first channel) to (plane, first channel).

        `weights` is float32[K, C, 3, 3], `bias` float32[K], C and K multiples of 16. The maxima of 2x2 go to
        the plane `pooled`, unless that is -1.
        """
        call, given = self._library.endostream_convolve, addresses(weights, bias)
        outputs, inputs = weights.shape[:2]
        self._done(call(self._network, *source, inputs, *out, outputs, pooled, *given))

    def raise_(
        self, source: tuple[int, int], out: tuple[int, int], weights: FloatArray, bias: FloatArray
    ) -> None:
        """2x2 transposed convolution with stride 2, from (plane, first channel) to (plane, first channel).

        `weights` is float32[C, K, 2, 2], `bias` float32[K], C and K multiples of 16.
        """
        call, given = self._library.endostream_raise, addresses(weights, bias)
        inputs, outputs = weights.shape[:2]
        self._done(call(self._network, *source, inputs, *out, outputs, *given))

    def last(self, source: int, at: int, weights: FloatArray, bias: FloatArray) -> None:
        """1x1 convolution to one logit per pixel; `weights` is float32[C], `bias` float32[1]."""
        call, given = self._library.endostream_last, addresses(weights, bias)
        self._done(call(self._network, source, at, len(weights), *given))

    def settle(self) -> None:
        """No step will be added any more."""
        self._done(self._library.endostream_settle(self._network))

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Logits float32[1, 1, height, width] for a picture float32[1, 3, height, width]."""
        height, width = self._size
        if batch.shape != (1, 3, height, width):
            raise RunError(f"a network for {width}x{height} pixels was given an array of shape {batch.shape}")
        logits = np.empty((1, 1, height, width), np.float32)
        self._library.endostream_run(self._network, *addresses(batch, logits))
        return logits

    def close(self) -> None:
        """Give memory and threads back; safe to call twice."""
        self._close()

    def _done(self, answer: int) -> int:
        if answer < 0:
            raise RunError("too little memory for the mask network; close other programs")
        return answer
