"""Training data: the manifest, the split, the boxes, and samples that depend on their number alone."""

from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from endostream.datasets import free_box, open_dataset, polyp_box
from endostream.errors import InputError
from endostream.training.data import Picture, load_pictures
from endostream.training.erase import without_polyp
from endostream.training.paste import with_polyp
from endostream.training.samples import Samples, presence_label
from endostream.training.settings import Augmentation, Mixture, Schedule, Training, read_training

COLUMNS = "image,mask,task,label,source,group\n"
PINNED = {
    0: [-0.187, -0.242, -0.906, -0.843, 0.024, 1.0],
    3: [0.393, 0.386, -0.441, -0.788, 0.021, 1.0],
    7: [0.157, 0.156, -0.634, -0.694, 0.0, 0.0],
    11: [0.384, 0.384, -0.87, -0.817, 0.0, 0.0],
    14: [0.869, 0.861, -0.718, -0.593, 0.0, 0.0],
    20: [0.548, 0.54, -0.695, -0.693, 0.03, 1.0],
    29: [0.235, 0.233, -0.649, -0.708, 0.018, 1.0],
    38: [-0.296, -0.298, -1.079, -0.956, 0.0, 0.0],
    47: [0.049, 0.108, -1.072, -0.875, 0.019, 1.0],
    48: [-0.233, -0.233, -1.031, -0.915, 0.0, 0.0],
    53: [0.642, 0.64, -0.548, -0.494, 0.047, 1.0],
    60: [0.34, 0.351, -0.752, -0.761, 0.032, 1.0],
}
"""Fingerprints of samples by the code that trained the shipped weights."""


