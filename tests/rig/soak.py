"""The long runs: `make soak`, or `python tests/rig/soak.py [RUN ...] [--minutes M] [--cycles N] [--json]`.

Owns the table of long runs and how long they are. Every run gives figures, each with what is demanded of it;
one that fails is a line of the table, and the others go on. A run of one's own is one entry more in `runs`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from endostream.bench.rig.changes import oddities, sizes
from endostream.bench.rig.faults import black_hole, cycles
from endostream.bench.rig.result import Figure, as_json, as_text
from endostream.bench.rig.run import DELAY_S, HD, PROFILE, SIZES, Run, measure
from endostream.bench.rig.steady import steady

UP_AND_DOWN = (*SIZES, *SIZES[-2::-1])


def runs(minutes: float, count: int) -> Mapping[str, Run]:
    """Every long run by name: `minutes` undisturbed, `count` cuts and returns."""
    return {
        "steady": partial(steady, "udp", HD, DELAY_S, 60.0 * minutes),
        "cycles-tcp": partial(cycles, "tcp", HD, count),
        "cycles-udp": partial(cycles, "udp", HD, count),
        "cycles-rtsp": partial(cycles, "rtsp", HD, max(1, count // 5)),
        "black-hole-tcp": partial(black_hole, "tcp", HD),
        "black-hole-rtsp": partial(black_hole, "rtsp", HD),
        "black-hole-udp": partial(black_hole, "udp", HD),
        "sizes": partial(sizes, "tcp", UP_AND_DOWN),
        "sizes-profile": partial(sizes, "udp", UP_AND_DOWN, PROFILE),
        "oddities-tcp": partial(oddities, "tcp", HD),
        "oddities-udp": partial(oddities, "udp", HD),
        "oddities-rtsp": partial(oddities, "rtsp", HD),
        "overlay": partial(script, "overlay on the screen, udp and tcp", "overlay_truth.py"),
        "kill-recorder": partial(script, "kill -9 of a recorder, 20 times", "kill_recording.py"),
        "kill-analyze": partial(script, "kill -9 of analyze, 20 times", "kill_recording.py", "--live"),
        "replay": partial(script, "live equals replay, 10 times", "replay_equal.py", "--rounds", "10"),
        "replay-lossy": partial(
            *(script, "live equals replay, lossless and encoded, 3 times each", "replay_equal.py"),
            *("--rounds", "3", "--modes", "lossless", "encode"),
        ),
    }


def script(name: str, file: str, *arguments: str) -> list[Figure]:
    """A run that is a program of its own: it shows its rows, and its exit code is the demand."""
    command = [sys.executable, str(Path(__file__).with_name(file)), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    rows = [line for line in done.stdout.splitlines() if line.strip()]
    print("\n".join(rows), file=sys.stderr, flush=True)
    return [Figure(name, "exit code", done.returncode, "", 0.0, rows[-1].strip("| ") if rows else "")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them, print one table, and give the exit code: 1 when a demand is not met."""
    parser = argparse.ArgumentParser(description="Long live runs over this computer's own network.")
    parser.add_argument("run", nargs="*", help=f"which: {', '.join(runs(1, 1))}; all when none is named")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the undisturbed run")
    parser.add_argument("--cycles", type=int, default=50, help="cuts and returns for each protocol")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    chosen = parser.parse_args(arguments)
    table = runs(chosen.minutes, chosen.cycles)
    unknown = sorted(set(chosen.run) - set(table))
    if unknown:
        parser.error(f"no run {unknown[0]!r}; choose from {', '.join(table)}")
    wanted = {name: run for name, run in table.items() if not chosen.run or name in chosen.run}
    result = measure(wanted, lambda line: print(line, file=sys.stderr, flush=True))
    lines = [json.dumps(as_json(result), indent=2)] if chosen.json else as_text(result)
    for line in lines:
        print(line)
    return 0 if result.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
