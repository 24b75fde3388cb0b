"""How fast could it be? The arithmetic of a pack's networks against what this processor can do.

Owns the floor: operations counted, the processor's peak measured with a matrix product (OpenVINO, the same
precision), the networks' own time, on what the product runs them on, held against it. Must not know pipelines
or sources.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from endostream.engines import PackNetworks, choose, openvino_engine
from endostream.engines.choose import RANDOM_SEED
from endostream.engines.kernels import unet
from endostream.engines.threads import settle_threads
from endostream.errors import InputError
from endostream.models import load
from endostream.packs import ModelSpec, Pack, find_pack, verify_pack

__all__ = ["Floor", "NetworkFloor", "as_json", "as_text", "measure_floor"]

SIDE = 1536
"""Rows and columns of the matrices whose product gives the peak: 7 GFLOP, larger than any cache's share."""
COPIED_MB = 256
ROUNDS = 7
"""Repetitions; the fastest counts, because everything else is somebody else's work."""
OWN, OPENVINO = "own kernels", "OpenVINO"
"""What a network runs on."""


@dataclass(frozen=True, slots=True)
class NetworkFloor:
    """One network of the pack."""

    name: str
    """Its name in the pack."""
    architecture: str
    """Its architecture key."""
    runs_on: str
    """What ran it: `own kernels` or `OpenVINO`."""
    gflop: float
    """Billions of floating-point operations for one picture; a multiplication and an addition are two."""
    needed_gflop: float
    """Those left as it runs: our own kernels need a quarter of the multiplications of a 3x3 convolution."""
    weights_mb: float
    """Its weights as they are kept, in the precision used, in MB: read once a picture at least."""
    floor_ms: float
    """Time of the needed arithmetic at the measured peak."""
    measured_ms: float
    """Time of one picture, preprocessing excluded, the fastest of a few."""
    share: float
    """`floor_ms` over `measured_ms`: how much of the peak is reached."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of a pack on this processor."""

    pack: str
    """Its name."""
    precision: str
    """What the networks compute in."""
    threads: int
    """Threads a network may use."""
    peak_gflops: float
    """Billions of operations a second in a large matrix product."""
    copy_gb_s: float
    """GB a second read and written in a large copy."""
    networks: tuple[NetworkFloor, ...]
    """In the order of the pack."""


def measure_floor(
    pack: str = "polyp", precision: str = "auto", say: Callable[[str], None] = lambda line: None
) -> Floor:
    """Count and measure; on the processor only, by OpenVINO and our own kernels.

    Parameters
    ----------
    pack
        Name or folder; a recipe without weights runs with seeded random ones.
    precision
        `auto`, `fp32` or `bf16`.
    say
        Hears what takes time, one line each.

    Raises
    ------
    InputError
        When OpenVINO is missing or the precision is not offered here.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise InputError(
            f"--floor counts floating-point operations; use --precision fp32 or bf16, not {precision}"
        )
    found = find_pack(pack)
    if not found.missing:
        verify_pack(found)
    settle_threads()
    seed = RANDOM_SEED if found.missing else None
    networks = PackNetworks(found, choose("openvino", "cpu", precision), seed=seed)
    try:
        networks.warm_up(say)
        info = networks.info
        threads = int(info["threads"])
        peak = _peak(info["precision"], threads)
        lanes = {lane.name: lane for lane in (*networks.classifiers, networks.segmenter) if lane is not None}
        own = info.get("kernels", "").split(", ")
        rows = []
        for model in found.models:
            say(f"counting {model.name}")
            work = _count(found, model, seed, model.name in own)
            took = min(lanes[model.name].probe() for _ in range(ROUNDS))
            rows.append(_held_against(model, work, info["precision"], peak, took))
    finally:
        networks.close()
    return Floor(
        found.name,
        info["precision"],
        threads,
        round(peak / 1e9, 1),
        round(_copy_rate() / 1e9, 1),
        tuple(rows),
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What one picture asks of the processor."""

    runs_on: str
    """`own kernels` or `OpenVINO`."""
    operations: int
    """Of the network as it is written."""
    needed: int
    """Of the network as it runs."""
    weights: int
    """Numbers that its weights are kept as."""


def _count(pack: Pack, model: ModelSpec, seed: int | None, own: bool) -> _Work:
    """The work of a model of the pack, on our own kernels or in OpenVINO."""
    size = model.preprocessing
    network: Any = load(pack, model, seed)
    operations = _operations(network, (1, 3, size.height, size.width))
    needed, weights = operations, sum(p.numel() for p in network.parameters())
    if own and model.architecture == unet.ARCHITECTURE:
        products, weights = unet.cost(network.folded(), size.height, size.width)
        needed = 2 * products
    return _Work(OWN if own else OPENVINO, operations, needed, weights)


def _held_against(model: ModelSpec, work: _Work, precision: str, peak: float, took: float) -> NetworkFloor:
    """The row of a model that took so many seconds, on a processor with that peak in operations a second."""
    least = work.needed / peak
    return NetworkFloor(
        name=model.name,
        architecture=model.architecture,
        runs_on=work.runs_on,
        gflop=round(work.operations / 1e9, 2),
        needed_gflop=round(work.needed / 1e9, 2),
        weights_mb=round(work.weights * (2 if precision == "bf16" else 4) / 1e6, 1),
        floor_ms=round(least * 1e3, 2),
        measured_ms=round(took * 1e3, 2),
        share=round(least / took, 3),
    )


def _operations(network: Any, shape: tuple[int, ...]) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(shape))
    return int(counter.get_total_flops())


def _peak(precision: str, threads: int) -> float:
    """Operations a second of a large matrix product, compiled as OpenVINO's networks are."""
    library = openvino_engine.library()
    given = library.opset13.parameter([SIDE, SIDE], np.float32)
    weights = library.opset13.constant(np.full((SIDE, SIDE), 0.5, np.float32))
    product = library.opset13.matmul(given, weights, False, True)
    config = {
        "INFERENCE_PRECISION_HINT": openvino_engine.HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino_engine.core().compile_model(library.Model([product], [given]), "CPU", config)
    request = compiled.create_infer_request()
    batch = np.full((SIDE, SIDE), 0.25, np.float32)
    return 2.0 * SIDE**3 / _fastest(lambda: request.infer([batch], share_inputs=True, share_outputs=True))


def _copy_rate() -> float:
    """Bytes a second, read and written, of a copy that no cache holds."""
    source = np.ones(COPIED_MB * 2**17, np.float64)
    target = np.empty_like(source)
    return 2.0 * source.nbytes / _fastest(lambda: np.copyto(target, source))


def _fastest(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def as_json(floor: Floor) -> dict[str, Any]:
    """The floor as a table that JSON can hold."""
    return asdict(floor)


def as_text(floor: Floor) -> list[str]:
    """The floor as lines for a terminal."""
    f = floor
    lines = [
        f"pack {f.pack}, {f.precision}, {f.threads} threads: peak {f.peak_gflops:.0f} GFLOP/s "
        f"(matrix product), copy {f.copy_gb_s:.1f} GB/s",
        f"{'network':14}{'GFLOP':>8}{'needed':>8}{'weights MB':>11}{'floor ms':>9}{'measured':>9}"
        f"{'of peak':>8}  runs on",
    ]
    for n in f.networks:
        lines.append(
            f"{n.name:14}{n.gflop:8.2f}{n.needed_gflop:8.2f}{n.weights_mb:11.1f}{n.floor_ms:9.2f}"
            f"{n.measured_ms:9.2f}{n.share:8.0%}  {n.runs_on}"
        )
    return lines
