"""Exporters: a session goes in, a file comes out, whole or not at all, the same bytes every time.

Owns the formats of the result files. None of `frames.jsonl`, `findings.json` and the tables holds a date, a
session id, an absolute path or a timing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from endostream.errors import InputError
from endostream.records.export.documents import findings_document, write_findings_json, write_timings_json
from endostream.records.export.frames import write_findings_csv, write_frames_csv, write_frames_jsonl
from endostream.records.quality import quality_indicators
from endostream.records.session import Session

__all__ = [
    "EXPORTERS",
    "export",
    "findings_document",
    "quality_indicators",
    "write_findings_csv",
    "write_findings_json",
    "write_frames_csv",
    "write_frames_jsonl",
    "write_timings_json",
]

EXPORTERS: Mapping[str, tuple[tuple[str, Callable[[Session, Path], Path]], ...]] = {
    "jsonl": (("frames.jsonl", write_frames_jsonl),),
    "json": (("findings.json", write_findings_json),),
    "csv": (("frames.csv", write_frames_csv), ("findings.csv", write_findings_csv)),
}
"""Format name to the files it makes."""


def export(session: Session, name: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Write `session` in the format `name` into `folder` (its own by default); the files made.

    Raises `InputError` for an unknown format.
    """
    if name not in EXPORTERS:
        raise InputError(f"unknown format {name!r}; one of {', '.join(EXPORTERS)}")
    base = session.folder if folder is None else folder
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write into {base} ({error.strerror}); choose another folder") from error
    return tuple(write(session, base / file) for file, write in EXPORTERS[name])
