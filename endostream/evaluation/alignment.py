"""Class probabilities and their truth, row by row: the two tables of the Capsule Vision 2024 format.

Owns what the columns mean, which rows are wrong, and which row belongs to which. It must not know how figures
are defined or drawn.

Format: predictions have `image_path`, one column of probabilities per class, and may have `Dataset` and
`predicted_class`. The truth has `image_path` and either `class_label` or one column of 0 and 1 per class.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from endostream.errors import InputError
from endostream.evaluation.tables import BadRows, Cell, Row, Sheet, short, word

__all__ = ["PATH", "Aligned", "align"]

PATH = "image_path"
TRUTH = "class_label"
SOURCE = "Dataset"
CHOSEN = "predicted_class"
SUM_TOLERANCE = 1e-2
EDGE = 1e-6
"""How far a probability may lie outside 0…1: rounding of single precision, not a mistake."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Probabilities and truth of the same pictures, in the order of the truth."""

    labels: tuple[str, ...]
    """Classes, in the order of the columns of `probabilities`."""
    probabilities: NDArray[np.float64]
    """float[N, C] in 0…1."""
    truth: NDArray[np.int64]
    """int[N], index of each picture's class."""
    sources: tuple[str, ...]
    """`Dataset` of each picture; empty when neither table has it."""
    matched_by: str
    """`file name`, or `path` where file names repeat."""
    warnings: tuple[str, ...]
    """What is odd and was accepted."""


def align(predictions: Sheet, truth: Sheet, labels: tuple[str, ...] | None = None) -> Aligned:
    """Bring two tables together; `labels` are the classes where the tables themselves do not settle them.

    Raises
    ------
    InputError
        A column or a row is missing, unknown, double or not a probability; it names file, row and picture.
    """
    wanted, classes = _classes(predictions, truth, labels)
    true = _true(truth, wanted, classes, predictions)
    by_name = _unique(_name(path) for path in _paths(truth))
    keys = [_name(path) if by_name else path for path in _paths(truth)]
    _no_doubles(truth, keys)
    values = _probabilities(predictions, wanted)
    given = [_name(path) if by_name else path for path in _paths(predictions)]
    _no_doubles(predictions, given)
    place = _places(predictions, given, truth, keys)
    order = [place[key] for key in keys]
    values = values[order]
    sums = _sums(predictions, values, order)
    return Aligned(
        wanted,
        np.clip(values, 0, 1),
        true,
        _sources(truth, None) or _sources(predictions, order),
        "file name" if by_name else "path",
        (*sums, *_disagreement(predictions, order, wanted, values)),
    )


