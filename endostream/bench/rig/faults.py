"""What a live run does when its sender goes away and comes back, or falls silent without a word.

Owns the scripts of these runs and their figures. Must not know how a fault is brought about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from endostream.bench.rig.census import Census, census, settled
from endostream.bench.rig.clips import Scene, make_clip
from endostream.bench.rig.live_run import LiveRun
from endostream.bench.rig.result import Figure
from endostream.bench.rig.steady import QUIT_S, balance
from endostream.bench.rig.view import Views
from endostream.capture import open_source
from endostream.capture.loopback import ClipSender, Protocol, open_sender
from endostream.errors import InputError
from endostream.types import Analysis

NO_SIGNAL_S, BACK_S = 1.0, 2.0
"""Demands: from the last packet to NO SIGNAL, and from the sender's return to a picture of it."""
CANCEL_S = 2.0
"""Demand: giving up a connection in the making."""
DEADLINE_S = 10.0
"""Seconds after which a demand counts as missed and the script ends."""
AWAY_S = (0.1, 0.6, 1.5)
"""Seconds that a sender stays away after NO SIGNAL, one after the other: reconnects meet it at any moment."""
BACK_FOR_S = (0.0, 0.7)
"""Seconds that it stays once its picture is there, one after the other: a break can come at once again."""
DELAY_S = 0.05
"""Delay of the stub networks."""
CONNECTING_S = 0.5
"""Seconds a connection in the making gets before it is cancelled."""


class _Cycles:
    """Cuts and returns, and how long everything took."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self.lost, self.back, self.analysed = list[float](), list[float](), list[float]()
        self.uncleared = 0
        """Times that an analysis could still be drawn while there was no picture."""

    def one(self, cycle: int) -> bool:
        """One cut and return; False when a deadline passed."""
        run, sender = self._run, self._run.sender
        cut = sender.cut()
        gone = run.wait_state("no-signal", DEADLINE_S)
        if gone is None:
            return False
        self.lost.append(gone - cut)
        time.sleep(AWAY_S[cycle % len(AWAY_S)])
        self.uncleared += run.pipeline.latest_analysis.get() is not None
        returned = sender.restore()
        came = run.wait_fresh(returned, DEADLINE_S)
        if came is None:
            return False
        self.back.append(came - returned)
        stays = BACK_FOR_S[cycle % len(BACK_FOR_S)]
        if stays:
            self._stay(returned, came + stays)
        return True

    def _stay(self, returned: float, until: float) -> None:
        def analysed(analysis: Analysis) -> bool:
            return self._run.made_after(analysis.frame, returned)

        seen = self._run.wait_overlay(analysed, until - time.monotonic())
        if seen is not None:
            self.analysed.append(seen - returned)
        time.sleep(max(0.0, until - time.monotonic()))


def cycles(protocol: Protocol, scene: Scene, count: int) -> list[Figure]:
    """Cut the sender off and bring it back, `count` times, or until a deadline of 10 s passes."""
    name = f"{protocol}, {count} cuts and returns"
    with open_sender(protocol, make_clip(scene)) as sender, LiveRun(sender, Views([scene]), DELAY_S) as run:
        run.settle()
        before, done = census(), _Cycles(run)
        for cycle in range(count):
            if not done.one(cycle):
                break
        after = settled(before)
        quit_s = run.close()
        counts = run.status().counts
    lost, back = done.lost, done.back
    return [
        Figure(name, "NO SIGNAL after", _worst(lost, count), "s", NO_SIGNAL_S, _spread(lost)),
        Figure(name, "overlays left without a picture", float(done.uncleared), "", 0.0),
        Figure(name, "picture back after", _worst(back, count), "s", BACK_S, _spread(back)),
        Figure(
            name, "analysis back after", max(done.analysed, default=None), "s", None, _spread(done.analysed)
        ),
        *left_over(name, before, after),
        balance(name, counts),
        Figure(name, "quit", quit_s, "s", QUIT_S),
    ]


def black_hole(protocol: Protocol, scene: Scene) -> list[Figure]:
    """Let the peer go silent without closing anything; then quit, and then give up a connection to it."""
    name = f"{protocol}, black hole"
    before = census()
    with open_sender(protocol, make_clip(scene)) as sender:
        with LiveRun(sender, Views([scene]), DELAY_S) as run:
            run.settle()
            silent = sender.black_hole()
            gone = run.wait_state("no-signal", DEADLINE_S)
            # While it tries to connect again, to somebody who never answers.
            time.sleep(CONNECTING_S)
            quit_s = run.close()
        cancel_s = _cancelled(sender)
    after = settled(before)
    return [
        Figure(name, "NO SIGNAL after", None if gone is None else gone - silent, "s", NO_SIGNAL_S),
        Figure(name, "quit", quit_s, "s", QUIT_S),
        Figure(name, "cancel while connecting", cancel_s, "s", CANCEL_S),
        *left_over(name, before, after),
    ]


def _cancelled(sender: ClipSender) -> float | None:
    """Seconds until an opening in progress has given up after it was cancelled."""
    cancel = threading.Event()

    def opening() -> None:
        with suppress(InputError):  # as it should: nothing came
            open_source(sender.url, cancelled=cancel).close()

    thread = threading.Thread(target=opening, name="rig opening", daemon=True)
    thread.start()
    time.sleep(CONNECTING_S)
    began = time.monotonic()
    cancel.set()
    thread.join(DEADLINE_S)
    return None if thread.is_alive() else time.monotonic() - began


def left_over(name: str, before: Census, after: Census) -> list[Figure]:
    """What there is more of than before; nothing is demanded to be."""
    threads = max(0, after.threads - before.threads)
    figures = [Figure(name, "threads more than before", float(threads), "", 0.0, f"{before.threads} before")]
    if before.files is not None and after.files is not None:
        files = max(0, after.files - before.files)
        figures.append(
            Figure(name, "open files more than before", float(files), "", 0.0, f"{before.files} before")
        )
    return figures


def _worst(seconds: Sequence[float], count: int) -> float | None:
    """The longest; None when not every cycle came to it."""
    return max(seconds) if len(seconds) == count and seconds else None


def _spread(seconds: Sequence[float]) -> str:
    return f"median {np.median(seconds):.2f} s of {len(seconds)}" if seconds else "none came"
