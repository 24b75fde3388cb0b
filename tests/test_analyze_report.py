"""The report of a real session, worded by a fake language model server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from small import write_pack, write_video

from endostream.cli import main

FAITHFUL = "One polyp candidate was seen."
INVENTED = "An ulcer was seen in the stomach."


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    text = FAITHFUL
    code = 200


class Answer(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(self.server.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._send({"data": [{"id": "fake-model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send({"choices": [{"message": {"role": "assistant", "content": self.server.text}}]})


@pytest.fixture
def server() -> Iterator[FakeServer]:
    found = FakeServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    clip, pack = write_video(folder / "clip.mp4", 40), write_pack(folder / "tiny")
    assert main(["analyze", str(clip), "--out", str(folder / "s"), "--pack", str(pack)]) == 0
    return folder / "s"


def report(session: Path, server: FakeServer | None, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    port = 9 if server is None else server.server_port
    capsys.readouterr()
    assert main(["report", str(session), "--llm", f"http://127.0.0.1:{port}/v1"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("report: "))
    return line, (session / "report.md").read_text() + (session / "report.html").read_text()


def test_a_faithful_text_is_kept(
    session: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text = report(session, server, capsys)
    assert text.count(FAITHFUL) == 2
    stored = json.loads((session / "prose.json").read_text())
    assert stored["model"] == "fake-model" and stored["prompt"]


def test_an_invented_finding_is_not_exported(
    session: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.text = f"{FAITHFUL} {INVENTED} 7 polyp candidates were seen."
    _, text = report(session, server, capsys)
    assert FAITHFUL in text and "ulcer" not in text and "7 polyp" not in text


@pytest.mark.parametrize("case", ["refused", "400", "empty"])
def test_without_a_usable_server_the_template_stands(
    case: str, session: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.code = 400 if case == "400" else 200
    server.text = "" if case == "empty" else FAITHFUL
    line, text = report(session, None if case == "refused" else server, capsys)
    assert "template" in line and FAITHFUL not in text and "polyp candidate" in text


def test_off_is_off(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(session), "--llm", "off"]) == 0
    assert "report: " not in capsys.readouterr().out
    assert main(["report", str(session), "--llm", "http://203.0.113.5:1234/v1"]) == 2
