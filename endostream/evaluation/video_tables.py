"""The tables and plots of a video evaluation.

Owns their columns and what is said with each. Must not know how clips are analysed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from endostream.analysis.findings import Bounds
from endostream.evaluation.advice import Advice, Step
from endostream.evaluation.plots import curve_plot
from endostream.evaluation.results import Plot, Table
from endostream.evaluation.video_clips import Watched
from endostream.evaluation.video_metrics import (
    CARRY_S,
    Counts,
    changes,
    detections,
    mask_counts,
    pooled,
    score_counts,
)

__all__ = [
    "blind_share",
    "flicker_table",
    "frame_table",
    "hold_off_table",
    "interval_table",
    "mean_dice",
    "normal_table",
    "sweep_plots",
    "sweep_table",
    "total",
]

Cell = str | int | float | bool | None


def duration_rule(hold_off: float) -> str:
    """The sentence that goes with every false-positive figure."""
    return f"Duration threshold (hold-off): {hold_off:g} s over the score before a finding is shown."


def total(counts: Sequence[Counts]) -> Counts:
    """All frames together."""
    return sum(counts, Counts())


def blind_share(clips: Sequence[Watched]) -> float | None:
    """Share of the analysed time that could not be judged."""
    seconds = sum(float(c.lasts.sum()) for c in clips)
    blind = sum(float(c.lasts[~c.visible].sum()) for c in clips)
    return blind / seconds if seconds > 0.0 else None


def mean_dice(clips: Sequence[Watched], drawn: bool = False) -> float | None:
    """Mean Dice over frames whose true mask is not empty; no mask there counts 0, or not at all if drawn."""
    values = [c.dice[~np.isnan(c.dice) & ((c.area > 0.0) | (not drawn))] for c in clips if c.dice is not None]
    joined = np.concatenate(values) if values else np.zeros(0)
    return float(joined.mean(dtype=np.float64)) if len(joined) else None


def frame_table(clips: Sequence[Watched], bounds: Bounds) -> Table:
    """Frame by frame, per clip and over all."""
    rows: list[tuple[Cell, ...]] = []
    groups: list[tuple[str, Sequence[Watched]]] = [(c.name, [c]) for c in clips]
    for name, members in [*groups, *([("all clips", clips)] if len(clips) > 1 else [])]:
        score, mask = (
            total([score_counts(c, bounds.open) for c in members]),
            total([mask_counts(c) for c in members]),
        )
        rows.append(
            (
                name,
                sum(c.minutes for c in members),
                sum(len(c.index) for c in members),
                score.tp + score.fn,
                score.tn + score.fp,
                score.sensitivity,
                score.specificity,
                mask.sensitivity,
                mask.specificity,
                mean_dice(members),
                mean_dice(members, drawn=True),
                blind_share(members),
            )
        )
    columns = (
        "clip", "minutes", "frames", "frames_in_view", "frames_free", "score_sensitivity",
        "score_specificity", "mask_sensitivity", "mask_specificity", "dice", "dice_drawn", "blind_share",
    )  # fmt: skip
    note = (
        f"Score: smoothed, at {bounds.open:g} or over; blind frames are not left out. Mask: any mask that "
        "overlaps the true one (any mask at all where the truth has none), and any mask in a frame free of "
        "it. Dice: frames whose true mask is not empty, 0 where no mask was drawn; drawn: those with a mask."
    )
    return Table("frames", "Frame by frame", columns, tuple(rows), note)


def hold_off_table(clips: Sequence[Watched], label: str, bounds: Bounds, hold_offs: Sequence[float]) -> Table:
    """Findings against the truth at every hold-off."""
    rows: list[tuple[Cell, ...]] = []
    for hold_off in hold_offs:
        a = pooled(clips, label, bounds, hold_off)
        rates = (a.false, a.minutes, a.rate, a.upper, a.visible_minutes, a.visible_rate)
        rows.append((hold_off, a.findings, *rates, a.spans, a.found, a.carried, a.sensitivity, a.delay))
    columns = (
        "hold_off_s", "findings", "false_positives", "free_minutes", "false_positives_per_minute",
        "upper_95_per_minute", "free_visible_minutes", "false_positives_per_visible_minute", "intervals",
        "found", "carried", "finding_sensitivity", "first_detection_median_s",
    )  # fmt: skip
    note = (
        f"Opened at {bounds.open:g}, closed at {bounds.close:g}, gaps up to {bounds.merge_s:g} s do not "
        "split. False positive: a finding that overlaps no truth interval. Free: analysed minutes in which "
        "it is known not to be in view; visible: of these, those that could be judged. Upper: exact Poisson "
        "bound, one-sided, 95 %. First detection: start of the interval to the moment a finding is shown, "
        "hold-off included. Carried: found only by a finding that ran in from before, which must reach the "
        f"threshold again {CARRY_S:g} s or later after the start; it has no first detection, and an interval "
        "too short to tell is left out."
    )
    return Table("hold_offs", "Findings by hold-off", columns, tuple(rows), note)


def interval_table(clips: Sequence[Watched], label: str, bounds: Bounds) -> Table:
    """Every truth interval and when it was found."""
    rows: list[tuple[Cell, ...]] = [
        (clip.name, d.start, d.end, d.found, d.declared, d.delay)
        for clip in clips
        for d in detections(clip, label, bounds)
    ]
    columns = ("clip", "start_s", "end_s", "found", "declared_s", "first_detection_s")
    note = f"{duration_rule(bounds.minimum_s)} It is part of the first detection."
    return Table("intervals", "Every interval of the truth", columns, tuple(rows), note)


def flicker_table(clips: Sequence[Watched], bounds: Bounds) -> Table:
    """State changes per analysed minute."""
    minutes = sum(c.minutes for c in clips)
    threshold = np.float32(bounds.open)
    states = {
        "score of single frames": [c.raw >= threshold for c in clips],
        "smoothed score": [c.score >= threshold for c in clips],
        "mask": [c.area > 0.0 for c in clips],
        "truth": [c.present for c in clips],
    }
    rows: list[tuple[Cell, ...]] = []
    for what, each in states.items():
        count = sum(changes(state) for state in each)
        rows.append((what, count, count / minutes if minutes > 0.0 else None))
    note = (
        f"Changes between over and under {bounds.open:g}, and of a mask between there and not there, from "
        f"one frame to the next, over {minutes:.2f} analysed minutes. The truth's own changes are the floor."
    )
    return Table("flicker", "Flicker", ("what", "changes", "changes_per_minute"), tuple(rows), note)


def normal_table(clips: Sequence[Watched], label: str, bounds: Bounds) -> Table:
    """The normal clips one by one at the bounds in force."""
    rows: list[tuple[Cell, ...]] = []
    groups: list[tuple[str, Sequence[Watched]]] = [(c.name, [c]) for c in clips]
    for name, members in [*groups, *([("all clips", clips)] if len(clips) > 1 else [])]:
        a = pooled(members, label, bounds)
        frames = sum(len(c.index) for c in members)
        over = total([score_counts(c, bounds.open) for c in members]).fp
        masks = sum(int((c.area > 0.0).sum()) for c in members)
        rates = (a.false, a.rate, a.upper, a.visible_minutes, a.visible_rate)
        rows.append((name, frames, a.minutes, *rates, over / frames, masks / frames, blind_share(members)))
    columns = (
        "clip", "frames", "minutes", "false_positives", "false_positives_per_minute",
        "upper_95_per_minute", "visible_minutes", "false_positives_per_visible_minute",
        "frames_over_threshold", "frames_with_mask", "blind_share",
    )  # fmt: skip
    note = f"Opened at {bounds.open:g}. {duration_rule(bounds.minimum_s)} Every finding is a false positive."
    return Table("normal_clips", "Normal clips", columns, tuple(rows), note)


def sweep_table(steps: Sequence[Step], bounds: Bounds) -> Table:
    """False positives on normal clips by threshold and hold-off."""
    hold_offs = sorted(steps[0].by_hold_off)
    labelled = steps[0].labelled is not None
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        there = step.by_hold_off[bounds.minimum_s]
        cells: list[Cell] = [step.open]
        for hold_off in hold_offs:
            cells += [step.by_hold_off[hold_off].false, step.by_hold_off[hold_off].rate]
        cells.append(there.upper)
        if step.labelled is not None and step.frames is not None:
            cells += [step.labelled.sensitivity, step.frames.sensitivity, step.labelled.delay]
        rows.append(tuple(cells))
    columns = ["open"]
    for hold_off in hold_offs:
        columns += [f"false_positives_{hold_off:g}_s", f"per_minute_{hold_off:g}_s"]
    columns.append("upper_95_per_minute")
    if labelled:
        columns += ["finding_sensitivity", "frame_sensitivity", "first_detection_median_s"]
    note = (
        f"Over {steps[0].by_hold_off[bounds.minimum_s].minutes:.2f} minutes of normal video; the closing "
        f"threshold is {bounds.close:g}, or the opening one where that is lower. Upper bound (exact Poisson, "
        f"one-sided, 95 %){' and sensitivity' if labelled else ''} at the hold-off in force, "
        f"{bounds.minimum_s:g} s."
    )
    return Table("thresholds", "Opening threshold", tuple(columns), tuple(rows), note)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def sweep_plots(steps: Sequence[Step], bounds: Bounds, advice: Advice) -> tuple[Plot, ...]:
    """False positives per minute, and sensitivity where it is known, against the opening threshold."""
    opens = [s.open for s in steps]
    rates = {
        f"hold-off {hold_off:g} s": [_nan(s.by_hold_off[hold_off].rate) for s in steps]
        for hold_off in sorted(steps[0].by_hold_off)
    }
    marks = [(bounds.open, "in force")] if opens[0] <= bounds.open <= opens[-1] else []
    if advice.open is not None and advice.open != bounds.open:
        marks.append((advice.open, "advised"))
    elif advice.open is not None:
        marks = [(advice.open, "in force, advised")]
    note = f"{advice.minutes:.2f} minutes of normal video; wanted: at most {advice.target:g} per minute."
    axis = "opening threshold"
    plots = [
        curve_plot(
            "false_positives", "False positives by threshold", opens, rates, axis, "per minute", marks, note
        )
    ]
    if steps[0].labelled is not None:
        kept = {
            "intervals found": [_nan(s.labelled.sensitivity if s.labelled else None) for s in steps],
            "frames over it": [_nan(s.frames.sensitivity if s.frames else None) for s in steps],
        }
        note = f"Labelled clips, hold-off {bounds.minimum_s:g} s."
        title = "Sensitivity by threshold"
        plots.append(curve_plot("sensitivity", title, opens, kept, axis, "share", marks, note))
    return tuple(plots)
