"""Published checkpoints: every layout is read, every hostile file gets one clear line, packs appear whole."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from torch import nn

from endostream.errors import PackError
from endostream.models import importing, load
from endostream.models.checkpoints import read_checkpoint
from endostream.models.dinov2 import DinoV2Classifier
from endostream.models.importing import import_pack
from endostream.models.unet import UNet
from endostream.packs import find_pack, read_pack, sha256_of, verify_pack

OPTIONS: dict[str, int] = {"classes": 23, "depth": 1, "grid": 2}
Parts = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def parts() -> Parts:
    """State dicts of a backbone, a head and a mask network, small but as wide as published."""
    torch.manual_seed(0)
    classifier = DinoV2Classifier(**OPTIONS)
    return classifier.backbone.state_dict(), classifier.head.state_dict(), UNet(width=2).state_dict()


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + k: v for k, v in state.items()}


def renamed(state: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {k.replace(old, new): v for k, v in state.items()}


CLASSIFIERS: dict[str, Callable[[Any, Any], Any]] = {
    "published": lambda b, h: {"epoch": 17, "backbone_state_dict": b, "head_state_dict": h},
    "with optimizer and loss": lambda b, h: {
        "epoch": 3,
        "backbone_state_dict": b,
        "head_state_dict": h,
        "optimizer_state_dict": torch.optim.SGD(
            nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9
        ).state_dict(),
        "loss": nn.CrossEntropyLoss(),
    },
    "one state dict": lambda b, h: {
        "epoch": 1,
        "model_state_dict": prefixed("backbone.", b) | prefixed("head.", h),
    },
    "older head": lambda b, h: {"model_state_dict": prefixed("backbone.", b) | prefixed("cls_head.", h)},
    "parallel": lambda b, h: {
        "model_state_dict": prefixed("module.", prefixed("backbone.", b) | prefixed("head.", h))
    },
    "parallel parts": lambda b, h: {
        "backbone_state_dict": prefixed("module.", b),
        "head_state_dict": prefixed("module.", h),
    },
    "compiled": lambda b, h: prefixed("_orig_mod.", prefixed("backbone.", b) | prefixed("head.", h)),
    "without the mask token": lambda b, h: {
        "backbone_state_dict": {k: v for k, v in b.items() if k != "mask_token"},
        "head_state_dict": h,
    },
    "chunked": lambda b, h: {
        "backbone_state_dict": renamed(b, "blocks.0.", "blocks.0.0."),
        "head_state_dict": h,
    },
    "half precision": lambda b, h: {
        "backbone_state_dict": {k: v.half() for k, v in b.items()},
        "head_state_dict": h,
    },
}


@pytest.mark.parametrize("layout", CLASSIFIERS)
def test_every_layout_of_the_classifier_is_read(layout: str, parts: Parts, tmp_path: Path) -> None:
    backbone, head, _ = parts
    torch.save(CLASSIFIERS[layout](backbone, head), tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")
    assert (found.role, found.architecture, found.classes) == ("classifier", "dinov2-vits14-linear", 23)
    expected = prefixed("backbone.", backbone) | prefixed("head.", head)
    assert set(found.state) == set(expected)
    for name, value in found.state.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, expected[name], atol=1e-3 if layout == "half precision" else 0)


SEGMENTERS: dict[str, Callable[[Any], Any]] = {
    "published": lambda s: s,
    "blocks called net": lambda s: renamed(s, ".conv.", ".net."),
    "with epoch and loss": lambda s: {
        "epoch": 26,
        "model_state_dict": s,
        "optimizer_state_dict": {},
        "loss": 0.2,
    },
    "with a criterion": lambda s: {"model_state_dict": s, "loss": nn.BCEWithLogitsLoss()},
    "parallel": lambda s: prefixed("module.", s),
}


# torch's old format stores the source text of a criterion's class, which is never read.
@pytest.mark.parametrize(
    ("layout", "legacy"),
    [(n, legacy) for n in SEGMENTERS for legacy in (False, True) if not (legacy and n == "with a criterion")],
)
def test_every_layout_of_the_segmenter_is_read(
    layout: str, legacy: bool, parts: Parts, tmp_path: Path
) -> None:
    content = SEGMENTERS[layout](parts[2])
    torch.save(content, tmp_path / "s.pth", _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(tmp_path / "s.pth")
    assert (found.role, found.architecture, found.classes) == ("segmenter", "unet-64", 1)
    assert set(found.state) == set(parts[2])
    assert all(torch.equal(found.state[k], v) for k, v in parts[2].items())


class Bomb:
    """Leaves a file behind when somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def _classifier(parts: Parts, **changed: Any) -> dict[str, Any]:
    return {"backbone_state_dict": parts[0] | changed, "head_state_dict": parts[1]}


