"""Live streams from this computer to itself: what a camera or tower would send, and what goes wrong with it.

Owns senders: a video file as it is (`Sender`, read back by `LoopbackSource`), and clips in memory over UDP,
TCP, HTTP and RTSP with scripted faults (`SENDERS`). Must not know what the streams are read for.
"""

from __future__ import annotations

from endostream.capture.loopback.casting import ClipSender
from endostream.capture.loopback.clip import Clip, Unit, encode_clip
from endostream.capture.loopback.file_sender import Sender
from endostream.capture.loopback.protocols import (
    SENDERS,
    HttpSender,
    Protocol,
    RtspSender,
    TcpSender,
    UdpSender,
    open_sender,
)
from endostream.capture.loopback.sent import Sending
from endostream.capture.loopback.source import LoopbackSource

__all__ = [
    "SENDERS",
    "Clip",
    "ClipSender",
    "HttpSender",
    "LoopbackSource",
    "Protocol",
    "RtspSender",
    "Sender",
    "Sending",
    "TcpSender",
    "UdpSender",
    "Unit",
    "encode_clip",
    "open_sender",
]
