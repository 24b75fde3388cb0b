"""The device at work for everybody in this process who runs the same pack in the same number type.

Owns the queue, the two threads that feed the device, and what becomes of an error. Must not know whose
pictures they are, or what a round does.

A round is what was waiting when a thread looked; that thread waits for it once, as a whole. Meanwhile the
other thread starts the next round, so the device is never idle between two.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from endostream.engines.cuda.device import Device, out_of_memory
from endostream.engines.cuda.network import BUCKETS
from endostream.engines.cuda.rounds import Asker, Flight, Job, Rounds
from endostream.engines.cuda.staging import Picture, Staging
from endostream.engines.fallback import DeviceFailure
from endostream.engines.lane import one_line
from endostream.engines.wish import Say
from endostream.errors import EndostreamError
from endostream.packs import Pack
from endostream.types import ImageArray

__all__ = ["Host", "as_failure"]

WORKERS = 2
"""Rounds on their way at once: one computes while the next is uploaded and started."""


class Host:
    """Networks of one pack on one device, for any number of askers.

    Parameters
    ----------
    device
        Where they run.
    pack
        Its weights were verified.
    precision
        `fp16`, `bf16` or `fp32`.
    exact
        Preprocess here, with the published kernels to the last bit.
    seed
        Random weights by this seed instead of the pack's.
    """

    def __init__(self, device: Device, pack: Pack, precision: str, exact: bool, seed: int | None) -> None:
        self._rounds = Rounds(device, pack, precision, exact, seed)
        self._staging, self._exact = Staging(device), exact
        self._changed = threading.Condition()
        self._todo: deque[Job] = deque()
        self._askers: set[Asker] = set()
        self._busy = self._over = False
        self._error: Exception | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"device-{pack.name}-{n}", daemon=True)
            for n in range(WORKERS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def precision(self) -> str:
        """What the networks compute in: `fp16`, or `bf16 and fp16` where one of them had to change."""
        return self._rounds.precision

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done as asked for, one line each."""
        return self._rounds.warnings

    @property
    def failed(self) -> bool:
        """True when nothing will be answered any more."""
        return self._error is not None

    def prepare(self, top: int, say: Say) -> None:
        """Load the networks and make batches of up to `top` pictures ready.

        Raises `PackError` when weights are damaged or do not fit, `DeviceFailure` when the device fails.
        """
        try:
            with self._turn():
                self._rounds.prepare(top, say)
        except Exception as error:
            raise as_failure(error) from error

    def upload(self, image: ImageArray) -> Picture:
        """Start to upload a picture, uint8[H, W, 3]; give it to jobs, then `release` it.

        A device that fails here is reported to every asker, and the picture is good for nothing.
        """
        start = time.perf_counter()
        slot = mark = None
        if not self._exact and not self.failed:
            try:
                slot, mark = self._staging.upload(image)
            except Exception as error:
                self._fail(error)
        return Picture(image, slot, mark, time.perf_counter() - start, holds=1)

    def release(self, picture: Picture) -> None:
        """The giver needs the picture no more; jobs that do still hold it."""
        self._staging.release(picture)

    def join(self, asker: Asker) -> None:
        """From now on this asker hears when the device fails."""
        with self._changed:
            self._askers.add(asker)

    def leave(self, asker: Asker) -> bool:
        """Drop what the asker waits for; gives True when nobody else is there."""
        with self._changed:
            self._askers.discard(asker)
            mine = [job for job in self._todo if job.asker is asker]
            self._todo = deque(job for job in self._todo if job.asker is not asker)
        for job in mine:
            self._staging.release(job.picture)
        return not self._askers

    def submit(self, job: Job) -> None:
        """Take a job; returns at once. After a failure the asker is told at once, too."""
        self._staging.hold(job.picture)
        with self._changed:
            error = self._error
            if error is None:
                self._todo.append(job)
                # All: one of those who wait may be waiting for something else.
                self._changed.notify_all()
        if error is not None:
            job.asker.failed(error)

    def close(self) -> None:
        """Drop what is waiting, end the threads and give the device's memory back."""
        with self._changed:
            self._over = True
            self._todo.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._rounds.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or (self._todo and not self._busy))
                if self._over:
                    return
                self._busy = True
                jobs = self._taken()
            try:
                try:
                    flights, mark = self._rounds.start(jobs)
                finally:
                    with self._changed:
                        self._busy = False
                        self._changed.notify_all()
                self._rounds.wait(mark)
                for flight in flights:
                    self._land(flight)
            except Exception as error:
                self._fail(error)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else changes networks or starts a round meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _taken(self) -> list[Job]:
        """What is waiting, oldest first, up to a full batch of every network."""
        count: dict[str, int] = {}
        taken, left = list[Job](), deque[Job]()
        for job in self._todo:
            count[job.model.name] = count.get(job.model.name, 0) + 1
            (taken if count[job.model.name] <= BUCKETS[0] else left).append(job)
        self._todo = left
        return taken

    def _land(self, flight: Flight) -> None:
        """Give the answers out, or the jobs back where the numbers overflowed."""
        answers = self._rounds.results(flight)
        if answers is None:
            with self._turn():
                self._rounds.widen(flight.network)
            with self._changed:
                self._todo.extendleft(reversed(flight.jobs))
                self._changed.notify_all()
            return
        for job, answer in zip(flight.jobs, answers, strict=True):
            self._staging.release(job.picture)
            job.asker.answered(job.ticket, answer)

    def _fail(self, error: Exception) -> None:
        """Tell everybody; the first error counts."""
        with self._changed:
            if self._error is None:
                self._error = as_failure(error)
            said, askers = self._error, list(self._askers)
            self._todo.clear()
        for asker in askers:
            asker.failed(said)


def as_failure(error: Exception) -> Exception:
    """What is said of an error: whatever torch raises is the device's failure, in one line."""
    if isinstance(error, EndostreamError) or not isinstance(error, RuntimeError):
        return error
    if out_of_memory(error):
        return DeviceFailure("the GPU is out of memory", "close other programs on it or use --device cpu")
    return DeviceFailure(f"the GPU failed ({one_line(error)})", "check its driver or use --device cpu")
