"""Every action with its key, read from the table; it takes the side panel's place, not the picture's.

Owns the list. Must not know what the actions do.
"""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QKeySequence
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from . import theme
from .actions import ACTIONS, GROUPS, Action


def keys_of(action: Action) -> str:
    """All keys of an action, for people."""
    native = QKeySequence.SequenceFormat.NativeText
    return "   ".join(QKeySequence(key).toString(native) for key in action.shortcuts)


class HelpPanel(QWidget):
    """All actions by group."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.listed: dict[str, str] = {}
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(16, 10, 16, 16)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(0, 1)
        line = 0
        for group in GROUPS:
            heading = QLabel(group)
            heading.setObjectName("heading")
            heading.setContentsMargins(0, 10 if line else 0, 0, 2)
            grid.addWidget(heading, line, 0, 1, 2)
            line += 1
            for action in (a for a in ACTIONS if a.group == group):
                self.listed[action.key] = keys_of(action)
                text = QLabel(action.text)
                text.setToolTip(action.tip)
                key = QLabel(keys_of(action))
                key.setFont(theme.font(theme.BODY, QFont.Weight.DemiBold))
                key.setAlignment(Qt.AlignmentFlag.AlignRight)
                grid.addWidget(text, line, 0)
                grid.addWidget(key, line, 1)
                line += 1
        grid.setRowStretch(line, 1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        title = QLabel("actions and keys")
        title.setObjectName("heading")
        title.setContentsMargins(16, 12, 16, 4)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(title)
        column.addWidget(area)
