"""Folders as their authors publish them, and the items in them.

Owns which folder has which layout and what its names mean. It must not decode pictures.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from endostream.datasets.classes import HYPERKVASIR, class_name, organ_of, sequence_of
from endostream.datasets.files import pictures_in
from endostream.datasets.items import Dataset, Item
from endostream.errors import InputError

__all__ = ["LAYOUTS", "open_dataset"]

TASKS = ("polyp_seg", "other_organ")
"""Tasks of a manifest that concern polyps; rows of other tasks are left out."""
COLUMNS = ("image", "mask", "task", "label", "source", "group")


def open_dataset(
    folder: Path, layout: str = "auto", manifest: str = "manifest.csv", tasks: tuple[str, ...] = TASKS
) -> Dataset:
    """Give the data set that lies in a folder; no picture is decoded yet.

    Parameters
    ----------
    folder
        Where the data lies, as published, or a folder one or two above it.
    layout
        A key of `LAYOUTS`, or `auto`.
    manifest
        Name of the manifest inside the folder.
    tasks
        Values of a manifest's `task` column that are read.

    Raises
    ------
    InputError
        One line: no such folder or layout, a missing mask, an empty class.
    """
    if not folder.is_dir():
        raise InputError(f"no data folder {folder}: name the folder that holds the pictures")
    if layout not in ("auto", *LAYOUTS):
        raise InputError(f"unknown layout {layout!r}: one of auto, {', '.join(LAYOUTS)}")
    if layout == "manifest" or (layout == "auto" and (folder / manifest).is_file()):
        return Dataset(folder, "manifest", tuple(_manifest(folder, manifest, tasks)))
    names = list(_READERS) if layout == "auto" else [layout]
    for name in names:
        find, read = _READERS[name]
        for base in _bases(folder):
            if find(base):
                items = tuple(read(folder, base))
                if not items:
                    raise InputError(f"{base} has the layout {name} but no picture: unpack the data again")
                return Dataset(folder, name, items)
    what = "any known layout" if layout == "auto" else f"the layout {layout}"
    raise InputError(f"{folder} does not have {what} ({_EXPECTED}): name the folder that holds these")


_EXPECTED = (
    "manifest.csv; images/ and masks/; Original/ and Ground Truth/; data_C1/ or sequenceData/; "
    "a folder of pictures per class"
)


def _bases(folder: Path) -> list[Path]:
    """Give a folder, those in it and those in them: archives are often unpacked into their own folder."""
    inner = _below(folder)
    return [folder, *inner, *(deeper for path in inner for deeper in _below(path))]


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _child(folder: Path, name: str) -> Path | None:
    """Give a sub-folder whatever the case, the spaces and the underscores of its name."""
    wanted = re.sub(r"[\s_-]", "", name.lower())
    found = (path for path in _below(folder) if re.sub(r"[\s_-]", "", path.name.lower()) == wanted)
    return next(found, None)


def _manifest(folder: Path, name: str, tasks: tuple[str, ...]) -> Iterable[Item]:
    path = folder / name
    if not path.is_file():
        raise InputError(f"no manifest {path}: name the folder that holds it with --data")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path.name} has no column {missing[0]!r}: the header names its columns")
        rows = [row for row in reader if row["task"] in tasks]
    if not rows:
        raise InputError(f"{path.name} has no row of task {' or '.join(tasks)}: check its column `task`")
    for row in rows:
        organ = "colon" if row["task"] == "polyp_seg" else "other"
        group = row["group"] or row["image"]
        yield Item(row["image"], row["mask"], row["label"], row["source"], group, organ)


def _paired(
    root: Path,
    images: Path,
    masks: Path,
    suffix: str,
    describe: Callable[[Path], tuple[str, str]],
) -> Iterable[Item]:
    """Give the items of a folder of pictures and a folder of masks, matched by stem."""
    found = {path.stem.removesuffix(suffix): path for path in pictures_in(masks)}
    for path in pictures_in(images):
        mask = found.get(path.stem)
        if mask is None:
            where = _name(root, masks)
            raise InputError(f"{_name(root, path)} has no mask in {where}: unpack the data again")
        source, group = describe(path)
        yield Item(_name(root, path), _name(root, mask), "polyp", source, group, "colon")


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _is_pair(folder: Path) -> bool:
    return _child(folder, "images") is not None and _child(folder, "masks") is not None


def _read_pair(root: Path, folder: Path) -> Iterable[Item]:
    images, masks = _child(folder, "images"), _child(folder, "masks")
    assert images is not None and masks is not None
    source = re.sub(r"\W+", "_", folder.resolve().name.lower()).strip("_")
    return _paired(root, images, masks, "_mask", lambda path: (source, _name(root, path)))


def _is_clinicdb(folder: Path) -> bool:
    return _child(folder, "Original") is not None and _child(folder, "Ground Truth") is not None


def _read_clinicdb(root: Path, folder: Path) -> Iterable[Item]:
    images, masks = _child(folder, "Original"), _child(folder, "Ground Truth")
    assert images is not None and masks is not None

    def describe(path: Path) -> tuple[str, str]:
        sequence = sequence_of(int(path.stem)) if path.stem.isdecimal() else None
        if sequence is None:
            raise InputError(f"{_name(root, path)} is no frame of CVC-ClinicDB: they are called 1 to 612")
        return "cvc_clinicdb", f"cvc_clinicdb:seq{sequence}"

    items = _paired(root, images, masks, "_mask", describe)
    return sorted(items, key=lambda item: int(Path(item.image).stem))


def _is_polypgen(folder: Path) -> bool:
    return any(re.fullmatch(r"data_C\d+|sequenceData", path.name) for path in _below(folder))


def _read_polypgen(root: Path, folder: Path) -> Iterable[Item]:
    for part in _below(folder):
        if re.fullmatch(r"data_C\d+", part.name):
            centre = part.name.removeprefix("data_")
            yield from _polypgen_part(root, part, centre, f"polypgen:{centre}")
        elif part.name == "sequenceData":
            for kind in _below(part):
                # `positive/seq1/images_seq1`, `negativeOnly/seq1_neg/*.jpg`, or without the middle folder.
                for sequence in [kind] if kind.name.startswith("seq") else _below(kind):
                    yield from _polypgen_part(root, sequence, sequence.name, f"polypgen:{sequence.name}")


def _polypgen_part(root: Path, part: Path, name: str, group: str) -> Iterable[Item]:
    images, masks = _child(part, f"images_{name}"), _child(part, f"masks_{name}")
    if images is not None and masks is not None:
        yield from _paired(root, images, masks, "_mask", lambda _: ("polypgen", group))
    elif images is not None and "neg" not in name:
        raise InputError(f"{_name(root, part)} has no folder masks_{name}: unpack the data again")
    else:
        # Sequences without a polyp come without masks.
        for path in pictures_in(images or part):
            yield Item(_name(root, path), "", "no_polyp", "polypgen", group, "colon")


def _is_classes(folder: Path) -> bool:
    return any(_holds_pictures(path) for path in _below(folder))


def _holds_pictures(folder: Path) -> bool:
    return bool(pictures_in(folder)) or any(_holds_pictures(path) for path in _below(folder))


def _read_classes(root: Path, folder: Path) -> Iterable[Item]:
    found: list[tuple[str, Path]] = []
    for path in _class_folders(folder):
        pictures = pictures_in(path)
        if not pictures:
            raise InputError(f"the class folder {_name(root, path)} holds no picture: fill it or remove it")
        found += [(class_name(path.name), picture) for picture in pictures]
    known = any(label in HYPERKVASIR for label, _ in found)
    source = "hyperkvasir" if known else re.sub(r"\W+", "_", folder.resolve().name.lower()).strip("_")
    for label, picture in sorted(found, key=lambda pair: (pair[0], pair[1].name)):
        name = _name(root, picture)
        yield Item(name, "", label, source, name, organ_of(label))


def _class_folders(folder: Path) -> Iterable[Path]:
    """Give the innermost folders: `cecum`, wherever `lower-gi-tract/anatomical-landmarks` lies above it."""
    for path in _below(folder):
        inner = _below(path)
        if not inner or pictures_in(path):
            yield path
        else:
            yield from _class_folders(path)


_READERS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, Path], Iterable[Item]]]] = {
    "cvc-clinicdb": (_is_clinicdb, _read_clinicdb),
    "polypgen": (_is_polypgen, _read_polypgen),
    "images-masks": (_is_pair, _read_pair),
    "hyperkvasir-labelled": (_is_classes, _read_classes),
}
"""By layout, in the order they are tried: does a folder have it, and its items."""

LAYOUTS = ("manifest", *_READERS)
"""Names of the layouts."""
