"""SRT through a child: a script in ffmpeg's place that behaves badly, and a real ffmpeg that speaks SRT."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import pytest
from test_capture_media import picture

from endostream.capture import open_source, srt
from endostream.capture.srt import open_srt, parse_srt
from endostream.capture.srt_pipe import CHUNK, FAREWELL_S, MOST_BYTES, SrtPipe
from endostream.errors import SourceError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script in a program's place")
PROTOCOLS = "Supported file protocols:\nInput:\n  file\n  srt\n  srtp\nOutput:\n  file\n  srt\n"
BLIND = PROTOCOLS.replace("Input:\n  file\n  srt\n", "Input:\n  file\n")
PASSPHRASE = "open sesame 42".replace(" ", "-")
URL = "srt://127.0.0.1:9000"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def stream() -> bytes:
    """A transport stream of 25 small pictures, every one a key frame."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt, video.gop_size = 96, 64, "yuv420p", 1
        for number in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number))))
        container.mux(video.encode(None))
    return file.getvalue()


Fake = Callable[..., Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bytes) -> Fake:
    """Puts a script in ffmpeg's place: `act` is its Python, with STREAM, out (stdout) and err (stderr)."""
    (tmp_path / "stream.ts").write_bytes(stream)

    def install(act: str, protocols: str = PROTOCOLS, version: int = 59) -> Path:
        script = tmp_path / "ffmpeg"
        script.write_text(
            f"#!{sys.executable} -S\n"
            "import os, signal, sys, time\n"
            f"banner = '  libavformat    {version}. 27.100 / {version}. 27.100\\n'\n"
            f"if '-protocols' in sys.argv: print({protocols!r}); sys.stderr.write(banner); sys.exit()\n"
            f"STREAM = open({str(tmp_path / 'stream.ts')!r}, 'rb').read()\n"
            f"FOLDER = {str(tmp_path)!r}\n"
            "out, err = sys.stdout.buffer, sys.stderr.buffer\n" + act
        )
        script.chmod(0o755)
        srt._examined.cache_clear()
        monkeypatch.setenv(srt.VARIABLE, str(script))
        return script

    return install


FOREVER = "\nout.flush(); err.flush()\nwhile True: signal.pause()\n"


@contextmanager
def opened(timeout: float = PATIENCE_S, url: str = URL) -> Iterator[SrtPipe]:
    """A pipe that is closed, whose child is then gone."""
    pipe = open_srt(url, timeout, threading.Event())
    child = pipe._child
    try:
        yield pipe
    finally:
        start = time.monotonic()
        pipe.close()
        took = time.monotonic() - start
    assert took < FAREWELL_S + 0.5
    # Reaped: not even a zombie of that number is left.
    assert child.returncode is not None
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)


def everything(pipe: SrtPipe, size: int = 65_536) -> bytes:
    """All bytes until the end."""
    parts = []
    while part := pipe.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


def test_libav_reads_the_stream_to_a_clean_end(fake: Fake) -> None:
    fake("out.write(STREAM)")
    with opened() as pipe:
        with av.open(pipe, format="mpegts") as container:
            packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        assert len(packets) == 25
        assert pipe.failure == "srt://127.0.0.1:9000: the sender stopped, or the connection broke"


@pytest.mark.parametrize("size", [1, 188, 1316, 65_536])
def test_every_byte_arrives_whatever_the_size_of_reads(fake: Fake, stream: bytes, size: int) -> None:
    fake("for i in range(0, len(STREAM), 999): out.write(STREAM[i:i + 999]); out.flush()")
    with opened() as pipe:
        assert everything(pipe, size) == stream


def test_a_child_that_says_nothing_ends_the_file_in_time(fake: Fake) -> None:
    fake("out.write(STREAM[:1880])" + FOREVER)
    with opened(timeout=1.5) as pipe:
        assert len(pipe.read(4096)) == 1880
        start = time.monotonic()
        assert pipe.read(4096) == b""
        assert 1.49 < time.monotonic() - start < 3.0
        assert pipe.failure == "srt://127.0.0.1:9000: no data for 1.5 s"
        start = time.monotonic()
        assert pipe.read(4096) == b"", "once ended it stays so"
        assert time.monotonic() - start < 0.2


def test_libav_does_not_hang_on_silence(fake: Fake) -> None:
    fake("out.write(STREAM[:len(STREAM) // 2])" + FOREVER)
    with opened(timeout=1.5) as pipe, av.open(pipe, format="mpegts") as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        assert 8 <= len(packets) <= 13
        assert "no data for 1.5 s" in pipe.failure


