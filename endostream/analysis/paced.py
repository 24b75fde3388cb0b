"""Masks for frames that cannot wait: asked for as often as the machine affords, carried along in between.

Owns when the mask network is asked in a paced run, how much of the machine it gets, and which mask a frame
shows. Starts no threads. Must not know gates, classifiers or drawing.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from endostream.analysis.masks import drop_unsure, mask_at
from endostream.analysis.networks import Answer, Lane
from endostream.analysis.tracking import Carried, MaskTracker
from endostream.types import FloatArray, Frame, MaskArray, Masked, MaskSource

__all__ = ["Budget", "PacedMasks"]

SLOW_S, FAST_S = 0.2, 0.16
"""Mask latencies between which nothing changes. A carried mask is at most two latencies old: 0.4 s."""
LONGEST_S = 0.098
"""Longest pause from one classification to the next: more than ten a second are kept."""
FIRST_S = 0.03
"""First pause that is tried, under the 40 ms between two frames of 25 a second; then it doubles."""
PERIOD_SHARE = 0.9
"""Share of the time between two frames that classification and mask may take for a frame to wait for both."""
BLINK_S = 0.3
"""Frames that cannot be judged for less than this do not end the tracking."""
KEPT = 0.8
"""Weight of the past in the running means."""


class Budget:
    """Shares a machine between classifications and masks, by what they were seen to take.

    Every frame is classified while masks come often enough. Where they do not, classifications are spaced
    out, by no more than `LONGEST_S`.
    """

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds from one classification to the next while a mask is being computed."""
        self._period = self._classify = self._mask = 0.0
        self._last: Frame | None = None

    def saw(self, frame: Frame) -> None:
        """A frame comes: how far apart are they?"""
        last, self._last = self._last, frame
        if last is None or last.epoch != frame.epoch or frame.index <= last.index:
            return
        # By the clock, because a file may be played faster; bounded by stream time, because a pause is no
        # period; by twice that, so that frames that come in pairs average out.
        gap = min(frame.captured - last.captured, 2.0 * (frame.time - last.time))
        self._period = _mean(self._period, gap / (frame.index - last.index))

    def classified(self, seconds: float) -> None:
        """A classification took so long, resizing included."""
        self._classify = _mean(self._classify, seconds)

    def masked(self, seconds: float, latency_s: float) -> None:
        """A mask took the network so long, and came `latency_s` after it was asked for."""
        self._mask = _mean(self._mask, seconds)
        if latency_s > SLOW_S:
            self.interval = min(LONGEST_S, max(2.0 * self.interval, FIRST_S))
        elif latency_s < FAST_S:
            self.interval = max(0.0, 0.9 * self.interval - 0.002)

    def rest(self) -> None:
        """No masks are wanted: every frame is classified."""
        self.interval = 0.0

    @property
    def waits(self) -> bool:
        """True when classification and mask together fit between two frames, so that a frame gets its own."""
        if self._mask == 0.0:
            return True
        return self._classify + self._mask <= PERIOD_SHARE * self._period


def _mean(before: float, value: float) -> float:
    return value if before == 0.0 else KEPT * before + (1.0 - KEPT) * value


