"""Data sets: every published layout from made-up folders, bad folders, splits, near-duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from endostream.datasets import Item, grouped, open_dataset, shared, split
from endostream.datasets.classes import HYPERKVASIR, SEQUENCES, class_name, sequence_of
from endostream.errors import InputError

COLUMNS = "image,mask,task,label,source,group\n"


def picture(seed: int, size: tuple[int, int] = (72, 96)) -> np.ndarray:
    """A smooth coloured picture that is another one for every seed."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(0, 60, (*size, 3)), (0, 0), 9) * 8
    return (np.array([150, 80, 60]) + rng.normal(0, 25, 3) + field).clip(0, 255).astype(np.uint8)


def put(path: Path, seed: int = 0, size: tuple[int, int] = (72, 96)) -> None:
    """A picture in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture(seed, size)[..., ::-1])


def put_mask(path: Path, size: tuple[int, int] = (72, 96)) -> None:
    """A mask of one quarter of the picture in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2, : size[1] // 2] = 255
    cv2.imwrite(str(path), mask)


def pairs(
    folder: Path, names: tuple[str, ...] = ("a", "b"), images: str = "images", masks: str = "masks"
) -> Path:
    """A folder of pictures and one of masks."""
    for number, name in enumerate(names):
        put(folder / images / f"{name}.jpg", number)
        put_mask(folder / masks / f"{name}.png")
    return folder


def labelled(folder: Path) -> Path:
    """HyperKvasir's labelled images with the spellings that are about."""
    for number, name in enumerate(("cecum", "Polyps", "ulcerative_colitis_0-1", "short-segment-barretts")):
        for part in "ba":
            put(folder / name / f"{part}{number}.jpg", number)
    return folder


def nested(folder: Path) -> Path:
    """The same in the layout of the published archive, with the table that lies beside it."""
    for name in ("lower-gi-tract/anatomical-landmarks/cecum", "lower-gi-tract/pathological-findings/polyps"):
        put(folder / "labeled-images" / name / "x.jpg")
    put(folder / "labeled-images/upper-gi-tract/anatomical-landmarks/z-line/y.jpg")
    (folder / "labeled-images/image-labels.csv").write_text("Video file\n", encoding="utf-8")
    return folder


def clinicdb(folder: Path, ending: str = "tif") -> Path:
    """Frames of CVC-ClinicDB."""
    for number in (2, 25, 26, 612):
        put(folder / "Original" / f"{number}.{ending}", number)
        put_mask(folder / "Ground Truth" / f"{number}.{ending}")
    return folder


def polypgen(folder: Path) -> Path:
    """PolypGen: two centres, a sequence with polyps and one without."""
    for centre in ("C1", "C5"):
        put(folder / f"data_{centre}/images_{centre}/1.jpg")
        put_mask(folder / f"data_{centre}/masks_{centre}/1_mask.jpg")
    put(folder / "sequenceData/positive/seq1/images_seq1/f1.jpg")
    put_mask(folder / "sequenceData/positive/seq1/masks_seq1/f1_mask.jpg")
    put(folder / "sequenceData/negativeOnly/seq1_neg/f2.jpg")
    return folder


def manifest(folder: Path) -> Path:
    """A manifest with a row of another task."""
    put(folder / "p/a.png")
    put_mask(folder / "p/a_mask.png")
    rows = "p/a.png,p/a_mask.png,polyp_seg,polyp,kvasir_seg,k1\np/a.png,,other_organ,larynx,voc,v1\n"
    (folder / "manifest.csv").write_text(
        f"{COLUMNS}{rows}p/a.png,,capsule_cls,bleeding,wce,w1\n", encoding="utf-8"
    )
    return folder


def seen(items: tuple[Item, ...]) -> list[tuple[str, str, str, bool, str]]:
    """What is expected of items: label, source, group, whether they have a mask, organ."""
    return [(item.label, item.source, item.group, bool(item.mask), item.organ) for item in items]


