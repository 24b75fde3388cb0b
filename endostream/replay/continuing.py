"""Where smoothing goes on after a part of a session that its recording does not hold.

Owns the memory of what the session had come to. Must not know how frames are read or smoothed.
"""

from __future__ import annotations

import numpy as np

from endostream.analysis.analyzer import Smoothed
from endostream.records.session import FrameRow, Session
from endostream.types import Frame

Key = tuple[int, int]
"""Epoch, and stream time in microseconds."""


class Continuation:
    """Says what the session's probabilities were before a frame whose predecessor is not replayed.

    A recording that begins in the middle, or lacks pictures, would else go on with scores that know nothing
    of the gap, and a start near it would move by as much as the gap is long. All that follows is computed.

    Parameters
    ----------
    session
        The live session.
    """

    def __init__(self, session: Session) -> None:
        self._rows: dict[Key, int] = {}
        self._times: list[float] = []
        self._scores: list[tuple[np.ndarray, ...]] = []
        self._done = -1
        for at, row in enumerate(session.frames()):
            self._rows[_key(row)] = at
            self._times.append(row.time)
            self._scores.append(tuple(p.scores.astype(np.float16) for p in row.predictions))

    def __call__(self, frame: Frame) -> Smoothed | None:
        """What smoothing goes on from; None where the frame before was replayed, or is of another epoch."""
        at = self._rows.get(_key(frame))
        if at is None:
            return None
        done, self._done = self._done, at
        return None if done == at - 1 else self._at(at - 1, frame.epoch)

    def _at(self, at: int, epoch: int) -> Smoothed | None:
        if (epoch, round(self._times[at] * 1e6)) not in self._rows:
            return None
        return Smoothed(self._times[at], tuple(s.astype(np.float32) for s in self._scores[at]))


def _key(frame: Frame | FrameRow) -> Key:
    return frame.epoch, round(frame.time * 1e6)
