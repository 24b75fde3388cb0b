"""The compiled kernels: found, loaded, and what this processor can do with them.

Owns the file and its C interface. Must not know any network.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from endostream.errors import RunError
from endostream.types import FloatArray

__all__ = [
    "SETS",
    "SWITCH",
    "Features",
    "addresses",
    "available",
    "features",
    "kernel_set",
    "library",
    "switched_off",
]

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
    names = [f"{STEM}{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    found = [path for name in names if (path := Path(__file__).parent / name).is_file()]
    return _opened(found[0]) if found else None


def _opened(path: Path) -> ctypes.CDLL | None:
    """The library in a file; None where that is damaged, or was built from another version's source."""
    try:
        return _declared(ctypes.CDLL(str(path)))
    except (OSError, AttributeError):
        return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions, as `native/` has them."""
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
        "transformer": (pointer, [number] * 6),
        "transformer_close": (None, [pointer]),
        "transformer_embed": (number, [pointer] * 3),
        "transformer_block": (number, [pointer] * 2),
        "transformer_head": (number, [pointer] * 4),
        "context": (pointer, [pointer, number]),
        "context_close": (None, [pointer]),
        "context_run": (None, [pointer] * 4),
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


def library() -> ctypes.CDLL:
    """The compiled kernels; raises `RunError` where there are none."""
    found = _library()
    if found is None:
        raise RunError("the kernels were not built; install EndoStream where there is a C++ compiler")
    return found


def kernel_set(precision: str, offers: Features) -> Features | None:
    """The kernels that compute in this precision on a processor that `offers` so much, or None."""
    wanted = {"bf16": SETS[:1], "fp32": SETS[1:]}
    return next((one for one in wanted.get(precision, ()) if one in offers), None)


def addresses(*arrays: FloatArray) -> list[int]:
    """Where the arrays begin; raises `TypeError` unless they are contiguous float32."""
    for array in arrays:
        if array.dtype != np.float32 or not array.flags.c_contiguous:
            raise TypeError("the kernels take contiguous arrays of float32")
    return [int(array.ctypes.data) for array in arrays]
