"""A live source against peers that stall, cut, lie and hang: real sockets on this computer, real threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from test_capture_media import write_video

from endostream.bench.rig import counter
from endostream.bench.rig.clips import Scene, make_clip
from endostream.capture import connection as connecting
from endostream.capture import live as living
from endostream.capture.address import Address
from endostream.capture.connection import Picture
from endostream.capture.lateness import LATE, LATE_S, Lag
from endostream.capture.live import LiveSource
from endostream.capture.loopback import Sender, TcpSender, UdpSender
from endostream.capture.opening import open_source
from endostream.capture.source import Source
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import SourceError
from endostream.types import Frame, SignalChange

PATIENCE_S = 15.0
SMALL, OTHER = Scene(320, 180, 30, 2.0), Scene(480, 270, 25, 2.0)


class Reader:
    """Reads a source in a thread of its own and writes down what comes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.changed = threading.Condition()
        self.frames: list[tuple[float, Frame]] = []
        self.told: list[tuple[float, SignalChange]] = []
        self.ended = 0.0
        source.watch(self._hear)
        self.thread = threading.Thread(target=self._read, name="reader")
        self.thread.start()

    def _hear(self, change: SignalChange) -> None:
        with self.changed:
            self.told.append((time.monotonic(), change))
            self.changed.notify_all()

    def _read(self) -> None:
        while (frame := self.source.read()) is not None:
            with self.changed:
                self.frames.append((time.monotonic(), frame))
                self.changed.notify_all()
        self.ended = time.monotonic()

    def wait(self, what: Callable[[], Any]) -> Any:
        with self.changed:
            found = self.changed.wait_for(what, PATIENCE_S)
        assert found, f"{[c.state for _, c in self.told]}, {len(self.frames)} frames"
        return found

    def lost_after(self, moment: float) -> float:
        """Seconds from a moment until the loss was told."""
        told = self.wait(lambda: [t for t, c in self.told if c.state == "lost" and t > moment])
        return float(told[0] - moment)

    def picture_after(self, moment: float) -> tuple[float, Frame]:
        """The first frame that was captured after a moment, and how long it took to come."""
        found = self.wait(lambda: [(t, f) for t, f in self.frames if f.captured > moment])
        return found[0][0] - moment, found[0][1]


@pytest.fixture
def reading() -> Iterator[Callable[[Source], Reader]]:
    readers: list[Reader] = []

    def begin(source: Source) -> Reader:
        readers.append(Reader(source))
        return readers[-1]

    yield begin
    for reader in readers:
        reader.source.close()
        reader.thread.join(PATIENCE_S)
        assert not reader.thread.is_alive()


Begin = Callable[[Source], Reader]


@pytest.mark.parametrize("kind", [TcpSender, UdpSender])
def test_a_cut_is_said_within_a_second_and_the_picture_comes_back(kind: Any, reading: Begin) -> None:
    with kind(make_clip(SMALL)) as sender:
        reader = reading(open_source(sender.url))
        reader.picture_after(0.0)
        cut = sender.cut()
        assert reader.lost_after(cut) <= 1.0
        assert not reader.source.signal
        before = reader.frames[-1][1]
        restored = sender.restore()
        took, after = reader.picture_after(restored)
        assert took <= 2.0
        assert after.epoch > before.epoch or kind is UdpSender
        assert after.time > before.time and after.index == before.index + 1
        reader.wait(lambda: len(reader.told) >= 3)
        states = [c.state for _, c in reader.told]
        assert states == ["good", "lost", "good"] and reader.source.detail == "320x180, 30 fps, h264"


def test_a_short_stall_of_the_sender_is_no_new_connection_and_shows_nothing_old(reading: Begin) -> None:
    with TcpSender(make_clip(SMALL)) as sender:
        reader = reading(open_source(sender.url))
        reader.picture_after(0.0)
        stalled = sender.stall()
        assert reader.lost_after(stalled) <= 1.0
        resumed = sender.resume()
        _, after = reader.picture_after(resumed)
        assert after.epoch == 0
        number = counter.read(after.image)
        assert number is not None
        sent = sender.sent.time_of(number, before=time.monotonic())
        assert sent is not None and sent >= resumed, "the picture that libav held back is old"


