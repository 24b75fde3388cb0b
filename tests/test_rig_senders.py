"""Every sender over every protocol: it plays, its log is true, and its faults do what they say."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from endostream.bench.rig import counter
from endostream.bench.rig.clips import Scene, make_clip
from endostream.capture.loopback import (
    SENDERS,
    Clip,
    ClipSender,
    HttpSender,
    Protocol,
    RtspSender,
    Sending,
    TcpSender,
)
from endostream.capture.loopback.connections import HOST, free_port
from endostream.capture.loopback.reel import Reel
from endostream.capture.loopback.sent import Sent
from endostream.capture.loopback.transport import PACKET, TransportStream
from endostream.errors import RunError

FPS = 50
GOP = FPS // 2
SMALL, LARGE = Scene(192, 108, FPS, 2.0), Scene(256, 144, FPS, 2.0)
TV = Scene(192, 144, 25, 1.0, interlaced=True)
CONNECTED: tuple[Protocol, ...] = ("tcp", "http", "rtsp")
QUICK = {"probesize": "32768", "analyzeduration": "300000", "fpsprobesize": "0"}
DEADLINE_S = 8.0


@pytest.fixture(scope="module")
def clip() -> Clip:
    return make_clip(SMALL)


class Picture:
    """What a reader saw."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self.at = time.monotonic()
        self.image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        self.number = counter.read(self.image)
        self.seconds = float(frame.time or 0.0)
        self.key, self.interlaced = frame.key_frame, frame.interlaced_frame


class Reader:
    """Reads an address with PyAV alone, in a thread of its own that ends by its own time limits."""

    def __init__(self, url: str, read_timeout: float = 1.0) -> None:
        self.pictures: list[Picture] = []
        self.over = False
        self.error: Exception | None = None
        self._url, self._timeout = url, read_timeout
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="test reader")
        self._thread.start()

    def _run(self) -> None:
        options = {**QUICK, "timeout": f"{self._timeout * 1e6:.0f}"}
        if self._url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        try:
            with av.open(self._url, options=options, timeout=(5.0, self._timeout)) as container:
                for packet in container.demux(video=0):
                    for frame in packet.decode():
                        self._add(Picture(frame))
                    if self._stopped:
                        return
        except av.FFmpegError as error:
            self.error = error
        finally:
            with self._changed:
                self.over = True
                self._changed.notify_all()

    def _add(self, picture: Picture) -> None:
        with self._changed:
            self.pictures.append(picture)
            self._changed.notify_all()

    def wait(self, reached: Callable[[list[Picture]], bool]) -> None:
        """Wait for pictures, and fail when they do not come."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.over or reached(self.pictures), DEADLINE_S)
        assert came and reached(self.pictures), (len(self.pictures), self.error)

    def wait_more(self, count: int) -> list[Picture]:
        """So many pictures more than now."""
        before = len(self.pictures)
        self.wait(lambda pictures: len(pictures) >= before + count)
        return self.pictures[before:]

    def wait_over(self) -> None:
        """Wait until the connection has ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.over, DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def open_files() -> Iterator[Callable[[], int]]:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are counted where the system shows them")
    before = count()
    yield count
    assert count() == before


# -- it plays


@pytest.mark.parametrize("protocol", SENDERS)
def test_every_protocol_plays_and_the_log_is_true(
    protocol: Protocol, clip: Clip, open_files: Callable[[], int]
) -> None:
    with SENDERS[protocol](clip) as sender, Reader(sender.url) as reader:
        assert sender.url.startswith(f"{protocol}://127.0.0.1:{sender.port}")
        assert sender.wait_readers(1)
        seen = reader.wait_more(3 * GOP)
        numbers = [p.number for p in seen]
        assert None not in numbers
        first = numbers[0]
        assert first is not None
        assert numbers == [(first + i) % len(clip.units) for i in range(len(seen))]
        assert np.diff([p.seconds for p in seen]) == pytest.approx(1 / FPS, abs=1e-3)
        # After the reader's own start: nothing is seen before it was sent, and soon after.
        ages = [p.at - (sender.sent.time_of(p.number or 0, p.at) or 0.0) for p in seen[-GOP:]]
        assert min(ages) >= 0.0
        assert np.median(ages) < 0.5
        assert sender.error is None


@pytest.mark.parametrize("protocol", CONNECTED)
def test_a_new_reader_begins_with_a_key_frame_within_half_a_second(protocol: Protocol, clip: Clip) -> None:
    with SENDERS[protocol](clip) as sender:
        for count in (1, 2):
            before = len(sender.sent)
            began = time.monotonic()
            with Reader(sender.url) as reader:
                seen = reader.wait_more(1)[0]
                assert sender.wait_readers(1)
            number, at = sender.sent.entries(before)[0]
            assert clip.units[number].key, count
            assert at - began < 0.8
            assert clip.units[seen.number or 0].key
            assert sender.wait_readers(0)


