"""Two lanes over one trunk: the mask network goes on from what the classifier has computed.

Owns how features travel from one lane to the other. Must not know which library runs the networks.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np

from endostream.engines.lane import Parts, QueueLane, check_outputs
from endostream.engines.preprocess import Preprocessor
from endostream.engines.wish import Features, Rest, Trunk
from endostream.errors import RunError
from endostream.packs import ModelSpec
from endostream.types import ImageArray

__all__ = ["RestLane", "Shelf", "TrunkLane"]

KEPT = 8
"""Pictures whose features can be claimed: more than are on their way at once; 1.3 MB each at 256 x 256."""


class Shelf:
    """Features of the newest pictures, known by the picture itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[weakref.ref[Any], Future[Features]]] = deque(maxlen=KEPT)

    def promise(self, image: ImageArray) -> Future[Features]:
        """A place for the features of a picture that is about to be computed."""
        future: Future[Features] = Future()
        with self._lock:
            self._kept.append((weakref.ref(image), future))
        return future

    def claim(self, image: ImageArray) -> Future[Features] | None:
        """The features of this very picture, perhaps not yet computed; None when nobody computes them."""
        with self._lock:
            found = [future for kept, future in self._kept if kept() is image]
        return found[-1] if found and not found[-1].cancelled() else None


class TrunkLane(QueueLane[Trunk]):
    """The classifier; puts the features of every picture on the shelf.

    Parameters
    ----------
    shelf
        Where the features go.
    model, load, workers, ring
        As in `QueueLane`.
    """

    def __init__(
        self,
        shelf: Shelf,
        model: ModelSpec,
        load: Callable[[], Trunk],
        workers: int,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._shelf = shelf
        super().__init__(model, load, False, workers, ring)

    def _check(self, runner: Trunk) -> None:
        how = self._model.preprocessing
        check_outputs(self._model, runner(np.zeros((1, 3, how.height, how.width), np.float32))[0])

    def _note(self, image: ImageArray) -> Future[Features]:
        return self._shelf.promise(image)

    def _forget(self, note: Future[Features]) -> None:
        note.cancel()

    def _compute(
        self, runner: Trunk, image: ImageArray, note: Future[Features], preprocess: Preprocessor
    ) -> Parts:
        start = time.perf_counter()
        batch = preprocess(image)
        ready = time.perf_counter()
        logits, maps, features = runner(batch)
        took = {"preprocess": ready - start, "infer": time.perf_counter() - ready}
        note.set_result(features)
        return logits[0], maps[0], took


class RestLane(QueueLane[tuple[Trunk, Rest]]):
    """The segmenter; goes on from the shelf, or runs the trunk itself where the classifier did not.

    Parameters
    ----------
    shelf
        Where features may be found.
    model, load, ring
        As in `QueueLane`.
    """

    def __init__(
        self,
        shelf: Shelf,
        model: ModelSpec,
        load: Callable[[], tuple[Trunk, Rest]],
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._shelf = shelf
        super().__init__(model, load, False, 1, ring)

    def _check(self, runner: tuple[Trunk, Rest]) -> None:
        how = self._model.preprocessing
        trunk, rest = runner
        check_outputs(self._model, rest(trunk(np.zeros((1, 3, how.height, how.width), np.float32))[2]))

    def _note(self, image: ImageArray) -> Future[Features] | None:
        return self._shelf.claim(image)

    def _compute(
        self,
        runner: tuple[Trunk, Rest],
        image: ImageArray,
        note: Future[Features] | None,
        preprocess: Preprocessor,
    ) -> Parts:
        trunk, rest = runner
        start = time.perf_counter()
        if note is None:
            features = trunk(preprocess(image))[2]
        else:
            try:
                features = note.result()
            except CancelledError as error:
                raise RunError(f"network {self.name} lost its classifier; open the pack again") from error
        begun = start if note is None else time.perf_counter()
        logits = rest(features)
        return logits[0, 0], None, {"infer": time.perf_counter() - begun}
