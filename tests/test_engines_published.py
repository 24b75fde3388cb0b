"""The full-size published networks against the reference written from their description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reference_published import LABELS, Looked, load_networks, look, write_checkpoints

from endostream.engines import PackNetworks, open_networks, openvino_engine
from endostream.models.importing import import_pack
from endostream.packs import Pack, verify_pack
from endostream.types import ImageArray


def pictures(count: int, seed: int = 0) -> list[ImageArray]:
    """Soft coloured shapes, each of its own size."""
    random = np.random.default_rng(seed)
    found = []
    for i in range(count):
        soft = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        found.append(cv2.resize(soft, (360 + 8 * (i % 9), 300), interpolation=cv2.INTER_CUBIC))
    return found


@dataclass
class World:
    """An imported pack and what the reference says of a few pictures."""

    pack: Pack
    files: tuple[Path, Path]
    pictures: list[ImageArray]
    expected: list[Looked]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("published")
    shown = pictures(3)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDOSTREAM_DATA", str(folder / "data"))
        files = write_checkpoints(folder, 0, shown)
        pack = import_pack(files[::-1], "endodinov2")
        networks = load_networks(*files)
        expected = [look(p, *networks, gated=i > 0) for i, p in enumerate(shown)]
        yield World(pack, files, shown, expected)
    torch.set_num_threads(threads)


def softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max())
    return np.asarray(grown / grown.sum())


def check(networks: PackNetworks, world: World, logit_gap: float) -> None:
    """Hold a set of networks against the reference by the published tolerances."""
    networks.warm_up()
    (lane,) = networks.classifiers
    assert networks.segmenter is not None
    for key, picture in enumerate(world.pictures):
        lane.submit(key, picture)
        if world.expected[key].mask is not None:
            networks.segmenter.submit(key, picture)
    masks = {a.key: a for a in networks.segmenter.poll(wait=True)}
    for answer, picture, seen in zip(lane.poll(wait=True), world.pictures, world.expected, strict=True):
        assert answer.maps is not None
        found = softmax(answer.logits)
        assert LABELS[int(found.argmax())] == LABELS[int(seen.probabilities.argmax())]
        assert np.abs(found - seen.probabilities).max() < 1e-4
        assert np.abs(answer.logits - seen.logits).max() < logit_gap
        cam = np.maximum(answer.maps[int(found.argmax())], 0)
        cam = (cam - cam.min()) / (cam.max() + 1e-6)
        cam = (cam - cam.min()) / (cam.max() - cam.min() + 1e-8)
        assert np.abs(cam - seen.cam).max() < 1e-3
        if seen.mask is None or seen.mask_logits is None:
            continue
        assert np.abs(masks[answer.key].logits - seen.mask_logits).max() < logit_gap
        mask = (masks[answer.key].logits > 0).astype(np.uint8)
        size = (picture.shape[1], picture.shape[0])
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(bool)
        assert 0.02 < seen.mask.mean() < 0.98
        assert (mask == seen.mask).mean() > 0.999
    networks.close()


@pytest.mark.timeout(300)
def test_torch_gives_the_published_answers(world: World) -> None:
    verify_pack(world.pack)
    assert len({int(s.probabilities.argmax()) for s in world.expected}) > 1, "the pictures differ"
    networks = open_networks(world.pack, engine="torch", device="cpu", precision="fp32", protocol="published")
    check(networks, world, 1e-3)


@pytest.mark.timeout(300)
def test_openvino_fp32_gives_the_published_answers(world: World) -> None:
    networks = open_networks(
        world.pack, engine="openvino", precision="fp32", protocol="published", verified=True
    )
    check(networks, world, 1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bf16_keeps_every_clear_label_of_200_pictures(world: World) -> None:
    if not openvino_engine.has_bf16():
        pytest.skip("this processor has no bfloat16")
    shown = pictures(200, seed=9)
    found = {}
    for precision in ("fp32", "bf16"):
        networks = open_networks(world.pack, engine="openvino", precision=precision, verified=True)
        networks.warm_up()
        (lane,) = networks.classifiers
        for key, picture in enumerate(shown):
            lane.submit(key, picture)
        found[precision] = np.array([softmax(a.logits) for a in lane.poll(wait=True)])
        networks.close()
    ordered = np.sort(found["fp32"], axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 0.05
    assert clear.sum() > 100
    assert len(set(found["fp32"].argmax(1))) > 3, "the labels differ"
    same = found["fp32"].argmax(1) == found["bf16"].argmax(1)
    assert same[clear].all()
