"""The classifier on our own kernels: it computes what torch computes, wherever its tokens end."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_checks import ICE_LAKE, PICTURE, ZEN_4, apart, noise
from tiny_packs import tiny_pack

from endostream.engines import open_networks
from endostream.engines.kernels import beats_int8, choice, serves, transformer
from endostream.engines.kernels.library import Features, features
from endostream.errors import RunError
from endostream.models.dinov2 import DinoV2Classifier
from endostream.packs import find_pack


def lively(rows: int, columns: int, dim: int = 128) -> DinoV2Classifier:
    """A small transformer in which no factor is 1 and no bias 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = DinoV2Classifier(classes=5, dim=dim, depth=2, heads=dim // 64, grid=6).eval()
        for name, value in network.named_parameters():
            if name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma")):
                torch.nn.init.uniform_(value, 0.5, 1.5)
            else:
                std = 0.3 if value.dim() < 2 or "token" in name or "pos" in name else value[0].numel() ** -0.5
                torch.nn.init.normal_(value, std=std)
    network.fix(14 * rows, 14 * columns)
    return network


bf16 = pytest.mark.skipif(Features.AVX512_BF16 not in features(), reason="no bfloat16 products, or not built")


@bf16
@pytest.mark.parametrize("grid", [(4, 4), (5, 9), (7, 9), (8, 8), (9, 10), (11, 11), (1, 1)], ids=str)
def test_the_transformer_is_that_of_torch_for_any_threads(grid: tuple[int, int]) -> None:
    """Tokens that end anywhere in a panel of 64, odd and even; both outputs."""
    network, batch = lively(*grid), noise(1, 3, 14 * grid[0], 14 * grid[1])
    with torch.inference_mode():
        expected = [output.numpy() for output in network(torch.from_numpy(batch))]
    native = transformer.Transformer(network.folded(), *grid)
    answers = []
    for threads in (1, 2, 3):
        context = transformer.Context(native, threads)
        answers += [context(batch), context(batch)]
        context.close()
    first = [np.asarray(output) for output in answers[0]]
    for other in answers[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(apart(ours, right) < 0.03 for ours, right in zip(first, expected, strict=True))


@bf16
def test_large_scores_neither_overflow_nor_vanish() -> None:
    """A token that looks at one other alone: the softmax of scores in the hundreds."""
    network = lively(4, 5)
    with torch.no_grad():
        for block in network.backbone.blocks:
            block.attn.qkv.weight *= 12.0  # type: ignore[union-attr, operator]
    batch = noise(1, 3, 56, 70)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch))[0].numpy()
    logits, _ = transformer.Context(transformer.Transformer(network.folded(), 4, 5), 2)(batch)
    assert np.isfinite(logits).all() and apart(logits, expected) < 0.15


@bf16
def test_contexts_work_at_once() -> None:
    native = transformer.Transformer(lively(4, 4).folded(), 4, 4)
    contexts = [transformer.Context(native, 1) for _ in range(3)]
    batches = [noise(1, 3, 56, 56) for _ in contexts]
    expected = [context(batch)[0] for context, batch in zip(contexts, batches, strict=True)]
    wrong: list[int] = []

    def ask(which: int) -> None:
        for _ in range(60):
            if not np.array_equal(contexts[which](batches[which])[0], expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with pytest.raises(RunError, match=r"56x56 pixels was given an array of shape \(1, 3, 56, 70\)"):
        contexts[0](noise(1, 3, 56, 70))


@bf16
@pytest.mark.parametrize("ahead", [False, True])
def test_a_pack_with_a_classifier_that_fits_runs_on_them(
    ahead: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    wide = tiny_pack(tmp_path / "wide", width=16, classifier={"dim": 128, "heads": 2})
    answers = []
    for engine in ("openvino", "torch"):
        networks = open_networks(wide, engine=engine, precision="bf16", ahead=ahead)
        networks.warm_up()
        assert networks.info.get("kernels") == ("three, mask" if engine == "openvino" else None)
        lane = networks.classifiers[0]
        for key in range(6):
            lane.submit(key, np.roll(PICTURE, 5 * key, axis=1))
        answers.append(lane.poll(wait=True))
        networks.close()
    for ours, theirs in zip(*answers, strict=True):
        assert ours.key == theirs.key and ours.maps is not None and theirs.maps is not None
        assert ours.maps.shape == theirs.maps.shape
        assert apart(ours.maps, theirs.maps) < 0.05
        assert np.abs(ours.logits - theirs.logits).max() < 0.05 * np.abs(theirs.maps).max()


@pytest.mark.parametrize(
    ("offers", "precision", "options", "expected"),
    [
        (ZEN_4, "bf16", {}, True),
        (ZEN_4, "fp32", {}, False),
        (ZEN_4, "int8", {}, False),
        (ZEN_4 | Features.AMX_BF16, "bf16", {}, False),
        (ICE_LAKE, "bf16", {}, False),
        (ZEN_4, "bf16", {"dim": 192, "heads": 6}, False),
        (ZEN_4, "bf16", {"patch": 8}, True),
        (ZEN_4, "bf16", {"patch": 9}, False),
    ],
)
def test_a_transformer_is_served_in_bf16_alone(
    offers: Features, precision: str, options: dict[str, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "features", lambda: offers)
    model = find_pack("endodinov2").classifiers[0]
    model = dataclasses.replace(model, options={**model.options, **options})
    assert serves(model, precision) is expected
    assert not beats_int8(model, precision)
