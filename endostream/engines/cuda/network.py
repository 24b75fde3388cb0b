"""One network on the device, in one number type, for batches of a few fixed sizes.

Owns the network, its inputs and its programs. Must not know pictures, threads or other networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from endostream.engines.cuda.device import Device, Program, out_of_memory
from endostream.engines.lane import check_outputs
from endostream.models import load
from endostream.packs import ModelSpec, Pack

__all__ = ["BUCKETS", "NUMBERS", "DeviceNetwork"]

BUCKETS = (16, 8, 4, 2, 1)
"""Batch sizes that are prepared, largest first: the smaller ones then fit into the memory of the largest."""
NUMBERS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class DeviceNetwork:
    """A network that is ready for batches of up to `top` pictures.

    Parameters
    ----------
    device
        Where it runs.
    pack, model
        What it is.
    precision
        `fp16`, `bf16` or `fp32`.
    seed
        Random weights by this seed instead of the pack's.
    say
        Hears when there can be no CUDA graph.
    """

    def __init__(
        self,
        device: Device,
        pack: Pack,
        model: ModelSpec,
        precision: str,
        seed: int | None,
        say: Callable[[str], None],
    ) -> None:
        self.model, self.precision = model, precision
        self.number = NUMBERS[precision]
        """Number type of its input."""
        self.stream = device.stream()
        """Where it runs, one batch after the other."""
        self._device, self._say = device, say
        network = fuse(load(pack, model, seed))
        # Any: `to` has no type for a memory format together with a number type.
        moving: Any = network
        self._network = moving.to(device=device.where, dtype=self.number, memory_format=torch.channels_last)
        self._pool = device.pool()
        self._programs: dict[int, Program] = {}
        self._inputs: dict[int, Tensor] = {}
        self._limit = BUCKETS[0]
        device.settle()

    @property
    def top(self) -> int:
        """Pictures in the largest batch that is ready; 0 before `prepare`."""
        return max(self._programs, default=0)

    def prepare(self, top: int) -> None:
        """Make batches of up to `top` pictures ready, or of as many as the memory suffices for.

        Raises `PackError` when the outputs do not fit the pack, and what torch raises when not even one
        picture fits into the memory.
        """
        for size in BUCKETS:
            if size > min(top, self._limit) or size in self._programs:
                continue
            try:
                self._prepare(size)
            except RuntimeError as error:
                if not out_of_memory(error) or size == 1:
                    raise
            if size not in self._programs:
                # Only here: as long as the error is held, so is the memory of what failed.
                self.shrink(size)

    def shrink(self, size: int) -> None:
        """Do without batches of `size` and more: the memory does not suffice."""
        self._limit = max(1, size // 2)
        for large in [s for s in self._programs if s > self._limit]:
            del self._programs[large], self._inputs[large]
        self._device.tidy()

    def put(self, values: Sequence[Tensor]) -> int:
        """Copy the inputs of some pictures to a batch on `stream`; gives the batch's size."""
        size = min(s for s in self._programs if s >= len(values))
        for place, value in enumerate(values):
            self._inputs[size][place].copy_(value)
        return size

    def run(self, size: int) -> tuple[Tensor, ...]:
        """Logits, and class maps where it has them, float32[size, ...]; call it on `stream`."""
        return self._programs[size]()

    def _prepare(self, size: int) -> None:
        how = self.model.preprocessing
        with self._device.on(self.stream):
            batch = torch.zeros(
                (size, 3, how.height, how.width), dtype=self.number, device=self._device.where
            )
            batch = batch.contiguous(memory_format=torch.channels_last)

            def run() -> tuple[Tensor, ...]:
                found = self._network(batch)
                parts = found if isinstance(found, tuple) else (found,)
                return tuple(p.float() for p in parts)

            if size == 1:
                check_outputs(self.model, run()[0].cpu().numpy())
        self._device.settle()
        self._programs[size] = self._device.program(run, self.stream, self._pool, self._say)
        self._inputs[size] = batch


def fuse(network: nn.Module) -> nn.Module:
    """The network with every batch normalisation that follows a convolution worked into its weights."""
    for parent in network.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        for place in range(len(parent) - 1):
            first, second = parent[place], parent[place + 1]
            if type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d:
                parent[place] = fuse_conv_bn_eval(first, second)
                parent[place + 1] = nn.Identity()
    return network
