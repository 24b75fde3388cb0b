"""The run of a replay: from a session folder with a recording to a session of its own and its comparison.

Owns what is taken over from the session: frames, pack, thresholds, settings, engine. Must not know how
pictures are decoded or networks run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from endostream.capture.recorded import RecordedFrame, RecordedPart, RecordedSource
from endostream.config import Settings
from endostream.engines import choose
from endostream.errors import InputError, PackError
from endostream.packs import Gate, Pack, Thresholds, find_pack
from endostream.pipeline.build import Keeping, Repeat, build
from endostream.pipeline.pipeline import Pipeline
from endostream.records.codec import plain, rounded
from endostream.records.files import holds_session, write_json
from endostream.records.session import Session
from endostream.records.sidecar import SIDECAR, Sidecar, read_sidecar
from endostream.replay.comparison import Comparison, compare, document
from endostream.replay.continuing import Continuation
from endostream.types import RunInfo, Status

Say = Callable[[str], None]
Listen = Callable[[Callable[[], None]], None]

FOLDER = "replay"
"""Folder of the replay in the session's own, where no other is asked for."""
DOCUMENT = "replay.json"
"""The comparison, in the folder of the replay."""
SCHEMA = 1
KEPT_SETTINGS = ("protocol", "smoothing_s", "heatmap", "deinterlace", "visibility")
"""Settings that decide the result. Sampling is not among them: the sidecar says which frames were taken."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What runs the networks; empty takes what ran them live."""

    engine: str = ""
    """`auto`, `torch` or `openvino`."""
    device: str = ""
    """`auto`, `cpu` or `cuda`."""
    precision: str = ""
    """`auto`, or a precision that the engine offers."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How a replay went."""

    folder: Path
    """Its session folder."""
    status: Status
    """The final status of its run."""
    comparison: Comparison
    """How it compares with the live session."""
    document: Mapping[str, Any]
    """What `replay.json` holds."""


def replay(
    folder: Path,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    every_frame: bool = False,
    pack: str = "",
    wish: Wish | None = None,
    say: Say | None = None,
    progress: Say | None = None,
    stops: Listen | None = None,
) -> Replay:
    """Analyse the recording of a session again, into a session of its own, and compare the two.

    Parameters
    ----------
    folder
        The session folder, with its recording.
    out
        Folder of the replay; None takes `replay` in the session folder, where an earlier one is replaced.
    overwrite
        Replace a replay that is in `out`.
    every_frame
        Analyse every picture of the recording, not only those that were analysed live.
    pack
        Name or folder of the session's pack, where it cannot be found by its name.
    wish
        What runs the networks.
    say, progress, stops
        As in `batch.analyse`.

    Raises
    ------
    InputError
        The session has no recording, is being written, or its pack is not here.
    EndostreamError
        The first error of the run.
    """
    live = Session.open(folder)
    if live.live:
        raise InputError(f"session {folder} is still being written; stop it, then replay it")
    sidecar = read_sidecar(folder / SIDECAR)
    repeat_pack = _pack(live.info, pack)
    settings, notes = _settings(live.info, repeat_pack, wish or Wish())
    target = _target(folder, out, overwrite)
    if not every_frame and not any(frame.fate == "analysed" for frame in sidecar.frames):
        raise InputError(f"no frame of {folder} was analysed while it was recorded; add --every-frame")
    source = _source(folder, sidecar, live.info, settings, every_frame)
    phi_mask = sidecar.parts[0].phi_mask if sidecar.parts else live.info.phi_mask
    facts = {
        "replay": {"every_frame": every_frame},
        "site_overrides": live.info.settings.get("site_overrides", False),
    }
    try:
        pipeline = build(
            live.info.source.name,
            settings,
            paced=False,
            keeping=Keeping(target, overwrite=True),
            say=say,
            repeat=Repeat(source, repeat_pack, phi_mask, facts, Continuation(live)),
        )
    except BaseException:
        source.close()
        raise
    if stops is not None:
        stops(pipeline.stop)
    pipeline.start()
    status = _wait(pipeline, progress)
    if not status.counts.analysed and status.finish == "completed":
        why = source.warnings[0] if source.warnings else "its pictures and its sidecar do not belong together"
        raise InputError(f"nothing of the recording can be replayed: {why}; copy the session folder again")
    again = Session.open(target)
    comparison = compare(live, again, sidecar.frames)
    notes += _missing(source, status, comparison)
    found = _document(live, again, sidecar, source, comparison, (*notes, *status.warnings))
    write_json(target / DOCUMENT, found)
    return Replay(target, status, comparison, found)


