"""The files of an evaluation: results.json, one CSV per table, the plots and one page that holds everything.

Owns names and layout of these files and how a figure is written. It must not know how anything was measured.
No file holds a date or an absolute path: the same results give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from endostream import __version__
from endostream.errors import InputError, RunError
from endostream.evaluation.plots import COLOURS
from endostream.evaluation.results import Plot, Results, Table
from endostream.records.files import write_json, write_text
from endostream.vocabulary import NOTICE

__all__ = ["SCHEMA", "as_json", "spoken", "write_results"]

SCHEMA = 1
"""Number of the layout of results.json; raised when a key changes its meaning."""

WIDEST = 14
"""Columns past which the page names a table's CSV in place of showing it: paper is not wide enough."""

RESULTS = "results.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_OWNED = re.compile(r"index\.html|[A-Za-z0-9][A-Za-z0-9_-]*\.csv|plots/[A-Za-z0-9][A-Za-z0-9_-]*\.svg")
_WORDS = {
    "auc": "AUC", "auroc": "AUROC", "ece": "ECE", "f1": "F1", "fp": "FP", "fps": "fps", "iou": "IoU",
    "map": "mAP", "ms": "ms", "s": "s", "ap": "AP", "sha256": "SHA-256",
}  # fmt: skip
_DARK = {
    "ink": "#e8ecf1", "soft": "#9aa7b5", "line": "#47525f", "grid": "#2b343e", "hit": "#2f7fc0",
    "miss": "#b3540f", "first": "#58aef0",
    "second": "#f0924e", "third": "#3fc4a6", "fourth": "#d493d0", "fifth": "#d9b04a", "sixth": "#8fd0f5",
}  # fmt: skip


def write_results(out: Path, results: Results, overwrite: bool) -> list[Path]:
    """Write everything an evaluation found into the folder `out` and give the files, results.json first.

    Raises
    ------
    InputError
        `out` is no folder, or holds results already and `overwrite` is false.
    RunError
        The folder cannot be written or the disk is full.
    """
    _check_names(results)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out.name} is a file, not a folder; choose another --out")
    if (out / RESULTS).exists() and not overwrite:
        raise InputError(f"{out.name} already holds results; choose another --out, or add --overwrite")
    try:
        _clear(out)
        (out / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = error.strerror or str(error)
        raise RunError(f"cannot write to the folder {out.name}: {said}; choose another --out") from error
    files = [write_text(out / f"{table.name}.csv", _csv(table)) for table in results.tables]
    files += [write_text(out / "plots" / f"{plot.name}.svg", plot.svg) for plot in results.plots]
    files.append(write_text(out / "index.html", _page(results)))
    # Last: a folder with results.json is whole.
    document = as_json(results)
    document["files"] = sorted(path.relative_to(out).as_posix() for path in files)
    return [write_json(out / RESULTS, document), *files]


def as_json(results: Results) -> dict[str, Any]:
    """The results as one JSON document; what is not finite becomes null."""
    document: dict[str, Any] = _plain(
        {
            "schema": SCHEMA,
            "kind": results.kind,
            "title": results.title,
            "research_use_only": True,
            "endostream": __version__,
            "command": results.command,
            "warnings": results.warnings,
            "facts": results.facts,
            "figures": results.figures,
            "tables": [
                {"name": t.name, "title": t.title, "note": t.note, "columns": t.columns, "rows": t.rows}
                for t in results.tables
            ],
            "plots": [
                {"name": p.name, "title": p.title, "note": p.note, "file": f"plots/{p.name}.svg"}
                for p in results.plots
            ],
        }
    )
    return document


def spoken(name: str) -> str:
    """A key as words: `mean_auc` is "mean AUC"."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def _check_names(results: Results) -> None:
    """Every table and plot is a file of its own."""
    for kind in (results.tables, results.plots):
        names = [part.name for part in kind]
        wrong = [name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1]
        if wrong:
            raise ValueError(f"{wrong[0]!r} cannot be a file of its own")


def _clear(out: Path) -> None:
    """Delete what an earlier evaluation wrote in `out`, by its own list; anything else stays."""
    try:
        listed = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    files = listed.get("files") if isinstance(listed, dict) else None
    (out / RESULTS).unlink()
    for name in files if isinstance(files, list) else ():
        if isinstance(name, str) and _OWNED.fullmatch(name):
            (out / name).unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """`value` as JSON values, floats with ten digits: more differ between machines."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in results.json")


def _csv(table: Table) -> str:
    """The table as CSV: an empty cell is a figure that is not defined."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow(["" if cell is None else _text(cell) for cell in _plain(row)])
    return stream.getvalue()


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    # A spreadsheet would run a text that begins like a formula.
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{cell}"
    return str(cell)


def _page(results: Results) -> str:
    """The page: no script, nothing loaded from elsewhere."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(spoken=spoken, figure=_figure)
    source = resources.files(__package__).joinpath("templates/page.html.j2").read_text(encoding="utf-8")
    figures = [(name, _plain(value)) for name, value in results.figures.items()]
    text: str = environment.from_string(source).render(
        results=results,
        notice=NOTICE,
        version=__version__,
        light=COLOURS,
        dark=_DARK,
        widest=WIDEST,
        tiles=figures[:4],
        figures=figures[4:],
        facts=list(_facts(_plain(results.facts))),
        tables=[(table, _columns(table)) for table in results.tables],
        plots=[(plot, Markup(_inline(plot))) for plot in results.plots],
    )
    return text.rstrip() + "\n"


def _facts(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Facts as lines; what is deeper than a page can show stays in results.json."""
    for key, inner in value.items():
        name = f"{above}{spoken(key)}"
        if isinstance(inner, Mapping):
            # A report repeats figures and tables of the page.
            if not above and not key.endswith("_report"):
                yield from _facts(inner, f"{name}: ")
        elif isinstance(inner, list):
            if all(not isinstance(item, list | Mapping) for item in inner):
                yield name, ", ".join(_figure(item) for item in inner) or "none"
        else:
            yield name, _figure(inner)


def _figure(value: Any) -> str:
    """One value as a reader wants it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"
    return str(value)


def _columns(table: Table) -> list[tuple[bool, list[str]]]:
    """Each column of a table: whether it holds numbers, and its cells as text with even digits."""
    found = []
    for cells in zip(*_plain(table.rows), strict=True) if table.rows else ():
        known = [cell for cell in cells if cell is not None]
        numbers = bool(known) and all(isinstance(c, int | float) and not isinstance(c, bool) for c in known)
        whole = numbers and all(isinstance(c, int) for c in known)
        digits = 0 if whole or not numbers else 3 if max(abs(c) for c in known) < 10 else 2
        as_text = [f"{c:,.{digits}f}" if numbers and c is not None else _figure(c) for c in cells]
        found.append((numbers, as_text))
    return found


def _inline(plot: Plot) -> str:
    """The drawing as part of the page: colours follow the scheme, names of parts do not meet others'."""
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#)', rf"\g<1>{plot.name}-", svg).replace("url(#", f"url(#{plot.name}-")
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--plot-{name})")
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', svg)
    if size:
        # 72 pt are 96 px; less where the page is narrower.
        svg = svg.replace(size[0], f'style="width: {float(size[1]) * 96 / 72:.0f}px" role="img"', 1)
    return svg
