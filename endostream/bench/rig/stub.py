"""Networks that take exactly as long as they are told, and whose answers can be checked against the picture.

Owns the stand-ins for a pack's networks: they find the block of a rig's clip by its colour. Must not know
pipelines or senders.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

import cv2
import numpy as np

from endostream.analysis.networks import Answer
from endostream.errors import RunError
from endostream.types import FloatArray, ImageArray, MaskArray

LABELS = ("background", "polyps")
SURE = 4.0
"""Logit of a sure answer: a probability of 0.98."""
GREEN = 65
"""Green over red that makes a pixel the block's: half-way between block and ground."""
LEAST = 0.002
"""Share of the picture that the block must cover to be seen."""
GRID = (16, 28)
"""Rows and columns of the class maps."""


def block_mask(image: ImageArray) -> MaskArray:
    """bool[H, W]: the pixels of uint8[H, W, 3] that have the block's colour; 1 ms at 720p."""
    red, green = cv2.extractChannel(image, 0), cv2.extractChannel(image, 1)
    return np.asarray(cv2.subtract(green, red) > GREEN)


def block_box(mask: MaskArray) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 of what a mask covers; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def classify(image: ImageArray) -> tuple[FloatArray, FloatArray]:
    """Logits float32[2] and class maps float32[2, 16, 28]: is the block there, and where?"""
    rows, columns = GRID
    there = block_mask(image)
    cover = cv2.resize(there.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    logit = SURE if there.mean() > LEAST else -SURE
    return np.asarray([0.0, logit], np.float32), np.stack([1.0 - cover, cover]).astype(np.float32)


def segment(image: ImageArray) -> tuple[FloatArray, None]:
    """Logits float32[H, W] at the picture's own size: sure inside the block's box, sure outside."""
    logits = np.full(image.shape[:2], -SURE, np.float32)
    box = block_box(block_mask(image))
    if box is not None:
        x0, y0, x1, y1 = box
        logits[y0:y1, x0:x1] = SURE
    return logits, None


class StubLane:
    """One network: a picture is answered `delay_s` after it was submitted or the one before was answered.

    Parameters
    ----------
    name, labels
        What it says of itself.
    look
        Picture to logits and maps.
    delay_s
        Seconds; may be changed while it runs.
    """

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        look: Callable[[ImageArray], tuple[FloatArray, FloatArray | None]],
        delay_s: float,
    ) -> None:
        self.name, self.labels, self.delay_s = name, labels, delay_s
        self._look = look
        self._waiting: deque[tuple[int, ImageArray]] = deque()
        self._answers: deque[Answer] = deque()
        self._pending = 0
        self._wake: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._closed = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"stub {name}", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Pictures submitted and not yet polled."""
        return self._pending

    @property
    def ready(self) -> bool:
        """True when `take` would not wait."""
        return bool(self._answers) or self._error is not None

    def submit(self, key: int, image: ImageArray) -> None:
        """Take a picture, uint8[H, W, 3]; returns at once."""
        with self._changed:
            self._waiting.append((key, image))
            self._pending += 1
            self._changed.notify_all()

    def poll(self, wait: bool = False) -> list[Answer]:
        """The answers that are ready, oldest first; with `wait` all that were submitted."""
        with self._changed:
            while wait and len(self._answers) < self._pending and not self._over:
                self._changed.wait()
            self._check()
            answers = list(self._answers)
            self._answers.clear()
            self._pending -= len(answers)
            return answers

    def take(self) -> Answer:
        """Wait for the oldest answer that was submitted and not yet polled."""
        with self._changed:
            while not self._answers and not self._over:
                self._changed.wait()
            self._check()
            self._pending -= 1
            return self._answers.popleft()

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever an answer is ready."""
        self._wake = wake

    def close(self) -> None:
        """Give up what is on its way and end the thread; safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def _over(self) -> bool:
        return self._closed or self._error is not None

    def _check(self) -> None:
        if self._error is not None:
            raise RunError(f"{self.name} failed ({self._error}); start again") from self._error
        if self._closed:
            raise RunError(f"{self.name} is closed; open the networks again")

    def _run(self) -> None:
        with suppress(_ClosedError):
            while True:
                self._answer()

    def _answer(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                raise _ClosedError
            key, image = self._waiting.popleft()
        began = time.monotonic()
        try:
            logits, maps = self._look(image)
        except Exception as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
            self._wake()
            raise _ClosedError from error
        with self._changed:
            left = began + self.delay_s - time.monotonic()
            if self._changed.wait_for(lambda: self._closed, max(0.0, left)):
                raise _ClosedError
            took = {"preprocess": 0.0, "infer": time.monotonic() - began}
            self._answers.append(Answer(key, logits, maps, took))
            self._changed.notify_all()
        self._wake()


class _ClosedError(Exception):
    """The lane was closed."""


class StubNetworks:
    """A classifier for `polyps` and a segmenter that box the block; follows `analysis.networks.Networks`.

    Parameters
    ----------
    delay_s
        Seconds the classifier takes.
    mask_delay_s
        Seconds the segmenter takes; None is as long as the classifier.
    segmenting
        False for networks without a segmenter.
    """

    def __init__(
        self, delay_s: float = 0.2, mask_delay_s: float | None = None, segmenting: bool = True
    ) -> None:
        self._classifier = StubLane("stub-frame", LABELS, classify, delay_s)
        self._segmenter: StubLane | None = None
        if segmenting:
            later = delay_s if mask_delay_s is None else mask_delay_s
            self._segmenter = StubLane("stub-mask", LABELS[1:], segment, later)

    @property
    def classifiers(self) -> tuple[StubLane, ...]:
        """The classifier."""
        return (self._classifier,)

    @property
    def segmenter(self) -> StubLane | None:
        """The segmenter, or None."""
        return self._segmenter

    @property
    def info(self) -> Mapping[str, str]:
        """What runs."""
        return {"engine": "stub", "device": "cpu", "precision": "none", "threads": "1"}

    @property
    def depth(self) -> int:
        """One picture on its way: no network of this kind works better with two."""
        return 1

    @property
    def warnings(self) -> tuple[str, ...]:
        """Nothing goes wrong here."""
        return ()

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread and at once, whenever an answer is ready."""
        for lane in self._lanes:
            lane.ring(wake)

    def warm_up(self, say: Callable[[str], None] | None = None) -> None:
        """Nothing to load."""

    def set_delay(self, seconds: float) -> None:
        """From the next answer on, both take so long."""
        for lane in self._lanes:
            lane.delay_s = seconds

    def close(self) -> None:
        """End the threads; safe to call twice."""
        for lane in self._lanes:
            lane.close()

    @property
    def _lanes(self) -> tuple[StubLane, ...]:
        return (self._classifier,) if self._segmenter is None else (self._classifier, self._segmenter)
