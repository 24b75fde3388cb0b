"""Packs as data: reads, checks, finds and lists `pack.toml` and the weight files beside it.

Owns the format of a pack and the rule that every weight file matches its checksum.
Must not know torch, architectures or engines: an architecture is only a key here.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from endostream.errors import InputError, PackError
from endostream.resources import shipped, user_data
from endostream.sites import Site, read_site

SCHEMA = 1
Kernel = Literal["pil-bilinear", "pil-bicubic", "cv2-linear", "cv2-cubic"]
ModelRole = Literal["classifier", "segmenter"]
KERNELS = ("pil-bilinear", "pil-bicubic", "cv2-linear", "cv2-cubic")
ROLES = ("classifier", "segmenter")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an RGB picture becomes a network's input: squashed to size, /255, minus mean, by std."""

    width: int
    """Input width in pixels."""
    height: int
    """Input height in pixels."""
    kernel: Kernel
    """The resize kernel the weights were trained or published with."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Per RGB channel, on the 0..1 scale."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Per RGB channel, on the 0..1 scale."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network of a pack."""

    role: ModelRole
    """What it is used for."""
    name: str
    """Unique in its pack."""
    architecture: str
    """Key of the table of architectures."""
    options: Mapping[str, Any]
    """Keyword arguments of the architecture."""
    file: str
    """safetensors file in the pack's folder."""
    sha256: str
    """Checksum of `file`; empty while the weights are not there (a recipe)."""
    labels: tuple[str, ...]
    """C class names in the order of the outputs."""
    preprocessing: Preprocessing
    """The only source of preprocessing."""
    background: tuple[str, ...] = ()
    """Labels that never open a finding."""
    unreliable: tuple[str, ...] = ()
    """Labels whose measured recall is zero or unknown; shown as such."""
    published: Mapping[str, Any] = field(default_factory=dict)
    """file, bytes, sha256 of the published checkpoint this model is imported from."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """file, sha256 and note of the checkpoint this model was imported from."""


@dataclass(frozen=True, slots=True)
class Gate:
    """When the segmenter looks at a frame."""

    rule: Literal["always", "labels"] = "always"
    """`always`, or when the smoothed score of one of `labels` reaches its threshold."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """Label to threshold on the smoothed score."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a finding opens, stays and closes; seconds are stream time."""

    open: float = 0.6
    """Smoothed score at which a finding may open."""
    close: float = 0.4
    """Smoothed score under which it may close."""
    minimum_s: float = 0.5
    """Hold-off: seconds the score must stay over `close` after reaching `open` before a finding opens."""
    merge_s: float = 1.0
    """Gaps up to this many seconds do not split a finding."""
    mask: float = 0.5
    """Probability over which a pixel belongs to the mask."""
    mask_peak: float = 0.0
    """Probability that some pixel of a patch must reach, or the patch is dropped; 0 keeps all."""
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Per label: other values for open, close, minimum_s, merge_s."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The pictures that int8 is calibrated on: frames of the phantom, so that everybody has the same ones."""

    seeds: tuple[int, ...] = (7, 101, 102, 103)
    """Seeds of the phantoms."""
    frames: int = 12
    """Frames of each, evenly over its 50 seconds."""
    width: int = 640
    """Width of the frames in pixels."""
    height: int = 360
    """Height of the frames in pixels."""

    def __str__(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        return f"phantom seeds {seeds}, {self.frames} frames each, {self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Pack:
    """A set of weights with everything needed to use them honestly."""

    name: str
    """Unique name."""
    version: str
    """Version of the weights."""
    folder: Path
    """Where it lies."""
    title: str
    """One line for people."""
    summary: str
    """What it is for and what it is not."""
    licence: str
    """Terms of the weights."""
    exams: tuple[str, ...]
    """Exam contexts it is meant for."""
    models: tuple[ModelSpec, ...]
    """In order; the first classifier acts."""
    gate: Gate
    """When the segmenter runs."""
    thresholds: Thresholds
    """Finding thresholds."""
    details: Mapping[str, Any]
    """`metrics`, `data`, `training` as written in the file."""
    sample: Sample = Sample()
    """What int8 is calibrated on."""
    int8: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Network name to the proof that came with the pack: what int8 costs it (see `engines.proof`)."""
    shipped: bool = False
    """True when it came with the product."""
    site: Site | None = None
    """The site's own measured thresholds, when they are in force; `thresholds` holds them already."""
    site_note: str = ""
    """Why site overrides that are there are not in force, in one line; empty when there are none."""

    @property
    def classifiers(self) -> tuple[ModelSpec, ...]:
        """The classifiers; the first one opens findings."""
        return tuple(m for m in self.models if m.role == "classifier")

    @property
    def segmenter(self) -> ModelSpec | None:
        """The segmenter, or None."""
        return next((m for m in self.models if m.role == "segmenter"), None)

    @property
    def sha256(self) -> str:
        """One checksum over name, version and every model's checksum and options."""
        parts = [f"{m.name}:{m.architecture}:{sorted(m.options.items())}:{m.sha256}" for m in self.models]
        return hashlib.sha256("\n".join([self.name, self.version, *parts]).encode()).hexdigest()

    @property
    def missing(self) -> tuple[str, ...]:
        """Weight files that are not there: the pack needs an import."""
        return tuple(m.file for m in self.models if not m.sha256 or not (self.folder / m.file).is_file())

    def path(self, model: ModelSpec) -> Path:
        """The weight file of `model`."""
        return self.folder / model.file


def _floats(values: Any, where: str) -> tuple[float, float, float]:
    if not (isinstance(values, list) and len(values) == 3):
        raise PackError(f"{where} must be three numbers; correct the pack.toml")
    return (float(values[0]), float(values[1]), float(values[2]))


def _names(values: Any, where: str) -> tuple[str, ...]:
    if not (isinstance(values, list) and all(isinstance(v, str) for v in values)):
        raise PackError(f"{where} must be a list of names; correct the pack.toml")
    return tuple(values)


def _preprocessing(table: Mapping[str, Any], where: str) -> Preprocessing:
    kernel = table.get("kernel")
    if kernel not in KERNELS:
        raise PackError(f"{where}: unknown resize kernel {kernel!r}; one of {', '.join(KERNELS)}")
    return Preprocessing(
        width=int(table["width"]),
        height=int(table["height"]),
        kernel=cast(Kernel, kernel),
        mean=_floats(table.get("mean", [0.0, 0.0, 0.0]), f"{where}: mean"),
        std=_floats(table.get("std", [1.0, 1.0, 1.0]), f"{where}: std"),
    )


def _model(table: Mapping[str, Any], where: str) -> ModelSpec:
    role = table.get("role")
    if role not in ROLES:
        raise PackError(f"{where}: unknown role {role!r}; one of {', '.join(ROLES)}")
    file = str(table["file"])
    if Path(file).name != file:
        raise PackError(f"{where}: weight file {file!r} must lie in the pack's own folder")
    return ModelSpec(
        role=cast(ModelRole, role),
        name=str(table["name"]),
        architecture=str(table["architecture"]),
        options=dict(table.get("options", {})),
        file=file,
        sha256=str(table.get("sha256", "")),
        labels=_names(table["labels"], f"{where}: labels"),
        preprocessing=_preprocessing(table["preprocessing"], where),
        background=_names(table.get("background", []), f"{where}: background"),
        unreliable=_names(table.get("unreliable", []), f"{where}: unreliable"),
        published=dict(table.get("published", {})),
        provenance=dict(table.get("provenance", {})),
    )


def _models(tables: Any, file: Path) -> tuple[ModelSpec, ...]:
    if not isinstance(tables, list) or not tables:
        raise PackError(f"{file}: there is no [[model]]; correct the pack.toml")
    models = tuple(_model(m, f"{file} model {i + 1}") for i, m in enumerate(tables))
    for what in ("name", "file"):
        if len({getattr(m, what) for m in models}) < len(models):
            raise PackError(f"{file}: two models have the same {what}; correct the pack.toml")
    if sum(m.role == "segmenter" for m in models) > 1:
        raise PackError(f"{file}: a pack has at most one segmenter; correct the pack.toml")
    return models


def _gate(table: Mapping[str, Any], models: tuple[ModelSpec, ...], file: Path) -> Gate:
    rule, labels = table.get("rule", "always"), dict(table.get("labels", {}))
    if rule not in ("always", "labels"):
        raise PackError(f"{file}: unknown gate rule {rule!r}; `always` or `labels`")
    acting = next((m.labels for m in models if m.role == "classifier"), ())
    for label, threshold in labels.items():
        if label not in acting:
            raise PackError(f"{file}: the gate names {label!r}, which is no label of the first classifier")
        labels[label] = float(threshold)
    return Gate(rule=cast(Literal["always", "labels"], rule), labels=labels)


def _sample(table: Mapping[str, Any], file: Path) -> Sample:
    """`[sample] phantom = { seeds = [7, 8], frames = 12, size = "640x360" }`; all of it may be left out."""
    given = dict(table.get("phantom", {}))
    unknown = [*(set(table) - {"phantom"}), *(set(given) - {"seeds", "frames", "size"})]
    if unknown:
        raise PackError(f"{file}: [sample] does not know {sorted(unknown)[0]!r}; correct the pack.toml")
    usual = Sample()
    width, height = str(given.get("size", f"{usual.width}x{usual.height}")).split("x")
    seeds = tuple(int(seed) for seed in given.get("seeds", usual.seeds))
    found = Sample(seeds, int(given.get("frames", usual.frames)), int(width), int(height))
    if not seeds or min(seeds) < 0 or found.frames < 1 or min(found.width, found.height) < 64:
        raise PackError(f"{file}: [sample] draws nothing ({found}); correct the pack.toml")
    return found


def _proofs(table: Mapping[str, Any], models: tuple[ModelSpec, ...], file: Path) -> dict[str, Any]:
    for name, proof in table.items():
        if name not in {m.name for m in models} or not isinstance(proof, Mapping):
            raise PackError(f"{file}: [int8] names {name!r}, which is no network of the pack")
    return dict(table)


def read_pack(folder: Path) -> Pack:
    """The pack in `folder`; its weights are not opened (see `verify_pack`).

    Raises `PackError` when `pack.toml` is missing, is not TOML, or does not say what it must.
    """
    file = folder / "pack.toml"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PackError(f"no pack in {folder}: pack.toml is missing; name a pack or its folder") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PackError(f"{file} cannot be read ({error}); restore it from its origin") from error
    if table.get("schema") != SCHEMA:
        raise PackError(
            f"{file}: schema {table.get('schema')!r} is not {SCHEMA}; update EndoStream or the pack"
        )
    try:
        thresholds = dict(table.get("thresholds", {}))
        return Pack(
            name=str(table["name"]),
            version=str(table["version"]),
            folder=folder,
            title=str(table.get("title", table["name"])),
            summary=str(table.get("summary", "")),
            licence=str(table.get("licence", "not stated")),
            exams=tuple(table.get("exams", ["any"])),
            models=(models := _models(table["model"], file)),
            gate=_gate(table.get("gate", {}), models, file),
            thresholds=Thresholds(**thresholds),
            details={k: table[k] for k in ("metrics", "data", "training") if k in table},
            sample=_sample(table.get("sample", {}), file),
            int8=_proofs(table.get("int8", {}), models, file),
            shipped=folder.resolve().parent == shipped("weights").resolve(),
        )
    except KeyError as error:
        raise PackError(f"{file}: key {error} is missing; restore the file from its origin") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise PackError(f"{file}: {error}; correct the pack.toml") from error


def sha256_of(path: Path) -> str:
    """The sha256 of a file as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify_pack(pack: Pack) -> None:
    """Return when every weight file is there and matches its checksum; else raise `PackError`."""
    if pack.missing:
        files = " ".join("FILE" for _ in pack.models)
        raise PackError(
            f"pack {pack.name} has no weights yet: endostream packs import {files} --pack {pack.name}"
        )
    for model in pack.models:
        if sha256_of(pack.path(model)) != model.sha256:
            raise PackError(
                f"pack {pack.name}: {model.file} does not match its checksum; "
                "install the pack again or import its checkpoint again"
            )


def pack_folders() -> dict[str, Path]:
    """Every pack that can be named: shipped ones, and imported ones, which complete but never shadow them."""
    found: dict[str, Path] = {}
    for base in (user_data("packs"), shipped("weights")):
        if base.is_dir():
            found.update({p.parent.name: p.parent for p in sorted(base.glob("*/pack.toml"))})
    recipe = user_data("packs")
    for name, folder in list(found.items()):
        imported = recipe / name
        if imported != folder and (imported / "pack.toml").is_file() and read_pack(folder).missing:
            found[name] = imported
    return dict(sorted(found.items()))


def with_site(pack: Pack) -> Pack:
    """The pack with the site's overrides in force, or with a note why they are not.

    They count only for the weights they were measured with. A file that cannot be used leaves the pack's own
    thresholds.
    """
    try:
        site = read_site(pack.name)
    except InputError as error:
        return replace(pack, site_note=str(error))
    if site is None:
        return pack
    if site.sha256 != pack.sha256:
        return replace(
            pack,
            site_note=f"site overrides sites/{pack.name}.toml were measured with other weights (version "
            f"{site.version}) and are not applied; measure again: endostream evaluate video --save-advice",
        )
    labels = {label: dict(values) for label, values in pack.thresholds.labels.items()}
    for label, values in site.labels.items():
        labels[label] = {**labels.get(label, {}), **values}
    known: dict[str, Any] = dict(site.thresholds)
    thresholds = replace(pack.thresholds, labels=labels, **known)
    bounds = {"open": thresholds.open, "close": thresholds.close}
    for values in ({}, *labels.values()):
        if {**bounds, **values}["close"] > {**bounds, **values}["open"]:
            return replace(
                pack,
                site_note=f"site overrides sites/{pack.name}.toml close over where they open and are not "
                "applied; measure again with --save-advice, or delete the file",
            )
    return replace(pack, thresholds=thresholds, site=site)


def find_pack(name: str) -> Pack:
    """The pack with this name, or in this folder, with the site's overrides in force (see `with_site`).

    Raises `PackError` naming the nearest known name when there is none.
    """
    folders = pack_folders()
    if name in folders:
        return with_site(read_pack(folders[name]))
    if Path(name).is_dir():
        return with_site(read_pack(Path(name)))
    near = difflib.get_close_matches(name, folders, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known packs: {', '.join(folders) or 'none'}"
    raise PackError(f"unknown pack {name!r}; {hint}")
