"""Stub networks follow the protocols, take as long as told, and see what is in the picture."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.analysis.masks import mask_at
from endostream.analysis.networks import Lane, Networks
from endostream.bench.rig import stub
from endostream.bench.rig.clips import Scene, picture
from endostream.bench.rig.stub import StubLane, StubNetworks
from endostream.errors import RunError
from endostream.types import FloatArray, Frame, ImageArray

SCENE = Scene(320, 180, 30, 4.0, hidden=(30, 60))


@pytest.fixture
def networks() -> Iterator[StubNetworks]:
    made = StubNetworks(0.0)
    yield made
    made.close()
    made.close()


def test_they_follow_the_protocols(networks: StubNetworks) -> None:
    given: Networks = networks
    assert all(isinstance(lane, Lane) for lane in given.classifiers)
    assert isinstance(given.segmenter, Lane)
    assert (given.classifiers[0].labels, given.depth, given.warnings) == (("background", "polyps"), 1, ())
    given.warm_up()
    alone = StubNetworks(0.0, segmenting=False)
    assert alone.segmenter is None
    alone.close()


@pytest.mark.parametrize("number", [0, 29, 30, 59, 60])
def test_what_they_say_is_what_the_picture_shows(number: int, networks: StubNetworks) -> None:
    image, there = picture(SCENE, number), SCENE.shows_block(number)
    lane, segmenter = networks.classifiers[0], networks.segmenter
    assert segmenter is not None
    lane.submit(number, image)
    segmenter.submit(number, image)
    answer, drawn = lane.take(), segmenter.take()
    assert (answer.key, drawn.key) == (number, number)
    assert bool(answer.logits.argmax()) == there
    assert answer.maps is not None and answer.maps.shape == (2, *stub.GRID)
    mask = mask_at(drawn.logits, (320, 180), 0.5)
    assert stub.block_box(mask) == (SCENE.block_at(number) if there else None)


def test_an_analyzer_works_with_them(networks: StubNetworks) -> None:
    analyzer = Analyzer(networks, AnalyzerRules(gate={"polyps": 0.5}))
    image = picture(SCENE, 3)
    image.setflags(write=False)
    analysis = analyzer.analyse(Frame(0, 0, Fraction(1, 30), 0.0, image, time.monotonic(), time.time()))
    assert analysis.acting is not None and analysis.acting.label == "polyps"
    assert analysis.mask is not None and stub.block_box(analysis.mask) == SCENE.block_at(3)
    assert analysis.visible


def test_each_picture_takes_the_delay_one_after_the_other() -> None:
    lane, rang = (
        StubLane("slow", ("a",), lambda image: (np.zeros(1, np.float32), None), 0.05),
        threading.Event(),
    )
    lane.ring(rang.set)
    image = np.zeros((4, 4, 3), np.uint8)
    began = time.monotonic()
    for key in range(3):
        lane.submit(key, image)
    assert not lane.ready and lane.pending == 3 and lane.poll() == []
    assert rang.wait(2.0)
    assert time.monotonic() - began >= 0.05
    assert lane.ready
    assert [lane.take().key for _ in range(3)] == [0, 1, 2]
    assert 0.15 <= time.monotonic() - began < 2.0
    lane.delay_s = 0.0
    lane.submit(3, image)
    (answer,) = lane.poll(wait=True)
    assert (answer.key, lane.pending) == (3, 0)
    assert answer.took["infer"] < 0.05
    lane.close()


def test_a_delay_that_is_changed_counts_from_the_next_picture(networks: StubNetworks) -> None:
    networks.set_delay(0.1)
    began = time.monotonic()
    networks.classifiers[0].submit(0, picture(SCENE, 0))
    networks.classifiers[0].take()
    assert time.monotonic() - began >= 0.1


def test_closing_gives_up_what_is_on_its_way_and_wakes_who_waits() -> None:
    networks = StubNetworks(30.0)
    lane, errors = networks.classifiers[0], list[BaseException]()

    def take() -> None:
        try:
            lane.take()
        except RunError as error:
            errors.append(error)

    lane.submit(0, picture(SCENE, 0))
    taking = threading.Thread(target=take)
    taking.start()
    began = time.monotonic()
    networks.close()
    taking.join(2.0)
    assert time.monotonic() - began < 1.0
    assert "closed" in str(errors[0])


def test_a_network_that_breaks_says_so_to_whoever_asks() -> None:
    def broken(image: ImageArray) -> tuple[FloatArray, None]:
        raise ValueError("nothing to see")

    lane, rang = StubLane("broken", ("a",), broken, 0.0), threading.Event()
    lane.ring(rang.set)
    lane.submit(0, np.zeros((4, 4, 3), np.uint8))
    assert rang.wait(2.0) and lane.ready
    with pytest.raises(RunError, match="nothing to see"):
        lane.take()
    with pytest.raises(RunError, match="nothing to see"):
        lane.poll()
    lane.close()
