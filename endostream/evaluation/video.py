"""`endostream evaluate video`: a pack on labelled clips, and on a site's own normal ones.

Owns the order of the work and what is said of it: clips are analysed once, by the product's own headless
chain, and every threshold and hold-off is moved afterwards over the probabilities. Must not know options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from endostream.analysis.findings import Bounds
from endostream.config import Settings
from endostream.errors import InputError, RunError
from endostream.evaluation import video_tables as tables
from endostream.evaluation.advice import Advice, advise, bounds_of, save_advice, sought, sweep
from endostream.evaluation.pack_runner import describe_pack
from endostream.evaluation.results import Plot, Results, Table
from endostream.evaluation.video_clips import Watched, watch_session, watch_video
from endostream.evaluation.video_metrics import mask_counts, pooled, score_counts
from endostream.evaluation.video_truth import beside, read_truth
from endostream.packs import Pack, find_pack, verify_pack

__all__ = ["HOLD_OFFS", "Clip", "evaluate_video", "save", "spoken_table"]

HOLD_OFFS = (0.2, 0.5, 1.0, 2.0)
"""Seconds; the hold-offs that published studies state."""
TARGET_FP = 0.5
"""False positives per minute that a site may want at most, where it says nothing."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip as it is named: a video, or the folder of a finished session."""

    source: Path
    """Where it lies."""
    truth: Path | None = None
    """Its truth; None looks beside it. Normal clips have none."""

    @property
    def session(self) -> bool:
        """True for the folder of a session."""
        return (self.source / "session.db").is_file()


@dataclass(frozen=True, slots=True)
class _Work:
    """What all clips of one evaluation share."""

    pack: Pack
    settings: Settings
    label: str
    root: Path | None
    say: Say

    def watch(self, clip: Clip, labelled: bool) -> Watched:
        truth = None
        if not clip.source.exists():
            raise InputError(f"no clip {clip.source}; check the path")
        if labelled:
            path = clip.truth or beside(clip.source)
            if path is None:
                name = clip.source.name
                raise InputError(f"{name} has no truth beside it; name it with --truth, or use --negative")
            truth = read_truth(path, self.label, self.pack.classifiers[0].labels, self.root)
        if clip.session:
            return watch_session(clip.source, self.pack, self.label, truth)
        if clip.source.is_dir():
            raise InputError(f"{clip.source.name} is no session and no video; name one of the two")
        return watch_video(str(clip.source), self.pack, self.settings, self.label, truth, self.say)


def evaluate_video(
    clips: Sequence[Clip],
    negatives: Sequence[Clip],
    pack: str = "polyp",
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    hold_offs: Sequence[float] = HOLD_OFFS,
    target_fp: float = TARGET_FP,
    label: str | None = None,
    truth_root: Path | None = None,
    command: str = "",
    say: Say = lambda line: None,
) -> Results:
    """Figures of a pack on labelled clips, threshold advice from normal clips, or both.

    Parameters
    ----------
    clips
        Labelled videos or sessions.
    negatives
        Normal videos or sessions: whatever is found in them is false.
    pack
        Name or folder; read with the site's overrides in force, as the app does.
    engine, device, precision
        As for `endostream analyze`.
    hold_offs
        Seconds.
    target_fp
        False positives per minute that the advice allows.
    label
        The class; None takes the only one of the pack, or polyps.
    truth_root
        The folder in which mask paths inside a CSV begin.
    command
        The command that asked for it, base names only.
    say
        Hears what takes time.

    Raises
    ------
    InputError
        A clip, its truth or the pack cannot be used; one line says why.
    """
    if not clips and not negatives:
        raise InputError(
            "nothing to measure; give --clip CLIP with its truth, --session DIR or --negative CLIP"
        )
    if not hold_offs or any(not 0.0 <= h < 60.0 for h in hold_offs):
        raise InputError("a hold-off must be between 0 and 60 seconds; for example --hold-off 0.5")
    if not 0.0 <= target_fp < float("inf"):
        raise InputError("--target-fp must be 0 or more false positives per minute")
    known = find_pack(pack)
    verify_pack(known)
    settings = Settings().changed(pack=pack, engine=engine, device=device, precision=precision)
    work = _Work(known, settings, sought(known, label), truth_root, say)
    labelled = [work.watch(clip, True) for clip in clips]
    normal = [work.watch(clip, False) for clip in negatives]
    bounds = bounds_of(known, work.label)
    offs = sorted(set(hold_offs))
    facts = _facts(work, bounds, offs, labelled, normal)
    figures: dict[str, float | None] = {}
    found: list[Table] = []
    plots: tuple[Plot, ...] = ()
    if labelled:
        figures |= _figures(labelled, work.label, bounds, offs)
        found += [
            tables.frame_table(labelled, bounds),
            tables.hold_off_table(labelled, work.label, bounds, offs),
            tables.interval_table(labelled, work.label, bounds),
            tables.flicker_table(labelled, bounds),
        ]
    warnings = _warnings(known, labelled, normal)
    if normal:
        steps = sweep(normal, labelled, work.label, bounds, offs)
        advice = advise(steps, work.label, bounds, target_fp)
        facts["advice"] = {**asdict(advice), "limits": list(advice.limits)}
        figures |= _normal_figures(normal, work.label, bounds, offs, advice)
        found += [tables.normal_table(normal, work.label, bounds), tables.sweep_table(steps, bounds)]
        plots = tables.sweep_plots(steps, bounds, advice)
        warnings = (*warnings, *advice.limits)
    title = f"Video: pack {known.name} {known.version}, {work.label}"
    return Results("video", title, command, facts, figures, tuple(found), plots, warnings)


