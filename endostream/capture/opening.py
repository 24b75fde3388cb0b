"""From what a user writes to an open source.

Owns the meaning of SOURCE on the command line and in the window. Must not know analysis.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from endostream.capture.address import Address
from endostream.capture.devices import DeviceAddress, find_again, find_device, looks_like_device
from endostream.capture.live import FIRST_FRAME_TIMEOUT, LiveSource
from endostream.capture.pacing import paced
from endostream.capture.pictures import Pictures, is_picture
from endostream.capture.source import Source
from endostream.capture.tapping import Tap
from endostream.capture.video_file import VideoFile
from endostream.errors import SourceError
from endostream.types import Deinterlace

SILENT = {"timeout": "2000000"}
"""Microseconds after which a connection counts as dead, while a slow key frame may still be waited for."""
UNCOUNTED = {"fpsprobesize": "0"}
"""The stream states its rate: opening does not wait half a second to count it."""
TRANSPORT = {"fflags": "noparse", **UNCOUNTED}
"""For transport streams. A picture fills whole PES packets: asked to find its end itself, libav holds each
one back until the next has come (measured at 30 a second: 68 ms from sender to picture, 35 without). Not for
RTSP, where libav gets H.264 in pieces and must put pictures together itself."""
SCHEMES: dict[str, dict[str, str]] = {
    "rtsp": {"rtsp_flags": "prefer_tcp", **UNCOUNTED, **SILENT},
    "rtsps": {**UNCOUNTED, **SILENT},
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000", "buffer_size": "4194304", **TRANSPORT, **SILENT},
    "rtp": {},
    "tcp": {**TRANSPORT, **SILENT},
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
    first_frame_timeout: float | None = FIRST_FRAME_TIMEOUT,
    cancelled: threading.Event | None = None,
    as_opencv: bool = False,
    deinterlace: Deinterlace = "auto",
    tap: Tap | None = None,
    say: Callable[[str], None] | None = None,
) -> Source:
    """The source that `spec` means, open and proven to give at least one picture.

    Parameters
    ----------
    spec : str
        A video file, a picture, a folder of pictures, a device (`webcam:0`, `/dev/video0`, a number, a
        card's name), a URL (rtsp, udp, rtp, tcp, http, https, rtmp, srt) or `phantom:?seed=3&seconds=10`.
    start : float
        Stream time in seconds of the first frame wanted; a live source begins now whatever it says.
    live_pace : bool
        Give the frames of a recorded source when they are due (see `paced`), not as fast as they decode.
    first_frame_timeout : float or None
        Seconds a live source has for its first frame; None waits for ever.
    cancelled : threading.Event or None
        Set by another thread to give up waiting for a live source.
    as_opencv : bool
        For video files: unmarked HD video is taken as BT.601 as OpenCV does, not as BT.709 (for results that
        must equal those of programs that read with OpenCV).
    deinterlace : str
        Which pictures of a video are deinterlaced: `auto` (those that say so), `on` or `off`.
    tap : Tap or None
        Hears the packets of a live source.
    say : callable or None
        Hears what a live source waits for before its first frame, one line each.

    Raises
    ------
    SourceError
        One line that says what is wrong and what to do.
    """
    path = _recorded(spec)
    source: Source
    if path is None and _scheme(spec) == "phantom":
        source = _phantom(spec, start)
    elif path is None:
        source = LiveSource(
            _address(spec), first_frame_timeout, cancelled, deinterlace=deinterlace, tap=tap, say=say
        )
    elif _exists(path) and (path.is_dir() or is_picture(path)):
        source = Pictures(path, start)
    else:
        source = VideoFile(path, start, as_opencv, deinterlace)
    return paced(source) if live_pace else source


def is_live(spec: str) -> bool:
    """True when `spec` names a device or a stream, whether or not it is there."""
    return _recorded(spec) is None and _scheme(spec) != "phantom"


def _scheme(spec: str) -> str:
    return spec.partition(":")[0].lower() if ":" in spec else ""


def _recorded(spec: str) -> Path | None:
    """The file or folder that `spec` names; None when it names something else."""
    if not spec.strip():
        raise SourceError("no source given; name a file, a folder of pictures, a device or a URL")
    if (
        "://" in spec
        or _scheme(spec) in (*SCHEMES, "srt", "phantom")
        or spec.startswith(("/dev/video", "/dev/v4l/"))
    ):
        return None
    path = Path(spec).expanduser()
    return None if not _exists(path) and looks_like_device(spec) else path


def _phantom(spec: str, start: float) -> Source:
    # Imported here: drawing needs modules that reading a file does not.
    from endostream.capture.phantom_source import PhantomSource, parse_phantom

    return PhantomSource(parse_phantom(spec), start)


def _address(spec: str) -> Address:
    scheme = _scheme(spec)
    return _stream(spec, scheme) if "://" in spec or scheme in (*SCHEMES, "srt") else _device(spec)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be entered: opening it will say so
        return False


def _stream(spec: str, scheme: str) -> Address:
    if scheme not in SCHEMES and scheme != "srt":
        raise SourceError(f"protocol {scheme}: is not known; use one of {', '.join((*SCHEMES, 'srt'))}")
    try:
        parts = urlsplit(spec)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{scheme} address is wrong ({error}); write {scheme}://HOST:PORT") from error
    if not host and not port:
        raise SourceError(f"{scheme} address without a host; write {scheme}://HOST:PORT")
    name = f"{scheme}://{host or ''}{f':{port}' if port else ''}"
    if scheme == "srt":
        return Address(spec, name, "stream", options=tuple(TRANSPORT.items()), piped=True)
    return Address(spec, name, "stream", options=tuple(SCHEMES[scheme].items()))


def _device(spec: str) -> Address:
    return _device_address(find_device(spec))


def _device_address(found: DeviceAddress) -> Address:
    """How to open a device now, and how to find it again when it was unplugged."""
    return Address(
        found.file,
        found.name,
        "device",
        format=found.format,
        options=(("fflags", "nonblock"), *found.options),
        again=lambda: _device_address(find_again(found)),
    )
