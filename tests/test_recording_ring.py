"""The ring: what is kept of the time before a recording, and what goes."""

from __future__ import annotations

from fractions import Fraction

from packets import TICKS

from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.pipeline.ring import Ring, Stretch
from endostream.records.sidecar import FrameLine

FORMAT = StreamFormat("h264", 160, 96, "yuv420p", TICKS, Fraction(25), None)
FIRST, SECOND = Stretch(FORMAT, 0, TICKS, "copy"), Stretch(FORMAT, 1, TICKS, "copy")


def packet(number: int, gop: int = 10, size: int = 100) -> StreamPacket:
    return StreamPacket(b"x" * size, number, number, number % gop == 0, number / 10)


def line(number: int) -> FrameLine:
    return FrameLine(number, 0, number, TICKS, number / 10, 0.0, "busy")


def filled(ring: Ring, count: int, stretch: Stretch = FIRST, **more: int) -> Ring:
    for number in range(count):
        ring.add(stretch, packet(number, **more))
        ring.note(number / 10, line(number))
    return ring


def numbers(ring: Ring, since: float | None = None) -> tuple[list[int | None], list[int]]:
    packets, lines = ring.take(since)
    return [p.pts for _, p in packets], [x.index for x in lines if isinstance(x, FrameLine)]


def test_whole_groups_of_the_last_seconds_are_kept() -> None:
    kept, lines = numbers(filled(Ring(2.0), 100))  # two seconds before the last one lie in the group of 7.0 s
    assert kept == lines == list(range(70, 100))


def test_no_more_than_asked_for_is_given() -> None:
    assert numbers(filled(Ring(5.0), 100), since=8.5)[0] == list(range(80, 100))
    assert numbers(filled(Ring(5.0), 100), since=8.0)[0] == list(range(80, 100))
    assert numbers(filled(Ring(5.0), 100), since=0.0)[0] == list(range(40, 100))
    assert numbers(filled(Ring(5.0), 100), since=99.0) == (list(range(90, 100)), list(range(90, 100)))


def test_it_is_empty_afterwards_and_begins_with_a_key_frame() -> None:
    ring = filled(Ring(5.0), 15)
    ring.take(None)
    for number in range(15, 25):
        ring.add(FIRST, packet(number))
    assert numbers(ring)[0] == list(range(20, 25))
    assert numbers(Ring(5.0)) == ([], [])


def test_it_holds_no_more_bytes_than_allowed() -> None:
    ring = filled(Ring(60.0, most=2_500), 100)
    assert numbers(ring)[0] == list(range(80, 100))
    ring = filled(Ring(60.0, most=500), 8)  # a group that is too long goes as a whole
    assert numbers(ring) == ([], [])


def test_what_depends_on_another_connection_is_not_kept() -> None:
    ring = filled(Ring(60.0), 15)
    for number in range(15, 25):
        ring.add(SECOND, packet(number))
    packets, _ = ring.take(None)
    assert [(s.epoch, p.pts) for s, p in packets] == [
        *((0, n) for n in range(15)),
        *((1, n) for n in range(20, 25)),
    ]
