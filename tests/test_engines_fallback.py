"""A device that is lost: nothing is lost with it, nothing is answered twice, and somebody is told."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_packs import tiny_pack

from endostream.analysis.networks import Answer, Lane, Networks
from endostream.engines import open_networks, torch_engine
from endostream.engines.choose import choose
from endostream.engines.cuda import device as device_module
from endostream.engines.cuda.network import DeviceNetwork
from endostream.engines.cuda.networks import DeviceNetworks
from endostream.engines.fallback import DeviceFailure, GuardedNetworks
from endostream.engines.pack_networks import PackNetworks
from endostream.errors import RunError
from endostream.packs import Pack
from endostream.types import ImageArray

RANDOM = np.random.default_rng(6)
PICTURES = [RANDOM.integers(0, 256, (60, 100, 3), dtype=np.uint8) for _ in range(6)]
LOST = DeviceFailure("the GPU is out of memory", "close other programs on it or use --device cpu")
SAID = "the GPU is out of memory: going on with the CPU; close other programs on it and start again"


class Counted:
    """A lane that answers with the key, until its networks fail or are closed."""

    def __init__(self, owner: Fake, name: str) -> None:
        self.name, self.labels, self._owner = name, ("a", "b"), owner
        self.given: list[int] = []
        self._todo: deque[int] = deque()

    @property
    def pending(self) -> int:
        return len(self._todo)

    @property
    def ready(self) -> bool:
        return bool(self._todo)

    def submit(self, key: int, image: ImageArray) -> None:
        self.given.append(key)
        self._todo.append(key)
        self._owner.wake()

    def take(self) -> Answer:
        self._owner.complain()
        return Answer(self._todo.popleft(), np.full(2, self._owner.number, np.float32), None, {})

    def poll(self, wait: bool = False) -> list[Answer]:
        return [self.take() for _ in range(len(self._todo))]


class Fake:
    """Networks that can be told to fail."""

    depth = 1

    def __init__(self, number: float, warnings: tuple[str, ...] = ()) -> None:
        self.number, self.warnings, self.error = number, warnings, None  # type: tuple[float, Any, Any]
        self.closed = 0
        self.classifiers, self.segmenter = (Counted(self, "c"),), Counted(self, "s")
        self.wake: Callable[[], None] = lambda: None
        self.warmed = 0

    @property
    def info(self) -> Mapping[str, str]:
        return {"device": f"number {self.number:g}"}

    def ring(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def warm_up(self, say: Callable[[str], None] | None = None) -> None:
        self.complain()
        self.warmed += 1

    def complain(self) -> None:
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def guarded(strict: bool = True) -> tuple[GuardedNetworks, Fake, list[Fake]]:
    first, spares = Fake(1, ("noted before",)), list[Fake]()

    def spare() -> Networks:
        spares.append(Fake(2, ("noted after",)))
        return spares[-1]

    return GuardedNetworks(first, spare, strict), first, spares


def lanes_of(networks: Networks) -> tuple[Lane, Lane]:
    assert networks.segmenter is not None
    return networks.classifiers[0], networks.segmenter


def test_as_long_as_nothing_fails_nothing_changes() -> None:
    networks, first, spares = guarded()
    networks.warm_up()
    classifier, _ = lanes_of(networks)
    assert isinstance(classifier, Lane) and classifier.name == "c" and classifier.labels == ("a", "b")
    classifier.submit(4, PICTURES[0])
    assert classifier.ready and classifier.pending == 1
    assert classifier.take().key == 4 and classifier.pending == 0
    assert networks.warnings == ("noted before",) and networks.depth == 1
    networks.close()
    assert not spares and first.closed == 1


def test_pictures_on_their_way_are_answered_once_and_in_order() -> None:
    networks, first, spares = guarded()
    networks.warm_up()
    rung: list[int] = []
    networks.ring(lambda: rung.append(1))
    classifier, segmenter = lanes_of(networks)
    for key in range(4):
        classifier.submit(key, PICTURES[key])
    segmenter.submit(2, PICTURES[2])
    found = [classifier.take()]
    first.error = LOST
    found += [classifier.take(), classifier.take()]
    rung.clear()
    classifier.submit(4, PICTURES[4])
    assert rung, "the spare networks ring too"
    found += classifier.poll(wait=True)
    found.append(segmenter.take())
    assert [a.key for a in found] == [0, 1, 2, 3, 4, 2]
    assert [float(a.logits[0]) for a in found] == [1, 2, 2, 2, 2, 2]
    (spare,) = spares
    assert spare.classifiers[0].given == [1, 2, 3, 4] and spare.segmenter.given == [2]
    assert first.closed == 1 and spare.closed == 0
    assert networks.warnings == ("noted before", SAID, "noted after")
    assert networks.info == {"device": "number 2"}
    networks.close()
    networks.close()
    assert classifier.pending == segmenter.pending == 0 and spare.closed == 2


def test_a_poll_after_the_failure_gives_what_the_spare_has() -> None:
    networks, first, _ = guarded()
    networks.warm_up()
    classifier, _ = lanes_of(networks)
    for key in range(3):
        classifier.submit(key, PICTURES[key])
    first.error = LOST
    assert [(a.key, float(a.logits[0])) for a in classifier.poll()] == [(0, 2), (1, 2), (2, 2)]
    assert classifier.pending == 0


def test_what_was_asked_for_by_name_fails_at_the_start() -> None:
    networks, first, spares = guarded(strict=True)
    first.error = LOST
    with pytest.raises(
        RunError, match=r"^the GPU is out of memory; close other programs on it or use --device cpu$"
    ):
        networks.warm_up()
    networks.classifiers[0].submit(0, PICTURES[0])
    with pytest.raises(RunError, match="out of memory"):
        networks.classifiers[0].take()
    assert not spares


def test_what_was_chosen_by_itself_is_replaced_at_the_start() -> None:
    networks, first, spares = guarded(strict=False)
    first.error = LOST
    said: list[str] = []
    networks.warm_up(said.append)
    assert said == [SAID] and spares[0].warmed == 1 and first.closed == 1


def test_another_error_is_not_hidden() -> None:
    networks, first, spares = guarded()
    networks.warm_up()
    first.error = RunError("network c failed: a bug")
    networks.classifiers[0].submit(0, PICTURES[0])
    with pytest.raises(RunError, match="a bug"):
        networks.classifiers[0].take()
    assert not spares


def test_spare_networks_that_fail_too_say_so() -> None:
    networks, first, spares = guarded()
    networks.warm_up()
    networks.classifiers[0].submit(0, PICTURES[0])
    networks.classifiers[0].submit(1, PICTURES[1])
    first.error = LOST
    networks.classifiers[0].take()
    spares[0].error = RunError("no memory anywhere; close other programs")
    with pytest.raises(RunError, match="no memory anywhere"):
        networks.classifiers[0].take()
    assert len(spares) == 1


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return tiny_pack(tmp_path_factory.mktemp("packs") / "tiny")


def test_a_device_lost_in_mid_run_loses_no_picture(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's own networks in front of torch on the processor; two lanes are waited for at once."""
    before = torch.get_num_threads()
    spare = choose(engine="torch", device="cpu")
    networks = GuardedNetworks(
        DeviceNetworks(pack, "fp32", exact=True, ahead=True, device="cpu"),
        lambda: PackNetworks(pack, spare, exact=True),
        strict=True,
    )
    reference = PackNetworks(pack, spare, exact=True)
    runs, run = [0], DeviceNetwork.run

    def breaking(network: DeviceNetwork, size: int) -> Any:
        runs[0] += 1
        if runs[0] > 4:
            raise RuntimeError("CUDA error: unspecified launch failure\nmore")
        return run(network, size)

    try:
        networks.warm_up()
        monkeypatch.setattr(DeviceNetwork, "run", breaking)
        found: dict[str, list[Answer]] = {}

        def ask(lane: Lane) -> None:
            answers = found[lane.name] = []
            for key in range(30):
                lane.submit(key, PICTURES[key % 6])
                if key > 3:
                    answers.append(lane.take())
            answers.extend(lane.poll(wait=True))

        threads = [threading.Thread(target=ask, args=(lane,)) for lane in lanes_of(networks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for ours, theirs in zip(lanes_of(networks), lanes_of(reference), strict=True):
            for picture in range(6):
                theirs.submit(picture, PICTURES[picture])
            expected = theirs.poll(wait=True)
            assert [a.key for a in found[ours.name]] == list(range(30))
            for answer in found[ours.name]:
                assert np.allclose(answer.logits, expected[answer.key % 6].logits, atol=1e-3)
        assert networks.info["device"] == "cpu" and networks.info["engine"] == "torch"
        (line,) = networks.warnings
        assert line.startswith(
            "the GPU failed (CUDA error: unspecified launch failure): going on with the CPU; "
        )
    finally:
        networks.close()
        reference.close()
        torch.set_num_threads(before)


class NoGpu:
    """CUDA as it is with a driver and no GPU that answers."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("No CUDA GPUs are available")


def test_the_processor_stands_behind_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tiny_pack(tmp_path / "tiny")
    monkeypatch.setattr(torch_engine, "has_cuda", lambda: True)
    monkeypatch.setattr(device_module, "cuda", NoGpu())
    for name in ("benchmark", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    named = open_networks(pack, device="cuda")
    try:
        with pytest.raises(
            RunError, match=r"^the GPU failed \(No CUDA GPUs are available\); .* --device cpu$"
        ):
            named.warm_up()
    finally:
        named.close()
    before = torch.get_num_threads()
    chosen = open_networks(pack)
    try:
        assert chosen.info["device"] == "cuda"
        chosen.warm_up()
        chosen.classifiers[0].submit(0, PICTURES[0])
        assert chosen.classifiers[0].take().key == 0
        assert chosen.info["device"] == "cpu" and "going on with the CPU" in chosen.warnings[0]
    finally:
        chosen.close()
        torch.set_num_threads(before)
