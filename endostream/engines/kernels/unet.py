"""The published UNet on the kernels.

Owns the steps it is made of. Must not know what else may run it.
"""

from __future__ import annotations

from collections.abc import Mapping

from endostream.engines.kernels.convolutions import Network
from endostream.engines.kernels.library import Features
from endostream.engines.wish import Outputs, Runner, Wish
from endostream.packs import ModelSpec
from endostream.types import FloatArray

__all__ = ["ARCHITECTURE", "LANES", "build", "cost", "fits", "open_runner"]

ARCHITECTURE = "unet-64"
LANES = 16
"""Channels come in multiples of this."""
STAGES = 4


def fits(model: ModelSpec) -> bool:
    """True for stages of whole vectors of channels."""
    width = model.options.get("width", 64)
    return isinstance(width, int) and width % LANES == 0


def open_runner(weights: Mapping[str, FloatArray], wish: Wish, kind: Features) -> Runner:
    """The mask network of a wish, on the kernels of one kind."""
    size = wish.model.preprocessing
    network = build(weights, kind, wish.threads, size.height, size.width)

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


def cost(weights: Mapping[str, FloatArray], height: int, width: int) -> tuple[int, int]:
    """Multiplications for one picture on the kernels, and how many numbers its folded weights are kept as.

    F(4x4, 3x3) makes a tile of 4x4 outputs with 36 multiplications instead of 144 and keeps 36 numbers for a
    filter's 9 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). The first layer,
    the raising ones and the last are direct. What the transforms add up is not counted.
    """
    stages = {"bottleneck": STAGES, "final": 0}
    for n in range(STAGES):
        stages |= {f"enc{n + 1}": n, f"up{n + 1}": n + 1, f"dec{n + 1}": n}
    products = kept = 0
    for name, values in weights.items():
        layer, numbers, spots = name.split(".")[0], values.size, 0
        if name.endswith(".weight"):
            # Each number is multiplied once for every tile, or for every pixel of what the layer reads.
            down, across = height >> stages[layer], width >> stages[layer]
            spots = down * across
            if values.shape[-1] == 3 and name != "enc1.0.weight":
                numbers, spots = 4 * values.size, -(-down // 4) * -(-across // 4)
        products += numbers * spots
        kept += numbers
    return products, kept
