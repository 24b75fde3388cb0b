"""What is known of a clip: where the sought finding is in view, frame by frame or by intervals.

Owns the forms that the truth of a clip may have, and what they say of a frame at an index and a time. Must
not know networks, sessions or figures.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.errors import InputError

__all__ = ["Truth", "beside", "read_mask", "read_truth", "runs"]

BoolArray = NDArray[np.bool_]
TimeArray = NDArray[np.float64]
_SCENERY = ("clear", "blur", "blurred", "stool", "bubbles", "dark", "outside", "covered", "overexposed")
OTHER_WORDS = frozenset(("background", "normal", "none", "no_polyp", "instrument", "flush", *_SCENERY))
"""Words that say that the sought finding is not in view."""
FORMS = "frame,mask[,sequence]; index,label; label,start_s,end_s; a folder of masks {index:06d}.png"


@dataclass(frozen=True, slots=True)
class Truth:
    """Where the sought finding is in view."""

    kind: Literal["masks", "labels", "intervals"]
    """How it was written down."""
    present: Mapping[int, bool] = field(default_factory=dict)
    """Frame index to whether it is in view; frames that are not named are not judged (not for intervals)."""
    masks: Mapping[int, Path] = field(default_factory=dict)
    """Frame index to its mask."""
    sequence: Mapping[int, str] = field(default_factory=dict)
    """Frame index to its scene; a change is a cut."""
    spans: tuple[tuple[float, float], ...] = ()
    """Seconds of stream time, for intervals."""
    synthetic: bool = False
    """True for rendered video, which never stands for patients."""

    def at(self, index: NDArray[np.int64], time: TimeArray) -> tuple[BoolArray, BoolArray]:
        """Two bool[N] for frames at `index` and `time`: in view, and whether that is known."""
        if self.kind == "intervals":
            inside = np.zeros(len(time), bool)
            for start, end in self.spans:
                inside |= (time >= start - 1e-9) & (time < end - 1e-9)
            return inside, np.ones(len(time), bool)
        known = np.array([int(i) in self.present for i in index], bool)
        return np.array([self.present.get(int(i), False) for i in index], bool), known

    def scenes(self, index: NDArray[np.int64]) -> list[str]:
        """The scene of every frame; one name for all where none is written down."""
        return [self.sequence.get(int(i), "") for i in index]


def runs(
    present: BoolArray, scenes: Sequence[str], start: TimeArray, end: TimeArray
) -> tuple[tuple[float, float], ...]:
    """The stretches (start, end) in seconds in which `present` holds within one scene.

    `start` and `end` are the seconds that each frame stands for.
    """
    found = []
    keys = [(bool(p), s) for p, s in zip(present, scenes, strict=True)]
    at = 0
    for (inside, _), members in itertools.groupby(keys):
        length = len(list(members))
        if inside:
            found.append((float(start[at]), float(end[at + length - 1])))
        at += length
    return tuple(found)


def read_mask(path: Path) -> BoolArray:
    """The mask at `path`, bool[H, W]; raises `InputError` when it cannot be read."""
    try:
        data = np.fromfile(path, np.uint8)
        mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    except (OSError, cv2.error):
        mask = None
    if mask is None:
        raise InputError(f"mask {path.name} cannot be read; restore it, or take it out of the truth")
    return np.asarray(mask > 127)


def beside(clip: Path) -> Path | None:
    """The truth that lies beside a clip: `NAME.csv` or the folder `NAME_truth`; None without one."""
    for path in (clip.with_name(f"{clip.stem}.csv"), clip.with_name(f"{clip.stem}_truth")):
        if path.exists():
            return path
    return None


def read_truth(path: Path, label: str, labels: Sequence[str], root: Path | None = None) -> Truth:
    """The truth written at `path`, whatever its form.

    Parameters
    ----------
    path
        A CSV (`frame,mask,...`; `index,label`; `label,start_s,end_s`) or a folder of masks.
    label
        The class that is sought.
    labels
        Every class of the pack: other names are refused, so that a slip of the pen is no polyp-free frame.
    root
        Where paths inside a CSV begin; its own folder and the one above are looked into as well.

    Raises
    ------
    InputError
        The truth cannot be read or does not say what it must; one line with the row.
    """
    if path.is_dir():
        return _folder(path, label, labels)
    rows = list(_rows(path))
    names = set(rows[0][1])
    frame = "frame" if "frame" in names else "index"
    sought = _Sought(path.name, label, labels)
    if {frame, "mask"} <= names:
        return _masks(path, rows, frame, root)
    if {frame, "label"} <= names:
        return Truth("labels", _labels(path, rows, frame, sought))
    if {"label", "start_s", "end_s"} <= names:
        return Truth("intervals", spans=tuple(_spans(path, rows, sought)))
    raise InputError(
        f"{path.name}: columns {', '.join(sorted(names))} are no truth of a clip; known: {FORMS}"
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"no truth {path}; check the path given to --truth") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is no CSV of text; known forms: {FORMS}") from error
    reader = csv.DictReader(text.splitlines())
    found = False
    try:
        for row in reader:
            found = True
            if None in row or None in row.values():
                raise InputError(f"{path.name}, line {reader.line_num}: not as many columns as the header")
            yield reader.line_num, {key.strip(): (value or "").strip() for key, value in row.items()}
    except csv.Error as error:
        raise InputError(f"{path.name} is no CSV ({error}); known forms: {FORMS}") from error
    if not found:
        raise InputError(f"{path.name} holds no row; known forms: {FORMS}")


def _frame(path: Path, line: int, text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"{path.name}, line {line}: frame {text!r} is no number from 0 on; correct it")
    return int(text)


@dataclass(frozen=True, slots=True)
class _Sought:
    """Which written names mean the class that is sought."""

    where: str
    """Name of the file, for messages."""
    label: str
    """The class."""
    labels: Sequence[str]
    """Every class of the pack."""

    def means(self, text: str) -> bool:
        """True for the class itself, in the singular too."""
        return text.lower().rstrip("s") == self.label.lower().rstrip("s")

    def said(self, line: int, text: str) -> bool:
        """True when `text` is the class; raises `InputError` for a name nobody knows."""
        if self.means(text):
            return True
        if text in self.labels or text.lower() in OTHER_WORDS:
            return False
        known = [*self.labels, *sorted(OTHER_WORDS)]
        near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"classes of the pack: {', '.join(self.labels)}"
        raise InputError(f"{self.where}, line {line}: unknown label {text!r}; {hint}")


def _labels(
    path: Path, rows: Sequence[tuple[int, Mapping[str, str]]], frame: str, sought: _Sought
) -> dict[int, bool]:
    present: dict[int, bool] = {}
    for line, row in rows:
        index = _frame(path, line, row[frame])
        if index in present:
            raise InputError(f"{path.name}, line {line}: frame {index} is there twice; keep one row")
        present[index] = sought.said(line, row["label"])
    return present


def _spans(
    path: Path, rows: Sequence[tuple[int, Mapping[str, str]]], sought: _Sought
) -> Iterator[tuple[float, float]]:
    for line, row in sorted(rows, key=lambda item: item[0]):
        inside = sought.said(line, row["label"])
        try:
            start, end = float(row["start_s"]), float(row["end_s"])
        except ValueError as error:
            raise InputError(f"{path.name}, line {line}: start_s and end_s must be seconds") from error
        if not (0.0 <= start < end < float("inf")):
            raise InputError(f"{path.name}, line {line}: the interval must end after it starts, from 0 s on")
        if inside:
            yield start, end


def _masks(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]], frame: str, root: Path | None) -> Truth:
    bases = [b for b in (root, path.parent, path.parent.parent) if b is not None]
    present: dict[int, bool] = {}
    masks: dict[int, Path] = {}
    sequence: dict[int, str] = {}
    for line, row in rows:
        index = _frame(path, line, row[frame])
        if index in present:
            raise InputError(f"{path.name}, line {line}: frame {index} is there twice; keep one row")
        sequence[index] = row.get("sequence", "")
        present[index] = False
        if row["mask"]:
            file = next((b / row["mask"] for b in bases if (b / row["mask"]).is_file()), None)
            if file is None:
                raise InputError(
                    f"{path.name}, line {line}: no mask {row['mask']}; name with --truth-root the folder in "
                    "which its path begins"
                )
            masks[index], present[index] = file, bool(read_mask(file).any())
    return Truth("masks", present, masks, sequence)


def _folder(path: Path, label: str, labels: Sequence[str]) -> Truth:
    inner = path / "masks" if (path / "masks").is_dir() else path
    masks = {int(p.stem): p for p in sorted(inner.glob("*.png")) if p.stem.isdecimal()}
    if not masks:
        raise InputError(f"{path.name} holds no mask named like 000000.png; known forms: {FORMS}")
    present = {index: bool(read_mask(file).any()) for index, file in masks.items()}
    about = path / "truth.json"
    if not about.is_file():
        return Truth("masks", present, masks)
    try:
        table = json.loads(about.read_text(encoding="utf-8"))
        rate = float(table["fps"])
        sought = _Sought(about.name, label, labels)
        spans = [(float(i["start"]), float(i["end"])) for i in table["intervals"] if sought.means(i["label"])]
        synthetic = bool(table.get("synthetic", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name}/truth.json cannot be read; write the truth again") from error
    # A sliver of a polyp outside the written intervals is neither a polyp in view nor a polyp-free frame.
    inside = {i for i in masks if any(round(a * rate) <= i < round(b * rate) for a, b in spans)}
    judged = {i: i in inside for i in masks if i in inside or not present[i]}
    return Truth("masks", judged, masks, synthetic=synthetic)
