"""Rounds on the device: inputs made, every network on a stream of its own, results in pinned memory.

Owns the networks on the device and the order of the work there. Must not know threads or who asks; it is
called by one thread at a time, except `Rounds.wait` and `Rounds.results`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from endostream.analysis.networks import Answer
from endostream.engines.cuda.device import Device, out_of_memory
from endostream.engines.cuda.network import BUCKETS, DeviceNetwork
from endostream.engines.cuda.resizing import Resizer
from endostream.engines.cuda.staging import Picture
from endostream.engines.preprocess import Preprocessor
from endostream.engines.wish import Say
from endostream.packs import ModelSpec, Pack, Preprocessing
from endostream.types import FloatArray, ImageArray

__all__ = ["Asker", "Flight", "Job", "Rounds"]

RESIZERS = 8
"""Picture sizes times preprocessings that are kept ready; one holds about 60 MB for 1080p."""
WIDER = {"fp16": "bf16", "bf16": "fp32"}
"""Where numbers overflow, the next type: bf16 reaches as far as fp32, with 8 bits instead of 11."""


class Asker(Protocol):
    """Whoever gave a job and hears what became of it."""

    def answered(self, ticket: int, answer: Answer) -> None:
        """The job with this ticket is done."""

    def failed(self, error: Exception) -> None:
        """Nothing will be answered any more."""


@dataclass(slots=True, eq=False)
class Job:
    """One picture for one network."""

    asker: Asker
    """Who wants to know."""
    ticket: int
    """The asker's number for it."""
    key: int
    """The key of the answer."""
    model: ModelSpec
    """Which network."""
    picture: Picture
    """On its way to the device."""
    began: float = field(default_factory=time.perf_counter)
    """When it was asked for."""


@dataclass(slots=True, eq=False)
class Flight:
    """One batch of one network within a round."""

    network: DeviceNetwork
    """The network."""
    jobs: Sequence[Job]
    """In the order of the batch."""
    results: tuple[Tensor, ...]
    """Where its outputs arrive: float32[bucket, ...] in pinned memory."""
    mark: Any
    """Reached when they have."""


