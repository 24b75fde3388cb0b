"""The language model's prose: a server that behaves in every way seen in the wild."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_records_store import done, run_info
from test_records_verify import FACTS, ONE

from endostream.errors import InputError
from endostream.records.report import load_prose, store_prose
from endostream.records.report.exchange import LIMIT
from endostream.records.report.language_model import base_url, write_prose
from endostream.records.session import Session
from endostream.records.store import SessionWriter

FAITHFUL = "One polyp candidate was detected between 0.28 s and 2.4 s, with a peak confidence of 0.97."
INVENTED = "A bleeding ulcer was found at 00:02."
WRONG = "One polyp candidate was detected at 9.9 s."
Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with what the test put on the server."""

    def do_GET(self) -> None:
        self.json({"data": [{"id": "first-model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.server.answer(self, asked)  # type: ignore[attr-defined]

    def json(self, value: object, status: int = 200) -> None:
        self.raw(json.dumps(value).encode(), status)

    def raw(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def message(self, content: object, **more: object) -> None:
        self.json({"model": "m", "choices": [{"message": {"content": content, **more}}]})

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answer, server.asked = answer, []  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_json(*sentences: str) -> str:
    return json.dumps({"sentences": list(sentences)})


def refuse_schema(handler: Handler, asked: dict[str, Any]) -> None:
    if "response_format" in asked:
        handler.json({"error": {"message": "'response_format.type' must be\n'text'"}}, 400)
    else:
        handler.message(FAITHFUL)


KEPT: dict[str, Answer] = {
    "as asked": lambda h, _: h.message(as_json(FAITHFUL)),
    "schema refused": refuse_schema,
    "schema ignored": lambda h, _: h.message(FAITHFUL),
    "fenced": lambda h, _: h.message(f"Here you are:\n```json\n{as_json(FAITHFUL)}\n```"),
    "bulleted": lambda h, _: h.message(f"Summary:\n- {FAITHFUL}\n"),
    "thinking aloud": lambda h, _: h.message(f"<think>{INVENTED} hm</think>\n{as_json(FAITHFUL)}"),
    "in reasoning_content": lambda h, _: h.message("", reasoning_content=f"well... {as_json(FAITHFUL)}"),
    "in reasoning, null content": lambda h, _: h.message(None, reasoning=as_json(FAITHFUL)),
    "in parts": lambda h, _: h.message([{"type": "text", "text": as_json(FAITHFUL)}]),
    "objects": lambda h, _: h.message(json.dumps({"sentences": [{"text": FAITHFUL, "evidence": [7]}, 3]})),
    "one string": lambda h, _: h.message(json.dumps({"report": FAITHFUL})),
    "empty at first": lambda h, a: h.message("" if "response_format" in a else FAITHFUL),
    "cut off at first": lambda h, a: h.message(
        '{"sentences": ["One po' if "response_format" in a else FAITHFUL
    ),
    "broken at first": lambda h, a: h.raw(b"{", length=99) if "response_format" in a else h.message(FAITHFUL),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_faithful_text_is_kept_however_it_comes(name: str) -> None:
    with serving(KEPT[name]) as (url, asked):
        prose = write_prose(ONE, url=url, timeout=10)
    assert (prose.text, prose.used, prose.model) == (FAITHFUL, True, "first-model")
    assert prose.kept[0].evidence == ("finding:1",)
    assert asked[0]["response_format"]["type"] == "json_schema"
    assert prose.prompt == asked[-1]["messages"][0]["content"]


def drop(handler: Handler, _: dict[str, Any]) -> None:
    handler.raw(b'{"choices": [', length=500)
    handler.connection.shutdown(socket.SHUT_RDWR)


REFUSED: dict[str, tuple[Answer, str]] = {
    "HTTP 400": (lambda h, _: h.json({"error": "bad\nrequest"}, 400), "HTTP 400 (bad request)"),
    "HTTP 404": (
        lambda h, _: h.json({"error": {"message": "model 'x' not found"}}, 404),
        "model 'x' not found",
    ),
    "HTTP 500": (lambda h, _: h.raw(b"<html>", 500), "HTTP 500"),
    "redirect": (lambda h, _: h.raw(b"", 302), "HTTP 302"),
    "empty body": (lambda h, _: h.raw(b""), "empty"),
    "empty content": (lambda h, _: h.message(""), "empty"),
    "blank content": (lambda h, _: h.message(" \n "), "empty"),
    "only thoughts": (lambda h, _: h.message("", reasoning=FAITHFUL), "empty"),
    "not JSON": (lambda h, _: h.raw(b"hello"), "not JSON"),
    "deep JSON": (lambda h, _: h.raw(b"[" * 100_000), "not JSON"),
    "another document": (lambda h, _: h.json([1, 2]), "no chat completion"),
    "no choices": (lambda h, _: h.json({"choices": []}), "no chat completion"),
    "cut off": (lambda h, _: h.message('{"sentences": ["One po'), "cut off"),
    "mid-stream drop": (drop, "broke off"),
    "huge": (lambda h, _: h.raw(b" " * (LIMIT + 10)), "too long"),
    "invented": (lambda h, _: h.message(as_json(INVENTED)), "no sentence could be verified"),
    "wrong number": (lambda h, _: h.message(as_json(WRONG, INVENTED)), "9.9 s"),
    "one long sentence": (lambda h, _: h.message(as_json(FAITHFUL[:-1] * 9)), "too long"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_template_stands_with_one_clear_line(name: str) -> None:
    answer, says = REFUSED[name]
    with serving(answer) as (url, _):
        prose = write_prose(ONE, url=url, model="x", timeout=10)
    assert (prose.text, prose.used) == ("", False)
    assert says in prose.reason and "\n" not in prose.reason
    assert not prose.kept


def test_flagged_sentences_are_not_exported() -> None:
    with serving(lambda h, _: h.message(as_json(FAITHFUL, INVENTED, WRONG))) as (url, _):
        prose = write_prose(ONE, url=url, timeout=10)
    assert prose.text == FAITHFUL and prose.used
    assert [s.text for s in prose.flagged] == [INVENTED, WRONG]
    assert all(s.reason for s in prose.flagged)
    assert prose.reason == "1 of 3 sentences verified"


def test_nobody_there_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    prose = write_prose(ONE, url=f"http://127.0.0.1:{port}/v1", timeout=10)
    assert not prose.used and f"127.0.0.1:{port}" in prose.reason and "--llm off" in prose.reason


@contextmanager
def silent(drip: bool) -> Iterator[str]:
    """A server that takes the connection and then says nothing, or a blank now and then."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if drip:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.02):
                    try:
                        if drip:
                            connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("drip", [False, True], ids=["stall", "slow drip"])
def test_the_deadline_holds(drip: bool) -> None:
    before = threading.active_count()
    with silent(drip) as url:
        began = time.monotonic()
        prose = write_prose(ONE, url=url, model="m", timeout=0.4)
        took = time.monotonic() - began
        assert threading.active_count() == before + 1
    assert "within 0.4 s" in prose.reason and not prose.used
    assert 0.4 <= took < 2


@pytest.mark.parametrize("drip", [False, True], ids=["stall", "slow drip"])
def test_cancel_works_in_a_stall(drip: bool) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.15, cancel.set)
    with silent(drip) as url:
        timer.start()
        began = time.monotonic()
        prose = write_prose(ONE, url=url, timeout=60, cancel=cancel)
        took = time.monotonic() - began
    timer.join()
    assert "cancelled" in prose.reason and took < 1.5


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.org/v1", "allow_remote"),
        ("https://10.0.0.7:1234/v1", "another one"),
        ("http://localhost.example.org/v1", "another one"),
        ("http://localhost@example.org/v1", "not the URL"),
        ("http://0.0.0.0:1/v1", "another one"),
        ("file:///etc/passwd", "not the URL"),
        ("lmstudio", "not the URL"),
        ("", "not the URL"),
        ("http://[", "another one"),
        ("http://h\nost/", "not"),
    ],
)
def test_facts_stay_on_this_machine(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        write_prose(ONE, url=url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("auto", "http://localhost:1234/v1"),
        ("http://[::1]:11434/v1/", "http://[::1]:11434/v1"),
        ("http://127.0.0.2/v1/chat/completions", "http://127.0.0.2/v1"),
        ("http://box.local:1/v1", "http://box.local:1/v1"),
    ],
)
def test_loopback_and_named_hosts_are_allowed(url: str, base: str) -> None:
    assert base_url(url, ("Box.local",)) == base


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(KEPT["as asked"]) as (url, _):
        assert write_prose(ONE, url=url, timeout=10).used


def test_the_model_is_told_facts_and_no_identity() -> None:
    secret = replace(
        FACTS, source="SMITH_JOHN_1950.mp4", warnings=("SMITH_JOHN_1950.mp4 is short",), phi_mask="tower-9"
    )
    with serving(KEPT["as asked"]) as (url, asked):
        write_prose(secret, url=url, timeout=10)
    sent = json.dumps(asked)
    assert "SMITH" not in sent and "tower-9" not in sent and "stills" not in sent
    told = json.loads(asked[0]["messages"][0]["content"].partition("Facts:\n")[2])
    assert [f["label"] for f in told["findings"]] == ["polyps", "polyps", "ulcerative-colitis-grade-2"]
    assert asked[0]["temperature"] == 0 and asked[0]["stream"] is False


def test_the_prose_is_kept_with_its_session(tmp_path: Path) -> None:
    SessionWriter.create(tmp_path, run_info()).finish(done(0))
    session = Session.open(tmp_path)
    assert load_prose(session) is None
    with serving(lambda h, _: h.message(as_json(FAITHFUL, INVENTED))) as (url, _):
        prose = write_prose(ONE, url=url, timeout=10)
    store_prose(session, prose)
    assert load_prose(session) == prose
    assert session.events()[-1].data == {
        "used": True,
        "reason": "1 of 2 sentences verified",
        "model": "first-model",
    }
    (tmp_path / "prose.json").write_text("{")
    with pytest.raises(InputError, match="delete it"):
        load_prose(session)
