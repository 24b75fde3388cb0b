"""The entry of the window: the QApplication, the exception hook, the parts connected.

Owns the process's life as a window. Must not decide anything about analysis.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from endostream.config import Settings
from endostream.resources import user_data

from . import theme
from .controller import Controller, Keep
from .life import Build, build_product, one_line
from .main_window import MainWindow
from .preferences import Preferences
from .samples import Notice
from .wiring import Wiring

log = logging.getLogger(__name__)
PROBE = "from PySide6.QtGui import QGuiApplication; QGuiApplication([])"
LONGEST_START = 120.0
"""Seconds after which a timed run ends even when no picture came."""


def display_available(timeout: float = 20.0) -> bool:
    """True when a window can be opened; asked in a child process, because Qt aborts where it cannot."""
    wanted = os.environ.get("QT_QPA_PLATFORM", "")
    on_linux = sys.platform.startswith("linux")
    if on_linux and not wanted and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def application() -> QApplication:
    """The one QApplication, with the window's style and type."""
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(["endostream"])
    app.setApplicationName("EndoStream")
    app.setStyle("Fusion")
    app.setFont(theme.font())
    return app


class _Hook:
    """Shows an error nobody caught as a banner, and writes it down; the window lives on."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._before = sys.excepthook

    def __enter__(self) -> _Hook:
        sys.excepthook = self._tell
        return self

    def __exit__(self, *exception: object) -> None:
        sys.excepthook = self._before

    def _tell(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        log.error("an error in the window", exc_info=(kind, error, trace))
        self._controller.noticed.emit(Notice(one_line(error), "failure"))


class _Timed:
    """Ends a run some seconds after its first picture, saving a picture of the window before."""

    def __init__(self, window: MainWindow, seconds: float, screenshot: Path | None) -> None:
        self._window, self._seconds, self._screenshot = window, seconds, screenshot
        self._begun = False
        window.controller.framed.connect(self._begin)
        window.controller.ended.connect(self._begin)
        self._limit = QTimer(window)
        self._limit.setSingleShot(True)
        self._limit.timeout.connect(self._end)
        self._limit.start(round(LONGEST_START * 1000))

    def _begin(self, _value: object) -> None:
        if not self._begun:
            self._begun = True
            self._limit.start(round(self._seconds * 1000))

    def _end(self) -> None:
        if self._screenshot is not None:
            save_screenshot(self._window, self._screenshot)
        self._window.close()


def session_folder(source: str) -> Path:
    """A folder for a new session among the user's own; its name says when, never what or who."""
    first = user_data("sessions", time.strftime("%Y-%m-%d_%H-%M-%S"))
    candidates = (first, *(first.with_name(f"{first.name}_{number}") for number in range(2, 100)))
    return next(folder for folder in candidates if not folder.exists())


def save_screenshot(window: MainWindow, path: Path) -> None:
    """Save a picture of the window."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not window.grab().save(str(path)):
        log.error("the screenshot %s was not written; choose a folder that can be written", path)


def run(
    source: str | None,
    settings: Settings,
    *,
    autoplay: bool = True,
    screenshot: Path | None = None,
    quit_after: float | None = None,
    keep: Keep | None = session_folder,
    build: Build = build_product,
) -> int:
    """Open the window and return its exit code when it is closed.

    Parameters
    ----------
    source : str or None
        SOURCE as on the command line; None shows what can be opened.
    settings : Settings
        How to analyse.
    autoplay : bool
        False holds a file at its first frame.
    screenshot : Path or None
        Where to save a picture of the window before it closes; without `quit_after` that is 8 s after
        the first picture.
    quit_after : float or None
        Seconds after the first picture at which the window closes by itself.
    keep : callable or None
        Gives the folder in which the session of a source is kept, by default a new one among the user's
        sessions; None keeps nothing.
    build : callable
        Gives the pipeline; the product's own unless a test says otherwise.
    """
    app = application()
    controller = Controller(settings, build=build, keep=keep)
    window = MainWindow(controller, Preferences())
    wiring = Wiring(controller, window)
    window.fits_screen()
    window.show()
    timed = None
    if quit_after is not None or screenshot is not None:
        timed = _Timed(window, 8.0 if quit_after is None else quit_after, screenshot)
    if source is not None:
        QTimer.singleShot(0, window, lambda: controller.open(source, play=autoplay))
    # lets Ctrl+C in the terminal reach Python while Qt waits
    awake = QTimer(window)
    awake.start(200)
    awake.timeout.connect(window.isVisible)
    with _Hook(controller):
        code = int(app.exec())
    controller.close()
    failed = source is not None and controller.failure is not None
    del wiring, timed
    window.deleteLater()
    app.processEvents()
    return code or (1 if failed else 0)