def test_two_readers_get_the_same_and_a_picture_is_logged_once(clip: Clip) -> None:
    with TcpSender(clip) as sender, Reader(sender.url) as one, Reader(sender.url) as two:
        assert sender.wait_readers(2)
        one.wait_more(GOP)
        two.wait_more(GOP)
        numbers = [number for number, _ in sender.sent.entries()]
        assert len(numbers) > 2 * GOP
        assert {(b - a) % len(clip.units) for a, b in pairwise(numbers)} == {1}


# -- faults


@pytest.mark.parametrize("protocol", SENDERS)
def test_a_stalled_sender_is_silent_and_goes_on_with_a_key_frame(protocol: Protocol, clip: Clip) -> None:
    with SENDERS[protocol](clip) as sender, Reader(sender.url, 3.0) as reader:
        reader.wait_more(GOP)
        sender.stall()
        count = len(sender.sent)
        assert not sender.wait_sent(1, timeout=0.3)
        assert (sender.state, reader.over) == ("stalled", False)
        resumed = sender.resume()
        assert sender.wait_sent(5)
        number, at = sender.sent.entries(count)[0]
        assert clip.units[number].key
        assert 0.0 <= at - resumed < 0.6
        reader.wait(lambda pictures: bool(pictures) and pictures[-1].at > at + 0.1)


@pytest.mark.parametrize("protocol", CONNECTED)
def test_a_cut_closes_everything_and_the_same_address_works_again(protocol: Protocol, clip: Clip) -> None:
    with SENDERS[protocol](clip) as sender:
        with Reader(sender.url, 5.0) as reader:
            reader.wait_more(5)
            cut = sender.cut()
            reader.wait_over()
            assert time.monotonic() - cut < 1.0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, sender.port), 1.0)
        sender.restore()
        with Reader(sender.url) as reader:
            reader.wait_more(5)


def test_a_cut_udp_sender_sends_nothing_until_it_is_back(clip: Clip) -> None:
    with SENDERS["udp"](clip) as sender, Reader(sender.url, 3.0) as reader:
        reader.wait_more(5)
        sender.cut()
        assert sender.readers == 0
        assert not sender.wait_sent(1, timeout=0.3)
        sender.restore()
        reader.wait_more(GOP)


@pytest.mark.parametrize("protocol", CONNECTED)
def test_a_black_hole_accepts_and_never_answers(protocol: Protocol, clip: Clip) -> None:
    with SENDERS[protocol](clip) as sender, Reader(sender.url, 0.5) as reader:
        reader.wait_more(5)
        sender.black_hole()
        with socket.create_connection((HOST, sender.port), 1.0) as knock:
            knock.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            knock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                knock.recv(1)
            # Nobody closed the old connection: its reader gave up by its own time limit.
            reader.wait_over()
            assert isinstance(reader.error, av.error.ExitError | TimeoutError)
            sender.restore()
            knock.settimeout(2.0)
            assert _ends(knock)
        with Reader(sender.url) as again:
            again.wait_more(5)


def _ends(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_drip_lets_no_more_through_than_it_says(protocol: Protocol, clip: Clip) -> None:
    rate = 12_000
    with SENDERS[protocol](clip) as sender:
        with _listening(sender) as sock:
            assert sender.wait_sent(1)
            sender.drip(rate)
            _received(sock, 0.2)  # what was on its way
            count, began = _received(sock, 1.0), time.monotonic()
            assert 0.6 * rate < count < 1.4 * rate
            sender.resume()
            assert _received(sock, 0.5) > rate
        assert time.monotonic() - began < 3.0


def _listening(sender: ClipSender) -> socket.socket:
    if sender.kind == socket.SOCK_STREAM:
        return socket.create_connection((HOST, sender.port), 1.0)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, sender.port))
    return sock


def _received(sock: socket.socket, seconds: float) -> int:
    """Bytes that come in so many seconds."""
    end, count = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            count += len(sock.recv(1 << 16))
        except TimeoutError:
            break
    return count


@pytest.mark.parametrize("protocol", SENDERS)
def test_garbage_is_survived_by_the_stream(protocol: Protocol, clip: Clip) -> None:
    with SENDERS[protocol](clip) as sender, Reader(sender.url) as reader:
        reader.wait_more(5)
        sender.garbage(5000)
        seen = reader.wait_more(2 * GOP)[GOP:]
        numbers = [p.number or 0 for p in seen]
        assert {(b - a) % len(clip.units) for a, b in pairwise(numbers)} == {1}


