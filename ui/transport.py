"""The row of buttons under the timeline: playing a file, and the overlays' switches.

Owns the buttons; every one stands for an action of the table. Must not know what an action does.
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QSlider, QToolButton, QWidget

from . import icons, theme
from .actions import BY_KEY

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
PLAYING = {
    "previous": "previous",
    "step_back": "step-back",
    "play": "play",
    "step_forward": "step",
    "next": "next",
}
CHIPS = ("still", "heatmap", "contour", "hide", "synced", "full")
CHIP_WORDS = {
    "still": "Still",
    "heatmap": "Heat map",
    "contour": "Contour",
    "hide": "Hide all",
    "synced": "Synced",
    "record": "Record",
    "full": "Full",
}


def spoken_speed(speed: float) -> str:
    """A speed for people: `0.25×`."""
    return f"{speed:g}×"


class Transport(QWidget):
    """Buttons for playing and overlays; emits `speedRequested(factor)`, `opacityRequested(0..1)`."""

    speedRequested = Signal(float)
    opacityRequested = Signal(float)

    def __init__(self, actions: Mapping[str, QAction], palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._palette = palette
        self._actions = actions
        self._playing = False
        self._buttons: dict[str, QToolButton] = {}
        self._speeds = QButtonGroup(self)
        self._live = QLabel("")
        self._live.setObjectName("quiet")
        self._file_part = self._make_file_part()
        self._live_part = QWidget()
        live = QHBoxLayout(self._live_part)
        live.setContentsMargins(4, 0, 0, 0)
        live.setSpacing(12)
        live.addWidget(self._live)
        live.addWidget(self._chip("record"))
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 16, 6)
        row.setSpacing(4)
        row.addWidget(self._file_part)
        row.addWidget(self._live_part)
        row.addStretch()
        word = QLabel("overlay strength")
        word.setObjectName("quiet")
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, 100)
        self._slider.setFixedWidth(96)
        self._slider.setAccessibleName("overlay strength")
        self._slider.setToolTip(
            "Strength of heat map (at most 45 %) and fill (at most 15 %)  (Ctrl+Up, Ctrl+Down)"
        )
        self._slider.valueChanged.connect(lambda value: self.opacityRequested.emit(value / 100))
        row.addWidget(word)
        row.addSpacing(6)
        row.addWidget(self._slider)
        row.addSpacing(14)
        for key in CHIPS:
            row.addWidget(self._chip(key))
        self.set_palette(palette)
        self.set_file(False)

    def _make_file_part(self) -> QWidget:
        part = QWidget()
        row = QHBoxLayout(part)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for key in PLAYING:
            button = QToolButton()
            button.setObjectName("flat")
            button.setDefaultAction(self._actions[key])
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
            button.setFixedSize(38, 34)
            button.setIconSize(QSize(18, 18))
            self._buttons[key] = button
            row.addWidget(button)
        row.addSpacing(8)
        for speed in SPEEDS:
            button = QToolButton()
            button.setObjectName("chip")
            button.setText(spoken_speed(speed))
            button.setCheckable(True)
            button.setToolTip(f"Play at {spoken_speed(speed)}")
            button.setMinimumHeight(30)
            button.clicked.connect(lambda _checked, s=speed: self.speedRequested.emit(s))
            self._speeds.addButton(button, SPEEDS.index(speed))
            row.addWidget(button)
        self._speeds.button(SPEEDS.index(1.0)).setChecked(True)
        return part

    def _chip(self, key: str) -> QToolButton:
        self._actions[key].setIconText(f"{BY_KEY[key].shown_key}  {CHIP_WORDS[key]}")
        button = QToolButton()
        button.setObjectName("chip")
        button.setDefaultAction(self._actions[key])
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        button.setMinimumHeight(30)
        self._buttons[key] = button
        return button

    def set_file(self, file: bool) -> None:
        """Show the playing buttons for a file, or the word `live` and the record switch."""
        self._file_part.setVisible(file)
        self._live_part.setVisible(not file)
        self._buttons["synced"].setVisible(not file)  # with the playing buttons it would not fit 1280 pixels

    def set_live_word(self, word: str) -> None:
        """What is said in the place of the playing buttons."""
        self._live.setText(word)
        self._buttons["record"].setVisible(word == "live")

    def set_playing(self, playing: bool) -> None:
        """Show pause while playing, play while paused."""
        if playing != self._playing:
            self._playing = playing
            self.set_palette(self._palette)

    def set_speed(self, speed: float) -> None:
        """Mark the speed in force."""
        if speed in SPEEDS:
            self._speeds.button(SPEEDS.index(speed)).setChecked(True)

    def set_opacity(self, opacity: float) -> None:
        """Move the slider without asking for anything."""
        self._slider.blockSignals(True)
        self._slider.setValue(round(opacity * 100))
        self._slider.blockSignals(False)

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        ink, faint = palette.colour("text"), palette.colour("blind")
        for key, shape in PLAYING.items():
            name = "pause" if key == "play" and self._playing else shape
            self._actions[key].setIcon(icons.icon(name, ink, faint, 18))
