"""The published architectures: shapes, names, the position table, the heat map, random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import timm
import torch
from reference_published import hub_positions
from tiny_packs import CLASSIFIER, tiny_pack
from torch import nn

from endostream.errors import PackError
from endostream.models import ARCHITECTURES, build, load
from endostream.models.dinov2 import DinoV2, DinoV2Classifier
from endostream.models.unet import UNet

BLOCK = [
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.proj.weight",
    "attn.proj.bias",
    "ls1.gamma",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
    "ls2.gamma",
]
NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
STAGES = ["enc1", "enc2", "enc3", "enc4", "bottleneck", "dec4", "dec3", "dec2", "dec1"]


def published_classifier_keys() -> set[str]:
    keys = (
        "cls_token pos_embed mask_token patch_embed.proj.weight patch_embed.proj.bias norm.weight norm.bias"
    )
    backbone = [*keys.split(), *(f"blocks.{i}.{k}" for i in range(12) for k in BLOCK)]
    return {*(f"backbone.{k}" for k in backbone), "head.weight", "head.bias"}


def published_segmenter_keys() -> set[str]:
    conv = ["0.weight", "3.weight", *(f"{i}.{k}" for i in (1, 4) for k in NORM)]
    keys = {f"{stage}.conv.{k}" for stage in STAGES for k in conv}
    keys |= {f"up{i}.{k}" for i in range(1, 5) for k in ("weight", "bias")}
    return keys | {"final.weight", "final.bias"}


@pytest.mark.parametrize(
    ("key", "parameters", "keys"),
    [
        ("dinov2-vits14-linear", 22_065_431, published_classifier_keys()),
        ("unet-64", 31_037_633, published_segmenter_keys()),
    ],
)
def test_sizes_and_names_are_as_published(key: str, parameters: int, keys: set[str]) -> None:
    with torch.device("meta"):
        network = build(key, {})
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert set(network.state_dict()) == keys
    assert len(keys) == {"dinov2-vits14-linear": 177, "unet-64": 118}[key]


def test_timm_has_the_same_names_without_the_mask_token() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
        ours = DinoV2(384, 12, 6, 14, 37)
    shapes = {k: v.shape for k, v in ours.state_dict().items() if k != "mask_token"}
    assert shapes == {k: v.shape for k, v in theirs.state_dict().items()}


@pytest.fixture(scope="module")
def table() -> DinoV2:
    torch.manual_seed(3)
    model = DinoV2(8, 1, 1, 14, 37)
    nn.init.normal_(model.pos_embed)
    return model.requires_grad_(False)


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (24, 24), (16, 20), (5, 3)])
def test_positions_follow_the_published_formula(table: DinoV2, rows: int, columns: int) -> None:
    expected = hub_positions(table.pos_embed, rows, columns)
    assert torch.allclose(table.interpolate(rows, columns), expected, atol=2e-5)


def test_positions_at_the_nominal_size_are_the_table_itself(table: DinoV2) -> None:
    assert table.interpolate(37, 37) is table.pos_embed


def test_positions_are_not_those_of_timm(table: DinoV2) -> None:
    ours = table.interpolate(16, 16)[:, 1:]
    grid = table.pos_embed[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    theirs = nn.functional.interpolate(grid, size=(16, 16), mode="bicubic", antialias=True)
    gap = (ours - theirs.flatten(2).transpose(1, 2)).pow(2).mean().sqrt() / ours.pow(2).mean().sqrt()
    assert gap > 0.05


def test_fixed_positions_change_nothing_and_training_ignores_them() -> None:
    torch.manual_seed(1)
    model = DinoV2Classifier(**CLASSIFIER).eval()
    picture = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        before = model(picture)[0]
        model.fix(56, 56)
        assert torch.equal(model(picture)[0], before)
        model.backbone.pos_embed += 1
        assert torch.equal(model(picture)[0], before), "the constant is used"
    model.train()
    model(picture)[0].sum().backward()
    assert model.backbone.pos_embed.grad is not None


@pytest.mark.parametrize(("dim", "depth", "heads", "size"), [(48, 2, 3, 70), (384, 4, 6, 224)])
def test_class_maps_are_grad_cam(dim: int, depth: int, heads: int, size: int) -> None:
    torch.manual_seed(5)
    model = DinoV2Classifier(classes=23, dim=dim, depth=depth, heads=heads, grid=7).eval()
    kept: list[torch.Tensor] = []

    def keep(module: nn.Module, given: object, out: torch.Tensor) -> None:
        out.retain_grad()
        kept.append(out)

    hook = model.backbone.norm.register_forward_hook(keep)
    logits, maps = model(torch.randn(1, 3, size, size))
    hook.remove()
    winner = int(logits.argmax())
    logits[0, winner].backward()
    (tokens,) = kept
    assert tokens.grad is not None
    assert not tokens.grad[0, 1:].any(), "the head reads the class token alone"
    expected = torch.relu((tokens[0, 1:] * tokens.grad[0, 0]).sum(-1)).reshape(size // 14, size // 14)
    ours, expected = torch.relu(maps[0, winner]).detach(), expected.detach()
    assert expected.max() > 0
    assert float((ours - expected).abs().max() / expected.max()) < 1e-5


def test_mask_network_gives_one_logit_per_pixel() -> None:
    with torch.no_grad():
        assert UNet(width=2)(torch.rand(2, 3, 32, 48)).shape == (2, 1, 32, 48)


@pytest.mark.parametrize(
    ("model", "size"), [(DinoV2Classifier(**CLASSIFIER), (225, 224)), (UNet(width=2), (320, 328))]
)
def test_sizes_that_do_not_divide_are_refused(model: DinoV2Classifier | UNet, size: tuple[int, int]) -> None:
    with pytest.raises(PackError, match="not a multiple"):
        model.fix(*size)


@pytest.mark.parametrize(
    ("key", "options", "said"),
    [
        ("unet64", {}, "did you mean unet-64"),
        ("zzz", {}, "known: dinov2"),
        ("unet-64", {"depth": 9}, "does not take"),
    ],
)
def test_unknown_architectures_and_options_are_named(key: str, options: dict[str, int], said: str) -> None:
    with pytest.raises(PackError, match=said):
        build(key, options)


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_every_architecture_keeps_its_contract(key: str) -> None:
    small = {
        "dinov2-vits14-linear": (CLASSIFIER, 56),
        "unet-64": ({"width": 2}, 64),
        "light-unet": ({"width": 12, "depth": 1}, 64),
        "light-classifier": ({"classes": 3, "width": 12, "depth": 1}, 64),
    }
    options, size = small[key]
    model = build(key, options).eval()
    with torch.no_grad():
        out = model(torch.rand(2, 3, size, size))
    if isinstance(out, tuple):
        logits, maps = out
        assert logits.shape == (2, 3)
        assert maps.shape[:2] == (2, 3) and maps.ndim == 4
    else:
        assert out.shape == (2, 1, size, size)


def test_random_weights_are_sane_and_leave_the_process_alone(tmp_path: Path) -> None:
    pack = tiny_pack(tmp_path)
    assert pack.segmenter is not None
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    one = load(pack, pack.segmenter, seed=4)
    assert torch.equal(torch.rand(3), expected), "the process's own random numbers are untouched"
    assert not one.training
    with torch.no_grad():
        logits = one(torch.rand(1, 3, 64, 64))
    share = float((logits > 0).float().mean())
    assert torch.isfinite(logits).all() and 0.02 < share < 0.98
    assert float(logits.std()) > 0.01


def test_random_weights_of_one_seed_are_the_same(tmp_path: Path) -> None:
    pack = tiny_pack(tmp_path)
    states = [load(pack, pack.models[0], seed=s).state_dict() for s in (1, 1, 2)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_weights_come_out_as_they_went_in(tmp_path: Path) -> None:
    pack = tiny_pack(tmp_path)
    model = load(pack, pack.models[0])
    assert not model.training
    again = load(pack, pack.models[0])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_damaged_weight_files_are_named(tmp_path: Path) -> None:
    pack = tiny_pack(tmp_path)
    first, second = pack.path(pack.models[0]), pack.path(pack.models[1])
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackError, match=r"three\.safetensors cannot be read"):
        load(pack, pack.models[0])
    shutil.copy(second, first)
    with pytest.raises(PackError, match="does not fit dinov2-vits14-linear: it lacks"):
        load(pack, pack.models[0])
    first.unlink()
    with pytest.raises(PackError, match="endostream packs import"):
        load(pack, pack.models[0])