def _pack(info: RunInfo, name: str) -> Pack:
    """The session's pack with the thresholds that were in force then."""
    then = {key: info.pack.get(key, "") for key in ("name", "version", "sha256")}
    known = f"pack {then['name']} {then['version']} ({then['sha256'][:12]})"
    try:
        pack = find_pack(name or then["name"])
    except PackError as error:
        raise InputError(
            f"the session was analysed with {known}: {error}; name its folder with --pack"
        ) from error
    if (pack.name, pack.version, pack.sha256) != tuple(then.values()):
        raise InputError(
            f"the session was analysed with {known}, and this is {pack.name} {pack.version} "
            f"({pack.sha256[:12]}); install that version again, or name its folder with --pack"
        )
    bounds = {**info.settings.get("finding", {})}
    thresholds = replace(
        pack.thresholds, labels=info.settings.get("finding_labels", {}), **_of(Thresholds, bounds)
    )
    gate = replace(pack.gate, **_of(Gate, info.settings.get("gate", {})))
    return replace(pack, thresholds=thresholds, gate=gate, site_note="")


def _of(kind: type[Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table that are fields of a dataclass."""
    names = {field.name for field in fields(kind)}
    return {key: value for key, value in table.items() if key in names}


def _settings(info: RunInfo, pack: Pack, wish: Wish) -> tuple[Settings, list[str]]:
    """The settings of the session for a run of the listed frames, and what cannot be as it was."""
    kept = {key: info.settings[key] for key in KEPT_SETTINGS if key in info.settings}
    settings = Settings().changed(pack=pack.name, exam=info.exam, **kept)
    notes: list[str] = []
    if wish == Wish():
        ran = info.engine
        wish = Wish(
            ran.get("engine", "auto"),
            ran.get("device", "auto").partition(":")[0],
            ran.get("precision", "auto").partition(" ")[0],
        )
        try:
            choose(wish.engine, wish.device, wish.precision, settings.protocol)
        except InputError as error:
            notes.append(f"not on the engine of the live run, so probabilities may differ: {error}")
            wish = Wish()
    given = {f.name: getattr(wish, f.name) or None for f in fields(Wish)}
    return settings.changed(**given), notes


def _target(folder: Path, out: Path | None, overwrite: bool) -> Path:
    """Where the replay goes: nothing but an earlier replay is ever replaced."""
    target = folder / FOLDER if out is None else out
    if target.resolve() == folder.resolve():
        raise InputError(f"{target} is the session itself; choose another folder for its replay")
    if holds_session(target):
        if not _is_replay(target):
            raise InputError(f"{target} holds a session that is no replay; choose another folder")
        if out is not None and not overwrite:
            raise InputError(f"{target} already holds a replay; add --overwrite or choose another folder")
    return target


def _is_replay(folder: Path) -> bool:
    try:
        return "replay" in Session.open(folder).info.settings
    except InputError:
        return False


def _source(
    folder: Path, sidecar: Sidecar, info: RunInfo, settings: Settings, every_frame: bool
) -> RecordedSource:
    parts = [
        RecordedPart(folder / part.file, part.epoch, settings.deinterlace if part.mode == "copy" else "off")
        for part in sidecar.parts
    ]
    frames = [
        RecordedFrame(f.index, f.epoch, f.pts, f.time_base, f.time, f.wall, f.fate == "analysed")
        for f in sidecar.frames
    ]
    return RecordedSource(parts, frames, info.source, every_frame)


def _wait(pipeline: Pipeline, progress: Say | None) -> Status:
    while True:
        status = pipeline.join(timeout=0.5)
        if not pipeline.running:
            return status
        if progress is not None:
            progress(f"{status.counts.analysed} frames replayed, at {status.duration:.1f} s")


def _missing(source: RecordedSource, status: Status, comparison: Comparison) -> list[str]:
    lines = []
    if status.finish == "stopped":
        lines.append("stopped before the end of the recording; compared as far as it came")
    elif source.missing:
        lines.append(f"analysed live, but not in the recording: {_frames(source.missing)}")
    if comparison.unrecorded:
        lines.append(
            f"analysed live, but not replayed: {_frames(comparison.unrecorded)}; the live findings compared "
            "are worked out from the probabilities of the others"
        )
    return lines


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _document(
    live: Session,
    again: Session,
    sidecar: Sidecar,
    source: RecordedSource,
    comparison: Comparison,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    info = again.info
    table: dict[str, Any] = rounded(
        {
            "schema": SCHEMA,
            "research_use_only": True,
            "phi_mask": info.phi_mask,
            "session": live.folder.resolve().name,
            "source": info.source.name,
            "pack": {key: info.pack[key] for key in ("name", "version", "sha256")},
            "engine": {"live": plain(live.info.engine), "replay": plain(info.engine)},
            "recorded": sorted({part.mode for part in sidecar.parts}),
            "every_frame": "replay" in info.settings and info.settings["replay"]["every_frame"],
            "finish": again.status.finish,
            "frames": {
                "listed": sum(frame.fate == "analysed" for frame in sidecar.frames),
                "replayed": again.analysed,
                "missing": None if again.status.finish == "stopped" else source.missing,
                "unrecorded": comparison.unrecorded,
            },
            **document(comparison),
            "warnings": list(dict.fromkeys(warnings)),
        }
    )
    return table