def _saved(content: Any, path: Path) -> None:
    torch.save(content, path)


def _truncated(content: Any, path: Path, keep: float) -> None:
    torch.save(content, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])


def _legacy_truncated(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:513ff419\nsize 88325698\n"
HOSTILE: dict[str, tuple[Callable[[Parts, Path], Any], str]] = {
    "pointer": (lambda p, f: f.write_bytes(LFS), "Git LFS pointer.*git lfs pull"),
    "web page": (lambda p, f: f.write_bytes(b"\n<!DOCTYPE html><html>quota</html>"), "web page.*browser"),
    "empty": (lambda p, f: f.write_bytes(b""), "is empty; download it again"),
    "text": (lambda p, f: f.write_bytes(b"hello"), "not a checkpoint"),
    "picture": (lambda p, f: f.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "not a checkpoint"),
    "absent": (lambda p, f: None, "there is no file"),
    "folder": (lambda p, f: f.mkdir(), "cannot be read"),
    "truncated": (lambda p, f: _truncated(p[2], f, 0.7), "incomplete.*download it again"),
    "legacy truncated": (lambda p, f: _legacy_truncated(p[2], f), "damaged or incomplete"),
    "document": (lambda p, f: _zip(f), "zip file but no checkpoint"),
    "code": (lambda p, f: _saved({"a": Bomb(f.with_name("ran"))}, f), "holds Python code"),
    "bare code": (
        lambda p, f: f.write_bytes(pickle.dumps(Bomb(f.with_name("ran")))),
        "holds Python code",
    ),
    "whole module": (lambda p, f: _saved(nn.Linear(2, 2), f), r"holds Python code or objects \(torch"),
    "tensor": (lambda p, f: _saved(torch.zeros(3), f), "holds no state dict"),
    "nothing": (lambda p, f: _saved({}, f), "holds no state dict"),
    "no weights": (lambda p, f: _saved({"epoch": 3}, f), "a file without weights"),
    "other network": (lambda p, f: _saved({"fc.weight": torch.zeros(2, 2)}, f), "another network"),
    "headless": (lambda p, f: _saved(p[0], f), "without its classification head"),
    "video": (
        lambda p, f: _saved({"teacher": {"backbone.blocks.0.temporal_attn.qkv.weight": torch.zeros(1)}}, f),
        "a video transformer",
    ),
    "lightning": (
        lambda p, f: _saved({"pytorch-lightning_version": "2.4", "state_dict": {}}, f),
        "a Lightning checkpoint",
    ),
    "registers": (
        lambda p, f: _saved(_classifier(p, register_tokens=torch.zeros(1, 4, 384)), f),
        "register tokens; only DINOv2 ViT-S/14",
    ),
    "wider": (
        lambda p, f: _saved(_classifier(p, cls_token=torch.zeros(1, 1, 768)), f),
        "ViT-B backbone; only DINOv2 ViT-S/14",
    ),
    "not a number": (
        lambda p, f: _saved(p[2] | {"final.bias": torch.tensor([float("nan")])}, f),
        "final.bias holds values that are not numbers",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_get_one_clear_line(case: str, parts: Parts, tmp_path: Path) -> None:
    make, said = HOSTILE[case]
    path = tmp_path / "given.pth"
    make(parts, path)
    with pytest.raises(PackError, match=said) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text and "given.pth" in text and ";" in text
    assert not (tmp_path / "ran").exists(), "code in the file was run"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped recipe of small networks, and the user's own empty data folder."""
    shipped = tmp_path / "shipped"
    real = find_pack("endodinov2")
    text = (real.folder / "pack.toml").read_text(encoding="utf-8")
    text = text.replace("options = { classes = 23 }", "options = { classes = 23, depth = 1, grid = 2 }")
    text = text.replace("options = {}", "options = { width = 2 }")
    folder = shipped / "weights" / "endodinov2"
    folder.mkdir(parents=True)
    (folder / "pack.toml").write_text(text, encoding="utf-8")
    for module in ("endostream.models.importing.shipped", "endostream.packs.shipped"):
        monkeypatch.setattr(module, lambda *p: shipped.joinpath(*p))
    monkeypatch.setenv("ENDOSTREAM_DATA", str(tmp_path / "data"))
    return folder


@pytest.fixture
def files(parts: Parts, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "Transfer_learned_final.pth", tmp_path / "unet_baseline_best_Final.pth"]
    torch.save(_classifier(parts), paths[0])
    torch.save(parts[2], paths[1])
    return paths


@pytest.mark.parametrize("order", [1, -1])
def test_an_import_gives_a_verified_pack(
    order: int, recipe: Path, files: list[Path], parts: Parts, tmp_path: Path
) -> None:
    assert read_pack(recipe).missing
    pack = import_pack(files[::order], "endodinov2")
    verify_pack(pack)
    assert pack.folder == tmp_path / "data" / "packs" / "endodinov2"
    assert find_pack("endodinov2").folder == pack.folder, "the import completes the recipe"
    for model, path in zip(pack.models, files, strict=True):
        assert model.provenance["file"] == path.name
        assert model.provenance["sha256"] == sha256_of(path)
        assert model.provenance["published"] is False
        assert "not the published file" in model.provenance["note"]
    before = read_pack(recipe)
    assert pack.thresholds == before.thresholds and pack.gate == before.gate
    assert [m.labels for m in pack.models] == [m.labels for m in before.models]
    assert [m.unreliable for m in pack.models] == [m.unreliable for m in before.models]
    state = load(pack, pack.models[0]).state_dict()
    assert torch.equal(state["backbone.pos_embed"], parts[0]["pos_embed"])
    left = [p.name for p in (tmp_path / "data").iterdir()]
    assert left == ["packs"], "no working folder is left"


def test_the_published_file_is_known_by_its_checksum(recipe: Path, files: list[Path]) -> None:
    toml = recipe / "pack.toml"
    published = read_pack(recipe).models[0].published["sha256"]
    toml.write_text(
        toml.read_text(encoding="utf-8").replace(published, sha256_of(files[0])), encoding="utf-8"
    )
    one, two = import_pack(files, "endodinov2").models
    assert one.provenance["published"] is True and "note" not in one.provenance
    assert two.provenance["published"] is False


def test_importing_again_replaces_the_pack_and_gives_the_same_bytes(recipe: Path, files: list[Path]) -> None:
    first = import_pack(files, "endodinov2")
    (first.folder / "leftover").write_text("x", encoding="utf-8")
    again = import_pack(files, "endodinov2")
    assert [m.sha256 for m in again.models] == [m.sha256 for m in first.models]
    assert not (again.folder / "leftover").exists()


def test_a_failed_import_leaves_the_older_pack_as_it_was(
    recipe: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pack = import_pack(files, "endodinov2")
    whole = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target) == pack.folder and "-old" not in Path(source).name:
            raise OSError(28, "No space left on device")
        whole(source, target)

    monkeypatch.setattr(importing.os, "replace", full)
    with pytest.raises(PackError, match=r"No space left on device.*ENDOSTREAM_DATA"):
        import_pack(files, "endodinov2")
    verify_pack(read_pack(pack.folder))
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["packs"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([0], r"also needs the segmenter \(unet_baseline_best_Final.pth\); give all its files"),
        ([1], r"also needs the classifier \(Transfer_learned_final.pth\)"),
        ([0, 0], "are both the classifier of pack endodinov2"),
        ([], "also needs the classifier .* and the segmenter"),
    ],
)
def test_incomplete_imports_say_what_is_missing(
    chosen: list[int], said: str, recipe: Path, files: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(PackError, match=said):
        import_pack([files[i] for i in chosen], "endodinov2")
    assert not (tmp_path / "data" / "packs").exists()


def test_networks_of_the_wrong_size_are_refused(
    recipe: Path, files: list[Path], parts: Parts, tmp_path: Path
) -> None:
    other = tmp_path / "other.pth"
    torch.save({"backbone_state_dict": parts[0], "head_state_dict": nn.Linear(384, 10).state_dict()}, other)
    with pytest.raises(PackError, match=r"other\.pth has 10 classes where this pack needs 23"):
        import_pack([other, files[1]], "endodinov2")
    torch.save(UNet(width=3).state_dict(), other)
    with pytest.raises(PackError, match=r"other\.pth does not fit unet-64: .* instead of"):
        import_pack([files[0], other], "endodinov2")
    torch.save(_classifier(parts, extra=torch.zeros(1)), other)
    with pytest.raises(PackError, match=r"has unknown backbone\.extra"):
        import_pack([other, files[1]], "endodinov2")


def test_packs_that_take_no_import_say_so(recipe: Path, files: list[Path]) -> None:
    with pytest.raises(PackError, match="did you mean endodinov2"):
        import_pack(files, "endodino")
    toml = recipe / "pack.toml"
    table = importing.tomllib.loads(toml.read_text(encoding="utf-8"))
    for model in table["model"]:
        del model["published"]
    toml.write_text(tomli_w.dumps(table), encoding="utf-8")
    with pytest.raises(PackError, match="comes with its weights; there is nothing to import"):
        import_pack(files, "endodinov2")


def test_an_unwritable_data_folder_is_one_line(
    recipe: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ENDOSTREAM_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(PackError, match=r"cannot be written to .*; free space there or set ENDOSTREAM_DATA"):
        import_pack(files, "endodinov2")