def _classes(
    predictions: Sheet, truth: Sheet, labels: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes in the order of the predictions (or of `labels`), and the truth's class columns."""
    given = _class_columns(predictions)
    if not given:
        raise InputError(f"{predictions.file} has no column with probabilities of a class")
    known = () if TRUTH in truth.columns else _class_columns(truth)
    if TRUTH not in truth.columns and not known:
        raise InputError(f"{truth.file} has neither a column {TRUTH!r} nor one column of 0 and 1 per class")
    expected = labels or known
    if not expected:
        _no_text(predictions, given, truth)
        return given, ()
    for sheet, columns in ((predictions, given), (truth, known)):
        if columns:
            _same(sheet, columns, expected)
    return (labels or given), known


def _class_columns(sheet: Sheet) -> tuple[str, ...]:
    """Columns that hold classes; a column without a name is a row number that some programs write."""
    others = {PATH, TRUTH, CHOSEN.casefold(), SOURCE.casefold(), "", "unnamed: 0"}
    return tuple(name for name in sheet.columns if name.casefold() not in others)


def _same(sheet: Sheet, columns: Sequence[str], expected: Sequence[str]) -> None:
    """Every expected class has its column, and no other has one."""
    for name in expected:
        if name not in columns:
            strangers = [column for column in columns if column not in expected]
            raise InputError(f"{sheet.file} has no column for the class {name!r}{_near(name, strangers)}")
    for name in columns:
        if name not in expected:
            raise InputError(
                f"{sheet.file} has a column of an unknown class: {name!r}{_near(name, expected)}; "
                "rename or remove it"
            )


def _no_text(predictions: Sheet, given: Sequence[str], truth: Sheet) -> None:
    """A column of text that is no class of the truth is a mistake in the header, not in every row."""
    labels = {word(value) for value in truth.column(TRUTH)}
    for name in given:
        if name not in labels and not any(_is_number(cell) for cell in predictions.column(name)):
            hint = _near(name, sorted(labels))
            raise InputError(
                f"{predictions.file} has a column of an unknown class: {name!r}{hint}; "
                "its cells hold no probabilities; rename or remove it"
            )


def _true(
    truth: Sheet, labels: tuple[str, ...], classes: tuple[str, ...], predictions: Sheet
) -> NDArray[np.int64]:
    """Index of each picture's class."""
    index = {name: at for at, name in enumerate(labels)}
    bad = BadRows(truth)
    found = []
    columns = [truth.columns.index(name) for name in classes]
    label = truth.columns.index(TRUTH) if not classes else -1
    for row in truth.rows:
        if classes:
            cells = [word(row.cells[at]) for at in columns]
            ones = [classes[at] for at, cell in enumerate(cells) if cell in ("1", "1.0", "True", "true")]
            if len(ones) != 1 or any(cell not in _ONE_HOT for cell in cells):
                bad.add(row, "its class columns must hold a single 1 and else 0")
                continue
            found.append(index[ones[0]])
            continue
        name = word(row.cells[label])
        if not name:
            bad.add(row, f"{TRUTH} is empty")
        elif name not in index:
            said = f"class {short(name)!r} is unknown, {predictions.file} has no column for it"
            bad.add(row, said + _near(name, labels))
        else:
            found.append(index[name])
    bad.check()
    return np.asarray(found, np.int64)


_ONE_HOT = frozenset({"0", "1", "0.0", "1.0", "True", "False", "true", "false"})


def _probabilities(sheet: Sheet, labels: tuple[str, ...]) -> NDArray[np.float64]:
    """The probabilities of every row; the first cell that is none is named."""
    columns = [(sheet.columns.index(name), name) for name in labels]
    values = np.empty((len(sheet.rows), len(labels)), np.float64)
    bad = BadRows(sheet)
    comma: Row | None = None
    point: Row | None = None
    for at, row in enumerate(sheet.rows):
        for to, (column, name) in enumerate(columns):
            cell = row.cells[column]
            if isinstance(cell, str):
                comma = row if comma is None and "," in cell else comma
                point = row if point is None and "." in cell else point
            value, wrong = _probability(cell)
            if wrong:
                bad.add(row, f"column {name!r} {wrong}")
                break
            values[at, to] = value
    bad.check()
    if comma and point:
        said = f"a decimal comma, but row {point.number} has a decimal point; use one of them"
        raise InputError(f"{sheet.place(comma)}: {said}")
    return values


def _probability(cell: Cell) -> tuple[float, str]:
    """The number in a cell, and what is wrong with it (nothing when it is a probability)."""
    if cell is None:
        return 0.0, "is empty"
    value: float
    if isinstance(cell, str):
        if cell.lower() == "nan":
            return 0.0, "is NaN"
        if _COMMA.fullmatch(cell):
            cell = cell.replace(",", ".")
        if not _NUMBER.fullmatch(cell):
            return 0.0, f"holds {short(cell)!r}, which is no number"
        value = float(cell)
    elif isinstance(cell, bool):
        return 0.0, f"holds {cell}, which is no number"
    else:
        value = cell
    if value != value:
        return 0.0, "is NaN"
    if not -EDGE <= value <= 1 + EDGE:
        return 0.0, f"holds {short(str(value))}, which is not between 0 and 1"
    return float(value), ""


def _is_number(cell: Cell) -> bool:
    return not _probability(cell)[1].endswith(("no number", "empty"))


def _paths(sheet: Sheet) -> list[str]:
    """`image_path` of every row with plain slashes and without empty parts."""
    column = sheet.columns.index(PATH)
    bad = BadRows(sheet)
    found = []
    for row in sheet.rows:
        parts = word(row.cells[column]).replace("\\", "/").split("/")
        path = "/".join(part for part in parts if part not in ("", "."))
        if not path:
            bad.add(row, f"{PATH} is empty")
        found.append(path)
    bad.check()
    return found


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _unique(keys: Iterable[str]) -> bool:
    listed = list(keys)
    return len(set(listed)) == len(listed)


def _no_doubles(sheet: Sheet, keys: Sequence[str]) -> None:
    """No picture comes twice in a table."""
    bad = BadRows(sheet)
    first: dict[str, Row] = {}
    for row, key in zip(sheet.rows, keys, strict=True):
        earlier = first.setdefault(key, row)
        if earlier is not row:
            bad.add(row, f"a duplicate of row {earlier.number} ({sheet.named(earlier)})")
    bad.check()


def _places(predictions: Sheet, given: Sequence[str], truth: Sheet, keys: Sequence[str]) -> dict[str, int]:
    """Row of each picture among the predictions: all of the truth, and no other."""
    place = {key: at for at, key in enumerate(given)}
    known = set(keys)
    unknown = BadRows(predictions)
    stranger = "is not an image of" if known & set(given) else "is no image, nor is any other, of"
    for row, key in zip(predictions.rows, given, strict=True):
        if key not in known:
            unknown.add(row, f"this image {stranger} {truth.file}")
    unknown.check()
    missing = [row for row, key in zip(truth.rows, keys, strict=True) if key not in place]
    if missing:
        others = f" (and {len(missing) - 1:,} more images)" if len(missing) > 1 else ""
        said = f"{predictions.file} has no row for {truth.named(missing[0])}"
        raise InputError(f"{said}, which is row {missing[0].number} of {truth.file}{others}")
    return place


def _sums(sheet: Sheet, values: NDArray[np.float64], order: Sequence[int]) -> tuple[str, ...]:
    """One warning when rows do not sum to 1; the organisers did not ask for it."""
    sums = values.sum(axis=1)
    odd = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if not len(odd):
        return ()
    first = min((int(at) for at in odd), key=lambda at: sheet.rows[order[at]].number)
    place = sheet.place(sheet.rows[order[first]])
    return (f"{len(odd):,} of {len(sums):,} rows do not sum to 1; the first is {place}: {sums[first]:.4g}",)


def _disagreement(
    sheet: Sheet, order: Sequence[int], labels: tuple[str, ...], values: NDArray[np.float64]
) -> tuple[str, ...]:
    """One warning when `predicted_class` is not the class of the highest probability."""
    column = _at(sheet, CHOSEN)
    if column is None:
        return ()
    bad, differ = BadRows(sheet), 0
    for at, row in enumerate(sheet.rows[i] for i in order):
        name = word(row.cells[column])
        if name not in labels:
            bad.add(row, f"{CHOSEN} {short(name)!r} is no class{_near(name, labels)}")
            continue
        differ += bool(values[at, labels.index(name)] < values[at].max())
    bad.check()
    if not differ:
        return ()
    return (
        f"{CHOSEN} is not the class of the highest probability in {differ:,} of {len(order):,} rows; "
        "the figures use the highest probability, as the organisers do",
    )


def _sources(sheet: Sheet, order: Sequence[int] | None) -> tuple[str, ...]:
    """`Dataset` of every picture; empty without that column."""
    column = _at(sheet, SOURCE)
    if column is None:
        return ()
    rows = sheet.rows if order is None else [sheet.rows[at] for at in order]
    return tuple(short(word(row.cells[column])) or "not named" for row in rows)


def _at(sheet: Sheet, column: str) -> int | None:
    return next((at for at, name in enumerate(sheet.columns) if name.casefold() == column.casefold()), None)


def _near(name: str, choices: Iterable[str]) -> str:
    """A hint at the name that was meant, or nothing."""
    plain = {re.sub(r"[\W_]+", "", choice.casefold()): choice for choice in choices}
    close = difflib.get_close_matches(re.sub(r"[\W_]+", "", name.casefold()), plain, n=1, cutoff=0.7)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""