@pytest.mark.parametrize("act", ["", "out.write(bytes(5000))"])
def test_libav_gets_an_error_it_knows_when_nothing_useful_comes(fake: Fake, act: str) -> None:
    fake(act)
    with opened() as pipe, pytest.raises(av.FFmpegError):
        av.open(pipe, format="mpegts")


def test_cancel_ends_a_waiting_read_at_once(fake: Fake) -> None:
    fake(FOREVER)
    cancelled = threading.Event()
    pipe = open_srt(URL, 60.0, cancelled)
    ended: list[float] = []

    def wait() -> None:
        assert pipe.read(4096) == b""
        ended.append(time.monotonic())

    reader = threading.Thread(target=wait, name="reader")
    reader.start()
    set_at = time.monotonic()
    cancelled.set()
    reader.join(PATIENCE_S)
    # 0.05 s by design; the rest is for a busy machine.
    assert ended and ended[0] - set_at < 0.5
    assert pipe.failure == ""
    pipe.close()


def test_cancel_ends_a_file_that_has_more(fake: Fake) -> None:
    fake("while True: out.write(STREAM)")
    cancelled = threading.Event()
    with open_srt(URL, PATIENCE_S, cancelled) as pipe:
        assert pipe.read(188)
        cancelled.set()
        assert pipe.read(188) == b""


def test_close_ends_a_waiting_read(fake: Fake) -> None:
    fake(FOREVER)
    pipe = open_srt(URL, 60.0, threading.Event())
    reader = threading.Thread(target=pipe.read, name="reader")
    reader.start()
    pipe.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    pipe.close()
    assert pipe.failure == "" and pipe.read(10) == b""