@pytest.mark.parametrize("protocol", SENDERS)
def test_another_size_comes_in_mid_stream(protocol: Protocol, clip: Clip) -> None:
    with SENDERS[protocol](clip) as sender, Reader(sender.url) as reader:
        reader.wait_more(5)
        sender.switch(make_clip(LARGE))
        reader.wait(lambda pictures: pictures[-1].image.shape == (144, 256, 3))
        assert reader.wait_more(5)[-1].number is not None
        sender.switch(make_clip(TV))
        reader.wait(lambda pictures: pictures[-1].interlaced)
        assert not reader.over


def test_another_size_with_a_new_connection(clip: Clip) -> None:
    with TcpSender(clip) as sender:
        with Reader(sender.url) as reader:
            reader.wait_more(5)
            sender.switch(make_clip(LARGE), reconnect=True)
            reader.wait_over()
        with Reader(sender.url) as reader:
            assert {p.image.shape for p in reader.wait_more(5)} == {(144, 256, 3)}


@pytest.mark.parametrize("seconds", [5.0, -4.0])
def test_time_stamps_jump_and_pictures_do_not(seconds: float, clip: Clip) -> None:
    with TcpSender(clip) as sender, Reader(sender.url) as reader:
        reader.wait_more(5)
        sender.jump(seconds)
        seen = reader.pictures[-1:] + reader.wait_more(GOP)
        steps = np.diff([p.seconds for p in seen])
        assert sorted(steps, key=abs)[-1] == pytest.approx(seconds + 1 / FPS, abs=1e-3)
        assert np.sum(np.abs(steps - 1 / FPS) > 1e-3) == 1
        numbers = [p.number or 0 for p in seen]
        assert set(np.diff(numbers) % len(clip.units)) == {1}


def test_a_frozen_picture_is_bit_for_bit_the_same(clip: Clip) -> None:
    with TcpSender(clip) as sender, Reader(sender.url) as reader:
        reader.wait_more(5)
        sender.freeze()
        assert sender.wait_sent(GOP + 5)
        seen = reader.wait_more(GOP)
        frozen = seen[-1]
        assert frozen.key
        same = [p for p in seen if p.number == frozen.number]
        assert len(same) >= 5
        assert all(np.array_equal(p.image, frozen.image) for p in same)
        sender.resume()
        reader.wait(lambda pictures: pictures[-1].number != frozen.number)


# -- the end


@pytest.mark.parametrize("protocol", SENDERS)
@pytest.mark.parametrize("fault", ["", "stall", "cut", "black_hole", "freeze", "drip"])
def test_whatever_its_state_it_closes_at_once_and_leaves_nothing(
    protocol: Protocol, fault: str, clip: Clip, open_files: Callable[[], int]
) -> None:
    with SENDERS[protocol](clip) as sender, _listening(sender) as sock:
        if protocol in ("http", "rtsp"):
            sock.sendall(b"GET / HTTP/1.0\r\n" if protocol == "http" else b"PLAY")
        if fault:
            getattr(sender, fault)(*([1000.0] if fault == "drip" else []))
        began = time.monotonic()
        sender.close()
        assert time.monotonic() - began < 1.0
        sender.close()
        with pytest.raises(RunError, match="has ended"):
            sender.stall()
    assert not [t for t in threading.enumerate() if t.name.startswith("send ")]


def test_a_sender_that_was_never_started_leaves_nothing(clip: Clip, open_files: Callable[[], int]) -> None:
    sender = TcpSender(clip)
    sender.close()


def test_a_port_that_is_taken_is_told_in_one_line(clip: Clip, open_files: Callable[[], int]) -> None:
    with TcpSender(clip) as first:
        second = TcpSender(clip)
        second.port = first.port
        with pytest.raises(RunError, match=f"port {first.port} cannot be opened"):
            second.start()


def test_a_reader_that_does_not_read_gets_later_pictures_and_the_others_all(clip: Clip) -> None:
    with (
        TcpSender(clip) as sender,
        socket.create_connection((HOST, sender.port)),
        Reader(sender.url) as reader,
    ):
        assert sender.wait_readers(2)
        reader.wait_more(GOP)


# -- requests


