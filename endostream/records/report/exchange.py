"""One question to a server with a deadline that holds and a cancel that is obeyed.

Owns the request and its limits. A stalled or dripping answer cannot be interrupted from outside httpx, so the
request runs on a thread of its own and its socket is shut down when time is up. Must not know what is asked.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

LIMIT = 1 << 20
"""Bytes of an answer."""
_LOOK_S = 0.05


class NoAnswer(Exception):
    """Why there is no usable answer, in one line; `final` when asking again is useless."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Exchange:
    """Questions that share one deadline."""

    def __init__(self, timeout: float, cancel: threading.Event | None) -> None:
        """Start the clock: every question together may take `timeout` seconds."""
        self._timeout = timeout
        self._ends = time.monotonic() + timeout
        self._cancel = cancel

    def ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that the server answers; raises `NoAnswer`."""
        request = _Request(method, url, body, self._timeout)
        request.start()
        try:
            while not request.done.wait(_LOOK_S):
                if self._cancel is not None and self._cancel.is_set():
                    raise NoAnswer("cancelled", final=True)
                if time.monotonic() >= self._ends:
                    raise NoAnswer(f"no complete answer within {self._timeout:g} s", final=True)
        finally:
            request.stop()
        return request.result()


class _Request(threading.Thread):
    """One request; its socket can be shut down from outside."""

    def __init__(self, method: str, url: str, body: Mapping[str, Any] | None, timeout: float) -> None:
        super().__init__(name="endostream-language-model", daemon=True)
        self.done = threading.Event()
        self._asked = (method, url, body, timeout)
        self._socket: socket.socket | None = None
        self._stopped = False
        self._status = 0
        self._content = b""
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._exchange()
        except Exception as error:  # carried to the asking thread by `result`
            self._error = error
        finally:
            self.done.set()

    def _exchange(self) -> None:
        method, url, body, timeout = self._asked
        # `Exchange` keeps the deadline; these only end a thread that it could not reach.
        limits = httpx.Timeout(timeout + 5.0, connect=5.0)
        secure = url.startswith("https:")
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=limits, verify=secure) as client,
            client.stream(method, url, json=body, extensions={"trace": self._trace}) as response,
        ):
            self._status = response.status_code
            parts: list[bytes] = []
            for part in response.iter_bytes():
                parts.append(part)
                if sum(map(len, parts)) > LIMIT:
                    raise NoAnswer("its answer is too long")
            self._content = b"".join(parts)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket")
            if self._stopped:
                raise NoAnswer("cancelled", final=True)

    def stop(self) -> None:
        """End the request if it still runs, and wait for its thread."""
        self._stopped = True
        if not self.done.is_set() and self._socket is not None:
            with contextlib.suppress(OSError):  # it may have closed this moment
                self._socket.shutdown(socket.SHUT_RDWR)
        self.join(timeout=0.1 if self._socket is None else 2.0)

    def result(self) -> Any:
        if self._error is not None:
            raise _reason(self._error) from self._error
        if self._status != 200:
            raise NoAnswer(f"HTTP {self._status}{_said(self._content)}", final=300 <= self._status < 400)
        if not self._content.strip():
            raise NoAnswer("its answer is empty")
        try:
            return json.loads(self._content)
        except (ValueError, RecursionError) as error:
            raise NoAnswer("its answer is not JSON") from error


def _reason(error: BaseException) -> BaseException:
    if isinstance(error, httpx.ConnectError):
        return NoAnswer("nothing answers there; start the server or use --llm off", final=True)
    if isinstance(error, httpx.TimeoutException):
        return NoAnswer("no complete answer in time", final=True)
    if isinstance(error, httpx.HTTPError):
        return NoAnswer("the connection broke off")
    return error


def _said(content: bytes) -> str:
    """What the server says of its refusal, short and on one line."""
    try:
        table = json.loads(content)
        error = table.get("error", table) if isinstance(table, dict) else table
        text = error.get("message", "") if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        return ""
    line = one_line(text)
    return f" ({line})" if line else ""


def one_line(text: object, length: int = 120) -> str:
    """`text` without control characters, on one line of at most `length` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
