"""Threshold advice from a site's own normal clips: false positives per minute against the opening threshold.

Owns the sweep over thresholds, the choice, what must be said with it, and its way into the site overrides.
Must not know how clips are analysed or pages written. No network runs here: thresholds are moved over stored
probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from endostream.analysis.findings import Bounds
from endostream.errors import InputError, RunError
from endostream.evaluation.video_clips import Watched
from endostream.evaluation.video_metrics import Alarms, Counts, poisson_upper, pooled, score_counts
from endostream.packs import Pack
from endostream.sites import Site, write_site
from endostream.vocabulary import term

__all__ = ["OPENS", "Advice", "Step", "advise", "bounds_at", "bounds_of", "save_advice", "sought", "sweep"]

OPENS = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
"""Opening thresholds that are tried: 0.30 to 0.95."""


@dataclass(frozen=True, slots=True)
class Step:
    """One opening threshold of the sweep."""

    open: float
    """The threshold on the smoothed score."""
    by_hold_off: Mapping[float, Alarms]
    """Hold-off in seconds to what the findings on the normal clips are worth."""
    labelled: Alarms | None
    """The same on labelled clips at the hold-off in force; None without any."""
    frames: Counts | None
    """Frames of labelled clips over the threshold; None without any."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The opening threshold that a site's own normal clips speak for."""

    label: str
    """The class."""
    target: float
    """False positives per minute that may be."""
    hold_off_s: float
    """The hold-off in force, in seconds."""
    minutes: float
    """Minutes of normal video."""
    open: float | None
    """The lowest threshold from which on the rate stays at or under the target; None when there is none."""
    close: float
    """The closing threshold that goes with it: the pack's, or `open` where that is lower."""
    false_positives: int = 0
    """Counted at `open`."""
    rate: float | None = None
    """Per minute at `open`."""
    upper: float | None = None
    """One-sided 95 % upper bound of the rate."""
    sensitivity: float | None = None
    """Share of truth intervals of labelled clips that are found at `open`; None without labelled clips."""
    intervals: int = 0
    """Number of those truth intervals."""
    sentence: str = ""
    """The advice in plain words."""
    limits: tuple[str, ...] = ()
    """What it does not show."""


def sought(pack: Pack, label: str | None) -> str:
    """The class that is looked for: the one named, the only one that opens findings, or polyps.

    Raises `InputError` when the pack has no such class or the choice is not clear.
    """
    if not pack.classifiers:
        raise InputError(f"pack {pack.name} has no classifier, so that no finding can open; choose another")
    acting = pack.classifiers[0]
    able = [
        name
        for name in acting.labels
        if name not in acting.background and term(name).role in ("finding", "landmark")
    ]
    if label is not None:
        if label not in able:
            raise InputError(f"{label!r} opens no finding in pack {pack.name}; one of {', '.join(able)}")
        return label
    if len(able) == 1:
        return able[0]
    if "polyps" in able:
        return "polyps"
    raise InputError(f"pack {pack.name} knows several classes; name one with --label: {', '.join(able)}")


def bounds_of(pack: Pack, label: str) -> Bounds:
    """The bounds in force for one class of a pack, site overrides included."""
    own = pack.thresholds
    values = {"open": own.open, "close": own.close, "minimum_s": own.minimum_s, "merge_s": own.merge_s}
    return Bounds(**{**values, **pack.thresholds.labels.get(label, {})})


def bounds_at(bounds: Bounds, open_at: float) -> Bounds:
    """The bounds with another opening threshold; the closing one never lies over it."""
    return replace(bounds, open=open_at, close=min(bounds.close, open_at))


def sweep(
    normal: Sequence[Watched],
    labelled: Sequence[Watched],
    label: str,
    bounds: Bounds,
    hold_offs: Sequence[float],
) -> tuple[Step, ...]:
    """False positives on normal clips by opening threshold and hold-off, and what labelled ones keep."""
    steps = []
    for open_at in OPENS:
        moved = bounds_at(bounds, open_at)
        by_hold_off = {h: pooled(normal, label, moved, h) for h in {*hold_offs, bounds.minimum_s}}
        kept = pooled(labelled, label, moved) if labelled else None
        frames = sum((score_counts(c, open_at) for c in labelled), Counts()) if labelled else None
        steps.append(Step(open_at, by_hold_off, kept, frames))
    return tuple(steps)


