"""Compiled networks on disk, so that a second start needs neither torch nor compiling.

Owns the files, their checksums and their replacement. Must not know OpenVINO or networks: a compiled
network is bytes here.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["key_of", "read_blob", "write_blob"]

_MAGIC = b"endostream-blob-1\n"
_DIGEST = hashlib.sha256().digest_size


def key_of(parts: Iterable[object]) -> str:
    """A short name for everything a compiled network depends on."""
    return hashlib.sha256("\n".join(str(p) for p in parts).encode()).hexdigest()[:20]


def read_blob(path: Path) -> bytes | None:
    """What `write_blob` stored, or None when the file is absent, damaged or cannot be read."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST
    blob = content[start:]
    whole = content.startswith(_MAGIC) and hashlib.sha256(blob).digest() == content[len(_MAGIC) : start]
    return blob if whole and blob else None


def write_blob(path: Path, blob: bytes) -> str | None:
    """Store a compiled network in place of older ones of its kind (same name before the last dash).

    Gives None, or why it could not be stored.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(_MAGIC + hashlib.sha256(blob).digest())
                stream.write(blob)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        return error.strerror or str(error)
    kind = path.stem.rpartition("-")[0]
    for old in path.parent.glob(f"{kind}-*{path.suffix}"):
        if old != path and old.stem.rpartition("-")[0] == kind:
            # Another program may hold it open; it goes at the next change.
            with suppress(OSError):
                old.unlink()
    return None
