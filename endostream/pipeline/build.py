"""The composition root: from a source's name and settings to a run that is ready to start.

Owns how parts are put together and which combinations make no sense. Must not run anything itself.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endostream.analysis.analyzer import Analyzer, AnalyzerRules, Resume
from endostream.analysis.findings import Bounds, FindingRules, FindingTracker, ReplayTracker
from endostream.analysis.networks import Networks
from endostream.analysis.visibility import BlindLedger, VisibilityRules
from endostream.capture.pacing import Pacer
from endostream.capture.source import Source
from endostream.config import FindingSettings, Settings
from endostream.engines import open_networks
from endostream.errors import InputError
from endostream.packs import Pack, Thresholds, find_pack, verify_pack
from endostream.pipeline.keeping import AnnotatedSink, Outputs, SessionSink
from endostream.pipeline.parts import Parts
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.sampling import Sampler, published_sampler
from endostream.pipeline.sinks import Background, Sink
from endostream.pipeline.sourcing import Opened, open_for
from endostream.types import RunInfo, SourceInfo

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept of a run, and where."""

    folder: Path
    """The session folder."""
    overwrite: bool = False
    """Replace a session that is there."""
    masks: bool = False
    """Write a mask per segmented frame."""
    heatmaps: bool = False
    """Write a class map per frame."""
    annotated: bool = False
    """Write `annotated.mp4`."""
    record: bool = False
    """Record a live source from its first picture on."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a run that repeats another one is given, instead of finding it by name."""

    source: Source
    """The open source; the run closes it."""
    pack: Pack
    """The pack with the thresholds that were in force."""
    phi_mask: str
    """Name of the tower profile that was applied to its pictures."""
    facts: Mapping[str, Any]
    """Added to the settings that sinks are told."""
    resume: Resume = lambda frame: None
    """Where smoothing goes on from, before frames that follow a part which is not repeated."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that pack and settings decide before a source is known."""

    pack: Pack
    settings: Settings
    bounds: Bounds
    by_label: dict[str, Bounds]
    background: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)

    @property
    def published(self) -> bool:
        return self.settings.protocol == "published"


def build(
    source_spec: str,
    settings: Settings,
    *,
    paced: bool,
    sinks: Sequence[Sink] = (),
    keeping: Keeping | None = None,
    say: Say | None = None,
    cancelled: threading.Event | None = None,
    repeat: Repeat | None = None,
) -> Pipeline:
    """A run over `source_spec`, with its networks warm; call it off the main thread of a window.

    Parameters
    ----------
    source_spec
        A file, picture, folder, device or URL (see `open_source`).
    settings
        Pack, protocol, engine and thresholds.
    paced
        True shows a recorded source at its own pace and drops pictures that come too fast.
    sinks
        Listeners besides the session folder.
    keeping
        Keep a session folder; None keeps nothing.
    say
        Hears what takes time, one line each.
    cancelled
        Set by another thread to give up waiting for a live source.
    repeat
        Source and pack of a run that is repeated, in place of those that `source_spec` and `settings` name.

    Raises
    ------
    InputError
        The pack, the source or the settings cannot be used; one line says why.
    """
    plan = _plan(settings, repeat)
    if repeat is not None:
        opened = Opened(repeat.source, repeat.phi_mask)
    else:
        opened = open_for(
            source_spec,
            settings,
            folder=None if keeping is None else keeping.folder,
            record=keeping is not None and keeping.record,
            patient=paced,
            as_opencv=plan.published,
            say=say,
            cancelled=cancelled,
        )
    source = opened.source
    networks: Networks | None = None
    try:
        networks = open_networks(
            plan.pack,
            engine=settings.engine,
            device=settings.device,
            precision=settings.precision,
            protocol=settings.protocol,
            verified=True,
            # One picture at a time, as it was live: batches on a GPU differ in the last bits.
            ahead=not paced and not source.info.live and repeat is None,
            rate=source.info.fps if paced or source.info.live else None,
        )
        networks.warm_up(say)
        return _assemble(plan, opened, networks, paced, list(sinks), keeping, repeat)
    except BaseException:
        source.close()
        if opened.recorder is not None:
            opened.recorder.close()
        if networks is not None:
            networks.close()
        raise


def _plan(settings: Settings, repeat: Repeat | None = None) -> _Plan:
    if settings.protocol == "published" and (
        settings.every or settings.start or settings.duration is not None
    ):
        raise InputError(
            "--protocol published fixes its own sampling; leave out --every, --start and --duration"
        )
    pack = find_pack(settings.pack) if repeat is None else repeat.pack
    verify_pack(pack)
    if settings.protocol == "published" and not any(m.published for m in pack.models):
        raise InputError(f"pack {pack.name} has no published protocol; leave out --protocol published")
    plan = _Plan(
        pack=pack,
        settings=settings,
        bounds=_bounds(pack.thresholds, settings.finding),
        by_label={
            label: _bounds(_with(pack.thresholds, values), settings.finding)
            for label, values in pack.thresholds.labels.items()
        },
        background=pack.classifiers[0].background if pack.classifiers else (),
    )
    if pack.site_note:
        plan.warnings.append(pack.site_note)
    if settings.exam != "any" and settings.exam not in pack.exams:
        meant = ", ".join(e for e in pack.exams if e != "any")
        plan.warnings.append(f"pack {pack.name} is meant for {meant}, not for exam {settings.exam}")
    return plan


