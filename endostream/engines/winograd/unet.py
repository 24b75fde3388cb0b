"""The published UNet on the kernels: which wishes they serve, and the steps it is made of.

Owns the choice against OpenVINO, the folded weights on disk and the order of the steps. Must not know lanes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from endostream.engines.cache import read_blob, write_blob
from endostream.engines.identity import model_key
from endostream.engines.winograd.library import Features, Network, features, kernel_set
from endostream.engines.wish import Outputs, Runner, Wish
from endostream.errors import PackError
from endostream.models import load
from endostream.packs import ModelSpec
from endostream.resources import user_cache
from endostream.types import FloatArray

__all__ = ["beats_int8", "build", "open_runner", "serves"]

ARCHITECTURE = "unet-64"
LANES = 16
"""Channels come in multiples of this."""
STAGES = 4


def serves(model: ModelSpec, precision: str) -> bool:
    """True when the kernels can run this model and are the fastest way to do so here.

    Against OpenVINO on a Zen 4 they take 0.4 of its time in bf16 and fp32 (docs/performance.md). With AMX a
    processor multiplies bfloat16 eight times as fast; Winograd's transforms would only be in its way.
    """
    width = model.options.get("width", 64)
    if model.architecture != ARCHITECTURE or not isinstance(width, int) or width % LANES:
        return False
    here = features()
    if precision == "bf16" and Features.AMX_BF16 in here:
        return False
    return kernel_set(precision, here) is not None


def beats_int8(model: ModelSpec, precision: str) -> bool:
    """True when the kernels in `precision` are faster than OpenVINO in int8, and more exact besides.

    In bf16 they take 0.8 of its time on a Zen 4. In fp32 they are slower than products of int8 (VNNI), and
    faster than what stands in for these on older processors.
    """
    vnni = features() & (Features.AVX512_VNNI | Features.AVX_VNNI)
    return serves(model, precision) and (precision == "bf16" or not vnni)


def open_runner(wish: Wish) -> Runner:
    """The mask network of a wish that `serves` accepts, its weights folded and packed.

    Raises
    ------
    PackError
        When the weights are missing or do not fit the architecture.
    RunError
        When memory is short.
    """
    size = wish.model.preprocessing
    kind = kernel_set(wish.precision, features())
    if kind is None:
        raise PackError(f"no kernels for {wish.model.name} in {wish.precision}")
    network = build(_weights(wish), kind, wish.threads, size.height, size.width)

    def answer(batch: FloatArray) -> Outputs:
        return network(batch), None

    return answer


def build(
    weights: Mapping[str, FloatArray], kind: Features, threads: int, height: int, width: int
) -> Network:
    """The UNet of folded weights (`UNet.folded`) for pictures of height x width pixels."""
    network = Network(kind, threads, height, width)
    base = len(weights["enc1.0.bias"])
    channels = [base << stage for stage in range(STAGES)]
    sizes = [(height >> stage, width >> stage) for stage in range(STAGES + 1)]
    # What the decoder raises and what the encoder skips lie side by side, so nothing is copied to join them.
    joined = [network.plane(*size, 2 * count) for size, count in zip(sizes, channels, strict=False)]
    between = [network.plane(*size, count) for size, count in zip(sizes, channels, strict=False)]
    halved = [network.plane(*size, count) for size, count in zip(sizes[1:], channels, strict=True)]

    def layer(name: str) -> tuple[FloatArray, FloatArray]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    for stage, count in enumerate(channels):
        name = f"enc{stage + 1}"
        if stage == 0:
            network.first(between[0], 0, *layer(f"{name}.0"))
        else:
            network.convolve((halved[stage - 1], 0), (between[stage], 0), -1, *layer(f"{name}.0"))
        network.convolve((between[stage], 0), (joined[stage], count), halved[stage], *layer(f"{name}.1"))
    inner, low = (network.plane(*sizes[STAGES], 2 * channels[-1]) for _ in range(2))
    network.convolve((halved[-1], 0), (inner, 0), -1, *layer("bottleneck.0"))
    network.convolve((inner, 0), (low, 0), -1, *layer("bottleneck.1"))
    for stage in reversed(range(STAGES)):
        network.raise_((low, 0), (joined[stage], 0), *layer(f"up{stage + 1}"))
        network.convolve((joined[stage], 0), (between[stage], 0), -1, *layer(f"dec{stage + 1}.0"))
        low = network.plane(*sizes[stage], channels[stage])
        network.convolve((between[stage], 0), (low, 0), -1, *layer(f"dec{stage + 1}.1"))
    network.last(low, 0, weights["final.weight"].reshape(-1), weights["final.bias"])
    network.settle()
    return network


def _weights(wish: Wish) -> dict[str, FloatArray]:
    """The folded weights, from disk, or made and kept there: a later start needs no torch."""
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
