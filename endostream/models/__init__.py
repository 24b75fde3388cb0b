"""The networks by name: a literal table of architectures, and weights put into them.

Owns which architecture key means which class, and how a pack's safetensors file gets into it.
Must not know preprocessing, engines or published checkpoint layouts (see `checkpoints`).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from endostream.errors import PackError
from endostream.packs import ModelSpec, Pack

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURES", "build", "load"]

ARCHITECTURES: dict[str, str] = {
    "dinov2-vits14-linear": "endostream.models.dinov2:DinoV2Classifier",
    "unet-64": "endostream.models.unet:UNet",
    "light-unet": "endostream.models.light:LightUNet",
    "light-classifier": "endostream.models.light:LightClassifier",
}
"""Architecture key to `module:class`; imported when asked for."""


def build(key: str, options: Mapping[str, Any]) -> nn.Module:
    """A new network of the architecture `key`, in training mode, with its own initial weights.

    Parameters
    ----------
    key
        A key of `ARCHITECTURES`.
    options
        Keyword arguments of the architecture, as a pack's `options` give them.

    Raises
    ------
    PackError
        When the key is unknown or the architecture does not take the options.
    """
    if key not in ARCHITECTURES:
        near = difflib.get_close_matches(key, ARCHITECTURES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ARCHITECTURES)}"
        raise PackError(f"unknown architecture {key!r}; {hint}")
    module, _, name = ARCHITECTURES[key].partition(":")
    kind: type[nn.Module] = getattr(importlib.import_module(module), name)
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise PackError(
            f"architecture {key} does not take {dict(options)} ({error}); correct the pack.toml"
        ) from error


def load(pack: Pack, model: ModelSpec, seed: int | None = None) -> nn.Module:
    """The network of one model of a pack, in evaluation mode on the CPU, ready to run or convert.

    Parameters
    ----------
    pack, model
        The pack and one of its models.
    seed
        With a number the weights are random by that seed and no file is read: for measuring the
        speed of a recipe whose weights are not there.

    Raises
    ------
    PackError
        When the weights are missing, damaged or made for another architecture.
    """
    size = (model.preprocessing.height, model.preprocessing.width)
    if seed is not None:
        network = _random(model, seed)
    else:
        network = build(model.architecture, model.options)
        _fill(network, pack, model)
    network.eval()
    fix = getattr(network, "fix", None)
    if fix is not None:
        fix(*size)
    return network


def _fill(network: nn.Module, pack: Pack, model: ModelSpec) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = pack.path(model)
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise PackError(
            f"pack {pack.name} has no weights {model.file}: endostream packs import FILE… --pack {pack.name}"
        ) from error
    except (OSError, SafetensorError) as error:
        raise PackError(
            f"pack {pack.name}: {model.file} cannot be read ({error}); install it again"
        ) from error
    problem = mismatch(network, {k: tuple(v.shape) for k, v in state.items()})
    if problem:
        raise PackError(
            f"pack {pack.name}: {model.file} does not fit {model.architecture}: {problem}; install it again"
        )
    network.load_state_dict(state, strict=True)


def mismatch(network: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What keeps tensors of these names and shapes from being this network's state; empty when they fit."""
    own = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    for what, names in (("lacks", own.keys() - shapes.keys()), ("has unknown", shapes.keys() - own.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"it {what} {min(names)}{more}"
    for name, shape in own.items():
        if shapes[name] != shape:
            return f"{name} is {list(shapes[name])} instead of {list(shape)}"
    return ""


def _random(model: ModelSpec, seed: int) -> nn.Module:
    import torch

    # The fork leaves the process's own random numbers as they were.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(model.architecture, model.options)
        settle = getattr(network, "settle", None)
        if settle is not None:
            settle(model.preprocessing.height, model.preprocessing.width)
    return network
