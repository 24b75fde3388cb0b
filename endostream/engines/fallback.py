"""A device may be lost in the middle of a run: the pictures on their way are computed elsewhere.

Owns the change from networks that failed to spare ones. Must not know which library or device either is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

from endostream.analysis.networks import Answer, Lane, Networks
from endostream.engines.wish import Say
from endostream.errors import RunError
from endostream.types import ImageArray

__all__ = ["DeviceFailure", "GuardedNetworks"]

Pick = Callable[[Networks], Lane]
"""The same lane of any networks of the pack."""


class DeviceFailure(RunError):
    """The device gave up, not the network: somewhere else the same picture can be computed.

    Parameters
    ----------
    what
        What happened: `the GPU is out of memory`.
    advice
        What to do about it.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}; {advice}")
        self.what = what
        self.advice = advice


class GuardedNetworks:
    """Networks with spare ones behind them (the protocol `Networks`).

    Every picture is answered once and in order, by whichever networks got to it.

    Parameters
    ----------
    first
        What runs until a lane of it raises `DeviceFailure`.
    spare
        Opens what runs from then on.
    strict
        A failure in `warm_up`, or before the first answer, is raised: the device was asked for by name.
    """

    def __init__(self, first: Networks, spare: Callable[[], Networks], strict: bool) -> None:
        self._now, self._spare, self._strict = first, spare, strict
        self._lock = threading.RLock()
        self._started = self._closed = False
        self._said: tuple[str, ...] = ()
        self._wake: Callable[[], None] = lambda: None
        first.ring(self._rang)
        self._classifiers = tuple(
            GuardedLane(self, lambda networks, place=place: networks.classifiers[place])  # type: ignore[misc]
            for place in range(len(first.classifiers))
        )
        self._segmenter = None if first.segmenter is None else GuardedLane(self, _segmenter)

    @property
    def classifiers(self) -> tuple[Lane, ...]:
        """The classifiers in the order of the pack; the first acts."""
        return self._classifiers

    @property
    def segmenter(self) -> Lane | None:
        """The segmenter, or None."""
        return self._segmenter

    @property
    def now(self) -> Networks:
        """What runs."""
        return self._now

    @property
    def info(self) -> Mapping[str, str]:
        """`engine`, `device`, `precision`, `threads`: what runs now."""
        return self._now.info

    @property
    def depth(self) -> int:
        """Pictures a classifier should have on its way at once."""
        return self._now.depth

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done as asked for, one line each."""
        return (*self._said, *self._now.warnings)

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, whenever an answer is ready."""
        self._wake = wake

    def warm_up(self, say: Say | None = None) -> None:
        """Load and run once; `say` hears what is being done, in one line each."""
        now = self._now
        try:
            now.warm_up(say)
        except DeviceFailure as error:
            self.change(error, now)
            if say is not None:
                say(self._said[-1])
            self._now.warm_up(say)
        self._started = True

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        with self._lock:
            self._closed = True
            now = self._now
        now.close()

    def change(self, error: DeviceFailure, seen: Networks) -> None:
        """Go on with the spare networks, unless another lane has seen to it already."""
        with self._lock:
            if self._now is not seen:
                return
            if self._closed or (self._strict and not self._started):
                raise error
            spare = self._spare()
            spare.ring(self._rang)
            self._said = (
                *seen.warnings,
                f"{error.what}: going on with the CPU; {error.advice.partition(' or use ')[0]}"
                " and start again",
            )
            self._now, self._started = spare, True
            for lane in (*self._classifiers, self._segmenter):
                if lane is not None:
                    lane.again(spare)
        seen.close()

    def answered(self, seen: Networks) -> bool:
        """True when what these networks answered counts: nobody has given the picture to others since."""
        self._started = True
        return self._now is seen

    def lock(self) -> threading.RLock:
        """Held while pictures change hands."""
        return self._lock

    def _rang(self) -> None:
        self._wake()


class GuardedLane:
    """One lane of `GuardedNetworks`; keeps the pictures on their way.

    Parameters
    ----------
    owner
        Whose lane it is.
    pick
        The same lane of the networks behind it.
    """

    def __init__(self, owner: GuardedNetworks, pick: Pick) -> None:
        self._owner, self._pick = owner, pick
        self._waiting: deque[tuple[int, ImageArray]] = deque()
        lane = pick(owner.now)
        self._name, self._labels = lane.name, lane.labels

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self._labels

    @property
    def name(self) -> str:
        """The model's name in its pack."""
        return self._name

    @property
    def pending(self) -> int:
        """Pictures submitted and not yet polled."""
        return len(self._waiting)

    @property
    def ready(self) -> bool:
        """True when `take` would not wait for the networks that run; after a failure it opens others."""
        return self._pick(self._owner.now).ready

    def submit(self, key: int, image: ImageArray) -> None:
        """Take a picture, uint8[H, W, 3] RGB; returns at once."""
        with self._owner.lock():
            seen = self._owner.now
            self._pick(seen).submit(key, image)
            self._waiting.append((key, image))

    def poll(self, wait: bool = False) -> list[Answer]:
        """The answers that are ready, oldest first; with `wait` all that were submitted.

        Raises `RunError` when the spare networks failed too.
        """
        return self._from_either(lambda lane: lane.poll(wait))

    def take(self) -> Answer:
        """Wait for the oldest answer that was submitted and not yet polled.

        Raises `RunError` when the spare networks failed too.
        """
        return self._from_either(lambda lane: [lane.take()])[0]

    def again(self, networks: Networks) -> None:
        """Give everything on its way to these networks."""
        for key, image in self._waiting:
            self._pick(networks).submit(key, image)

    def _from_either(self, ask: Callable[[Lane], list[Answer]]) -> list[Answer]:
        while True:
            seen = self._owner.now
            try:
                answers = ask(self._pick(seen))
            except DeviceFailure as error:
                self._owner.change(error, seen)
                continue
            except RunError:
                # Closed under our hands, because another lane has seen the failure first.
                if self._owner.now is seen:
                    raise
                continue
            with self._owner.lock():
                if not self._owner.answered(seen):
                    continue
                for _ in answers:
                    self._waiting.popleft()
            return answers


def _segmenter(networks: Networks) -> Lane:
    lane = networks.segmenter
    assert lane is not None, "asked for only where the pack has one"
    return lane
