"""Whether an overlay goes in time when something stalls: the networks, the sender, or both.

Owns the stalls, and the figures made of what is on the screen meanwhile. Must not know where contours are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from endostream_ui.ages import GONE, LATE
from overlay_pixels import FAINT, amber, drawn_on
from overlay_place import AGE_MS, stated_ms, worst
from window_run import Grab, Paint, WindowRun

from endostream.bench.rig.result import Figure
from endostream.errors import RunError

FRAME_MS = 1000.0 / 30 + 16.0
"""Demand: a frame, and the time between two looks of the window, is how late an overlay may go."""
NO_SIGNAL_S = 1.0
"""Demand: NO SIGNAL after the last picture."""
STALL_S = 1.4
"""Seconds that a stalled network takes for its next answer: its overlay is then older than may be drawn."""
SHORT_OF_STALE_S = 0.45
"""Seconds after the networks stall until the sender does, too: the overlay is then gone before NO SIGNAL."""
LOOK_AFTER_S = 0.3
"""Seconds for which it is seen that what has gone stays away."""
BACK_S = 10.0
"""Seconds in which overlays must be back after a stall."""


@dataclass(slots=True)
class Fading:
    """What was seen of an overlay from a stall on until it was gone."""

    run: WindowRun
    last: Paint | None = None
    """The last paint that left an overlay on the screen."""
    gone_at: float | None = None
    """When the screen first showed none after that, monotonic seconds."""
    wrong_ms: list[float] = field(default_factory=list)
    """Stated age less that by the clock, while no picture came."""

    def look(self, grab: Grab) -> None:
        """Take what is on the screen in; at 1:1, where a picture without an overlay keeps its pixels."""
        paint = grab.paint
        lit = amber(grab.image) > FAINT if paint.lost else drawn_on(grab.image, grab.bare)
        if np.any(lit):
            # An overlay that nobody says was drawn is as old as the one before.
            self.last = paint if paint.overlay is not None or self.last is None else self.last
            self.gone_at = None
        elif self.gone_at is None:
            self.gone_at = grab.at
        stated = stated_ms(paint.text)
        if stated is not None and paint.waited > LATE and paint.overlay is not None:
            assert paint.analysed is not None
            self.wrong_ms.append(abs(stated - 1000.0 * (paint.at - paint.analysed)))

    @property
    def late_ms(self) -> float | None:
        """Milliseconds past the limit at which it was gone; None when it never was."""
        if self.gone_at is None or self.last is None or self.last.analysed is None:
            return None
        return 1000.0 * (self.gone_at - self.last.analysed - GONE)

    @property
    def sent_ms(self) -> float | None:
        """The same, counted from when the picture was sent."""
        if self.gone_at is None or self.last is None or self.last.overlay is None:
            return None
        sent = self.run.sender.sent.time_of(self.last.overlay, self.last.at)
        return None if sent is None else 1000.0 * (self.gone_at - sent - GONE)


def watch_fading(run: WindowRun, stall: Callable[[], object], over: Callable[[Fading], bool]) -> Fading:
    """Stall something while an overlay is drawn, and look on until that is over and a little longer."""
    fading = Fading(run)
    run.seen = fading.look
    run.wait(lambda: fading.last is not None, BACK_S)
    stall()
    run.wait(lambda: over(fading), BACK_S)
    run.wait(lambda: False, LOOK_AFTER_S)
    run.seen = None
    return fading


def networks_stall(run: WindowRun, delay_s: float) -> Fading:
    """The networks stop answering while pictures go on; then one answer comes that is long too late."""
    answered = time.monotonic() + STALL_S + delay_s
    fading = watch_fading(
        run,
        lambda: run.networks.set_delay(STALL_S),
        lambda seen: seen.gone_at is not None and time.monotonic() > answered,
    )
    run.networks.set_delay(delay_s)
    back(run)
    return fading


def sender_stalls(run: WindowRun) -> tuple[Fading, float | None, float | None]:
    """Pictures stop coming: what was seen, seconds until NO SIGNAL, ms from there until nothing is drawn."""
    run.outages.clear()
    last = 0.0

    def stall() -> None:
        nonlocal last
        last = run.sender.stall()

    def said() -> float | None:
        return next((at for at, outage in run.outages if outage is not None), None)

    fading = watch_fading(run, stall, lambda seen: said() is not None and seen.gone_at is not None)
    at, gone = said(), fading.gone_at
    run.sender.resume()
    back(run)
    if at is None or gone is None:
        return fading, None, None
    return fading, at - last, 1000.0 * max(0.0, gone - at)


def both_stall(run: WindowRun, delay_s: float) -> Fading:
    """The networks stop, then the pictures: the overlay has to go by the clock, before NO SIGNAL is said."""

    def stall() -> None:
        run.networks.set_delay(STALL_S)
        run.wait(lambda: False, SHORT_OF_STALE_S)
        run.sender.stall()

    run.outages.clear()
    fading = watch_fading(run, stall, lambda seen: bool(run.outages))
    run.networks.set_delay(delay_s)
    run.sender.resume()
    back(run)
    return fading


def back(run: WindowRun) -> None:
    """Wait until an overlay is drawn on a new picture again; raises `RunError` when none comes."""
    now = time.monotonic()
    if not run.wait(lambda: run.paints[-1].overlay is not None and run.paints[-1].at > now, BACK_S):
        raise RunError(f"no overlay came back within {BACK_S:g} s")


def stale(run: WindowRun, name: str, delay_s: float, rounds: int) -> list[Figure]:
    """Stall networks, sender and both, `rounds` times each; is the overlay gone in time?"""
    run.set_synced(False)
    run.resize(1.0)
    back(run)
    quiet = [networks_stall(run, delay_s) for _ in range(rounds)]
    silent = [sender_stalls(run) for _ in range(rounds)]
    dark = [both_stall(run, delay_s) for _ in range(rounds)]
    said = _all([seconds for _, seconds, _ in silent])
    after = _all([ms for _, _, ms in silent])
    wrong = [error for fading in (*dark, *(f for f, _, _ in silent)) for error in fading.wrong_ms]
    note = f"by the clock, in {len(wrong)} paints without new pictures"
    return [
        *_late(f"{name}, networks stall", quiet),
        *_late(f"{name}, sender stalls", [fading for fading, _, _ in silent]),
        Figure(f"{name}, sender stalls", "NO SIGNAL said after", said, "s", NO_SIGNAL_S, "of the stall"),
        Figure(f"{name}, sender stalls", "overlay gone after that", after, "ms", FRAME_MS),
        *_late(f"{name}, both stall", dark),
        Figure(f"{name}, both stall", "age stated, wrong by", worst(wrong), "ms", AGE_MS, note),
    ]


def _late(name: str, seen: Sequence[Fading]) -> list[Figure]:
    late = _all([fading.late_ms for fading in seen])
    sent = _all([fading.sent_ms for fading in seen])
    return [
        Figure(name, f"overlay gone past {GONE:g} s", late, "ms", FRAME_MS, f"worst of {len(seen)}"),
        Figure(name, "counted from its sending", sent, "ms", None, "the way of the picture is in it"),
    ]


def _all(values: Sequence[float | None]) -> float | None:
    """The worst; None when one of them never came."""
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
