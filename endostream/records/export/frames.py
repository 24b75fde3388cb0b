"""One line per analysed frame or finding: `frames.jsonl` and the tables.

Owns the keys and their order. Must not know findings' rules or networks.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from endostream.records.codec import rounded
from endostream.records.files import atomic
from endostream.records.session import FrameRow, Session

FRAME_KEYS = (
    "index",
    "pts",
    "time_s",
    "file",
    "label",
    "confidence",
    "raw_label",
    "raw_confidence",
    "visible",
    "reason",
    "segmented",
    "mask_area",
    "mask_bbox",
    "mask_source",
    "mask_time_s",
)
FINDING_KEYS = (
    "kind",
    "id",
    "label",
    "start_s",
    "end_s",
    "peak_s",
    "peak_confidence",
    "still",
    "review",
    "note",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def frame_object(row: FrameRow) -> dict[str, Any]:
    """One line of `frames.jsonl`."""
    values = (
        row.index,
        row.pts,
        row.time,
        row.file,
        row.label,
        row.confidence,
        row.raw_label,
        row.raw_confidence,
        row.visible,
        row.reason,
        row.segmented,
        row.mask_area,
        list(row.mask_bbox) if row.mask_bbox else None,
        row.mask_source,
        row.mask_time,
    )
    return {key: rounded(value) for key, value in zip(FRAME_KEYS, values, strict=True)}


def write_frames_jsonl(session: Session, path: Path) -> Path:
    """Write one JSON object per analysed frame, in the order of time."""
    with atomic(path) as stream:
        for row in session.frames():
            line = json.dumps(frame_object(row), ensure_ascii=False, allow_nan=False)
            stream.write(line.encode("utf-8") + b"\n")
    return path


def write_frames_csv(session: Session, path: Path) -> Path:
    """Write the same as `frames.jsonl` as a table; the box as four numbers in one cell."""
    return _write_csv(path, FRAME_KEYS, (frame_object(row) for row in session.frames()))


def write_findings_csv(session: Session, path: Path) -> Path:
    """Write findings and landmarks as a table."""
    return _write_csv(path, FINDING_KEYS, _finding_rows(session))


def _finding_rows(session: Session) -> Iterator[dict[str, Any]]:
    for kind, found in (("finding", session.findings), ("landmark", session.landmarks)):
        for f in found:
            peak = (f.peak.time, f.peak.confidence)
            values = (kind, f.id, f.label, f.start, f.end, *peak, f.still, f.review, f.note)
            yield {key: rounded(value) for key, value in zip(FINDING_KEYS, values, strict=True)}


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value))
    # A spreadsheet would run a text that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _write_csv(path: Path, keys: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> Path:
    with atomic(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(keys)
        for row in rows:
            table.writerow([_cell(row[key]) for key in keys])
        text.detach()
    return path
