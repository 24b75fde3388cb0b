"""Run folders in, pack folder out, for any run: weights, labels, preprocessing, figures, terms, revision.

Owns how such a pack is written; the shipped pack, with its calibration, is `export`'s. It must not know how
its networks were trained.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
from safetensors.torch import save_file
from torch import Tensor

from endostream.errors import InputError
from endostream.models import load
from endostream.packs import read_pack, sha256_of, verify_pack
from endostream.training.augment import MEAN, STD
from endostream.training.recipes import LabelRecipe, MaskRecipe
from endostream.training.runs import averaged_weights
from endostream.training.settings import Running, Training, build
from endostream.vocabulary import term

__all__ = ["TERMS", "write_pack"]

TERMS = (
    "Terms not stated by whoever trained these weights: the terms of the training data apply. Research only, "
    "not for diagnosis."
)
KINDS: dict[str, type[Running]] = {
    "segmenter": Training,
    "classifier": Training,
    "labels": LabelRecipe,
    "unet": MaskRecipe,
}
SPELLED = {"polyp": "polyps", "no_polyp": "background", "normal": "background"}
"""Labels of manifests by the app's names."""
GATE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One run as a model of a pack."""

    run: Path
    """Run folder."""
    role: Literal["classifier", "segmenter"]
    """What the network is used for."""
    architecture: str
    """Key of the table of architectures."""
    options: dict[str, Any]
    """The architecture's options."""
    labels: list[str]
    """Class names in the order of the outputs."""
    preprocessing: dict[str, Any]
    """As the pack writes it."""
    state: dict[str, Tensor]
    """The averaged weights under the architecture's names."""
    described: dict[str, Any]
    """The run record."""
    figures: dict[str, Any]
    """The figures on held-out pictures; empty while the run has not ended."""


