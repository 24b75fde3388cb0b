"""The read side of a session folder: a snapshot of what was written, also after a crash.

Owns reading `session.db`. Must not write into the folder or know what reports say.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from endostream.errors import InputError
from endostream.records import codec
from endostream.records.files import DATABASE
from endostream.records.lock import is_being_written
from endostream.records.migrations import check
from endostream.types import BlindSpan, Finding, FrameCounts, MaskSource, Peak, Prediction, RunInfo, Status

INTERRUPTED = "the run was interrupted; at most its last second is missing"


@dataclass(frozen=True, slots=True, eq=False)
class FrameRow:
    """One analysed frame as it was stored, without its picture."""

    index: int
    """Delivered frames of the source counted from 0."""
    pts: int | None
    """Presentation time stamp as the container gives it."""
    time: float
    """Stream time in seconds."""
    epoch: int
    """Raised by a seek or a reconnect."""
    file: str | None
    """Base name of the picture, for a folder of pictures."""
    visible: bool
    """True when the frame could be judged."""
    reason: str | None
    """Why it could not."""
    segmented: bool
    """True when the segmenter looked at it."""
    mask_area: float
    """Share of the picture that the mask covers; 0 without a mask."""
    mask_bbox: tuple[int, int, int, int] | None
    """x0, y0, x1, y1 (exclusive) in source pixels."""
    mask_source: MaskSource | None
    """`network`, `tracked` or None."""
    mask_time: float | None
    """Stream time in seconds of the frame the mask was computed from."""
    label: str | None
    """The acting label after smoothing; None for a pack without a classifier."""
    confidence: float | None
    """Its smoothed probability."""
    raw_label: str | None
    """The most probable class of this frame alone."""
    raw_confidence: float | None
    """Its probability."""
    predictions: tuple[Prediction, ...]
    """Probabilities of every classifier, as stored (float16 precision); the first acts."""


@dataclass(frozen=True, slots=True)
class Still:
    """A picture kept from the run."""

    finding: int | None
    """The finding or landmark it shows."""
    path: str
    """Relative to the session folder."""
    time: float
    """Stream time in seconds."""
    kind: str
    """`finding`, `landmark` or `manual`."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit trail."""

    wall: float
    """Wall clock in seconds."""
    kind: str
    """What happened."""
    data: dict[str, Any]
    """Details."""


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection; a folder that cannot be written is read from a copy."""
    path = folder / DATABASE
    if not path.is_file():
        raise InputError(f"no session in {folder}: {DATABASE} is missing; name a session folder")
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(contextlib.closing(_connect(path)))
            check(connection)
        except sqlite3.OperationalError:
            # WAL needs its index file beside the database, which a read-only folder refuses.
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="endostream-")))
            for name in (DATABASE, f"{DATABASE}-wal"):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, copy / name)
            connection = stack.enter_context(contextlib.closing(_connect(copy / DATABASE)))
            check(connection)
        yield connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=2.0)


@contextlib.contextmanager
def _damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"session {folder} cannot be read ({error}); restore it from a copy or analyse again"
        ) from error


@dataclass(frozen=True, slots=True)
class Session:
    """What a session held when it was opened; holds no open file."""

    folder: Path
    """The session folder."""
    info: RunInfo
    """What was analysed, and with what."""
    status: Status
    """How the run ended; a run that died reads as `failed`, one that goes on has no finish yet."""
    interrupted: bool
    """True when the run died without finishing."""
    live: bool
    """True while a writer is at work."""
    analysed: int
    """Number of stored frames."""
    findings: tuple[Finding, ...]
    """By start, then id; rejected ones included."""
    landmarks: tuple[Finding, ...]
    """By start, then id; not findings."""
    blind: tuple[BlindSpan, ...]
    """Stretches that could not be judged, by start."""
    stills: tuple[Still, ...]
    """By time."""
    models: tuple[tuple[str, tuple[str, ...]], ...]
    """Name and labels of each classifier, in the order of the stored probabilities."""

    @classmethod
    def open(cls, folder: Path) -> Session:
        """The session in `folder`, read-only, as it is now.

        Raises `InputError` in one line when there is none, or when it is damaged.
        """
        folder = Path(folder)
        with _damage(folder), _reading(folder) as connection:
            connection.execute("BEGIN")
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            analysed, last = connection.execute("SELECT COUNT(*), MAX(time) FROM frames").fetchone()
            live = is_being_written(folder)
            finished = "finished" in meta
            models = json.loads(meta.get("models", "[]"))
            return cls(
                folder=folder,
                info=codec.run_info(meta["info"]),
                status=_status(meta.get("status"), analysed, last, finished=finished, live=live),
                interrupted=not finished and not live,
                live=live,
                analysed=analysed,
                findings=_findings(connection, landmark=False),
                landmarks=_findings(connection, landmark=True),
                blind=tuple(
                    BlindSpan(*row)
                    for row in connection.execute(
                        "SELECT start, end, reason FROM blind ORDER BY start, end, reason"
                    )
                ),
                stills=tuple(
                    Still(*row)
                    for row in connection.execute(
                        "SELECT finding, path, time, kind FROM stills ORDER BY time, id"
                    )
                ),
                models=tuple((m["name"], tuple(m["labels"])) for m in models),
            )

    def frames(self) -> Iterator[FrameRow]:
        """Every stored frame in the order of time."""
        with _damage(self.folder), _reading(self.folder) as connection:
            query = f"SELECT {_COLUMNS} FROM frames ORDER BY time_us, file, nth"
            for row in connection.execute(query):
                yield _frame(row, self.models)

    def events(self) -> tuple[AuditEvent, ...]:
        """The audit trail in the order it was written."""
        with _damage(self.folder), _reading(self.folder) as connection:
            rows = connection.execute("SELECT wall, kind, data FROM events ORDER BY id").fetchall()
            return tuple(AuditEvent(wall, kind, json.loads(data)) for wall, kind, data in rows)


_COLUMNS = (
    "number, pts, time, epoch, file, visible, reason, segmented, mask_area, x0, y0, x1, y1, "
    "mask_source, mask_time, label, confidence, raw_label, raw_confidence, scores, raw"
)


def _frame(row: tuple[Any, ...], models: tuple[tuple[str, tuple[str, ...]], ...]) -> FrameRow:
    number, pts, time, epoch, file, visible, reason, segmented, area, x0, y0, x1, y1, *rest = row
    source, mask_time, label, confidence, raw_label, raw_confidence, scores, raw = rest
    return FrameRow(
        index=number,
        pts=pts,
        time=time,
        epoch=epoch,
        file=file or None,
        visible=bool(visible),
        reason=reason,
        segmented=bool(segmented),
        mask_area=area,
        mask_bbox=None if x0 is None else (x0, y0, x1, y1),
        mask_source=source,
        mask_time=mask_time,
        label=label,
        confidence=confidence,
        raw_label=raw_label,
        raw_confidence=raw_confidence,
        predictions=_predictions(scores, raw, models),
    )


def _predictions(
    scores: bytes, raw: bytes, models: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[Prediction, ...]:
    smoothed = np.frombuffer(scores, np.float16).astype(np.float32)
    alone = np.frombuffer(raw, np.float16).astype(np.float32)
    if not len(smoothed) == len(alone) == sum(len(labels) for _, labels in models):
        raise ValueError("stored probabilities do not fit the classes")
    smoothed.flags.writeable = alone.flags.writeable = False
    found, at = [], 0
    for name, labels in models:
        part = slice(at, at + len(labels))
        found.append(Prediction(name, labels, smoothed[part], alone[part]))
        at += len(labels)
    return tuple(found)


def _findings(connection: sqlite3.Connection, *, landmark: bool) -> tuple[Finding, ...]:
    query = (
        "SELECT id, label, start, end, peak_time, peak_confidence, peak_index, still, review, note "
        "FROM findings WHERE landmark = ? ORDER BY start, id"
    )
    return tuple(
        Finding(id_, label, start, end, Peak(*peak), still, review, note)
        for id_, label, start, end, *peak, still, review, note in connection.execute(query, (landmark,))
    )


def _status(text: str | None, analysed: int, last: float | None, *, finished: bool, live: bool) -> Status:
    known = codec.status(text) if text else Status(state="running")
    if finished or live:
        return known
    # The counts of the last status may be older than the last rows: the rows are the truth.
    dropped, skipped = known.counts.dropped, known.counts.skipped
    captured = analysed + sum(dropped.values()) + skipped
    return replace(
        known,
        state="finished",
        finish="failed",
        error=known.error or INTERRUPTED,
        counts=FrameCounts(captured, analysed, dropped, skipped, 0),
        duration=max(known.duration, last or 0.0),
        warnings=(*known.warnings, INTERRUPTED),
    )
