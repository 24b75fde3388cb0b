"""The published EndoDINOv2 video analysis, written anew from its description and nothing of the product.

It is what `--protocol published` is held against: plain PyTorch in fp32, timm's transformer blocks, PIL and
OpenCV for resizing, Grad-CAM by a backward pass, sampling and smoothing as published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

LABELS = [
    "barretts",
    "barretts-short-segment",
    "bbps-0-1",
    "bbps-2-3",
    "cecum",
    "dyed-lifted-polyps",
    "dyed-resection-margins",
    "esophagitis-a",
    "esophagitis-b-d",
    "hemorrhoids",
    "ileum",
    "impacted-stool",
    "polyps",
    "pylorus",
    "retroflex-rectum",
    "retroflex-stomach",
    "ulcerative-colitis-grade-0-1",
    "ulcerative-colitis-grade-1",
    "ulcerative-colitis-grade-1-2",
    "ulcerative-colitis-grade-2",
    "ulcerative-colitis-grade-2-3",
    "ulcerative-colitis-grade-3",
    "z-line",
]
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
ALPHA = 0.3
SAMPLED_FPS = 5
LIMIT_S = 60


def hub_positions(table: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Position embeddings [1, 1 + rows * columns, D] by Keys' cubic (a = -0.75) in float64, edge repeated.

    A target pixel i looks at (i + 0.5) / s - 0.5 with s = (n + 0.1) / 37: the published scale factor.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    grid = table[0, 1:].double().reshape(side, side, -1)

    def matrix(count: int) -> torch.Tensor:
        weights = torch.zeros(count, side, dtype=torch.float64)
        for i in range(count):
            at = (i + 0.5) * side / (count + 0.1) - 0.5
            base = int(np.floor(at))
            for tap in range(base - 1, base + 3):
                d, a = abs(at - tap), -0.75
                if d <= 1:
                    w = (a + 2) * d**3 - (a + 3) * d**2 + 1
                else:
                    w = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
                weights[i, min(max(tap, 0), side - 1)] += w
        return weights

    found = torch.einsum("ri,cj,ijd->rcd", matrix(rows), matrix(columns), grid)
    return torch.cat((table[:, :1], found.reshape(1, rows * columns, -1).to(table.dtype)), 1)


class Classifier(nn.Module):
    """timm's ViT-S/14 with the hub's position embeddings, under a linear head."""

    def __init__(self, classes: int = 23) -> None:
        super().__init__()
        self.backbone = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
        self.head = nn.Linear(384, classes)
        self.tokens: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        model, side = self.backbone, x.shape[-1] // 14
        patches = model.patch_embed.proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((model.cls_token.expand(len(x), -1, -1), patches), 1)
        tokens = model.blocks(tokens + hub_positions(model.pos_embed, side, side))
        self.tokens = model.norm(tokens)
        return self.head(self.tokens[:, 0])


def _double(inputs: int, outputs: int) -> nn.Module:
    def half(a: int) -> list[nn.Module]:
        return [nn.Conv2d(a, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    block = nn.Module()
    block.conv = nn.Sequential(*half(inputs), *half(outputs))
    block.forward = block.conv.forward  # type: ignore[method-assign]
    return block


class Segmenter(nn.Module):
    """The published UNet, built from its table of widths."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        for i, (a, b) in enumerate(zip([3, *widths], widths, strict=False), start=1):
            self.add_module(f"enc{i}", _double(a, b))
        self.bottleneck = _double(widths[-1], 2 * widths[-1])
        for i, w in enumerate(widths, start=1):
            self.add_module(f"up{i}", nn.ConvTranspose2d(2 * w, w, 2, 2))
            self.add_module(f"dec{i}", _double(2 * w, w))
        self.final = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i in range(1, 5):
            x = getattr(self, f"enc{i}")(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for i in range(4, 0, -1):
            x = getattr(self, f"dec{i}")(torch.cat([getattr(self, f"up{i}")(x), skips.pop()], 1))
        return self.final(x)


def load_networks(classifier_file: Path, segmenter_file: Path) -> tuple[Classifier, Segmenter]:
    """Both networks from files in the published layout."""
    saved = torch.load(classifier_file, map_location="cpu", weights_only=True)
    classifier, segmenter = Classifier(len(saved["head_state_dict"]["bias"])), Segmenter()
    backbone = {k: v for k, v in saved["backbone_state_dict"].items() if k != "mask_token"}
    classifier.backbone.load_state_dict(backbone)
    classifier.head.load_state_dict(saved["head_state_dict"])
    segmenter.load_state_dict(torch.load(segmenter_file, map_location="cpu", weights_only=True))
    return classifier.eval(), segmenter.eval()


@dataclass
class Looked:
    """What the published code makes of one picture."""

    logits: np.ndarray
    probabilities: np.ndarray
    cam: np.ndarray
    """[16, 16], 0..1."""
    mask: np.ndarray | None
    """bool at source size, or None where the gate stayed shut."""
    mask_logits: np.ndarray | None


def look(image: np.ndarray, classifier: Classifier, segmenter: Segmenter, gated: bool = True) -> Looked:
    """One picture uint8[H, W, 3] RGB through both networks; `gated=False` segments whatever the label."""
    small = np.array(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))
    x = torch.from_numpy(small).permute(2, 0, 1).float().div(255)
    logits = classifier(((x - MEAN) / STD)[None])
    tokens = classifier.tokens
    assert tokens is not None
    winner = int(logits.argmax())
    (gradient,) = torch.autograd.grad(logits[0, winner], tokens)
    cam = torch.relu((tokens[0, 1:] * gradient[0, 0]).sum(-1)).reshape(16, 16).detach().numpy()
    cam = (cam - cam.min()) / (cam.max() + 1e-6)
    cam = (cam - cam.min()) / (cam.max() - cam.min() + 1e-8)
    mask = mask_logits = None
    if LABELS[winner] == "polyps" or not gated:
        mask_logits = _segment(image, segmenter)
        tight = (1 / (1 + np.exp(-mask_logits.astype(np.float64))) > 0.5).astype(np.uint8)
        size = (image.shape[1], image.shape[0])
        mask = cv2.resize(tight, size, interpolation=cv2.INTER_NEAREST).astype(bool)
    found = torch.softmax(logits[0], 0).detach().numpy()
    return Looked(logits[0].detach().numpy(), found, cam, mask, mask_logits)