def advise(steps: Sequence[Step], label: str, bounds: Bounds, target: float) -> Advice:
    """The lowest threshold from which on the rate stays at or under `target` at the hold-off in force.

    It lies under the threshold in force only where the 95 % bound of the rate is within the target too.
    """
    hold_off = bounds.minimum_s
    chosen: Step | None = None
    for step in reversed(steps):
        rate = step.by_hold_off[hold_off].rate
        if rate is None or rate > target:
            break
        chosen = step
    minutes = steps[-1].by_hold_off[hold_off].minutes
    if chosen is not None and chosen.open < bounds.open:
        upper = chosen.by_hold_off[hold_off].upper
        if upper is None or upper > target:
            # So little video can speak for a higher threshold, never for a lower one than is in force.
            chosen = next((step for step in steps if step.open >= bounds.open), steps[-1])
    if chosen is None:
        best = steps[-1].by_hold_off[hold_off]
        sentence = (
            f"No opening threshold up to {steps[-1].open:g} keeps {label} at or under {target:g} false "
            f"positives per minute on these {_length(minutes)} of normal video (hold-off {hold_off:g} s): "
            f"{best.false} at the highest. A longer hold-off, or another pack, is needed."
        )
        limits = (_bound(minutes, best.upper),)
        return Advice(label, target, hold_off, minutes, None, bounds.close, sentence=sentence, limits=limits)
    there = chosen.by_hold_off[hold_off]
    kept = chosen.labelled
    advice = Advice(
        label=label,
        target=target,
        hold_off_s=hold_off,
        minutes=minutes,
        open=chosen.open,
        close=min(bounds.close, chosen.open),
        false_positives=there.false,
        rate=there.rate,
        upper=there.upper,
        sensitivity=None if kept is None else kept.sensitivity,
        intervals=0 if kept is None else kept.spans,
    )
    return replace(advice, sentence=_sentence(advice), limits=_limits(advice, bounds))


def _length(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes >= 1.0 else f"{60 * minutes:.0f} seconds"


def _bound(minutes: float, upper: float | None) -> str:
    if upper is None:
        return "No minute of normal video was analysed."
    return (
        f"{_length(minutes)} of normal video: with 95 % confidence the true rate is at most {upper:.2f} per "
        "minute (exact Poisson bound, one-sided)."
    )


def _sentence(advice: Advice) -> str:
    known = (
        f"It finds {advice.sensitivity:.0%} of the {advice.intervals} labelled intervals."
        if advice.sensitivity is not None
        else "What it costs in sensitivity is not known: give labelled clips too."
    )
    return (
        f"Open {advice.label} at {advice.open:g} (close at {advice.close:g}, hold-off "
        f"{advice.hold_off_s:g} s): {advice.false_positives} false positives in {_length(advice.minutes)} "
        f"of normal video, {advice.rate:.2f} per minute, at most {advice.target:g} wanted. {known}"
    )


def _limits(advice: Advice, bounds: Bounds) -> tuple[str, ...]:
    upper, open_at = advice.upper, advice.open
    assert upper is not None and open_at is not None
    said = [_bound(advice.minutes, upper)]
    if upper > advice.target:
        needed = poisson_upper(0) / advice.target if advice.target > 0 else float("inf")
        enough = (
            f"at least {needed:.0f} minutes without a false positive would show it"
            if needed < 1e6
            else "no amount of video shows a rate of zero"
        )
        said.append(f"That is over the target of {advice.target:g}: these clips do not prove it; {enough}.")
    if open_at < bounds.open:
        said.append(
            f"The advice is under the {bounds.open:g} in force: more will be shown, and only these clips say "
            "that it is not more false."
        )
    said.append(
        "False positives within one clip are not independent, and a threshold chosen on clips looks better "
        "on them than on others: check it on clips that were not used."
    )
    return tuple(said)


def save_advice(pack: Pack, advice: Advice, measured: Mapping[str, Any], command: str) -> Path:
    """Write the advised thresholds into the site overrides of `pack`; the file.

    A hold-off or another class that the site had set for these weights is kept.

    Raises
    ------
    RunError
        No threshold reached the target, or the file cannot be written.
    """
    if advice.open is None:
        raise RunError("there is no advice to save: no threshold reached the target; raise --target-fp")
    before = pack.site
    thresholds = dict(before.thresholds) if before else {}
    labels = {k: dict(v) for k, v in before.labels.items()} if before else {}
    values = {"open": advice.open, "close": advice.close}
    acting = pack.classifiers[0]
    others = [name for name in acting.labels if name not in acting.background and name != advice.label]
    if others or advice.label in pack.thresholds.labels:
        labels[advice.label] = {**labels.get(advice.label, {}), **values}
    else:
        thresholds = {**thresholds, **values}
    return write_site(
        Site(
            pack=pack.name,
            version=pack.version,
            sha256=pack.sha256,
            thresholds=thresholds,
            labels=labels,
            measured=measured,
            command=command,
        )
    )
