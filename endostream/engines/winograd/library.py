"""The compiled kernels: found, loaded, and what this processor can do with them.

Owns the file and its C interface. Must not know any network.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import weakref
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from endostream.errors import RunError
from endostream.types import FloatArray

__all__ = ["SETS", "SWITCH", "Features", "Network", "available", "features", "kernel_set", "switched_off"]

SWITCH = "ENDOSTREAM_KERNELS"
"""Environment variable; `off` leaves every network to the libraries."""
STEM = "_kernels"


class Features(IntFlag):
    """What a processor offers, as the compiled kernels count it."""

    AVX2 = 1
    """256 bits with fused multiplication and addition."""
    AVX512 = 2
    """512 bits."""
    AVX512_BF16 = 4
    """Products of bfloat16 on 512 bits."""
    AVX512_VNNI = 8
    """Products of int8 on 512 bits."""
    AVX_VNNI = 16
    """Products of int8 on 256 bits."""
    AMX_BF16 = 32
    """Whole tiles of bfloat16: eight times AVX512-BF16."""


SETS = (Features.AVX512_BF16, Features.AVX512, Features.AVX2)
"""What kernels there are for: the first computes in bf16, the others in fp32, the faster one first."""


@cache
def _library() -> ctypes.CDLL | None:
    """The library, or None where none was built or it cannot be loaded."""
    folder = Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = folder / f"{STEM}{suffix}"
        if path.is_file():
            try:
                return _declared(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):
                return None
    return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions, as `kernels/network.cpp` has them."""
    number, pointer = ctypes.c_int, ctypes.c_void_p
    span = [number] * 3
    declared: dict[str, tuple[Any, list[Any]]] = {
        "features": (number, []),
        "open": (pointer, [number] * 4),
        "close": (None, [pointer]),
        "plane": (number, [pointer, *span]),
        "first": (number, [pointer, *span, pointer, pointer]),
        "convolve": (number, [pointer, *span, *span, number, pointer, pointer]),
        "raise": (number, [pointer, *span, *span, pointer, pointer]),
        "last": (number, [pointer, *span, pointer, pointer]),
        "settle": (number, [pointer]),
        "run": (None, [pointer, pointer, pointer]),
    }
    for name, (gives, takes) in declared.items():
        function = getattr(library, f"endostream_{name}")
        function.restype, function.argtypes = gives, takes
    return library


def switched_off() -> bool:
    """True when the environment says that our kernels are not to be used."""
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false")


def available() -> bool:
    """True when the kernels were built and nobody switched them off."""
    return not switched_off() and _library() is not None


def features() -> Features:
    """What this processor offers; nothing where the kernels are not available."""
    library = _library() if available() else None
    return Features(0 if library is None else library.endostream_features())


def kernel_set(precision: str, offers: Features) -> Features | None:
    """The kernels that compute in this precision on a processor that `offers` so much, or None."""
    wanted = {"bf16": SETS[:1], "fp32": SETS[1:]}
    return next((one for one in wanted.get(precision, ()) if one in offers), None)


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
        library = _library()
        if library is None:
            raise RunError("the kernels were not built; install EndoStream where there is a C++ compiler")
        self._library, self._size = library, (height, width)
        self._network = library.endostream_open(int(kind), threads, height, width)
        if not self._network:
            raise RunError(f"no kernels for {kind.name} here, or too little memory")
        self._close = weakref.finalize(self, library.endostream_close, self._network)

    def plane(self, height: int, width: int, channels: int) -> int:
        """A new plane of zeros, height x width pixels with a border of one more."""
        return self._done(self._library.endostream_plane(self._network, height, width, channels))

    def first(self, out: int, at: int, weights: FloatArray, bias: FloatArray) -> None:
        """3x3 convolution with ReLU of the picture's three channels, to channels from `at` on of `out`.

        `weights` is float32[K, 3, 3, 3], `bias` float32[K], K a multiple of 16.
        """
        call, given = self._library.endostream_first, _pointers(weights, bias)
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
        call, given = self._library.endostream_convolve, _pointers(weights, bias)
        outputs, inputs = weights.shape[:2]
        self._done(call(self._network, *source, inputs, *out, outputs, pooled, *given))

    def raise_(
        self, source: tuple[int, int], out: tuple[int, int], weights: FloatArray, bias: FloatArray
    ) -> None:
        """2x2 transposed convolution with stride 2, from (plane, first channel) to (plane, first channel).

        `weights` is float32[C, K, 2, 2], `bias` float32[K], C and K multiples of 16.
        """
        call, given = self._library.endostream_raise, _pointers(weights, bias)
        inputs, outputs = weights.shape[:2]
        self._done(call(self._network, *source, inputs, *out, outputs, *given))

    def last(self, source: int, at: int, weights: FloatArray, bias: FloatArray) -> None:
        """1x1 convolution to one logit per pixel; `weights` is float32[C], `bias` float32[1]."""
        call, given = self._library.endostream_last, _pointers(weights, bias)
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
        self._library.endostream_run(self._network, *_pointers(batch, logits))
        return logits

    def close(self) -> None:
        """Give memory and threads back; safe to call twice."""
        self._close()

    def _done(self, answer: int) -> int:
        if answer < 0:
            raise RunError("too little memory for the mask network; close other programs")
        return answer


def _pointers(*arrays: FloatArray) -> list[ctypes.c_void_p]:
    for array in arrays:
        if array.dtype != np.float32 or not array.flags.c_contiguous:
            raise TypeError("the kernels take contiguous arrays of float32")
    return [ctypes.c_void_p(array.ctypes.data) for array in arrays]