def test_a_child_that_ignores_signals_and_has_children_is_ended(fake: Fake) -> None:
    fake(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "if child: out.write(str(child).encode())" + FOREVER
    )
    with opened() as pipe:
        grandchild = int(pipe.read(100))
    deadline = time.monotonic() + PATIENCE_S
    while _lives(grandchild):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def _lives(pid: int) -> bool:
    """True while a process runs; one that waits to be reaped by somebody else does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_flood_of_messages_does_not_stop_the_stream(fake: Fake, stream: bytes) -> None:
    flood = "err.write(b'x' * 2_000_000 + b'\\nnoise\\n' * 50_000); err.flush()\n"
    fake(flood + "out.write(STREAM); out.flush()\n" + flood + "err.write(b'the last word')")
    with opened() as pipe:
        assert everything(pipe) == stream
        assert pipe.failure == "the last word"


def test_a_reader_that_is_busy_does_not_fill_the_memory(fake: Fake) -> None:
    fake("while True: out.write(bytes(65536))")
    with opened() as pipe:
        with pipe._changed:
            assert pipe._changed.wait_for(lambda: pipe._kept > MOST_BYTES, PATIENCE_S)
            # Nothing more is taken until something is read.
            assert not pipe._changed.wait_for(lambda: pipe._kept > MOST_BYTES + CHUNK, 0.2)
        total = 0
        while total < 4 * MOST_BYTES:
            total += len(pipe.read(65_536))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "[srt @ 0x55d0c8] Connection to srt://127.0.0.1:9000?passphrase=SECRET&timeout=1 failed: "
            "Connection refused",
            "Connection to srt://127.0.0.1:9000 failed: Connection refused",
        ),
        ("bad passphrase SECRET!", "bad passphrase ***!"),
        ("srt://user:SECRET@host:1?streamid=SECRET: Input/output error", None),
        ("pipe:0: Input/output error", None),
        ("pipe:0: Address already in use", f"{URL}: Address already in use"),
        ("16:53:03.794276/SRT:RcvQ:w1!W:SRT.cn: connection rejected due to: timeout", None),
        (
            "16:53:03.794/SRT:RcvQ:w1!W:SRT.cn: rejected: Incorrect passphrase\npipe:0: Input/output error",
            f"{URL}: the passphrase is not the sender's",
        ),
        ("Impossible to open 'srt://127.0.0.1:9000?passphrase=SECRET'", None),
        ("first\nsrt://127.0.0.1:9000?x=SECRET: Input/output error\n", "first"),
        ("", None),
        ("wrong \x1b[31m \xff bytes " + "x" * 500, "wrong"),
    ],
)
def test_why_it_ended_is_one_line_without_secrets(fake: Fake, line: str, shown: str | None) -> None:
    said = line.replace("SECRET", PASSPHRASE).encode("latin-1")
    fake(f"err.write({said!r}); sys.exit(1)")
    with opened(url=f"{URL}?passphrase={PASSPHRASE}") as pipe:
        assert pipe.read() == b""
        expected = f"{URL} does not answer, or the passphrase is not the sender's" if shown is None else shown
        assert pipe.failure.startswith(expected)
        assert PASSPHRASE not in pipe.failure and len(pipe.failure) <= 200 and pipe.failure.isprintable()
        kept = pipe.failure
    assert pipe.failure == kept, "closing does not forget why"


RECORDING = """
import json
json.dump([sys.argv[1:], '' if '-nostdin' in sys.argv else sys.stdin.read()], open(FOLDER + '/told', 'w'))
"""


def told(tmp_path: Path, url: str) -> tuple[list[str], str]:
    """What the child was told: arguments and standard input."""
    import json

    with opened(url=url) as pipe:
        everything(pipe)
    arguments, script = json.loads((tmp_path / "told").read_text())
    return arguments, script


@pytest.mark.parametrize("secret", ["passphrase", "streamid"])
@pytest.mark.parametrize("version", [58, 59, 62])
def test_secrets_are_not_among_the_arguments(fake: Fake, tmp_path: Path, secret: str, version: int) -> None:
    fake(RECORDING, version=version)
    value = f"it's%20{PASSPHRASE}"
    arguments, script = told(tmp_path, f"{URL}?{secret}={value}&latency=200")
    assert not any(PASSPHRASE in a or "9000" in a for a in arguments)
    assert script.splitlines()[0] == "ffconcat version 1.0"
    assert f"{secret}={value}".replace("'", "'\\''") in script and "latency=200000" in script
    # ffmpeg 4 stops at a list with options.
    assert ("option" in script) is (version >= 59)


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("latency=120", "latency=120000"),
        ("rcvlatency=40&peerlatency=0", "rcvlatency=40000&peerlatency=0"),
        ("latency=9999", "latency=9999000"),
        ("latency=10000", "latency=10000"),
        ("latency=120000", "latency=120000"),
        ("mode=listener&timeout=5", "timeout=5"),
        ("", "timeout=20000000&connect_timeout=7000"),
    ],
)
def test_settings_reach_ffmpeg_in_its_units(fake: Fake, tmp_path: Path, query: str, passed: str) -> None:
    fake(RECORDING)
    arguments, script = told(tmp_path, f"{URL}?{query}" if query else URL)
    url = arguments[arguments.index("-i") + 1]
    assert script == "" and url.startswith(f"{URL}?")
    assert set(passed.split("&")) <= set(url.partition("?")[2].split("&"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("srt://tower", r"srt address is wrong; write srt://HOST:PORT"),
        ("srt://:9000", "srt address without a host"),
        ("srt://tower:99999", "srt address is wrong"),
        ("srt://tower:9000?mode=server", "srt mode=server is not known; use one of caller, listener"),
        ("srt://tower:9000?passphrase=short", "must have 10 to 79 characters"),
        ("srt://tower:9000?latency=fast", "latency= is not a number of milliseconds"),
        ("srt://tower:9000?streamid=a\nfile 'x'", "srt address is wrong"),
    ],
)
def test_an_address_that_cannot_work_is_refused(url: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        parse_srt(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("srt://Tower.local:9000?passphrase=0123456789", "srt://tower.local:9000"),
        ("srt://:9000?mode=listener", "srt://:9000"),
        ("srt://nurse:secret@10.0.0.9:9000", "srt://10.0.0.9:9000"),
        ("srt://[fe80::1]:9000", "srt://[fe80::1]:9000"),
    ],
)
def test_the_name_shown_holds_no_secret(url: str, name: str) -> None:
    assert parse_srt(url)[0] == name


def test_without_srt_it_says_what_to_do(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = (
        r"srt://127.0.0.1:9000 needs an ffmpeg program with SRT.*install one.*or send rtsp:, udp: or tcp:"
    )
    missing = str(tmp_path / "no-such-ffmpeg")
    fake("", BLIND)
    assert not srt.available()
    with pytest.raises(SourceError, match=advice):
        open_srt(URL, 1.0, threading.Event())
    monkeypatch.setenv(srt.VARIABLE, missing)
    with pytest.raises(SourceError, match=advice):
        open_srt(URL, 1.0, threading.Event())
    monkeypatch.delenv(srt.VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert not srt.available()
    fake("sys.exit(3)\n")
    assert srt.available(), "asked again once there is one"


def test_a_program_that_cannot_be_started_is_a_line() -> None:
    with pytest.raises(SourceError, match=r"/no/such/program cannot be started \(No such file"):
        SrtPipe(["/no/such/program"], b"", [], 1.0, threading.Event())


def test_a_child_that_never_reads_what_it_is_told_is_no_error() -> None:
    # Larger than a pipe holds, so that the write is still under way when the child ends.
    pipe = SrtPipe(["true"], b"x" * 2_000_000, [], PATIENCE_S, threading.Event())
    assert pipe.read() == b"" and pipe.failure
    pipe.close()


def test_descriptors_are_given_back(fake: Fake, stream: bytes) -> None:
    fake("out.write(STREAM)")
    with opened() as pipe:
        everything(pipe)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(3):
        with opened() as pipe:
            everything(pipe)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    assert after == before


# With a real ffmpeg

FFMPEG = shutil.which("ffmpeg")
REAL = pytest.mark.skipif(
    FFMPEG is None or srt._examined(FFMPEG) is None, reason="no ffmpeg with SRT is installed"
)


@contextmanager
def sender(file: Path, query: str = "") -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A real SRT sender that listens on a port of this computer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"srt://127.0.0.1:{port}?mode=listener{query}"
    line = [str(FFMPEG), "-loglevel", "quiet", "-nostdin", "-re", "-stream_loop", "-1", "-i", str(file)]
    child = subprocess.Popen(
        [*line, "-c", "copy", "-f", "mpegts", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while _is_free(port):
            assert time.monotonic() < deadline and child.poll() is None
            threading.Event().wait(0.02)
        yield port, child
    finally:
        child.kill()
        child.wait()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def clip(tmp_path: Path, stream: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stream as a file, and the ffmpeg of this computer to receive it."""
    monkeypatch.delenv(srt.VARIABLE, raising=False)
    file = tmp_path / "clip.ts"
    file.write_bytes(stream)
    return file


