"""Which wishes our kernels serve, and are the fastest to serve.

Owns the choice against OpenVINO. Must not know how a network is built.
"""

from __future__ import annotations

from endostream.engines.kernels import transformer, unet
from endostream.engines.kernels.folded import folded_weights
from endostream.engines.kernels.library import Features, features, kernel_set
from endostream.engines.wish import Runner, Wish
from endostream.errors import RunError
from endostream.packs import ModelSpec

__all__ = ["beats_int8", "open_runner", "serves"]


def serves(model: ModelSpec, precision: str) -> bool:
    """True when the kernels can run this model and are the fastest way to do so here.

    On a Zen 4 they take 0.4 of OpenVINO's time for the UNet in bf16 and fp32, and 0.75 to 0.93 of it for the
    ViT-S/14 in bf16 (docs/performance.md); in fp32 there is nothing to win for that one. With AMX a processor
    multiplies bfloat16 eight times as fast: Winograd's transforms would only be in its way.
    """
    here = features()
    if precision == "bf16" and Features.AMX_BF16 in here:
        return False
    kind = kernel_set(precision, here)
    if model.architecture == transformer.ARCHITECTURE:
        return kind == Features.AVX512_BF16 and transformer.fits(model)
    return kind is not None and model.architecture == unet.ARCHITECTURE and unet.fits(model)


def beats_int8(model: ModelSpec, precision: str) -> bool:
    """True when the kernels in `precision` are faster than OpenVINO in int8, and more exact besides.

    The UNet in bf16 takes 0.8 of its time on a Zen 4. In fp32 it is slower than products of int8 (VNNI), and
    faster than what stands in for these on older processors. A ViT has no convolutions to save on.
    """
    vnni = features() & (Features.AVX512_VNNI | Features.AVX_VNNI)
    fast = model.architecture == unet.ARCHITECTURE and (precision == "bf16" or not vnni)
    return fast and serves(model, precision)


def open_runner(wish: Wish) -> Runner:
    """The network of a wish that `serves` accepts, its weights folded and packed.

    Raises
    ------
    PackError
        When the weights are missing or do not fit the architecture.
    RunError
        When memory is short.
    """
    kind = kernel_set(wish.precision, features())
    if kind is None:
        raise RunError(f"no kernels for {wish.model.name} in {wish.precision} here")
    weights = folded_weights(wish)
    if wish.model.architecture == transformer.ARCHITECTURE:
        return transformer.open_runner(weights, wish)
    return unet.open_runner(weights, wish, kind)
