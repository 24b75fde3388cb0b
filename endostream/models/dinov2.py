"""The frame classifier as published: DINOv2 ViT-S/14 (no registers) under one linear layer.

Owns the architecture, its published key names and the position-embedding interpolation of the
`dinov2_vits14` hub model. Must not know packs, checkpoints, preprocessing or engines.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from endostream.errors import PackError
from endostream.types import FloatArray

__all__ = ["DinoV2Classifier"]

LOG2_E = 1.4426950408889634
OFFSET = 0.1
"""Added to the grid before the scale factor is formed, as the hub model without registers does."""


class Attention(nn.Module):
    """Multi-head self-attention with a fused projection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Give tokens of the same shape, float[B, N, dim]."""
        batch, count, dim = x.shape
        parts = self.qkv(x).reshape(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, self.proj(mixed.transpose(1, 2).reshape(batch, count, dim)))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Give tokens of the same shape."""
        return cast(Tensor, self.fc2(functional.gelu(self.fc1(x))))


class LayerScale(nn.Module):
    """A learned factor per channel, 1 at the start."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Give scaled tokens."""
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block with LayerScale on both branches."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Give tokens of the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return cast(Tensor, x + self.ls2(self.mlp(self.norm2(x))))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Give float[B, gh * gw, dim] for pictures float[B, 3, H, W]."""
        return cast(Tensor, self.proj(x)).flatten(2).transpose(1, 2)


class DinoV2(nn.Module):
    """The backbone with the key names of the published state dict."""

    positions: Tensor

    def __init__(self, dim: int, depth: int, heads: int, patch: int, grid: int) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + grid * grid, dim))
        # Part of the published file, used only while pre-training.
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = PatchEmbed(dim, patch)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.register_buffer("positions", torch.empty(0), persistent=False)
        self._fixed: tuple[int, int] | None = None
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    def interpolate(self, rows: int, columns: int) -> Tensor:
        """Position embeddings float[1, 1 + rows * columns, dim] for a grid of patches.

        Bicubic without antialiasing by a scale factor of (n + 0.1) / 37, as the hub model computes it;
        a size-based or antialiased interpolation differs by 5 to 9 % (relative RMS).
        """
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        dim = self.pos_embed.shape[-1]
        table = self.pos_embed[:, 1:].float().reshape(1, self.grid, self.grid, dim).permute(0, 3, 1, 2)
        scale = [(rows + OFFSET) / self.grid, (columns + OFFSET) / self.grid]
        table = functional.interpolate(table, scale_factor=scale, mode="bicubic", antialias=False)
        flat = table.permute(0, 2, 3, 1).reshape(1, rows * columns, dim).to(self.pos_embed.dtype)
        return torch.cat((self.pos_embed[:, :1], flat), 1)

    def fix(self, rows: int, columns: int) -> None:
        """Keep the position embeddings of one grid as a constant; call after the weights are in."""
        with torch.no_grad():
            self.positions = self.interpolate(rows, columns).clone()
        self._fixed = (rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        """Give normalised tokens float[B, 1 + gh * gw, dim]; the first is the class token."""
        grid = (x.shape[-2] // self.patch, x.shape[-1] // self.patch)
        fixed = not self.training and grid == self._fixed
        positions = self.positions if fixed else self.interpolate(*grid)
        tokens = self.patch_embed(x)
        tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), 1) + positions
        for block in self.blocks:
            tokens = block(tokens)
        return cast(Tensor, self.norm(tokens))


class DinoV2Classifier(nn.Module):
    """The backbone and a linear head over its normalised class token.

    Parameters
    ----------
    classes
        Rows of the head; 23 as published.
    dim, depth, heads, patch, grid
        Shape of the transformer and of its position table; ViT-S/14 at 518 pixels by default.
    """

    def __init__(
        self,
        classes: int = 23,
        dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch: int = 14,
        grid: int = 37,
    ) -> None:
        super().__init__()
        self.backbone = DinoV2(dim, depth, heads, patch, grid)
        self.head = nn.Linear(dim, classes)

    def fix(self, height: int, width: int) -> None:
        """Prepare for pictures of one size in pixels; raises `PackError` unless whole patches fill it."""
        patch = self.backbone.patch
        if height % patch or width % patch:
            raise PackError(
                f"input {width}x{height} is not a multiple of {patch} pixels; correct the pack.toml"
            )
        self.backbone.fix(height // patch, width // patch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits float[B, C] and class maps float[B, C, H / patch, W / patch] before rectification.

        The head reads only the normalised class token, so the gradient of a logit there is the head's
        row and Grad-CAM at the final norm is the patch tokens times that row: no backward pass.
        """
        tokens = self.backbone(x)
        maps = functional.linear(tokens[:, 1:], self.head.weight).transpose(1, 2)
        grid = (x.shape[-2] // self.backbone.patch, x.shape[-1] // self.backbone.patch)
        return self.head(tokens[:, 0]), maps.reshape(x.shape[0], -1, *grid)

    @torch.no_grad()
    def folded(self) -> dict[str, FloatArray]:
        """The network as kernels without torch take it, float32; call after `fix`.

        Factors of the normalisations and of LayerScale are worked into the linear layers beside them, so that
        normalising is mean 0 and variance 1 and nothing else. Queries carry the attention's scale and the
        change from base e to base 2. `start` float[N, dim] is what a token is before the picture is added;
        `head.map_bias` float[C] is what normalising adds to the class maps.
        """
        backbone, found = self.backbone, dict[str, Tensor]()
        start = backbone.positions[0].double()
        start[:1] += backbone.cls_token[0].double()
        embed = backbone.patch_embed.proj
        start[1:] += cast(Tensor, embed.bias).double()
        found["embed.weight"], found["start"] = embed.weight.double().flatten(1), start
        for number, part in enumerate(backbone.blocks):
            block = cast(Block, part)
            dim = block.attn.proj.in_features
            scale = torch.ones(3 * dim, dtype=torch.float64)
            scale[:dim] = LOG2_E * (dim // block.attn.heads) ** -0.5
            layers = {
                "qkv": _after(block.norm1, block.attn.qkv, scale),
                "proj": _after(None, block.attn.proj, block.ls1.gamma.double()),
                "fc1": _after(block.norm2, block.mlp.fc1),
                "fc2": _after(None, block.mlp.fc2, block.ls2.gamma.double()),
            }
            for name, (weight, bias) in layers.items():
                found[f"blocks.{number}.{name}.weight"], found[f"blocks.{number}.{name}.bias"] = weight, bias
        found["head.weight"], found["head.bias"] = _after(backbone.norm, self.head)
        found["head.map_bias"] = found["head.bias"] - cast(Tensor, self.head.bias).double()
        return {name: value.float().numpy() for name, value in found.items()}


def _after(norm: nn.LayerNorm | None, layer: nn.Linear, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer with the norm before it and the scale after it worked in, float64."""
    weight, bias = layer.weight.double(), layer.bias.double()
    if norm is not None:
        bias = bias + weight @ norm.bias.double()
        weight = weight * norm.weight.double()
    if scale is not None:
        weight, bias = weight * scale[:, None], bias * scale
    return weight, bias
