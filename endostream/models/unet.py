"""The mask network as published: a UNet of widths 64, 128, 256, 512 and 1024.

Owns the architecture and its published key names. Must not know packs, checkpoints, preprocessing
or engines.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from endostream.errors import PackError
from endostream.types import FloatArray

__all__ = ["UNet"]


class DoubleConv(nn.Module):
    """Two 3x3 convolutions without bias, each with batch normalisation and a ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Give features float[B, outputs, H, W]."""
        return cast(Tensor, self.conv(x))

    def folded(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Weight and bias of both convolutions with the evaluated normalisation worked in, float32."""
        parts = list(self.conv)
        return _folded(parts[0], parts[1]), _folded(parts[3], parts[4])


def _folded(convolution: nn.Module, normalisation: nn.Module) -> tuple[Tensor, Tensor]:
    weight = cast(Tensor, convolution.weight).double()
    mean, variance = (
        cast(Tensor, b).double() for b in (normalisation.running_mean, normalisation.running_var)
    )
    gain, shift = (cast(Tensor, p).double() for p in (normalisation.weight, normalisation.bias))
    scale = gain / torch.sqrt(variance + cast(float, normalisation.eps))
    return (weight * scale[:, None, None, None]).float(), (shift - mean * scale).float()


class UNet(nn.Module):
    """Encoder, bottleneck and decoder with skip connections; one logit per pixel.

    Parameters
    ----------
    width
        Channels of the first stage; each stage below has twice as many. 64 as published.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.enc1 = DoubleConv(3, one)
        self.enc2 = DoubleConv(one, two)
        self.enc3 = DoubleConv(two, four)
        self.enc4 = DoubleConv(four, eight)
        self.bottleneck = DoubleConv(eight, 2 * eight)
        self.up4 = nn.ConvTranspose2d(2 * eight, eight, 2, stride=2)
        self.dec4 = DoubleConv(2 * eight, eight)
        self.up3 = nn.ConvTranspose2d(eight, four, 2, stride=2)
        self.dec3 = DoubleConv(eight, four)
        self.up2 = nn.ConvTranspose2d(four, two, 2, stride=2)
        self.dec2 = DoubleConv(four, two)
        self.up1 = nn.ConvTranspose2d(two, one, 2, stride=2)
        self.dec1 = DoubleConv(two, one)
        self.final = nn.Conv2d(one, 1, 1)

    def fix(self, height: int, width: int) -> None:
        """Check the input size in pixels; raises `PackError` when it is no multiple of 16."""
        if height % 16 or width % 16:
            raise PackError(f"input {width}x{height} is not a multiple of 16 pixels; correct the pack.toml")

    def settle(self, height: int, width: int) -> None:
        """Make random weights behave: activations keep their size, and masks are a few patches.

        Plain random weights give thousands of specks, which cost more to outline and draw than any real mask;
        these fill 5 % of the picture.
        """
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        with torch.no_grad():
            for decoder in (self.dec4, self.dec3, self.dec2, self.dec1):
                for convolution in (decoder.conv[0], decoder.conv[3]):
                    weight = cast(Tensor, convolution.weight)
                    # A box instead of noise, times 3 because the mean of 9 has a third of the deviation.
                    weight.copy_(3.0 * weight.mean((2, 3), keepdim=True).expand_as(weight))
                joined = cast(Tensor, decoder.conv[0].weight)
                joined[:, joined.shape[1] // 2 :] *= 0.1
            for raising in (self.up4, self.up3, self.up2, self.up1):
                raising.weight.copy_(raising.weight.mean((2, 3), keepdim=True).expand_as(raising.weight))
            coarse = torch.rand(1, 3, max(1, height // 32), max(1, width // 32))
            picture = functional.interpolate(coarse, size=(height, width), mode="bilinear")
            self.eval()
            bias = cast(Tensor, self.final.bias)
            bias -= torch.quantile(self(picture).flatten(), 0.95)

    def forward(self, x: Tensor) -> Tensor:
        """Give mask logits float[B, 1, H, W] for pictures float[B, 3, H, W]."""
        first = self.enc1(x)
        second = self.enc2(functional.max_pool2d(first, 2))
        third = self.enc3(functional.max_pool2d(second, 2))
        fourth = self.enc4(functional.max_pool2d(third, 2))
        y = self.bottleneck(functional.max_pool2d(fourth, 2))
        y = self.dec4(torch.cat((self.up4(y), fourth), 1))
        y = self.dec3(torch.cat((self.up3(y), third), 1))
        y = self.dec2(torch.cat((self.up2(y), second), 1))
        y = self.dec1(torch.cat((self.up1(y), first), 1))
        return cast(Tensor, self.final(y))

    @torch.no_grad()
    def folded(self) -> dict[str, FloatArray]:
        """Every layer's weight and bias, float32, normalisation worked in: for kernels that know no torch.

        `enc1.0.weight` is that of the first convolution of the first stage; `final` and `up4` to `up1` keep
        their names and shapes.
        """
        found: dict[str, Tensor] = {}
        for name, part in self.named_children():
            if isinstance(part, DoubleConv):
                for order, (weight, bias) in enumerate(part.folded()):
                    found[f"{name}.{order}.weight"], found[f"{name}.{order}.bias"] = weight, bias
            else:
                found |= {f"{name}.{kind}": value for kind, value in part.named_parameters()}
        return {name: value.detach().numpy() for name, value in found.items()}
