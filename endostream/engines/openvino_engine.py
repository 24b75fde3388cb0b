"""Networks on the processor by OpenVINO: converted once, compiled, kept on disk.

Owns conversion, compiling and the certainty that nothing is sent anywhere. Must not know lanes,
preprocessing or what the numbers mean.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import sys
import threading
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

import endostream
from endostream.engines.cache import key_of, read_blob, write_blob
from endostream.engines.threads import settle_torch
from endostream.engines.wish import Outputs, Runner, Wish
from endostream.errors import InputError
from endostream.models import ARCHITECTURES, load
from endostream.resources import user_cache
from endostream.types import FloatArray

__all__ = ["available", "has_bf16", "open_runner", "version"]

HINTS = {"fp32": "f32", "bf16": "bf16"}


@cache
def _openvino() -> ModuleType:
    """OpenVINO with its telemetry out of reach.

    `import openvino` itself sends an event when the package `openvino_telemetry` is there. An entry of
    None makes importing that package fail, and OpenVINO then takes its own stub that does nothing.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    openvino = importlib.import_module("openvino")
    # Where somebody imported OpenVINO before us, its converter still holds the real thing.
    holders = [m for n, m in sys.modules.items() if n.startswith("openvino.tools.ovc.") and hasattr(m, "tm")]
    for holder in holders:
        vars(holder)["tm"] = importlib.import_module("openvino.tools.ovc.telemetry_stub")
    return openvino


@cache
def _core() -> Any:
    return _openvino().Core()


def available() -> bool:
    """True when OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def version() -> str:
    """OpenVINO's version."""
    return str(_openvino().get_version())


def has_bf16() -> bool:
    """True when this processor computes in bfloat16 (AVX512-BF16 or AMX), as OpenVINO sees it."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_runner(wish: Wish) -> Runner:
    """One model of a pack compiled for the processor in `fp32` or `bf16`, from disk where it was kept."""
    pack, model, precision = wish.pack, wish.model, wish.precision
    kind = "pack" if wish.seed is None else "random"
    path = user_cache("openvino") / f"{pack.name}-{model.name}-{precision}-{kind}-{_key(wish)}.blob"
    config = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": wish.threads,
        # One stream gives a picture all threads; several give each picture a share and lose less: 26 and
        # 32 pictures a second with the ViT-S/14 on two cores.
        **({"PERFORMANCE_HINT": "LATENCY"} if wish.streams == 1 else {"NUM_STREAMS": wish.streams}),
        # Pinned threads of two networks would sit on the same cores and push the decoder around.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = _from_cache(read_blob(path), config)
    if compiled is not None:
        wish.say(f"loading {model.role} {model.name} for the CPU ({precision})")
        return _runner(compiled)
    wish.say(f"compiling {model.role} {model.name} for the CPU ({precision}); cached for next time")
    compiled = _core().compile_model(_convert(wish), "CPU", config)
    problem = write_blob(path, compiled.export_model().getvalue())
    if problem:
        wish.say(f"compiled networks cannot be kept in {path.parent} ({problem}); each start compiles")
    return _runner(compiled)


def _key(wish: Wish) -> str:
    """Everything the compiled network depends on; the source text stands for the architecture's code."""
    model = wish.model
    code = importlib.util.find_spec(ARCHITECTURES.get(model.architecture, "").partition(":")[0] or __name__)
    source = code.loader.get_data(code.origin) if code and code.origin else b""  # type: ignore[union-attr]
    processor = _core().get_property("CPU", "FULL_DEVICE_NAME")
    return key_of(
        (
            endostream.__version__,
            version(),
            processor,
            sorted(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            hashlib.sha256(source).hexdigest(),
            model.architecture,
            sorted(model.options.items()),
            (model.preprocessing.width, model.preprocessing.height),
            model.sha256 if wish.seed is None else f"seed {wish.seed}",
            wish.precision,
        )
    )


def _from_cache(blob: bytes | None, config: dict[str, Any]) -> Any:
    if blob is None:
        return None
    try:
        return _core().import_model(io.BytesIO(blob), "CPU", config)
    except RuntimeError:
        # A blob of another build that the key did not tell apart: compile anew and replace it.
        return None


def _convert(wish: Wish) -> Any:
    how = wish.model.preprocessing
    network = load(wish.pack, wish.model, wish.seed)
    import torch

    settle_torch(wish.threads)
    example = torch.zeros(1, 3, how.height, how.width)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns about sizes becoming constants, which is the point of it.
            warnings.simplefilter("ignore")
            # One pass; OpenVINO's own tracing makes three.
            trace: Any = torch.jit.trace
            traced = torch.jit.freeze(trace(network, example, strict=False, check_trace=False))
            return _openvino().convert_model(traced, example_input=example, input=[list(example.shape)])
    finally:
        settle_torch(1)


def _runner(compiled: Any) -> Runner:
    local = threading.local()
    count = len(compiled.outputs)

    def run(batch: FloatArray) -> Outputs:
        request = getattr(local, "request", None)
        if request is None:
            request = local.request = compiled.create_infer_request()
        request.infer([batch], share_inputs=True, share_outputs=True)
        found = [np.array(request.get_output_tensor(i).data, dtype=np.float32) for i in range(count)]
        return found[0], found[1] if count > 1 else None

    return run


def refuse_without_bf16() -> None:
    """Raise `InputError` when this processor cannot compute in bfloat16."""
    if not has_bf16():
        raise InputError("this processor has no bfloat16 arithmetic; use --precision fp32")
