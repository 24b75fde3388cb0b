"""The write side of a session folder: one database, one writer, one commit every half second.

Owns `session.db` while a run goes on. Must not know threads, networks or reports.
All calls come from one thread (whichever thread that is). Committed rows survive the death of the process,
so that a kill loses at most the last second.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from endostream.errors import InputError, RunError
from endostream.records import codec
from endostream.records.files import DATABASE, holds_session, remove_session
from endostream.records.lock import FolderLock
from endostream.records.migrations import check, migrate
from endostream.records.session import Session
from endostream.types import Analysis, BlindSpan, FindingEvent, MaskArray, Review, RunInfo, Status

__all__ = ["Session", "SessionWriter", "mask_measures", "set_review"]

COMMIT_S = 0.5
"""Seconds of wall clock between commits."""

_FRAME_COLUMNS = 23
_INSERT_FRAME = f"INSERT OR REPLACE INTO frames VALUES ({','.join('?' * _FRAME_COLUMNS)})"
# A person's review and a still taken earlier outlive a tracker that does not know of them.
_INSERT_FINDING = """
    INSERT INTO findings VALUES (?,?,?,?,?,?,?,?,?,?,?)
    ON CONFLICT (landmark, id) DO UPDATE SET
        label = excluded.label, start = excluded.start, end = excluded.end,
        peak_time = excluded.peak_time, peak_confidence = excluded.peak_confidence,
        peak_index = excluded.peak_index, still = COALESCE(excluded.still, still),
        review = CASE excluded.review WHEN 'pending' THEN review ELSE excluded.review END,
        note = CASE excluded.note WHEN '' THEN note ELSE excluded.note END
"""


def mask_measures(mask: MaskArray | None) -> tuple[float, tuple[int, int, int, int] | None]:
    """The share of the picture that `mask` (bool[H, W]) covers, and its box [x0, y0, x1, y1) or None."""
    if mask is None or mask.size == 0:
        return 0.0, None
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    count = cv2.countNonZero(pixels)
    if count == 0:
        return 0.0, None
    x, y, width, height = cv2.boundingRect(pixels)
    return count / mask.size, (x, y, x + width, y + height)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turn a database that cannot be written into one line."""
    try:
        yield
    except sqlite3.Error as error:
        raise RunError(
            f"cannot write the session in {folder} ({error}); free some space or choose another folder: "
            "what was written before is kept"
        ) from error


