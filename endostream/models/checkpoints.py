"""Published checkpoints, read safely and recognised by what is in them.

Owns the layouts of published files and what to say of a file that is none of them. Must not know packs
on disk: it gives tensors under our own names.

Nothing in a checkpoint is ever executed: files are read with `weights_only`.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from endostream.errors import PackError
from endostream.packs import ModelRole

__all__ = ["Checkpoint", "read_checkpoint"]

State = dict[str, Tensor]

LOSSES = (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss, nn.BCELoss)
"""Criteria that older training runs stored beside the weights: plain records, no code of their own."""

STRANGERS: tuple[tuple[str, str], ...] = (
    ("pytorch-lightning_version", "a Lightning checkpoint (EndoExtend24 is one)"),
    ("temporal_attn.qkv.weight", "a video transformer (Endo-FM or SVT)"),
    ("decoder.conv_more", "the Endo-FM TransUNet"),
    ("rpn.head.", "an Endo-FM detector"),
    ("visual.trunk.", "a CLIP model"),
    ("register_tokens", "a DINOv2 with register tokens"),
    ("q_proj", "an EVA-02 model"),
)
"""Part of a key, and what a file with it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The weights of one network, under our own names."""

    file: str
    """Base name of the file."""
    role: ModelRole
    """What the network is used for."""
    architecture: str
    """Key of the table of architectures."""
    classes: int
    """Rows of the head; 1 for a segmenter."""
    state: State
    """float32 tensors (and counters) by name."""


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a published checkpoint.

    Accepts the EndoDINOv2 classifier (`backbone_state_dict` and `head_state_dict`, or `model_state_dict`
    with `backbone.` and `head.` or `cls_head.`) and the UNet (bare, or in `model_state_dict`; blocks called
    `conv` or `net`), with or without `module.` prefixes.

    Raises
    ------
    PackError
        One line: what the file is instead, and what to do.
    """
    content = _open(path)
    if not isinstance(content, Mapping) or not content:
        raise PackError(f"{path.name} holds no state dict; give the published .pth file")
    flat = _flatten(content)
    head, unet = "head.weight" in flat, "enc1.conv.0.weight" in flat
    if unet and "final.weight" in flat:
        return Checkpoint(path.name, "segmenter", "unet-64", 1, _finite(path, flat))
    if head and "backbone.cls_token" in flat:
        flat.setdefault("backbone.mask_token", torch.zeros(1, flat["backbone.cls_token"].shape[-1]))
        classes = int(flat["head.weight"].shape[0])
        _check_shape_of_classifier(path, flat)
        return Checkpoint(path.name, "classifier", "dinov2-vits14-linear", classes, _finite(path, flat))
    raise PackError(f"{path.name} is {_guess(content, flat)}; this version imports the EndoDINOv2 files")


def _open(path: Path) -> Any:
    """What the file holds, read without running anything in it."""
    _look(path)
    try:
        return _load(path)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|Unsupported global: GLOBAL|function|class) ([\w.]+)", str(error))
        named = f" ({found[1]})" if found and "." in found[1] else ""
        raise PackError(
            f"{path.name} holds Python code or objects{named} and was not opened; "
            "get the published file, or have its author save the state dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PackError(f"{path.name} is damaged or incomplete; download it again") from error


def _load(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(list(LOSSES)):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _look(path: Path) -> None:
    """Raise for everything that can be told from the first bytes."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(512)
    except FileNotFoundError as error:
        raise PackError(f"there is no file {path}; check its name") from error
    except OSError as error:
        raise PackError(f"{path} cannot be read ({error.strerror}); give the published .pth file") from error
    text = start.lstrip().lower()
    if size == 0:
        raise PackError(f"{path.name} is empty; download it again")
    if start.startswith(b"version https://git-lfs"):
        raise PackError(
            f"{path.name} is a Git LFS pointer, not the weights; run `git lfs pull` where it was cloned, "
            "or download the file itself"
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise PackError(
            f"{path.name} is a web page, not the weights; open its link in a browser and save the file itself"
        )
    if start.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise PackError(f"{path.name} is incomplete ({size:,} bytes); download it again")
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith("/data.pkl") for name in archive.namelist()):
                raise PackError(f"{path.name} is a zip file but no checkpoint; give the published .pth file")
    elif not start.startswith(b"\x80"):
        raise PackError(f"{path.name} is not a checkpoint; give the published .pth file")


def _flatten(content: Mapping[Any, Any]) -> State:
    """Tensors under our names, whatever the layout they were saved in."""
    parts = [("", content)]
    if "model_state_dict" in content:
        parts = [("", content["model_state_dict"])]
    elif "backbone_state_dict" in content and "head_state_dict" in content:
        parts = [("backbone.", content["backbone_state_dict"]), ("head.", content["head_state_dict"])]
    flat: State = {}
    for prefix, table in parts:
        if isinstance(table, Mapping):
            named = {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, Tensor)}
            flat.update({prefix + _clean(k, bool(prefix)): v for k, v in named.items()})
    return flat


def _clean(key: str, inside: bool) -> str:
    """One key without the marks of wrappers and of older code; `inside` one of the published parts."""
    while key.startswith(("module.", "_orig_mod.")):
        key = key.partition(".")[2]
    if inside:
        key = re.sub(r"^(backbone|head|cls_head)\.", "", key)
    key = re.sub(r"^cls_head\.", "head.", key)
    key = re.sub(r"^((?:enc|dec)\d|bottleneck)\.net\.", r"\1.conv.", key)
    # Chunked backbones number their blocks twice.
    return re.sub(r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2.", key)


def _check_shape_of_classifier(path: Path, flat: State) -> None:
    """Raise when the backbone is another one than ViT-S/14 without registers at 518 pixels."""
    width = flat["backbone.cls_token"].shape[-1]
    names = {384: "S", 768: "B", 1024: "L", 1536: "g"}
    if any("register_tokens" in key for key in flat):
        raise PackError(
            f"{path.name} has register tokens; only DINOv2 ViT-S/14 without registers is imported"
        )
    if width != 384:
        kind = f"ViT-{names[width]}" if width in names else f"{width} wide"
        raise PackError(f"{path.name} has a {kind} backbone; only DINOv2 ViT-S/14 is imported")
    if not any(key.endswith("ls1.gamma") for key in flat):
        raise PackError(f"{path.name} has a backbone that is not DINOv2; only DINOv2 ViT-S/14 is imported")


def _finite(path: Path, flat: State) -> State:
    """The tensors in float32, all of them numbers."""
    state: State = {}
    for name, value in flat.items():
        tensor = value.detach().float() if value.is_floating_point() else value.detach()
        # One value that is no number makes the sum none; a third of the time of looking at each.
        if not bool(torch.isfinite(tensor.sum(dtype=torch.float64))):
            raise PackError(f"{path.name}: {name} holds values that are not numbers; download it again")
        state[name] = tensor.clone().contiguous()
    return state


def _guess(content: Mapping[Any, Any], flat: State) -> str:
    """What a file that nobody asked for seems to be."""
    keys = [str(k) for k in content]
    for table in content.values():
        if isinstance(table, Mapping):
            keys += [str(k) for k in table]
    for part, what in STRANGERS:
        if any(part in key for key in keys):
            return what
    if "blocks.0.ls1.gamma" in flat or ("backbone.cls_token" in flat and "head.weight" not in flat):
        return "a DINOv2 backbone without its classification head"
    if not flat:
        return "a file without weights"
    return "the checkpoint of another network"
