"""`recording.jsonl`: what became of every frame of a recording, one JSON object per line, whole lines only.

Owns the spelling of the lines, writing and reading them. Must not know threads, containers or networks.
A line is on its way to the disk when `write` returns, so the death of the process loses none of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from endostream.errors import InputError, RunError
from endostream.records import codec
from endostream.records.lock import try_lock
from endostream.types import SignalState

SIDECAR = "recording.jsonl"
LOCKED_BYTE = 0x7FFF_0000
"""Where the lock lies: behind a day of lines, for systems that refuse reading a locked byte; the C library of
Windows locks nothing past 2 GB."""

PartMode = Literal["copy", "encode", "lossless"]
ScoreArray = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the recording begins."""

    number: int
    """Counted from 1 in the folder."""
    file: str
    """Its name in the session folder."""
    epoch: int
    """Epoch of all its frames."""
    codec: str
    """libav's name of what is in it."""
    width: int
    """Width of its pictures in pixels."""
    height: int
    """Height of its pictures in pixels."""
    time_base: Fraction
    """Seconds per unit of the source's pts."""
    mode: PartMode
    """Packets as they came, or pictures encoded anew with masks and deinterlacing applied."""
    phi_mask: str
    """Name of the tower profile that masks patient text, or `none`."""
    wall: float
    """Wall clock in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameLine:
    """One captured frame and what became of it."""

    index: int
    """Delivered frames of the source counted from 0."""
    epoch: int
    """Raised by a reconnect or a jump of the time stamps."""
    pts: int | None
    """The source's own time stamp in `time_base` units."""
    time_base: Fraction
    """Seconds per pts unit."""
    time: float
    """Stream time in seconds, to the last bit."""
    wall: float
    """Wall clock in seconds when it was captured."""
    fate: str
    """`analysed`, or why it was not: `busy`, `late`, `epoch`, `failed`, `stopped`, `skipped`."""
    label: str | None = None
    """The acting label after smoothing, when it was analysed by a pack with a classifier."""
    scores: ScoreArray | None = None
    """float16[C], smoothed probabilities of the acting classifier."""
    raw: ScoreArray | None = None
    """float16[C], probabilities of this frame alone."""


@dataclass(frozen=True, slots=True)
class SignalLine:
    """The picture was lost, froze, or came back."""

    state: SignalState
    """`good`, `lost` or `frozen`."""
    time: float
    """Stream time in seconds."""
    wall: float
    """Wall clock in seconds."""
    detail: str = ""
    """Why, or what the picture is now."""


@dataclass(frozen=True, slots=True)
class LostLine:
    """Pictures that the recorder could not keep."""

    pictures: int
    """How many, since the line before."""
    wall: float
    """Wall clock in seconds."""


@dataclass(frozen=True, slots=True)
class EndLine:
    """The recording was stopped; another one may follow in the same folder."""

    wall: float
    """Wall clock in seconds."""
    reason: str = ""
    """Why it stopped by itself; empty when it was told to."""


Line = Part | FrameLine | SignalLine | LostLine | EndLine


@dataclass(frozen=True, slots=True, eq=False)
class Sidecar:
    """What a sidecar held when it was read."""

    path: Path
    """The file."""
    parts: tuple[Part, ...]
    """Files of the recording, in the order in which they begin."""
    frames: tuple[FrameLine, ...]
    """By index."""
    signals: tuple[SignalLine, ...]
    """In the order in which they were written."""
    losses: tuple[LostLine, ...]
    """In the order in which they were written."""
    ends: tuple[EndLine, ...]
    """In the order in which they were written."""
    damaged: int
    """Lines that could not be read: the last one, where a crash or a full disk cut it short."""
    finished: bool
    """True when the last line that could be read says that the recording was stopped."""


class SidecarWriter:
    """Appends lines to the sidecar of one folder; no other process can write it meanwhile.

    Parameters
    ----------
    path
        The file; lines that it holds already stay.

    Raises
    ------
    InputError
        Another process writes it.
    RunError
        It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._handle = os.open(path, flags, 0o644)
            if not try_lock(self._handle, LOCKED_BYTE):
                raise InputError(
                    f"{path.name} in {path.parent} is being written by another process: "
                    "wait until it ends or choose another folder"
                )
            self._end_cut_line()
        except OSError as error:
            self.close()
            raise self._failure(error) from error
        except BaseException:
            self.close()
            raise

    def _end_cut_line(self) -> None:
        """A line that a crash cut short must not swallow the next one."""
        size = os.fstat(self._handle).st_size
        if size:
            os.lseek(self._handle, size - 1, os.SEEK_SET)
            if os.read(self._handle, 1) != b"\n":
                os.write(self._handle, b"\n")

    def write(self, *lines: Line) -> None:
        """Append whole lines with one call to the system; raises `RunError` in one line when it cannot."""
        if self._handle < 0:
            raise RunError(f"{self._path.name} is closed; start a new recording")
        data = b"".join(encode_line(line) for line in lines)
        before = -1
        try:
            before = os.fstat(self._handle).st_size
            if os.write(self._handle, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if before >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._handle, before)
            raise self._failure(error) from error

    def close(self) -> None:
        """Give the file back; calling it twice is harmless."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _failure(self, error: OSError) -> RunError:
        if error.errno == errno.ENOSPC:
            return RunError(f"disk full while writing {self._path.name}; free some space and record again")
        reason = error.strerror or str(error)
        return RunError(f"cannot write {self._path.name}: {reason}; choose another folder")


