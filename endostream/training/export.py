"""Run folders in, pack folder out: calibration, figures on held-out pictures, safetensors, pack.toml.

Owns how a pack is written. It must not know how its networks were trained.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_calibration_error

from endostream.analysis.masks import drop_unsure, logit
from endostream.errors import InputError
from endostream.models.light import LightClassifier, LightUNet
from endostream.training.augment import MEAN, STD
from endostream.training.classifier import from_segmenter
from endostream.training.runs import averaged_weights, load_split, reached, read_run
from endostream.training.settings import Training
from endostream.training.validation import HeldOut, held_out, mask_figures, presence_figures, run_network

__all__ = ["calibrated", "export_pack", "write_toml"]

DATA = {
    "kvasir_seg": "Kvasir-SEG: research and education only",
    "cvc_clinicdb": "CVC-ClinicDB: research, non-commercial",
    "polypgen": "PolypGen: CC BY 4.0",
    "vocalfolds": "vocalfolds: CC BY 4.0",
    "phantom": "procedural frames of this project: no terms; never a source of accuracy claims",
}
LICENCE = "Research and education only, as the terms of the training data require. Not for diagnosis."
SUMMARY = (
    "Marks polyp candidates in colonoscopy frames and outlines them. It knows polyps and nothing else: "
    "no landmark, no other disease, no histology. Background means only that no polyp candidate was seen."
)
LABELS = ("background", "polyps")
POLYP = torch.tensor([0.0, 1.0])
MASK = {"mask": 0.4, "mask_peak": 0.8}
"""Pixels over `mask` are the mask, in patches that are somewhere sure; other values: docs/training.md."""
STEEP = 4.0
"""How fast the bound of the mask network falls with its score of the picture, in logits per logit."""


def export_pack(
    segmenter_run: Path,
    classifier_run: Path | None,
    data: Path,
    pack: Path,
    gate: float = 0.5,
    bound: float = 0.25,
    version: str = "0.1.0",
) -> dict[str, float]:
    """Write a pack from one or two runs and give its figures on the held-out pictures.

    The classifier is calibrated on the held-out pictures; its calibration error is measured on one half of
    the groups with the fit of the other half. All figures are those of the half-precision weights that are
    written.

    Parameters
    ----------
    classifier_run
        A classifier's run; None where the segmenter's own presence head is to be the classifier.
    gate
        Score of the classifier that lets the mask network look.
    bound
        Least score of the mask network's own presence head that lets it draw.

    Raises
    ------
    InputError
        When a run is missing or the two runs hold out different groups.
    """
    training, described = read_run(segmenter_run)
    other, other_described = (training, described) if classifier_run is None else read_run(classifier_run)
    if described["held_out_groups"] != other_described["held_out_groups"]:
        raise InputError(
            "the two runs hold out different groups: give both configs the same [split] and seed"
        )
    if training.task != "segmenter" or (classifier_run is not None and other.task != "classifier"):
        raise InputError("--segmenter and --classifier must name runs of these tasks: swap them")
    held = held_out(load_split(training, data)[1], training.augmentation.margin)
    side = training.schedule.side
    unet = bounded(averaged_weights(segmenter_run), training, held, bound)
    frame = LightClassifier(len(LABELS), **asdict(other.network))
    frame.load_state_dict(
        from_segmenter(averaged_weights(segmenter_run))
        if classifier_run is None
        else averaged_weights(classifier_run)
    )
    fitted = calibrated(frame.eval(), held, side)
    for network in (unet, frame):
        # The figures are those of the weights as they are stored.
        network.load_state_dict({k: _stored(v).to(v.dtype) for k, v in network.state_dict().items()})
    figures = measured(unet.eval(), frame.eval(), held, side, gate) | fitted
    pack.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, network in (("classifier", frame), ("segmenter", unet)):
        path = pack / f"{name}.safetensors"
        save_file({k: _stored(v).contiguous() for k, v in network.state_dict().items()}, path)
        # safetensors writes files that only their owner can read.
        path.chmod(0o644)
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    table = _table(pack.name, version, hashes, (training, other), gate)
    table |= {"metrics": _metrics(figures, held), "data": _data(held, described, training)}
    table["training"] = {
        "commands": "docs/training.md",
        "segmenter": _origin(segmenter_run, training, described),
        "classifier": _origin(classifier_run or segmenter_run, other, other_described),
    }
    (pack / "pack.toml").write_text(write_toml(table), encoding="utf-8")
    return figures


def _stored(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def bounded(state: dict[str, Tensor], training: Training, held: list[HeldOut], least: float) -> LightUNet:
    """Give the mask network with its presence head as the bound of its logits.

    The head's score is calibrated on the held-out pictures. At the score `least` the bound equals the logit
    of `mask_peak`: below it no patch is sure enough to count.
    """
    net = LightUNet(**asdict(training.network), bounded=True).eval()
    body = {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
    weight, bias = state["presence.weight"].float(), state["presence.bias"].float()
    # Two classes, so their difference says all.
    margin = {"bound.weight": weight[1:] - weight[:1], "bound.bias": bias[1:] - bias[:1]}
    net.load_state_dict(body | margin)
    assert net.bound is not None
    head = net.bound
    scores = []
    for item, (_, seen) in run_network(lambda x: net.both(x), held, training.schedule.side):
        score = float(head(seen.mean((1, 2))).detach()[0])
        scores.append((int(item.picture.kind == "polyp"), score))
    truth, value = torch.tensor([label for label, _ in scores]), torch.tensor([v for _, v in scores])
    temperature, shift = platt(torch.stack((torch.zeros_like(value), value), 1), truth)
    peak, floor = (math.log(p / (1 - p)) for p in (MASK["mask_peak"], least))
    with torch.no_grad():
        head.weight.mul_(STEEP / temperature)
        head.bias.mul_(STEEP / temperature).add_(STEEP * (shift - floor) + peak)
    return net


def calibrated(network: LightClassifier, held: list[HeldOut], side: int) -> dict[str, float]:
    """Fit a temperature and a shift on the held-out pictures, fold them into the head, and give them.

    Platt scaling: polyp and background are not as frequent in a batch as among the held-out pictures, which
    a temperature alone cannot put right. `ece` is measured crosswise: each half of the groups with the fit of
    the other half.
    """
    pairs = [(item, out[0]) for item, out in run_network(network, held, side)]
    truth = torch.tensor([int(item.picture.kind == "polyp") for item, _ in pairs])
    logits = torch.stack([value for _, value in pairs]).clone()
    temperature, shift = platt(logits, truth)
    groups = sorted({item.picture.group for item, _ in pairs})
    second = torch.tensor([groups.index(item.picture.group) % 2 == 1 for item, _ in pairs])
    crossed = torch.zeros(len(pairs))
    for half in (second, ~second):
        if half.any() and not half.all():
            t, moved = platt(logits[~half], truth[~half])
            crossed[half] = (logits[half] / t + moved * POLYP).softmax(1)[:, 1]
    with torch.no_grad():
        network.head.weight.div_(temperature)
        network.head.bias.div_(temperature).add_(shift * POLYP)
    error = float(binary_calibration_error(crossed, truth, n_bins=15))
    return {"temperature": temperature, "shift": shift, "ece_crossed": error}


def platt(logits: Tensor, truth: Tensor) -> tuple[float, float]:
    """Fit temperature T and shift b so that softmax(logits / T + b * [0, 1]) is calibrated.

    Parameters
    ----------
    logits
        float[N, 2], background and polyp.
    truth
        int[N], 1 for a polyp.
    """
    log_t, shift = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.LBFGS([log_t, shift], lr=0.2, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits / log_t.exp() + shift * POLYP, truth)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_t.detach().exp().clamp(0.2, 5.0)), float(shift.detach().clamp(-3, 3))


def measured(
    unet: LightUNet, frame: LightClassifier, held: list[HeldOut], side: int, gate: float
) -> dict[str, float]:
    """Give the masks' figures with and without the gate, and the frame scores' figures."""
    masks: list[NDArray[np.bool_]] = []
    for _, (logits,) in run_network(lambda x: (unet(x),), held, side):
        kept = drop_unsure(logits[0].numpy(), MASK["mask"], MASK["mask_peak"])
        masks.append(np.asarray(kept > logit(MASK["mask"])))
    scores = [float(out[0].softmax(0)[1]) for _, out in run_network(frame, held, side)]
    gated = [
        mask if score >= gate else np.zeros_like(mask) for mask, score in zip(masks, scores, strict=True)
    ]
    figures = mask_figures(list(zip(held, masks, strict=True)))
    figures |= {f"gated_{k}": v for k, v in mask_figures(list(zip(held, gated, strict=True))).items()}
    return figures | presence_figures(list(zip(held, scores, strict=True)))


def _table(
    name: str, version: str, hashes: dict[str, str], trainings: tuple[Training, Training], gate: float
) -> dict[str, Any]:
    seg, cls = trainings
    models = [
        {
            "role": "classifier",
            "name": "frame",
            "architecture": "light-classifier",
            "file": "classifier.safetensors",
            "sha256": hashes["classifier"],
            "labels": list(LABELS),
            "background": [LABELS[0]],
            "unreliable": [],
            "options": {"classes": len(LABELS), **asdict(cls.network)},
            "preprocessing": _preprocessing(cls.schedule.side),
        },
        {
            "role": "segmenter",
            "name": "polyp-mask",
            "architecture": "light-unet",
            "file": "segmenter.safetensors",
            "sha256": hashes["segmenter"],
            "labels": [LABELS[1]],
            "options": {**asdict(seg.network), "bounded": True},
            "preprocessing": _preprocessing(seg.schedule.side),
        },
    ]
    return {
        "schema": 1,
        "name": name,
        "version": version,
        "title": "Polyp candidates in colonoscopy (research)",
        "summary": SUMMARY,
        "licence": LICENCE,
        "exams": ["lower", "any"],
        "model": models,
        "gate": {"rule": "labels", "labels": {LABELS[1]: gate}},
        "thresholds": {"open": 0.6, "close": 0.4, "minimum_s": 0.5, "merge_s": 1.0} | MASK,
    }


def _preprocessing(side: int) -> dict[str, Any]:
    return {"width": side, "height": side, "kernel": "pil-bilinear", "mean": list(MEAN), "std": list(STD)}


def _metrics(figures: dict[str, float], held: list[HeldOut]) -> dict[str, Any]:
    crops = sum(item.free for item in held)
    return {
        "command": "endostream train export (docs/training.md)",
        "what": "held-out groups, frame by frame, no smoothing; Dice per picture at the input size; "
        "false_mask: share of polyp-free pictures with a mask over 0.2 % of the area; gated: only where "
        "the classifier reaches the gate; temperature, shift and the mask network's bound were fitted on the "
        "same pictures, ece_crossed on the other half of the groups",
        "pictures": len(held) - crops,
        "free_crops": crops,
        **{name: round(value, 4) for name, value in figures.items()},
    }


def _data(held: list[HeldOut], described: dict[str, Any], training: Training) -> dict[str, Any]:
    sources = {item.picture.source for item in held} | ({"phantom"} if training.phantom else set())
    return {
        "sha256": described["data_sha256"],
        "pictures": described["pictures"],
        "held_out": described["held_out"],
        "seed": training.seed,
        "held_out_groups": list(training.split.groups),
        "held_out_share": training.split.share,
        "held_out_share_of": list(training.split.sources),
        "terms": [DATA.get(source, f"{source}: terms not stated") for source in sorted(sources)],
    }


def _origin(run: Path, training: Training, described: dict[str, Any]) -> dict[str, Any]:
    step, minutes = reached(run)
    return {
        "seed": training.seed,
        "steps": step,
        "minutes": round(minutes, 1),
        # Steps at which the run was continued, with the config it had then or another one.
        "continued_at": [entry["until_step"] for entry in described.get("earlier", [])],
        "batch": training.schedule.batch,
        "git": described["git"],
        "torch": described["torch"],
        "init": described["init"] or "",
    }


def write_toml(table: dict[str, Any], prefix: str = "") -> str:
    """Give a table as TOML: plain values first, then tables, then arrays of tables."""
    plain, below = [], []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            below.append(f"\n[{name}]\n{write_toml(value, name + '.')}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            below.extend(f"\n[[{name}]]\n{write_toml(entry, name + '.')}" for entry in value)
        else:
            # JSON's texts, numbers, booleans and flat lists are TOML's as well.
            plain.append(f"{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(plain + below)
