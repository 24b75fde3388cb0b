"""Lanes: answers in order, errors that are never lost, threads that end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from tiny_packs import tiny_pack

from endostream.analysis.networks import Lane
from endostream.engines.lane import NetworkLane
from endostream.engines.wish import Outputs
from endostream.errors import PackError, RunError
from endostream.packs import ModelSpec
from endostream.types import FloatArray, ImageArray


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, ...]:
    return tiny_pack(tmp_path_factory.mktemp("pack")).models


def means(batch: FloatArray) -> Outputs:
    """A network of three classes: the means of the channels."""
    maps = batch[:, :, ::14, ::14].copy()
    return maps.mean((2, 3)), maps


def grey(level: int) -> ImageArray:
    return np.full((20, 30, 3), level, np.uint8)


def test_answers_come_in_order_with_their_keys(models: tuple[ModelSpec, ...]) -> None:
    lane = NetworkLane(models[0], lambda: means, exact=True)
    assert isinstance(lane, Lane)
    assert (lane.name, lane.labels, lane.pending) == ("three", ("polyps", "cecum", "z-line"), 0)
    for key in range(20):
        lane.submit(key, grey(10 * key))
    answers = lane.poll(wait=True)
    assert [a.key for a in answers] == list(range(20))
    assert lane.pending == 0 and lane.poll() == [] and lane.poll(wait=True) == []
    how = models[0].preprocessing
    for answer in answers:
        level = (10 * answer.key / 255 - np.array(how.mean)) / np.array(how.std)
        assert np.allclose(answer.logits, level, atol=1e-5)
        assert answer.maps is not None and answer.maps.shape == (3, 4, 4)
        assert set(answer.took) == {"preprocess", "infer"}
    lane.close()


def test_submit_returns_while_the_network_works(models: tuple[ModelSpec, ...]) -> None:
    go = threading.Event()
    seen: list[int] = []

    def slow(batch: FloatArray) -> Outputs:
        if seen:
            assert go.wait(30)
        seen.append(1)
        return means(batch)

    lane = NetworkLane(models[0], lambda: slow, exact=True)
    lane.warm_up()
    lane.submit(1, grey(1))
    lane.submit(2, grey(2))
    assert lane.poll() == [] and lane.pending == 2
    go.set()
    assert [a.key for a in lane.poll(wait=True)] == [1, 2]
    lane.close()


def test_a_segmenter_answers_with_its_own_grid(models: tuple[ModelSpec, ...]) -> None:
    lane = NetworkLane(models[1], lambda: lambda batch: (batch[:, :1].copy(), None), exact=True)
    lane.submit(5, grey(255))
    (answer,) = lane.poll(wait=True)
    assert answer.logits.shape == (32, 48) and answer.maps is None and answer.logits.min() == 1
    lane.close()


def breaks_at(count: int, error: Exception) -> Callable[[], Callable[[FloatArray], Outputs]]:
    """A network that works `count` times."""
    left = [count]

    def run(batch: FloatArray) -> Outputs:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return means(batch)

    return lambda: run


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ValueError("bad\nnews"), RunError, "^network three failed: bad$"),
        (RuntimeError(), RunError, "^network three failed: RuntimeError$"),
        (RunError("the GPU is gone; check it"), RunError, "^the GPU is gone; check it$"),
    ],
)
def test_an_exception_is_raised_at_every_poll(
    error: Exception, kind: type[Exception], said: str, models: tuple[ModelSpec, ...]
) -> None:
    lane = NetworkLane(models[0], breaks_at(2, error), exact=True)
    for key in range(4):
        lane.submit(key, grey(key))
    for wait in (True, False, True):
        with pytest.raises(kind, match=said) as caught:
            lane.poll(wait=wait)
        assert caught.value.__cause__ is error
    lane.submit(9, grey(9))
    with pytest.raises(kind, match=said):
        lane.poll(wait=True)
    lane.close()


def test_a_network_that_cannot_be_loaded_says_so_at_warm_up_and_at_poll(
    models: tuple[ModelSpec, ...],
) -> None:
    def load() -> Callable[[FloatArray], Outputs]:
        raise PackError("weights are gone; import them")

    lane = NetworkLane(models[0], load, exact=True)
    with pytest.raises(PackError, match="weights are gone"):
        lane.warm_up()
    lane.submit(1, grey(1))
    with pytest.raises(PackError, match="weights are gone"):
        lane.poll(wait=True)
    lane.close()


@pytest.mark.parametrize(
    ("model", "out", "said"),
    [
        (0, np.zeros((1, 2), np.float32), "three gives 2 scores for 3 labels"),
        (1, np.zeros((1, 2, 4, 4), np.float32), "mask does not give one mask"),
    ],
)
def test_a_network_must_fit_its_labels(
    model: int, out: FloatArray, said: str, models: tuple[ModelSpec, ...]
) -> None:
    lane = NetworkLane(models[model], lambda: lambda batch: (out, None), exact=True)
    with pytest.raises(PackError, match=said):
        lane.warm_up()
    lane.close()


def test_close_drops_what_waits_and_ends_the_thread(models: tuple[ModelSpec, ...]) -> None:
    entered, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def slow(batch: FloatArray) -> Outputs:
        calls.append(1)
        if len(calls) > 1:
            entered.set()
            assert go.wait(30)
        return means(batch)

    lane = NetworkLane(models[0], lambda: slow, exact=True)
    for key in range(50):
        lane.submit(key, grey(key))
    assert entered.wait(30)
    closing = threading.Thread(target=lane.close)
    closing.start()
    go.set()
    closing.join(30)
    assert not closing.is_alive()
    assert len(calls) <= 3
    assert "lane-three" not in {t.name for t in threading.enumerate()}
    lane.close()
    with pytest.raises(RunError, match="is closed"):
        lane.submit(1, grey(1))


def test_close_wakes_somebody_who_waits(models: tuple[ModelSpec, ...]) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(batch: FloatArray) -> Outputs:
        entered.set()
        assert go.wait(30)
        return means(batch)

    lane = NetworkLane(models[0], lambda: slow, exact=True)
    lane.submit(0, grey(0))
    lane.submit(1, grey(0))
    got: list[int] = []
    waiting = threading.Thread(target=lambda: got.append(len(lane.poll(wait=True))))
    waiting.start()
    assert entered.wait(30)
    closing = threading.Thread(target=lane.close)
    closing.start()
    go.set()
    for thread in (closing, waiting):
        thread.join(30)
        assert not thread.is_alive()
    assert got and got[0] < 2
