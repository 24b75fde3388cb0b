"""`findings.json` and `timings.json`: one document per run.

Owns their keys and order. `findings.json` says what was found and holds no timing; `timings.json` says how
fast it went and is never the same twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from endostream.records.codec import plain, rounded
from endostream.records.files import write_json
from endostream.records.quality import quality_indicators
from endostream.records.session import Session
from endostream.types import Finding, FrameCounts, Status

SCHEMA = 1
PACK_KEYS = ("name", "version", "sha256")


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "id": found.id,
        "label": found.label,
        "start_s": found.start,
        "end_s": found.end,
        "peak_s": found.peak.time,
        "peak_confidence": found.peak.confidence,
        "still": found.still,
        "review": found.review,
    }


def _frames(counts: FrameCounts) -> dict[str, int]:
    return {
        "captured": counts.captured,
        "analysed": counts.analysed,
        "dropped": counts.total_dropped,
        "skipped": counts.skipped,
        "pending": counts.pending,
    }


def findings_document(session: Session) -> dict[str, Any]:
    """What `findings.json` holds, as plain values."""
    info, status = session.info, session.status
    document = {
        "schema": SCHEMA,
        "research_use_only": True,
        "phi_mask": info.phi_mask,
        "source": info.source.name,
        "pack": {key: info.pack.get(key, "") for key in PACK_KEYS},
        "settings": plain(info.settings),
        "finish": status.finish,
        "warnings": list(status.warnings),
        "frames": _frames(status.counts),
        "duration_s": status.duration,
        "findings": [_finding(f) for f in session.findings],
        "landmarks": [_finding(f) for f in session.landmarks],
        "blind": [{"start_s": b.start, "end_s": b.end, "reason": b.reason} for b in session.blind],
        "quality_indicators": quality_indicators(session),
    }
    table: dict[str, Any] = rounded(document)
    return table


def write_findings_json(session: Session, path: Path) -> Path:
    """Write what was found; the same bytes for the same session."""
    return write_json(path, findings_document(session))


def write_timings_json(status: Status, path: Path, phi_mask: str = "none") -> Path:
    """Write how fast the run went: percentiles per stage, rates, and drops by cause."""
    table = {
        "schema": SCHEMA,
        "research_use_only": True,
        "phi_mask": phi_mask,
        "fps": status.fps,
        "input_fps": status.input_fps,
        "stages": plain(status.stages),
        "display_fps": status.display_fps,
        "frame_age_ms": plain(status.frame_age_ms),
        "shown_age_ms": plain(status.shown_age_ms),
        "overlay_age_ms": plain(status.overlay_age_ms),
        "recording": plain(status.recording),
        "frames": _frames(status.counts),
        "dropped_by_cause": plain(status.counts.dropped),
        "sinks_failed": plain(status.sinks),
    }
    return write_json(path, rounded(table))