def ellipse(rng: np.random.Generator, height: int = 72, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A reddish picture with one pale ellipse, and the ellipse's mask (0 or 1)."""
    image = rng.normal((150, 70, 60), 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    centre = (int(rng.integers(30, width - 30)), int(rng.integers(25, height - 25)))
    axes = (int(rng.integers(9, 16)), int(rng.integers(9, 16)))
    cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    image[mask > 0] = rng.normal((225, 190, 150), 8, (int(mask.sum()), 3)).clip(0, 255)
    return image, mask


def write_data(folder: Path, count: int = 12) -> Path:
    """A data folder of `count` ellipses in six groups, three of the pictures without one."""
    rng = np.random.default_rng(5)
    (folder / "polyp").mkdir(parents=True)
    lines = []
    for number in range(count):
        image, mask = ellipse(rng)
        if number % 4 == 3:
            image, mask = np.where(mask[..., None] > 0, image[:1, :1], image), np.zeros_like(mask)
        cv2.imwrite(str(folder / f"polyp/{number}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / f"polyp/{number}_mask.png"), mask * 255)
        label = "polyp" if mask.any() else "no_polyp"
        lines.append(
            f"polyp/{number}.png,polyp/{number}_mask.png,polyp_seg,{label},synthetic,g{number // 2}\n"
        )
    (folder / "manifest.csv").write_text(COLUMNS + "".join(lines), encoding="utf-8")
    return folder


def pictures(count: int = 6) -> list[Picture]:
    """Ellipses in memory."""
    rng = np.random.default_rng(1)
    return [Picture(*ellipse(rng, 160, 220), "synthetic", f"g{number}", "polyp") for number in range(count)]


def test_a_tar_is_read_like_a_folder(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    dataset = open_dataset(folder)
    direct, digest = load_pictures(dataset, dataset.items, 400)
    assert digest == dataset.digest(dataset.items)
    with tarfile.open(folder / "polyp.tar", "w") as archive:
        archive.add(folder / "polyp", "polyp")
    for path in (folder / "polyp").iterdir():
        path.unlink()
    dataset = open_dataset(folder)
    packed, packed_digest = load_pictures(dataset, dataset.items, 400)
    assert packed_digest == digest
    assert all(np.array_equal(a.image, b.image) for a, b in zip(direct, packed, strict=True))
    assert [p.kind for p in packed].count("empty") == 3
    assert {tuple(np.unique(p.mask)) for p in packed} == {(0,), (0, 1)}


def test_pictures_are_rgb_and_bounded(tmp_path: Path) -> None:
    dataset = open_dataset(write_data(tmp_path / "data"))
    found, _ = load_pictures(dataset, dataset.items, 48)
    assert {max(p.mask.shape) for p in found} == {48}
    red, _, blue = found[3].image.reshape(-1, 3).mean(0)
    assert red > blue + 50


def test_a_free_box_misses_every_polyp_by_the_margin() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        mask = np.zeros((int(rng.integers(60, 120)), int(rng.integers(60, 140))), np.uint8)
        centre = (int(rng.integers(mask.shape[1])), int(rng.integers(mask.shape[0])))
        cv2.circle(mask, centre, int(rng.integers(2, 25)), 1, -1)
        margin = float(rng.uniform(0, 0.1))
        box = free_box(mask, rng, (0.3, 0.6), margin, float(rng.uniform(0.7, 1.4)))
        if box is None:
            continue
        found += 1
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= mask.shape[1]
        assert 0 <= y0 < y1 <= mask.shape[0]
        gap = int(np.ceil(margin * max(x1 - x0, y1 - y0)))
        assert not mask[max(0, y0 - gap) : y1 + gap, max(0, x0 - gap) : x1 + gap].any()
    assert found > 100


def test_no_free_box_where_the_polyp_fills_the_frame() -> None:
    rng = np.random.default_rng(0)
    assert free_box(np.ones((50, 50), np.uint8), rng, (0.3, 0.6), 0.0) is None
    whole = free_box(np.zeros((50, 70), np.uint8), rng, (3.0, 3.0), 0.0)
    assert whole == (0, 0, 70, 50)


def test_a_polyp_box_holds_polyp() -> None:
    rng = np.random.default_rng(0)
    for picture in pictures(20):
        x0, y0, x1, y1 = polyp_box(picture.mask, rng, (0.3, 1.0), 1.2)
        assert picture.mask[y0:y1, x0:x1].any()


def test_erasing_replaces_the_polyp_and_leaves_the_rest() -> None:
    picture = pictures(1)[0]
    erased = without_polyp(picture, np.random.default_rng(0))
    assert erased is not None
    away = cv2.dilate(picture.mask, np.ones((23, 23), np.uint8)) == 0
    assert np.array_equal(erased[away], picture.image[away])
    assert picture.image[picture.mask > 0].mean() - erased[picture.mask > 0].mean() > 60
    full = Picture(picture.image, np.ones_like(picture.mask), "s", "g", "polyp")
    assert without_polyp(full, np.random.default_rng(0)) is None


def fingerprint(number: int, samples: Samples) -> list[float]:
    """What a sample is recognised by on any processor: a few means of its input, its mask, its label."""
    sample = samples[number]
    parts = torch.nn.functional.adaptive_avg_pool2d(sample.image, 2).flatten()
    return [round(float(value), 3) for value in (*parts[::3], sample.mask.mean())] + [float(sample.presence)]


def test_the_samples_of_the_shipped_recipe_stay_as_they_were() -> None:
    rng = np.random.default_rng(7)
    found = []
    for number in range(10):
        image, mask = ellipse(rng, 130 + 7 * number, 200 - 5 * number)
        kind = {4: "empty", 7: "other", 9: "phantom"}.get(number, "polyp")
        if kind in ("empty", "other"):
            image, mask = np.roll(image, 3), np.zeros_like(mask)
        found.append(Picture(image, mask, "ab"[number % 2], f"g{number}", kind))
    none = dict.fromkeys(("whole", "crop", "free", "erased", "empty", "other"), 0.0)
    mixture = {"whole": 0.3, "crop": 0.2, "pasted": 0.1, "free": 0.15, "erased": 0.1, "empty": 0.05}
    shares = Mixture(**(none | mixture | {"other": 0.05, "phantom": 0.05, "balance": 0.4}))
    training = Training(
        mixture=shares,
        late=Mixture(**{**none, "free": 0.5, "pasted": 0.5}),
        augmentation=Augmentation(geometry=0.8, colour=0.6, damage=0.3, tower=0.15),
        schedule=Schedule(steps=100, batch=8, side=64, early_side=32, early_steps=2, late_from=6),
    )
    samples = Samples(found, training)
    for number, expected in PINNED.items():
        assert fingerprint(number, samples) == pytest.approx(expected, abs=0.004), number


@pytest.mark.parametrize(
    ("share", "area", "label"),
    [(0.0, 0.0, 0), (1.0, 0.05, 1), (0.1, 0.01, -1), (0.1, 0.3, 1), (1.0, 0.0005, -1)],
)
def test_presence_label(share: float, area: float, label: int) -> None:
    assert presence_label(share, area) == label


def test_a_sample_depends_on_its_number_alone() -> None:
    training = Training(schedule=Schedule(steps=10, batch=4, side=48, early_side=32, early_steps=2))
    samples = Samples(pictures(), training)
    first = samples[9]
    state = torch.get_rng_state()
    samples[3]
    assert torch.equal(torch.get_rng_state(), state), "the process's own generator is left alone"
    again = Samples(pictures(), training)[9]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.mask, again.mask)
    assert samples[7].image.shape == (3, 32, 32)
    assert samples[8].image.shape == (3, 48, 48)
    assert not torch.equal(samples[8].image, first.image)


def test_kinds_keep_their_promise() -> None:
    plain = Augmentation(geometry=0, colour=0, damage=0, tower=0)
    schedule = Schedule(steps=5, batch=4, side=48)
    none = {"whole": 0.0, "crop": 0.0, "free": 0.0, "erased": 0.0, "empty": 0.0, "other": 0.0}
    for kind, masked in (
        ("whole", True),
        ("crop", True),
        ("free", False),
        ("erased", False),
        ("pasted", True),
    ):
        training = Training(mixture=Mixture(**{**none, kind: 1.0}), augmentation=plain, schedule=schedule)
        samples = Samples(pictures(), training)
        for number in range(12):
            sample = samples[number]
            assert bool(sample.mask.any()) == masked
            assert set(np.unique(sample.mask)) <= {0.0, 1.0}
            assert sample.presence in ((1, -1) if masked else (0,))


def test_the_late_mixture_waits_for_its_step() -> None:
    made = [Picture(p.image, np.zeros_like(p.mask), "phantom", "phantom:1", "phantom") for p in pictures(2)]
    none = {"whole": 0.0, "crop": 0.0, "free": 0.0, "erased": 0.0, "empty": 0.0, "other": 0.0}
    training = Training(
        mixture=Mixture(**{**none, "whole": 1.0}),
        late=Mixture(**{**none, "phantom": 1.0}),
        schedule=Schedule(steps=6, batch=4, side=48, late_from=3),
    )
    samples = Samples(pictures() + made, training)
    assert all(samples[number].mask.any() for number in range(12))
    assert not any(samples[number].mask.any() for number in range(12, 24))


def test_a_pasted_polyp_lies_under_its_mask() -> None:
    rng = np.random.default_rng(3)
    found = pictures(8)
    pasted = 0
    for _ in range(60):
        base = found[rng.integers(8)]
        both = with_polyp(base, found[rng.integers(8)], rng)
        if both is None:
            continue
        pasted += 1
        image, mask = both
        added = (mask > 0) & (base.mask == 0)
        assert 0.001 < added.mean() < 0.06
        assert (mask[base.mask > 0] == 1).all(), "the frame's own polyp stays"
        change = np.abs(image.astype(int) - base.image).max(2)
        near = cv2.dilate(added.astype(np.uint8), np.ones((25, 25), np.uint8))
        assert change[near == 0].max() <= 1
        assert change[added].mean() > 10
    assert pasted > 10


def test_a_polyp_at_the_edge_is_not_pasted() -> None:
    (picture,) = pictures(1)
    mask = np.zeros_like(picture.mask)
    mask[:20, :20] = 1
    cut = Picture(picture.image, mask, "s", "g", "polyp")
    assert with_polyp(picture, cut, np.random.default_rng(0)) is None


def test_balance_draws_small_sources_as_often() -> None:
    many = pictures(9)
    few = [Picture(p.image, p.mask, "few", p.group, p.kind) for p in pictures(1)]
    for balance, expected in ((0.0, 0.1), (1.0, 0.5)):
        mixture = Mixture(whole=1.0, crop=0, free=0, erased=0, empty=0, other=0, balance=balance)
        samples = Samples(many + few, Training(mixture=mixture))
        rng = np.random.default_rng(0)
        drawn = [samples._picked("whole", samples._phases[0][1]["whole"], rng)[0].source for _ in range(400)]
        assert drawn.count("few") / 400 == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[schedule]\nstep = 3\n", "did you mean 'steps'"),
        ("sed = 3\n", "did you mean 'seed'"),
        ("[schedule]\nsteps = 'many'\n", "must be of type int"),
        ("seed = \n", "not TOML"),
        ("task = 'classifier'\n", "endostream train classifier"),
        ("[split]\ngroups = 'g1'\n", "list of texts"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=expected) as caught:
        read_training(path, "segmenter")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_shipped_configs_are_valid(task: str) -> None:
    training = read_training(Path(f"polyp-{task}"), task)
    assert training.split.groups
