"""How a run is doing, in numbers: where every frame went, rates, and percentiles of every stage.

Owns the sum captured = analysed + dropped + skipped + pending. Must not know what is counted for.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping

import numpy as np

from endostream.types import FrameCounts

RATE_WINDOW_S = 2.0
LEAST_S, STEP, BINS = 1e-6, math.log(1.01), 1852
"""The first bin begins at a microsecond, the last ends at 100 s."""
RANKS = (0.50, 0.95, 0.99)


class Rate:
    """Events a second over the last two seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def tick(self, now: float) -> None:
        """One event at `now` (monotonic seconds)."""
        self._times.append(now)
        while now - self._times[0] > RATE_WINDOW_S:
            self._times.popleft()

    def value(self, now: float) -> float:
        """Events a second in the window that ends at `now`."""
        times = [t for t in self._times if now - t <= RATE_WINDOW_S]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-6)


class Spread:
    """Percentiles of any number of durations in a fixed space: bins 1 % wide from a microsecond to 100 s.

    Percentiles of the durations themselves cost 14 ms every half second once 20,000 are kept of each stage.
    """

    def __init__(self) -> None:
        self._bins = np.zeros(BINS, np.int64)
        self._count = 0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        place = int(math.log(max(seconds, LEAST_S) / LEAST_S) / STEP)
        self._bins[min(place, BINS - 1)] += 1
        self._count += 1

    def percentiles(self) -> dict[str, float]:
        """p50, p95, p99 in milliseconds, right to half a percent; empty for no values."""
        if not self._count:
            return {}
        below = np.cumsum(self._bins)
        places = np.searchsorted(below, np.asarray(RANKS) * (self._count - 1), side="right")
        p50, p95, p99 = LEAST_S * np.exp((places + 0.5) * STEP) * 1000.0
        return {"p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99)}


class Counter:
    """Counts frames and times under one lock; read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = self._analysed = self._skipped = 0
        self._dropped: dict[str, int] = {}
        self._in, self._out = Rate(), Rate()
        self._stages: dict[str, Spread] = {}
        self._ages = Spread()
        self._display = Rate()
        self._shown, self._overlay = Spread(), Spread()
        self._duration = 0.0

    def captured(self, decode_s: float | None) -> None:
        """A frame came; it took `decode_s` seconds to read, None where reading is waiting."""
        with self._lock:
            self._captured += 1
            self._in.tick(time.monotonic())
            if decode_s is not None:
                self._stage("decode", decode_s)

    def missed(self, count: int) -> None:
        """Frames came that nobody took in time."""
        if count:
            with self._lock:
                self._captured += count
                self._dropped["late"] = self._dropped.get("late", 0) + count

    def shown(self, age_s: float, overlay_age_s: float | None) -> None:
        """A frame was shown `age_s` seconds after its capture, with an overlay that old or none."""
        with self._lock:
            self._display.tick(time.monotonic())
            self._shown.add(age_s)
            if overlay_age_s is not None:
                self._overlay.add(overlay_age_s)

    def display(self) -> tuple[float, dict[str, float], dict[str, float]]:
        """Frames shown a second, and percentiles of the age of frames and overlays when shown."""
        with self._lock:
            rate = self._display.value(time.monotonic())
            return rate, self._shown.percentiles(), self._overlay.percentiles()

    def skipped(self) -> None:
        """A frame was left out on purpose."""
        with self._lock:
            self._skipped += 1

    def dropped(self, cause: str, count: int = 1) -> None:
        """Frames were lost."""
        if count:
            with self._lock:
                self._dropped[cause] = self._dropped.get(cause, 0) + count

    def analysed(self, stream_time: float, age_s: float, took: Mapping[str, float]) -> None:
        """A frame was analysed and published `age_s` seconds after its capture."""
        with self._lock:
            self._analysed += 1
            self._out.tick(time.monotonic())
            self._ages.add(age_s)
            self._duration = max(self._duration, stream_time)
            for name, seconds in took.items():
                self._stage(name, seconds)

    def counts(self) -> FrameCounts:
        """Where every captured frame went; the sum holds at every moment."""
        with self._lock:
            gone = self._analysed + self._skipped + sum(self._dropped.values())
            pending = self._captured - gone
            return FrameCounts(self._captured, self._analysed, dict(self._dropped), self._skipped, pending)

    def rates(self) -> tuple[float, float]:
        """Frames captured and frames analysed a second."""
        with self._lock:
            now = time.monotonic()
            return self._in.value(now), self._out.value(now)

    @property
    def duration(self) -> float:
        """The highest stream time analysed, in seconds."""
        with self._lock:
            return self._duration

    def stages(self) -> dict[str, dict[str, float]]:
        """Percentiles per stage."""
        with self._lock:
            return {name: spread.percentiles() for name, spread in sorted(self._stages.items())}

    def ages(self) -> dict[str, float]:
        """Percentiles of the time from capture to publication."""
        with self._lock:
            return self._ages.percentiles()

    def _stage(self, name: str, seconds: float) -> None:
        if name not in self._stages:
            self._stages[name] = Spread()
        self._stages[name].add(seconds)
