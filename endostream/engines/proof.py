"""What int8 costs a network, measured: read, written, and whether it may be used.

Owns the limits and what a proof is bound to. Must not know how a network is quantised or measured.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from endostream.engines import int8
from endostream.engines.cache import key_of
from endostream.errors import InputError
from endostream.packs import ModelSpec, Pack
from endostream.records.files import write_text
from endostream.resources import user_cache

__all__ = ["LEAST_PICTURES", "LIMITS", "bound", "granted", "holds", "read", "write"]

LEAST_PICTURES = 100
"""Pictures that a proof rests on at least."""
LIMITS: dict[str, tuple[str, float]] = {
    "classifier": ("top1_change", 0.01),
    "segmenter": ("dice_loss", 0.01),
}
"""Role to the figure that is limited and its limit: against fp32 on the same pictures, the share of pictures
with another most probable class, and the loss of mean Dice."""


def bound(pack: Pack, model: ModelSpec, nncf: str) -> dict[str, Any]:
    """What a proof of one network holds for, as it is written down with it."""
    network = (model.architecture, sorted(model.options.items()), model.preprocessing)
    return {
        "weights": model.sha256,
        "network": key_of(network),
        "sample": str(pack.sample),
        "recipe": int8.RECIPE,
        "nncf": nncf,
    }


def holds(model: ModelSpec, proof: Mapping[str, Any]) -> bool:
    """Whether the figures of a proof are within the limits, over enough pictures."""
    figure, limit = LIMITS[model.role]
    value, pictures = proof.get(figure), proof.get("pictures")
    if not isinstance(value, int | float) or not isinstance(pictures, int):
        return False
    return value <= limit and pictures >= LEAST_PICTURES


def _path(pack: Pack, model: ModelSpec) -> Path:
    return user_cache("openvino") / f"{pack.name}-{model.name}-int8.toml"


def write(pack: Pack, model: ModelSpec, nncf: str, figures: Mapping[str, Any]) -> Path:
    """Keep what was measured, whether it holds or not, in place of an older measurement; gives the file.

    Raises `RunError` when the cache cannot be written.
    """
    path = _path(pack, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {**bound(pack, model, nncf), "pack": f"{pack.name} {pack.version}", "pack_sha256": pack.sha256}
    return write_text(path, tomli_w.dumps({"int8": {model.name: {**table, **figures}}}))


def read(pack: Pack, model: ModelSpec) -> Mapping[str, Any] | None:
    """The measurement that counts for a network: this machine's own, else the one the pack came with.

    None where there is none for these very weights, this sample and this recipe.
    """
    own: Mapping[str, Any] = {}
    # Not there, or damaged: as good as not measured.
    with suppress(OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError):
        own = tomllib.loads(_path(pack, model).read_text(encoding="utf-8"))["int8"][model.name]
    for proof in (own, pack.int8.get(model.name, {})):
        if proof and bound(pack, model, str(proof.get("nncf", ""))).items() <= dict(proof).items():
            return proof
    return None


def granted(pack: Pack) -> dict[str, str]:
    """Network name to the version of NNCF that its proof holds for, of those that may run in int8.

    Raises
    ------
    InputError
        When it is none of them; the message says what to do.
    """
    found = {m.name: read(pack, m) for m in pack.models}
    good = {m.name: str(p["nncf"]) for m in pack.models if (p := found[m.name]) and holds(m, p)}
    if good:
        return good
    if any(found.values()):
        said = "; ".join(_said(m, p) for m in pack.models if (p := found[m.name]))
        raise InputError(f"int8 does not hold for pack {pack.name} ({said}); use --precision bf16 or fp32")
    raise InputError(
        f"nobody has measured what int8 costs pack {pack.name}: endostream evaluate int8 --pack {pack.name} "
        "--data DIR --out DIR, or use --precision bf16"
    )


def _said(model: ModelSpec, proof: Mapping[str, Any]) -> str:
    figure, limit = LIMITS[model.role]
    seen = f"{proof.get('pictures')} of at least {LEAST_PICTURES} pictures"
    return f"{model.name}: {figure} {proof.get(figure)} of at most {limit}, {seen}"
