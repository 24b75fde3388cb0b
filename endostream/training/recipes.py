"""What a run of the published networks is told: the 23-class classifier and the UNet.

Owns these configurations and their defaults. It must not know data, networks or loops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from endostream.training.augment import MEAN, STD
from endostream.training.settings import Running

__all__ = ["Change", "LabelLoss", "LabelRecipe", "MaskRecipe", "Partition", "Recipe", "Shape"]


@dataclass(frozen=True, slots=True)
class Partition:
    """How pictures are divided into training, validation and test."""

    method: str = "groups"
    """`groups` divides no group and keeps the classes' shares alike; `pictures` draws single pictures, as
    published: near-duplicates may then lie on both sides, and the run record says how many do."""
    validation: float = 0.1
    """Share that chooses the epoch."""
    test: float = 0.1
    """Share that is measured once at the end; 0 leaves that to the validation pictures."""
    held: tuple[str, ...] = ()
    """With `groups`: groups that are the test pictures, in place of a share."""
    seed: int = 42
    """Seed of the draw."""


@dataclass(frozen=True, slots=True)
class Change:
    """How pictures are changed in training (torchvision's transforms); 0 switches a part off."""

    least: float = 0.0
    """Least area of a random resized crop, as a share of the picture."""
    flip: float = 0.0
    """Probability of a left-right flip."""
    vertical: float = 0.0
    """Probability of an up-down flip."""
    moved: float = 0.0
    """Probability of an affine change."""
    degrees: float = 10.0
    """Largest turn of the affine change."""
    shift: float = 0.05
    """Largest shift of the affine change, as a share of the side."""
    zoom: float = 0.1
    """Largest zoom of the affine change, as a share of the size."""
    coloured: float = 0.0
    """Probability of a change of colours."""
    brightness: float = 0.2
    """Largest change of brightness."""
    contrast: float = 0.2
    """Largest change of contrast."""
    saturation: float = 0.0
    """Largest change of saturation."""
    hue: float = 0.0
    """Largest change of hue, 0 to 0.5."""
    blur: float = 0.0
    """Probability of a Gaussian blur."""
    jpeg: float = 0.0
    """Probability of JPEG compression."""
    noise: float = 0.0
    """Probability of Gaussian noise."""
    erase: float = 0.0
    """Probability that a rectangle is erased (classifier only)."""
    copies: bool = False
    """Whether each picture also comes mirrored and with another brightness in every epoch."""

    @property
    def any(self) -> bool:
        """Whether a picture is changed at all."""
        chances = (self.least, self.flip, self.vertical, self.moved, self.coloured)
        return bool(self.copies or any((*chances, self.blur, self.jpeg, self.noise, self.erase)))


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the network; the defaults are the published one."""

    dim: int = 384
    """Width of the transformer's tokens."""
    depth: int = 12
    """Blocks of the transformer."""
    heads: int = 6
    """Attention heads of the transformer."""
    patch: int = 14
    """Side of a patch in pixels."""
    grid: int = 37
    """Side of the position table in patches."""

    def options(self) -> dict[str, int]:
        """Give the architecture's options that are not the published ones."""
        own = {name: getattr(self, name) for name in ("dim", "depth", "heads", "patch", "grid")}
        published = Shape()
        return {name: value for name, value in own.items() if value != getattr(published, name)}


@dataclass(frozen=True, slots=True)
class LabelLoss:
    """The classifier's loss."""

    smoothing: float = 0.0
    """Label smoothing."""
    balance: float = 0.0
    """Class weights are the classes' sizes to minus this power: 0 for none, 1 for equal classes."""


@dataclass(frozen=True, slots=True)
class Recipe(Running):
    """What the two published networks have in common."""

    kernel: str = "pil-bilinear"
    """How a picture becomes the network's input, in training, in validation and in the pack."""
    normalise: bool = True
    """Whether ImageNet's means and deviations are taken off."""
    partition: Partition = field(default_factory=Partition)
    """Training, validation and test."""
    change: Change = field(default_factory=Change)
    """Augmentation."""

    def preprocessing(self) -> dict[str, Any]:
        """Give the pack's preprocessing."""
        side = self.schedule.side
        mean, std = (list(MEAN), list(STD)) if self.normalise else ([0.0] * 3, [1.0] * 3)
        return {"width": side, "height": side, "kernel": self.kernel, "mean": mean, "std": std}


@dataclass(frozen=True, slots=True)
class LabelRecipe(Recipe):
    """A run of `endostream train labels`."""

    tasks: tuple[str, ...] = ("polyp_seg", "other_organ")
    """Values of a manifest's `task` column whose labels are the classes."""
    frozen: bool = False
    """Whether only the head is trained (a linear probe)."""
    keep: int = 256
    """Pictures are kept in memory squashed to this side."""
    centre: bool = False
    """Whether validation cuts the centre out of the kept picture, as published, or looks at all of it."""
    network: Shape = field(default_factory=Shape)
    """Shape of the network."""
    loss: LabelLoss = field(default_factory=LabelLoss)
    """The loss."""


@dataclass(frozen=True, slots=True)
class MaskRecipe(Recipe):
    """A run of `endostream train unet`."""

    width: int = 64
    """Channels of the UNet's first stage; 64 as published."""
    smooth: float = 1e-6
    """Added above and below in the Dice loss."""
