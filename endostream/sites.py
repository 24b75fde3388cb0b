"""Site overrides: thresholds that a site measured for itself on its own clips, one TOML file per pack.

Owns the file's format and its place in the user's configuration folder. Must not know packs, networks or how
the figures were measured; whether a file belongs to a pack is decided where packs are found.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from endostream.errors import InputError, RunError
from endostream.resources import user_config

SCHEMA = 1
KEYS = ("open", "close", "minimum_s", "merge_s")
"""Thresholds that a site may move."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a site measured for one pack."""

    pack: str
    """Name of the pack."""
    version: str
    """Version of the pack it was measured with."""
    sha256: str
    """Checksum of the pack it was measured with: it holds for no other weights."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Values that replace the pack's, for every label."""
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Label to values that replace the pack's for that label alone."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What it was measured on: counts, minutes, base names of clips."""
    command: str = ""
    """The command that made it, base names only."""


def _nameable(pack: str) -> bool:
    return Path(pack).name == pack and pack not in ("", ".", "..")


def site_file(pack: str) -> Path:
    """Where the overrides of the pack named `pack` lie, whether or not there are any.

    Raises `InputError` for a name that cannot be a file name.
    """
    if not _nameable(pack):
        raise InputError(f"pack name {pack!r} is no file name; rename the pack in its pack.toml")
    return user_config("sites", f"{pack}.toml")


def _values(table: Any, where: str) -> dict[str, float]:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} is no table")
    found: dict[str, float] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise ValueError(f"unknown key {key!r} in {where}; one of {', '.join(KEYS)}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0.0:
            raise ValueError(f"{where}: {key} must be a number of at least 0")
        if key in ("open", "close") and value > 1.0:
            raise ValueError(f"{where}: {key} must be at most 1")
        found[key] = float(value)
    return found


def read_site(pack: str) -> Site | None:
    """The overrides written for the pack named `pack`, or None when there are none.

    Raises `InputError` in one line, without the folder, for a file that cannot be used.
    """
    if not _nameable(pack):
        return None
    file = site_file(pack)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        if table.get("schema") != SCHEMA:
            raise ValueError(f"schema {table.get('schema')!r} is not {SCHEMA}")
        thresholds = dict(table["thresholds"])
        labels = thresholds.pop("labels", {})
        return Site(
            pack=str(table["pack"]),
            version=str(table["version"]),
            sha256=str(table["sha256"]),
            thresholds=_values(thresholds, "[thresholds]"),
            labels={k: _values(v, f"[thresholds.labels.{k}]") for k, v in labels.items()},
            measured=dict(table.get("measured", {})),
            command=str(table.get("command", "")),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except KeyError as error:
        reason = f"key {error} is missing"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
    raise InputError(
        f"site overrides sites/{pack}.toml cannot be used ({reason}): the pack's own thresholds stand; "
        "measure again with --save-advice, or delete the file"
    )


def write_site(site: Site) -> Path:
    """Write the overrides, whole or not at all; the file.

    Raises `RunError` when the configuration folder cannot be written.
    """
    file = site_file(site.pack)
    table = {
        "schema": SCHEMA,
        "pack": site.pack,
        "version": site.version,
        "sha256": site.sha256,
        "command": site.command,
        "thresholds": {**site.thresholds, **({"labels": dict(site.labels)} if site.labels else {})},
        "measured": dict(site.measured),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{site.pack}-", suffix=".toml", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                tomli_w.dump(table, stream)
            os.replace(name, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise RunError(
            f"cannot write {file} ({error.strerror}); free that folder or set ENDOSTREAM_CONFIG to another"
        ) from error
    return file
