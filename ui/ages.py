"""How old things are: the overlay against its picture, the picture against now; and which two are shown.

Owns the limits in seconds and the words for ages. Must not know Qt or the run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from endostream.types import Analysis, Frame

STALE = 0.5
"""Seconds past which an overlay fades."""
GONE = 1.0
"""Seconds past which it is not drawn."""
LATE = 0.25
"""Seconds without a new picture after which a live source has stopped sending: ages then go by the clock."""
SYNC_LIMIT = 3.0
"""Seconds behind at which even the synced mode shows the newest picture: older ones would look live."""


def overlay_age(frame: Frame | None, analysis: Analysis | None) -> float | None:
    """Seconds of stream time between the picture shown and the picture its overlay belongs to.

    A carried mask was moved to the frame of its analysis and counts from there; how old it is says
    `carried_age`. None when there is no analysis of this epoch: then nothing may be drawn.
    """
    if frame is None or analysis is None or frame.epoch != analysis.frame.epoch:
        return None
    return abs(frame.time - analysis.frame.time)


def waited(frame: Frame | None, now: float) -> float:
    """Seconds for which a live source has sent nothing newer than `frame`; 0 while pictures come."""
    late = 0.0 if frame is None else now - frame.captured
    return late if late > LATE else 0.0


def live_age(frame: Frame | None, analysis: Analysis | None, now: float) -> float | None:
    """The overlay's age for a live source at the monotonic time `now`, in seconds.

    While pictures come it is the time between the two pictures, which is what the eye compares. Once none
    comes any more that would stand still, and the clock counts.
    """
    between = overlay_age(frame, analysis)
    if between is None or analysis is None or not waited(frame, now):
        return between
    return max(between, now - analysis.frame.captured)


def shown_frame(frame: Frame | None, analysis: Analysis | None, age: float | None) -> Frame | None:
    """The picture that the synced mode shows: the analysed one, unless it is too old to be taken for live."""
    return analysis.frame if analysis is not None and age is not None and age <= SYNC_LIMIT else frame


def in_step(analysis: Analysis | None, before: Analysis | None) -> Analysis | None:
    """The analysis that the synced mode shows: one whose contour was made of the very picture it is drawn on.

    Where the mask was carried to its frame, or is still on its way, that is the network's newest mask on the
    picture it was made of, a little older; the heat map belongs to another picture and is left out. The
    picture never goes back: `before` stays until there is something newer.
    """
    if analysis is None:
        return None
    own, shown = analysis.anchor, analysis
    if own is not None:
        if before is not None and before.frame is own.frame:
            return before
        shown = replace(
            analysis,
            frame=own.frame,
            mask=own.mask,
            mask_source="network",
            mask_time=own.frame.time,
            heatmap=None,
            anchor=None,
        )
    last = None if before is None else before.frame
    back = last is not None and last.epoch == shown.frame.epoch and shown.frame.time < last.time
    return before if back else shown


def carried_age(analysis: Analysis | None) -> float | None:
    """Seconds over which the mask was carried by optical flow; None for the network's own, or without one."""
    if analysis is None or analysis.mask_source != "tracked" or analysis.mask_time is None:
        return None
    return abs(analysis.frame.time - analysis.mask_time)


def freshness(age: float | None) -> float:
    """How much of the overlay may be drawn, 0..1: all up to 0.5 s, none from 1 s."""
    if age is None:
        return 0.0
    return float(np.clip((GONE - age) / (GONE - STALE), 0.0, 1.0))


def spoken_age(age: float) -> str:
    """An age for people: `38 ms`, `1.4 s`."""
    return f"{round(age * 1000)} ms" if age < 1.0 else f"{age:.1f} s"


def spoken_span(seconds: float) -> str:
    """A stretch of time for people: `3 s`, `2 min 05 s`, `1 h 02 min`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"


def tenths(age: float) -> str:
    """A short age in tenths of a second, `0.3 s`: steady enough to stand under a moving picture."""
    return f"{age:.1f} s"
