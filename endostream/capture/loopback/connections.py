"""A sender's port and everybody connected to it, in one selector.

Owns sockets: listening, accepting, hearing, handing over as much as may go out. One thread makes all calls
but `ring`. Must not know clips, faults or how a protocol frames its bytes.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from endostream.capture.loopback.peers import Mark, Peer
from endostream.capture.loopback.transport import PACKET
from endostream.errors import RunError

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Where a port is looked for: below those that systems give to outgoing connections. A reader that tries to
reach a closed port among them may be connected to itself."""
UNLIMITED = 1 << 30
BURST_S = 0.002
"""A connection with a limit may send in one go what its rate allows for so long."""


def free_port(kind: socket.SocketKind) -> int:
    """A port on this computer that nobody has now; raises `RunError` when there is none."""
    chosen = random.SystemRandom()
    for _ in range(200):
        port = chosen.choice(PORTS)
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RunError("no port is free on this computer; close what sends on it")


class Connections:
    """Who is connected, and what waits to be sent to them.

    Parameters
    ----------
    greet
        What a new connection gets.
    """

    def __init__(self, greet: Callable[[socket.socket], Peer]) -> None:
        self._greet = greet
        self.peers: list[Peer] = []
        """Everybody, half-open ones too."""
        self.hushed = False
        """True when new connections are accepted and never answered."""
        self.rate: float | None = None
        """Bytes a second that may go out; None for as many as are taken."""
        self._allowance = _Allowance()
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        self._rung.setblocking(False)
        self._selector.register(self._rung, selectors.EVENT_READ, None)

    @property
    def readers(self) -> int:
        """Those that get pictures now."""
        return sum(peer.playing and not peer.mute for peer in self.peers)

    def ring(self) -> None:
        """Make a waiting `attend` return; may be called from any thread."""
        with suppress(OSError):
            self._bell.send(b"!")

    def listen(self, port: int) -> None:
        """Open a port for connections; raises `OSError` when it is taken."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            listener.listen()
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, None)

    def add(self, peer: Peer) -> None:
        """Somebody more."""
        self.peers.append(peer)
        self._selector.register(peer.sock, selectors.EVENT_READ, peer)

    def offer(self, stream: bytes, seconds: float, key: bool, mark: Mark) -> None:
        """Queue a picture for everybody who wants pictures."""
        for peer in self.peers:
            peer.offer(stream, seconds, key, mark)

    def slow(self, rate: float | None) -> None:
        """Let no more than so many bytes a second go out."""
        self.rate, self._allowance = rate, _Allowance()

    def push(self) -> None:
        """Hand over what waits, as far as it may and the other side takes it."""
        rate = self.rate
        allowed = UNLIMITED if rate is None else self._allowance.left(rate)
        for peer in tuple(self.peers):
            try:
                count = peer.push(allowed) if allowed > 0 else 0
            except OSError:
                self._drop(peer)
                continue
            if rate is not None:
                allowed -= count
                self._allowance.spend(count)
            self._listen_to(peer, writing=peer.waits and allowed > 0)

    def attend(self, seconds: float) -> None:
        """Wait for something to come, or for a connection to take bytes again, for so long at most."""
        if self.rate is not None and any(peer.waits for peer in self.peers):
            seconds = min(seconds, max(BURST_S / 2, self._allowance.due(self.rate)))
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.fileobj is self._rung:
                with suppress(BlockingIOError):
                    self._rung.recv(4096)
            elif key.data is None:
                self._accept()
            else:
                self._hear(key.data)

    def hush(self) -> None:
        """Neither send to anybody nor hear them any more; connections stay, and new ones are accepted."""
        self.hushed = True
        for peer in self.peers:
            self._hush(peer)

    def shut(self) -> None:
        """Close all connections and the port."""
        for peer in tuple(self.peers):
            self._drop(peer)
        if self._listener is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        self.hushed = False

    def close(self) -> None:
        """Give everything back; may be called again."""
        self.shut()
        self._selector.close()
        self._bell.close()
        self._rung.close()

    def _listen_to(self, peer: Peer, writing: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        if not peer.mute and self._selector.get_key(peer.sock).events != events:
            self._selector.modify(peer.sock, events, peer)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self._greet(sock)
        self.add(peer)
        if self.hushed:
            self._hush(peer)

    def _hush(self, peer: Peer) -> None:
        if not peer.mute:
            self._selector.unregister(peer.sock)
            peer.mute = True

    def _hear(self, peer: Peer) -> None:
        listening = peer.sock.type == socket.SOCK_STREAM
        try:
            data = peer.sock.recv(1 << 16)
            if not data and listening:
                raise ConnectionResetError("the other side has closed")
            peer.hear(data)
        except (BlockingIOError, InterruptedError):
            pass
        except (OSError, ValueError):
            if listening:
                self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        self.peers.remove(peer)
        with suppress(KeyError, ValueError):  # a half-open one is not listened to
            self._selector.unregister(peer.sock)
        peer.close()


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