def _segment(image: np.ndarray, segmenter: Segmenter) -> np.ndarray:
    squashed = cv2.resize(image, (320, 320), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    with torch.no_grad():
        return segmenter(torch.from_numpy(squashed).permute(2, 0, 1)[None])[0, 0].numpy()


def sampled(path: Path) -> Iterator[np.ndarray]:
    """The pictures the published code looks at: 5 a second of the first minute."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or 0)
        step = max(1, int(fps / SAMPLED_FPS))
        for index, frame in enumerate(container.decode(stream)):
            if index >= int(fps * LIMIT_S):
                return
            if index % step == 0:
                yield frame.to_ndarray(format="rgb24")


def reference_video(path: Path, files: Sequence[Path]) -> list[dict[str, Any]]:
    """What the published code says of a video, one dict per sampled frame.

    `files` are the classifier's and the segmenter's checkpoints. Keys: `frame_idx`, `label`, `confidence`
    (both smoothed), `raw_label`, `raw_confidence`, `scores`, `raw`, `cam` [16, 16], `mask` (bool at source
    size or None), `polyp_detected`, `segmentation_available`.
    """
    classifier, segmenter = load_networks(*files)
    found: list[dict[str, Any]] = []
    smoothed: np.ndarray | None = None
    for number, image in enumerate(sampled(path)):
        seen = look(image, classifier, segmenter)
        now = seen.probabilities
        smoothed = now if smoothed is None else ALPHA * now + (1 - ALPHA) * smoothed
        label = LABELS[int(smoothed.argmax())]
        found.append(
            {
                "frame_idx": number,
                "label": label,
                "confidence": float(smoothed.max()),
                "raw_label": LABELS[int(now.argmax())],
                "raw_confidence": float(now.max()),
                "scores": smoothed.copy(),
                "raw": now,
                "cam": seen.cam,
                "mask": seen.mask,
                "polyp_detected": label == "polyps",
                "segmentation_available": seen.mask is not None,
            }
        )
    return found


def write_checkpoints(folder: Path, seed: int = 0, pictures: Sequence[np.ndarray] = ()) -> tuple[Path, Path]:
    """Random networks saved in the published layout: (classifier file, segmenter file).

    With `pictures` the head is moved so that their labels differ and the gate opens for some of them: plain
    random weights call everything the same.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier, segmenter = Classifier().eval(), Segmenter().eval()
        for part in segmenter.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        for block in classifier.backbone.blocks:
            # timm starts LayerScale at 1e-5, the published network at 1.
            nn.init.ones_(block.ls1.gamma)
            nn.init.ones_(block.ls2.gamma)
        if len(pictures):
            _spread(classifier, segmenter, pictures)
    backbone = classifier.backbone.state_dict() | {"mask_token": torch.zeros(1, 384)}
    one, two = folder / "Transfer_learned_final.pth", folder / "unet_baseline_best_Final.pth"
    parts = {"epoch": 17, "backbone_state_dict": backbone, "head_state_dict": classifier.head.state_dict()}
    torch.save(parts, one)
    torch.save(segmenter.state_dict(), two)
    return one, two


def _spread(classifier: Classifier, segmenter: Segmenter, pictures: Sequence[np.ndarray]) -> None:
    """Centre the head over the pictures and stretch it; centre the masks."""
    with torch.no_grad():
        rows = []
        for image in pictures:
            small = np.array(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))
            x = torch.from_numpy(small).permute(2, 0, 1).float().div(255)
            classifier(((x - MEAN) / STD)[None])
            assert classifier.tokens is not None
            rows.append(classifier.tokens[0, 0].clone())
        features = torch.stack(rows)
        centre, head = features.mean(0), classifier.head
        spread = (features - centre).std().clamp_min(1e-6)
        nn.init.normal_(head.weight, std=float(1.5 / (spread * 384**0.5)))
        head.bias.copy_(-head.weight @ centre)
        winners = (features @ head.weight.T + head.bias).argmax(1)
        often, polyps = int(winners.mode().values), LABELS.index("polyps")
        # The class that wins most often becomes `polyps`.
        head.weight[[often, polyps]] = head.weight[[polyps, often]]
        head.bias[[often, polyps]] = head.bias[[polyps, often]]
        middle = float(np.median(_segment(pictures[0], segmenter)))
        assert segmenter.final.bias is not None
        segmenter.final.bias -= middle
