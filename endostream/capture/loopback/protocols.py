"""The four ways a clip is sent: UDP, TCP, HTTP and RTSP.

Owns what opens a port for each of them. Must not know clips, faults or framing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from endostream.capture.loopback.casting import ClipSender
from endostream.capture.loopback.clip import Clip
from endostream.capture.loopback.connections import HOST
from endostream.capture.loopback.peers import DatagramPeer, HttpPeer, Peer, RtspPeer

Protocol = Literal["udp", "tcp", "http", "rtsp"]


class UdpSender(ClipSender):
    """MPEG-TS in datagrams to a port of this computer, whether somebody listens or not."""

    scheme, kind = "udp", socket.SOCK_DGRAM
    limit = 40_000_000
    """A key frame of 100 kB takes 2.5 ms: all at once is more than a receiving system's buffers may hold."""

    def _open(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        self._connections.add(self._peer(sock))

    def _peer(self, sock: socket.socket) -> Peer:
        return DatagramPeer(sock, self.sent.add, (HOST, self.port))


class TcpSender(ClipSender):
    """MPEG-TS to everybody who connects, from then on, beginning with a key frame."""

    scheme = "tcp"

    def _open(self) -> None:
        self._connections.listen(self.port)

    def _peer(self, sock: socket.socket) -> Peer:
        return Peer(sock, self.sent.add)


class HttpSender(TcpSender):
    """The same for everybody who asks for it over HTTP, whatever the path."""

    scheme = "http"

    def _peer(self, sock: socket.socket) -> Peer:
        return HttpPeer(sock, self.sent.add)


class RtspSender(TcpSender):
    """The same over RTSP, with RTP on the connection that was asked on."""

    scheme = "rtsp"

    @property
    def url(self) -> str:
        """What a reader opens."""
        return f"{super().url}/live"

    def _peer(self, sock: socket.socket) -> Peer:
        return RtspPeer(sock, self.sent.add)


SENDERS: Mapping[Protocol, type[ClipSender]] = MappingProxyType(
    {"udp": UdpSender, "tcp": TcpSender, "http": HttpSender, "rtsp": RtspSender}
)
"""Every protocol and who sends over it."""


def open_sender(protocol: Protocol, clip: Clip) -> ClipSender:
    """A sender at work; close it."""
    return SENDERS[protocol](clip).start()
