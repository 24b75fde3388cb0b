"""A live run that nothing happens to: how old are pictures and analyses, and does anything grow?

Owns the figures of an undisturbed run. Must not know faults.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from endostream.bench.memory import MemoryCurve
from endostream.bench.rig.clips import Scene, make_clip
from endostream.bench.rig.live_run import Ages, LiveRun
from endostream.bench.rig.result import Figure
from endostream.bench.rig.view import Views
from endostream.capture.loopback import Protocol, open_sender
from endostream.types import FrameCounts

SHOWN_MS, SLOPE_MS = 100.0, 1.0
"""Demands: age of a picture when it is shown (p95), and what it may grow by in a minute."""
ANALYSIS_MS = 50.0
"""Demand: age of an analysis when it is published (p95) is twice the delay and this much more."""
MEMORY_MB = 20.0
"""Demand: growth of memory."""
WARM_S = 1.0
"""Seconds of an undisturbed run that are not measured."""
QUIT_S = 3.0
"""Demand: ending a run."""
SLOPE_FROM_S = 100.0
"""Seconds of measuring from which on the slope is judged: over shorter ones it is noise."""
LOOK_S = 0.25


def steady(protocol: Protocol, scene: Scene, delay_s: float, seconds: float) -> list[Figure]:
    """Play `seconds` of an undisturbed live run with stub networks that take `delay_s`; its figures.

    Raises `RunError` when no mask comes, `InputError` when no picture does.
    """
    run_name = (
        f"{protocol} {scene.height}{'i' if scene.interlaced else 'p'}{scene.fps}, stub {delay_s * 1000:g} ms"
    )
    memory = MemoryCurve()
    with open_sender(protocol, make_clip(scene)) as sender, LiveRun(sender, Views([scene]), delay_s) as run:
        run.settle()
        time.sleep(WARM_S)
        run.shown.clear()
        run.analysed.clear()
        sent, before, began = len(sender.sent), run.status().counts, time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            memory.look()
            time.sleep(min(LOOK_S, left))
        sent, after = len(sender.sent) - sent, run.status().counts
        shown, analysed = run.shown, run.analysed
        figures = _passage(run_name, before, after, sent, len(shown.at))
        quit_s = run.close()
        figures += _ages(run_name, shown, analysed, delay_s, seconds)
        figures.append(balance(run_name, run.status().counts))
        growth = memory.growth()
        note = "" if growth is not None else "not judged under 20 s"
        figures.append(
            Figure(run_name, "memory growth", growth, "MB", None if growth is None else MEMORY_MB, note)
        )
        figures.append(Figure(run_name, "quit", quit_s, "s", QUIT_S))
    return figures


def _ages(name: str, shown: Ages, analysed: Ages, delay_s: float, seconds: float) -> list[Figure]:
    figures = _percentiles(name, "shown-frame age", shown.ages, SHOWN_MS)
    slope = slope_ms(shown)
    judged = seconds >= SLOPE_FROM_S
    figures.append(
        Figure(
            name,
            "shown-frame age, slope",
            slope,
            "ms/min",
            SLOPE_MS if judged else None,
            "" if judged else f"not judged under {SLOPE_FROM_S:g} s",
        )
    )
    figures += _percentiles(name, "analysis age", analysed.ages, 2000.0 * delay_s + ANALYSIS_MS)
    figures.append(
        Figure(name, "pictures that could not be read", float(shown.unread + analysed.unread), "", 0.0)
    )
    return figures


def _percentiles(run: str, name: str, seconds: Sequence[float], limit_ms: float) -> list[Figure]:
    values = np.percentile(np.asarray(seconds) * 1000.0, [50, 95, 99]) if len(seconds) else [None] * 3
    return [
        Figure(
            run,
            f"{name} p{p}",
            None if v is None else round(float(v), 2),
            "ms",
            limit_ms if p == 95 else None,
        )
        for p, v in zip((50, 95, 99), values, strict=True)
    ]


def slope_ms(ages: Ages) -> float | None:
    """What the age grows by in a minute, in ms, by least squares; None for fewer than two."""
    if len(ages.at) < 2:
        return None
    minutes = (np.asarray(ages.at) - ages.at[0]) / 60.0
    slope = np.polyfit(minutes, np.asarray(ages.ages) * 1000.0, 1)[0]
    return round(float(slope), 3)


def _passage(name: str, before: FrameCounts, after: FrameCounts, sent: int, shown: int) -> list[Figure]:
    """What became of the pictures sent while it was measured; one or two are on their way at either end."""
    causes = {cause: count - before.dropped.get(cause, 0) for cause, count in sorted(after.dropped.items())}
    dropped = ", ".join(f"{cause} {count}" for cause, count in causes.items() if count)
    return [
        Figure(name, "pictures sent", float(sent), "", None, "while measured"),
        Figure(name, "frames captured", float(after.captured - before.captured), "", None, f"{shown} shown"),
        Figure(
            name,
            "frames analysed",
            float(after.analysed - before.analysed),
            "",
            None,
            f"dropped: {dropped or 'none'}",
        ),
    ]


def balance(name: str, counts: FrameCounts) -> Figure:
    """Whether every frame of a run that is over went somewhere.

    A run calls `stopped` whatever is missing at its end, so this cause does not count: what is on its way
    when a run is stopped is still analysed.
    """
    dropped = sum(count for cause, count in counts.dropped.items() if cause != "stopped")
    lost = counts.captured - counts.analysed - dropped
    return Figure(
        name, "captured - analysed - dropped", float(abs(lost)), "", 0.0, f"{counts.captured} captured"
    )