def test_rtsp_answers_what_a_player_asks(clip: Clip) -> None:
    with RtspSender(clip) as sender, socket.create_connection((HOST, sender.port), 2.0) as sock:
        with sock.makefile("rwb") as talk:
            assert b"DESCRIBE" in _asked(talk, "OPTIONS * RTSP/1.0")
            assert b"RTP/AVP 33" in _asked(talk, "DESCRIBE rtsp://x/live RTSP/1.0")
            assert b"461" in _asked(
                talk, "SETUP rtsp://x/live RTSP/1.0", "Transport: RTP/AVP;client_port=5-6"
            )
            setup = _asked(talk, "SETUP rtsp://x/live RTSP/1.0", "Transport: RTP/AVP/TCP;interleaved=0-1")
            assert b"interleaved=0-1" in setup
            assert b"200 OK" in _asked(
                talk, "GET_PARAMETER rtsp://x/live RTSP/1.0", "Content-Length: 2", body="hi"
            )
            assert b"501" in _asked(talk, "RECORD rtsp://x/live RTSP/1.0")
            talk.write(b"$\x01\0\x04abcd")  # a report on the reception
            assert b"200 OK" in _asked(talk, "PLAY rtsp://x/live RTSP/1.0")
            head = talk.read(4)
            assert head[:2] == b"$\0"
            packet = talk.read(int.from_bytes(head[2:], "big"))
            assert packet[:2] == b"\x80\x21"
            assert packet[12] == 0x47 and (len(packet) - 12) % PACKET == 0
            talk.write(b"TEARDOWN rtsp://x/live RTSP/1.0\r\nCSeq: 9\r\n\r\n")
            talk.flush()
            assert b"CSeq: 9" in talk.read()
        assert sender.wait_readers(0)


def _asked(talk: object, *lines: str, body: str = "") -> bytes:
    talk.write("".join(f"{line}\r\n" for line in (*lines, "CSeq: 3")).encode() + b"\r\n" + body.encode())  # type: ignore[attr-defined]
    talk.flush()  # type: ignore[attr-defined]
    head, size = b"", 0
    while line := talk.readline():  # type: ignore[attr-defined]
        head += line
        if line.lower().startswith(b"content-length"):
            size = int(line.split(b":")[1])
        if line == b"\r\n":
            break
    return head + talk.read(size)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("kind", [HttpSender, RtspSender])
def test_what_is_no_request_is_hung_up_on(kind: type[ClipSender], clip: Clip) -> None:
    with kind(clip) as sender, socket.create_connection((HOST, sender.port), 2.0) as sock:
        sock.sendall(b"x" * (1 << 17))
        assert _ends(sock)


# -- parts


def test_transport_packets_are_whole_and_counted() -> None:
    stream = TransportStream()
    data = b"".join(
        stream.picture(b"\0\0\0\1\x09\x10" + bytes(size), 1.0 + i / 50, True)
        for i, size in enumerate(range(150, 400))
    )
    packets = [data[i : i + PACKET] for i in range(0, len(data), PACKET)]
    assert all(len(p) == PACKET and p[0] == 0x47 for p in packets)
    for pid in (0, 0x100, 0x1000):
        counts = [p[3] & 15 for p in packets if (p[1] & 31) << 8 | p[2] == pid]
        assert counts == [i % 16 for i in range(len(counts))]


@pytest.mark.parametrize(("bounded", "length"), [(False, 0), (True, 8 + 100)])
def test_a_picture_says_how_long_it_is_when_asked_to(bounded: bool, length: int) -> None:
    data = TransportStream(bounded).picture(bytes(100), 1.0, True)
    start = data.index(b"\0\0\x01\xe0")
    assert int.from_bytes(data[start + 4 : start + 6], "big") == length


def test_a_reel_loops_without_a_gap_and_does_as_told(clip: Clip) -> None:
    reel, count = Reel(clip), len(clip.units)
    taken = [reel.take() for _ in range(count + 2)]
    assert [d.unit.counter for d in taken] == [*range(count), 0, 1]
    assert np.diff([d.at for d in taken]) == pytest.approx(1 / FPS)
    reel.jump(-5.0)
    assert reel.take().stamp - taken[-1].stamp == pytest.approx(1 / FPS - 5.0)
    reel.switch(make_clip(TV))
    first, second = reel.take(), reel.take()
    assert (first.unit.counter, second.at - first.at) == (0, pytest.approx(1 / 25))


def test_the_log_finds_the_newest_sending_before_a_moment() -> None:
    sent = Sent()
    assert sent.last is None
    assert sent.time_of(3, time.monotonic()) is None
    for place, number in enumerate((3, 4, 3)):
        sent.add((place, number, float(place)))
        sent.add((place, number, 9.0))
    (_, first), _, (_, last) = sent.entries()
    assert sent.time_of(3, last) == last == sent.last
    assert sent.time_of(3, np.nextafter(last, 0)) == first
    assert sent.time_of(3, last + 60) is None
    assert sent.find(3, last) == Sending(3, 2.0, last)


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    assert free_port(socket.SOCK_STREAM) < 32_768
