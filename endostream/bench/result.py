"""What a measurement gives, as values, as JSON and as lines.

Owns the schema of `endostream bench --json`. Must not know how anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
class Shown:
    """What a window over a run shows: the newest frame with the newest analysis, polled every 16 ms."""

    fps: float
    """Frames shown a second."""
    with_mask: float | None
    """Share, 0..1, of the frames shown while the gate is open that have a mask; None if it never is."""
    overlay_age_ms: Percentiles
    """Stream time from the frame of the overlay to the frame it is drawn on: p50, p95, p99."""
    draw_ms: Percentiles
    """Drawing picture and contour at display size, at most 1280 x 720."""


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The figures of one stream; the meaning of each is that of `BenchResult`."""

    fps: float
    """Frames analysed a second."""
    masks_per_s: float
    """Network masks a second."""
    captured: int
    """Frames captured."""
    frames: int
    """Frames analysed."""
    dropped: int
    """Frames dropped."""
    dropped_share: float
    """Dropped frames over captured ones."""
    frame_age_ms: Percentiles
    """Captured to published."""
    annotation_delay_ms: Percentiles
    """Captured to overlay drawn."""
    mask_age_ms: Percentiles
    """Captured to published, of the frame of the mask."""
    shown: Shown | None
    """What a window shows."""


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
    stages: Mapping[str, Percentiles]
    """Per stage p50_ms, p95_ms, p99_ms; None where it never ran (or a live source decodes by itself)."""
    streams: int
    """Runs at once."""
    fps: float
    """Frames analysed a second, of all streams."""
    masks_per_s: float
    """Network masks a second, of all streams."""
    captured: int
    """Frames captured, of all streams."""
    frames: int
    """Frames analysed, of all streams."""
    dropped: int
    """Frames dropped, of all streams; always 0 at pace `max`."""
    dropped_share: float
    """Dropped frames over captured ones, 0..1."""
    frame_age_ms: Percentiles
    """Captured to published: p50, p95, p99, each of the stream that is worst off; so are the next two."""
    annotation_delay_ms: Percentiles
    """Captured to overlay drawn at display size: p50, p95, p99."""
    mask_age_ms: Percentiles
    """Captured to published, of the frame a mask was computed from, carried or not: p50, p95, p99."""
    shown: Shown | None
    """What a window shows, the worst of each; None at full speed, where nobody watches."""
    memory_mb: float | None
    """Memory of the process at the end of the first measured stretch; None where the system does not tell."""
    memory_growth_mb: float | None
    """Memory at the end minus memory after settling (30 s, or a third of a shorter run), each the mean of
    five looks a second apart; None beside a comparison and under 20 s."""
    per_stream: tuple[StreamResult, ...]
    """The same figures for each stream."""
    warnings: tuple[str, ...] = ()
    """What could not be done, one line each."""
    kernels: str = ""
    """The networks that run on our own kernels, by name."""
    plain: PlainResult | None = None
    """The comparison, where it was asked for."""


def as_json(result: BenchResult) -> dict[str, Any]:
    """The result as a table that JSON can hold; `plain` only where it was asked for."""
    table = asdict(result)
    if result.plain is None:
        del table["plain"]
    return table


def _runs_on(result: BenchResult) -> str:
    own = f" (own kernels: {result.kernels})" if result.kernels else ""
    return f"{result.engine} {result.precision} on {result.device}{own}"


def as_text(result: BenchResult) -> list[str]:
    """The result as lines for a terminal, 80 columns at most but for names."""
    r = result
    lines = [
        f"pack {r.pack} ({r.weights} weights) on {r.source}, {r.width}x{r.height}",
        f"{_runs_on(r)}, {r.threads} threads; gate {r.gate}, pace {r.pace}",
        f"{r.frames} frames in {r.seconds:.1f} s: {r.fps:.1f} frames/s, {r.masks_per_s:.1f} masks/s",
        f"dropped {r.dropped} of {r.captured} ({r.dropped_share:.2%}){_memory(r)}",
    ]
    if r.shown is not None:
        masked = (
            ""
            if r.shown.with_mask is None
            else f", {r.shown.with_mask:.1%} with a mask while the gate is open"
        )
        lines.append(f"shown {r.shown.fps:.1f} frames/s{masked}")
    lines += [f"{'ms':18}{'p50':>9}{'p95':>9}{'p99':>9}", *_times(r)]
    if r.streams > 1:
        lines += _streams(r.per_stream)
    if r.plain is not None:
        masks = "" if r.plain.masks_ratio is None else f", masks {r.plain.masks_ratio:.1f}x"
        lines.append(f"plain PyTorch (fp32, autograd Grad-CAM, {r.plain.threads} threads):")
        lines.append(f"{r.plain.fps:.2f} frames/s, {r.plain.masks_per_s:.2f} masks/s")
        lines.append(f"EndoStream is {r.plain.ratio:.1f}x as fast{masks}")
    return lines + [f"note: {line}" for line in r.warnings]


def _memory(r: BenchResult) -> str:
    if r.memory_mb is None:
        return ""
    grown = "" if r.memory_growth_mb is None else f", grown by {r.memory_growth_mb:.1f} MB"
    return f"; memory {r.memory_mb:.0f} MB{grown}"


def _times(r: BenchResult) -> list[str]:
    rows = {name: list(values.values()) for name, values in r.stages.items()}
    rows["frame age"] = list(r.frame_age_ms.values())
    rows["annotation delay"] = list(r.annotation_delay_ms.values())
    rows["mask age"] = list(r.mask_age_ms.values())
    if r.shown is not None:
        rows["overlay age"] = list(r.shown.overlay_age_ms.values())
        rows["draw"] = list(r.shown.draw_ms.values())
    return [f"{name:18}" + "".join(f"{_number(v):>9}" for v in values) for name, values in rows.items()]


def _streams(streams: Sequence[StreamResult]) -> list[str]:
    head = "stream  frames/s  masks/s  dropped  age p95  mask age p95  shown/s  masked"
    lines = ["the worst of all streams above; each of them:", head]
    for number, s in enumerate(streams, 1):
        shown = (None, None) if s.shown is None else (s.shown.fps, s.shown.with_mask)
        lines.append(
            f"{number:6}{s.fps:10.1f}{s.masks_per_s:9.1f}{s.dropped_share:9.2%}"
            f"{_number(s.frame_age_ms['p95']):>9}{_number(s.mask_age_ms['p95']):>14}"
            f"{_number(shown[0]):>9}{'-' if shown[1] is None else f'{shown[1]:.1%}':>8}"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
