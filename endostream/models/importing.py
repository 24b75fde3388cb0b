"""From published checkpoints to a verified pack in the user's folders.

Owns the conversion and its provenance. Must not know engines; the recipe (labels, preprocessing,
thresholds, published checksums) is the shipped `pack.toml`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w
import torch

from endostream.errors import PackError
from endostream.models import build, mismatch
from endostream.models.checkpoints import Checkpoint, read_checkpoint
from endostream.packs import ModelSpec, Pack, find_pack, read_pack, sha256_of, verify_pack
from endostream.resources import shipped, user_data

__all__ = ["import_pack"]

FOREIGN = "not the published file: its weights may behave differently"


def import_pack(files: Sequence[Path], pack_name: str) -> Pack:
    """Convert published checkpoints into the pack `pack_name` in the user's data folder.

    Parameters
    ----------
    files
        One checkpoint per model of the pack, in any order; each is recognised by its contents.
    pack_name
        A shipped recipe, e.g. `endodinov2`.

    Returns
    -------
    The imported pack. Each model's `provenance` says the file's base name, its sha256 and whether it is the
    published one; where it is not, a `note` says so.

    Raises
    ------
    PackError
        When a file is not what it should be, one is missing, or the folder cannot be written.
    """
    recipe = _recipe(pack_name)
    chosen: dict[str, tuple[Path, Checkpoint]] = {}
    for path in map(Path, files):
        checkpoint = read_checkpoint(path)
        model = _model_for(recipe, checkpoint)
        if model.name in chosen:
            twice = f"{chosen[model.name][0].name} and {path.name}"
            raise PackError(f"{twice} are both the {model.role} of pack {pack_name}; give one of them")
        _fits(model, checkpoint)
        chosen[model.name] = (path, checkpoint)
    _complete(recipe, chosen)
    try:
        return _write(recipe, chosen)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PackError(
            f"the pack cannot be written to {user_data('packs')} ({reason}); "
            "free space there or set ENDOSTREAM_DATA to another folder"
        ) from error


def _recipe(name: str) -> Pack:
    folder = shipped("weights", name)
    pack = read_pack(folder) if (folder / "pack.toml").is_file() else find_pack(name)
    if not all(model.published for model in pack.models):
        raise PackError(f"pack {pack.name} comes with its weights; there is nothing to import")
    return pack


def _model_for(recipe: Pack, checkpoint: Checkpoint) -> ModelSpec:
    for model in recipe.models:
        if (model.role, model.architecture) == (checkpoint.role, checkpoint.architecture):
            return model
    raise PackError(f"{checkpoint.file} is a {checkpoint.role}, which pack {recipe.name} has no place for")


def _fits(model: ModelSpec, checkpoint: Checkpoint) -> None:
    """Raise unless the tensors are exactly those of the model's architecture."""
    if model.role == "classifier" and checkpoint.classes != len(model.labels):
        raise PackError(
            f"{checkpoint.file} has {checkpoint.classes} classes where this pack needs {len(model.labels)}; "
            "get the published file"
        )
    with torch.device("meta"):
        network = build(model.architecture, model.options)
    problem = mismatch(network, {k: tuple(v.shape) for k, v in checkpoint.state.items()})
    if problem:
        raise PackError(
            f"{checkpoint.file} does not fit {model.architecture}: {problem}; get the published file"
        )


def _complete(recipe: Pack, chosen: dict[str, tuple[Path, Checkpoint]]) -> None:
    missing = [m for m in recipe.models if m.name not in chosen]
    if missing:
        wanted = " and ".join(f"the {m.role} ({m.published.get('file', m.file)})" for m in missing)
        raise PackError(f"pack {recipe.name} also needs {wanted}; give all its files in one command")


def _write(recipe: Pack, chosen: dict[str, tuple[Path, Checkpoint]]) -> Pack:
    """Write beside the packs, look at it as a user would, and only then put it in its place."""
    packs = user_data("packs")
    packs.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".importing-", dir=user_data()))
    try:
        table = tomllib.loads((recipe.folder / "pack.toml").read_text(encoding="utf-8"))
        for model in table["model"]:
            model.update(_convert(work, recipe, chosen, model["name"]))
        (work / "pack.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
        verify_pack(read_pack(work))
        work.chmod(0o755)
        _replace(work, packs / recipe.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return read_pack(packs / recipe.name)


def _convert(
    work: Path, recipe: Pack, chosen: dict[str, tuple[Path, Checkpoint]], name: str
) -> dict[str, Any]:
    """Write one model's weights; what its table in `pack.toml` has to say of them."""
    from safetensors.torch import save_file

    model = next(m for m in recipe.models if m.name == name)
    path, checkpoint = chosen[name]
    save_file(checkpoint.state, work / model.file, metadata={"format": "pt"})
    digest = sha256_of(path)
    published = digest == model.published.get("sha256")
    provenance: dict[str, Any] = {"file": path.name, "sha256": digest, "published": published}
    if not published:
        provenance["note"] = FOREIGN
    return {"sha256": sha256_of(work / model.file), "provenance": provenance}


def _replace(work: Path, target: Path) -> None:
    """Put `work` where `target` is; an older import is kept until the new one is in place."""
    old = work.with_name(work.name + "-old")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(work, target)
    except OSError:
        with suppress(OSError):
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
