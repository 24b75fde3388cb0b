"""Networks by PyTorch on the processor, and whether it could use a GPU (see `cuda`).

Owns the number type and the threads. Must not know lanes, preprocessing or what the numbers mean.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

from endostream.engines.threads import settle_torch
from endostream.engines.wish import Outputs, Runner, Wish
from endostream.models import load
from endostream.types import FloatArray

__all__ = ["has_cuda", "open_runner"]

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def has_cuda() -> bool:
    """True when torch can use an NVIDIA GPU; without a driver torch is not even imported (3 s)."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def open_runner(wish: Wish) -> Runner:
    """One model of a pack on the processor in `fp32` or `bf16`."""
    import torch

    settle_torch(wish.threads)
    wish.say(f"loading {wish.model.role} {wish.model.name} for the CPU ({wish.precision})")
    number = {"fp32": torch.float32, "bf16": torch.bfloat16}[wish.precision]
    # Any: `to` has no type for a memory format together with a number type.
    network: Any = load(wish.pack, wish.model, wish.seed)
    network = network.to(dtype=number, memory_format=torch.channels_last)

    def run(batch: FloatArray) -> Outputs:
        with torch.inference_mode():
            out = network(torch.from_numpy(batch).to(dtype=number, memory_format=torch.channels_last))
            parts = out if isinstance(out, tuple) else (out,)
            found = [np.array(p.float().numpy()) for p in parts]
        return found[0], found[1] if len(found) > 1 else None

    return run
