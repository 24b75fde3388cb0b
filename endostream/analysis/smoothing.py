"""Class probabilities smoothed over seconds of stream time.

Owns the exponential average and what a gap, a blind frame or a jump does to it.
Must not know models, thresholds or threads.
"""

from __future__ import annotations

import math

import numpy as np

from endostream.types import FloatArray

PUBLISHED_ALPHA = 0.3


def alpha(dt: float, tau: float) -> float:
    """The weight of a new sample `dt` seconds after the last one, for a time constant of `tau` seconds.

    The weight 0.3 at 5 samples a second (EndoDINOv2) is tau = 0.561 s.
    """
    if tau <= 0.0:
        return 1.0
    return 1.0 - math.exp(-max(dt, 0.0) / tau)


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities float32[C] of logits float32[C]."""
    shifted = np.exp(logits - logits.max())
    return np.asarray(shifted / shifted.sum(), dtype=np.float32)


class Smoother:
    """An exponential average whose memory is measured in seconds, not in frames.

    Parameters
    ----------
    tau
        Time constant in seconds; 0 switches smoothing off.
    per_sample
        A fixed weight per sample instead (the published protocol); None uses `tau`.
    """

    def __init__(self, tau: float, per_sample: float | None = None) -> None:
        self._tau = tau
        self._per_sample = per_sample
        self._state: FloatArray | None = None
        self._time = 0.0

    def reset(self) -> None:
        """Forget everything: the next sample stands for itself."""
        self._state = None

    def resume(self, time: float, state: FloatArray) -> None:
        """Go on from what the average was at `time` seconds: float32[C]."""
        self._state, self._time = state, time

    def update(self, time: float, probabilities: FloatArray, judged: bool = True) -> FloatArray:
        """The smoothed probabilities float32[C] at `time` seconds.

        A frame that could not be judged is no evidence for any class: the average decays, and what is missing
        to 1 is what is not known.
        """
        sample = probabilities if judged else np.zeros_like(probabilities)
        if self._state is None:
            state = sample.astype(np.float32, copy=True)
        else:
            weight = np.float32(
                self._per_sample if self._per_sample is not None else alpha(time - self._time, self._tau)
            )
            state = weight * sample + (np.float32(1.0) - weight) * self._state
        state.setflags(write=False)
        self._state, self._time = state, time
        return state
