"""What every test gets: its own user folders, no network, and no thread or window left behind."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
"""A test opens no window on somebody's desktop."""

LIBRARY_THREADS = ("pytest_timeout", "TMonitor", "tqdm", "Dummy-", "ThreadPoolExecutor", "asyncio_")
"""Name prefixes of threads that belong to a library and live as long as the process."""
PATIENCE_S = 5.0
"""A thread that was told to stop gets this long to end; waited for with `join`, never with a sleep."""


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's folders of this test session; the cache is shared so that models are compiled once."""
    base = tmp_path_factory.mktemp("user")
    before = {}
    for name in ("DATA", "CACHE", "CONFIG"):
        key = f"ENDOSTREAM_{name}"
        before[key] = os.environ.get(key)
        os.environ[key] = str(base / name.lower())
        (base / name.lower()).mkdir()
    yield base
    for key, value in before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


def _of_library(thread: threading.Thread) -> bool:
    return thread.name.startswith(LIBRARY_THREADS) or type(thread).__name__ in ("_DummyThread", "TMonitor")


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread alive."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and not _of_library(t)]
    for thread in left:
        thread.join(PATIENCE_S)
    alive = [t.name for t in left if t.is_alive()]
    if alive:
        pytest.fail(f"threads left alive: {', '.join(alive)}")


def _top_level_widgets() -> set[Any]:
    widgets = sys.modules.get("PySide6.QtWidgets")
    if widgets is None or widgets.QApplication.instance() is None:
        return set()
    return set(widgets.QApplication.topLevelWidgets())


@pytest.fixture(autouse=True)
def no_window_left() -> Iterator[None]:
    """Fail a test that leaves a window visible; hidden ones may wait for the garbage collector."""
    before = _top_level_widgets()
    yield
    if not _top_level_widgets() - before:
        return
    core = sys.modules["PySide6.QtCore"]
    gc.collect()
    core.QCoreApplication.sendPostedEvents(None, core.QEvent.Type.DeferredDelete.value)
    left = [w for w in _top_level_widgets() - before if w.isVisible()]
    if left:
        names = ", ".join(f"{type(w).__name__} {w.windowTitle()!r}" for w in left)
        for window in left:
            window.close()
        pytest.fail(f"windows left open: {names}")


def _is_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in ("", "localhost", "::1", "0.0.0.0", "::"):
        return True
    return isinstance(name, str) and (name.startswith("127.") or name == socket.gethostname())


class OutsideError(OSError):
    """A test reached for another machine."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse every connection but loopback, and fail the test even if the refusal was swallowed.

    Gives the list of refused addresses: a test that expects a refusal clears it.
    """
    refused: list[str] = []

    def refuse(where: object) -> None:
        refused.append(str(where))
        raise OutsideError(f"a test may not reach {where}")

    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            address = args[-1]
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
                refuse(address)
            return original(self, *args)

        return call

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(name))
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *args: Any, **more: Any) -> Any:
        if not _is_here(host):
            refuse(host)
        return resolve(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    yield refused
    if refused:
        pytest.fail(f"a test reached for the network: {', '.join(refused)}")
