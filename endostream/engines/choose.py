"""From a pack and a wish to running networks: which engine, device and precision.

Owns the choice. Must not know how an engine works inside; torch and OpenVINO are imported only once the
choice is made.
"""

from __future__ import annotations

from dataclasses import replace

from endostream.analysis.networks import Networks
from endostream.engines import int8, kernels, openvino_engine, proof, torch_engine
from endostream.engines.fallback import GuardedNetworks
from endostream.engines.pack_networks import PackNetworks
from endostream.engines.threads import settle_threads
from endostream.engines.wish import Choice
from endostream.errors import InputError
from endostream.packs import Pack, verify_pack

__all__ = ["Choice", "PackNetworks", "choose", "open_networks"]

OFFERED: dict[tuple[str, str], tuple[str, ...]] = {
    ("torch", "cuda"): ("fp16", "bf16", "fp32"),
    ("torch", "cpu"): ("fp32", "bf16"),
    ("openvino", "cpu"): ("bf16", "fp32", "int8"),
}
"""What an engine computes in on a device; `auto` takes the first that the machine can do well. int8 is for
those who ask for it, where its quality was measured (see `proof`)."""
RANDOM_SEED = 20
"""Seed of random weights: with it two benchmarks run the same networks."""


def choose(
    engine: str = "auto", device: str = "auto", precision: str = "auto", protocol: str = "pack"
) -> Choice:
    """What to run on this machine for a wish of which any part may be `auto`.

    CUDA where there is one (fp16), else OpenVINO on the processor (bf16 where it has it, else fp32), else
    torch on the processor. int8 is OpenVINO's alone. The protocol `published` defaults to fp32.

    Raises
    ------
    InputError
        When the machine or the product cannot do what was asked for.
    """
    _known("engine", engine, ("auto", "torch", "openvino"))
    _known("device", device, ("auto", "cpu", "cuda"))
    _known("precision", precision, ("auto", "fp32", "bf16", "fp16", "int8"))
    _known("protocol", protocol, ("pack", "published"))
    if engine == "openvino" and device == "cuda":
        raise InputError("OpenVINO runs on the CPU only; use --engine torch with --device cuda")
    if device == "auto":
        torch_may = engine != "openvino" and not (engine == "auto" and precision == "int8")
        device = "cuda" if torch_may and torch_engine.has_cuda() else "cpu"
    elif device == "cuda" and not torch_engine.has_cuda():
        raise InputError(
            "no CUDA device was found; use --device cpu, or install the driver and a CUDA build of torch"
        )
    if engine == "auto":
        engine = "openvino" if device == "cpu" and openvino_engine.available() else "torch"
    elif engine == "openvino" and not openvino_engine.available():
        raise InputError("OpenVINO is not installed; use --engine torch or install openvino")
    return Choice(engine, device, _precision(engine, device, precision, protocol))


def _known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"unknown {what} {value!r}; one of {', '.join(known)}")


def _precision(engine: str, device: str, precision: str, protocol: str) -> str:
    offered = OFFERED[engine, device]
    if precision == "auto":
        if protocol == "published" or (engine == "openvino" and not openvino_engine.has_bf16()):
            return "fp32"
        return offered[0]
    if precision not in offered:
        where = "the GPU" if device == "cuda" else "the CPU"
        raise InputError(
            f"{engine} does not offer {precision} on {where}; use --precision {' or '.join(offered)}"
        )
    if engine == "openvino" and precision == "bf16":
        openvino_engine.refuse_without_bf16()
    return precision


def _unproven(pack: Pack) -> dict[str, str]:
    """Every network in int8, by the NNCF of its proof where it has one, else by the one that is here."""
    found = {model.name: proof.read(pack, model) or {} for model in pack.models}
    return {name: int8.installed() or str(known.get("nncf", "")) for name, known in found.items()}


def _worth(pack: Pack, granted: dict[str, str]) -> dict[str, str]:
    """Those of the networks that may run in int8 to which nothing faster is at hand."""
    other = openvino_engine.others()
    faster = {m.name for m in pack.models if kernels.beats_int8(m, other)}
    return {name: version for name, version in granted.items() if name not in faster}


def open_networks(
    pack: Pack,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    protocol: str = "pack",
    random_weights: bool = False,
    verified: bool = False,
    ahead: bool = False,
    rate: float | None = None,
    unproven: bool = False,
) -> Networks:
    """The networks of a pack, ready for `warm_up`; networks are loaded there or by the first picture.

    Parameters
    ----------
    pack
        Any pack; its weights are checked against their checksums first.
    engine, device, precision
        What to run on (see `choose`).
    protocol
        `published` uses the published resize kernels to the last bit and fp32 by default.
    random_weights
        Seeded random weights instead of the pack's, for measuring the speed of a recipe.
    verified
        True when the caller has verified the pack already.
    ahead
        Work on several pictures at once where that is faster (files); each then takes longer.
    rate
        Pictures a second that come at their own pace, where known: two are worked on at once when one
        after the other would be too slow.
    unproven
        Let `int8` run without a proof of its quality, and where something else is faster: for measuring it.
        Random weights need no proof.

    Raises
    ------
    InputError
        When the machine cannot do what was asked for.
    PackError
        When weights are missing or do not match their checksums.
    """
    choice = choose(engine, device, precision, protocol)
    if not random_weights and not verified:
        verify_pack(pack)
    if choice.precision == "int8":
        free = unproven or random_weights
        granted = _unproven(pack) if free else proof.granted(pack)
        choice = replace(choice, int8=granted if unproven else _worth(pack, granted))
    settle_threads()
    seed = RANDOM_SEED if random_weights else None
    exact = protocol == "published"
    if choice.device == "cpu":
        return PackNetworks(pack, choice, exact, seed, ahead, rate)
    return GuardedNetworks(
        _on_gpu(pack, choice.precision, exact, seed, ahead),
        lambda: PackNetworks(pack, choose(device="cpu", protocol=protocol), exact, seed, ahead, rate),
        strict=device == "cuda",
    )


def _on_gpu(pack: Pack, precision: str, exact: bool, seed: int | None, ahead: bool) -> Networks:
    # Its modules import torch.
    from endostream.engines.cuda.networks import DeviceNetworks

    return DeviceNetworks(pack, precision, exact, seed, ahead)
