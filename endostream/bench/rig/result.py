"""What the rig found: figures, what is demanded of them, and how they are shown.

Owns the schema of `endostream bench --rig --json`. Must not know how anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    run: str
    """What was done."""
    name: str
    """What was measured."""
    value: float | None
    """The figure; None where it did not come to it."""
    unit: str = ""
    """Its unit."""
    limit: float | None = None
    """What it may be at most; None where nothing is demanded."""
    note: str = ""
    """What else there is to know."""

    @property
    def met(self) -> bool | None:
        """Whether the demand is met; None where there is none."""
        if self.limit is None:
            return None
        return self.value is not None and self.value <= self.limit


@dataclass(frozen=True, slots=True)
class RigResult:
    """Everything that was measured."""

    figures: tuple[Figure, ...]
    """In the order in which they were measured."""
    seconds: float
    """How long it took."""

    @property
    def passed(self) -> bool:
        """True when every demand is met."""
        return not self.missed

    @property
    def missed(self) -> tuple[Figure, ...]:
        """The figures whose demand is not met."""
        return tuple(f for f in self.figures if f.met is False)


def failure(run: str, error: BaseException) -> Figure:
    """A line for a run that came to nothing; it counts as a demand that is not met."""
    said = " ".join(str(error).split()) or type(error).__name__
    return Figure(run, "finished", None, "", 0.0, said)


def as_json(result: RigResult) -> dict[str, Any]:
    """One JSON-able value."""
    figures = [{**asdict(figure), "met": figure.met} for figure in result.figures]
    return {"passed": result.passed, "seconds": round(result.seconds, 1), "figures": figures}


def as_text(result: RigResult) -> list[str]:
    """A table, one line per figure, and a verdict."""
    rows = [("", "", "measured", "at most", "")]
    rows += [
        _row(figure, before) for figure, before in zip(result.figures, _before(result.figures), strict=True)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    first, second, third, fourth = widths
    lines = [
        f"{run:<{first}}  {name:<{second}}  {value:>{third}}  {limit:>{fourth}}  {rest}".rstrip()
        for run, name, value, limit, rest in rows
    ]
    missed = len(result.missed)
    demands = sum(figure.met is not None for figure in result.figures)
    verdict = f"all {demands} demands met" if not missed else f"{missed} of {demands} demands NOT met"
    return [*lines, f"{verdict}, in {result.seconds:.0f} s"]


def _before(figures: Sequence[Figure]) -> list[str]:
    return ["", *(figure.run for figure in figures[:-1])]


def _row(figure: Figure, before: str) -> tuple[str, str, str, str, str]:
    value = "-" if figure.value is None else f"{figure.value:.4g} {figure.unit}".rstrip()
    if figure.value is not None and abs(figure.value) >= 1000:
        value = f"{figure.value:.0f} {figure.unit}".rstrip()
    limit = "" if figure.limit is None else f"{figure.limit:g} {figure.unit}".rstrip()
    said = {None: "", True: "met", False: "NOT MET"}[figure.met]
    rest = ", ".join(part for part in (said, figure.note) if part)
    return ("" if figure.run == before else figure.run), figure.name, value, limit, rest
