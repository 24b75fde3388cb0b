"""Whether the contour on the screen is where the words under the picture say: on the block of which picture.

The picture says by its counter which one it is, the contour by its place from which picture it comes, the
line under the picture how old it claims to be. Owns the figures made of these and what is demanded of them.
Must not know what was done to sender or networks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from endostream_ui.ages import GONE, STALE
from overlay_pixels import contour
from window_run import Grab, WindowRun

from endostream.bench.rig import counter
from endostream.bench.rig.result import Figure

AGE_MS = 10.0
"""Demand: by so much the stated age may be wrong."""
FALSE_PX = 0.5
"""Demand at sizes other than 1:1, in pixels of the source; at 1:1 it is 0 whole pixels."""
PATIENCE_S = 60.0
"""Seconds a count of grabs may take."""
SETTLE_S = 0.3
"""Seconds after a change of mode or size from which on it is looked at."""
_STATED = re.compile(r"^(?:overlay|synced,) (\d+) ms")


def stated_ms(text: str) -> float | None:
    """The age that the words state of an overlay that is drawn; None when they state none."""
    found = _STATED.match(text)
    return None if found is None else float(found[1])


@dataclass(slots=True)
class Tally:
    """What a number of grabs came to."""

    grabs: int = 0
    """Grabs that were looked at."""
    pictures: set[tuple[int, float]] = field(default_factory=set)
    """Different pictures among them."""
    unread: int = 0
    """Pictures without a counter that could be read."""
    without: int = 0
    """Overlays without a mask."""
    missing: int = 0
    """Pictures without a contour though their overlay has a mask."""
    silent: int = 0
    """Contours that no overlay has, or whose age is not stated."""
    strange: int = 0
    """Contours that belong to no picture that they may belong to."""
    astray: int = 0
    """Pixels of the contour's colour elsewhere."""
    unsaid: int = 0
    """Grabs whose line under the picture is not what was to be painted."""
    off: list[float] = field(default_factory=list)
    """Pixels of the source between contour and block."""
    carried: list[float] = field(default_factory=list)
    """The same for masks that were carried, which are drawn dashed."""
    wrong_ms: list[float] = field(default_factory=list)
    """Stated age less the time between the two pictures."""
    sent_ms: list[float] = field(default_factory=list)
    """Stated age less the time between their sending."""


class Judge:
    """Takes grabs in and tallies them.

    Parameters
    ----------
    run
        The window.
    synced
        True when the contour has to belong to the picture shown, else it may be of an earlier one.
    """

    def __init__(self, run: WindowRun, synced: bool) -> None:
        self.tally = Tally()
        self._run, self._synced, self._scene = run, synced, run.scene

    def look(self, grab: Grab) -> None:
        """Take one in."""
        tally, paint = self.tally, grab.paint
        stated = stated_ms(paint.text)
        if stated is None:
            tally.silent += contour(grab.image) is not None
            return
        if not self._synced and stated >= 1000.0 * STALE:
            return  # it fades: `overlay_fading` looks at that
        tally.grabs += 1
        tally.pictures.add((-1 if paint.number is None else paint.number, paint.captured))
        tally.unsaid += not grab.words
        number, seen = counter.read(grab.image), contour(grab.image)
        if number is None or number != paint.number:
            tally.unread += 1
            return
        if seen is None or not paint.masked:
            # A mask that could not be carried on is none; without carrying every overlay has its own.
            excused = self._run.carrying and not paint.masked
            tally.without += excused
            tally.missing += seen is None and not excused
            tally.silent += seen is not None
            return
        tally.astray += 0 if paint.carried else seen.astray  # the dashes of a ragged line lie anywhere
        scale = self._run.scale
        if self._synced:
            off = seen.beside(self._scene.block_at(number), scale)
            (tally.carried if paint.carried else tally.off).append(off)
            self._age(stated, paint.newest, number, grab.at)
            return
        if paint.carried:  # it is not to the pixel: only the window can say whose it is
            self._age(stated, number, paint.overlay, grab.at)
            return
        fits = [
            behind
            for behind in range(int(GONE * self._scene.fps) + 1)
            if seen.beside(self._scene.block_at(number - behind), scale) < FALSE_PX
        ]
        if not fits:
            tally.strange += 1
            return
        # Where the block stands still in its turn two pictures have one place: the words decide.
        behind = min(fits, key=lambda n: abs(1000.0 * n / self._scene.fps - stated))
        tally.off.append(seen.beside(self._scene.block_at(number - behind), scale))
        self._age(stated, number, (number - behind) % self._scene.pictures, grab.at)

    def _age(self, stated: float, newer: int | None, older: int | None, at: float) -> None:
        """Compare a stated age with the two pictures, and with the sender's log of them."""
        if newer is None or older is None:
            self.tally.unread += 1
            return
        scene, sent = self._scene, self._run.sender.sent
        between = (newer - older) % scene.pictures / scene.fps
        self.tally.wrong_ms.append(abs(stated - 1000.0 * between))
        last = sent.time_of(newer, at)
        first = None if last is None else sent.time_of(older, last)
        if last is not None and first is not None:
            self.tally.sent_ms.append(abs(stated - 1000.0 * (last - first)))


