"""One writer per session folder: an advisory lock file that names the process holding it.

Owns `session.lock`. Must not know what is written.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from endostream.errors import InputError

LOCK = "session.lock"
LOCKED_BYTE = 1 << 20

if sys.platform == "win32":
    import msvcrt

    def try_lock(handle: int, at: int = LOCKED_BYTE) -> bool:
        """True when the open file is ours alone now; `at` is the byte that is locked."""
        os.lseek(handle, at, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def try_lock(handle: int, at: int = LOCKED_BYTE) -> bool:
        """True when the open file is ours alone now; here the whole file is locked, `at` says nothing."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class FolderLock:
    """The right to write into one session folder; given up by `release` or by the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of `folder`.

        Raises `InputError` when another writer holds it, or `OSError` when the folder cannot be written.
        """
        self._path = folder / LOCK
        self._handle = self._take()
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    def _take(self) -> int:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            if not try_lock(handle):
                os.lseek(handle, 0, os.SEEK_SET)
                owner = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(handle)
                raise InputError(
                    f"session folder {self._path.parent} is being written by process {owner}: "
                    "wait until it ends or choose another folder"
                )
            # The owner before us may have removed the file between our open and our lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(self._path)):
                    return handle
            os.close(handle)

    def release(self) -> None:
        """Give the lock up; calling it twice is harmless."""
        if self._handle < 0:
            return
        handle, self._handle = self._handle, -1
        if sys.platform == "win32":
            os.close(handle)
            with contextlib.suppress(PermissionError):  # the next writer may hold it already
                self._path.unlink(missing_ok=True)
        else:
            self._path.unlink(missing_ok=True)
            os.close(handle)


def is_being_written(folder: Path) -> bool:
    """True while a writer holds the lock of `folder`."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)