def _facts(
    work: _Work,
    bounds: Bounds,
    hold_offs: Sequence[float],
    labelled: Sequence[Watched],
    normal: Sequence[Watched],
) -> dict[str, Any]:
    def told(clip: Watched) -> dict[str, Any]:
        return {
            "name": clip.name,
            "frames": len(clip.index),
            "judged_frames": int(clip.known.sum()),
            "minutes": clip.minutes,
            "intervals": len(clip.spans),
            "synthetic": clip.synthetic,
            "engine": clip.engine,
        }

    return {
        "pack": describe_pack(work.pack),
        "site_overrides": work.pack.site is not None,
        "label": work.label,
        "open": bounds.open,
        "close": bounds.close,
        "hold_off_s": bounds.minimum_s,
        "merge_s": bounds.merge_s,
        "smoothing_s": work.settings.smoothing_s,
        "hold_offs_s": list(hold_offs),
        "engine": sorted({clip.engine for clip in (*labelled, *normal)}),
        "clips": [told(clip) for clip in labelled],
        "normal_clips": [told(clip) for clip in normal],
        "duration_threshold": tables.duration_rule(bounds.minimum_s),
    }


def _figures(
    clips: Sequence[Watched], label: str, bounds: Bounds, hold_offs: Sequence[float]
) -> dict[str, float | None]:
    score = tables.total([score_counts(c, bounds.open) for c in clips])
    mask = tables.total([mask_counts(c) for c in clips])
    there = pooled(clips, label, bounds)
    figures: dict[str, float | None] = {
        "score_sensitivity": score.sensitivity,
        "score_specificity": score.specificity,
        "mask_sensitivity": mask.sensitivity,
        "mask_specificity": mask.specificity,
        "mask_dice": tables.mean_dice(clips),
        "mask_dice_drawn": tables.mean_dice(clips, drawn=True),
        "finding_sensitivity": there.sensitivity,
        "first_detection_median_s": there.delay,
        "analysed_minutes": sum(c.minutes for c in clips),
        "free_minutes": there.minutes,
        "free_visible_minutes": there.visible_minutes,
        "blind_share": tables.blind_share(clips),
    }
    for hold_off in hold_offs:
        a = pooled(clips, label, bounds, hold_off)
        figures[f"false_positives_per_minute_at_{hold_off:g}_s"] = a.rate
        figures[f"false_positives_per_visible_minute_at_{hold_off:g}_s"] = a.visible_rate
    names = ("flicker_raw_per_minute", "flicker_smoothed_per_minute", "flicker_mask_per_minute")
    for name, row in zip(names, tables.flicker_table(clips, bounds).rows, strict=False):
        figures[name] = None if row[2] is None else float(row[2])
    return figures


