"""A sender of clips: one thread that plays, sends, answers, and does what its script says.

Owns the thread, the port, the connections and the faults. Must not know how a protocol frames its bytes.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

from endostream.capture.loopback.clip import Clip
from endostream.capture.loopback.peers import Peer
from endostream.capture.loopback.reel import Reel
from endostream.capture.loopback.sent import Sent
from endostream.capture.loopback.transport import PACKET, TransportStream
from endostream.errors import RunError

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Where a port is looked for: below those that systems give to outgoing connections. A reader that tries to
reach a closed port among them may be connected to itself."""
PATIENCE_S = 1.0
"""Seconds a caller waits for the thread to do something, and `close` for its end."""
UNLIMITED = 1 << 30
BURST_S = 0.002
"""A connection with a limit may send in one go what its rate allows for so long."""

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
        self._listener: socket.socket | None = None
        self._peers: list[Peer] = []
        self._rate: float | None = None
        self._allowance = _Allowance()
        self._random = random.Random(self.port)
        self._began = 0.0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._orders: deque[Callable[[], None]] = deque()
        self._ending = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        self._rung.setblocking(False)
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
        return sum(peer.playing and not peer.mute for peer in self._peers)

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
            self._give_back()
            return
        with suppress(OSError):
            self._bell.send(b"!")
        self._thread.join(PATIENCE_S)

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
        return self._order(lambda: self._shut("cut"))

    def black_hole(self) -> float:
        """Go silent without a word: connections stay half-open, new ones are accepted and never answered."""
        return self._order(self._swallow)

    def restore(self) -> float:
        """End what `cut` and `black_hole` began: the port is open; who was connected must come again."""
        return self._order(self._restore)

    def drip(self, bytes_per_s: float) -> float:
        """Send no more than so many bytes a second: pictures queue, then are left out."""
        return self._order(lambda: self._slow(bytes_per_s))

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
        with suppress(OSError):
            self._bell.send(b"!")
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
            self._selector.register(self._rung, selectors.EVENT_READ, None)
            self._began = time.monotonic()
            while not self._ending.is_set():
                self._play()
                self._push()
                for key, _ in self._selector.select(self._pause()):
                    self._attend(key.fileobj, key.data)
                while self._orders:
                    self._orders.popleft()()
                self._tell()
        except BaseException as error:
            self._error = error
        finally:
            self._give_back()

    def _pause(self) -> float:
        """Seconds until there is something to do besides listening."""
        pause = self._began + self._reel.due - time.monotonic()
        rate = self._limited
        if rate is not None and any(peer.waits for peer in self._peers):
            pause = min(pause, max(BURST_S / 2, self._allowance.due(rate)))
        return max(0.0, pause)

    @property
    def _limited(self) -> float | None:
        return self._rate if self._rate is not None else self.limit

    def _play(self) -> None:
        """Queue the pictures that are due."""
        while self._began + self._reel.due <= time.monotonic():
            due = self._reel.take()
            if self._state != "sending":
                continue
            stream = self._stream.picture(due.unit.data, due.stamp, due.unit.key)
            mark = due.place, due.unit.counter, self._began + due.at
            for peer in self._peers:
                peer.offer(stream, due.stamp, due.unit.key, mark)

    def _push(self) -> None:
        """Hand over what waits, as far as it may and the other side takes it."""
        rate = self._limited
        allowed = UNLIMITED if rate is None else self._allowance.left(rate)
        for peer in tuple(self._peers):
            try:
                count = peer.push(allowed) if allowed > 0 else 0
            except OSError:
                self._drop(peer)
                continue
            if rate is not None:
                allowed -= count
                self._allowance.spend(count)
            self._listen_to(peer, writing=peer.waits and allowed > 0)

    def _listen_to(self, peer: Peer, writing: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        if peer.mute:
            return
        if self._selector.get_key(peer.sock).events != events:
            self._selector.modify(peer.sock, events, peer)

    def _attend(self, sock: object, peer: Peer | None) -> None:
        """Something came, or a connection takes bytes again."""
        if sock is self._rung:
            with suppress(BlockingIOError):
                self._rung.recv(4096)
        elif peer is None:
            self._accept()
        else:
            self._hear(peer)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self._peer(sock)
        self._add(peer)
        if self._state == "black hole":
            self._hush(peer)

    def _add(self, peer: Peer) -> None:
        self._peers.append(peer)
        self._selector.register(peer.sock, selectors.EVENT_READ, peer)

    def _hear(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(1 << 16)
            if not data and self.kind == socket.SOCK_STREAM:
                raise ConnectionResetError("the other side has closed")
            peer.hear(data)
        except (BlockingIOError, InterruptedError):
            pass
        except (OSError, ValueError):
            if self.kind == socket.SOCK_STREAM:
                self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        self._peers.remove(peer)
        with suppress(KeyError, ValueError):  # a half-open one is not listened to
            self._selector.unregister(peer.sock)
        peer.close()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _give_back(self) -> None:
        self._close_port()
        self._selector.close()
        self._bell.close()
        self._rung.close()
        self._tell()

    def _close_port(self) -> None:
        for peer in tuple(self._peers):
            self._drop(peer)
        if self._listener is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    # -- faults, in the thread

    def _turn(self, state: State) -> None:
        self._state = state
        for peer in self._peers:
            peer.begin_anew()

    def _resume(self) -> None:
        self._rate = None
        self._reel.thaw()
        if self._state == "stalled":
            self._turn("sending")

    def _shut(self, state: State) -> None:
        self._close_port()
        self._turn(state)

    def _hush(self, peer: Peer) -> None:
        """Neither send to it nor hear it any more."""
        self._selector.unregister(peer.sock)
        peer.mute = True

    def _swallow(self) -> None:
        if self._state == "cut":
            self._open()
        self._turn("black hole")
        for peer in self._peers:
            if not peer.mute:
                self._hush(peer)

    def _restore(self) -> None:
        self._close_port()
        self._open()
        self._turn("sending")

    def _slow(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._allowance = _Allowance()

    def _scatter(self, count: int) -> None:
        data = self._random.randbytes(count)
        for peer in self._peers:
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


class _Allowance:
    """How many bytes may go out now at a given rate."""

    def __init__(self) -> None:
        self._left = 0.0
        self._asked = time.monotonic()

    def left(self, rate: float) -> int:
        """Bytes that may go out now; what was not used is lost but for a short burst."""
        now = time.monotonic()
        most = max(rate * BURST_S, float(PACKET))
        self._left = min(most, self._left + rate * (now - self._asked))
        self._asked = now
        return int(self._left)

    def due(self, rate: float) -> float:
        """Seconds until something may go out."""
        return max(0.0, 1.0 - self._left) / rate

    def spend(self, count: int) -> None:
        """So many went out."""
        self._left -= count


def free_port(kind: socket.SocketKind) -> int:
    """A port on this computer that nobody has now; raises `RunError` when there is none."""
    chosen = random.SystemRandom()
    for _ in range(200):
        port = chosen.choice(PORTS)
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RunError("no port is free on this computer; close what sends on it")
