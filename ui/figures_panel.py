"""The figures: rates, ages and drops, as a panel of a few lines and as one line for the footer.

Owns their words. Must not measure; it is given a `Status`, at most four times a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from endostream.types import Status

from . import theme
from .ages import spoken_age
from .record import recording_figures

CAUSES = {
    "busy": ("busy", "the networks were busy"),
    "late": ("late", "nobody took them in time"),
    "epoch": ("cut", "they were from before a cut"),
    "failed": ("failed", "the analysis had failed"),
    "stopped": ("stopped", "the run was stopped"),
}
"""The causes of `FrameCounts.dropped`, for people: a word for the panel, a clause for its tip."""
ROWS = ("input", "analysis", "display", "picture age", "overlay age", "dropped", "recording")
UNKNOWN = "–"


def grouped(number: int) -> str:
    """A count with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u2009")


def spread(ages: Mapping[str, float], rank: str) -> float | None:
    """A percentile in milliseconds: `spread(status.shown_age_ms, "p95")`; None where nothing was measured."""
    return ages.get(rank, ages.get(f"{rank}_ms"))


def spoken_spread(ages: Mapping[str, float]) -> str:
    """Median and 95th percentile for people."""
    middle, high = spread(ages, "p50"), spread(ages, "p95")
    if middle is None or high is None:
        return UNKNOWN
    return f"{spoken_age(middle / 1000)}   p95 {spoken_age(high / 1000)}"


def dropped_words(status: Status) -> str:
    """Drops in two lines: how many of how many, and why."""
    counts = status.counts
    if not counts.total_dropped:
        return f"none of {grouped(counts.captured)}"
    total = f"{grouped(counts.total_dropped)} of {grouped(counts.captured)}"
    words = [f"{CAUSES.get(cause, (cause,))[0]} {grouped(n)}" for cause, n in _by_cause(status)]
    return f"{total}\n{'  ·  '.join(words)}"


def dropped_tip(status: Status) -> str:
    """The same with the causes explained."""
    return "\n".join(f"{grouped(n)}: {CAUSES.get(c, (c, c))[1]}" for c, n in _by_cause(status))


def _by_cause(status: Status) -> list[tuple[str, int]]:
    """Causes with their counts, the most frequent first."""
    return sorted(((c, n) for c, n in status.counts.dropped.items() if n), key=lambda pair: -pair[1])


def figures_of(status: Status) -> dict[str, str]:
    """The panel's figures by row; what is not known is a dash, never made up."""

    def rate(value: float) -> str:
        return f"{value:.1f} fps" if value > 0 else UNKNOWN

    values = (
        rate(status.input_fps),
        rate(status.fps),
        rate(status.display_fps),
        spoken_spread(status.shown_age_ms),
        spoken_spread(status.overlay_age_ms),
        dropped_words(status),
        recording_figures(status.recording),
    )
    return dict(zip(ROWS, values, strict=True))


def figures_line(status: Status, age: float | None, engine: Mapping[str, str]) -> str:
    """The figures in one line; what is not known is left out."""
    counts = status.counts
    parts = []
    if counts.captured:
        parts = [f"in {status.input_fps:.1f} fps", f"analysed {status.fps:.1f} fps"]
        if status.display_fps > 0:
            parts.append(f"shown {status.display_fps:.1f} fps")
        picture = spread(status.shown_age_ms, "p95")
        if picture is not None:
            parts.append(f"picture p95 {spoken_age(picture / 1000)}")
        overlay = spread(status.overlay_age_ms, "p95")
        if overlay is not None:
            parts.append(f"overlay p95 {spoken_age(overlay / 1000)}")
        else:
            parts.append(f"overlay {spoken_age(age)}" if age is not None else "overlay none")
        parts += [f"{grouped(counts.analysed)} analysed", f"{grouped(counts.total_dropped)} dropped"]
    device = " ".join(engine[key] for key in ("engine", "device", "precision") if engine.get(key))
    device += " + own kernels" if engine.get("kernels") else ""
    return "   ·   ".join([*parts, device] if device else parts)


class FiguresPanel(QWidget):
    """A line for each figure."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        grid = QGridLayout(self)
        grid.setContentsMargins(16, 10, 16, 14)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        title = QLabel("figures")
        title.setObjectName("heading")
        grid.addWidget(title, 0, 0, 1, 2)
        self._values: dict[str, QLabel] = {}
        for place, name in enumerate(ROWS, 1):
            word = QLabel(name)
            word.setObjectName("quiet")
            value = QLabel(UNKNOWN)
            value.setFont(theme.font(theme.BODY, QFont.Weight.DemiBold))
            # no figure widens the panel: it would move the picture
            value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            top = Qt.AlignmentFlag.AlignTop
            grid.addWidget(word, place, 0, top)
            grid.addWidget(value, place, 1, top)
            self._values[name] = value

    @property
    def shown(self) -> dict[str, str]:
        """The figures shown."""
        return {name: label.text() for name, label in self._values.items()}

    def set_status(self, status: Status) -> None:
        """Show these figures; called at most four times a second."""
        for name, text in figures_of(status).items():
            if self._values[name].text() != text:
                self._values[name].setText(text)
        self._values["dropped"].setToolTip(dropped_tip(status))