@contextmanager
def received(url: str) -> Iterator[tuple[SrtPipe, av.container.InputContainer]]:
    """What a sender sends; tried again as a live source does, for it takes a port before it listens there."""
    with ExitStack() as stack:
        for left in (2, 1, 0):
            pipe = stack.enter_context(opened(timeout=2.5, url=url))
            try:
                container = stack.enter_context(av.open(pipe, format="mpegts"))
            except av.FFmpegError:
                if not left:
                    raise
                stack.close()
            else:
                yield pipe, container
                return


@REAL
@pytest.mark.parametrize(
    ("query", "farewell"),
    [("", signal.SIGTERM), (f"&passphrase={PASSPHRASE}", signal.SIGKILL)],
    ids=["open, ends", "encrypted, vanishes"],
)
def test_a_real_sender_is_received_and_its_end_noticed(clip: Path, query: str, farewell: int) -> None:
    with (
        sender(clip, query) as (port, child),
        received(f"srt://127.0.0.1:{port}?latency=20{query}") as (pipe, container),
    ):
        if query and Path("/proc").is_dir():
            shown = Path(f"/proc/{pipe._child.pid}/cmdline").read_bytes()
            assert PASSPHRASE.encode() not in shown
        packets = 0
        for packet in container.demux(container.streams.video[0]):
            packets += bool(packet.size)
            if packets == 5:
                child.send_signal(farewell)
        assert packets >= 5
        assert PASSPHRASE not in pipe.failure and "127.0.0.1" in pipe.failure


@REAL
def test_a_wrong_passphrase_is_told(clip: Path) -> None:
    with sender(clip, f"&passphrase={PASSPHRASE}") as (port, _):
        url = f"srt://127.0.0.1:{port}?passphrase=another-passphrase"
        with opened(timeout=5.0, url=url) as pipe:
            assert pipe.read() == b""
            assert pipe.failure == f"srt://127.0.0.1:{port}: the passphrase is not the sender's"


@REAL
def test_an_srt_address_is_a_source(clip: Path) -> None:
    with (
        sender(clip, f"&passphrase={PASSPHRASE}") as (port, _),
        open_source(f"srt://127.0.0.1:{port}?latency=20&passphrase={PASSPHRASE}") as source,
    ):
        assert source.info.live and source.info.name == f"srt://127.0.0.1:{port}"
        frames = [source.read() for _ in range(3)]
        assert all(f is not None and f.image.shape == (64, 96, 3) for f in frames)
