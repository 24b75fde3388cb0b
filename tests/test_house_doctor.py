"""The doctor: always an answer, quickly, and the right one where something is wrong."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from endostream import doctor
from endostream.doctor import checks, probes
from endostream.engines.kernels import library
from endostream.engines.kernels.library import Features

WINDOW_FAILS = "import sys; print({!r}, file=sys.stderr); sys.exit(134)"


@pytest.fixture(scope="module")
def examined() -> list[doctor.Check]:
    """One look at this computer."""
    return doctor.examine()


def named(found: list[doctor.Check], name: str) -> doctor.Check:
    """The check with this name."""
    return next(check for check in found if check.name == name)


def test_everything_is_answered_in_one_line_each(examined: list[doctor.Check]) -> None:
    names = {check.name for check in examined}
    assert {"Python", "libraries", "processor", "CUDA", "OpenVINO", "window", "ffmpeg"} <= names
    assert {"data folder", "cache folder", "preferences folder", "video devices", "sample video"} <= names
    assert "language model" not in names
    for check in examined:
        assert check.detail
        assert "\n" not in check.detail + check.advice
        assert "could not be examined" not in check.detail, check


def test_what_works_in_these_tests_is_ok(examined: list[doctor.Check]) -> None:
    for name in ("Python", "libraries", "OpenVINO", "data folder", "cache folder"):
        assert named(examined, name).state == "ok", named(examined, name)
    assert "CPU" in named(examined, "OpenVINO").detail


@pytest.mark.parametrize(
    ("built", "switch", "offers", "state", "said"),
    [
        (True, "", Features.AVX2 | Features.AVX512, "ok", "for the published networks: avx512, avx2"),
        (True, "", Features(0), "ok", "none for this processor"),
        (True, "off", Features.AVX2, "ok", "switched off by ENDOSTREAM_KERNELS"),
        (False, "", Features(0), "warn", "not built"),
    ],
)
def test_the_kernels_say_what_they_are_for(
    built: bool, switch: str, offers: Features, state: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.SWITCH, switch)
    monkeypatch.setattr(library, "_library", lambda: object() if built else None)
    monkeypatch.setattr(library, "features", lambda: offers)
    (check,) = checks._kernels()
    assert check.state == state and said in check.detail
    assert (state == "warn") == bool(check.advice)


def test_json_and_text_say_the_same(examined: list[doctor.Check]) -> None:
    table = json.loads(json.dumps(doctor.as_json(examined)))
    assert table["state"] == doctor.worst(examined)
    assert [c["name"] for c in table["checks"]] == [c.name for c in examined]
    lines = doctor.as_text(examined)
    assert len(lines) == len(examined) + sum(1 for c in examined if c.advice)
    assert all(any(c.detail in line for line in lines) for c in examined)


def test_no_network_library_is_loaded() -> None:
    code = (
        "import sys; from endostream.doctor import examine; examine(); "
        "print({'torch', 'openvino', 'PySide6', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("states", "whole"),
    [([], "ok"), (["ok"], "ok"), (["ok", "warn"], "warn"), (["warn", "fail", "ok"], "fail")],
)
def test_the_whole_is_as_bad_as_its_worst_part(states: list[checks.CheckState], whole: str) -> None:
    assert doctor.worst([doctor.Check("a", state, "b") for state in states]) == whole


def test_no_display_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    (check,) = checks._window(checks._window_child())
    assert check.state == "warn"
    assert "no display" in check.detail


@pytest.mark.parametrize(
    ("complaint", "advice"),
    [
        ("qt.qpa.xcb: could not connect to display :7", "check DISPLAY"),
        ("ImportError: libEGL.so.1: cannot open shared object file: No such file", "libegl1"),
        ("qt.qpa.plugin: From 6.5.0, libxcb-cursor0 is needed to load the Qt xcb plugin", "libxcb-cursor0"),
    ],
)
def test_a_window_that_does_not_open(complaint: str, advice: str) -> None:
    (check,) = checks._window(probes.Child(WINDOW_FAILS.format(f"{complaint}\nAborted")))
    assert check.state == "warn"
    assert check.detail == complaint
    assert advice in check.advice


def test_a_broken_openvino_is_one_line() -> None:
    (check,) = checks._openvino(probes.Child("raise ImportError('no such file')"))
    assert (check.state, check.detail) == ("fail", "ImportError: no such file")
    assert "--engine torch" in check.advice


def test_a_child_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "CHILD_S", 0.2)
    said, reason = probes.Child("import threading; threading.Event().wait()").answer()
    assert said is None
    assert "no answer" in reason


def test_a_check_that_breaks_is_a_check_that_failed() -> None:
    def broken() -> Iterator[doctor.Check]:
        raise ZeroDivisionError("first\nsecond")
        yield

    (check,) = checks._guarded("thing", broken)
    assert check == doctor.Check("thing", "fail", "could not be examined: ZeroDivisionError: first")


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    proc = Path("/proc/self")
    if not proc.is_dir():
        pytest.skip("needs a folder that not even root can write")
    monkeypatch.setenv("ENDOSTREAM_DATA", str(proc / "endostream"))
    check = named(list(checks._folders()), "data folder")
    assert check.state == "fail"
    assert "ENDOSTREAM_DATA" in check.advice


def test_a_damaged_pack_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "packs" / "broken"
    folder.mkdir(parents=True)
    (folder / "pack.toml").write_text("schema = 1\nname = ")
    monkeypatch.setenv("ENDOSTREAM_DATA", str(tmp_path))
    check = named(list(checks._packs()), "pack broken")
    assert check.state == "fail"
    assert "pack.toml" in check.detail


class Server(http.server.BaseHTTPRequestHandler):
    """Answers one path with one document."""

    reply = (200, b"")

    def do_GET(self) -> None:
        status, body = type(self).reply if self.path == "/v1/models" else (404, b"")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize(
    ("reply", "state", "said"),
    [
        ((200, b'{"data": [{"id": "gemma"}, {"id": "qwen"}]}'), "ok", "gemma, qwen"),
        ((200, b'{"data": []}'), "ok", "no model"),
        ((200, b"<html>"), "warn", "no OpenAI-compatible server"),
        ((500, b""), "warn", "HTTP 500"),
    ],
)
def test_a_language_model_server(reply: tuple[int, bytes], state: str, said: str) -> None:
    kind = type("Server", (Server,), {"reply": reply})
    with http.server.HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            (check,) = checks._language_model(f"http://127.0.0.1:{server.server_port}/v1")
        finally:
            server.shutdown()
            thread.join()
    assert check.state == state
    assert said in check.detail


def test_a_language_model_elsewhere_is_not_asked() -> None:
    (check,) = checks._language_model("http://192.0.2.1:1234/v1")
    assert check.state == "warn"
    assert "not asked" in check.detail


def test_no_language_model_there() -> None:
    (check,) = checks._language_model("http://127.0.0.1:9/v1")
    assert check.state == "warn"
    assert "nothing answers" in check.detail
