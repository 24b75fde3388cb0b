"""The two hand-offs between threads."""

from __future__ import annotations

import threading
import time

from endostream.pipeline.channel import Channel, Latest


def test_a_live_channel_drops_the_oldest_and_says_so() -> None:
    channel: Channel[int] = Channel(2, drop_oldest=True)
    assert [channel.put(k) for k in range(4)] == [[], [], [0], [1]]
    channel.close()
    assert [channel.get(), channel.get(), channel.get(), channel.get()] == [2, 3, None, None]
    assert channel.put(9) == [9]


def test_a_waiting_channel_loses_nothing_and_keeps_order() -> None:
    channel: Channel[int] = Channel(3)
    lost: list[int] = []

    def produce() -> None:
        for k in range(2000):
            lost.extend(channel.put(k))
        channel.close()

    thread = threading.Thread(target=produce)
    thread.start()
    got = []
    while (value := channel.get()) is not None:
        got.append(value)
    thread.join()
    assert got == list(range(2000)) and lost == []


def test_closing_frees_a_waiting_producer_and_consumer() -> None:
    full: Channel[int] = Channel(1)
    full.put(1)
    empty: Channel[int] = Channel(1)
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(full.put(2))),
        threading.Thread(target=lambda: results.append(empty.get())),
    ]
    for thread in threads:
        thread.start()
    full.close()
    empty.close()
    for thread in threads:
        thread.join(5)
    assert sorted(map(str, results)) == ["None", "[2]"]


def test_latest_counts_versions() -> None:
    latest: Latest[str] = Latest()
    assert (latest.get(), latest.version) == (None, 0)
    latest.set("a")
    latest.set("b")
    assert (latest.get(), latest.version) == ("b", 2)


def test_waiting_ends_with_a_value_or_with_something_else() -> None:
    channel: Channel[int] = Channel(1, drop_oldest=True)
    done = threading.Event()
    got: list[int | None] = []
    waiting = threading.Thread(target=lambda: got.append(channel.get(done.is_set)))
    waiting.start()
    channel.wake()
    done.set()
    channel.wake()
    waiting.join(30)
    assert got == [None]
    channel.put(1)
    assert channel.get(lambda: True) == 1, "a value that is there goes first"


def test_a_value_is_not_taken_early_and_the_newest_wins() -> None:
    channel: Channel[int] = Channel(1, drop_oldest=True)
    channel.put(1)
    due = time.monotonic() + 0.2
    got: list[tuple[int | None, bool]] = []

    def take() -> None:
        value = channel.get(after=due)
        got.append((value, time.monotonic() >= due))

    waiting = threading.Thread(target=take)
    waiting.start()
    assert channel.put(2) == [1]
    waiting.join(30)
    assert got == [(2, True)]
    channel.put(3)
    channel.close()
    assert channel.get(after=time.monotonic() + 600) == 3, "a closed channel hands out what is left"
