"""Networks on the processor by OpenVINO: converted once, compiled, kept on disk.

Owns conversion, compiling and the certainty that nothing is sent anywhere. Must not know lanes,
preprocessing or what the numbers mean.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from endostream.engines.cache import key_of, read_blob, write_blob
from endostream.engines.identity import model_key
from endostream.engines.threads import settle_torch
from endostream.engines.wish import Features, Outputs, Rest, Runner, Trunk, Wish
from endostream.errors import InputError
from endostream.models import load
from endostream.models.sharing import load_rest, load_trunk
from endostream.packs import ModelSpec
from endostream.resources import user_cache
from endostream.types import FloatArray

__all__ = [
    "Made",
    "available",
    "convert",
    "core",
    "has_bf16",
    "library",
    "network_key",
    "open_rest",
    "open_runner",
    "open_trunk",
    "others",
    "version",
    "whole",
]

HINTS = {"fp32": "f32", "bf16": "bf16"}
Shaped = tuple[Any, list[tuple[int, ...]]]
"""A network of torch and the shapes of its inputs."""


@dataclass(frozen=True, slots=True)
class Made:
    """A network that takes the place of the converted one."""

    key: str
    """What it depends on beyond the wish."""
    make: Callable[[], Any]
    """Gives OpenVINO's model; called when nothing compiled is kept."""


@cache
def library() -> ModuleType:
    """The library OpenVINO with its telemetry out of reach.

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
def core() -> Any:
    """The one OpenVINO core of this process."""
    return library().Core()


def available() -> bool:
    """True when OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def version() -> str:
    """OpenVINO's version."""
    return str(library().get_version())


def has_bf16() -> bool:
    """True when this processor computes in bfloat16 (AVX512-BF16 or AMX), as OpenVINO sees it."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_runner(wish: Wish, made: Made | None = None) -> Runner:
    """One model of a pack compiled for the processor, from disk where it was kept.

    In `fp32` or `bf16` it is converted from the pack's weights; in `int8` it was `made` elsewhere, and what
    was left unquantised in it runs in bf16 where the processor has it.
    """
    run = _caller(_compiled(wish, "", lambda: whole(wish), made))

    def answer(batch: FloatArray) -> Outputs:
        found = run([batch])
        return found[0], found[1] if len(found) > 1 else None

    return answer


def open_trunk(wish: Wish) -> Trunk:
    """The acting classifier of a pack whose networks share a trunk, giving the trunk's features too."""
    size = wish.model.preprocessing
    compiled = _compiled(wish, "-trunk", lambda: (load_trunk(wish.pack), [(1, 3, size.height, size.width)]))
    run = _caller(compiled)

    def answer(batch: FloatArray) -> tuple[FloatArray, FloatArray, Features]:
        logits, maps, *features = run([batch])
        return logits, maps, tuple(features)

    return answer


def open_rest(wish: Wish) -> Rest:
    """What the segmenter of such a pack does after the trunk."""
    size = wish.model.preprocessing

    def network() -> Shaped:
        import torch

        with torch.inference_mode():
            _, _, *features = load_trunk(wish.pack)(torch.zeros(1, 3, size.height, size.width))
        return load_rest(wish.pack), [tuple(f.shape) for f in features]

    run = _caller(_compiled(wish, "-rest", network))

    def answer(features: Features) -> FloatArray:
        return run(list(features))[0]

    return answer


def whole(wish: Wish) -> Shaped:
    """The network of a wish with the shape of its input."""
    size = wish.model.preprocessing
    return load(wish.pack, wish.model, wish.seed), [(1, 3, size.height, size.width)]


def _compiled(wish: Wish, part: str, network: Callable[[], Shaped], made: Made | None = None) -> Any:
    """The compiled network, from disk or from `network`, which gives it with the shapes of its inputs.

    What was `made` elsewhere takes its place.
    """
    pack, model, precision = wish.pack, wish.model, wish.precision
    kind = "pack" if wish.seed is None else "random"
    name = f"{pack.name}-{model.name}{part}-{precision}-{kind}-{_key(wish, part, made)}.blob"
    path = user_cache("openvino") / name
    config = {
        "INFERENCE_PRECISION_HINT": HINTS[precision if made is None else others()],
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
        return compiled
    wish.say(f"compiling {model.role} {model.name} for the CPU ({precision}); cached for next time")
    found = convert(wish, *network()) if made is None else made.make()
    compiled = core().compile_model(found, "CPU", config)
    problem = write_blob(path, compiled.export_model().getvalue())
    if problem:
        wish.say(f"compiled networks cannot be kept in {path.parent} ({problem}); each start compiles")
    return compiled


def _key(wish: Wish, part: str, made: Made | None) -> str:
    """Everything the compiled network depends on."""
    processor = core().get_property("CPU", "FULL_DEVICE_NAME")
    abilities = sorted(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    more = () if made is None else (made.key,)
    return key_of((network_key(wish.model, wish.seed), processor, abilities, wish.precision, part, *more))


def network_key(model: ModelSpec, seed: int | None) -> str:
    """Everything the converted network depends on."""
    return key_of((version(), model_key(model, seed)))


def _from_cache(blob: bytes | None, config: dict[str, Any]) -> Any:
    if blob is None:
        return None
    try:
        return core().import_model(io.BytesIO(blob), "CPU", config)
    except RuntimeError:
        # A blob of another build that the key did not tell apart: compile anew and replace it.
        return None


def convert(wish: Wish, network: Any, shapes: list[tuple[int, ...]]) -> Any:
    """A network of torch as OpenVINO's model in float32, for inputs of these shapes."""
    import torch

    settle_torch(wish.threads)
    examples = tuple(torch.zeros(shape) for shape in shapes)
    given: Any = examples[0] if len(examples) == 1 else examples
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns about sizes becoming constants, which is the point of it.
            warnings.simplefilter("ignore")
            # One pass; OpenVINO's own tracing makes three.
            trace: Any = torch.jit.trace
            traced = torch.jit.freeze(trace(network, given, strict=False, check_trace=False))
            wanted = [list(shape) for shape in shapes]
            return library().convert_model(traced, example_input=given, input=wanted)
    finally:
        settle_torch(1)


def _caller(compiled: Any) -> Callable[[list[FloatArray]], list[FloatArray]]:
    """Runs a compiled network, with one request per calling thread; the outputs are the caller's."""
    local = threading.local()
    count = len(compiled.outputs)

    def run(inputs: list[FloatArray]) -> list[FloatArray]:
        request = getattr(local, "request", None)
        if request is None:
            request = local.request = compiled.create_infer_request()
        request.infer(inputs, share_inputs=True, share_outputs=True)
        # Copied: the request writes its next outputs to the same place.
        return [np.array(request.get_output_tensor(i).data, dtype=np.float32) for i in range(count)]

    return run


def others() -> str:
    """What the layers that int8 leaves out run in: `bf16` where the processor has it, else `fp32`."""
    return "bf16" if has_bf16() else "fp32"


def refuse_without_bf16() -> None:
    """Raise `InputError` when this processor cannot compute in bfloat16."""
    if not has_bf16():
        raise InputError("this processor has no bfloat16 arithmetic; use --precision fp32")
