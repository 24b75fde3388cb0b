"""What a GPU must do, as bounds; what it did, as values, as JSON, as lines and as tables.

Owns the bounds and how figures are shown. Must not know how anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Check", "GpuResult", "as_json", "as_markdown", "as_text", "checked", "spread_ms"]

ONE_MS, MANY_MS = 8.0, 16.0
"""Bounds on the 99th percentile of a frame: alone, and among `STREAMS` streams."""
STREAMS, RATE = 8, 60.0
"""Streams at once, and frames a second of each."""
MARGIN, EQUAL_SHARE, FLIP_SHARE = 0.02, 0.995, 0.0005
"""Frames whose two best classes differ by more than the margin keep their class; pixels keep their side."""
FRAMES = 500
"""Frames of the comparison with float32."""


@dataclass(frozen=True, slots=True)
class Check:
    """One demand and what was measured."""

    name: str
    """What is demanded."""
    measured: str
    """The figure, with its unit."""
    bound: str
    """What it is held against."""
    passed: bool
    """Whether it holds."""


@dataclass(frozen=True, slots=True)
class GpuResult:
    """Everything that was measured on one GPU."""

    gpu: str
    """Name of the GPU."""
    driver: str
    """Version of its driver; `unknown` where nvidia-smi is missing."""
    torch: str
    """Version of torch, with the CUDA it was built for."""
    pack: str
    """Name of the pack."""
    weights: str
    """`pack`, or `random` where the pack has none (seeded)."""
    precision: str
    """What the networks computed in at the end."""
    size: tuple[int, int]
    """Width and height of the pictures in pixels."""
    one_ms: Mapping[str, float]
    """One stream: p50, p95, p99, most, in ms from frame in memory to result in memory."""
    one_fps: float
    """Frames a second of one stream that waits for every result."""
    streams: int
    """Streams at once."""
    rate: float
    """Frames a second of each."""
    many_ms: Mapping[str, float]
    """All streams together: the same, from the moment a frame was due."""
    many_fps: float
    """Results a second of all streams together."""
    compared: int
    """Frames compared with float32."""
    with_margin: int
    """Frames with the margin; only they count for the class."""
    equal_share: float
    """Of these, the share with the same class."""
    flip_share: float
    """Share of mask pixels on the other side of the threshold; 0 without a segmenter."""
    memory_mb: float
    """Most GPU memory that was held, in MB."""
    warnings: tuple[str, ...]
    """What could not be done as asked for."""
    checks: tuple[Check, ...]
    """The demands."""

    @property
    def passed(self) -> bool:
        """True when every demand is met."""
        return all(check.passed for check in self.checks)


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the most, in ms, rounded to a microsecond."""
    values = np.asarray(seconds) * 1000.0
    found = {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}
    return {**found, "most": round(float(values.max()), 3)}


def checked(
    one: float, streams: int, many: float, frames: int, with_margin: int, equal: float, flips: float
) -> tuple[Check, ...]:
    """Hold the figures against the bounds.

    Parameters
    ----------
    one, many
        99th percentiles in ms of one stream and of `streams` of them.
    streams
        Streams that were measured.
    frames, with_margin, equal, flips
        As in `GpuResult`.
    """
    return (
        Check(
            "one stream, everything on every frame",
            f"p99 {one:.2f} ms",
            f"at most {ONE_MS:g} ms",
            one <= ONE_MS,
        ),
        Check(
            f"{streams} streams at {RATE:g} frames/s, everything on every frame",
            f"p99 {many:.2f} ms",
            f"at most {MANY_MS:g} ms, {STREAMS} streams",
            many <= MANY_MS and streams >= STREAMS,
        ),
        Check(
            f"fp16 names the class of fp32 ({with_margin} of {frames} frames have the margin)",
            f"{100 * equal:.2f} %",
            f"at least {100 * EQUAL_SHARE:g} % of {FRAMES} frames with margin over {MARGIN:g}",
            with_margin > 0 and equal >= EQUAL_SHARE and frames >= FRAMES,
        ),
        Check(
            "mask pixels that fp16 flips",
            f"{100 * flips:.4f} %",
            f"at most {100 * FLIP_SHARE:g} %",
            flips <= FLIP_SHARE and frames >= FRAMES,
        ),
    )


def as_json(result: GpuResult) -> dict[str, Any]:
    """The result as a table that JSON can hold, with `passed`."""
    return {**asdict(result), "passed": result.passed}


def as_text(result: GpuResult) -> list[str]:
    """The result as lines for a terminal."""
    r = result
    lines = [
        *_facts(r),
        f"{'ms':34}{'p50':>9}{'p95':>9}{'p99':>9}{'most':>9}",
        *(f"{name:34}" + "".join(f"{v:>9.2f}" for v in values) for name, values in _speeds(r)),
        *(f"{'passed' if c.passed else 'FAILED'}  {c.name}: {c.measured} ({c.bound})" for c in r.checks),
    ]
    return lines + [f"note    {line}" for line in r.warnings]


def as_markdown(result: GpuResult) -> list[str]:
    """The result as two tables for `docs/performance.md`."""
    r = result
    lines = [*(f"{line}  " for line in _facts(r)), ""]
    lines += ["| ms | p50 | p95 | p99 | most |", "|---|---|---|---|---|"]
    lines += [f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + " |" for name, values in _speeds(r)]
    lines += ["", "| demand | measured | bound | |", "|---|---|---|---|"]
    lines += [
        f"| {c.name} | {c.measured} | {c.bound} | {'passed' if c.passed else 'failed'} |" for c in r.checks
    ]
    return lines + [f"\nNote: {line}" for line in r.warnings]


def _facts(r: GpuResult) -> list[str]:
    return [
        f"{r.gpu}, driver {r.driver}, torch {r.torch}",
        f"pack {r.pack} ({r.weights} weights) in {r.precision}, {r.size[0]}x{r.size[1]}, "
        f"{r.memory_mb:.0f} MB on the GPU",
        f"{r.one_fps:.0f} frames/s from one stream; {r.many_fps:.0f} frames/s from {r.streams} streams "
        f"that give {r.streams * r.rate:.0f}",
    ]


def _speeds(r: GpuResult) -> list[tuple[str, list[float]]]:
    return [
        ("one stream", list(r.one_ms.values())),
        (f"{r.streams} streams at {r.rate:g} frames/s", list(r.many_ms.values())),
    ]
