"""How much memory the process holds, and whether it grows.

Owns asking the system, and what counts as growth. Must not know what is running.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

EVERY_S = 1.0
"""Seconds between two looks: one costs 60 µs."""
SETTLE_S = 30.0
"""Seconds of measuring that are left out before growth is counted, or a third of them where they are few:
buffers, caches and the allocator's arenas fill first."""
ENDS = 5
"""Looks at either end that are averaged."""
FEWEST = 20
"""Looks under which nothing is said of growth: what starts has not settled."""


def memory_mb() -> float | None:
    """Memory this process holds, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024.0
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class MemoryCurve:
    """Memory looked at once a second while measuring."""

    def __init__(self) -> None:
        self.values: list[float] = []
        """MB, in order."""
        self._next = 0.0

    def look(self) -> None:
        """Look when it is time; call it as often as you like."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY_S
            value = memory_mb()
            if value is not None:
                self.values.append(value)

    def growth(self) -> float | None:
        """MB at the end minus MB after settling, each the mean of five looks; None under 20 looks."""
        if len(self.values) < FEWEST:
            return None
        settled = self.values[int(min(SETTLE_S / EVERY_S, len(self.values) / 3)) :]
        return (sum(settled[-ENDS:]) - sum(settled[:ENDS])) / ENDS
