"""One network at work on its own thread: pictures go in, answers come out in the same order.

Owns the thread, the queue and what becomes of an exception. Must not know which library runs the network.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from endostream.analysis.networks import Answer
from endostream.engines.preprocess import Preprocessor
from endostream.engines.wish import Runner
from endostream.errors import EndostreamError, PackError, RunError
from endostream.packs import ModelSpec
from endostream.types import ImageArray

__all__ = ["NetworkLane", "one_line"]


class NetworkLane:
    """A `Lane` over a network that is loaded on demand.

    Parameters
    ----------
    model
        The model of the pack: role, name, labels, preprocessing.
    load
        Gives the loaded network; called once.
    exact
        Use the published resize kernel to the last bit.
    """

    def __init__(self, model: ModelSpec, load: Callable[[], Runner], exact: bool) -> None:
        self._model = model
        self._load = load
        self._preprocess = Preprocessor(model.preprocessing, exact)
        self._runner: Runner | None = None
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._todo: deque[tuple[int, ImageArray]] = deque()
        self._done: deque[Answer] = deque()
        self._pending = 0
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"lane-{model.name}", daemon=True)
        self._thread.start()

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
        return self._pending

    def submit(self, key: int, image: ImageArray) -> None:
        """Take a picture, uint8[H, W, 3] RGB; returns at once."""
        with self._changed:
            if self._closed:
                raise RunError(f"network {self.name} is closed; open the pack again")
            self._pending += 1
            self._todo.append((key, image))
            self._changed.notify_all()

    def poll(self, wait: bool = False) -> list[Answer]:
        """The answers that are ready, oldest first; with `wait` all that were submitted.

        Raises `RunError` when the network failed, and again at each later call.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(
                    lambda: self._error or self._closed or self._pending == len(self._done)
                )
            if isinstance(self._error, EndostreamError):
                raise type(self._error)(str(self._error)) from self._error
            if self._error is not None:
                raise RunError(f"network {self.name} failed: {one_line(self._error)}") from self._error
            answers = list(self._done)
            self._done.clear()
            self._pending -= len(answers)
            return answers

    def warm_up(self) -> None:
        """Load the network if need be; loading runs it once on a black picture."""
        self._loaded()

    def close(self) -> None:
        """Drop what is not yet done and end the thread; safe to call twice."""
        with self._changed:
            self._closed = True
            self._todo.clear()
            self._changed.notify_all()
        self._thread.join()
        self._runner = None

    def _loaded(self) -> Runner:
        with self._loading:
            if self._runner is None:
                runner = self._load()
                self._check(runner)
                self._runner = runner
            return self._runner

    def _check(self, runner: Runner) -> None:
        how, model = self._model.preprocessing, self._model
        logits, _ = runner(np.zeros((1, 3, how.height, how.width), np.float32))
        if model.role == "classifier" and logits.shape != (1, len(model.labels)):
            raise PackError(
                f"model {model.name} gives {logits.size} scores for {len(model.labels)} labels; "
                "correct the pack.toml"
            )
        if model.role == "segmenter" and (logits.ndim != 4 or logits.shape[:2] != (1, 1)):
            raise PackError(f"model {model.name} does not give one mask; correct the pack.toml")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._todo or self._closed)
                if self._closed:
                    return
                key, image = self._todo.popleft()
            try:
                answer = self._answer(key, image)
            except Exception as error:
                with self._changed:
                    self._error = error
                    self._todo.clear()
                    self._changed.notify_all()
                return
            del image
            with self._changed:
                self._done.append(answer)
                self._changed.notify_all()

    def _answer(self, key: int, image: ImageArray) -> Answer:
        runner = self._loaded()
        start = time.perf_counter()
        batch = self._preprocess(image)
        ready = time.perf_counter()
        logits, maps = runner(batch)
        took = {"preprocess": ready - start, "infer": time.perf_counter() - ready}
        if self._model.role == "segmenter":
            return Answer(key, logits[0, 0], None, took)
        return Answer(key, logits[0], None if maps is None else maps[0], took)


def one_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type when it has none."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