class Rounds:
    """The networks of a pack on a device, run over whatever jobs there are.

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
        self._device, self._pack, self._seed, self._exact = device, pack, seed, exact
        self._precisions = {m.name: precision for m in pack.models}
        self._networks: dict[str, DeviceNetwork] = {}
        self._resizers: OrderedDict[Any, Resizer] = OrderedDict()
        self._streams: dict[Preprocessing, Any] = {}
        self._exactly: dict[Preprocessing, Preprocessor] = {}
        self._buffering = threading.Lock()
        self._buffers: dict[Any, list[tuple[Tensor, ...]]] = {}
        self._say: Say = lambda line: None
        self.warnings: tuple[str, ...] = ()
        """What could not be done as asked for, one line each."""

    @cached_property
    def _join(self) -> Any:
        return self._device.stream()

    @property
    def precision(self) -> str:
        """What the networks compute in: `fp16`, or `bf16 and fp16` where one of them had to change."""
        return " and ".join(sorted(set(self._precisions.values())))

    def prepare(self, top: int, say: Say) -> None:
        """Load the networks and make batches of up to `top` pictures ready; raises what torch raises."""
        self._say = say
        for model in self._pack.models:
            self._network(model).prepare(min(top, BUCKETS[0]))

    def wait(self, mark: Any) -> None:
        """Wait here until a round is complete: the one time that the processor waits for it."""
        self._device.wait(mark)

    def results(self, flight: Flight) -> list[Answer] | None:
        """The answers of one batch in the order of its jobs; None where its number type overflowed."""
        done = time.perf_counter()
        found = [r[: len(flight.jobs)].numpy() for r in flight.results]
        answers = None
        if flight.network.precision not in WIDER or all(np.isfinite(f).all() for f in found):
            answers = [_answer(job, [f[place] for f in found], done) for place, job in enumerate(flight.jobs)]
        with self._buffering:
            self._buffers.setdefault(tuple(r.shape for r in flight.results), []).append(flight.results)
        return answers

    def widen(self, network: DeviceNetwork) -> None:
        """Load a network anew in the next wider number type; once, however often it is asked for."""
        model, before = network.model, network.precision
        if self._networks.get(model.name) is not network:
            return
        self._device.settle()
        after = self._precisions[model.name] = WIDER[before]
        top = network.top
        del self._networks[model.name]
        said = f"network {model.name} overflows in {before}: going on in {after}; use --precision {after}"
        self.warnings = (*self.warnings, said)
        self._say(said)
        self._network(model).prepare(top)

    def clear(self) -> None:
        """Give the device's memory and streams back; nothing may be under way."""
        self._networks.clear()
        self._resizers.clear()
        self._buffers.clear()
        self._device.close()

    def start(self, jobs: Sequence[Job]) -> tuple[list[Flight], Any]:
        """Start everything for these jobs; in smaller batches where the memory does not suffice."""
        while True:
            try:
                flights = [self._fly(network, batch) for network, batch in self._batches(jobs)]
                for flight in flights:
                    self._device.after(self._join, flight.mark)
                return flights, self._device.mark(self._join)
            except RuntimeError as error:
                largest = max((n.top for n in self._networks.values()), default=0)
                if not out_of_memory(error) or largest < 2:
                    raise
            self._device.settle()
            self._buffers.clear()
            for network in self._networks.values():
                network.shrink(largest)

    def _batches(self, jobs: Sequence[Job]) -> Iterator[tuple[DeviceNetwork, Sequence[Job]]]:
        for model in self._pack.models:
            mine = [job for job in jobs if job.model is model or job.model.name == model.name]
            if not mine:
                continue
            network = self._network(model)
            if not network.top:
                network.prepare(1)
            for start in range(0, len(mine), network.top):
                yield network, mine[start : start + network.top]

    def _network(self, model: ModelSpec) -> DeviceNetwork:
        network = self._networks.get(model.name)
        if network is None:
            precision = self._precisions[model.name]
            where = "the GPU" if self._device.cuda else "the CPU"
            self._say(f"loading {model.role} {model.name} for {where} ({precision})")
            network = DeviceNetwork(self._device, self._pack, model, precision, self._seed, self._say)
            self._networks[model.name] = network
        return network

    def _fly(self, network: DeviceNetwork, jobs: Sequence[Job]) -> Flight:
        inputs = [self._input(network, job.picture) for job in jobs]
        with self._device.on(network.stream):
            for _, mark in inputs:
                self._device.after(network.stream, mark)
            size = network.put([value for value, _ in inputs])
            outputs = network.run(size)
            results = self._results(outputs)
            for result, output in zip(results, outputs, strict=True):
                result[: len(jobs)].copy_(output[: len(jobs)], non_blocking=True)
            return Flight(network, jobs, results, self._device.mark(network.stream))

    def _input(self, network: DeviceNetwork, picture: Picture) -> tuple[Tensor, Any]:
        """The picture as this network takes it; made once for all networks that take the same."""
        how = network.model.preprocessing
        kind = (how, network.number)
        found = picture.inputs.get(kind)
        if found is None:
            found = picture.inputs[kind] = self._exact_input(how, network, picture.image) or self._resized(
                how, network.number, picture
            )
        return found

    def _exact_input(
        self, how: Preprocessing, network: DeviceNetwork, image: ImageArray
    ) -> tuple[Tensor, Any] | None:
        if not self._exact:
            return None
        preprocess = self._exactly.setdefault(how, Preprocessor(how, exact=True))
        with self._device.on(network.stream):
            value = torch.from_numpy(preprocess(image)[0].copy()).to(self._device.where, network.number)
            return value, self._device.mark(network.stream)

    def _resized(self, how: Preprocessing, number: torch.dtype, picture: Picture) -> tuple[Tensor, Any]:
        assert picture.slot is not None, "a picture is held until its jobs are done"
        plane = picture.slot.plane
        # One stream per preprocessing: pictures of several sizes take turns on it.
        stream = self._streams.get(how)
        if stream is None:
            stream = self._streams[how] = self._device.stream()
        resizer = self._resizer(how, number, stream, plane)
        with self._device.on(stream):
            self._device.after(stream, picture.mark)
            return resizer(plane), self._device.mark(stream)

    def _resizer(self, how: Preprocessing, number: torch.dtype, stream: Any, plane: Tensor) -> Resizer:
        rows, columns = plane.shape[:2]
        key = (how, number, rows, columns)
        found = self._resizers.get(key)
        if found is None:
            if len(self._resizers) >= RESIZERS:
                # It may be at work for the round before.
                self._device.settle()
                self._resizers.popitem(last=False)
            found = Resizer(self._device, how, rows, columns, number, stream, self._say)
            self._resizers[key] = found
        self._resizers.move_to_end(key)
        return found

    def _results(self, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with self._buffering:
            kept = self._buffers.get(tuple(o.shape for o in outputs))
            if kept:
                return kept.pop()
        return tuple(self._device.host(o.shape, o.dtype) for o in outputs)


def _answer(job: Job, parts: Sequence[FloatArray], done: float) -> Answer:
    """An answer with arrays of its own: those of a batch are used again."""
    took = {"preprocess": job.picture.staged_s, "infer": done - job.began}
    if job.model.role == "segmenter":
        return Answer(job.key, parts[0][0].copy(), None, took)
    return Answer(job.key, parts[0].copy(), parts[1].copy() if len(parts) > 1 else None, took)
