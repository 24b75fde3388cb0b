"""Networks by PyTorch: CUDA in half precision, or the processor.

Owns the device, the number type and what a failing GPU is called. Must not know lanes, preprocessing
or what the numbers mean.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from endostream.engines.lane import one_line
from endostream.engines.threads import settle_torch
from endostream.engines.wish import Outputs, Runner, Wish
from endostream.errors import RunError
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
    """One model of a pack on `cpu` or `cuda` in `fp32`, `bf16` or (CUDA) `fp16`."""
    import torch

    settle_torch(wish.threads)
    where = "the GPU" if wish.device == "cuda" else "the CPU"
    wish.say(f"loading {wish.model.role} {wish.model.name} for {where} ({wish.precision})")
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if wish.device == "cuda":
        # TensorFloat-32 rounds to 10 bits: not what somebody who asks for fp32 expects.
        torch.backends.cudnn.allow_tf32 = wish.precision != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = wish.precision != "fp32"
        torch.backends.cudnn.benchmark = True
    with _gpu_said() if wish.device == "cuda" else nullcontext():
        network = load(wish.pack, wish.model, wish.seed)
        return _runner(network, torch.device(wish.device), types[wish.precision])


@contextmanager
def _gpu_said() -> Iterator[None]:
    """A GPU's failures said in one line."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise RunError("the GPU is out of memory; close other programs on it or use --device cpu") from error
    except RuntimeError as error:
        said = f"the GPU failed ({one_line(error)}); check its driver or use --device cpu"
        raise RunError(said) from error


def _runner(network: Any, device: Any, number: Any) -> Runner:
    import torch

    # Any: `to` has no type for a memory format together with a number type.
    moved: Any = network.to(device=device, dtype=number, memory_format=torch.channels_last)

    def run(batch: FloatArray) -> Outputs:
        with torch.inference_mode(), _gpu_said() if device.type == "cuda" else nullcontext():
            given = torch.from_numpy(batch).to(device=device, dtype=number, memory_format=torch.channels_last)
            out = moved(given)
            parts = out if isinstance(out, tuple) else (out,)
            found = [np.array(p.float().cpu().numpy()) for p in parts]
        return found[0], found[1] if len(found) > 1 else None

    return run
