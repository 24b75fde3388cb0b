"""Writing files whole or not at all, and knowing which files of a folder belong to a session.

Owns the list of a session's files. Must not know what is in them.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from endostream.errors import RunError

DATABASE = "session.db"
PROSE = "prose.json"
OWNED_FILES = (
    DATABASE,
    f"{DATABASE}-wal",
    f"{DATABASE}-shm",
    f"{DATABASE}-journal",
    "frames.jsonl",
    "frames.csv",
    "findings.json",
    "findings.csv",
    "timings.json",
    "report.md",
    "report.html",
    "report.pdf",
    "published.json",
    "annotated.mp4",
    "recording.mkv",
    "recording.jsonl",
    "replay.json",
    PROSE,
)
"""Files that a session writes beside its folders of pictures."""

OWNED_PARTS = re.compile(r"recording-\d{3,}\.mkv")
"""Names of a recording's further files."""

OWNED_IN_FOLDERS = {
    "stills": re.compile(r".+\.(png|jpe?g)", re.IGNORECASE),
    "masks": re.compile(r"\d{6,}\.png"),
    "heatmaps": re.compile(r"\d{6,}\.npy"),
}
"""Folders of a session, and the names of the files in them that a session writes."""

_MARKS = (DATABASE, "frames.jsonl", "findings.json")


def part_name(number: int) -> str:
    """The name of the file `number` (from 1) of a recording."""
    return "recording.mkv" if number == 1 else f"recording-{number:03d}.mkv"


def free_part(folder: Path) -> int:
    """The number of the next file of a recording: after all that are there, so that none is written twice."""
    taken = [1] if (folder / part_name(1)).exists() else []
    for file in folder.iterdir():
        if OWNED_PARTS.fullmatch(file.name):
            taken.append(int(file.stem.rpartition("-")[2]))
    return max(taken, default=0) + 1


def holds_session(folder: Path) -> bool:
    """True when `folder` holds what a session leaves behind."""
    return any((folder / name).exists() for name in _MARKS)


def remove_session(folder: Path) -> None:
    """Delete the files that a session owns in `folder`; anything else stays where it is."""
    for name in OWNED_FILES:
        (folder / name).unlink(missing_ok=True)
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if OWNED_PARTS.fullmatch(file.name) and (file.is_symlink() or file.is_file()):
            file.unlink()
    for name, pattern in OWNED_IN_FOLDERS.items():
        inner = folder / name
        if inner.is_symlink():
            inner.unlink()
        elif inner.is_dir():
            for file in sorted(inner.iterdir()):
                if pattern.fullmatch(file.name) and (file.is_symlink() or file.is_file()):
                    file.unlink()
            if not any(inner.iterdir()):
                inner.rmdir()


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream that becomes `path` when the block ends well, and nothing when it does not.

    Raises `RunError` in one line when the disk is full or the folder cannot be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(
            f"cannot write {path.name}: {reason}; free some space or choose another folder"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8 with plain newlines, whole or not at all."""
    with atomic(path) as stream:
        stream.write(text.encode("utf-8"))
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON in the order of its keys, whole or not at all."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def inside(folder: Path, relative: str) -> Path | None:
    """The file `relative` of `folder`, or None when it is missing or lies outside."""
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
