"""A child process whose output is read as a file: bounded, interruptible, and gone when it is closed.

Owns the child, its pipe and its last words. Must not know how the child is told what to receive.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from endostream.errors import SourceError

UNSAID = re.compile(
    r"(Connection to )?(srt://\S+|pipe:\d)( failed)?: (Input/output error|I/O error|Error \S+)"
    r"|Impossible to open '\S+'"
)
"""What ffmpeg says of every broken connection, whatever broke it."""
LIBRARY = re.compile(r"\d\d:\d\d:\d\d\.\d+/\S+ ")
"""How the messages of the SRT library begin."""
REFUSED = re.compile(r"BADSECRET|UNSECURE|(?i:incorrect passphrase|password required)")
"""What they say when the passphrases differ."""
CHUNK = 65_536
"""Bytes read from the child at once; a pipe of Linux holds as many."""
MOST_BYTES = 1_048_576
"""Bytes kept for a reader that is busy: 0.4 s of 20 Mbit/s. Then the child waits, and SRT drops."""
LOOK_S = 0.05
"""Seconds between two looks at `cancelled` while nothing comes."""
LAST_WORDS_S = 0.2
"""Seconds that a child which ended has to say why."""
FAREWELL_S = 1.0
"""Seconds that a killed child has to be gone."""


class SrtPipe:
    """What a child process receives; one reader, `close` from any thread.

    The end is an empty `read`, never an exception: PyAV takes that for the end of the stream and gives the
    packets that it still has, where an exception from a file costs the last ones and is printed.

    Parameters
    ----------
    command
        The child and its arguments; it writes the stream to its standard output.
    script
        What it gets on its standard input.
    secrets
        Words that `failure` must not hold.
    timeout
        Seconds without data after which the file ends.
    cancelled
        Ends it when set.
    name
        The address as it may be shown.
    """

    def __init__(
        self,
        command: Sequence[str],
        script: bytes,
        secrets: Sequence[str],
        timeout: float,
        cancelled: threading.Event,
        name: str = "srt",
    ) -> None:
        self._name, self._received = name, False
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        self._timeout, self._cancelled = timeout, cancelled
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._kept = 0
        self._ended = self._closed = False
        self._line, self._silence, self._final = "", "", ""
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if script else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # Ctrl-C is for this program, which then ends the child in its turn.
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise SourceError(
                f"{command[0]} cannot be started ({error.strerror}); install it anew"
            ) from error
        self._threads = [
            threading.Thread(target=self._receive, name="srt stream", daemon=True),
            threading.Thread(target=self._listen, name="srt messages", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._instruct(script)

    def _instruct(self, script: bytes) -> None:
        if self._child.stdin is not None:
            # A child that ended already says why.
            with suppress(OSError), self._child.stdin as entrance:
                entrance.write(script)

    @property
    def failure(self) -> str:
        """Why it ended, in one line without secrets; empty while it runs, and when `close` ended it."""
        if not (self._ended or self._silence) or self._closed:
            return self._final
        if self._line and not UNSAID.fullmatch(self._line):
            return self._line
        if self._silence:
            return f"{self._name}: {self._silence}"
        if self._received:
            return f"{self._name}: the sender stopped, or the connection broke"
        return f"{self._name} does not answer, or the passphrase is not the sender's"

    def readable(self) -> bool:
        """True: it is a file to read."""
        return True

    def read(self, size: int = CHUNK) -> bytes:
        """Up to `size` bytes, at least one; empty at the end, after silence, `cancelled` or `close`."""
        deadline = time.monotonic() + self._timeout
        with self._changed:
            while not self._chunks and not self._over:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._silence = f"no data for {self._timeout:g} s"
                else:
                    self._changed.wait(min(left, LOOK_S))
            if self._chunks and not (self._closed or self._cancelled.is_set()):
                return self._taken(size)
        if self._ended:
            self._threads[1].join(LAST_WORDS_S)
        return b""

    @property
    def _over(self) -> bool:
        return self._ended or self._closed or bool(self._silence) or self._cancelled.is_set()

    def _taken(self, size: int) -> bytes:
        chunk = self._chunks.popleft()
        if len(chunk) > size > 0:
            self._chunks.appendleft(chunk[size:])
            chunk = chunk[:size]
        self._kept -= len(chunk)
        self._changed.notify_all()
        return chunk

    def close(self) -> None:
        """End the child and wait until it is gone, a second at most; may be called again."""
        final = self.failure
        with self._changed:
            self._final, self._closed = final, True
            self._chunks.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + FAREWELL_S
        self._kill()
        try:
            self._child.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:  # stuck in the kernel: nobody can end it
            return
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            for pipe in (self._child.stdout, self._child.stderr):
                if pipe is not None:
                    pipe.close()

    def _kill(self) -> None:
        if self._child.returncode is not None:  # its number may belong to another process by now
            return
        try:
            if sys.platform == "win32":
                self._child.kill()
            else:
                os.killpg(self._child.pid, signal.SIGKILL)  # with whatever a script has started
        except (ProcessLookupError, PermissionError):
            pass

    # The threads' side: reading a pipe blocks, and on Windows nothing can wait for two of them

    def _receive(self) -> None:
        assert self._child.stdout is not None
        handle = self._child.stdout.fileno()
        try:
            while chunk := os.read(handle, CHUNK):
                with self._changed:
                    self._received = True
                    while self._kept > MOST_BYTES and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        break
                    self._chunks.append(chunk)
                    self._kept += len(chunk)
                    self._changed.notify_all()
        except OSError:  # a pipe that breaks is a pipe that ended
            pass
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        handle = self._child.stderr.fileno()
        rest = b""
        try:
            while chunk := os.read(handle, CHUNK):
                *lines, rest = (rest + chunk)[-CHUNK:].splitlines(keepends=True) or [b""]
                if rest.endswith((b"\n", b"\r")):
                    lines, rest = [*lines, rest], b""
                for line in lines[-8:]:
                    self._heard(line)
        except OSError:
            pass
        self._heard(rest)

    def _heard(self, line: bytes) -> None:
        said = self._clean(line.decode(errors="replace"))
        if LIBRARY.match(said):
            if not REFUSED.search(said):
                return
            said = f"{self._name}: the passphrase is not the sender's"
        # What came before a line without a reason says more than it does.
        if said and not (self._line and UNSAID.fullmatch(said)):
            self._line = said

    def _clean(self, said: str) -> str:
        """A line of the child's as it may be shown: no address with settings, no secret, no pointers."""
        said = re.sub(r"\[[\w#:/ ]+ @ 0x[0-9a-fA-F]+\]\s*", "", said)
        said = re.sub(
            r"srt://[^\s'\"?]*\?[^\s'\"]*?(?=:?[\s'\"]|:?$)", lambda m: m[0].partition("?")[0], said
        )
        said = re.sub(r"//[^/\s@]*@", "//", said)
        said = re.sub(r"^pipe:\d", self._name, said)  # the list that named the address
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:200]

    def __enter__(self) -> Self:
        """The file itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
