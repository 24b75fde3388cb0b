"""What a measurement gives, as values, as JSON and as lines.

Owns the schema of `endostream bench --json`. Must not know how anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

STAGES = ("decode", "preprocess", "classify", "heatmap", "segment", "track", "total")
"""In the order of a frame; `total` is one analysis from submission to result, without decoding."""
Percentiles = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class PlainResult:
    """The same networks in plain PyTorch, in slices between those of the product."""

    fps: float
    """Frames a second: decoded, classified, with a heat map, and a mask where the gate is open."""
    masks_per_s: float
    """Network masks a second."""
    ratio: float
    """The product's frames a second over these."""
    masks_ratio: float | None
    """The product's masks a second over these; None without masks."""
    frames: int
    """Frames measured."""
    frame_ms: Percentiles
    """One frame, decoding included: p50, p95, p99."""
    threads: int
    """Threads PyTorch used: its own default."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Speed of one pack on one source on this computer."""

    device: str
    """`cpu` or `cuda`."""
    engine: str
    """`torch` or `openvino`."""
    precision: str
    """`fp32`, `bf16`, `fp16` or `int8`."""
    threads: int
    """Threads per network."""
    pack: str
    """Name of the pack."""
    weights: str
    """`pack`, or `random` where the pack has none (seeded)."""
    source: str
    """Base name of the source."""
    width: int
    """Width of its pictures in pixels."""
    height: int
    """Height of its pictures in pixels."""
    gate: str
    """`auto` (the pack's own), `closed` (no masks) or `open` (a mask on every frame)."""
    pace: str
    """`max` or `source`."""
    seconds: float
    """Seconds measured, warm-up excluded."""
    frames: int
    """Frames analysed in them."""
    stages: Mapping[str, Percentiles]
    """Per stage p50_ms, p95_ms, p99_ms; None where the stage never ran."""
    fps: float
    """Frames analysed a second."""
    masks_per_s: float
    """Network masks a second."""
    dropped: int
    """Frames dropped; always 0 at pace `max`."""
    frame_age_ms: Percentiles
    """Captured to published: p50, p95, p99."""
    annotation_delay_ms: Percentiles
    """Captured to overlay drawn at source size: p50, p95, p99."""
    mask_age_ms: Percentiles
    """Captured to published, of the frame a mask was computed from: p50, p95, p99."""
    memory_mb: float | None
    """Memory of the process at the end of the first measured stretch; None where the system does not tell."""
    plain: PlainResult | None = None
    """The comparison, where it was asked for."""


def percentiles(seconds: Sequence[float], suffix: str = "") -> dict[str, float | None]:
    """p50, p95 and p99 in milliseconds, rounded to a microsecond; None for no values."""
    names = [f"p{p}{suffix}" for p in (50, 95, 99)]
    if not seconds:
        return dict.fromkeys(names)
    values = np.percentile(np.asarray(seconds, dtype=np.float64) * 1000.0, [50, 95, 99])
    return {name: round(float(v), 3) for name, v in zip(names, values, strict=True)}


def as_json(result: BenchResult) -> dict[str, Any]:
    """The result as a table that JSON can hold; `plain` only where it was asked for."""
    table = asdict(result)
    if result.plain is None:
        del table["plain"]
    return table


def as_text(result: BenchResult) -> list[str]:
    """The result as lines for a terminal."""
    r = result
    lines = [
        f"pack {r.pack} ({r.weights} weights) on {r.source}, {r.width}x{r.height}",
        f"{r.engine} {r.precision} on {r.device}, {r.threads} threads; gate {r.gate}, pace {r.pace}",
        f"{r.fps:.1f} frames/s, {r.masks_per_s:.1f} masks/s, {r.dropped} dropped, {r.frames} frames in "
        f"{r.seconds:.1f} s" + (f", {r.memory_mb:.0f} MB" if r.memory_mb is not None else ""),
        f"{'ms':18}{'p50':>9}{'p95':>9}{'p99':>9}",
    ]
    rows = {name: list(values.values()) for name, values in r.stages.items()}
    rows["frame age"] = list(r.frame_age_ms.values())
    rows["annotation delay"] = list(r.annotation_delay_ms.values())
    rows["mask age"] = list(r.mask_age_ms.values())
    for name, values in rows.items():
        lines.append(f"{name:18}" + "".join(f"{'-' if v is None else f'{v:.2f}':>9}" for v in values))
    if r.plain is not None:
        masks = "" if r.plain.masks_ratio is None else f", masks {r.plain.masks_ratio:.1f}x"
        lines.append(f"plain PyTorch (fp32, autograd Grad-CAM, {r.plain.threads} threads):")
        lines.append(f"{r.plain.fps:.2f} frames/s, {r.plain.masks_per_s:.2f} masks/s")
        lines.append(f"EndoStream is {r.plain.ratio:.1f}x as fast{masks}")
    return lines
