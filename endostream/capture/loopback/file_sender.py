"""A video file sent to this computer itself, as it is.

Owns the sender: packets of an H.264 file as MPEG-TS over UDP to 127.0.0.1, at the file's pace, again and
again on one time line, without encoding. Must not know what the stream is read for.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from endostream.capture.video_file import FALLBACK_FPS, OPEN_OPTIONS, check_readable, pick_video, rate_of
from endostream.errors import RunError, SourceError

HOST = "127.0.0.1"
DATAGRAM = 1316
"""Bytes in a datagram: seven packets of a transport stream, what fits a network frame."""
STUFFING = b"\x47\x1f\xff\x10" + b"\xff" * 184
"""A transport packet that says nothing (ISO/IEC 13818-1, 2.4.1): every reader leaves it out."""
KNOCK_S = 0.02
"""Seconds between two tries whether somebody listens."""
AHEAD_S = 0.5
"""Stream time of the first picture: pictures out of order have decoding times before it."""


class Sender:
    """Sends a file from a thread of its own, from the moment somebody listens until `close`.

    Parameters
    ----------
    path
        A video file with H.264.
    failed
        Called from the sender's thread when it stops by itself; `error` says why.

    Raises
    ------
    SourceError
        The file cannot be read, or holds another codec.
    """

    def __init__(self, path: Path, failed: Callable[[], None] = lambda: None) -> None:
        check_readable(path)
        self._failed = failed
        self._path = path
        with self._opened() as container:
            stream = self._picked(container)
            self._interval = 1.0 / (rate_of(stream) or FALLBACK_FPS)
        self.port = _free_port()
        """UDP port on 127.0.0.1."""
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"send {path.name}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a reader opens."""
        return f"udp://{HOST}:{self.port}"

    @property
    def error(self) -> BaseException | None:
        """Why it stopped by itself; None while all is well."""
        return self._error

    def close(self) -> None:
        """Stop sending and wait for the thread; may be called again."""
        self._stopped.set()
        self._thread.join()

    def _opened(self) -> InputContainer:
        try:
            return av.open(f"file:{self._path}", "r", options=dict(OPEN_OPTIONS))
        except (av.FFmpegError, ValueError) as error:
            raise SourceError(
                f"{self._path.name} is not a video that can be read; give another file"
            ) from error

    def _picked(self, container: InputContainer) -> VideoStream:
        stream = pick_video(container, self._path.name)
        codec = stream.codec_context.name
        if codec != "h264":
            raise SourceError(
                f"loopback sends H.264 as it is; {self._path.name} is {codec}: give an H.264 file"
            )
        return stream

    # The sending thread

    def _run(self) -> None:
        try:
            if self._heard():
                url = f"{self.url}?pkt_size={DATAGRAM}"
                # Without waiting for more: a live encoder sends a picture when it has it.
                with av.open(url, "w", format="mpegts", container_options={"flush_packets": "1"}) as out:
                    self._send(out)
        except Exception as error:
            self._error = error
            self._failed()

    def _heard(self) -> bool:
        """Wait until somebody listens, so that the first key frame is not lost; False when stopped first.

        An unheard datagram on this computer is refused at once (ICMP), which the next call on the socket
        tells.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.connect((HOST, self.port))
            knock.settimeout(KNOCK_S)
            while not self._stopped.is_set():
                try:
                    knock.send(STUFFING)
                    knock.recv(1)
                except TimeoutError:
                    return True
                except OSError:
                    self._stopped.wait(KNOCK_S)
        return False

    def _send(self, out: OutputContainer) -> None:
        """Rounds of the file, each joined to the last without a gap."""
        target: VideoStream | None = None
        offset, clock = AHEAD_S, None
        while not self._stopped.is_set():
            with self._opened() as container:
                stream = self._picked(container)
                target = target or out.add_stream_from_template(stream)
                base = stream.time_base or Fraction(1, av.time_base)
                first, end = None, offset
                for packet in container.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    # The first packet is a key frame, shown first: its time is where the round begins.
                    first = packet.pts if first is None else first
                    shift = round(offset / float(base)) - first
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    decoded_at = float(packet.dts * base)
                    end = max(end, float(packet.pts * base) + self._interval)
                    clock = time.monotonic() - decoded_at if clock is None else clock
                    if self._stopped.wait(max(0.0, clock + decoded_at - time.monotonic())):
                        return
                    packet.stream = target
                    out.mux(packet)
                if first is None:
                    raise RunError(f"{self._path.name} gave no packets; copy it again")
                offset = end


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
