"""The comparison as people read it: one line per finding, then the figures behind it.

Owns the words. Must not know how the comparison was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from endostream.vocabulary import NOTICE

_SAID = {
    "identical": "live equals replay: the same findings, to the last digit",
    "within one frame": "live equals replay: the same findings, their ends within one frame",
    "within 0.2 s": "the same findings as a recording with loss allows: ends within 0.2 s",
    "different": "the findings DIFFER",
}


def as_text(document: Mapping[str, Any]) -> str:
    """What `replay.json` holds as a short table."""
    rows: list[tuple[str, ...]] = [("", "live", "replay", "start", "end", "frames")]
    for kind in ("findings", "landmarks"):
        rows += _rows(document[kind])
    if len(rows) == 1:
        lines = ["no findings, neither live nor in the replay"]
    else:
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    frames, seen = document["frames"], document["probabilities"]
    missing = "stopped early"
    if frames["missing"] is not None:
        missing = f"{frames['missing']} missing in the recording"
    every = ", every picture" if document["every_frame"] else ""
    lines += [
        f"frames: {frames['listed']} listed, {frames['replayed']} replayed{every}, {missing}",
        f"probabilities: {seen['frames_apart']} of {seen['frames_compared']} frames differ, "
        f"at most by {seen['largest_difference']:.4f}",
        _SAID[document["verdict"]],
        NOTICE,
    ]
    return "\n".join(lines)


def _rows(matches: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[float, tuple[str, ...]]] = []
    for pair in matches["both"]:
        frames = max(pair["start_apart_frames"], pair["end_apart_frames"])
        apart = (f"{pair['start_apart_s']:+.3f} s", f"{pair['end_apart_s']:+.3f} s", f"{frames:.1f}")
        row = (pair["label"], _span(pair["live"]), _span(pair["replay"]), *apart)
        rows.append((pair["live"]["start_s"], row))
    for found in matches["only_live"]:
        rows.append((found["start_s"], (found["label"], _span(found), "-", "", "", "")))
    for found in matches["only_replay"]:
        rows.append((found["start_s"], (found["label"], "-", _span(found), "", "", "")))
    return [row for _, row in sorted(rows, key=lambda item: item[0])]


def _span(found: Mapping[str, Any]) -> str:
    end = "open" if found["end_s"] is None else f"{found['end_s']:.2f} s"
    return f"{found['start_s']:.2f} s to {end}"
