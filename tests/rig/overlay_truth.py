"""The overlay on the screen against the picture under it: `python tests/rig/overlay_truth.py`.

The real window over a real stream; every paint is looked at as pixels on the screen. Owns which looks are
taken, over which protocols, delays and sizes. Must not know how any of them works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from overlay_fading import back, stale
from overlay_place import belongs
from window_run import WindowRun

from endostream.bench.rig.census import census, settled
from endostream.bench.rig.clips import Scene, make_clip
from endostream.bench.rig.faults import left_over
from endostream.bench.rig.live_run import Ages
from endostream.bench.rig.result import Figure, as_json, as_text
from endostream.bench.rig.run import HD, Run, measure
from endostream.bench.rig.steady import SHOWN_MS, SLOPE_FROM_S, SLOPE_MS, slope_ms
from endostream.capture.loopback import ClipSender, Protocol, open_sender

PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")
DELAYS_S = (0.2, 0.08)
"""Delays of the stub networks."""
SCALES = (1.0, 0.75)
"""Sizes at which the picture is shown."""
SOAK_GRABS, SOAK_ROUNDS, SOAK_S = 200, 3, 60.0


def shown_ages(run: WindowRun, name: str, seconds: float) -> list[Figure]:
    """How old pictures are when they are painted, from their sending, over `seconds` without any grab."""
    run.set_synced(False)
    run.resize(1.0)
    back(run)
    run.paints.clear()
    began = time.monotonic()
    run.wait(lambda: False, seconds)
    lasted = time.monotonic() - began
    ages, unread = Ages(), 0
    firsts = [paint for paint in run.paints if paint.first]
    for paint in firsts:
        sent = None if paint.number is None else run.sender.sent.time_of(paint.number, paint.at)
        unread += sent is None
        if sent is not None:
            ages.add(paint.at, paint.at - sent)
    values = np.percentile(np.asarray(ages.ages) * 1000.0, [50, 95]) if ages.ages else [None, None]
    p50, p95 = (None if v is None else round(float(v), 2) for v in values)
    long = seconds >= SLOPE_FROM_S
    return [
        Figure(name, "shown-frame age p50", p50, "ms", None, f"{lasted:.0f} s"),
        Figure(name, "shown-frame age p95", p95, "ms", SHOWN_MS),
        Figure(
            name,
            "shown-frame age, slope",
            slope_ms(ages),
            "ms/min",
            SLOPE_MS if long else None,
            "" if long else f"not judged under {SLOPE_FROM_S:g} s",
        ),
        Figure(name, "pictures that could not be told", float(unread), "", 0.0),
        Figure(name, "pictures painted a second", round(len(firsts) / lasted, 2), "", None, "30 are sent"),
    ]


def overlay_truth(
    protocol: Protocol,
    scene: Scene = HD,
    grabs: int = SOAK_GRABS,
    rounds: int = SOAK_ROUNDS,
    seconds: float = SOAK_S,
) -> list[Figure]:
    """Every figure over one protocol: `grabs` at each size, `rounds` of stalls, `seconds` of ages."""
    figures: list[Figure] = []
    with open_sender(protocol, make_clip(scene)) as sender:
        for delay in DELAYS_S:
            name = f"window {protocol}, {1000 * delay:g} ms"
            with WindowRun(sender, scene, delay) as run:
                for scale in SCALES:
                    for synced in (True, False):
                        figures += belongs(run, name, synced, scale, grabs)
        figures += _as_the_product(sender, scene, grabs, rounds, seconds)
    return figures


def _as_the_product(
    sender: ClipSender, scene: Scene, grabs: int, rounds: int, seconds: float
) -> list[Figure]:
    """With masks carried along as the product does live: own masks, stalls, ages, and what is left over."""
    delay = DELAYS_S[0]
    name = f"window {sender.scheme}, {1000 * delay:g} ms, carried"
    before = census()
    with WindowRun(sender, scene, delay, carrying=True) as run:
        figures = belongs(run, name, True, 1.0, grabs) + belongs(run, name, False, 1.0, grabs)
        figures += stale(run, name, delay, rounds)
        figures += shown_ages(run, name, seconds)
    return figures + left_over(name, before, settled(before))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it over both protocols, print one table, and give the exit code: 1 when a demand is not met."""
    parser = argparse.ArgumentParser(description="The overlay on the screen against the picture under it.")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--grabs", type=int, default=SOAK_GRABS, help="pictures for each mode and size")
    parser.add_argument("--rounds", type=int, default=SOAK_ROUNDS, help="of each kind of stall")
    parser.add_argument("--seconds", type=float, default=SOAK_S, help="for which ages are measured")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    given = parser.parse_args(arguments)
    table: dict[str, Run] = {
        f"overlay-{protocol}": partial(overlay_truth, protocol, HD, given.grabs, given.rounds, given.seconds)
        for protocol in given.protocols
    }
    result = measure(table, lambda line: print(line, file=sys.stderr, flush=True))
    for line in [json.dumps(as_json(result), indent=2)] if given.json else as_text(result):
        print(line)
    return 0 if result.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
