"""From what a user writes to an open source.

Owns the meaning of SOURCE on the command line and in the window. Must not know analysis.
"""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import urlsplit

from endostream.capture.devices import find_device, looks_like_device
from endostream.capture.live import FIRST_FRAME_TIMEOUT, Address, LiveSource
from endostream.capture.pacing import paced
from endostream.capture.pictures import Pictures, is_picture
from endostream.capture.source import Source
from endostream.capture.video_file import VideoFile
from endostream.errors import SourceError

SILENT = {"timeout": "2000000"}
"""Microseconds after which a connection counts as dead, while a slow key frame may still be waited for."""
SCHEMES: dict[str, dict[str, str]] = {
    "rtsp": {"rtsp_flags": "prefer_tcp", **SILENT},
    "rtsps": dict(SILENT),
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000", "buffer_size": "4194304", **SILENT},
    "rtp": {},
    "tcp": dict(SILENT),
    "http": dict(SILENT),
    "https": dict(SILENT),
    "rtmp": {},
    "rtmps": {},
}
"""Stream protocols and the options their connections get."""


def open_source(
    spec: str,
    *,
    start: float = 0.0,
    live_pace: bool = False,
    first_frame_timeout: float = FIRST_FRAME_TIMEOUT,
    cancelled: threading.Event | None = None,
    as_opencv: bool = False,
) -> Source:
    """The source that `spec` means, open and proven to give at least one picture.

    Parameters
    ----------
    spec : str
        A video file, a picture, a folder of pictures, a device (`webcam:0`, `/dev/video0`, a number, a
        card's name), a URL (rtsp, udp, rtp, tcp, http, https, rtmp) or `phantom:?seed=3&seconds=10`.
    start : float
        Stream time in seconds of the first frame wanted; a live source begins now whatever it says.
    live_pace : bool
        Give the frames of a recorded source when they are due (see `paced`), not as fast as they decode.
    first_frame_timeout : float
        Seconds a live source has for its first frame.
    cancelled : threading.Event or None
        Set by another thread to give up waiting for a live source.
    as_opencv : bool
        For video files: unmarked HD video is taken as BT.601 as OpenCV does, not as BT.709 (for results that
        must equal those of programs that read with OpenCV).

    Raises
    ------
    SourceError
        One line that says what is wrong and what to do.
    """
    path = _recorded(spec)
    source: Source
    if path is None:
        source = _live_or_phantom(spec, start, first_frame_timeout, cancelled)
    elif _exists(path) and (path.is_dir() or is_picture(path)):
        source = Pictures(path, start)
    else:
        source = VideoFile(path, start, as_opencv)
    return paced(source) if live_pace else source


def _scheme(spec: str) -> str:
    return spec.partition(":")[0].lower() if ":" in spec else ""


def _recorded(spec: str) -> Path | None:
    """The file or folder that `spec` names; None when it names something else."""
    if not spec.strip():
        raise SourceError("no source given; name a file, a folder of pictures, a device or a URL")
    if "://" in spec or _scheme(spec) in (*SCHEMES, "srt", "phantom") or spec.startswith("/dev/video"):
        return None
    path = Path(spec).expanduser()
    return None if not _exists(path) and looks_like_device(spec) else path


def _live_or_phantom(spec: str, start: float, timeout: float, cancelled: threading.Event | None) -> Source:
    scheme = _scheme(spec)
    if scheme == "phantom":
        # Imported here: drawing needs modules that reading a file does not.
        from endostream.capture.phantom_source import PhantomSource, parse_phantom

        return PhantomSource(parse_phantom(spec), start)
    address = _stream(spec, scheme) if "://" in spec or scheme in (*SCHEMES, "srt") else _device(spec)
    return LiveSource(address, timeout, cancelled)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be entered: opening it will say so
        return False


def _stream(spec: str, scheme: str) -> Address:
    if scheme == "srt":
        raise SourceError("srt: is not in this build's video library; send MPEG-TS over udp: or tcp: instead")
    if scheme not in SCHEMES:
        raise SourceError(f"protocol {scheme}: is not known; use one of {', '.join(SCHEMES)}")
    try:
        parts = urlsplit(spec)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{scheme} address is wrong ({error}); write {scheme}://HOST:PORT") from error
    if not host and not port:
        raise SourceError(f"{scheme} address without a host; write {scheme}://HOST:PORT")
    name = f"{scheme}://{host or ''}{f':{port}' if port else ''}"
    return Address(spec, name, "stream", options=tuple(SCHEMES[scheme].items()))


def _device(spec: str) -> Address:
    found = find_device(spec)
    options = (("fflags", "nonblock"),)
    return Address(found.file, found.name, "device", format=found.format, options=options)
