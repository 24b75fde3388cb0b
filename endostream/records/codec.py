"""Frozen values to plain JSON and back.

Owns how `RunInfo` and `Status` are spelled in a session. Must not know SQL or files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from endostream.types import FrameCounts, Recording, RunInfo, SourceInfo, Status


def plain(value: Any) -> Any:
    """`value` as dicts, lists, texts and numbers only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [plain(item) for item in items]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return clean(str(value))


def clean(text: str) -> str:
    """`text` without the half characters that a file name in an odd encoding brings, so that it can be
    written.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def dumps(value: Any) -> str:
    """`value` as compact JSON."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def _known(kind: type[Any], table: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(kind)}
    return {key: value for key, value in table.items() if key in names}


def run_info(text: str) -> RunInfo:
    """The `RunInfo` that `dumps` wrote."""
    table = json.loads(text)
    values = _known(RunInfo, table)
    values["source"] = SourceInfo(**_known(SourceInfo, table["source"]))
    values["labels"] = tuple(table["labels"])
    return RunInfo(**values)


def status(text: str) -> Status:
    """The `Status` that `dumps` wrote."""
    table = json.loads(text)
    values = _known(Status, table)
    values["counts"] = FrameCounts(**_known(FrameCounts, table.get("counts", {})))
    values["warnings"] = tuple(table.get("warnings", ()))
    if table.get("recording"):
        values["recording"] = Recording(**_known(Recording, table["recording"]))
    return Status(**values)


def rounded(value: Any) -> Any:
    """`value` with every float rounded to 6 digits; numbers that are not finite become null."""
    if isinstance(value, float):
        return round(value, 6) + 0.0 if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