def test_a_black_hole_keeps_nobody(reading: Begin) -> None:
    with TcpSender(make_clip(SMALL)) as sender:
        reader = reading(open_source(sender.url))
        reader.picture_after(0.0)
        fell = sender.black_hole()
        assert reader.lost_after(fell) <= 1.0
        asked = time.monotonic()
        reader.source.cancel()
        reader.thread.join(PATIENCE_S)
        assert reader.ended - asked <= 0.5
        reader.source.close()
        assert time.monotonic() - asked <= 2.0


def test_nobody_listens_yet_and_waiting_can_be_given_up() -> None:
    with TcpSender(make_clip(SMALL)) as sender:
        sender.black_hole()
        given_up, said = threading.Event(), []
        failed: list[str] = []

        def wait() -> None:
            try:
                open_source(sender.url, first_frame_timeout=None, cancelled=given_up, say=said.append)
            except SourceError as error:
                failed.append(str(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and said[0].startswith("waiting for a picture from tcp://127.0.0.1")
        asked = time.monotonic()
        given_up.set()
        waiting.join(PATIENCE_S)
        assert time.monotonic() - asked <= 2.0
        assert failed and "gave no picture before it was given up" in failed[0]


def test_another_size_and_another_clock_begin_a_stretch_of_their_own(reading: Begin) -> None:
    tap = Tape()
    with TcpSender(make_clip(SMALL)) as sender:
        reader = reading(open_source(sender.url, tap=tap))
        reader.picture_after(0.0)
        switched = sender.switch(make_clip(OTHER))
        found = reader.wait(lambda: [f for _, f in reader.frames if f.image.shape == (270, 480, 3)])
        assert found[0].captured - switched <= 1.0 and found[0].epoch == 1
        jumped = sender.jump(-5.0)
        back = reader.wait(lambda: [f for _, f in reader.frames if f.epoch == 2])
        assert back[0].captured - jumped <= 1.0
    times = [f.time for _, f in reader.frames]
    assert times == sorted(times) and times[-1] - times[0] < 20
    assert {"320x180, 30 fps, h264", "480x270, 30 fps, h264"} <= {c.detail for _, c in reader.told}
    assert all(c.state == "good" for _, c in reader.told if c.time < times[-1])
    # The tap hears of every stretch before its packets, and each begins where decoding can.
    assert [(f.width, f.height, epoch) for f, epoch, _ in tap.stretches[:3]] == [
        (320, 180, 0),
        (480, 270, 1),
        (480, 270, 2),
    ]
    assert all(packets[0].keyframe for _, _, packets in tap.stretches[:2])
    kept = {(epoch, p.pts) for _, epoch, packets in tap.stretches for p in packets}
    assert all((f.epoch, f.pts) in kept for _, f in reader.frames)


class Tape:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.stretches: list[tuple[StreamFormat, int, list[StreamPacket]]] = []

    def connected(self, format: StreamFormat, epoch: int) -> None:
        self.stretches.append((format, epoch, []))

    def packet(self, packet: StreamPacket) -> None:
        self.stretches[-1][2].append(packet)


def test_garbage_in_between_is_survived(reading: Begin) -> None:
    with UdpSender(make_clip(SMALL)) as sender:
        reader = reading(open_source(sender.url))
        reader.picture_after(0.0)
        thrown = sender.garbage(20_000)
        took, _ = reader.picture_after(thrown + 0.5)
        assert took < 3.0


def test_pictures_that_nobody_takes_are_given_up_and_counted() -> None:
    with TcpSender(make_clip(SMALL)) as sender, open_source(sender.url) as source:
        assert source.overrun == 0
        first = source.read()
        sender.wait_sent(20, PATIENCE_S)
        later = source.read()
        assert first is not None and later is not None
        assert source.overrun >= 10 and (first.index, later.index) == (0, 1)
        # What is given is the newest there was room for, not what had waited longest.
        assert later.captured > first.captured + 0.2


def test_before_the_first_read_old_pictures_are_replaced_and_none_counts() -> None:
    with TcpSender(make_clip(SMALL)) as sender, open_source(sender.url) as source:
        sender.wait_sent(30, PATIENCE_S)
        sent = time.monotonic()
        frame = source.read()
        assert frame is not None and sent - frame.captured < 0.5 and source.overrun == 0


def test_a_line_that_is_too_slow_is_said(reading: Begin) -> None:
    clip = make_clip(SMALL)
    with TcpSender(clip) as sender:
        reader = reading(open_source(sender.url))
        reader.wait(lambda: len(reader.frames) > 20)
        assert reader.source.lag < 0.2 and reader.source.warnings == ()
        sender.drip(slow(clip))
        reader.wait(lambda: reader.source.lag > LATE_S)
        assert reader.source.warnings == (LATE,)
        assert reader.source.signal
        sender.cut()
        reader.wait(lambda: not reader.source.signal)
        assert reader.source.lag == 0.0


def slow(clip: Any) -> float:
    """Half of the bytes a second that the clip needs."""
    return 0.5 * sum(len(u.data) for u in clip.units) / (len(clip.units) / 30)


def test_a_slow_clock_of_the_sender_is_no_lateness_and_a_new_stretch_begins_afresh() -> None:
    lag = Lag()

    def take(captured: float, seconds: float, epoch: int = 0) -> float:
        image = np.zeros((16, 16, 3), np.uint8)
        lag.take(Picture(image, seconds, None, Fraction(1, 1000), captured, 0.0, epoch))
        return lag.seconds

    assert take(100.0, 0.0) == 0.0
    assert take(100.7, 0.5) == pytest.approx(0.2, abs=1e-3)
    assert take(101.0, 1.0) == pytest.approx(0.0, abs=1e-3)
    for second in range(2, 3600):  # an hour with a clock that is 0.01 % slow: 0.36 s
        assert take(100.0 + second * 1.0001, float(second)) < 0.02
    assert take(9000.0, 5.0, epoch=1) == 0.0


class Stuck:
    """Stands for `av.open`: hangs until it is let go, whatever time limit it is given."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        self.entered.set()
        self.let_go.wait(60)
        raise av.ConnectionRefusedError(111, "Connection refused")


def test_a_library_that_hangs_is_left_behind_and_never_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(connecting.av, "open", stuck)
    monkeypatch.setattr(living, "OPEN_S", 0.05)
    asked = time.monotonic()
    with pytest.raises(SourceError, match="gave no picture within 1 s"):
        LiveSource(Address("tcp://127.0.0.1:9", "tcp://127.0.0.1:9", "stream"), 1.0)
    assert time.monotonic() - asked < 1.0 + living.FAREWELL_S + 0.9
    assert 2 <= stuck.calls <= living.MOST_STUCK
    stuck.let_go.set()


def test_a_device_that_vanishes_is_looked_for_under_any_node(reading: Begin) -> None:
    with TcpSender(make_clip(SMALL)) as first, TcpSender(make_clip(OTHER)) as second:
        nodes: list[str] = [first.url]
        missed = threading.Semaphore(0)

        def again() -> Address:
            if not nodes:
                missed.release()
                raise SourceError("the card is not connected: no video device is connected")
            return Address(nodes[0], "a card", "device", format="mpegts", again=again)

        reader = reading(LiveSource(again()))
        reader.picture_after(0.0)
        assert reader.source.info.kind == "device" and reader.source.info.name == "a card"
        nodes.clear()
        cut = first.cut()
        assert reader.lost_after(cut) <= 1.0
        assert all(missed.acquire(timeout=PATIENCE_S) for _ in range(2)), "it is looked for again and again"
        assert "not connected" in reader.source.detail
        nodes.append(second.url)
        found = reader.wait(lambda: [f for _, f in reader.frames if f.image.shape == (270, 480, 3)])
        assert found[0].epoch == 1


def test_pictures_out_of_order_lose_no_packet_and_no_picture(tmp_path: Path, reading: Begin) -> None:
    clip = tmp_path / "b.mp4"
    write_video(clip, range(50), options={"bf": "3", "g": "25"})
    tap = Tape()
    given_up = threading.Event()
    sender = Sender(clip)
    try:
        reader = reading(open_source(sender.url, tap=tap, cancelled=given_up))
        reader.wait(lambda: len(reader.frames) >= 30)
        # "90000 pictures a second" is the clock of the time stamps, which libav takes for a rate.
        assert reader.source.info.fps == pytest.approx(25)
    finally:
        reader.source.cancel()
        sender.close()
    (_, _, packets), frames = tap.stretches[0], [f for _, f in reader.frames]
    assert packets[0].keyframe
    # What was shown can be found in the tap, from the first picture on.
    assert {f.pts for f in frames if f.epoch == 0} <= {p.pts for p in packets}
    assert len({f.pts for f in frames}) == len(frames)
