"""SRT through a child process: libav in PyAV's wheel has no SRT, most builds of the ffmpeg program do.

Owns SRT addresses, and what the child is told. Must not know what the transport stream holds, nor reconnect:
who reads it opens a new one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_plus, urlsplit

from endostream.capture.srt_pipe import SrtPipe
from endostream.errors import SourceError

__all__ = ["SrtPipe", "available", "ffmpeg_with_srt", "open_srt", "parse_srt"]

VARIABLE = "ENDOSTREAM_FFMPEG"
"""Environment variable that names another ffmpeg."""
SECRETS = ("passphrase", "streamid", "srt_streamid")
"""Settings that are shown to nobody."""
DELAYS = ("latency", "rcvlatency", "peerlatency", "tsbpddelay")
"""Settings in milliseconds, as everybody writes them; ffmpeg alone counts microseconds."""
MICROSECONDS_FROM = 10_000
"""A delay this large is what somebody wrote for ffmpeg: SRT itself knows none over 10 s."""
MODES = ("caller", "listener", "rendezvous")


@dataclass(frozen=True, slots=True)
class Program:
    """An ffmpeg program that speaks SRT."""

    path: str
    """Where it is."""
    listed_options: bool
    """True where a list of files may hold options (ffmpeg 5, libavformat 59)."""


def ffmpeg_with_srt() -> Program | None:
    """The ffmpeg program that receives SRT; None where there is none."""
    found = shutil.which(os.environ.get(VARIABLE) or "ffmpeg")
    try:
        return _examined(found) if found is not None else None
    except (OSError, subprocess.SubprocessError):  # not remembered: it may be well the next time
        return None


def available() -> bool:
    """True when `srt://` can be opened here."""
    return ffmpeg_with_srt() is not None


@lru_cache(maxsize=8)
def _examined(path: str) -> Program | None:
    said = subprocess.run(
        [path, "-protocols"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
    )
    inputs = said.stdout.decode(errors="replace").partition("Output:")[0]
    version = re.search(rb"libavformat\s+(\d+)\.", said.stderr)
    if re.search(r"^\s*srt\s*$", inputs, re.MULTILINE) is None:
        return None
    return Program(path, version is not None and int(version[1]) >= 59)


def open_srt(url: str, timeout: float, cancelled: threading.Event) -> SrtPipe:
    """The transport stream behind an `srt://` address, as a file that libav reads (`format="mpegts"`).

    Parameters
    ----------
    url : str
        `srt://HOST:PORT`, with `?mode=listener`, `latency=` (milliseconds), `passphrase=`, `streamid=` and
        whatever else ffmpeg knows.
    timeout : float
        Seconds without data after which the file ends.
    cancelled : threading.Event
        Set by another thread to end it within 0.1 s.

    Raises
    ------
    SourceError
        The address is wrong, or there is no ffmpeg with SRT; one line that says what to do.
    """
    name, settings = parse_srt(url)
    program = ffmpeg_with_srt()
    if program is None:
        there = f"{VARIABLE} names none" if os.environ.get(VARIABLE) else "none is there"
        raise SourceError(
            f"{name} needs an ffmpeg program with SRT and {there}: install one (apt install ffmpeg, brew "
            f"install ffmpeg), or name it in {VARIABLE}, or send rtsp:, udp: or tcp: instead"
        )
    arguments, script = _command(name, settings, timeout, program.listed_options)
    secrets = [v for key, value in settings if key in SECRETS for v in (value, unquote_plus(value))]
    return SrtPipe([program.path, *arguments], script, secrets, timeout, cancelled, name)


def parse_srt(url: str) -> tuple[str, list[tuple[str, str]]]:
    """The address without secrets, and its settings as written; raises `SourceError`."""
    how = "write srt://HOST:PORT or srt://:PORT?mode=listener"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SourceError(f"srt address is wrong ({error}); {how}") from error
    settings = [(key, value) for key, _, value in (p.partition("=") for p in parts.query.split("&")) if key]
    said = dict(settings)
    mode = said.get("mode", "caller")
    if parts.scheme.lower() != "srt" or not port or any(c.isspace() or not c.isprintable() for c in url):
        raise SourceError(f"srt address is wrong; {how}")
    if mode not in MODES:
        raise SourceError(f"srt mode={mode} is not known; use one of {', '.join(MODES)}")
    if not host and mode != "listener":
        raise SourceError(f"srt address without a host; {how}")
    # The least and the most that SRT takes; it would say so in words nobody understands.
    if "passphrase" in said and not 10 <= len(unquote_plus(said["passphrase"])) <= 79:
        raise SourceError("srt passphrase= must have 10 to 79 characters; ask who runs the sender")
    for key in DELAYS:
        if key in said and not said[key].isdecimal():
            raise SourceError(f"srt {key}= is not a number of milliseconds; write for example {key}=120")
    shown = f"[{host}]" if ":" in host else host
    return f"srt://{shown}:{port}", settings


def _command(
    name: str, settings: list[tuple[str, str]], timeout: float, listed_options: bool
) -> tuple[list[str], bytes]:
    """The child's arguments, and what it reads on its standard input."""
    said = {key: _microseconds(value) if key in DELAYS else value for key, value in settings}
    # The child ends by itself, should this process be killed; while it lives, `read` is the first to notice.
    limit = str(round(timeout * 2e6))
    said = {"timeout": limit, "connect_timeout": str(round(timeout * 700)), **said}
    url = f"{name}?" + "&".join(f"{key}={value}" for key, value in said.items())
    # Without `-fflags nobuffer`: it throws away what probing has read, and with it the first key frame.
    start, end = ["-hide_banner", "-loglevel", "error"], ["-flush_packets", "1", "pipe:1"]
    if not any(key in SECRETS for key in said):
        # The bytes as they are: nothing is parsed, waited for or stamped anew.
        return [
            *start,
            "-nostdin",
            "-f",
            "data",
            "-i",
            url,
            "-map",
            "0",
            "-c",
            "copy",
            "-f",
            "data",
            *end,
        ], b""
    # Whoever may list processes reads their arguments, so the address goes in by a list on standard input.
    # Such a list probes what it names; unprobed, the first byte comes after 0.3 s and not after 1.2 to 2.3 s.
    quick = {"analyzeduration": "1", "fpsprobesize": "0"}
    lines = ["ffconcat version 1.0", "file '" + url.replace("'", "'\\''") + "'"]
    lines += [f"option {key} {value}" for key, value in quick.items()] if listed_options else []
    reading = [part for key, value in quick.items() for part in (f"-{key}", value)]
    reading += ["-f", "concat", "-safe", "0", "-protocol_whitelist", "pipe,fd,srt,udp", "-i", "pipe:0"]
    copying = ["-map", "0:v:0", "-c", "copy", "-copyinkf:v", "-copyts", "-f", "mpegts"]
    return [*start, *reading, *copying, "-muxdelay", "0", "-muxpreload", "0", *end], (
        "\n".join(lines) + "\n"
    ).encode()


def _microseconds(delay: str) -> str:
    return delay if int(delay) >= MICROSECONDS_FROM else str(int(delay) * 1000)
