"""Choosers: windows of their own that never block the main one; and the chooser of packs.

Owns the packs offered. Must not open anything; it emits `chosen(pack)`.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from endostream.errors import PackError
from endostream.packs import Pack, pack_folders, read_pack
from endostream.resources import shipped

from . import icons, theme

SPEC = Qt.ItemDataRole.UserRole


def sample_video() -> Path | None:
    """The sample video that came with the program, or None."""
    return next(iter(sorted(shipped("sample_videos").glob("*.mp4"))), None)


def label(text: str, name: str = "quiet") -> QLabel:
    """A line of text in one of the window's styles."""
    made = QLabel(text)
    made.setObjectName(name)
    made.setWordWrap(True)
    if name == "title":
        made.setFont(theme.font(theme.FAR, QFont.Weight.DemiBold))
    return made


class Choices(QComboBox):
    """A list that unfolds; the arrow is drawn, because a style sheet can only load one from a file."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the field and the arrow."""
        super().paintEvent(event)
        painter = QPainter(self)
        role = QPalette.ColorRole.WindowText if self.isEnabled() else QPalette.ColorRole.PlaceholderText
        box = QRectF(self.width() - 24, self.height() / 2 - 5, 11, 11)
        icons.draw(painter, "chevron", box, self.palette().color(role))
        painter.end()


class Chooser(QDialog):
    """A window that stays beside the main one and goes when it is closed."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget, title: str) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setModal(False)
        self.setWindowTitle(title)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 20, 24, 20)
        self.column.setSpacing(10)
        self.column.addWidget(label(title, "title"))

    def choose(self, spec: str) -> None:
        """Emit what was chosen and go."""
        self.chosen.emit(spec)
        self.close()


class PackDialog(Chooser):
    """Every pack; one without weights is shown with the command that imports it."""

    def __init__(self, parent: QWidget, current: str) -> None:
        super().__init__(parent, "Choose a pack")
        self.resize(620, 480)
        self.packs = QListWidget()
        self.packs.setWordWrap(True)
        self.packs.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.packs.currentItemChanged.connect(self._describe)
        self.packs.itemActivated.connect(self._take)
        self.column.addWidget(self.packs)
        self._summary = label("")
        self._command = label("", "mono")
        self._command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.column.addWidget(self._summary)
        self.column.addWidget(self._command)
        self._use = QPushButton("Use this pack")
        self._use.setDefault(True)
        self._use.clicked.connect(self._take)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self._use)
        self.column.addLayout(row)
        self._known: dict[str, Pack] = {}
        self._damaged: dict[str, str] = {}
        for name, folder in pack_folders().items():
            self._add(name, folder, current)
        if self.packs.currentItem() is None:
            self._describe(None)

    def _add(self, name: str, folder: Path, current: str) -> None:
        try:
            pack = read_pack(folder)
        except PackError as error:
            self._damaged[name] = str(error)
            text = f"{name}\ndamaged"
        else:
            self._known[name] = pack
            text = f"{pack.title}\n{name} {pack.version}" + ("   ·   needs import" if pack.missing else "")
        item = QListWidgetItem(text)
        item.setData(SPEC, name)
        if not self.can_use(name):
            item.setForeground(self.palette().placeholderText())
        self.packs.addItem(item)
        if name == current:
            self.packs.setCurrentItem(item)

    def command_for(self, name: str) -> str:
        """The command that imports the weights of a pack."""
        files = " ".join("FILE" for _ in self._known[name].models)
        return f"endostream packs import {files} --pack {name}"

    def can_use(self, name: str) -> bool:
        """True when the pack is whole."""
        return name in self._known and not self._known[name].missing

    def _describe(self, item: QListWidgetItem | None) -> None:
        name = str(item.data(SPEC)) if item is not None else ""
        self._use.setEnabled(self.can_use(name))
        self._command.hide()
        if name in self._known:
            pack = self._known[name]
            self._summary.setText(f"{pack.summary}\nLicence: {pack.licence}".strip())
            if pack.missing:
                self._command.setText(self.command_for(name))
                self._command.show()
        else:
            self._summary.setText(self._damaged.get(name, "No pack is installed." if not item else ""))

    def _take(self) -> None:
        item = self.packs.currentItem()
        if item is not None and self.can_use(str(item.data(SPEC))):
            self.choose(str(item.data(SPEC)))
