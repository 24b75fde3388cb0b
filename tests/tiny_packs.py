"""A complete pack in miniature: the published architectures, a few thousand weights, random by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w
import torch
from safetensors.torch import save_file

from endostream.models import build
from endostream.packs import Pack, read_pack, sha256_of

CLASSIFIER = {"classes": 3, "dim": 48, "depth": 2, "heads": 3, "grid": 5}
SEGMENTER = {"width": 4}


def tiny_table() -> dict[str, Any]:
    """The `pack.toml` of the pack as a table, checksums still empty."""
    classifier = {
        "role": "classifier",
        "name": "three",
        "architecture": "dinov2-vits14-linear",
        "options": dict(CLASSIFIER),
        "file": "three.safetensors",
        "sha256": "",
        "labels": ["polyps", "cecum", "z-line"],
        "preprocessing": {
            "width": 56,
            "height": 56,
            "kernel": "pil-bilinear",
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
        },
    }
    segmenter = {
        "role": "segmenter",
        "name": "mask",
        "architecture": "unet-64",
        "options": dict(SEGMENTER),
        "file": "mask.safetensors",
        "sha256": "",
        "labels": ["polyps"],
        "preprocessing": {"width": 48, "height": 32, "kernel": "cv2-linear"},
    }
    return {
        "schema": 1,
        "name": "tiny",
        "version": "1",
        "gate": {"rule": "labels", "labels": {"polyps": 0.5}},
        "model": [classifier, segmenter],
    }


def tiny_pack(
    folder: Path,
    seed: int = 0,
    width: int = SEGMENTER["width"],
    classifier: Mapping[str, int] = MappingProxyType({}),
) -> Pack:
    """The pack written to `folder`, with weights.

    `width` channels in the UNet's first stage; other options of the `classifier` where they are given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = tiny_table()
    table["model"][0]["options"] |= classifier
    table["model"][1]["options"] = {"width": width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for model in table["model"]:
            network = build(model["architecture"], model["options"])
            for name, value in network.named_parameters():
                if name.startswith("head.") or name == "backbone.pos_embed":
                    torch.nn.init.normal_(value, std=0.5)
            save_file(network.state_dict(), folder / model["file"])
            model["sha256"] = sha256_of(folder / model["file"])
    (folder / "pack.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    return read_pack(folder)
