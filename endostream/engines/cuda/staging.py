"""Pictures on their way to the device: copied once to pinned memory, uploaded while others are computed.

Owns the memory pictures travel through, and when it may be used again. Must not know networks or lanes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from endostream.engines.cuda.device import Device, out_of_memory
from endostream.types import ImageArray

__all__ = ["Picture", "Staging"]

KEPT = 16
"""Slots of one size that are kept for later pictures; one holds 6 MB at 1080p here and on the device."""


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one picture here and on the device."""

    pinned: Tensor
    """uint8[H, W, 3] in memory the device reaches by itself."""
    plane: Tensor
    """The same on the device."""


@dataclass(slots=True, eq=False)
class Picture:
    """One uploaded picture, and what was made of it."""

    image: ImageArray
    """The picture itself."""
    slot: Slot | None
    """Where it lies; None where preprocessing happens here."""
    mark: Any
    """Reached when the upload is complete."""
    staged_s: float
    """Seconds that copying it to pinned memory took."""
    inputs: dict[Any, tuple[Tensor, Any]] = field(default_factory=dict)
    """Network inputs by preprocessing and number type, each with the mark behind which it is complete."""
    holds: int = 0
    """How many still need it."""


class Staging:
    """Uploads pictures and takes their memory back.

    Parameters
    ----------
    device
        Where pictures go.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._free: dict[tuple[int, int], list[Slot]] = {}

    @cached_property
    def _stream(self) -> Any:
        return self._device.stream()

    def upload(self, image: ImageArray) -> tuple[Slot, Any]:
        """Start to upload a picture, uint8[H, W, 3]; gives its slot and the mark behind the upload.

        The picture is copied before this returns. Raises what torch raises.
        """
        slot = self._slot(*image.shape[:2])
        # Releases the interpreter's lock: 0.5 ms for 1080p.
        np.copyto(slot.pinned.numpy(), image)
        with self._lock, self._device.on(self._stream):
            slot.plane.copy_(slot.pinned, non_blocking=True)
            return slot, self._device.mark(self._stream)

    def hold(self, picture: Picture) -> None:
        """One more needs this picture."""
        with self._lock:
            picture.holds += 1

    def release(self, picture: Picture) -> None:
        """One less needs it; the last gives its memory back. The device must be done with it."""
        with self._lock:
            picture.holds -= 1
            if picture.holds > 0:
                return
            picture.inputs.clear()
            slot, picture.slot = picture.slot, None
            if slot is not None:
                kept = self._free.setdefault((slot.pinned.shape[0], slot.pinned.shape[1]), [])
                if len(kept) < KEPT:
                    kept.append(slot)

    def _slot(self, rows: int, columns: int) -> Slot:
        with self._lock:
            kept = self._free.get((rows, columns))
            if kept:
                return kept.pop()
            # Free slots of other sizes belong to sources that have ended, or will be made again.
            self._free = {(rows, columns): []}
        try:
            return self._new(rows, columns)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._device.tidy()
            return self._new(rows, columns)

    def _new(self, rows: int, columns: int) -> Slot:
        shape = (rows, columns, 3)
        with self._device.on(self._stream):
            plane = torch.empty(shape, dtype=torch.uint8, device=self._device.where)
        return Slot(self._device.host(shape, torch.uint8), plane)
