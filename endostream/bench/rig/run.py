"""The short rig: an undisturbed stretch, then every fault once or twice.

Owns which runs belong to `endostream bench --rig`. Must not know how any of them works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from endostream.bench.rig.changes import oddities, sizes
from endostream.bench.rig.clips import Scene
from endostream.bench.rig.faults import black_hole, cycles
from endostream.bench.rig.result import Figure, RigResult, failure
from endostream.bench.rig.steady import steady

Run = Callable[[], list[Figure]]
HD = Scene(1280, 720, 30)
SIZES = (Scene(720, 576, 25, 4.0, interlaced=True), HD, Scene(1920, 1080, 30, 2.0))
PROFILE = "text-left"
"""It has no layout for 720p, which is then scaled from that of 1080p."""
DELAY_S = 0.2
"""Delay of the stub networks where ages are measured."""
STEADY_S = 6.0
"""Seconds of an undisturbed run when nothing is said."""


def short_runs(seconds: float) -> dict[str, Run]:
    """The runs of the bench by name: `seconds` undisturbed, and about 30 s of faults."""
    return {
        "steady": partial(steady, "udp", HD, DELAY_S, seconds),
        "cycles-tcp": partial(cycles, "tcp", HD, 2),
        "cycles-udp": partial(cycles, "udp", HD, 1),
        "black-hole": partial(black_hole, "tcp", HD),
        "sizes": partial(sizes, "tcp", SIZES, PROFILE),
        "oddities": partial(oddities, "udp", HD),
    }


def measure(runs: Mapping[str, Run], say: Callable[[str], None] = lambda line: None) -> RigResult:
    """All runs one after the other; one that fails is a line of the table, and the others go on."""
    began, figures = time.monotonic(), list[Figure]()
    for name, run in runs.items():
        say(f"rig: {name}")
        try:
            figures += run()
        except Exception as error:
            figures.append(failure(name, error))
    return RigResult(tuple(figures), time.monotonic() - began)


def run_rig(seconds: float = STEADY_S, say: Callable[[str], None] = lambda line: None) -> RigResult:
    """The short rig; `seconds` is the undisturbed part, the rest takes about 30 s more."""
    return measure(short_runs(seconds), say)
