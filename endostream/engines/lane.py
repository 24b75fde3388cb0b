"""One network at work on its own thread: pictures go in, answers come out in the same order.

Owns the thread, the queue and what becomes of an exception. Must not know which library runs the network.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from endostream import tracing
from endostream.analysis.networks import Answer
from endostream.engines.preprocess import Preprocessor
from endostream.engines.wish import Runner
from endostream.errors import EndostreamError, PackError, RunError
from endostream.packs import ModelSpec
from endostream.types import FloatArray, ImageArray

__all__ = ["NetworkLane", "QueueLane", "check_outputs", "one_line"]

R = TypeVar("R")
Parts = tuple[FloatArray, FloatArray | None, dict[str, float]]
"""Logits and class maps of one picture, and seconds per stage."""


class QueueLane(Generic[R]):
    """A `Lane` over something that is loaded on demand: queue, threads, order and errors.

    Parameters
    ----------
    model
        The model of the pack: role, name, labels, preprocessing.
    load
        Gives the loaded network; called once.
    exact
        Use the published resize kernel to the last bit.
    workers
        Pictures worked on at once, each by a thread of its own; what is loaded must allow it.
    ring
        Called from the lane's thread whenever an answer is ready or the network has failed.
    """

    def __init__(
        self,
        model: ModelSpec,
        load: Callable[[], R],
        exact: bool,
        workers: int = 1,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._load = load
        self._exact = exact
        self._ring = ring
        self._runner: R | None = None
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._todo: deque[tuple[int, int, ImageArray, Any]] = deque()
        self._done: dict[int, Answer] = {}
        self._first = self._next = 0
        self._error: Exception | None = None
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"lane-{model.name}-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self._model.labels

    @property
    def name(self) -> str:
        """The model's name in its pack."""
        return self._model.name

    @property
    def pending(self) -> int:
        """Pictures submitted and not yet polled."""
        return self._next - self._first

    @property
    def ready(self) -> bool:
        """True when `take` would not wait."""
        with self._changed:
            return self._over or self._first in self._done

    def submit(self, key: int, image: ImageArray) -> None:
        """Take a picture, uint8[H, W, 3] RGB; returns at once."""
        with self._changed:
            if self._closed:
                raise RunError(f"network {self.name} is closed; open the pack again")
            self._todo.append((self._next, key, image, self._note(image)))
            self._next += 1
            self._changed.notify_all()

    def poll(self, wait: bool = False) -> list[Answer]:
        """The answers that are ready, oldest first; with `wait` all that were submitted.

        Raises `RunError` when the network failed, and again at each later call.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._over or len(self._done) == self.pending)
            self._complain()
            answers = []
            while self._first in self._done:
                answers.append(self._done.pop(self._first))
                self._first += 1
            return answers

    def take(self) -> Answer:
        """Wait for the oldest answer that was submitted and not yet polled.

        Raises `RunError` when the network failed or the lane was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._first in self._done)
            self._complain()
            if self._first not in self._done:
                raise RunError(f"network {self.name} was closed; open the pack again")
            self._first += 1
            return self._done.pop(self._first - 1)

    @property
    def _over(self) -> bool:
        return self._closed or self._error is not None

    def _complain(self) -> None:
        error = self._error
        if isinstance(error, EndostreamError):
            raise type(error)(str(error)) from error
        if error is not None:
            raise RunError(f"network {self.name} failed: {one_line(error)}") from error

    def warm_up(self) -> None:
        """Load the network if need be; loading runs it once on a black picture."""
        self._loaded()

    def probe(self) -> float:
        """Seconds that one picture takes on an idle computer, preprocessing excluded."""
        runner = self._loaded()
        start = time.perf_counter()
        self._check(runner)
        return time.perf_counter() - start

    def reload(self) -> None:
        """Load the network anew, as it is to be run now; only while no picture is on its way."""
        with self._loading:
            self._runner = None
        self._loaded()

    def close(self) -> None:
        """Drop what is not yet done and end the thread; safe to call twice."""
        with self._changed:
            self._closed = True
            self._give_up()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._runner = None

    def _note(self, image: ImageArray) -> Any:
        """What has to be known of a picture from the moment it is submitted."""
        return None

    def _forget(self, note: Any) -> None:
        """The picture of this note will not be answered."""

    @abstractmethod
    def _check(self, runner: R) -> None:
        """Run once on a black picture; raises `PackError` when the network does not fit the pack."""

    @abstractmethod
    def _compute(self, runner: R, image: ImageArray, note: Any, preprocess: Preprocessor) -> Parts:
        """The outputs for one picture."""

    def _give_up(self) -> None:
        for *_, note in self._todo:
            self._forget(note)
        self._todo.clear()

    def _loaded(self) -> R:
        with self._loading:
            if self._runner is None:
                runner = self._load()
                self._check(runner)
                self._runner = runner
            return self._runner

    def _work(self) -> None:
        preprocess = Preprocessor(self._model.preprocessing, self._exact)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._todo or self._over)
                if self._over:
                    return
                ticket, key, image, note = self._todo.popleft()
            try:
                answer = Answer(key, *self._compute(self._loaded(), image, note, preprocess))
                tracing.stages(answer.took, frame=key, network=self.name)
            except Exception as error:
                self._forget(note)
                with self._changed:
                    self._error = self._error or error
                    self._give_up()
                    self._changed.notify_all()
                self._ring()
                return
            del image, note
            with self._changed:
                self._done[ticket] = answer
                self._changed.notify_all()
            self._ring()


class NetworkLane(QueueLane[Runner]):
    """One whole network, from the picture to its outputs."""

    def _check(self, runner: Runner) -> None:
        how = self._model.preprocessing
        logits, _ = runner(np.zeros((1, 3, how.height, how.width), np.float32))
        check_outputs(self._model, logits)

    def _compute(self, runner: Runner, image: ImageArray, note: Any, preprocess: Preprocessor) -> Parts:
        start = time.perf_counter()
        batch = preprocess(image)
        ready = time.perf_counter()
        logits, maps = runner(batch)
        took = {"preprocess": ready - start, "infer": time.perf_counter() - ready}
        if self._model.role == "segmenter":
            return logits[0, 0], None, took
        return logits[0], None if maps is None else maps[0], took


def check_outputs(model: ModelSpec, logits: FloatArray) -> None:
    """Raise `PackError` unless these logits of a batch of one are what the model's role and labels say."""
    if model.role == "classifier" and logits.shape != (1, len(model.labels)):
        raise PackError(
            f"model {model.name} gives {logits.size} scores for {len(model.labels)} labels; "
            "correct the pack.toml"
        )
    if model.role == "segmenter" and (logits.ndim != 4 or logits.shape[:2] != (1, 1)):
        raise PackError(f"model {model.name} does not give one mask; correct the pack.toml")


def one_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type when it has none."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
