"""A sender of clips: one thread that plays, sends, answers, and does what its script says.

Owns the thread, the clock and the faults. Must not know sockets or how a protocol frames its bytes.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from endostream.capture.loopback.clip import Clip
from endostream.capture.loopback.connections import HOST, Connections, free_port
from endostream.capture.loopback.peers import Peer
from endostream.capture.loopback.reel import Reel
from endostream.capture.loopback.sent import Sent
from endostream.capture.loopback.transport import TransportStream
from endostream.errors import RunError

PATIENCE_S = 5.0
"""Seconds a caller waits for the thread to do something: milliseconds, but on a computer that is overrun."""
END_S = 1.0
"""Seconds `close` waits for the thread."""

State = Literal["sending", "stalled", "cut", "black hole"]


class ClipSender(ABC):
    """Sends a looped clip as a live stream to whoever is there; pictures go by whether somebody reads or not.

    Faults may be called from any thread and give the monotonic time in seconds at which they took effect.
    Whatever the state, `close` ends it within a second.

    Parameters
    ----------
    clip
        What is played, again and again on one time line.
    bounded
        As in `TransportStream`.
    """

    scheme = ""
    """The protocol's name in an address."""
    kind = socket.SOCK_STREAM
    """The sort of port it needs."""
    limit: int | None = None
    """Bytes a second at most when nothing slows it down; None for as fast as the reader takes them."""

    def __init__(self, clip: Clip, *, bounded: bool = False) -> None:
        self.sent = Sent()
        """What went out, and when: the moment the last byte of a picture was handed to the socket."""
        self.port = free_port(self.kind)
        """Port on 127.0.0.1."""
        self._reel = Reel(clip)
        self._stream = TransportStream(bounded)
        self._state: State = "sending"
        self._connections = Connections(self._peer)
        self._connections.slow(self.limit)
        self._random = random.Random(self.port)
        self._began = 0.0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._orders: deque[Callable[[], None]] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"send {self.scheme}", daemon=True)

    # -- called by whoever tests

    @property
    def url(self) -> str:
        """What a reader opens."""
        return f"{self.scheme}://{HOST}:{self.port}"

    @property
    def state(self) -> State:
        """What it does."""
        return self._state

    @property
    def clip(self) -> Clip:
        """What is played."""
        return self._reel.clip

    @property
    def error(self) -> BaseException | None:
        """Why it stopped by itself; None while all is well."""
        return self._error

    @property
    def readers(self) -> int:
        """Connections that get pictures now."""
        return self._connections.readers

    def start(self) -> Self:
        """Open the port and begin to play; one that plays goes on."""
        if self._thread.ident is not None:
            return self
        try:
            self._open()
        except OSError as error:
            self.close()
            raise RunError(f"port {self.port} cannot be opened ({error.strerror}); start again") from error
        self._thread.start()
        return self

    def close(self) -> None:
        """Close all connections and the port, and end the thread; may be called again."""
        self._ending.set()
        if self._thread.ident is None:
            self._connections.close()
            return
        self._connections.ring()
        self._thread.join(END_S)

    def wait_sent(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until `count` pictures more than now have gone out; False after `timeout` seconds."""
        return self.sent.wait(len(self.sent) + count, timeout)

    def wait_readers(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until exactly `count` connections get pictures; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.readers == count, timeout)

    # -- faults

    def stall(self) -> float:
        """Send no more pictures; connections stay, and new ones are answered."""
        return self._order(lambda: self._turn("stalled"))

    def resume(self) -> float:
        """End what `stall`, `drip` and `freeze` began; the stream goes on with a key frame."""
        return self._order(self._resume)

    def cut(self) -> float:
        """Close all connections and the port: the sender has died."""
        return self._order(self._die)

    def black_hole(self) -> float:
        """Go silent without a word: connections stay half-open, new ones are accepted and never answered."""
        return self._order(self._swallow)

    def restore(self) -> float:
        """End what `cut` and `black_hole` began: the port is open; who was connected must come again."""
        return self._order(self._restore)

    def drip(self, bytes_per_s: float) -> float:
        """Send no more than so many bytes a second: pictures queue, then are left out."""
        return self._order(lambda: self._connections.slow(bytes_per_s))

    def garbage(self, count: int) -> float:
        """Send so many random bytes between two pictures."""
        return self._order(lambda: self._scatter(count))

    def switch(self, clip: Clip, *, reconnect: bool = False) -> float:
        """Go on with another clip, in mid-stream or (`reconnect`) with all connections closed first."""
        return self._order(lambda: self._switch(clip, reconnect))

    def jump(self, seconds: float) -> float:
        """Let the time stamps jump forward or, below 0, back."""
        return self._order(lambda: self._reel.jump(seconds))

    def freeze(self) -> float:
        """From the next key frame on, send that one picture again and again, until `resume`."""
        return self._order(self._reel.freeze)

    def _order(self, action: Callable[[], None]) -> float:
        """Have the thread do something, and wait for it."""
        done, at = threading.Event(), [0.0]

        def act() -> None:
            action()
            at[0] = time.monotonic()
            done.set()

        self._orders.append(act)
        self._connections.ring()
        if not self._thread.is_alive() or not done.wait(PATIENCE_S):
            raise RunError(f"the {self.scheme} sender has ended ({self._error or 'closed'}); start another")
        return at[0]

    # -- what protocols say

    @abstractmethod
    def _open(self) -> None:
        """Open the port, or whatever stands for it."""

    @abstractmethod
    def _peer(self, sock: socket.socket) -> Peer:
        """What a new connection gets."""

    # -- the thread

    def _run(self) -> None:
        try:
            self._began = time.monotonic()
            while not self._ending.is_set():
                self._play()
                self._connections.push()
                self._connections.attend(self._began + self._reel.due - time.monotonic())
                while self._orders:
                    self._orders.popleft()()
                self._tell()
        except BaseException as error:
            self._error = error
        finally:
            self._connections.close()
            self._tell()

    def _play(self) -> None:
        """Queue the pictures that are due."""
        while self._began + self._reel.due <= time.monotonic():
            due = self._reel.take()
            if self._state == "sending":
                stream = self._stream.picture(due.unit.data, due.stamp, due.unit.key)
                mark = due.place, due.unit.counter, self._began + due.at
                self._connections.offer(stream, due.stamp, due.unit.key, mark)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- faults, in the thread

    def _turn(self, state: State) -> None:
        self._state = state
        for peer in self._connections.peers:
            peer.begin_anew()

    def _resume(self) -> None:
        self._connections.slow(self.limit)
        self._reel.thaw()
        if self._state == "stalled":
            self._turn("sending")

    def _die(self) -> None:
        self._connections.shut()
        self._turn("cut")

    def _swallow(self) -> None:
        if self._state == "cut":
            self._open()
        self._turn("black hole")
        self._connections.hush()

    def _restore(self) -> None:
        self._connections.shut()
        self._open()
        self._turn("sending")

    def _scatter(self, count: int) -> None:
        data = self._random.randbytes(count)
        for peer in self._connections.peers:
            peer.add(data)

    def _switch(self, clip: Clip, reconnect: bool) -> None:
        self._reel.switch(clip)
        if reconnect:
            self._restore()

    def __enter__(self) -> Self:
        """The sender, at work; leaving the block closes it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
