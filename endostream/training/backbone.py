"""A DINOv2 backbone out of a file that the user names.

Owns which layouts are understood: the hub's state dict, a published EndoDINOv2 checkpoint, a teacher of a
pre-training, safetensors. It must not know training. Nothing in a file is ever executed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from endostream.errors import InputError
from endostream.models import mismatch
from endostream.packs import sha256_of

__all__ = ["load_backbone"]

INSIDE = ("backbone_state_dict", "teacher", "model_state_dict", "state_dict", "model")
"""Where checkpoints keep their weights, first match first."""


def load_backbone(network: nn.Module, path: Path) -> dict[str, str]:
    """Put the weights of a file into a backbone, and give what the run record says of the file.

    Raises
    ------
    InputError
        When the file is missing, is no checkpoint, or is of another network.
    """
    content = _read(path)
    for name in INSIDE:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    own = network.state_dict()
    state: dict[str, Tensor] = {}
    for key, value in content.items():
        name = _own_name(str(key))
        if isinstance(value, Tensor) and name in own:
            state[name] = value.float()
    if not state:
        raise InputError(f"{path.name} holds no DINOv2 backbone: give dinov2_vits14_pretrain.pth")
    state.setdefault("mask_token", own["mask_token"])
    if any("register_tokens" in str(key) for key in content):
        raise InputError(f"{path.name} has register tokens: give dinov2_vits14_pretrain.pth, without them")
    problem = mismatch(network, {key: tuple(value.shape) for key, value in state.items()})
    if problem:
        raise InputError(f"{path.name} does not fit the config's network ({problem}): give the ViT-S/14")
    network.load_state_dict(state)
    return {"file": path.name, "sha256": sha256_of(path)}


def _own_name(key: str) -> str:
    """Give a key without the marks of wrappers and of chunked blocks."""
    while key.startswith(("module.", "_orig_mod.", "backbone.", "net.")):
        key = key.partition(".")[2]
    return re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no file {path}: name a DINOv2 checkpoint with --backbone")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path.name} is no checkpoint, or holds Python objects and was not opened: "
            "give dinov2_vits14_pretrain.pth"
        ) from error
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        raise InputError(f"{path.name} is damaged or no checkpoint: download it again") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path.name} holds no state dict: give dinov2_vits14_pretrain.pth")
    return content
