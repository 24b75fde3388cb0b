"""Small real things for tests: a pack of tiny networks, and short videos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.capture.encode import VideoWriter

PACK = """schema = 1
name = "tiny"
version = "1.0.0"
title = "Tiny networks for tests"
exams = ["any", "lower"]
[[model]]
role = "classifier"
name = "frame"
architecture = "light-classifier"
file = "classifier.safetensors"
sha256 = "{classifier}"
labels = ["background", "polyps"]
background = ["background"]
[model.options]
classes = 2
width = 8
depth = 2
[model.preprocessing]
width = 32
height = 32
kernel = "pil-bilinear"
[[model]]
role = "segmenter"
name = "polyp-mask"
architecture = "light-unet"
file = "segmenter.safetensors"
sha256 = "{segmenter}"
labels = ["polyps"]
[model.options]
width = 8
depth = 2
[model.preprocessing]
width = 32
height = 32
kernel = "pil-bilinear"
[gate]
rule = "labels"
[gate.labels]
polyps = 0.5
"""


def write_pack(folder: Path, bias: float = 3.0) -> Path:
    """A pack whose classifier says `polyps` with logit `bias`, whatever it sees; its masks are random."""
    import torch
    from safetensors.torch import save_file

    from endostream.models import build

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = build("light-classifier", {"classes": 2, "width": 8, "depth": 2})
    head = [p for n, p in classifier.named_parameters() if n.startswith("head")]
    with torch.no_grad():
        head[0].mul_(0.05)
        head[1].copy_(torch.tensor([0.0, bias]))
    segmenter = build("light-unet", {"width": 8, "depth": 2})
    sums = {}
    for name, network in (("classifier", classifier), ("segmenter", segmenter)):
        file = folder / f"{name}.safetensors"
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
        sums[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "pack.toml").write_text(PACK.format(**sums))
    return folder


def tissue(index: int, size: tuple[int, int] = (96, 64)) -> NDArray[np.uint8]:
    """A red textured picture uint8[H, W, 3] that moves with `index`."""
    rng = np.random.default_rng(1)
    field = cv2.GaussianBlur(rng.normal(0, 1, (size[1], size[0] * 2)).astype(np.float32), (0, 0), 1.5)
    field = field[:, index % size[0] : index % size[0] + size[0]]
    return np.clip(np.stack([170 + 60 * field, 95 + 40 * field, 75 + 30 * field], -1), 0, 255).astype(
        np.uint8
    )


def write_video(
    path: Path,
    frames: int = 30,
    fps: float = 25.0,
    picture: Callable[[int], NDArray[np.uint8]] = tissue,
) -> Path:
    """An H.264 mp4 of `frames` pictures."""
    height, width = picture(0).shape[:2]
    writer = VideoWriter(path, width=width, height=height, fps=Fraction(fps).limit_denominator(1001), crf=10)
    for index in range(frames):
        writer.write(picture(index), index / fps)
    writer.close()
    return path
