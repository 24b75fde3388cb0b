"""The same networks the usual way: plain PyTorch, fp32, one frame after the other, Grad-CAM by autograd.

Owns the comparison that `--compare` measures: what a straightforward script does with the published facts of
the predecessor, without its mistakes. Must not know engines, pipelines or threads.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from endostream.bench.figures import percentiles
from endostream.bench.looped import LoopedSource
from endostream.bench.result import PlainResult
from endostream.errors import InputError
from endostream.models import load
from endostream.packs import ModelSpec, Pack
from endostream.types import FloatArray, ImageArray, MaskArray

LAST_FEATURES = {"dinov2-vits14-linear": "backbone.norm", "light-classifier": "fuse16"}
"""Where Grad-CAM listens: the last features before the head, per architecture of a classifier."""
PIL_KERNELS = {"pil-bilinear": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC}
CV2_KERNELS = {"cv2-linear": cv2.INTER_LINEAR, "cv2-cubic": cv2.INTER_CUBIC}


def tensor(image: ImageArray, model: ModelSpec, device: str) -> torch.Tensor:
    """A picture as float32[1, 3, h, w], resized and normalised as the pack asks, by PIL or OpenCV."""
    how = model.preprocessing
    size = (how.width, how.height)
    if how.kernel in PIL_KERNELS:
        small = np.asarray(Image.fromarray(image).resize(size, PIL_KERNELS[how.kernel]))
    else:
        small = cv2.resize(image, size, interpolation=CV2_KERNELS[how.kernel])
    batch = torch.from_numpy(small.copy()).permute(2, 0, 1).float().div(255.0)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (how.mean, how.std))
    return ((batch - mean) / std).unsqueeze(0).to(device)


class GradCam:
    """A classifier with its class map by autograd: a forward pass and a backward pass per frame."""

    def __init__(self, pack: Pack, model: ModelSpec, device: str, seed: int | None) -> None:
        if model.architecture not in LAST_FEATURES:
            raise InputError(f"{model.architecture} has no plain counterpart; leave out --compare")
        self._model, self._device = model, device
        self._network = load(pack, model, seed).to(device)
        self._features: list[torch.Tensor] = []
        layer = self._network.get_submodule(LAST_FEATURES[model.architecture])
        layer.register_forward_hook(self._keep)

    def _keep(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        self._features = [output]

    def __call__(self, image: ImageArray) -> tuple[dict[str, float], FloatArray]:
        """Probabilities by label, and the class map float32[gh, gw] of the most probable one in 0..1."""
        self._network.zero_grad()
        logits, _ = self._network(tensor(image, self._model, self._device))
        scores = torch.softmax(logits, dim=1)[0]
        logits[0, int(scores.argmax())].backward()
        (features,) = self._features
        assert features.grad is not None
        found = _token_cam(features) if features.ndim == 3 else _grid_cam(features)
        cam = found.detach().cpu().numpy()
        cam = (cam - cam.min()) / (cam.max() - cam.min() + 1e-8)
        return dict(zip(self._model.labels, scores.tolist(), strict=True)), cam.astype(np.float32)


def _token_cam(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens weighted by the gradient at the class token, on the grid of patches."""
    assert tokens.grad is not None
    cam = torch.relu(tokens[0, 1:] @ tokens.grad[0, 0])
    side = round(len(cam) ** 0.5)
    return cam.reshape(side, side)


def _grid_cam(grid: torch.Tensor) -> torch.Tensor:
    """Channels weighted by the mean of their gradient."""
    assert grid.grad is not None
    weights = grid.grad.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * grid).sum(dim=1))[0]


class PlainMask:
    """A segmenter without gradients."""

    def __init__(self, pack: Pack, model: ModelSpec, device: str, seed: int | None) -> None:
        self._model, self._device = model, device
        self._network = load(pack, model, seed).to(device)

    def __call__(self, image: ImageArray) -> MaskArray:
        """The mask bool[H, W] at the picture's size."""
        with torch.no_grad():
            logits = self._network(tensor(image, self._model, self._device))
        small = (torch.sigmoid(logits)[0, 0] > 0.5).cpu().numpy().astype(np.uint8)
        size = (image.shape[1], image.shape[0])
        return cv2.resize(small, size, interpolation=cv2.INTER_NEAREST).astype(bool)


class PlainNetworks:
    """All networks of a pack, run one after the other.

    Parameters
    ----------
    pack
        The pack.
    device
        `cpu` or `cuda`.
    seed
        Random weights by this seed; None reads the pack's.
    gate
        Label to threshold on the score of the frame; None makes a mask of every frame, an empty one of none.
    threads
        Threads PyTorch may use while it runs; the number before is put back.
    """

    def __init__(
        self, pack: Pack, device: str, seed: int | None, gate: Mapping[str, float] | None, threads: int
    ) -> None:
        self._classifiers = [GradCam(pack, model, device, seed) for model in pack.classifiers]
        self._segmenter = PlainMask(pack, pack.segmenter, device, seed) if pack.segmenter else None
        self._gate, self._threads = gate, threads
        self.masks = 0
        """Masks computed so far."""

    def __call__(self, image: ImageArray) -> tuple[dict[str, float], FloatArray | None, MaskArray | None]:
        """Scores of the acting classifier, its class map, and the mask where the gate is open."""
        before, own = torch.get_num_threads(), cv2.getNumThreads()
        torch.set_num_threads(self._threads)
        cv2.setNumThreads(-1)
        try:
            answers = [classify(image) for classify in self._classifiers]
            scores, cam = answers[0] if answers else ({}, None)
            wanted = self._gate is None or any(scores.get(k, 0.0) >= v for k, v in self._gate.items())
            mask = self._segmenter(image) if self._segmenter is not None and wanted else None
            self.masks += mask is not None
            return scores, cam, mask
        finally:
            torch.set_num_threads(before)
            cv2.setNumThreads(own)


class PlainRun:
    """Plain networks over a source of their own, frame by frame, in the slices between the product's."""

    def __init__(self, networks: PlainNetworks, source: LoopedSource, threads: int) -> None:
        self._networks, self._source, self._threads = networks, source, threads
        self._times: list[float] = []
        self._masks = 0
        for _ in range(2):
            self._frame()

    def _frame(self) -> float:
        began = time.perf_counter()
        frame = self._source.read()
        if frame is None:
            raise InputError(f"{self._source.info.name} gives no more frames; take another source")
        self._networks(frame.image)
        return time.perf_counter() - began

    def measure(self, seconds: float) -> None:
        """Measure whole frames for at least so many seconds."""
        masks, end = self._networks.masks, time.perf_counter() + seconds
        while time.perf_counter() < end:
            self._times.append(self._frame())
        self._masks += self._networks.masks - masks

    def result(self, fps: float, masks_per_s: float) -> PlainResult:
        """The figures, held against the product's."""
        took = sum(self._times)
        own, own_masks = len(self._times) / took, self._masks / took
        return PlainResult(
            fps=round(own, 3),
            masks_per_s=round(own_masks, 3),
            ratio=round(fps / own, 3),
            masks_ratio=round(masks_per_s / own_masks, 3) if own_masks else None,
            frames=len(self._times),
            frame_ms=percentiles(self._times),
            threads=self._threads,
        )

    def close(self) -> None:
        """Give the source back."""
        self._source.close()
