"""The one policy for processor threads, so that libraries do not fight over few cores.

Owns how many threads OpenVINO, torch and OpenCV may use, and how often Python switches threads.
Must not know packs or networks.
"""

from __future__ import annotations

import os
import sys

import cv2

SWITCH_INTERVAL = 0.001
"""Seconds after which a busy Python thread gives way; the default of 5 ms shows as a stutter."""


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def inference_threads() -> int:
    """Threads for one network: all cores up to four, beyond that one is left to decoding and painting.

    Both lanes get the same number. They seldom run at once, and when they do the operating system shares
    the cores out; half the cores each would slow the classifier whenever the segmenter rests.
    """
    count = cores()
    return count if count <= 4 else min(count - 1, 16)


def settle_threads() -> None:
    """Apply the part of the policy that holds for the whole process; safe to call again."""
    cv2.setNumThreads(1)
    if sys.getswitchinterval() > SWITCH_INTERVAL:
        sys.setswitchinterval(SWITCH_INTERVAL)


def settle_torch(count: int) -> None:
    """Give torch `count` threads for one operation."""
    import torch

    torch.set_num_threads(count)