class PacedMasks:
    """Asks the mask network for the newest frame whenever it is free; carries its last mask to each frame.

    A frame is begun when it is given to the classifiers, so that both networks start on it together, and
    ended when they have answered; frames are ended in the order in which they were begun.

    Parameters
    ----------
    lane
        The mask network.
    threshold, peak, published
        As in `mask_at`.
    """

    def __init__(self, lane: Lane, threshold: float, peak: float, published: bool = False) -> None:
        self._lane = lane
        self._threshold, self._peak, self._published = threshold, peak, published
        self._tracker = MaskTracker()
        self._budget = Budget()
        self._asked: dict[int, tuple[Frame, float]] = {}
        self._begun: deque[_Begun] = deque()
        self._open = False
        self._wanted_at = 0.0
        self._newest: Frame | None = None
        self._last_asked = -1
        self._made: tuple[Frame, FloatArray] | None = None
        self._own: Masked | None = None

    @property
    def interval(self) -> float:
        """Seconds to leave from one classification to the next; 0 while no mask is on its way."""
        return self._budget.interval if self._lane.pending else 0.0

    def begin(self, frame: Frame) -> None:
        """The next frame of the stream is being classified; while the gate is open, its mask is begun too."""
        self._budget.saw(frame)
        begun = _Begun(frame)
        if not self._open:
            self._begun.append(begun)
            return
        start = time.perf_counter()
        self._receive(self._lane.poll(), begun)
        self._keep_carried()
        self._begun.append(begun)
        newest = self._newest
        if newest is not None and newest.epoch == frame.epoch and newest.index > frame.index:
            # The network was given a newer one a moment ago; motion cannot be followed backwards.
            begun.carried = self._tracker.carried()
            return
        if self._budget.waits:
            # Every frame gets its own mask: nothing has to be followed.
            self._tracker.reset()
        self._follow(frame, begun)
        begun.track += time.perf_counter() - start

    @property
    def ready(self) -> bool:
        """True when an answer has come that `attend` would take."""
        return self._lane.ready

    def attend(self, newest: Frame | None) -> None:
        """Take the answers that have come, and give the network the newest frame: it is never left idle.

        Parameters
        ----------
        newest
            The newest frame captured, whether it will be begun or not; the younger the frame that a mask is
            computed from, the less it has to be carried.
        """
        start = time.perf_counter()
        begun = self._begun[-1] if self._begun else _Begun(None)
        self._receive(self._lane.poll(), begun)
        if self._open and not self._budget.waits and newest is not None and self._later(newest):
            self._keep_carried()
            self._follow(newest, begun)
        begun.track += time.perf_counter() - start

    def _later(self, frame: Frame) -> bool:
        """True for a frame of the same stretch that the tracker has not come to yet."""
        last = self._newest
        return last is not None and last.epoch == frame.epoch and last.index < frame.index

    def _keep_carried(self) -> None:
        """The tracker goes on to a later frame: what it has for the one before is kept until its end."""
        before = self._begun[-1] if self._begun else None
        if before is not None and before.frame is self._newest:
            before.carried = self._tracker.carried()

    def end(
        self, frame: Frame, wanted: bool, took: dict[str, float], visible: bool = True
    ) -> tuple[MaskArray | None, MaskSource | None, float | None]:
        """The mask of a frame, where it comes from, and the stream time of the frame it was computed from.

        Parameters
        ----------
        frame
            The oldest frame begun and not ended.
        wanted
            True when it should have a mask.
        took
            Seconds per stage so far; `track` and `segment` are added.
        visible
            False for a frame that cannot be judged: it has no mask, but a blink does not end the tracking.
        """
        begun = self._begun.popleft()
        self._budget.classified(took.get("preprocess", 0.0) + took.get("classify", 0.0))
        start = time.perf_counter()
        if wanted and not self._open and not self._begun:
            self._follow(frame, begun)
        if wanted:
            self._open, self._wanted_at = True, frame.time
        elif visible or not 0.0 <= frame.time - self._wanted_at < BLINK_S:
            self._open = False
            self._made = self._own = None
            self._tracker.reset()
            self._budget.rest()
        start += self._poll(begun, wanted and self._budget.waits)
        if not wanted:
            return None, None, None
        carried = self._tracker.carried() if self._newest is frame else begun.carried
        found = self._shown(frame, carried)
        took["track"] = begun.track + time.perf_counter() - start
        if begun.segment:
            took["segment"] = begun.segment
        return found

    def anchor(self, frame: Frame) -> Masked | None:
        """The newest mask that the network made of a picture of this frame's stretch, on that picture."""
        if self._made is None or self._made[0].epoch != frame.epoch or not self._open:
            return None
        if self._own is None:
            made, logits = self._made
            self._own = Masked(made, self._drawn(logits, made))
        return self._own

    def _poll(self, begun: _Begun, wait: bool) -> float:
        """Take the answers that are there, or wait for all of them; gives the seconds waited."""
        start = time.perf_counter()
        answers = self._lane.poll(wait=wait)
        waited = time.perf_counter() - start
        self._receive(answers, begun)
        return waited

    def _follow(self, frame: Frame, begun: _Begun) -> None:
        """Take the motion of a frame in; give it to the mask network when that is free."""
        if self._lane.pending and self._budget.waits:
            # With a frame that was left out: it costs less to wait than to go without a mask.
            self._poll(begun, True)
        if frame is not self._newest:
            self._tracker.see(frame)
            self._newest = frame
        if not self._lane.pending and frame.index != self._last_asked:
            self._ask(frame)

    def _ask(self, frame: Frame) -> None:
        self._asked[frame.index] = (frame, time.monotonic())
        self._last_asked = frame.index
        self._tracker.expect(frame.index)
        self._lane.submit(frame.index, frame.image)

    def _receive(self, answers: list[Answer], begun: _Begun) -> None:
        for answer in answers:
            frame, asked = self._asked.pop(answer.key)
            seconds = sum(answer.took.values())
            begun.segment += seconds
            self._budget.masked(seconds, time.monotonic() - asked)
            logits = answer.logits
            if not self._published:
                logits = drop_unsure(logits, self._threshold, self._peak)
            self._tracker.anchor(frame.index, logits)
            if self._open:
                self._made, self._own = (frame, logits), None

    def _shown(
        self, frame: Frame, carried: Carried | None
    ) -> tuple[MaskArray | None, MaskSource | None, float | None]:
        if carried is None:
            return None, None, None
        mask = self._drawn(carried.logits, frame)
        return mask, "network" if carried.index == frame.index else "tracked", carried.time

    def _drawn(self, logits: FloatArray, frame: Frame) -> MaskArray:
        size = (frame.image.shape[1], frame.image.shape[0])
        mask = mask_at(logits, size, self._threshold, published=self._published)
        mask.setflags(write=False)
        return mask


@dataclass(slots=True, eq=False)
class _Begun:
    """A frame on its way."""

    frame: Frame | None
    carried: Carried | None = None
    """The mask that was carried to it, where the tracker has gone on since."""
    track: float = 0.0
    """Seconds of tracking."""
    segment: float = 0.0
    """Seconds of the masks that came meanwhile."""
