"""What a run of the light networks is told: frozen sections read from TOML, unknown keys refused.

Owns the training configuration, its defaults, and how TOML becomes such sections. It must not know data,
networks or loops. The published recipes' sections are in `recipes`.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from endostream.errors import InputError

__all__ = [
    "Augmentation",
    "Loss",
    "Mixture",
    "Network",
    "Running",
    "Schedule",
    "Split",
    "Training",
    "read_config",
    "read_training",
]

T = TypeVar("T")
CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Network:
    """Constructor options of the light networks."""

    width: int = 48
    """Channels at stride 4."""
    depth: int = 2
    """Residual blocks per stage."""


@dataclass(frozen=True, slots=True)
class Split:
    """What is held out; every group is wholly on one side."""

    groups: tuple[str, ...] = ()
    """Groups held out by name."""
    share: float = 0.0
    """Share of the groups of each of `sources` that is held out, picked by the seed."""
    sources: tuple[str, ...] = ()
    """Sources of many small groups to which `share` applies."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Relative weights of the kinds of picture in a batch."""

    whole: float = 0.34
    """Whole frames that hold a polyp."""
    crop: float = 0.24
    """Zoomed crops that hold at least part of a polyp."""
    free: float = 0.18
    """Crops of polyp frames that miss every polyp by the margin."""
    erased: float = 0.12
    """Whole frames whose polyps were grown over with tissue of the same frame."""
    empty: float = 0.08
    """Frames without a polyp, whole or cropped."""
    other: float = 0.04
    """Frames of another organ, whole or cropped."""
    phantom: float = 0.0
    """Procedural frames; never a source of accuracy claims."""
    balance: float = 0.0
    """0 draws every picture as often, 1 every source as often, whatever its size."""
    pasted: float = 0.0
    """Frames with one more, small polyp, cloned from another frame."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strongly pictures are changed; 0 switches a part off."""

    geometry: float = 1.0
    """Flips, quarter turns, affine."""
    colour: float = 1.0
    """Brightness, contrast, saturation, hue, gamma."""
    damage: float = 1.0
    """Blur, noise, JPEG, interlace, specular spots."""
    tower: float = 0.3
    """Probability of a pasted border, text panel or picture-in-picture box."""
    margin: float = 0.06
    """Distance between a polyp-free crop and any polyp, as a share of the crop's side."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast; a pure function of the step, so a resumed run follows the same curve."""

    steps: int = 3000
    """Optimiser steps; follows from `epochs` where that is not 0."""
    epochs: int = 0
    """Times every picture is seen; each is followed by a validation and a checkpoint. 0 counts steps."""
    monitor: str = ""
    """Figure whose best epoch is kept; empty keeps the last. A `loss` is best when lowest."""
    patience: int = 0
    """Epochs without a better `monitor` after which the run ends; 0 for never."""
    batch: int = 16
    """Pictures per step."""
    rate: float = 1e-3
    """Highest learning rate."""
    optimizer: str = "adamw"
    """`adamw`, `adam` or `sgd` (Nesterov momentum 0.9)."""
    decay: float = 0.02
    """Weight decay."""
    layer_decay: float = 1.0
    """Factor of the rate from each transformer block to the one before it."""
    clip: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    curve: str = "cosine"
    """`cosine` to zero, or `steps`: a tenth of the rate from each of `milestones` on."""
    milestones: tuple[int, ...] = ()
    """Epochs at which the curve `steps` falls."""
    warmup: int = 100
    """Steps of linear warm-up."""
    hold: float = 0.0
    """Share of the steps spent at the highest rate before the cosine falls to zero."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones exported; 0 does not average."""
    side: int = 256
    """Side of the network's input in pixels."""
    early_side: int = 0
    """Side during the first `early_steps`; 0 means `side`."""
    early_steps: int = 0
    """Steps at the early side."""
    late_from: int = 0
    """First step that mixes by `[late]` instead of `[mixture]`; 0 for never."""
    log_every: int = 20
    """Steps per line of the log."""
    checkpoint_s: float = 120.0
    """Seconds between checkpoints."""
    validate_s: float = 480.0
    """Seconds between validations during training; 0 validates at the end only."""
    validate_part: int = 4
    """During training every n-th held-out picture is looked at, at the end all."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Weights of the parts of the loss."""

    bce: float = 1.0
    """Binary cross-entropy of the mask over all pictures."""
    dice: float = 1.0
    """Soft Dice of the mask over pictures with a polyp."""
    false_alarm: float = 0.25
    """Binary cross-entropy of the worst percent of the pixels of pictures without a polyp."""
    coarse: float = 0.5
    """The mask loss once more, at stride 16: it brings the encoder on its way early."""
    presence: float = 0.2
    """Cross-entropy of polyp against background on the encoder's pooled features."""
    smoothing: float = 0.0
    """Label smoothing of the presence loss."""


