"""From the table of actions to Qt's actions and the menu.

Owns which action makes sense when. Must not know what an action does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from .actions import ACTIONS, BY_KEY, GROUPS, Needs


def make_actions(owner: QWidget, method: Callable[[str], Callable[..., object]]) -> dict[str, QAction]:
    """A QAction for every row of the table, bound to `method(row.method)` and live in `owner`."""
    made: dict[str, QAction] = {}
    for row in ACTIONS:
        action = QAction(row.text, owner)
        action.setObjectName(row.key)
        action.setShortcuts([QKeySequence(key) for key in row.shortcuts])
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.setToolTip(row.hint)
        action.setStatusTip(row.tip)
        action.setCheckable(row.checkable)
        work = method(row.method)
        if row.checkable:
            action.toggled.connect(work)
        else:
            action.triggered.connect(lambda _checked=False, work=work: work())
        owner.addAction(action)
        made[row.key] = action
    return made


def make_menu(owner: QWidget, actions: Mapping[str, QAction]) -> QMenu:
    """One menu with a section per group, in the order of the table."""
    menu = QMenu(owner)
    for group in GROUPS:
        part = menu.addMenu(group)
        for row in ACTIONS:
            if row.group == group:
                part.addAction(actions[row.key])
    return menu


def enable(actions: Mapping[str, QAction], there: Mapping[Needs, bool]) -> None:
    """Enable the actions whose needs are there."""
    for key, action in actions.items():
        needs = BY_KEY[key].needs
        action.setEnabled(needs == "nothing" or there.get(needs, False))
