"""How late live pictures come: a connection slower than its stream delivers them all, later and later.

Owns the comparison of the stream's clock with ours. Must not know connections or what is done about it.
"""

from __future__ import annotations

from endostream.capture.connection import Picture

CLOCKS_APART = 2e-4
"""Share by which the clocks of a sender and of this computer may differ: quartz keeps a tenth of that."""
LATE_S = 0.5
"""Seconds of lateness that are said."""
LATE = "the picture comes late: the connection is slower than its stream; lower the bit rate or use a cable"


class Lag:
    """How late pictures come, against the soonest that one of their stretch has come."""

    def __init__(self) -> None:
        self._epoch = -1
        self._soonest = self._clock = 0.0
        self.seconds = 0.0
        """Lateness of the newest picture in seconds."""

    def take(self, picture: Picture) -> None:
        """A picture came."""
        offset = picture.captured - picture.seconds
        # The sender's clock may be slower than ours: that is no lateness.
        self._soonest += CLOCKS_APART * (picture.captured - self._clock)
        if picture.epoch != self._epoch or offset < self._soonest:
            self._epoch, self._soonest = picture.epoch, offset
        self._clock = picture.captured
        self.seconds = offset - self._soonest
