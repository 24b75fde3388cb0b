"""What an evaluation found, as data: figures, tables, plots.

Owns the types that every evaluation gives and that the page, the JSON and the CSV files are written from. It
must not know how anything was measured or written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Plot", "Results", "Table"]

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table of figures."""

    name: str
    """File name of its CSV without the ending, such as `sources`."""
    title: str
    """Heading on the page."""
    columns: tuple[str, ...]
    """Column names, with units."""
    rows: tuple[tuple[Cell, ...], ...]
    """Rows; None where a figure is not defined."""
    note: str = ""
    """What a reader must know to read it right: definitions, thresholds, hold-offs."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture of the page."""

    name: str
    """File name without the ending, such as `reliability`."""
    title: str
    """Heading on the page."""
    svg: str
    """The drawing as an SVG document."""
    note: str = ""
    """One line under it."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything one `endostream evaluate` run found."""

    kind: str
    """`segmentation`, `classification`, `video` or `predictions`."""
    title: str
    """Heading of the page."""
    command: str
    """The command that made it, base names only."""
    facts: dict[str, Any]
    """What was measured on what: pack, counts, thresholds, definitions. JSON values only."""
    figures: dict[str, float | None]
    """Figures by name, None where one is not defined."""
    tables: tuple[Table, ...] = ()
    """Tables in reading order."""
    plots: tuple[Plot, ...] = ()
    """Plots in reading order."""
    warnings: tuple[str, ...] = field(default=())
    """What a reader must be told first."""