def write_pack(
    runs: list[Path],
    pack: Path,
    licence: str = TERMS,
    version: str = "0.1.0",
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Write a pack from one run, or from a classifier's and a segmenter's, and verify it as the app reads it.

    Parameters
    ----------
    licence
        Terms of the weights, in the user's words.

    Raises
    ------
    InputError
        When a run cannot be read, two runs have the same role, or the folder holds a pack already.
    """
    entries = sorted((_entry(run) for run in runs), key=lambda entry: entry.role)
    roles = [entry.role for entry in entries]
    if not entries or len(set(roles)) < len(roles):
        raise InputError("a pack takes at most one run of a classifier and one of a segmenter with --run")
    if (pack / "pack.toml").exists() and not overwrite:
        raise InputError(f"{pack} already holds a pack: name another folder, or say --overwrite")
    pack.mkdir(parents=True, exist_ok=True)
    models = [_model(entry, pack) for entry in entries]
    table = {
        "schema": 1,
        "name": pack.resolve().name,
        "version": version,
        "title": title or f"{' and '.join(roles)} trained with EndoStream".capitalize(),
        "summary": _summary(entries),
        "licence": licence,
        "exams": ["any"],
        "gate": _gate(entries),
        "thresholds": {"open": 0.6, "close": 0.4, "minimum_s": 0.5, "merge_s": 1.0, "mask": 0.5},
        "metrics": {entry.role: _metrics(entry) for entry in entries},
        "data": {entry.role: _data(entry) for entry in entries},
        "training": {entry.role: _training(entry) for entry in entries},
        "model": models,
    }
    (pack / "pack.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    written = read_pack(pack)
    verify_pack(written)
    for model in written.models:
        load(written, model)


def _entry(run: Path) -> Entry:
    path = run / "run.json"
    if not path.is_file():
        raise InputError(f"{run} is not a run folder: it has no run.json")
    described = json.loads(path.read_text(encoding="utf-8"))
    task = described["training"].get("task", "")
    if task not in KINDS:
        raise InputError(f"{run} is a run of {task!r}: a pack takes {', '.join(KINDS)}")
    settings = build(KINDS[task], described["training"], path.name)
    done = run / "figures.json"
    figures = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
    state = averaged_weights(run)
    inner = {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
    if isinstance(settings, LabelRecipe):
        labels = [SPELLED.get(name, name) for name in described["classes"]]
        options: dict[str, Any] = {"classes": len(labels), **settings.network.options()}
        how = settings.preprocessing()
        return Entry(
            run, "classifier", "dinov2-vits14-linear", options, labels, how, inner, described, figures
        )
    if isinstance(settings, MaskRecipe):
        options, how = _width(settings.width), settings.preprocessing()
        return Entry(run, "segmenter", "unet-64", options, ["polyps"], how, state, described, figures)
    assert isinstance(settings, Training)
    side = settings.schedule.side
    how = {"width": side, "height": side, "kernel": "pil-bilinear", "mean": list(MEAN), "std": list(STD)}
    if settings.architecture == "unet":
        options = _width(settings.network.width)
        return Entry(run, "segmenter", "unet-64", options, ["polyps"], how, inner, described, figures)
    options = asdict(settings.network)
    if task == "segmenter":
        return Entry(run, "segmenter", "light-unet", options, ["polyps"], how, inner, described, figures)
    options, labels = {"classes": 2, **options}, ["background", "polyps"]
    return Entry(run, "classifier", "light-classifier", options, labels, how, state, described, figures)


def _width(width: int) -> dict[str, int]:
    return {} if width == 64 else {"width": width}


def _model(entry: Entry, pack: Path) -> dict[str, Any]:
    """Write one network's weights and give its table in `pack.toml`."""
    file = pack / f"{entry.role}.safetensors"
    save_file(
        {key: value.contiguous() for key, value in entry.state.items()}, file, metadata={"format": "pt"}
    )
    # safetensors writes files that only their owner can read.
    file.chmod(0o644)
    per_class = entry.figures.get("per_class", {})
    recognised = {SPELLED.get(name, name) for name, found in per_class.items() if found["recall"] > 0}
    return {
        "role": entry.role,
        "name": "frame" if entry.role == "classifier" else "polyp-mask",
        "architecture": entry.architecture,
        "file": file.name,
        "sha256": sha256_of(file),
        "labels": entry.labels,
        "background": [name for name in entry.labels if term(name).role == "background"],
        # Never recognised on held-out pictures, or not among them.
        "unreliable": [name for name in entry.labels if per_class and name not in recognised],
        "options": entry.options,
        "preprocessing": entry.preprocessing,
    }


def _gate(entries: list[Entry]) -> dict[str, Any]:
    acting = next((entry for entry in entries if entry.role == "classifier"), None)
    if len(entries) == 2 and acting is not None and "polyps" in acting.labels:
        return {"rule": "labels", "labels": {"polyps": GATE}}
    return {"rule": "always"}


def _summary(entries: list[Entry]) -> str:
    parts = []
    for entry in entries:
        if entry.role == "classifier":
            parts.append(f"Names one of {len(entry.labels)} classes: {', '.join(entry.labels)}.")
        else:
            parts.append("Outlines polyps.")
    return " ".join([*parts, "It knows nothing else. Research use only, not for diagnosis."])


def _metrics(entry: Entry) -> dict[str, Any]:
    if not entry.figures:
        return {"command": "none: the run has not ended"}
    task = entry.described["training"]["task"]
    what = {
        "labels": "held-out pictures through this pack's preprocessing, frame by frame, no smoothing; "
        "macro figures over the classes that occur",
        "unet": "held-out pictures through this pack's preprocessing, threshold 0.5; Dice and IoU per "
        "picture, averaged; where no test was held out these pictures also chose the epoch",
    }.get(task, "held-out groups as the training validates: Dice per picture at the input size")
    flat = {k: round(float(v), 4) for k, v in entry.figures.items() if isinstance(v, int | float)}
    classes = {
        SPELLED.get(name, name): {"recall": round(found["recall"], 4), "pictures": found["pictures"]}
        for name, found in entry.figures.get("per_class", {}).items()
    }
    found: dict[str, Any] = {"command": f"endostream train {task} (docs/training.md)", "what": what, **flat}
    return found | ({"per_class": classes} if classes else {})


def _data(entry: Entry) -> dict[str, Any]:
    described = entry.described
    names = (
        "data_sha256",
        "layout",
        "partition",
        "pictures_per_class",
        "pictures",
        "held_out",
        "held_out_groups",
    )
    return {name: described[name] for name in names if described.get(name) is not None}


def _training(entry: Entry) -> dict[str, Any]:
    described = entry.described
    settings = described["training"]
    found = {
        "commands": "docs/training.md",
        "task": settings["task"],
        "seed": settings["seed"],
        "batch": settings["schedule"]["batch"],
        "git": described["git"],
        "torch": described["torch"],
        # Steps at which the run was continued, with the config it had then or another one.
        "continued_at": [past["until_step"] for past in described.get("earlier", [])],
    }
    return found | ({"init": described["init"]} if described.get("init") else {})
