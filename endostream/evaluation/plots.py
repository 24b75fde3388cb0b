"""The drawings of an evaluation page, as SVG documents.

Owns how a reliability plot, a confusion matrix, curves and values with intervals look. It must not know what
was measured. The drawings are made of a few fixed colours, which the page replaces in its dark scheme; the
same input always gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from endostream.evaluation.calibration import Calibration
from endostream.evaluation.results import Plot

__all__ = [
    "COLOURS",
    "bars_plot",
    "confusion_plot",
    "curve_plot",
    "reliability_plot",
]

COLOURS = {
    "ink": "#1b2430",
    "soft": "#5a6675",
    "line": "#c3cad3",
    "grid": "#e6eaef",
    "hit": "#0b63a4",
    "miss": "#c8540b",
    "first": "#0b63a5",
    "second": "#c8540a",
    "third": "#00806a",
    "fourth": "#9a4f96",
    "fifth": "#8a6400",
    "sixth": "#3f8fc4",
}
"""Every colour that a drawing may use; apart for colour-blind eyes and, with the dashes, in grey print."""

LONGEST = 40
"""Characters of a label past which a drawing cuts it."""

_SERIES = ("first", "second", "third", "fourth", "fifth", "sixth")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1)), (0, (9, 3)))
_FONTS = "Inter, 'Segoe UI', 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "endostream",
    # Measured with the widest of the page's fonts, so that no other overlaps.
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def reliability_plot(
    confidence: NDArray[Any], correct: NDArray[Any], bins: int = 15, name: str = "reliability"
) -> Plot:
    """Confidence against accuracy, with the number of pictures in each bin under it."""
    found = Calibration(confidence, correct, bins)
    filled = found.count > 0
    low, high = found.interval()
    with _drawing(4.9, 4.9) as figure:
        top, under = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        figure.subplots_adjust(left=0.14, right=0.97, top=0.93, bottom=0.11, hspace=0.09)
        _grid(top, "both")
        top.plot([0, 1], [0, 1], color=COLOURS["soft"], lw=1, ls=(0, (4, 3)))
        top.vlines(found.confidence[filled], low[filled], high[filled], color=COLOURS["first"], lw=1.2)
        points = (found.confidence[filled], found.accuracy[filled])
        top.plot(*points, color=COLOURS["first"], lw=1.6, marker="o", ms=4.5, clip_on=False, zorder=3)
        top.set(xlim=(0, 1), ylim=(0, 1.0), ylabel="accuracy")
        error = found.error
        said = "no pictures" if error is None else f"ECE {error:.3f}, {_many(int(found.count.sum()))}"
        top.text(0, 1.03, said, fontsize=9.5, fontweight="bold")
        middles = (np.arange(bins) + 0.5) / bins
        under.bar(middles, found.count, width=0.86 / bins, color=COLOURS["first"], alpha=0.45)
        under.set(xlabel="confidence", ylabel="pictures")
        under.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        _grid(under, "y")
        for axes in (top, under):
            axes.tick_params(length=0)
        svg = _svg(figure)
    note = f"Mean confidence against accuracy in {bins} bins of equal width, with Wilson 95 % intervals."
    return Plot(name, "Reliability", svg, f"{note} On the dashed line confidence and accuracy agree.")


def confusion_plot(matrix: NDArray[Any], labels: Sequence[str], name: str = "confusion") -> Plot:
    """The confusion matrix: rows are the truth, colour is the share of the row, counts are written."""
    counts = np.asarray(matrix)
    n = len(labels)
    if counts.shape != (n, n):
        raise ValueError(f"confusion matrix {counts.shape} for {n} labels")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = 0.46 if n <= 12 else 0.36
    labels, margin = _labels(labels)
    width, height = margin + cell * n + 0.9, cell * n + 0.75 * margin + 0.55
    with _drawing(width, height) as figure:
        axes = figure.add_axes(
            (margin / width, 0.75 * margin / height, cell * n / width, cell * n / height), aspect="equal"
        )
        size = 8.5 if n <= 12 else 6.5
        axes.hlines(range(n + 1), 0, n, color=COLOURS["grid"], lw=0.6, zorder=0)
        axes.vlines(range(n + 1), 0, n, color=COLOURS["grid"], lw=0.6, zorder=0)
        for row in range(n):
            for column in range(n):
                _cell(axes, row, column, int(counts[row, column]), float(share[row, column]), size)
        axes.set(xlim=(0, n), ylim=(n, 0), xlabel="predicted", ylabel="truth")
        axes.set_xticks(np.arange(n) + 0.5, labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(n) + 0.5, labels)
        axes.tick_params(length=0, labelcolor=COLOURS["ink"], labelsize=8.5 if n <= 12 else 7.5)
        side = axes.twinx()
        side.set(ylim=(n, 0))
        side.set_yticks(np.arange(n) + 0.5, [_share(counts[i], i) for i in range(n)])
        side.tick_params(length=0, labelcolor=COLOURS["soft"], labelsize=8 if n <= 12 else 7)
        axes.text(n + 0.1, -0.25, "recall", fontsize=8, color=COLOURS["soft"], va="bottom")
        for spine in (*axes.spines.values(), *side.spines.values()):
            spine.set_visible(False)
        svg = _svg(figure)
    note = (
        "Rows are the truth, columns the prediction; colour is the share of the row, at its right its recall."
    )
    return Plot(name, "Confusion matrix", svg, note)


def curve_plot(
    name: str,
    title: str,
    x: ArrayLike,
    series: Mapping[str, ArrayLike],
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Plot:
    """Curves over one x, each with its own colour and dash; `marks` are upright lines (x, what it says).

    A value that is not finite leaves a gap.
    """
    places = np.asarray(x, dtype=np.float64)
    rows = math.ceil(len(series) / 2)
    height = 3.5 + 0.19 * rows
    with _drawing(4.75, height) as figure:
        axes = figure.add_axes((0.135, 0.5 / height, 0.835, 2.9 / height))
        _grid(axes, "both")
        for at, (label, values) in enumerate(series.items()):
            heights = np.asarray(values, dtype=np.float64)
            if heights.shape != places.shape:
                raise ValueError(f"{name}: {label} has shape {heights.shape}, x has {places.shape}")
            axes.plot(
                places, np.where(np.isfinite(heights), heights, np.nan), label=label, lw=1.8,
                color=COLOURS[_SERIES[at % len(_SERIES)]], ls=_DASHES[at % len(_DASHES)],
                marker="o" if len(places) <= 24 else "", ms=3.5,
            )  # fmt: skip
        _limits(axes, [np.asarray(v, dtype=np.float64) for v in series.values()])
        for place, said in marks:
            axes.axvline(place, color=COLOURS["soft"], lw=1, ls=(0, (2, 2)))
            axes.annotate(said, (place, 1), (3, -2), xycoords=("data", "axes fraction"), fontsize=8,
                          textcoords="offset points", va="top", color=COLOURS["soft"])  # fmt: skip
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.tick_params(length=0)
        axes.margins(x=0.02)
        if series:
            axes.legend(
                loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, frameon=False,
                borderaxespad=0.3, handlelength=2.6, columnspacing=1.6,
            )  # fmt: skip
        svg = _svg(figure)
    return Plot(name, title, svg, note)


def bars_plot(
    name: str,
    title: str,
    labels: Sequence[str],
    values: Sequence[float | None],
    low: Sequence[float | None],
    high: Sequence[float | None],
    x_label: str,
    note: str = "",
) -> Plot:
    """One value per label with its interval, from top to bottom, the figures written beside it.

    None stands for a value, or an interval, that is not defined.
    """
    n = len(labels)
    if not n == len(values) == len(low) == len(high):
        raise ValueError(f"{name}: {n} labels, {len(values)} values, {len(low)} and {len(high)} limits")
    labels, left = _labels(labels)
    width, height = left + 4.9, 0.62 + 0.3 * max(n, 1)
    with _drawing(width, height) as figure:
        axes = figure.add_axes((left / width, 0.5 / height, 3.4 / width, 0.3 * max(n, 1) / height))
        known = [v for v in (*values, *low, *high) if v is not None and math.isfinite(v)]
        start, stop = _span(known)
        for at, (value, under, over) in enumerate(zip(values, low, high, strict=True)):
            axes.axhline(at, color=COLOURS["grid"], lw=0.8, zorder=0)
            said = "not defined"
            if value is not None and math.isfinite(value):
                said = _number(value)
                axes.plot([value], [at], "o", ms=6, color=COLOURS["first"], zorder=3, clip_on=False)
                if under is not None and over is not None and math.isfinite(under) and math.isfinite(over):
                    axes.plot([under, over], [at, at], color=COLOURS["first"], lw=2.2, alpha=0.55)
                    said += f"  [{_number(under)}, {_number(over)}]"
            axes.annotate(said, (1, at), (8, 0), xycoords=("axes fraction", "data"), va="center",
                          textcoords="offset points", fontsize=8.5)  # fmt: skip
        axes.set(xlim=(start, stop), ylim=(max(n, 1) - 0.5, -0.5), xlabel=x_label)
        axes.set_yticks(range(n), labels)
        axes.tick_params(length=0)
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.spines["left"].set_visible(False)
        _grid(axes, "x")
        svg = _svg(figure)
    return Plot(name, title, svg, note)


def _labels(labels: Sequence[str]) -> tuple[list[str], float]:
    """Labels short enough for an axis, and the inches that the longest needs."""
    cut = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label in labels]
    widths = [sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in label) for label in cut]
    return cut, 0.35 + 0.075 * max(widths, default=0)


def _cell(axes: Axes, row: int, column: int, count: int, share: float, size: float) -> None:
    """One square of a confusion matrix: its shade is transparent, so that it fits any paper."""
    colour = COLOURS["hit" if row == column else "miss"]
    if share > 0:
        axes.add_patch(
            Rectangle((column, row), 1, 1, fc=colour, ec="none", alpha=round(0.1 + 0.9 * share, 3))
        )
    if count:
        ink = "#ffffff" if share > 0.75 else COLOURS["ink"]
        axes.text(column + 0.5, row + 0.5, str(count), ha="center", va="center", fontsize=size, color=ink)


def _share(row: NDArray[Any], at: int) -> str:
    """Recall of one row as text."""
    return f"{row[at] / row.sum():.2f}" if row.sum() else "–"


def _limits(axes: Axes, values: Sequence[NDArray[np.float64]]) -> None:
    """A y axis from 0; to 1 when every value is a share."""
    known = np.concatenate([v[np.isfinite(v)].ravel() for v in values]) if values else np.zeros(0)
    top = float(known.max()) if known.size else 1.0
    if known.size and known.min() < 0:
        return
    axes.set_ylim(0, 1.02 if 0.25 < top <= 1 else (top * 1.08 or 1.0))


def _span(known: Sequence[float]) -> tuple[float, float]:
    """Limits for values with intervals; shares stay within 0 and 1."""
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    if low >= 0 and high <= 1:
        return max(-0.01, low - pad), min(1.01, high + pad)
    return (low - pad if low < 0 else max(-0.01 * high, low - pad)), high + pad


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _many(count: int) -> str:
    return f"{count:,} picture" + ("" if count == 1 else "s")


def _grid(axes: Axes, axis: Any) -> None:
    axes.grid(True, axis=axis, color=COLOURS["grid"], lw=0.8)
    axes.set_axisbelow(True)


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` × `height` inches in the style of the page."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The font that measures lacks some scripts; the fonts that show the drawing need not.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure


def _svg(figure: Figure) -> str:
    """The figure as an SVG document of the same bytes every time."""
    stream = io.StringIO()
    empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", metadata=empty)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    return text.replace("'DejaVu Sans'", _FONTS)
