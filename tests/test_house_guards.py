"""The guards of conftest.py: a guard that cannot fail guards nothing."""

from __future__ import annotations

import socket
import textwrap
import threading
import urllib.request
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def guarded(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A fresh test folder under the same conftest.py, without plugins that take time to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    return pytester


def outcome(guarded: pytest.Pytester, body: str) -> pytest.RunResult:
    """The result of running one test with this body."""
    guarded.makepyfile("def test_it():\n" + textwrap.indent(textwrap.dedent(body), "    "))
    return guarded.runpytest_inprocess("-p", "no:cacheprovider", "-q")


def test_a_left_thread_is_an_error(guarded: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    import conftest

    guarded.makeconftest(Path(conftest.__file__).read_text().replace("PATIENCE_S = 5.0", "PATIENCE_S = 0.05"))
    release = threading.Event()
    monkeypatch.setattr(threading, "endostream_release", release, raising=False)
    try:
        result = outcome(
            guarded,
            """
            import threading
            threading.Thread(target=threading.endostream_release.wait, name="forgotten").start()
            """,
        )
    finally:
        release.set()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*threads left alive: forgotten*"])
    for thread in threading.enumerate():
        if thread.name == "forgotten":
            thread.join()


def test_a_thread_that_ends_is_no_error(guarded: pytest.Pytester) -> None:
    outcome(guarded, "import threading\nthreading.Thread(target=print).start()").assert_outcomes(passed=1)


def test_a_swallowed_connection_is_still_an_error(guarded: pytest.Pytester) -> None:
    result = outcome(
        guarded,
        """
        import contextlib, socket
        with contextlib.suppress(OSError), socket.socket() as s:
            s.connect(("192.0.2.1", 80))
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*reached for the network: ('192.0.2.1', 80)*"])


def test_names_are_not_even_looked_up(no_network: list[str]) -> None:
    with pytest.raises(OSError, match=r"example\.org"):
        urllib.request.urlopen("http://example.org/", timeout=1)
    assert no_network == ["example.org"]
    no_network.clear()


def test_loopback_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            assert client.getpeername()[1] == port


def test_a_left_window_is_an_error(guarded: pytest.Pytester) -> None:
    pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)
    result = outcome(
        guarded,
        """
        from PySide6.QtWidgets import QApplication, QWidget
        global app, window
        app = QApplication.instance() or QApplication([])
        window = QWidget()
        window.setWindowTitle("forgotten")
        window.show()
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*windows left open: QWidget 'forgotten'*"])


def test_user_folders_are_not_the_users(user_folders: Path) -> None:
    from endostream import resources

    for folder in (resources.user_data(), resources.user_cache(), resources.user_config()):
        assert folder.parent == user_folders