def _normal_figures(
    clips: Sequence[Watched], label: str, bounds: Bounds, hold_offs: Sequence[float], advice: Advice
) -> dict[str, float | None]:
    there = pooled(clips, label, bounds)
    figures: dict[str, float | None] = {
        "normal_minutes": there.minutes,
        "normal_visible_minutes": there.visible_minutes,
        "normal_blind_share": tables.blind_share(clips),
    }
    for hold_off in hold_offs:
        a = pooled(clips, label, bounds, hold_off)
        figures[f"normal_false_positives_per_minute_at_{hold_off:g}_s"] = a.rate
        figures[f"normal_upper_95_per_minute_at_{hold_off:g}_s"] = a.upper
    figures["advised_open"] = advice.open
    figures["advised_false_positives_per_minute"] = advice.rate
    figures["advised_upper_95_per_minute"] = advice.upper
    figures["advised_finding_sensitivity"] = advice.sensitivity
    return figures


def _warnings(pack: Pack, labelled: Sequence[Watched], normal: Sequence[Watched]) -> tuple[str, ...]:
    said: list[str] = []
    for clip in (*labelled, *normal):
        if clip.synthetic:
            said.append(f"{clip.name} is synthetic: nothing measured on synthetic video is sensitivity.")
    if pack.site_note:
        said.append(pack.site_note)
    elif pack.site is not None:
        said.append("Site overrides are in force: these are not the pack's own thresholds.")
    for clip in labelled:
        if unknown := int((~clip.known).sum()):
            said.append(f"{clip.name}: the truth does not judge {unknown} frames; they are left out.")
        if not clip.spans:
            said.append(f"{clip.name}: the truth has nothing in view; it counts as a normal clip does.")
    if labelled and not any((c.known & ~c.present).any() for c in labelled):
        said.append(
            "Every judged frame of the labelled clips has the finding in view: they give no specificity and "
            "no false positives per minute."
        )
    said += [note for clip in (*labelled, *normal) for note in clip.notes if note != pack.site_note]
    return tuple(dict.fromkeys(said))


def save(results: Results, pack: str) -> Path:
    """Write the advice of `results` into the site overrides of the pack; the file.

    Raises
    ------
    InputError
        No normal clip was measured, or one of them is synthetic.
    RunError
        No threshold reached the target, the pack changed meanwhile, or the file cannot be written.
    """
    told = results.facts.get("advice")
    if told is None:
        raise InputError("--save-advice needs normal clips; give them with --negative CLIP")
    if any(clip["synthetic"] for clip in results.facts["normal_clips"]):
        raise InputError("advice from synthetic video is not saved; give a site's own normal clips")
    known = find_pack(pack)
    if known.sha256 != results.facts["pack"]["sha256"]:
        raise RunError(f"pack {known.name} changed while it was measured; measure again")
    advice = Advice(**{**told, "limits": tuple(told["limits"])})
    return save_advice(known, advice, _measured(results.facts, advice), results.command)


def _measured(facts: Mapping[str, Any], advice: Advice) -> dict[str, Any]:
    """What the advice rests on, for the file: counts, minutes, base names."""
    measured = {
        "normal_clips": [clip["name"] for clip in facts["normal_clips"]],
        "normal_minutes": round(advice.minutes, 3),
        "hold_off_s": advice.hold_off_s,
        "false_positives": advice.false_positives,
        "false_positives_per_minute": advice.rate,
        "upper_95_per_minute": advice.upper,
        "target_per_minute": advice.target,
        "labelled_clips": [clip["name"] for clip in facts["clips"]],
        "labelled_intervals": advice.intervals,
        "finding_sensitivity": advice.sensitivity,
    }
    return {
        key: round(value, 6) if isinstance(value, float) else value
        for key, value in measured.items()
        if value is not None
    }


def spoken_table(results: Results) -> list[str]:
    """The figures that matter, as short lines for a terminal."""
    lines = [f"{results.title}. {results.facts['duration_threshold']}"]
    for name, value in results.figures.items():
        lines.append(f"{name:<50} {'-' if value is None else format(value, '.4g')}")
    if told := results.facts.get("advice"):
        lines.append(f"advice: {told['sentence']}")
    return lines
