"""The networks of one pack on a GPU, for one stream; streams of the same pack share the device's work.

Owns what belongs to one stream: its lanes, the order of its answers, its newest pictures. Must not know how
the device works.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from endostream.analysis.networks import Answer
from endostream.engines.cuda.device import Device
from endostream.engines.cuda.host import Host
from endostream.engines.cuda.rounds import Job
from endostream.engines.cuda.staging import Picture
from endostream.engines.lane import one_line
from endostream.engines.wish import Say
from endostream.errors import EndostreamError, RunError
from endostream.packs import ModelSpec, Pack
from endostream.types import ImageArray

__all__ = ["DeviceLane", "DeviceNetworks"]

AHEAD = 8
"""Pictures of a file that are worked on together."""

_hosts: dict[Any, tuple[Host, list[DeviceNetworks]]] = {}
"""The devices at work by what they run, with everybody who uses them."""
_opening = threading.Lock()


class DeviceNetworks:
    """The networks of one pack on a device (the protocol `Networks`).

    Several of the same pack, precision and seed in one process share the networks on the device, and what
    waits from all of them is computed as one batch; each keeps its own order.

    Parameters
    ----------
    pack
        A pack whose weights were verified.
    precision
        `fp16`, `bf16` or `fp32`.
    exact
        Preprocess on the processor with the published kernels to the last bit.
    seed
        Random weights by this seed instead of the pack's.
    ahead
        Work on several pictures at once: for files, whose pictures can wait.
    device
        `cuda`; `cpu` runs the same code without streams, graphs and pinned memory.
    """

    def __init__(
        self,
        pack: Pack,
        precision: str = "fp16",
        exact: bool = False,
        seed: int | None = None,
        ahead: bool = False,
        device: str = "cuda",
    ) -> None:
        self._pack, self._device = pack, device
        self._key = (pack.folder, pack.sha256, precision, exact, seed, device)
        self._ahead = ahead
        self._wake: Callable[[], None] = lambda: None
        with _opening:
            known = _hosts.get(self._key)
            if known is None or known[0].failed:
                known = _hosts[self._key] = (Host(Device(device), pack, precision, exact, seed), [])
            self._host, self._others = known
            self._others.append(self)
        shelf = Shelf(self._host, self.depth + 1)
        acting = pack.classifiers[0] if pack.classifiers else None
        self._lanes = {m.name: DeviceLane(self._host, m, shelf, m is acting, self._rang) for m in pack.models}
        self._shelf = shelf

    @property
    def classifiers(self) -> tuple[DeviceLane, ...]:
        """The classifiers in the order of the pack; the first acts."""
        return tuple(self._lanes[m.name] for m in self._pack.classifiers)

    @property
    def segmenter(self) -> DeviceLane | None:
        """The segmenter, or None."""
        model = self._pack.segmenter
        return None if model is None else self._lanes[model.name]

    @property
    def info(self) -> Mapping[str, str]:
        """`engine`, `device`, `precision`, `threads`: what runs."""
        return {
            "engine": "torch",
            "device": self._device,
            "precision": self._host.precision,
            "threads": "1",
        }

    @property
    def depth(self) -> int:
        """Pictures a classifier should have on its way at once."""
        return AHEAD if self._ahead else 1

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done as asked for, one line each: a number type that overflowed."""
        return self._host.warnings

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake` from the device's thread whenever an answer is ready."""
        self._wake = wake

    def warm_up(self, say: Say | None = None) -> None:
        """Load and run once in every batch size that may be needed; `say` hears of it, a line each.

        Raises `PackError` when weights are damaged or do not fit, `DeviceFailure` when the device fails.
        """
        with _opening:
            wanted = sum(other.depth for other in self._others)
        top = 1
        while top < wanted:
            top *= 2
        self._host.prepare(top, say or (lambda line: None))

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        for lane in self._lanes.values():
            lane.close()
        self._shelf.clear()
        with _opening:
            if self not in self._others:
                return
            self._others.remove(self)
            last = not self._others
            if last and _hosts.get(self._key, (None,))[0] is self._host:
                del _hosts[self._key]
        if last:
            self._host.close()

    def _rang(self) -> None:
        self._wake()


class Shelf:
    """The newest pictures of one stream, so that a second network needs no second upload.

    Parameters
    ----------
    host
        Uploads them.
    size
        How many are kept.
    """

    def __init__(self, host: Host, size: int) -> None:
        self._host, self._size = host, size
        self._lock = threading.Lock()
        self._kept: deque[tuple[weakref.ref[Any], Picture]] = deque()

    def add(self, image: ImageArray) -> Picture:
        """The picture, newly uploaded; the oldest one goes."""
        picture = self._host.upload(image)
        with self._lock:
            self._kept.append((weakref.ref(image), picture))
            old = [self._kept.popleft()[1] for _ in range(len(self._kept) - self._size)]
        for other in old:
            self._host.release(other)
        return picture

    def find(self, image: ImageArray) -> Picture:
        """The picture as it lies on the device; uploaded where it does not."""
        with self._lock:
            found = [picture for kept, picture in self._kept if kept() is image]
        return found[-1] if found else self.add(image)

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            old, self._kept = [p for _, p in self._kept], deque()
        for picture in old:
            self._host.release(picture)


class DeviceLane:
    """One network for one stream (the protocol `Lane`).

    Parameters
    ----------
    host
        Does the work.
    model
        The model of the pack.
    shelf
        The stream's newest pictures.
    first
        Whether this lane sees every picture first, so that looking for it is in vain.
    ring
        Called from the device's thread whenever an answer is ready or the device has failed.
    """

    def __init__(
        self, host: Host, model: ModelSpec, shelf: Shelf, first: bool, ring: Callable[[], None]
    ) -> None:
        self._host, self._model, self._shelf, self._ring = host, model, shelf, ring
        self._bring = shelf.add if first else shelf.find
        self._changed = threading.Condition()
        self._done: dict[int, Answer] = {}
        self._first = self._next = 0
        self._error: Exception | None = None
        self._closed = False
        host.join(self)

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
        """Take a picture, uint8[H, W, 3] RGB; returns when it is copied for the upload (0.5 ms at 1080p)."""
        with self._changed:
            if self._closed:
                raise RunError(f"network {self.name} is closed; open the pack again")
            ticket, self._next = self._next, self._next + 1
        self._host.submit(Job(self, ticket, key, self._model, self._bring(image)))

    def poll(self, wait: bool = False) -> list[Answer]:
        """The answers that are ready, oldest first; with `wait` all that were submitted.

        Raises `DeviceFailure` when the device failed, and again at each later call.
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

        Raises `DeviceFailure` when the device failed, `RunError` when the lane was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._first in self._done)
            self._complain()
            if self._first not in self._done:
                raise RunError(f"network {self.name} was closed; open the pack again")
            self._first += 1
            return self._done.pop(self._first - 1)

    def answered(self, ticket: int, answer: Answer) -> None:
        """The device has done it."""
        with self._changed:
            if self._closed:
                return
            self._done[ticket] = answer
            self._changed.notify_all()
        self._ring()

    def failed(self, error: Exception) -> None:
        """The device does nothing any more."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
        self._ring()

    def close(self) -> None:
        """Drop what is not yet done; safe to call twice."""
        self._host.leave(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def _over(self) -> bool:
        return self._closed or self._error is not None

    def _complain(self) -> None:
        error = self._error
        if isinstance(error, EndostreamError):
            raise error
        if error is not None:
            raise RunError(f"network {self.name} failed: {one_line(error)}; open the pack again") from error