def belongs(run: WindowRun, name: str, synced: bool, scale: float, grabs: int) -> list[Figure]:
    """Look at `grabs` pictures in one of the two modes and at one size."""
    run.set_synced(synced)
    run.resize(scale)
    run.wait(lambda: False, SETTLE_S)
    judge = Judge(run, synced)
    run.seen = judge.look
    run.wait(lambda: judge.tally.grabs >= grabs, PATIENCE_S)
    run.seen = None
    name = f"{name}, {'synced' if synced else 'live'} at {scale:g}:1"
    figures = _counts(name, judge.tally, grabs, synced) + _off(name, judge.tally, scale, synced)
    return figures + _age(name, judge.tally, "delay stated" if synced else "age stated")


def _counts(name: str, t: Tally, wanted: int, synced: bool) -> list[Figure]:
    """What must not be."""
    note = f"{t.grabs}, {len(t.pictures)} different pictures"
    counts = {
        "counters that cannot be read": t.unread,
        "contours that are missing": t.missing,
        "contours of no overlay": t.silent,
        "amber pixels elsewhere": t.astray,
        "words not on the screen": t.unsaid,
    }
    if not synced:
        counts["contours of no earlier picture"] = t.strange
    note += f", {t.without} without a mask" if t.without else ""
    lacking = Figure(name, "grabs that are lacking", float(max(0, wanted - t.grabs)), "", 0.0, note)
    return [lacking, *(Figure(name, what, float(count), "", 0.0) for what, count in counts.items())]


def _off(name: str, t: Tally, scale: float, synced: bool) -> list[Figure]:
    """How far contours are from blocks: whole pixels at 1:1, half a pixel of the source at other sizes.

    In live mode a contour farther than half a pixel from every earlier picture's block is one of none.
    """
    off, what = worst(t.off), "contour off its block"
    if not synced:
        figures = [Figure(name, what, off, "source px", None, "the block of the picture that it is of")]
    elif scale == 1.0:
        whole = None if off is None else float(round(off))
        note = "" if off is None else f"the block of the picture shown; {off:.2f} before rounding"
        figures = [Figure(name, what, whole, "px", 0.0, note)]
    else:
        figures = [Figure(name, what, off, "source px", FALSE_PX, "the block of the picture shown")]
    if t.carried:
        share = 100.0 * len(t.carried) / (len(t.carried) + len(t.off))
        note = f"median {np.median(t.carried):.1f}; {share:.0f} % of the grabs, drawn dashed"
        figures.append(Figure(name, "carried contour off its block", worst(t.carried), "px", None, note))
    return figures


def _age(name: str, t: Tally, what: str) -> list[Figure]:
    """How true the stated age is."""
    p95 = f"; p95 {np.percentile(t.sent_ms, 95):.1f} ms" if t.sent_ms else ""
    return [
        Figure(name, f"{what}, wrong by", worst(t.wrong_ms), "ms", AGE_MS, "by the pictures"),
        Figure(name, f"{what}, against the log", worst(t.sent_ms), "ms", None, f"of sending{p95}"),
    ]


def worst(values: Sequence[float]) -> float | None:
    """The largest; None for none."""
    return max(values) if values else None
