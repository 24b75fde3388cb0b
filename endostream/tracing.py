"""What every thread does when: a trace that ui.perfetto.dev and chrome://tracing open.

Owns one trace file at a time, in the Trace Event Format (JSON array format, one event a line), and the clock
of its events. Must not know what is traced. While no trace is written a call costs one look at a global.

Source of the format: "Trace Event Format", the Chromium project.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from endostream.errors import InputError

__all__ = ["add", "count", "hold", "release", "stages", "start", "stop"]

BUFFER = 1 << 18
"""Characters kept before the disk is asked: about 2,000 events, a few seconds of a busy run."""
Value = str | int | float


class _Trace:
    """One trace file; every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._lock = threading.Lock()
        self._zero = time.perf_counter()
        self._threads: dict[int, int] = {}
        self._line = "[\n"
        self._parts: list[str] = []
        self._size = 0
        self.failure: str | None = None
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}; choose another place") from error
        self._write({"name": "process_name", "ph": "M", "pid": os.getpid(), "args": {"name": "endostream"}})

    def add(self, name: str, start: float, end: float, args: Mapping[str, Value]) -> None:
        with self._lock:
            event = {"name": name, "ph": "X", "pid": os.getpid(), "tid": self._thread()}
            times = {"ts": self._us(start), "dur": round(max(0.0, end - start) * 1e6, 1)}
            self._write({**event, **times, "args": dict(args)})

    def count(self, name: str, values: Mapping[str, Value]) -> None:
        with self._lock:
            now = self._us(time.perf_counter())
            self._write({"name": name, "ph": "C", "pid": os.getpid(), "ts": now, "args": dict(values)})

    def _us(self, seconds: float) -> float:
        return round((seconds - self._zero) * 1e6, 1)

    def _thread(self) -> int:
        """A small number for the calling thread; its name is written when it is first seen."""
        ident = threading.get_ident()
        if ident not in self._threads:
            self._threads[ident] = number = len(self._threads) + 1
            named = {"name": threading.current_thread().name}
            self._write({"name": "thread_name", "ph": "M", "pid": os.getpid(), "tid": number, "args": named})
        return self._threads[ident]

    def _write(self, event: Mapping[str, object]) -> None:
        if self.failure is not None:
            return
        text = self._line + json.dumps(event, separators=(",", ":"))
        self._line = ",\n"
        self._parts.append(text)
        self._size += len(text)
        if self._size >= BUFFER:
            self._flush()

    def _flush(self) -> None:
        text, self._parts, self._size = "".join(self._parts), [], 0
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = self.failure or (
            f"trace {self._name} is cut off: {error.strerror}; free some space and run again"
        )

    def close(self) -> None:
        with self._lock:
            if self.failure is None:
                self._parts.append("\n]\n")
                self._flush()
            try:
                self._file.close()
            except OSError as error:
                self._fail(error)
            self._parts.clear()


_open: _Trace | None = None
_active: _Trace | None = None
"""Where events go; None while there is no trace or it is held."""


def start(path: str | Path, *, held: bool = False) -> None:
    """Begin a trace in the file `path`, which is replaced.

    Parameters
    ----------
    path
        The file; its folder must be there.
    held
        Keep nothing until `release`.

    Raises
    ------
    InputError
        The file cannot be written, or another trace is being written; one line says what to do.
    """
    global _open
    if _open is not None:
        raise InputError("another trace is being written; wait until it is done")
    _open = _Trace(Path(path))
    if not held:
        release()


def stop() -> str | None:
    """End the trace and close its file; what went wrong while it was written, in one line, or None.

    Safe to call when there is no trace. A file that was not ended (a crash) can still be opened: the format
    does not need its last bracket.
    """
    global _open, _active
    trace, _open, _active = _open, None, None
    if trace is None:
        return None
    trace.close()
    return trace.failure


def hold() -> None:
    """Keep no events until `release`."""
    global _active
    _active = None


def release() -> None:
    """Keep events from now on, where there is a trace."""
    global _active
    _active = _open


def add(name: str, start: float, end: float, **args: Value) -> None:
    """Something the calling thread did from `start` to `end`, both `time.perf_counter()` in seconds."""
    trace = _active
    if trace is not None:
        trace.add(name, start, end, args)


def stages(took: Mapping[str, float], **args: Value) -> None:
    """Stages the calling thread has just done one after the other, the last until now, in seconds each."""
    trace = _active
    if trace is None:
        return
    begin = time.perf_counter() - sum(took.values())
    for name, seconds in took.items():
        trace.add(name, begin, begin + seconds, args)
        begin += seconds


def count(name: str, **values: Value) -> None:
    """How many there are of something now, drawn as a curve."""
    trace = _active
    if trace is not None:
        trace.count(name, values)
