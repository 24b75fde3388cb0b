"""What the analyzer asks of the networks, as protocols: a lane per network, numpy in, numpy out.

Owns the shape of the conversation. Must not know torch, OpenVINO, threads or preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from endostream.types import FloatArray, ImageArray


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a network made of one picture."""

    key: int
    """The key given to `submit`."""
    logits: FloatArray
    """Classifier: float32[C]. Segmenter: float32[h, w] at the network's own size."""
    maps: FloatArray | None
    """Classifier: float32[C, gh, gw], class maps before rectification; segmenter: None."""
    took: Mapping[str, float]
    """Seconds per stage: `preprocess`, `infer`."""


@runtime_checkable
class Lane(Protocol):
    """One network at work; pictures go in, answers come out in the same order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""

    @property
    def name(self) -> str:
        """The model's name in its pack."""

    @property
    def pending(self) -> int:
        """Pictures submitted and not yet polled."""

    @property
    def ready(self) -> bool:
        """True when `take` would not wait: the oldest answer is there, or the network has failed."""

    def submit(self, key: int, image: ImageArray) -> None:
        """Take a picture, uint8[H, W, 3] RGB; returns at once."""

    def poll(self, wait: bool = False) -> list[Answer]:
        """The answers that are ready, oldest first; with `wait` all that were submitted.

        Raises `RunError` when the network failed.
        """

    def take(self) -> Answer:
        """Wait for the oldest answer that was submitted and not yet polled.

        Raises `RunError` when the network failed.
        """


class Networks(Protocol):
    """The networks of one pack, ready to run."""

    @property
    def classifiers(self) -> tuple[Lane, ...]:
        """The classifiers in the order of the pack; the first acts."""

    @property
    def segmenter(self) -> Lane | None:
        """The segmenter, or None."""

    @property
    def info(self) -> Mapping[str, str]:
        """`engine`, `device`, `precision`, `threads`: what runs."""

    @property
    def depth(self) -> int:
        """Pictures a classifier should have on its way at once to work at its best."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done as asked for, one line each: a GPU that was lost, say."""

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread and at once, whenever an answer is ready."""

    def warm_up(self, say: Callable[[str], None] | None = None) -> None:
        """Compile or load and run once; `say` hears what is being done, in one line each."""

    def close(self) -> None:
        """Give everything back; safe to call twice."""
