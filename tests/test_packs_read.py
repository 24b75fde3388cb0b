"""Packs as data: what is read, what is refused, and which pack a name means."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from tiny_packs import tiny_pack, tiny_table

from endostream.errors import PackError
from endostream.models import ARCHITECTURES
from endostream.packs import find_pack, pack_folders, read_pack, verify_pack
from endostream.resources import shipped, user_data
from endostream.vocabulary import TERMS


def write(folder: Path, table: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    return folder


def changed(path: str, value: Any) -> dict[str, Any]:
    """The table of the small pack with one value changed; None takes it out."""
    table: Any = tiny_table()
    *way, last = path.split(".")
    place = table
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return dict(table)


def test_a_pack_says_what_it_is(tmp_path: Path) -> None:
    pack = tiny_pack(tmp_path / "tiny")
    assert (pack.name, pack.version, pack.missing, pack.shipped) == ("tiny", "1", (), False)
    assert pack.classifiers == pack.models[:1] and pack.segmenter == pack.models[1]
    assert pack.gate.labels == {"polyps": 0.5}
    assert pack.models[0].preprocessing.std == (0.2, 0.3, 0.4)
    verify_pack(pack)
    assert pack.sha256 == read_pack(pack.folder).sha256


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema", 2, "schema 2 is not 1"),
        ("name", None, "'name' is missing"),
        ("model", [], r"there is no \[\[model\]\]"),
        ("model", {"role": "classifier"}, r"there is no \[\[model\]\]"),
        ("model.0.role", "oracle", "unknown role 'oracle'"),
        ("model.0.labels", None, "'labels' is missing"),
        ("model.0.labels", "polyps", "labels must be a list of names"),
        ("model.0.unreliable", [1], "unreliable must be a list of names"),
        ("model.0.file", "../three.safetensors", "own folder"),
        ("model.0.preprocessing.kernel", "nearest", "unknown resize kernel 'nearest'; one of pil-bilinear"),
        ("model.0.preprocessing.mean", [0.5], "mean must be three numbers"),
        ("model.0.preprocessing.width", "wide", "invalid literal.*correct the pack.toml"),
        ("model.1.name", "three", "two models have the same name"),
        ("model.1.file", "three.safetensors", "two models have the same file"),
        ("model.0.role", "segmenter", "at most one segmenter"),
        ("gate.rule", "sometimes", "unknown gate rule 'sometimes'"),
        ("gate.labels", {"polyp": 0.5}, "the gate names 'polyp', which is no label"),
        ("gate.labels", {"polyps": "much"}, "could not convert"),
        ("thresholds", {"opens": 0.5}, "opens.*correct the pack.toml"),
    ],
)
def test_a_wrong_pack_is_one_line(path: str, value: Any, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path, changed(path, value))
    with pytest.raises(PackError, match=said) as caught:
        read_pack(folder)
    assert "\n" not in str(caught.value)


def test_absent_and_garbled_packs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"pack\.toml is missing"):
        read_pack(tmp_path)
    (tmp_path / "pack.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PackError, match="cannot be read"):
        read_pack(tmp_path)


def test_weights_must_match_their_checksum(tmp_path: Path) -> None:
    pack = tiny_pack(tmp_path)
    weights = pack.path(pack.models[1])
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(PackError, match=r"mask\.safetensors does not match its checksum"):
        verify_pack(pack)
    weights.unlink()
    with pytest.raises(PackError, match="endostream packs import FILE FILE --pack tiny"):
        verify_pack(pack)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Empty folders of shipped and of imported packs."""
    ours, theirs = tmp_path / "shipped" / "weights", tmp_path / "data" / "packs"
    ours.mkdir(parents=True)
    monkeypatch.setattr("endostream.packs.shipped", lambda *p: (tmp_path / "shipped").joinpath(*p))
    monkeypatch.setenv("ENDOSTREAM_DATA", str(tmp_path / "data"))
    assert theirs == user_data("packs")
    return ours, theirs


def test_an_import_completes_a_recipe_but_never_shadows_a_pack(folders: tuple[Path, Path]) -> None:
    ours, theirs = folders
    write(ours / "tiny", tiny_table())
    assert find_pack("tiny").missing
    tiny_pack(theirs / "tiny")
    assert find_pack("tiny").folder == theirs / "tiny"
    tiny_pack(ours / "tiny", seed=1)
    assert find_pack("tiny").folder == ours / "tiny"
    tiny_pack(theirs / "mine")
    assert list(pack_folders()) == ["mine", "tiny"]


def test_a_pack_is_named_by_its_name_or_its_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    tiny_pack(folders[0] / "tiny")
    tiny_pack(tmp_path / "elsewhere")
    assert find_pack("tiny").shipped
    assert not find_pack(str(tmp_path / "elsewhere")).shipped
    with pytest.raises(PackError, match="unknown pack 'tinny'; did you mean tiny"):
        find_pack("tinny")
    shutil.rmtree(folders[0] / "tiny")
    with pytest.raises(PackError, match="known packs: none"):
        find_pack("polyp")


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in shipped("weights").glob("*/pack.toml")), ids=lambda p: p.name
)
def test_every_shipped_pack_is_sound(folder: Path) -> None:
    pack = read_pack(folder)
    assert pack.name == folder.name and pack.shipped
    assert pack.title and pack.summary and pack.licence != "not stated"
    for model in pack.models:
        assert model.architecture in ARCHITECTURES
        assert set(model.labels) <= TERMS.keys()
        assert set(model.unreliable) | set(model.background) <= set(model.labels)
        assert model.sha256 or model.published, "weights, or where to get them"
    if not pack.missing:
        verify_pack(pack)


def test_the_published_recipe_is_as_published() -> None:
    pack = read_pack(shipped("weights", "endodinov2"))
    classifier, segmenter = pack.models
    assert len(classifier.labels) == 23 and list(classifier.labels) == sorted(classifier.labels)
    assert classifier.labels.index("polyps") == 12 and classifier.labels[-1] == "z-line"
    assert len(classifier.unreliable) == 7 and "ileum" in classifier.unreliable
    assert (classifier.published["bytes"], segmenter.published["bytes"]) == (88_325_698, 124_238_631)
    assert classifier.preprocessing.kernel == "pil-bilinear" and classifier.preprocessing.width == 224
    assert segmenter.preprocessing.kernel == "cv2-linear" and segmenter.preprocessing.width == 320
    assert segmenter.preprocessing.mean == (0, 0, 0) and segmenter.preprocessing.std == (1, 1, 1)
    assert pack.missing == ("gi23.safetensors", "polyp-mask.safetensors")
