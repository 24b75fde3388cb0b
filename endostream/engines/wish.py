"""What an engine is asked to open, and what it gives back.

Owns the two shapes both engines share. Must not know any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from endostream.packs import ModelSpec, Pack
from endostream.types import FloatArray

__all__ = ["Choice", "Features", "Outputs", "Rest", "Runner", "Say", "Trunk", "Wish"]

Say = Callable[[str], None]
"""Hears what is being done, one line each."""
Outputs = tuple[FloatArray, FloatArray | None]
"""Logits and class maps of a batch of one; arrays the caller may keep."""
Runner = Callable[[FloatArray], Outputs]
"""A loaded network: float32[1, 3, H, W] in, `Outputs` out."""
Features = tuple[FloatArray, ...]
"""What a mask network goes on from, where it shares its trunk with the classifier."""
Trunk = Callable[[FloatArray], tuple[FloatArray, FloatArray, Features]]
"""float32[1, 3, H, W] in; logits, class maps and features."""
Rest = Callable[[Features], FloatArray]
"""Features in, mask logits float32[1, 1, H, W]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs the networks."""

    engine: str
    """`torch` or `openvino`."""
    device: str
    """`cpu` or `cuda`."""
    precision: str
    """`fp32`, `bf16`, `fp16` or `int8`."""
    int8: Mapping[str, str] = field(default_factory=dict)
    """Networks that run in int8 to the version of NNCF that quantises them; others run in bf16 or fp32."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One model of a pack and how it is to be run."""

    pack: Pack
    """The pack."""
    model: ModelSpec
    """One of its models."""
    device: str
    """`cpu` or `cuda`."""
    precision: str
    """`fp32`, `bf16`, `fp16` or `int8`."""
    threads: int
    """Processor threads for this network."""
    streams: int
    """Pictures that may be worked on at once, sharing the threads; OpenVINO only."""
    seed: int | None
    """Random weights by this seed instead of the pack's; None for the pack's."""
    say: Say
    """Hears what is being done."""