def _with(thresholds: Thresholds, values: Mapping[str, float]) -> Thresholds:
    wrong = sorted(set(values) - {"open", "close", "minimum_s", "merge_s"})
    if wrong:
        raise InputError(f"thresholds of a label cannot hold {wrong[0]!r}; correct the pack.toml")
    changed: Any = dict(values)
    return dataclasses.replace(thresholds, **changed)


def _bounds(thresholds: Thresholds, wanted: FindingSettings) -> Bounds:
    def pick(own: float | None, default: float) -> float:
        return default if own is None else own

    bounds = Bounds(
        open=pick(wanted.open, thresholds.open),
        close=pick(wanted.close, thresholds.close),
        minimum_s=pick(wanted.minimum_s, thresholds.minimum_s),
        merge_s=pick(wanted.merge_s, thresholds.merge_s),
    )
    if bounds.close > bounds.open:
        raise InputError(f"finding.close {bounds.close} is over finding.open {bounds.open}; lower it")
    return bounds


def _sampler(settings: Settings, info: SourceInfo) -> Sampler:
    if settings.protocol == "published":
        if info.independent:
            return Sampler()
        if not info.fps:
            raise InputError(
                f"{info.name} states no frame rate, which --protocol published needs; leave it out"
            )
        return published_sampler(info.fps)
    until = settings.duration
    if until is not None and not info.live:
        until += settings.start
    return Sampler(every=settings.every, until=until, live=info.live)


def _analyzer_rules(plan: _Plan, info: SourceInfo, drops: bool) -> AnalyzerRules:
    settings, gate = plan.settings, plan.pack.gate
    visibility = VisibilityRules(**dataclasses.asdict(settings.visibility))
    return AnalyzerRules(
        gate=dict(gate.labels) if gate.rule == "labels" else None,
        mask_threshold=plan.pack.thresholds.mask,
        mask_peak=plan.pack.thresholds.mask_peak,
        smoothing_s=settings.smoothing_s,
        heatmap=settings.heatmap,
        published=plan.published,
        independent=info.independent,
        paced=drops,
        visibility=visibility,
    )


def _run_info(plan: _Plan, opened: Opened, networks: Networks, repeat: Repeat | None) -> RunInfo:
    pack, settings = plan.pack, plan.settings
    labels = networks.classifiers[0].labels if networks.classifiers else ()
    facts = settings.facts()
    facts["finding"] = dataclasses.asdict(plan.bounds)
    if plan.by_label:
        facts["finding_labels"] = {k: dataclasses.asdict(v) for k, v in sorted(plan.by_label.items())}
    facts["gate"] = {"rule": pack.gate.rule, "labels": dict(pack.gate.labels)}
    facts["site_overrides"] = pack.site is not None
    facts.update({} if repeat is None else repeat.facts)
    unreliable = pack.classifiers[0].unreliable if pack.classifiers else ()
    return RunInfo(
        source=opened.source.info,
        pack={
            "name": pack.name,
            "version": pack.version,
            "sha256": pack.sha256,
            "title": pack.title,
            "licence": pack.licence,
            "unreliable": ", ".join(unreliable),
            "background": ", ".join(plan.background),
        },
        labels=labels,
        settings=facts,
        engine=dict(networks.info),
        exam=settings.exam,
        phi_mask=opened.phi_mask,
    )


def _assemble(
    plan: _Plan,
    opened: Opened,
    networks: Networks,
    paced: bool,
    sinks: list[Sink],
    keeping: Keeping | None,
    repeat: Repeat | None = None,
) -> Pipeline:
    info = opened.source.info
    pacer = Pacer() if paced and not info.live and not info.independent else None
    drops = pacer is not None or info.live
    run_info = _run_info(plan, opened, networks, repeat)
    rules = FindingRules(run_info.labels, plan.bounds, plan.by_label, plan.background, plan.settings.exam)
    tracker: FindingTracker | ReplayTracker | None = None
    if not info.independent and run_info.labels:
        tracker = ReplayTracker(rules) if pacer is not None and info.seekable else FindingTracker(rules)
    if keeping is not None:
        outputs = Outputs(keeping.masks, keeping.heatmaps, plan.published, plan.background)
        sinks.append(Background(SessionSink(keeping.folder, keeping.overwrite, outputs)))
        if keeping.annotated:
            sinks.append(Background(AnnotatedSink(keeping.folder / "annotated.mp4", plan.background)))
    resume = () if repeat is None else (repeat.resume,)
    return Pipeline(
        Parts(
            source=opened.source,
            analyzer=Analyzer(networks, _analyzer_rules(plan, info, drops), *resume),
            tracker=tracker,
            info=run_info,
            sampler=_sampler(plan.settings, info),
            blind=None if info.independent else BlindLedger(plan.settings.visibility.minimum_s),
            sinks=sinks,
            pacer=pacer,
            closing=[networks],
            warnings=tuple(plan.warnings),
            notices=lambda: networks.warnings,
            recorder=opened.recorder,
            folder=None if keeping is None else keeping.folder,
            record=keeping is not None and keeping.record,
            watched=paced,
        )
    )
