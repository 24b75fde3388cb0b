"""Our own kernels: they compute what torch computes, in every instruction set, with any number of threads."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from kernel_checks import ICE_LAKE, PICTURE, ZEN_4, apart, needed, noise
from numpy.linalg import lapack_lite
from tiny_packs import tiny_pack

from endostream.engines import open_networks, openvino_engine
from endostream.engines.kernels import choice, library, serves, unet
from endostream.engines.kernels.convolutions import Network
from endostream.engines.kernels.library import Features, features, kernel_set
from endostream.errors import RunError
from endostream.models import load
from endostream.models.unet import UNet
from endostream.packs import ModelSpec, Pack

KINDS = [Features.AVX2, Features.AVX512, Features.AVX512_BF16]
GAP = {Features.AVX512_BF16: 0.03}
"""Root mean square of the error in standard deviations of the answer; float32 elsewhere."""


def filters(outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    return noise(outputs, inputs, 3, 3, scale=(2.0 / (9 * inputs)) ** 0.5), noise(outputs, scale=0.3)


def of_this_processor(kind: Features) -> Features:
    if kind not in features():
        pytest.skip(f"this processor has no {kind.name}")
    return kind


@needed
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("height", "width", "inner", "outer"),
    [(64, 64, 16, 16), (16, 16, 64, 128), (32, 48, 48, 64), (80, 112, 128, 32), (144, 176, 32, 192)],
)
def test_every_layer_is_that_of_torch(
    kind: Features, height: int, width: int, inner: int, outer: int
) -> None:
    """First, 3x3 with maxima, 3x3 at half size, raised beside it, and last: planes of every shape."""
    network = Network(of_this_processor(kind), 2, height, width)
    start, both = network.plane(height, width, inner), network.plane(height, width, 2 * outer)
    half, low = network.plane(height // 2, width // 2, outer), network.plane(height // 2, width // 2, outer)
    enter, down, below = filters(inner, 3), filters(outer, inner), filters(outer, outer)
    up = noise(outer, outer, 2, 2, scale=outer**-0.5), noise(outer, scale=0.3)
    end = noise(2 * outer, scale=(2 * outer) ** -0.5), noise(1)
    network.first(start, 0, *enter)
    network.convolve((start, 0), (both, outer), half, *down)
    network.convolve((half, 0), (low, 0), -1, *below)
    network.raise_((low, 0), (both, 0), *up)
    network.last(both, 0, *end)
    network.settle()
    batch = noise(1, 3, height, width)
    ours = network(batch)
    assert np.array_equal(ours, network(batch)), "a second run found other borders than the first"
    network.close()

    def tensors(pair: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])

    x = functional.conv2d(torch.from_numpy(batch), *tensors(enter), padding=1).relu()
    skip = functional.conv2d(x, *tensors(down), padding=1).relu()
    deep = functional.conv2d(functional.max_pool2d(skip, 2), *tensors(below), padding=1).relu()
    joined = torch.cat((functional.conv_transpose2d(deep, *tensors(up), stride=2), skip), 1)
    weight, bias = tensors(end)
    expected = functional.conv2d(joined, weight.reshape(1, -1, 1, 1), bias).numpy()
    assert apart(ours, expected) < GAP.get(kind, 1e-5)


def random_unet(width: int, height: int, across: int) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = UNet(width).eval()
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                for value in (part.running_var, part.weight):
                    torch.nn.init.uniform_(value, 0.5, 1.5)
                for value in (part.running_mean, part.bias):
                    torch.nn.init.normal_(value, std=0.2)
    network.fix(height, across)
    return network


@needed
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_unet_is_that_of_torch_for_any_threads(kind: Features) -> None:
    network, batch = random_unet(16, 96, 80), noise(1, 3, 96, 80)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    answers = []
    for threads in (1, 2, 3):
        ours = unet.build(network.folded(), of_this_processor(kind), threads, 96, 80)
        answers += [ours(batch), ours(batch)]
        ours.close()
        ours.close()
    assert all(np.array_equal(answers[0], other) for other in answers[1:])
    assert apart(answers[0], expected) < GAP.get(kind, 1e-5)


@needed
def test_two_callers_do_not_disturb_each_other() -> None:
    network = unet.build(random_unet(16, 32, 48).folded(), Features.AVX2, 2, 32, 48)
    batches = [noise(1, 3, 32, 48) for _ in range(2)]
    expected = [network(batch) for batch in batches]
    wrong: list[int] = []

    def ask(which: int) -> None:
        for _ in range(40):
            if not np.array_equal(network(batches[which]), expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=ask, args=(n % 2,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    network.close()
    assert not wrong and not np.array_equal(*expected)


@needed
def test_what_does_not_fit_is_said() -> None:
    network = unet.build(random_unet(16, 32, 32).folded(), Features.AVX2, 1, 32, 32)
    with pytest.raises(RunError, match=r"32x32 pixels was given an array of shape \(1, 3, 32, 48\)"):
        network(noise(1, 3, 32, 48))
    with pytest.raises(TypeError, match="contiguous arrays of float32"):
        network(noise(1, 3, 32, 32).astype(np.float64))
    network.close()


@pytest.mark.parametrize(
    ("precision", "offers", "expected"),
    [
        ("bf16", Features.AVX2 | Features.AVX512 | Features.AVX512_BF16, Features.AVX512_BF16),
        ("fp32", Features.AVX2 | Features.AVX512 | Features.AVX512_BF16, Features.AVX512),
        ("fp32", Features.AVX2 | Features.AVX_VNNI, Features.AVX2),
        ("bf16", Features.AVX2 | Features.AVX512, None),
        ("int8", Features.AVX2 | Features.AVX512 | Features.AVX512_BF16, None),
        ("fp32", Features(0), None),
    ],
)
def test_kernels_follow_the_processor(precision: str, offers: Features, expected: Features | None) -> None:
    assert kernel_set(precision, offers) == expected


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pack]:
    """A small pack whose UNet is wide enough for the kernels, and an empty cache of its own."""
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    yield tiny_pack(tmp_path / "tiny", width=16)
    torch.set_num_threads(before)


def mask_of(pack: Pack) -> ModelSpec:
    assert pack.segmenter is not None
    return pack.segmenter


@pytest.mark.parametrize(
    ("offers", "precision", "expected"),
    [
        (Features.AVX2, "fp32", True),
        (Features.AVX2 | Features.AVX512 | Features.AVX512_BF16, "bf16", True),
        (Features.AVX2 | Features.AVX512 | Features.AVX512_BF16 | Features.AMX_BF16, "bf16", False),
        (Features.AVX2 | Features.AVX512 | Features.AVX512_BF16 | Features.AMX_BF16, "fp32", True),
        (Features(0), "fp32", False),
    ],
)
def test_kernels_are_taken_where_they_are_faster(
    offers: Features,
    precision: str,
    expected: bool,
    pack: Pack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "features", lambda: offers)
    assert serves(mask_of(pack), precision) is expected
    narrow = mask_of(tiny_pack(tmp_path / "narrow"))
    assert not serves(narrow, precision), "4 channels are no whole vector"


@pytest.mark.parametrize(
    ("offers", "other", "expected"),
    [
        (ZEN_4, "bf16", True),
        (ZEN_4 | Features.AMX_BF16, "bf16", False),
        (ICE_LAKE, "fp32", False),
        (Features.AVX2 | Features.AVX_VNNI, "fp32", False),
        (Features.AVX2, "fp32", True),
        (Features(0), "fp32", False),
    ],
)
def test_int8_gives_way_to_what_is_faster_and_more_exact(
    offers: Features, other: str, expected: bool, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "features", lambda: offers)
    monkeypatch.setattr(openvino_engine, "others", lambda: other)
    networks = open_networks(pack, precision="int8", random_weights=True)
    networks.close()
    assert networks.info["precision"] == (f"int8 (mask {other})" if expected else "int8")
    measured = open_networks(pack, precision="int8", unproven=True)
    measured.close()
    assert measured.info["precision"] == "int8", "int8 itself is to be measured"


def masks(pack: Pack, protocol: str = "pack") -> tuple[np.ndarray, dict[str, str], list[str]]:
    networks, said = open_networks(pack, engine="openvino", precision="fp32", protocol=protocol), list[str]()
    try:
        networks.warm_up(said.append)
        lane = networks.segmenter
        assert lane is not None
        lane.submit(0, PICTURE)
        return lane.poll(wait=True)[0].logits, dict(networks.info), said
    finally:
        networks.close()


@needed
def test_a_pack_runs_on_them_and_a_second_start_reads_what_was_kept(pack: Pack) -> None:
    found = []
    for start in ("preparing", "loading"):
        networks, said = open_networks(pack, engine="openvino", precision="fp32"), list[str]()
        networks.warm_up(said.append)
        assert networks.info["kernels"] == "mask" and networks.info["engine"] == "openvino"
        assert said[1] == f"{start} segmenter mask for the CPU (fp32, own kernels)"
        lane = networks.segmenter
        assert lane is not None
        lane.submit(0, PICTURE)
        found.append(lane.poll(wait=True)[0].logits)
        networks.close()
    assert np.array_equal(*found)
    assert pack.segmenter is not None
    with torch.inference_mode():
        batch = torch.from_numpy(PICTURE.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        expected = load(pack, pack.segmenter)(batch)[0, 0].numpy()
    assert apart(found[0], expected) < 1e-4


@needed
def test_damaged_weights_on_disk_are_made_anew(pack: Pack, tmp_path: Path) -> None:
    _, _, said = masks(pack)
    assert said[1].startswith("preparing")
    (kept,) = (tmp_path / "cache" / "kernels").glob("*.blob")
    kept.write_bytes(kept.read_bytes()[:-5])
    assert masks(pack)[2][1].startswith("preparing")
    assert masks(pack)[2][1].startswith("loading")


@needed
def test_an_unwritable_cache_is_said_and_done_without(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").write_text("a file where a folder should be")
    said = masks(pack)[2]
    assert any(re.match(r"prepared networks cannot be kept in .*; each start prepares them", s) for s in said)


@pytest.mark.parametrize("content", [b"", b"\x7fELF and then nothing", None], ids=["empty", "cut", "other"])
def test_a_library_that_cannot_be_used_is_as_good_as_none(content: bytes | None, tmp_path: Path) -> None:
    """Damaged, or built from the source of another version: a library without our functions."""
    path = tmp_path / "_kernels.so"
    if content is None:
        path = Path(lapack_lite.__file__)
    else:
        path.write_bytes(content)
    assert library._opened(path) is None


def test_without_them_openvino_does_it(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.SWITCH, "off")
    _, info, said = masks(pack)
    assert (
        "kernels" not in info
        and said[1] == "compiling segmenter mask for the CPU (fp32); cached for next time"
    )
    monkeypatch.delenv(library.SWITCH)
    monkeypatch.setattr(library, "_library", lambda: None)
    assert "kernels" not in masks(pack)[1]


def test_the_published_protocol_stays_with_openvino(pack: Pack) -> None:
    assert "kernels" not in masks(pack, "published")[1]


def test_folding_changes_nothing() -> None:
    network = random_unet(4, 16, 16)
    folded = {name: torch.from_numpy(value) for name, value in network.folded().items()}
    picture = torch.from_numpy(noise(1, 3, 16, 16))
    with torch.inference_mode():
        expected = network.enc1(picture)
        ours = picture
        for order in (0, 1):
            weight, bias = folded[f"enc1.{order}.weight"], folded[f"enc1.{order}.bias"]
            ours = functional.conv2d(ours, weight, bias, padding=1).relu()
    assert apart(ours.numpy(), expected.numpy()) < 1e-5
    assert set(folded) >= {"up1.weight", "up4.bias", "bottleneck.1.weight", "final.weight", "dec1.0.bias"}