@dataclass(frozen=True, slots=True)
class Running:
    """What every run is told, whatever it trains."""

    task: str = "segmenter"
    """The `endostream train` command that the config is for."""
    seed: int = 1
    """Seed of weights, split and every augmented picture."""
    workers: int = 1
    """Loader processes; 0 loads in the training process."""
    yielding: bool = False
    """On a processor: one thread only while other programs keep it busy, for threads that wait for one
    another lose far more than their share there (measured: 5 s a step with two, 1.1 s with one)."""
    precision: str = "bf16-mixed"
    """Lightning Fabric's precision."""
    accelerator: str = "auto"
    """Lightning Fabric's accelerator: `auto`, `cpu`, `cuda`, `mps`."""
    devices: int | str = 1
    """Processes, each with a device of its own: a number, or `auto` for all."""
    strategy: str = "auto"
    """Lightning Fabric's strategy; `auto` is `ddp` where there is more than one device."""
    layout: str = "auto"
    """Layout of the data folder, or `auto`."""
    manifest: str = "manifest.csv"
    """Manifest inside the data folder."""
    schedule: Schedule = field(default_factory=Schedule)
    """Length and rates."""


@dataclass(frozen=True, slots=True)
class Training(Running):
    """Everything that decides a run of the tasks `segmenter` and `classifier`, apart from the data folder."""

    longest: int = 400
    """Pictures are kept in memory with at most this longest side."""
    phantom: str = ""
    """Folder of procedural frames, inside the data folder or anywhere; empty for none."""
    architecture: str = "light"
    """`light`, or `unet` for a segmenter with the published UNet (`network.width` 64, no `depth`)."""
    network: Network = field(default_factory=Network)
    """Network options."""
    split: Split = field(default_factory=Split)
    """Held-out groups."""
    mixture: Mixture = field(default_factory=Mixture)
    """Kinds of picture."""
    late: Mixture = field(default_factory=Mixture)
    """Kinds of picture from `schedule.late_from` on."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Strength of the augmentation."""
    loss: Loss = field(default_factory=Loss)
    """Parts of the loss."""


def read_training(path: Path, task: str) -> Training:
    """Give the settings of a light network's run; see `read_config`."""
    return read_config(Training, path, task)


def read_config(kind: type[T], path: Path, task: str) -> T:
    """Give the settings of a task that a TOML file, or a shipped config of that name, holds.

    Raises
    ------
    InputError
        When the file is missing, is not TOML, has an unknown key, a value of the wrong type, or is for
        another task.
    """
    if not path.is_file() and (CONFIGS / f"{path.name.removesuffix('.toml')}.toml").is_file():
        path = CONFIGS / f"{path.name.removesuffix('.toml')}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(item.stem for item in CONFIGS.glob("*.toml")))
        raise InputError(f"cannot read {path} ({error.strerror}); shipped configs: {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the training config {path.name} is not TOML: {error}") from error
    meant = table.get("task", "segmenter")
    if meant != task:
        raise InputError(f"{path.name} is a config for `endostream train {meant}`, not for {task}")
    return build(kind, table, path.name)


def build(kind: type[T], table: dict[str, Any], where: str) -> T:
    """Give the dataclass that a table describes; an unknown key names its nearest neighbour."""
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise InputError(f"unknown key {key!r} in {where}: did you mean {near[0]!r}?")
        values[key] = _converted(hints[key], value, f"{where}: {key}")
    return kind(**values)


def _converted(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"{where} must be a table")
        return build(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if not isinstance(value, list) or not all(type(item) is inner for item in value):
            raise InputError(f"{where} must be a list of {'texts' if inner is str else 'whole numbers'}")
        return tuple(value)
    if isinstance(hint, types.UnionType):
        if type(value) not in get_args(hint):
            names = " or ".join(kind.__name__ for kind in get_args(hint))
            raise InputError(f"{where} must be of type {names}, not {type(value).__name__}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where} must be of type {hint.__name__}, not {type(value).__name__}")
    return value
