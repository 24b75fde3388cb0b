"""The other end of a connection: what waits to be sent to it, and what it may say.

Owns backlogs, requests and framing (UDP datagrams, plain TCP, HTTP, RTSP with interleaved RTP). Must not know
clips, clocks or faults.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from endostream.capture.loopback.transport import PACKET

DATAGRAM = 7 * PACKET
"""Bytes of stream in a datagram or RTP packet: what fits a network frame."""
Mark = tuple[int, int, float]
"""A picture that is sent: how many were played before it, its counter, and when it was due."""
Heard = Callable[[Mark], None]
"""Hears of every picture whose last byte was handed over."""
BACKLOG = 4 << 20
"""Bytes that may wait for a slow reader; over that, pictures are left out up to a key frame."""
LONGEST_REQUEST = 1 << 16
"""Bytes of a request over which the other side is not one of ours."""
SENT_AT_ONCE = 1 << 16
"""Bytes handed over in one call, so that a slowed-down connection is slowed down evenly."""


class Peer:
    """Whoever gets the stream over plain TCP, from the moment it connects.

    Parameters
    ----------
    sock
        The connection, which must not block.
    sent
        Called when the last byte of a picture has been handed over.
    """

    def __init__(self, sock: socket.socket, sent: Heard) -> None:
        self.sock = sock
        self.playing = True
        """True when pictures are wanted."""
        self.mute = False
        """True when nothing may be sent or heard any more: the connection is half-open."""
        self._sent = sent
        self._waiting_for_key = True
        self._backlog: deque[tuple[memoryview, Mark | None]] = deque()
        self._size = 0
        self._leaving = False

    @property
    def waits(self) -> bool:
        """True when something is still to be sent."""
        return bool(self._backlog) and not self.mute

    def offer(self, stream: bytes, seconds: float, key: bool, mark: Mark) -> None:
        """Queue one picture; left out until a key frame comes, and while too much waits."""
        if not self.playing or self.mute:
            return
        self._waiting_for_key = (self._waiting_for_key and not key) or self._size > BACKLOG
        if not self._waiting_for_key:
            self._queue(self.framed(stream, seconds), mark)

    def begin_anew(self) -> None:
        """Leave pictures out up to the next key frame."""
        self._waiting_for_key = True

    def add(self, data: bytes) -> None:
        """Queue bytes that are no picture."""
        if self.playing and not self.mute:
            self._queue(self.framed(data, 0.0), None)

    def framed(self, stream: bytes, seconds: float) -> list[bytes]:
        """The pieces in which the protocol carries a stretch of stream with the time stamp `seconds`."""
        return [stream]

    def hear(self, data: bytes) -> None:
        """Bytes from the other side; raises `ConnectionError` when there is nothing more to say."""

    def push(self, allowed: int) -> int:
        """Hand over up to about `allowed` bytes; the number of bytes handed over, 0 when it would wait.

        Raises `OSError` when the connection is gone.
        """
        total = 0
        while self._backlog and total < allowed and not self.mute:
            data, mark = self._backlog[0]
            try:
                count = self._hand_over(data[: self._piece(len(data), allowed - total)])
            except (BlockingIOError, InterruptedError):
                break
            total += count
            self._size -= count
            if count < len(data):
                self._backlog[0] = (data[count:], mark)
                continue
            self._backlog.popleft()
            if mark is not None:
                self._sent(mark)
        if self._leaving and not self._backlog:
            raise ConnectionResetError("the other side has said good-bye")
        return total

    def close(self) -> None:
        """Close the connection."""
        self._backlog.clear()
        self.sock.close()

    def _piece(self, size: int, allowed: int) -> int:
        return min(size, allowed, SENT_AT_ONCE)

    def _hand_over(self, data: memoryview) -> int:
        return self.sock.send(data)

    def _queue(self, pieces: list[bytes], mark: Mark | None) -> None:
        for place, piece in enumerate(pieces, 1):
            self._backlog.append((memoryview(piece), mark if place == len(pieces) else None))
            self._size += len(piece)

    def _leave(self) -> None:
        """Close when all that waits has been sent."""
        self._leaving = True


class DatagramPeer(Peer):
    """Whoever listens on a UDP port."""

    def __init__(self, sock: socket.socket, sent: Heard, to: tuple[str, int]) -> None:
        super().__init__(sock, sent)
        self._to = to

    def framed(self, stream: bytes, seconds: float) -> list[bytes]:
        """Datagrams."""
        return _pieces(stream)

    def _piece(self, size: int, allowed: int) -> int:
        return size  # a datagram goes as a whole

    def _hand_over(self, data: memoryview) -> int:
        try:
            return self.sock.sendto(data, self._to)
        except ConnectionError:  # nobody listens: as on any network, the datagram is lost
            return len(data)


class HttpPeer(Peer):
    """Whoever asks for the stream over HTTP."""

    def __init__(self, sock: socket.socket, sent: Heard) -> None:
        super().__init__(sock, sent)
        self.playing = False
        self._heard = b""

    def hear(self, data: bytes) -> None:
        """A request, in pieces."""
        self._heard += data
        if len(self._heard) > LONGEST_REQUEST:
            raise ConnectionAbortedError("this is no request")
        if b"\r\n\r\n" in self._heard and not self.playing:
            self._queue(
                [b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\nCache-Control: no-cache\r\n\r\n"], None
            )
            self.playing = True


class RtspPeer(Peer):
    """Whoever plays the stream over RTSP, with RTP on the connection that answers too (RFC 2326, 10.12).

    The stream is announced as payload 33, a transport stream (RFC 3551, RFC 2250).
    """

    def __init__(self, sock: socket.socket, sent: Heard) -> None:
        super().__init__(sock, sent)
        self.playing = False
        self._heard = b""
        self._sequence = 0

    def framed(self, stream: bytes, seconds: float) -> list[bytes]:
        """RTP packets of seven transport packets, each behind its channel and length."""
        stamp = (round(seconds * 90_000) % (1 << 32)).to_bytes(4, "big")
        framed = []
        for piece in _pieces(stream):
            self._sequence = (self._sequence + 1) % (1 << 16)
            head = b"\x80\x21" + self._sequence.to_bytes(2, "big") + stamp + b"ENDO"
            framed.append(b"$\0" + (len(head) + len(piece)).to_bytes(2, "big") + head + piece)
        return [b"".join(framed)]

    def hear(self, data: bytes) -> None:
        """Requests, and reports on the reception, which are passed over."""
        self._heard += data
        while self._heard:
            if self._heard[0] == ord("$"):
                size = 4 + int.from_bytes(self._heard[2:4], "big")
                if len(self._heard) < max(4, size):
                    return
                self._heard = self._heard[size:]
                continue
            head, found, rest = self._heard.partition(b"\r\n\r\n")
            if not found:
                if len(self._heard) > LONGEST_REQUEST:
                    raise ConnectionAbortedError("this is no request")
                return
            lines = head.decode("latin-1").splitlines()
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            size = int(fields.get("content-length", "0"))
            if len(rest) < size:
                return
            self._heard = rest[size:]
            self._answer(lines[0].split(), fields)

    def _answer(self, request: list[str], fields: dict[str, str]) -> None:
        method, url = (*request, "", "")[:2]
        said, more, body = "200 OK", "", b""
        if method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
        elif method == "DESCRIBE":
            body = _description()
            more = f"Content-Base: {url.rstrip('/')}/\r\nContent-Type: application/sdp\r\n"
        elif method == "SETUP" and "interleaved" in fields.get("transport", ""):
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "SETUP":
            said = "461 Unsupported Transport"
        elif method == "PLAY":
            more = "Range: npt=now-\r\n"
        elif method not in ("TEARDOWN", "GET_PARAMETER"):
            said = "501 Not Implemented"
        head = f"RTSP/1.0 {said}\r\nCSeq: {fields.get('cseq', '0')}\r\nSession: 1;timeout=60\r\n{more}"
        self._queue([f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body], None)
        if method == "PLAY":
            self.playing = True
        elif method == "TEARDOWN":
            self.playing = False
            self._leave()


def _description() -> bytes:
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=EndoStream loopback",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        "a=control:*",
        "m=video 0 RTP/AVP 33",
        "a=control:stream=0",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _pieces(stream: bytes) -> list[bytes]:
    return [stream[i : i + DATAGRAM] for i in range(0, len(stream), DATAGRAM)]
