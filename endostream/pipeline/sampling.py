"""Which of the delivered frames are analysed.

Owns `--every`, `--duration` and the predecessor's sampling. Must not know threads or networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from endostream.types import Frame

Choice = Literal["take", "skip", "stop"]
PUBLISHED_RATE = 5
PUBLISHED_SECONDS = 60


@dataclass(slots=True)
class Sampler:
    """Decides frame by frame, in stream order."""

    every: float = 0.0
    """Take one frame in this many seconds of stream time; 0 takes all."""
    until: float | None = None
    """Stop at this stream time in seconds (wall seconds since the first frame when `live`)."""
    live: bool = False
    """`until` counts wall time since the first frame."""
    step: int = 0
    """Take every step-th frame (published); 0 goes by `every`."""
    frames: int | None = None
    """Stop after this many delivered frames (published)."""
    _epoch: int = -1
    _taken: float = 0.0
    _first: float | None = None

    def choose(self, frame: Frame) -> Choice:
        """What to do with this frame."""
        if self._first is None:
            self._first = frame.captured
        if self.frames is not None and frame.index >= self.frames:
            return "stop"
        now = frame.captured - self._first if self.live else frame.time
        if self.until is not None and now >= self.until - 1e-9:
            return "stop"
        if self.step:
            return "take" if frame.index % self.step == 0 else "skip"
        if self.every <= 0.0:
            return "take"
        slot = (frame.time + 1e-6) // self.every
        if frame.epoch != self._epoch or slot != self._taken:
            self._epoch, self._taken = frame.epoch, slot
            return "take"
        return "skip"


def published_sampler(fps: float) -> Sampler:
    """The predecessor's sampling: every max(1, int(fps / 5))-th frame of the first 60 s."""
    step = max(1, int(fps / PUBLISHED_RATE))
    return Sampler(step=step, frames=int(fps * PUBLISHED_SECONDS))
