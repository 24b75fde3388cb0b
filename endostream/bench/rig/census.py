"""Threads and open files of this process.

Owns counting them and waiting until they are gone. Must not know who had them.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.05
"""Seconds between two looks."""
SETTLE_S = 6.0
"""Seconds that connections which were given up have to end by their own time limits."""


@dataclass(frozen=True, slots=True)
class Census:
    """How many there are."""

    threads: int
    """Threads, those of libraries too where the system shows them."""
    files: int | None
    """Open files and sockets; None where the system does not show them."""


def census() -> Census:
    """How many there are now."""
    tasks, files = Path("/proc/self/task"), Path("/proc/self/fd")
    threads = len(os.listdir(tasks)) if tasks.is_dir() else threading.active_count()
    # Looking opens the folder itself.
    return Census(threads, len(os.listdir(files)) - 1 if files.is_dir() else None)


def settled(before: Census, timeout: float = SETTLE_S) -> Census:
    """How many there are once there are no more than `before`, or after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        now = census()
        fewer = now.threads <= before.threads and (now.files or 0) <= (before.files or 0)
        if fewer or time.monotonic() >= end:
            return now
        time.sleep(LOOK_S)