def _scores(values: NDArray[Any]) -> list[float]:
    # Five digits tell every float16 apart (a test tries all of them) and make half as long a line.
    return [float(f"{v:.5g}") for v in values.astype(np.float16).tolist()]


def _base(value: Fraction) -> list[int]:
    return [value.numerator, value.denominator]


def _table(line: Line) -> dict[str, Any]:
    if isinstance(line, FrameLine):
        table: dict[str, Any] = {
            "kind": "frame",
            "index": line.index,
            "epoch": line.epoch,
            "pts": line.pts,
            "time_base": _base(line.time_base),
            "time_s": line.time,
            "wall": line.wall,
            "fate": line.fate,
        }
        if line.label is not None:
            table["label"] = codec.clean(line.label)
        for name, values in (("scores", line.scores), ("raw", line.raw)):
            if values is not None:
                table[name] = _scores(values)
        return table
    if isinstance(line, Part):
        return {
            "kind": "part",
            "part": line.number,
            "file": line.file,
            "epoch": line.epoch,
            "codec": line.codec,
            "width": line.width,
            "height": line.height,
            "time_base": _base(line.time_base),
            "mode": line.mode,
            "phi_mask": codec.clean(line.phi_mask),
            "wall": line.wall,
        }
    if isinstance(line, SignalLine):
        detail = codec.clean(line.detail)
        return {
            "kind": "signal",
            "state": line.state,
            "time_s": line.time,
            "wall": line.wall,
            "detail": detail,
        }
    if isinstance(line, LostLine):
        return {"kind": "lost", "pictures": line.pictures, "wall": line.wall}
    return {"kind": "end", "wall": line.wall, "reason": codec.clean(line.reason)}


def encode_line(line: Line) -> bytes:
    """`line` as the bytes of one line, the newline included."""
    return json.dumps(_table(line), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a whole number is expected")
    return value


def _fraction(value: Any) -> Fraction:
    return Fraction(_whole(value[0]), _whole(value[1]))


def _array(values: Any) -> ScoreArray | None:
    if values is None:
        return None
    array = np.asarray(values, np.float64).astype(np.float16)
    array.flags.writeable = False
    return array


def _read_frame(table: Mapping[str, Any]) -> FrameLine:
    pts = table["pts"]
    return FrameLine(
        index=_whole(table["index"]),
        epoch=_whole(table["epoch"]),
        pts=None if pts is None else _whole(pts),
        time_base=_fraction(table["time_base"]),
        time=float(table["time_s"]),
        wall=float(table["wall"]),
        fate=str(table["fate"]),
        label=table.get("label"),
        scores=_array(table.get("scores")),
        raw=_array(table.get("raw")),
    )


def _read_part(table: Mapping[str, Any]) -> Part:
    name, mode = str(table["file"]), table["mode"]
    # A name that leads out of the folder is not one that a recorder wrote.
    if not name or Path(name).name != name or mode not in get_args(PartMode):
        raise ValueError("not a part")
    return Part(
        number=_whole(table["part"]),
        file=name,
        epoch=_whole(table["epoch"]),
        codec=str(table["codec"]),
        width=_whole(table["width"]),
        height=_whole(table["height"]),
        time_base=_fraction(table["time_base"]),
        mode=mode,
        phi_mask=str(table["phi_mask"]),
        wall=float(table["wall"]),
    )


def _read_signal(table: Mapping[str, Any]) -> SignalLine:
    if table["state"] not in get_args(SignalState):
        raise ValueError("not a state of the signal")
    detail = str(table.get("detail", ""))
    return SignalLine(table["state"], float(table["time_s"]), float(table["wall"]), detail)


def _read_lost(table: Mapping[str, Any]) -> LostLine:
    return LostLine(_whole(table["pictures"]), float(table["wall"]))


def _read_end(table: Mapping[str, Any]) -> EndLine:
    return EndLine(float(table["wall"]), str(table.get("reason", "")))


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Line]]] = {
    "part": _read_part,
    "frame": _read_frame,
    "signal": _read_signal,
    "lost": _read_lost,
    "end": _read_end,
}


def decode_line(data: bytes) -> Line | None:
    """The line that `encode_line` spelled; None for a kind that is not known here.

    Raises `ValueError` for anything else.
    """
    try:
        table = json.loads(data)
        read = _READERS.get(table["kind"])
        return None if read is None else read(table)
    except (KeyError, TypeError, IndexError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a line of a sidecar: {error}") from error


def read_sidecar(path: Path) -> Sidecar:
    """What `path` holds; also while it is being written, and after a crash.

    Raises `InputError` in one line when the file is missing or is no sidecar.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"no recording beside {path} ({error.strerror}); name a session that was recorded"
        ) from error
    lines, damaged = list[Line](), 0
    for text in data.split(b"\n"):
        if not text:
            continue
        try:
            line = decode_line(text)
        except ValueError:
            damaged += 1
            continue
        if line is not None:
            lines.append(line)
    if not lines:
        raise InputError(f"{path} is not the sidecar of a recording; name a session that was recorded")
    frames = sorted((x for x in lines if isinstance(x, FrameLine)), key=lambda frame: frame.index)
    return Sidecar(
        path=Path(path),
        parts=tuple(x for x in lines if isinstance(x, Part)),
        frames=tuple(frames),
        signals=tuple(x for x in lines if isinstance(x, SignalLine)),
        losses=tuple(x for x in lines if isinstance(x, LostLine)),
        ends=tuple(x for x in lines if isinstance(x, EndLine)),
        damaged=damaged,
        finished=isinstance(lines[-1], EndLine),
    )
