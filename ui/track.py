"""The timeline's memory: scores in short buckets of time, replaced when a stretch is seen again.

Owns numbers over stream time, and how a long run becomes as many columns as there are pixels.
Must not know Qt. One hour at 0.1 s is 36,000 buckets, whatever the frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from endostream.types import FloatArray

from .samples import Sample

BUCKET = 0.1
"""Seconds per bucket."""
UNSEEN, BLIND, JUDGED = 0, 1, 2
"""Whether a bucket was analysed; the later one is shown when a column holds several."""
UNKNOWN, ADEQUATE, INADEQUATE, THERAPY = 0, 1, 2, 3
"""What the class says of a bucket besides its score; the later one is shown when a column holds several."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A stretch of the track at the resolution of the screen."""

    times: FloatArray
    """float32[N], stream time in seconds of the middle of each column."""
    scores: FloatArray
    """float32[N], highest finding score in the column; NaN where nothing was judged."""
    seen: NDArray[np.uint8]
    """uint8[N], unseen, blind or judged."""
    context: NDArray[np.uint8]
    """uint8[N], unknown, adequate or inadequate preparation, or therapy."""


class Track:
    """Scores over stream time."""

    def __init__(self, bucket: float = BUCKET) -> None:
        self.bucket = bucket
        self.end = 0.0
        self.version = 0
        self._scores = np.full(1024, np.nan, np.float32)
        self._seen = np.zeros(1024, np.uint8)
        self._context = np.zeros(1024, np.uint8)
        self._last: tuple[int, int] | None = None
        self._epochs = np.full(1024, -1, np.int32)

    def add(self, sample: Sample) -> None:
        """Take a sample in; a newer epoch replaces what the bucket held."""
        at = max(0, int(sample.time / self.bucket + 1e-6))
        if at >= len(self._scores):
            self._grow(at + 1)
        self._replace_between(at, sample.epoch)
        score = np.float32(sample.finding_score if sample.visible else np.nan)
        if self._epochs[at] != sample.epoch:
            self._scores[at] = score
            self._epochs[at] = sample.epoch
            self._seen[at] = UNSEEN
            self._context[at] = UNKNOWN
        else:
            self._scores[at] = np.fmax(self._scores[at], score)
        self._seen[at] = max(int(self._seen[at]), JUDGED if sample.visible else BLIND)
        if sample.visible and sample.role == "therapy":
            self._context[at] = THERAPY
        elif sample.adequate is not None:
            self._context[at] = ADEQUATE if sample.adequate else INADEQUATE
        self.end = max(self.end, sample.time)
        self.version += 1

    def columns(self, start: float, stop: float, count: int) -> Columns:
        """At most `count` columns over `start`..`stop` seconds; each holds the highest score in it."""
        low = max(0, int(start / self.bucket))
        high = min(int(np.ceil(stop / self.bucket)), int(self.end / self.bucket) + 1)
        if high <= low or count < 1:
            empty = np.zeros(0, np.float32)
            none = np.zeros(0, np.uint8)
            return Columns(empty, empty, none, none)
        per_column = max(1, int(np.ceil((stop - start) / self.bucket / count)))
        first = low - low % per_column  # columns keep their borders while the view scrolls
        edges = np.arange(first, high, per_column)
        scores = np.where(np.isnan(self._scores[first:high]), -1.0, self._scores[first:high])
        highest = np.maximum.reduceat(scores, edges - first).astype(np.float32)
        highest[highest < 0] = np.nan
        seen = np.maximum.reduceat(self._seen[first:high], edges - first)
        context = np.maximum.reduceat(self._context[first:high], edges - first)
        times = ((edges + per_column / 2) * self.bucket).astype(np.float32)
        return Columns(times, highest, seen, context)

    def at(self, time: float) -> tuple[float | None, int]:
        """The score at a stream time in seconds (None where nothing was judged), and what else is said."""
        place = int(time / self.bucket + 1e-6)
        if not 0 <= place < len(self._seen) or self._seen[place] != JUDGED:
            return None, UNKNOWN
        return float(self._scores[place]), int(self._context[place])

    def gap(self, columns: Columns) -> float:
        """Seconds without an analysis over which nothing is drawn through."""
        width = float(columns.times[1] - columns.times[0]) if len(columns.times) > 1 else self.bucket
        return max(12 * self.bucket, 1.5 * width)

    def _replace_between(self, at: int, epoch: int) -> None:
        """Forget what an earlier pass said of the time between the last sample of this pass and this one."""
        if self._last is not None and self._last[0] == epoch and self._last[1] < at:
            between = slice(self._last[1] + 1, at)
            self._scores[between] = np.nan
            self._seen[between] = UNSEEN
            self._context[between] = UNKNOWN
            self._epochs[between] = epoch
        self._last = (epoch, at)

    def _grow(self, needed: int) -> None:
        size = max(needed, 2 * len(self._scores)) - len(self._scores)
        self._scores = np.concatenate([self._scores, np.full(size, np.nan, np.float32)])
        self._seen = np.concatenate([self._seen, np.zeros(size, np.uint8)])
        self._context = np.concatenate([self._context, np.zeros(size, np.uint8)])
        self._epochs = np.concatenate([self._epochs, np.full(size, -1, np.int32)])
