"""Two networks with one trunk: computed once, with the same answers as two whole networks."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small import write_pack

from endostream.engines import open_networks
from endostream.engines.shared import RestLane, Shelf, TrunkLane
from endostream.engines.threads import inference_threads
from endostream.engines.wish import Features
from endostream.errors import RunError
from endostream.models import load
from endostream.models.sharing import load_rest, load_trunk, shares_trunk
from endostream.packs import ModelSpec, Pack, read_pack, sha256_of
from endostream.types import FloatArray, ImageArray

RNG = np.random.default_rng(3)
PICTURES = [RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(5)]


def rewrite(folder: Path, file: str, state: dict[str, torch.Tensor]) -> None:
    """Replace a weight file and its checksum."""
    toml = folder / "pack.toml"
    before = sha256_of(folder / file)
    save_file(state, folder / file)
    toml.write_text(toml.read_text().replace(before, sha256_of(folder / file)))


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack whose mask network begins with the classifier's weights."""
    folder = write_pack(tmp_path_factory.mktemp("alike"))
    trunk = {k: v for k, v in load_file(folder / "classifier.safetensors").items() if "head" not in k}
    rewrite(folder, "segmenter.safetensors", {**load_file(folder / "segmenter.safetensors"), **trunk})
    return read_pack(folder)


def test_only_equal_weights_on_equal_input_are_shared(alike: Pack, tmp_path: Path) -> None:
    assert shares_trunk(alike)
    assert not shares_trunk(read_pack(write_pack(tmp_path / "other"))), "every weight differs"
    near = tmp_path / "near"
    shutil.copytree(alike.folder, near)
    state = load_file(near / "segmenter.safetensors")
    state["fuse16.join.0.weight"][0, 0, 0, 0] += 1e-6
    rewrite(near, "segmenter.safetensors", state)
    assert not shares_trunk(read_pack(near)), "one weight differs"
    wider = tmp_path / "wider"
    shutil.copytree(alike.folder, wider)
    toml = wider / "pack.toml"
    toml.write_text(toml.read_text().replace("width = 32", "width = 64", 1))
    assert not shares_trunk(read_pack(wider)), "another input"
    (wider / "segmenter.safetensors").unlink()
    assert not shares_trunk(read_pack(wider)), "nothing to share"


def test_trunk_and_rest_are_the_two_networks(alike: Pack) -> None:
    classifier, segmenter = (load(alike, m) for m in alike.models)
    picture = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        logits, maps, *features = load_trunk(alike)(picture)
        expected = classifier(picture)
        assert torch.equal(logits, expected[0]) and torch.equal(maps, expected[1])
        assert torch.equal(load_rest(alike)(*features), segmenter(picture))


@pytest.mark.parametrize("ahead", [False, True])
def test_shared_lanes_answer_like_separate_ones(alike: Pack, ahead: bool) -> None:
    shared = open_networks(alike, engine="openvino", precision="fp32", ahead=ahead)
    apart = open_networks(alike, engine="torch", precision="fp32", device="cpu")
    try:
        assert isinstance(shared.segmenter, RestLane) and not isinstance(apart.segmenter, RestLane)
        for networks in (shared, apart):
            assert networks.segmenter is not None
            networks.warm_up()
        for key, picture in enumerate(PICTURES):
            found = []
            for networks in (shared, apart):
                lane = networks.segmenter
                assert lane is not None
                networks.classifiers[0].submit(key, picture)
                if key % 2:
                    # Asked for later, as behind a gate; otherwise at once.
                    found.append(networks.classifiers[0].take())
                lane.submit(key, picture)
                if key % 2 == 0:
                    found.append(networks.classifiers[0].take())
                found.append(lane.take())
            ours, mask, theirs, other = found
            assert np.allclose(ours.logits, theirs.logits, atol=1e-3)
            assert np.allclose(mask.logits, other.logits, atol=1e-3)
    finally:
        shared.close()
        apart.close()


def test_a_mask_needs_no_classifier(alike: Pack) -> None:
    networks = open_networks(alike, engine="openvino", precision="fp32")
    try:
        lane = networks.segmenter
        assert lane is not None
        lane.submit(7, PICTURES[0])
        alone = lane.take()
        networks.classifiers[0].submit(7, PICTURES[0])
        networks.classifiers[0].take()
        lane.submit(7, PICTURES[1])  # the same key, another picture
        other = lane.take()
        assert not np.array_equal(alone.logits, other.logits)
    finally:
        networks.close()


