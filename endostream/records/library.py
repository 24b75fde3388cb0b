"""The sessions in a folder of sessions: a scan each time, because the folders are the truth.

Owns the overview. Must not keep anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from endostream.errors import InputError
from endostream.records.files import DATABASE
from endostream.records.session import Session
from endostream.resources import user_data


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One line of the list of sessions."""

    name: str
    """Name of the folder."""
    folder: Path
    """Where it lies."""
    started: float
    """Wall clock in seconds; 0 when unknown."""
    source: str
    """Base name of the source."""
    pack: str
    """Name and version of the pack."""
    exam: str
    """Exam context."""
    state: str
    """`running`, or how the run ended."""
    duration_s: float
    """Stream time in seconds."""
    analysed: int
    """Stored frames."""
    findings: int
    """Findings that were not rejected."""
    landmarks: int
    """Landmarks that were not rejected."""
    error: str | None = None
    """Why it cannot be read, in one line."""


def summarise(folder: Path) -> SessionSummary:
    """The summary of the session in `folder`; one that cannot be read says why in `error`."""
    try:
        session = Session.open(folder)
    except InputError as error:
        return SessionSummary(folder.name, folder, 0.0, "", "", "", "unreadable", 0.0, 0, 0, 0, str(error))
    info = session.info
    return SessionSummary(
        name=folder.name,
        folder=folder,
        started=info.started,
        source=info.source.name,
        pack=" ".join(filter(None, (info.pack.get("name"), info.pack.get("version")))),
        exam=info.exam,
        state="running" if session.live else (session.status.finish or "failed"),
        duration_s=session.status.duration,
        analysed=session.analysed,
        findings=sum(f.review != "rejected" for f in session.findings),
        landmarks=sum(f.review != "rejected" for f in session.landmarks),
    )


def list_sessions(root: Path | None = None) -> tuple[SessionSummary, ...]:
    """The sessions directly under `root` (the user's own by default), oldest first, then by name."""
    base = user_data("sessions") if root is None else root
    if not base.is_dir():
        return ()
    try:
        folders = [path for path in base.iterdir() if (path / DATABASE).is_file()]
    except OSError as error:
        raise InputError(f"cannot list {base} ({error.strerror}); name another folder") from error
    return tuple(sorted((summarise(path) for path in folders), key=lambda s: (s.started, s.name)))
