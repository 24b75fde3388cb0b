"""Tables of a CSV or XLSX file as rows of cells, each with the number that a spreadsheet shows beside it.

Owns file formats, encodings, separators and sheets. It must not know what the columns mean.
"""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from endostream.errors import InputError

__all__ = ["BadRows", "Cell", "Row", "Sheet", "read_table", "short", "word"]

Cell = str | int | float | bool | None
"""Text as it stands, numbers as XLSX holds them, None where a cell is empty."""

LARGEST = 512 * 1024 * 1024
"""Bytes of a table, unpacked, past which it is refused: 4,385 rows of 10 classes are 1 MB."""

_SEPARATORS = (",", ";", "\t", "|")
_SAVE = "save it as CSV (UTF-8) or XLSX"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    number: int
    """Its number in a spreadsheet; the header is row 1 unless empty rows stand above it."""
    cells: tuple[Cell, ...]
    """As many cells as the header has columns."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of a file."""

    file: str
    """Base name of the file."""
    key: str
    """The column that tells rows apart."""
    sheet: str
    """Name of the sheet; empty for CSV."""
    columns: tuple[str, ...]
    """Names of the columns, each once."""
    rows: tuple[Row, ...]
    """Rows that are not empty, in the order of the file."""

    def column(self, name: str) -> list[Cell]:
        """The cells under the column `name`."""
        at = self.columns.index(name)
        return [row.cells[at] for row in self.rows]

    def named(self, row: Row) -> str:
        """What `row` calls itself, short enough for a message."""
        return short(word(row.cells[self.columns.index(self.key)])) or "no name"

    def place(self, row: Row) -> str:
        """Where a row stands: file, row of the spreadsheet, its name."""
        return f"{self.file}, row {row.number} ({self.named(row)})"


@dataclass(slots=True)
class BadRows:
    """Rows of one table with one kind of mistake: the first is named, the others are counted."""

    sheet: Sheet
    """The table."""
    count: int = 0
    """Rows found so far."""
    first: str = ""
    """Place and mistake of the first."""

    def add(self, row: Row, said: str) -> None:
        """One more row is wrong."""
        self.first = self.first or f"{self.sheet.place(row)}: {said}"
        self.count += 1

    def check(self) -> None:
        """Raise `InputError` when a row was wrong."""
        if self.count:
            others = f" (and {self.count - 1:,} more such rows)" if self.count > 1 else ""
            raise InputError(self.first + others)


class _OtherSheet(InputError):
    """A sheet without the column that is looked for."""


def read_table(path: Path, key: str) -> Sheet:
    """Read the table of a CSV or XLSX file whose header has the column `key`.

    Of a workbook the first sheet with that column is read. The content decides about the format, not the
    ending. CSV: UTF-8 (or UTF-16 with its mark), separated by comma, semicolon, tab or bar.

    Raises
    ------
    InputError
        The file is missing, empty, damaged, or no sheet has the column.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{path.name} is larger than {LARGEST >> 20} MB; give a table of predictions")
        content = path.read_bytes()
    except OSError as error:
        said = error.strerror or str(error)
        raise InputError(f"cannot read {path.name}: {said}; name a CSV or XLSX file") from error
    if not content.strip():
        raise InputError(f"{path.name} is empty; give a table with a header row")
    if content.startswith(b"PK"):
        return _workbook(path.name, content, key)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path.name} is an old or password-protected workbook; {_SAVE}")
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        raise InputError(f"{path.name} is not an XLSX workbook, or damaged; {_SAVE}")
    return _text(path.name, content, key)


def word(cell: Cell) -> str:
    """A cell as text; a whole number without its point."""
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def short(text: str) -> str:
    """Text as part of one line of a message."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"…{line[-79:]}"


def _text(file: str, content: bytes, key: str) -> Sheet:
    """The table of a CSV file."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text; {_SAVE}") from error
    if "\0" in text:
        raise InputError(f"{file} is not a table; {_SAVE}")
    line = next(line for line in text.splitlines() if line.strip())
    separator = max(_SEPARATORS, key=line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [[cell.strip() or None for cell in cells] for cells in reader]
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}; {_SAVE}") from error
    return _sheet(file, "", rows, key)


def _workbook(file: str, content: bytes, key: str) -> Sheet:
    """The first table of an XLSX file that has the column `key`."""
    with _damage_named(file):
        from openpyxl import load_workbook

        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > LARGEST:
            raise InputError(f"{file} unpacks to {size >> 20} MB; give a table of predictions")
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        wrong: list[_OtherSheet] = []
        for sheet in book.worksheets:
            # What a sheet says about its own size is often wrong.
            sheet.reset_dimensions()
            try:
                return _sheet(file, sheet.title, _cells(sheet.iter_rows(values_only=True)), key)
            except _OtherSheet as error:
                wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    raise InputError(f"none of the {len(wrong)} sheets of {file} has a column {key!r} in its first row")


@contextmanager
def _damage_named(file: str) -> Iterator[None]:
    """A workbook that cannot be read becomes one line."""
    try:
        # Styles and extensions that openpyxl leaves out do not matter to cells.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:  # its readers raise whatever the damaged part made them raise
        raise InputError(f"{file} is not an XLSX workbook, or damaged; {_SAVE}") from error


def _cells(rows: Iterable[Sequence[object]]) -> Iterator[list[Cell]]:
    """Cells as text and numbers; empty text is an empty cell."""
    for row in rows:
        yield [
            (cell.strip() or None)
            if isinstance(cell, str)
            else cell
            if cell is None or isinstance(cell, bool | int | float)
            else str(cell)
            for cell in row
        ]


def _sheet(file: str, sheet: str, rows: Iterable[Sequence[Cell]], key: str) -> Sheet:
    """Header and rows of a table; cells past the header must be empty."""
    where = f"{file}, sheet {sheet}" if sheet else file
    columns: tuple[str, ...] = ()
    found = []
    for number, cells in enumerate(rows, start=1):
        while cells and cells[-1] is None:
            cells = cells[:-1]
        if not cells:
            continue
        if not columns:
            columns = _header(where, cells, key)
            continue
        if len(cells) > len(columns):
            raise InputError(
                f"{where}, row {number}: {len(cells)} cells under {len(columns)} columns; "
                "put text with the separator into quotes, and write decimals with a point"
            )
        found.append(Row(number, (*cells, *[None] * (len(columns) - len(cells)))))
    if not columns:
        raise _OtherSheet(f"{where} is empty; give a table with a header row")
    if not found:
        raise InputError(f"{where} has a header but no rows")
    return Sheet(file, key, sheet, columns, tuple(found))


def _header(where: str, cells: Sequence[Cell], key: str) -> tuple[str, ...]:
    """Column names; `key` must be among them and every column must have a name of its own."""
    names = ["" if cell is None else str(cell) for cell in cells]
    if key not in names:
        seen = ", ".join(repr(name) for name in names[:6]) + (", …" if len(names) > 6 else "")
        raise _OtherSheet(f"{where} has no column {key!r} in its first row: {short(seen)}")
    for at, name in enumerate(names):
        if not name and at:
            raise InputError(f"{where}: column {at + 1} has no name")
        if name in names[:at]:
            raise InputError(f"{where}: the column {short(name)!r} comes twice")
    return tuple(names)