def _connect(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        folder / DATABASE, isolation_level=None, check_same_thread=False, timeout=2.0
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _claim(folder: Path) -> FolderLock:
    """The lock of `folder`, which is made when it is missing; raises `InputError` in one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FolderLock(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder} is not a folder; choose another one") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno == errno.ENOENT:
            reason = "it cannot be made"
        raise InputError(f"cannot write into {folder} ({reason}); choose another folder") from error


class SessionWriter:
    """Writes one session; made by `create`, ended by `finish`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: FolderLock) -> None:
        """Take over an open connection and the lock of its folder (see `create`)."""
        self.folder = folder
        self._connection = connection
        self._lock = lock
        self._models: list[dict[str, Any]] = []
        self._seen: tuple[int, int, str] = (-1, -1, "")
        self._nth = 0
        self._committed = self._called = time.monotonic()
        self._open = True

    @classmethod
    def create(cls, folder: Path, info: RunInfo, *, overwrite: bool = False) -> Self:
        """Start a session in `folder`, which is made when it is missing.

        Raises `InputError` when the folder already holds a session (without `overwrite`), when another
        process writes it, or when it cannot be written.
        """
        lock = _claim(folder)
        try:
            if holds_session(folder):
                if not overwrite:
                    raise InputError(
                        f"{folder} already holds a session; add --overwrite or choose another folder"
                    )
                remove_session(folder)
            with _disk(folder):
                connection = _connect(folder)
                migrate(connection)
            writer = cls(folder, connection, lock)
            writer._set("info", codec.dumps(info))
            writer.event("started", {"engine": info.engine})
            writer.commit()
        except OSError as error:
            lock.release()
            raise InputError(f"cannot clear {folder} ({error.strerror}); choose another folder") from error
        except BaseException:
            lock.release()
            raise
        return writer

    def add_analysis(self, analysis: Analysis) -> None:
        """Write down one analysed frame; a frame of the same time and file is replaced."""
        frame, acting = analysis.frame, analysis.acting
        models = [{"name": p.model, "labels": list(p.labels)} for p in analysis.predictions]
        if models != self._models:
            self._models = models
            self._set("models", codec.dumps(models))
        key = (frame.epoch, round(frame.time * 1e6), codec.clean(frame.file or ""))
        self._nth = self._nth + 1 if key == self._seen else 0
        self._seen = key
        area, box = mask_measures(analysis.mask)
        said = (
            (acting.label, acting.confidence, acting.raw_label, acting.raw_confidence)
            if acting
            else (None,) * 4
        )
        scores = b"".join(p.scores.astype(np.float16).tobytes() for p in analysis.predictions)
        raw = b"".join(p.raw.astype(np.float16).tobytes() for p in analysis.predictions)
        self._write(
            _INSERT_FRAME,
            (
                *(key[1], key[2], self._nth, frame.index, frame.pts, frame.time, frame.epoch),
                *(analysis.visible, analysis.reason, analysis.segmented, area, *(box or (None,) * 4)),
                *(analysis.mask_source, analysis.mask_time, *said, scores, raw),
            ),
        )
        self.tick()

    def add_finding(self, event: FindingEvent) -> None:
        """Write down the state of a finding or landmark after `event`; `removed` deletes it."""
        f = event.finding
        if event.change == "removed":
            self._write("DELETE FROM findings WHERE landmark = ? AND id = ?", (event.landmark, f.id))
        else:
            peak = (f.peak.time, f.peak.confidence, f.peak.index)
            self._write(
                _INSERT_FINDING,
                (event.landmark, f.id, f.label, f.start, f.end, *peak, f.still, f.review, f.note),
            )
        self.tick()

    def add_blind(self, span: BlindSpan) -> None:
        """Write down a stretch that could not be judged."""
        self._write(
            "INSERT INTO blind (start, end, reason) VALUES (?,?,?)", (span.start, span.end, span.reason)
        )
        self.tick()

    def replace_blind(self, spans: tuple[BlindSpan, ...]) -> None:
        """Write down the whole blind ledger anew, for a replay that went back."""
        self._write("DELETE FROM blind", ())
        for span in spans:
            self.add_blind(span)

    def add_still(self, finding_id: int | None, path: str, time: float, kind: str) -> None:
        """Write down a still at `path` (relative to the folder, forward slashes) of stream time `time`.

        A still at the same path replaces the one before. `kind` is `finding`, `landmark` or `manual`; with
        an id the still becomes that finding's (or, for `landmark`, that landmark's) own.
        """
        path = codec.clean(path)
        self._write("DELETE FROM stills WHERE path = ?", (path,))
        self._write(
            "INSERT INTO stills (finding, path, time, kind) VALUES (?,?,?,?)", (finding_id, path, time, kind)
        )
        if finding_id is not None:
            self._write(
                "UPDATE findings SET still = ? WHERE id = ? AND landmark = ?",
                (path, finding_id, kind == "landmark"),
            )
        self.tick()

    def set_review(self, finding_id: int, review: Review, note: str = "", *, landmark: bool = False) -> None:
        """Write down what a person said of a finding, and keep a trace of it.

        Raises `InputError` when there is no such finding.
        """
        changed = self._write(
            "UPDATE findings SET review = ?, note = ? WHERE id = ? AND landmark = ?",
            (review, note, finding_id, landmark),
        )
        if not changed:
            kind = "landmark" if landmark else "finding"
            raise InputError(
                f"{self.folder.name} has no {kind} {finding_id}; see the ids in its findings.json"
            )
        self.event("reviewed", {"finding": finding_id, "landmark": landmark, "review": review, "note": note})

    def event(self, kind: str, data: Mapping[str, Any] | None = None) -> None:
        """Add a line to the audit trail, with the wall clock."""
        self._write(
            "INSERT INTO events (wall, kind, data) VALUES (?,?,?)",
            (time.time(), kind, codec.dumps(data or {})),
        )
        self.tick()

    def set_status(self, status: Status) -> None:
        """Write down how the run is doing."""
        self._set("status", codec.dumps(status))
        self.tick()

    def tick(self) -> None:
        """Commit when half a second has passed; for a caller with nothing to write."""
        now = time.monotonic()
        # At the pace of the calls so far the next one would come too late.
        if now - self._committed + (now - self._called) >= COMMIT_S:
            self.commit()
        self._called = now

    def commit(self) -> None:
        """Make everything written so far survive the process."""
        with _disk(self.folder):
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        self._committed = time.monotonic()

    def finish(self, status: Status) -> None:
        """Close the session: status written, database checkpointed and out of WAL, lock given up.

        A second call does nothing. Raises `RunError` when the end could not be written; the session is
        closed all the same.
        """
        if not self._open:
            return
        ended = status.finish or ("failed" if status.error else "completed")
        status = replace(status, state="finished", finish=ended)
        try:
            self.event("finished", {"finish": ended, "error": status.error})
            self.set_status(status)
            self._set("finished", "true")
            self.commit()
            self._leave_wal()
        finally:
            self._close()

    def _leave_wal(self) -> None:
        with _disk(self.folder):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            # A reader in another process keeps the file in WAL: it stays whole, only not in one piece.
            with contextlib.suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode = DELETE").fetchall()

    def _close(self) -> None:
        self._open = False
        with _disk(self.folder):
            try:
                self._connection.close()
            finally:
                self._lock.release()

    def _set(self, key: str, value: str) -> None:
        self._write("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    def _write(self, statement: str, values: tuple[Any, ...]) -> int:
        if not self._open:
            raise RunError(f"the session in {self.folder} is finished; start a new one")
        with _disk(self.folder):
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            changed = self._connection.execute(statement, values).rowcount
        return changed


def set_review(
    folder: Path, finding_id: int, review: Review, note: str = "", *, landmark: bool = False
) -> None:
    """Write down in a finished session what a person said of a finding.

    Raises `InputError` when the session is being written, is damaged or has no such finding.
    """
    with _amend(folder) as writer:
        writer.set_review(finding_id, review, note, landmark=landmark)


def add_event(folder: Path, kind: str, data: Mapping[str, Any]) -> None:
    """Add a line to the audit trail of a finished session."""
    with _amend(folder) as writer:
        writer.event(kind, data)


@contextlib.contextmanager
def _amend(folder: Path) -> Iterator[SessionWriter]:
    lock = _claim(folder)
    try:
        with _disk(folder):
            connection = _connect(folder)
            check(connection)
    except BaseException:
        lock.release()
        raise
    writer = SessionWriter(folder, connection, lock)
    try:
        yield writer
        writer.commit()
        writer._leave_wal()
    finally:
        writer._close()
