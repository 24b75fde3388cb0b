"""Which picture of which clip is due when, and with which time stamp.

Owns the time line of a sender: looped clips, another clip in mid-stream, time stamps that jump, a picture
that stays. No threads, no clock of its own. Must not know bytes on a wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from endostream.capture.loopback.clip import Clip, Unit

START_S = 1000.0
"""First time stamp: away from 0, so that one that jumps back does not wrap around."""


@dataclass(frozen=True, slots=True)
class Due:
    """A picture to be sent."""

    unit: Unit
    """The picture."""
    place: int
    """Pictures played before it."""
    at: float
    """Seconds after the first picture at which it is due."""
    stamp: float
    """Its time stamp in seconds."""


class Reel:
    """Plays a clip again and again without a gap.

    Parameters
    ----------
    clip
        What is played first.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        """What is played now."""
        self._next = 0
        self._count = 0
        self._at = 0.0
        self._shift = START_S
        self._still = False
        self._shown: Unit = clip.units[0]

    @property
    def due(self) -> float:
        """Seconds after the first picture at which the next one is due."""
        return self._at

    def take(self) -> Due:
        """The next picture, whether it is due or not."""
        if not self._still or self._shown.key is False:
            self._shown = self.clip.units[self._next]
            self._next = (self._next + 1) % len(self.clip.units)
        due = Due(self._shown, self._count, self._at, self._at + self._shift)
        self._count += 1
        self._at += 1.0 / float(self.clip.rate)
        return due

    def switch(self, clip: Clip) -> None:
        """Go on with another clip, from its beginning."""
        self.clip, self._next, self._still = clip, 0, False

    def jump(self, seconds: float) -> None:
        """Let the time stamps, not the pictures, jump forward or (below 0) back."""
        self._shift += seconds

    def freeze(self) -> None:
        """From the next key frame on, send that key frame again and again: the decoded pictures are equal."""
        self._still = True

    def thaw(self) -> None:
        """Go on moving."""
        self._still = False