@pytest.mark.parametrize(
    ("make", "layout", "expected"),
    [
        (
            lambda folder: pairs(folder / "Kvasir-SEG"),
            "images-masks",
            [("polyp", "kvasir_seg", f"Kvasir-SEG/images/{name}.jpg", True, "colon") for name in "ab"],
        ),
        (
            clinicdb,
            "cvc-clinicdb",
            [("polyp", "cvc_clinicdb", f"cvc_clinicdb:seq{n}", True, "colon") for n in (1, 1, 2, 29)],
        ),
        (
            lambda folder: clinicdb(folder / "PNG", "png"),
            "cvc-clinicdb",
            [("polyp", "cvc_clinicdb", f"cvc_clinicdb:seq{n}", True, "colon") for n in (1, 1, 2, 29)],
        ),
        (
            polypgen,
            "polypgen",
            [
                ("polyp", "polypgen", "polypgen:C1", True, "colon"),
                ("polyp", "polypgen", "polypgen:C5", True, "colon"),
                ("no_polyp", "polypgen", "polypgen:seq1_neg", False, "colon"),
                ("polyp", "polypgen", "polypgen:seq1", True, "colon"),
            ],
        ),
        (
            manifest,
            "manifest",
            [("polyp", "kvasir_seg", "k1", True, "colon"), ("larynx", "voc", "v1", False, "other")],
        ),
    ],
)
def test_layouts(
    tmp_path: Path, make: Callable[[Path], Path], layout: str, expected: list[tuple[object, ...]]
) -> None:
    make(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == layout
    assert seen(dataset.items) == expected
    assert open_dataset(tmp_path, layout).items == dataset.items
    for item in dataset.items:
        found = dataset.read(item)
        assert found.image.shape == (72, 96, 3)
        assert (found.mask is not None) == bool(item.mask)
        if found.mask is not None:
            assert found.mask.mean() == pytest.approx(0.25, abs=0.02)
            assert set(np.unique(found.mask)) == {0, 1}


@pytest.mark.parametrize("make", [pairs, clinicdb, polypgen])
def test_a_folder_around_the_data_is_looked_into(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    inner = open_dataset(make(tmp_path / "outer/inner"))
    dataset = open_dataset(tmp_path)
    assert dataset.layout == inner.layout
    assert [item.image for item in dataset.items] == [f"outer/inner/{item.image}" for item in inner.items]
    assert dataset.read(dataset.items[0]).image.shape == (72, 96, 3)


def test_labelled_images_are_sorted_by_class_then_name(tmp_path: Path) -> None:
    dataset = open_dataset(labelled(tmp_path))
    assert dataset.layout == "hyperkvasir-labelled"
    assert dataset.labels == ("barretts-short-segment", "cecum", "polyps", "ulcerative-colitis-grade-0-1")
    assert [item.image for item in dataset.items][:3] == [
        "short-segment-barretts/a3.jpg",
        "short-segment-barretts/b3.jpg",
        "cecum/a0.jpg",
    ]
    assert {item.source for item in dataset.items} == {"hyperkvasir"}
    assert [item.organ for item in dataset.items].count("other") == 2


def test_the_published_archive_is_read_at_any_depth(tmp_path: Path) -> None:
    nested(tmp_path)
    for folder in (tmp_path, tmp_path / "labeled-images"):
        assert open_dataset(folder).labels == ("cecum", "polyps", "z-line")


def test_other_classes_keep_their_names(tmp_path: Path) -> None:
    for name in ("Normal mucosa", "Bleeding"):
        put(tmp_path / name / "1.png")
    dataset = open_dataset(tmp_path)
    assert dataset.labels == ("Bleeding", "Normal mucosa")
    assert dataset.items[0].source != "hyperkvasir"


def test_class_names() -> None:
    assert len(HYPERKVASIR) == 23
    assert list(HYPERKVASIR) == sorted(HYPERKVASIR)
    assert [class_name(name) for name in HYPERKVASIR] == list(HYPERKVASIR)
    for spelled, name in {
        "Haemorrhoids": "hemorrhoids",
        "oesophagitis_b-d": "esophagitis-b-d",
        "ulcerative colitis grade 2-3": "ulcerative-colitis-grade-2-3",
        "ulcerative-colitis-1": "ulcerative-colitis-grade-1",
        "normal-z-line": "z-line",
        "barrett's": "barretts",
        "BBPS 0-1": "bbps-0-1",
    }.items():
        assert class_name(spelled) == name


def test_sequences_cover_every_frame_once() -> None:
    assert len(SEQUENCES) == 29
    assert [sequence_of(frame) for frame in (0, 1, 51, 612, 613)] == [None, 1, 3, 29, None]
    assert sum(last - first + 1 for first, last in SEQUENCES) == 612
    assert all(sequence_of(frame) for frame in range(1, 613))


def no_mask(folder: Path) -> None:
    (pairs(folder) / "masks/b.png").unlink()


def other_size(folder: Path) -> None:
    put_mask(pairs(folder) / "masks/b.png", (40, 40))


def unreadable(folder: Path) -> None:
    (pairs(folder) / "images/b.jpg").write_bytes(b"no picture")


def empty_mask(folder: Path) -> None:
    (pairs(folder) / "masks/b.png").write_bytes(b"")


def empty_class(folder: Path) -> None:
    (labelled(folder) / "ileum").mkdir()


def no_folder(folder: Path) -> None:
    folder.rmdir()


def foreign_frame(folder: Path) -> None:
    put(clinicdb(folder) / "Original/613.tif")
    put_mask(folder / "Ground Truth/613.tif")


def no_masks_of_a_centre(folder: Path) -> None:
    put(polypgen(folder) / "data_C2/images_C2/1.jpg")


def bare_manifest(folder: Path) -> None:
    (folder / "manifest.csv").write_text("image,mask\n", encoding="utf-8")


def other_tasks(folder: Path) -> None:
    (folder / "manifest.csv").write_text(COLUMNS + "a.png,,x,y,z,g\n", encoding="utf-8")


def missing_file(folder: Path) -> None:
    (folder / "manifest.csv").write_text(COLUMNS + "p/a.png,,polyp_seg,polyp,s,g\n", encoding="utf-8")


def damaged_tar(folder: Path) -> None:
    missing_file(folder)
    (folder / "p.tar").write_bytes(b"x" * 2000)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (no_mask, "images/b.jpg has no mask"),
        (other_size, "masks/b.png is not a mask of images/b.jpg .40x40 instead of 96x72"),
        (unreadable, "cannot decode images/b.jpg"),
        (empty_mask, "cannot decode the mask masks/b.png"),
        (empty_class, "class folder ileum holds no picture"),
        (no_folder, "no data folder"),
        (foreign_frame, "613.tif is no frame"),
        (no_masks_of_a_centre, "data_C2 has no folder masks_C2"),
        (bare_manifest, "no column 'task'"),
        (other_tasks, "no row of task"),
        (missing_file, "names p/a.png"),
        (damaged_tar, "p.tar is damaged"),
        (lambda folder: None, "does not have any known layout"),
    ],
)
def test_a_bad_folder_is_one_line(tmp_path: Path, spoil: Callable[[Path], None], expected: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    spoil(folder)
    with pytest.raises(InputError, match=expected) as caught:
        dataset = open_dataset(folder)
        for item in dataset.items:
            dataset.read(item)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_layout_by_name_is_checked(tmp_path: Path) -> None:
    pairs(tmp_path)
    with pytest.raises(InputError, match="does not have the layout polypgen"):
        open_dataset(tmp_path, "polypgen")
    with pytest.raises(InputError, match="unknown layout 'kvasir'"):
        open_dataset(tmp_path, "kvasir")


def test_the_digest_is_that_of_names_and_bytes(tmp_path: Path) -> None:
    dataset = open_dataset(pairs(tmp_path))
    expected = hashlib.sha256()
    for name in "ab":
        expected.update(f"images/{name}.jpg".encode())
        expected.update((tmp_path / f"images/{name}.jpg").read_bytes())
        expected.update((tmp_path / f"masks/{name}.png").read_bytes())
    assert dataset.digest(dataset.items) == expected.hexdigest()


def items(count: int = 24) -> list[Item]:
    """Two pictures per group, two sources."""
    return [Item(f"{n}.png", "", "polyp", "ab"[n % 4 > 1], f"g{n // 2}", "colon") for n in range(count)]


def test_split_never_shares_a_group() -> None:
    shares = {}
    for seed in range(8):
        kept, held = split(items(), ("g1",), 0.4, ("a",), seed)
        assert not {item.group for item in kept} & {item.group for item in held}
        assert len(kept) + len(held) == 24
        assert "g1" in {item.group for item in held}
        assert {item.source for item in held if item.group != "g1"} <= {"a"}
        shares[seed] = tuple(sorted({item.group for item in held}))
    assert len(set(shares.values())) > 1, "the seed picks the groups"
    assert tuple(sorted({item.group for item in split(items(), ("g1",), 0.4, ("a",), 3)[1]})) == shares[3]
    everywhere = split(items(), (), 0.5, ("*",), 1)[1]
    assert {item.source for item in everywhere} == {"a", "b"}


def test_split_names_an_unknown_group() -> None:
    with pytest.raises(InputError, match=r"'g111'.*did you mean 'g11'"):
        split(items(), ("g111",), 0.0, (), 1)


def test_near_duplicates_share_a_group(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path / "polyps" / f"{number}.jpg", number, (288, 360))
    for number, change in enumerate((1.0, 1.04)):
        moved = np.roll(picture(3, (288, 360)), 3, axis=1) * change
        cv2.imwrite(
            str(tmp_path / f"polyps/copy{number}.jpg"), moved.clip(0, 255).astype(np.uint8)[..., ::-1]
        )
    put(tmp_path / "cecum/0.png", 50, (288, 360))
    dataset = open_dataset(tmp_path)
    assert all(item.group == item.image for item in dataset.items)
    found = {item.image: item.group for item in grouped(dataset).items}
    near = {"polyps/3.jpg", "polyps/copy0.jpg", "polyps/copy1.jpg"}
    assert len({found[name] for name in near}) == 1
    assert len(set(found.values())) == len(found) - 2
    clustered = grouped(dataset).items
    assert (
        shared([i for i in clustered if "copy" in i.image], [i for i in clustered if "copy" not in i.image])
        == 1
    )


def test_known_groups_are_kept(tmp_path: Path) -> None:
    dataset = open_dataset(clinicdb(tmp_path))
    assert grouped(dataset) is dataset
    twins = replace(dataset, items=tuple(replace(item, group=item.image) for item in dataset.items))
    assert len({item.group for item in grouped(twins).items}) == 4
