"""From times written down to figures: one stream, and all streams together.

Owns the arithmetic of `endostream bench`. Must not know how times are taken or how figures are shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from endostream.bench.result import STAGES, Percentiles, Shown, StreamResult

__all__ = ["Taken", "Times", "of_stream", "percentiles", "stages_of", "times", "together"]

Times: TypeAlias = "array[float]"
"""Seconds, 8 bytes each: a list of them grew by 20 MB in ten minutes, which is what a run may grow by."""


def times() -> Times:
    """Room for seconds."""
    return array("d")


@dataclass(slots=True)
class Taken:
    """Times and counts collected while one stream was measured."""

    captured: int = 0
    """Frames captured."""
    frames: int = 0
    """Frames analysed."""
    masks: int = 0
    """Network masks published."""
    dropped: int = 0
    """Frames dropped."""
    seconds: float = 0.0
    """Time they took, until the last one was analysed."""
    finishing_s: float = 0.0
    """Time after that until the mask on its way was done: the next stretch begins with it, unpaid."""
    stages: dict[str, Times] = field(default_factory=lambda: {name: times() for name in STAGES})
    """Seconds per stage and frame."""
    ages: Times = field(default_factory=times)
    """Captured to published, in seconds."""
    mask_ages: Times = field(default_factory=times)
    """The same for the frame that a published mask was computed from."""
    delays: Times = field(default_factory=times)
    """Captured to overlay drawn, in seconds."""
    shown_s: float = 0.0
    """Time in which frames were shown; 0 at full speed, where nobody watches."""
    shown: int = 0
    """Frames shown."""
    gated: int = 0
    """Of these, frames shown while the gate was open."""
    masked: int = 0
    """Of these, frames shown with a mask."""
    overlay_ages: Times = field(default_factory=times)
    """Stream time from the frame of the overlay to the frame it was drawn on, in seconds."""
    draw_s: Times = field(default_factory=times)
    """Seconds per drawing."""


def percentiles(seconds: Sequence[float], suffix: str = "") -> dict[str, float | None]:
    """p50, p95 and p99 in milliseconds, rounded to a microsecond; None for no values."""
    names = [f"p{p}{suffix}" for p in (50, 95, 99)]
    if not seconds:
        return dict.fromkeys(names)
    values = np.percentile(np.asarray(seconds, dtype=np.float64) * 1000.0, [50, 95, 99])
    return {name: round(float(v), 3) for name, v in zip(names, values, strict=True)}


def stages_of(streams: Sequence[Taken]) -> dict[str, Percentiles]:
    """Percentiles of every stage over the frames of all streams."""
    return {name: percentiles([v for taken in streams for v in taken.stages[name]], "_ms") for name in STAGES}


def of_stream(taken: Taken) -> StreamResult:
    """The figures of one stream."""
    shown = None
    if taken.shown_s:
        shown = Shown(
            fps=round(taken.shown / taken.shown_s, 3),
            with_mask=round(taken.masked / taken.gated, 4) if taken.gated else None,
            overlay_age_ms=percentiles(taken.overlay_ages),
            draw_ms=percentiles(taken.draw_s),
        )
    return StreamResult(
        fps=round(taken.frames / taken.seconds, 3),
        masks_per_s=round(taken.masks / (taken.seconds + taken.finishing_s), 3),
        captured=taken.captured,
        frames=taken.frames,
        dropped=taken.dropped,
        dropped_share=round(taken.dropped / taken.captured, 5) if taken.captured else 0.0,
        frame_age_ms=percentiles(taken.ages),
        annotation_delay_ms=percentiles(taken.delays),
        mask_age_ms=percentiles(taken.mask_ages),
        shown=shown,
    )


def together(streams: Sequence[StreamResult]) -> StreamResult:
    """All streams in one: sums of rates and counts, the worst of ages, delays and what was shown."""
    if len(streams) == 1:
        return streams[0]
    captured, dropped = sum(s.captured for s in streams), sum(s.dropped for s in streams)
    return StreamResult(
        fps=round(sum(s.fps for s in streams), 3),
        masks_per_s=round(sum(s.masks_per_s for s in streams), 3),
        captured=captured,
        frames=sum(s.frames for s in streams),
        dropped=dropped,
        dropped_share=round(dropped / captured, 5) if captured else 0.0,
        frame_age_ms=_worst([s.frame_age_ms for s in streams]),
        annotation_delay_ms=_worst([s.annotation_delay_ms for s in streams]),
        mask_age_ms=_worst([s.mask_age_ms for s in streams]),
        shown=_shown([s.shown for s in streams if s.shown is not None]),
    )


def _shown(streams: Sequence[Shown]) -> Shown | None:
    if not streams:
        return None
    return Shown(
        fps=min(s.fps for s in streams),
        with_mask=min((s.with_mask for s in streams if s.with_mask is not None), default=None),
        overlay_age_ms=_worst([s.overlay_age_ms for s in streams]),
        draw_ms=_worst([s.draw_ms for s in streams]),
    )


def _worst(of: Sequence[Percentiles]) -> dict[str, float | None]:
    known = {name: [v for p in of if (v := p[name]) is not None] for name in of[0]}
    return {name: max(values, default=None) for name, values in known.items()}
