"""How far a model's confidence is from being right as often as it says.

Owns the bins, their intervals and the expected calibration error. It must not know how they are drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BINS", "Calibration", "wilson"]

BINS = 15


class Calibration:
    """Confidence against correctness in bins of equal width.

    Parameters
    ----------
    confidence
        Highest probability of each picture, float[N] in 0…1.
    correct
        Whether that class was right, bool[N].
    bins
        Number of bins; a value on an edge belongs to the bin above it, 1.0 to the last.
    """

    def __init__(self, confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> None:
        chosen = np.asarray(confidence, dtype=np.float64).ravel()
        right = np.asarray(correct, dtype=np.float64).ravel()
        if chosen.shape != right.shape or bins < 1:
            raise ValueError(f"confidence {chosen.shape} and correct {right.shape} in {bins} bins")
        place = np.clip((chosen * bins).astype(np.int64), 0, bins - 1)
        self.count: NDArray[np.int64] = np.bincount(place, minlength=bins)
        filled = np.maximum(self.count, 1)
        self.confidence: NDArray[np.float64] = np.bincount(place, chosen, bins) / filled
        self.accuracy: NDArray[np.float64] = np.bincount(place, right, bins) / filled

    @property
    def error(self) -> float | None:
        """Expected calibration error: mean distance of confidence and accuracy, weighted by pictures."""
        total = int(self.count.sum())
        if not total:
            return None
        return float(np.abs(self.confidence - self.accuracy) @ self.count / total)

    def interval(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Wilson 95 % limits of each bin's accuracy."""
        return wilson(self.accuracy * self.count, self.count)


def wilson(successes: ArrayLike, trials: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper 95 % limit of shares of independent trials (Wilson 1927); 0 and 1 without a trial."""
    n, z = np.asarray(trials, np.float64), 1.959963984540054
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.asarray(successes, np.float64) / n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    return np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0)