class Steps:
    """A trunk that counts and can be held, and a rest that sums."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = threading.Event()
        self.go.set()
        self.broken = False

    def trunk(self, batch: FloatArray) -> tuple[FloatArray, FloatArray, Features]:
        self.runs += 1
        assert self.go.wait(30)
        if self.broken:
            raise ValueError("worn out")
        return np.zeros((1, 2), np.float32), np.zeros((1, 2, 2, 2), np.float32), (batch,)

    def rest(self, features: Features) -> FloatArray:
        return features[0][:, :1].copy()


@pytest.fixture
def lanes(alike: Pack) -> tuple[Steps, TrunkLane, RestLane]:
    steps, shelf = Steps(), Shelf()
    classifier, segmenter = alike.models
    first = TrunkLane(shelf, classifier, lambda: steps.trunk, 1)
    return steps, first, RestLane(shelf, segmenter, lambda: (steps.trunk, steps.rest))


def warm(steps: Steps, *both: TrunkLane | RestLane) -> None:
    for lane in both:
        lane.warm_up()
    steps.runs = 0


def test_the_trunk_runs_once_for_both(lanes: tuple[Steps, TrunkLane, RestLane]) -> None:
    steps, first, second = lanes
    warm(steps, first, second)
    for key, picture in enumerate(PICTURES):
        first.submit(key, picture)
        second.submit(key, picture)
    for _ in PICTURES:
        first.take()
        second.take()
    assert steps.runs == len(PICTURES)
    first.close()
    second.close()


def test_a_mask_that_waits_ends_with_its_classifier(lanes: tuple[Steps, TrunkLane, RestLane]) -> None:
    steps, first, second = lanes
    warm(steps, first, second)
    steps.broken = True
    first.submit(0, PICTURES[0])
    second.submit(0, PICTURES[0])
    with pytest.raises(RunError, match="worn out"):
        first.take()
    with pytest.raises(RunError, match="lost its classifier"):
        second.take()
    first.close()
    second.close()


def test_closing_the_classifier_frees_a_mask_that_waits(lanes: tuple[Steps, TrunkLane, RestLane]) -> None:
    steps, first, second = lanes
    warm(steps, first, second)
    steps.go.clear()
    for key in (0, 1):
        first.submit(key, PICTURES[key])
    second.submit(1, PICTURES[1])
    closing = threading.Thread(target=first.close)
    closing.start()
    steps.go.set()
    closing.join(30)
    with pytest.raises(RunError, match="lost its classifier"):
        second.take()
    second.close()


def test_features_of_pictures_that_are_gone_are_not_found() -> None:
    shelf = Shelf()
    picture: ImageArray | None = np.zeros((4, 4, 3), np.uint8)
    assert picture is not None
    shelf.promise(picture).set_result((np.ones(1, np.float32),))
    assert shelf.claim(picture) is not None
    assert shelf.claim(picture.copy()) is None, "equal, but another picture"
    picture = None
    assert shelf.claim(np.zeros((4, 4, 3), np.uint8)) is None


def test_models_named_in_the_table_exist(alike: Pack) -> None:
    assert all(isinstance(m, ModelSpec) for m in alike.models)
    assert type(load_trunk(alike)).__name__ == "LightTrunk" and type(load_rest(alike)).__name__ == "LightRest"


@pytest.mark.skipif(inference_threads() < 2, reason="one core: nothing to spread")
@pytest.mark.parametrize(("rate", "depth"), [(0.001, 1), (1e9, 2)])
def test_a_source_that_is_too_fast_for_one_at_a_time_gets_two(alike: Pack, rate: float, depth: int) -> None:
    networks = open_networks(alike, engine="openvino", precision="fp32", rate=rate)
    rung = threading.Semaphore(0)
    try:
        networks.ring(lambda: rung.release())
        networks.warm_up()
        assert networks.depth == depth
        lane = networks.classifiers[0]
        assert not lane.ready
        for key, picture in enumerate(PICTURES[:2]):
            lane.submit(key, picture)
        for key in range(2):
            assert rung.acquire(timeout=30)
            assert lane.take().key == key
        assert networks.segmenter is not None
        networks.segmenter.submit(0, PICTURES[0])
        assert rung.acquire(timeout=30) and networks.segmenter.ready
    finally:
        networks.close()


def test_several_at_once_are_for_openvino_and_for_a_known_rate(alike: Pack) -> None:
    for networks in (
        open_networks(alike, engine="torch", device="cpu", precision="fp32", rate=1e9),
        open_networks(alike, engine="openvino", precision="fp32"),
    ):
        try:
            networks.warm_up()
            assert networks.depth == 1 and networks.warnings == ()
        finally:
            networks.close()
