"""Our own light networks: a frame classifier and a mask network that share an encoder.

Owns two architectures of plain 3x3 residual convolutions, sized for two processor cores at 256x256, and
nothing else. It must not know packs, checkpoints, preprocessing or training. Batch normalisation stays a
separate layer, engines fold it.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

__all__ = ["LightClassifier", "LightEncoder", "LightRest", "LightTrunk", "LightUNet"]


class ConvNorm(nn.Sequential):
    """A convolution without bias, batch normalisation and, unless ``act`` is false, a ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, act: bool = True
    ) -> None:
        padding = dilation * (kernel // 2)
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input, the first one with ``stride``."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, stride=stride)
        self.second = ConvNorm(outputs, outputs, act=False)
        self.short: nn.Module = nn.Identity()
        if stride != 1:
            # Averaging before the 1x1 keeps the three quarters of the pixels that a strided 1x1 drops.
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.short = nn.Sequential(pool, ConvNorm(inputs, outputs, kernel=1, act=False))
        elif inputs != outputs:
            self.short = ConvNorm(inputs, outputs, kernel=1, act=False)
        nn.init.zeros_(cast(Tensor, cast(nn.BatchNorm2d, self.second[1]).weight))

    def forward(self, x: Tensor) -> Tensor:
        """Give the block's features, float[B, outputs, H / stride, W / stride]."""
        return functional.relu(self.second(self.first(x)) + self.short(x))


class Context(nn.Module):
    """Looks at the whole picture from its coarsest grid: a dilated branch plus the picture's mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = ConvNorm(channels, channels, dilation=2, act=False)
        self.whole = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give features of the same shape, each of which has seen the whole picture."""
        return functional.relu(x + self.local(x) + self.whole(x.mean((2, 3), keepdim=True)))


class Fuse(nn.Module):
    """Brings coarse features to the grid of finer ones and joins the two."""

    def __init__(self, coarse: int, fine: int, outputs: int, extra: int = 0) -> None:
        super().__init__()
        self.join = ConvNorm(coarse + fine, outputs)
        self.refine = nn.Sequential(*(Residual(outputs, outputs) for _ in range(extra)))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Give joined features on the grid of ``fine``."""
        raised = functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
        return cast(Tensor, self.refine(self.join(torch.cat((raised, fine), 1))))


class LightEncoder(nn.Module):
    """Features of a picture at strides 4, 8, 16 and 32, the last with context.

    Parameters
    ----------
    width
        Channels at stride 4; the coarser stages have 2, 4 and 6 times as many.
    depth
        Residual blocks per stage.
    """

    def __init__(self, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 6 * width)
        self.stem = nn.Sequential(ConvNorm(3, width // 2, stride=2), ConvNorm(width // 2, width, stride=2))
        inputs, stages = width, []
        for number, outputs in enumerate(self.channels):
            blocks = [Residual(inputs, outputs, stride=1 if number == 0 else 2)]
            # One block less where the grid is finest: there a block costs most and sees least.
            blocks += [Residual(outputs, outputs) for _ in range(depth - (2 if number == 0 else 1))]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.context = Context(inputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give the four feature grids, finest first."""
        found = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found[0], found[1], found[2], self.context(x)


class LightUNet(nn.Module):
    """A light encoder-decoder with skip connections.

    Parameters
    ----------
    width
        Channels of the encoder at stride 4.
    depth
        Residual blocks per encoder stage, the finest stage has one less (at least one).
    bounded
        Whether a score of the whole picture bounds every pixel's logit from above: where the network sees
        no polyp in the picture, it draws none.
    """

    def __init__(self, width: int = 48, depth: int = 2, bounded: bool = False) -> None:
        super().__init__()
        self.encoder = LightEncoder(width, depth)
        first, second, third, fourth = self.encoder.channels
        self.seen = _seen_channels(width)
        self.fuse16 = Fuse(fourth, third, self.seen)
        self.fuse8 = Fuse(self.seen, second, 4 * width // 3)
        self.fuse4 = Fuse(4 * width // 3, first, width, extra=1)
        self.out = nn.Conv2d(width, 1, 1)
        self.bound = nn.Linear(self.seen, 1) if bounded else None

    def forward(self, x: Tensor) -> Tensor:
        """Give mask logits float[B, 1, H, W] for pictures float[B, 3, H, W]."""
        logits, seen = self.both(x)
        return self.bounded_by(logits, seen)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mask logits and the features at stride 16 that a presence head reads."""
        first, second, third, fourth = self.encoder(x)
        seen = self.fuse16(fourth, third)
        fine = self.fuse4(self.fuse8(seen, second), first)
        logits = functional.interpolate(self.out(fine), size=x.shape[-2:], mode="bilinear")
        return logits, seen

    def bounded_by(self, logits: Tensor, seen: Tensor) -> Tensor:
        """Give the logits under the score of the whole picture, where the network has one."""
        if self.bound is None:
            return logits
        return torch.minimum(logits, self.bound(seen.mean((2, 3)))[:, :, None, None])


class LightClassifier(nn.Module):
    """A frame classifier with class maps: encoder, mean over the picture, one linear layer.

    Parameters
    ----------
    classes
        Rows of the head.
    width
        Channels of the encoder at stride 4.
    depth
        Residual blocks per encoder stage, the finest stage has one less (at least one).
    """

    def __init__(self, classes: int = 2, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.encoder = LightEncoder(width, depth)
        _, _, third, fourth = self.encoder.channels
        self.fuse16 = Fuse(fourth, third, _seen_channels(width))
        self.head = nn.Linear(_seen_channels(width), classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits float[B, C] and class maps float[B, C, H / 16, W / 16]; mean plus bias is the logit."""
        _, _, third, fourth = self.encoder(x)
        return read_presence(self.head, self.fuse16(fourth, third))


class LightTrunk(nn.Module):
    """A classifier that also gives the features a mask network with the same encoder goes on from.

    Parameters
    ----------
    classifier
        The classifier; its weights are used, not copied.
    """

    def __init__(self, classifier: LightClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Give logits and class maps as the classifier does, then features at strides 4, 8 and 16."""
        first, second, third, fourth = self.classifier.encoder(x)
        seen = self.classifier.fuse16(fourth, third)
        logits, maps = read_presence(self.classifier.head, seen)
        return logits, maps, first, second, seen


class LightRest(nn.Module):
    """What is left of a mask network after the trunk.

    Parameters
    ----------
    network
        The mask network; its weights are used, not copied.
    """

    def __init__(self, network: LightUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor, seen: Tensor) -> Tensor:
        """Give mask logits float[B, 1, H, W] from the trunk's features at strides 4, 8 and 16."""
        fine = self.network.fuse4(self.network.fuse8(seen, second), first)
        size = [4 * side for side in first.shape[-2:]]
        logits = functional.interpolate(self.network.out(fine), size=size, mode="bilinear")
        return self.network.bounded_by(logits, seen)


def read_presence(head: nn.Linear, features: Tensor) -> tuple[Tensor, Tensor]:
    """Give the logits and the class maps of a linear head over features float[B, D, h, w]."""
    maps = functional.conv2d(features, head.weight[:, :, None, None])
    return maps.mean((2, 3)) + head.bias, maps


def _seen_channels(width: int) -> int:
    return 8 * width // 3
