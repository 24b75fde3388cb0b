"""Playback: frames are due on the clock, whatever the thread that shows them does in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_capture_media import write_video

from endostream.capture import PacedSource, Pacer, open_source
from endostream.types import Frame

PICTURE = np.zeros((16, 16, 3), np.uint8)


def frame(at: float, epoch: int = 0) -> Frame:
    """A frame at this stream time."""
    return Frame(0, None, Fraction(1, 25), at, PICTURE, 0.0, 0.0, epoch)


def took(action: Callable[[], object]) -> float:
    """Seconds that something took."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 0.2), (4.0, 0.05), (0.5, 0.4)])
def test_frames_are_due_at_their_speed(speed: float, seconds: float) -> None:
    pacer = Pacer(speed)
    assert pacer.wait(frame(5.0))
    assert seconds - 0.002 <= took(lambda: [pacer.wait(frame(5.0 + i * 0.02)) for i in range(1, 11)])


def test_time_spent_elsewhere_is_not_added() -> None:
    pacer = Pacer()
    pacer.wait(frame(0.0))
    began = time.monotonic()
    for number in range(1, 6):
        threading.Event().wait(0.02)
        pacer.wait(frame(number * 0.05))
    late = time.monotonic() - began - 0.25
    assert late >= -0.002
    assert took(lambda: pacer.wait(frame(0.25))) < 0.02


def test_a_stall_is_not_made_up_for() -> None:
    pacer = Pacer()
    pacer.wait(frame(0.0))
    threading.Event().wait(0.5)
    assert took(lambda: pacer.wait(frame(0.1))) < 0.05
    # 0.4 s late: all but the slack of 0.1 s is written off.
    assert took(lambda: pacer.wait(frame(0.4))) > 0.1


def test_pause_holds_and_resume_goes_on_from_there() -> None:
    pacer = Pacer()
    pacer.wait(frame(0.0))
    pacer.pause()
    assert pacer.paused
    done = threading.Event()
    shown = threading.Thread(target=lambda: (pacer.wait(frame(0.05)), done.set()))
    shown.start()
    assert not done.wait(0.2)
    resumed = time.monotonic()
    pacer.resume()
    assert done.wait(5) and time.monotonic() - resumed >= 0.03
    shown.join()


def test_the_first_frame_after_a_seek_is_seen_at_once_even_while_paused() -> None:
    pacer = Pacer()
    pacer.wait(frame(0.0))
    pacer.pause()
    assert took(lambda: pacer.wait(frame(100.0, epoch=1))) < 0.1


def test_changing_speed_moves_what_is_waited_for() -> None:
    pacer = Pacer(0.25)
    pacer.wait(frame(0.0))
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(pacer.wait(frame(1.0))))
    waiting.start()
    pacer.set_speed(4.0)
    waiting.join(2.0)
    assert answers == [True] and pacer.speed == 4.0


@pytest.mark.parametrize("end", [Pacer.interrupt, Pacer.close])
def test_a_wait_can_be_ended(end: Callable[[Pacer], None]) -> None:
    pacer = Pacer()
    pacer.wait(frame(0.0))
    started, answers = threading.Event(), []

    def wait() -> None:
        turn = pacer.turn
        started.set()
        answers.append(pacer.wait(frame(3600.0), turn))

    waiting = threading.Thread(target=wait)
    waiting.start()
    started.wait()
    end(pacer)
    waiting.join(2)
    assert answers == [False]
    assert pacer.wait(frame(0.0)) is (end is Pacer.interrupt)


@pytest.mark.parametrize("speed", [0.0, 0.1, 5.0, float("nan")])
def test_other_speeds_are_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="not between"):
        Pacer(speed)


def test_a_file_plays_at_its_own_pace_and_can_be_stopped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "p.mp4", range(6), options={"preset": "ultrafast"})
    with open_source(str(path), live_pace=True) as source:
        assert isinstance(source, PacedSource)
        assert took(lambda: list(iter(source.read, None))) >= 5 / 25 - 0.002
        source.seek(0)
        assert source.read() is not None
        source.pacer.pause()
        stopped = threading.Timer(0.05, source.cancel)
        stopped.start()
        assert source.read() is None
        stopped.join()
