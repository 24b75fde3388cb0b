"""Runs of the published networks: two epochs on 40 made-up pictures, killed and resumed, ended as a pack."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import write_video

from endostream import models
from endostream.cli import main
from endostream.datasets import Dataset, Item, open_dataset
from endostream.errors import InputError
from endostream.models.dinov2 import DinoV2, DinoV2Classifier
from endostream.packs import read_pack, verify_pack
from endostream.training.backbone import load_backbone
from endostream.training.kept import Changes, Kept, to_tensor
from endostream.training.labels import class_weights, label_figures, recalls
from endostream.training.packing import TERMS, write_pack
from endostream.training.partition import divided
from endostream.training.published import start_labels, start_unet
from endostream.training.recipes import Change, LabelRecipe, MaskRecipe, Partition
from endostream.training.runs import averaged_weights, start
from endostream.training.schedule import Order, optimizer_for, rate_at, settled
from endostream.training.settings import Schedule, read_config, read_training
from endostream.training.unet import MaskSamples, MaskTask, overlaps

CLASSES = ("cecum", "ileum", "polyps", "z-line")
TINY = "dim = 24\ndepth = 2\nheads = 2\ngrid = 4\n"
SHORT = "epochs = 2\nbatch = 8\nside = 28\nlog_every = 2\nwarmup = 0\n"
CONFIGS = {
    "probe": f"""
task = "labels"
frozen = true
workers = 0
precision = "32-true"
keep = 32
centre = true
[partition]
method = "pictures"
[change]
least = 0.3
flip = 0.5
[network]
{TINY}
[schedule]
{SHORT}
optimizer = "sgd"
rate = 0.05
curve = "steps"
milestones = [1]
ema = 0.0
clip = 0.0
monitor = "loss"
""",
    "finetune": f"""
task = "labels"
workers = 0
precision = "32-true"
keep = 32
[partition]
validation = 0.2
test = 0.2
[change]
least = 0.6
flip = 0.5
vertical = 0.5
moved = 0.5
coloured = 0.5
saturation = 0.2
hue = 0.05
blur = 0.3
jpeg = 0.3
noise = 0.3
erase = 0.3
[loss]
smoothing = 0.1
balance = 0.5
[network]
{TINY}
[schedule]
{SHORT}
rate = 0.01
layer_decay = 0.7
ema = 0.9
monitor = "balanced_accuracy"
""",
    "unet": """
task = "unet"
workers = 0
precision = "32-true"
kernel = "cv2-linear"
normalise = false
width = 4
[partition]
method = "pictures"
validation = 0.2
test = 0.0
[change]
copies = true
flip = 0.5
moved = 0.5
coloured = 0.5
[schedule]
epochs = 2
batch = 8
side = 32
log_every = 2
warmup = 0
optimizer = "adam"
rate = 0.01
decay = 0.0
curve = "steps"
ema = 0.0
monitor = "dice_by_batch"
patience = 5
""",
}


# Batches that two processes halve evenly.
TWO = 'accelerator = "cpu"\n' + CONFIGS["probe"].replace(
    'method = "pictures"', 'method = "pictures"\nvalidation = 0.2\ntest = 0.0'
)


def draw(seed: int, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colour is its class, with one pale ellipse, and the ellipse's mask (0 or 255)."""
    rng = np.random.default_rng(seed)
    colours = ((150, 70, 60), (60, 140, 70), (70, 60, 150), (140, 140, 60))
    image = cv2.GaussianBlur(rng.normal(colours[kind], 40, (48, 60, 3)).astype(np.float32), (0, 0), 2)
    mask = np.zeros((48, 60), np.uint8)
    cv2.ellipse(mask, (int(rng.integers(18, 42)), int(rng.integers(16, 32))), (12, 9), 30.0, 0, 360, 255, -1)
    image[mask > 0] += 70
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """40 pictures by class, and the same with masks."""
    base = tmp_path_factory.mktemp("published")
    for number in range(40):
        image, mask = draw(number, number % 4)
        for path, content in (
            (f"labels/{CLASSES[number % 4]}/{number:02}.png", image[..., ::-1]),
            (f"masks/images/{number:02}.png", image[..., ::-1]),
            (f"masks/masks/{number:02}.png", mask),
        ):
            (base / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(base / path), content)
    return {"probe": base / "labels", "finetune": base / "labels", "unet": base / "masks"}


def go(name: str, data: Path, out: Path, **how: Any) -> dict[str, float]:
    """One of the three trainings."""
    config = out.with_suffix(".toml")
    config.write_text(TWO if name == "two" else CONFIGS[name], encoding="utf-8")
    if name == "unet":
        return start_unet(config, data, out, progress=False, **how)
    how.setdefault("from_scratch", not how.get("resume") and "backbone" not in how)
    return start_labels(config, data, out, progress=False, **how)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Path]) -> dict[str, Path]:
    """A run of each training, never interrupted, with one thread as the other runs have."""
    base = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in CONFIGS:
            go(name, data[name], base / name)
    finally:
        torch.set_num_threads(threads)
    return {name: base / name for name in CONFIGS}


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a log without the time they took."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{k: v for k, v in row.items() if k != "minutes"} for row in csv.DictReader(stream)]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_epochs_on_forty_pictures(runs: dict[str, Path], name: str) -> None:
    record = json.loads((runs[name] / "run.json").read_text(encoding="utf-8"))
    parts = record["partition"]
    assert parts["train"] + parts["validation"] + parts["test"] == 40
    log, metrics = rows(runs[name] / "log.csv"), rows(runs[name] / "metrics.csv")
    copies = 3 if name == "unet" else 1
    steps = 2 * -(-copies * parts["train"] // 8)
    assert [int(row["step"]) for row in log] == list(range(2, steps + 1, 2))
    assert [int(row["step"]) for row in metrics] == [steps // 2, steps]
    figures = json.loads((runs[name] / "figures.json").read_text(encoding="utf-8"))
    monitor = "test_dice" if name == "unet" else "test_accuracy"
    assert 0 <= figures[monitor] <= 1
    assert (runs[name] / "best.ckpt").is_file()


SCRIPT = """
import os, signal, socket, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from endostream.training.loop import Run
from test_training_published import go

data, out = {data!r}, Path({out!r})

def forked(name, folder, work, **how):
    child = os.fork()
    if not child:
        work()
        go(name, Path(data[name]), out / folder, **how)
        os._exit(0)
    return child

def dying():
    saved, save, update = [], Run.save, Run.update

    def then(self):
        save(self)
        saved.append(self.step)

    def step(self, batch):
        if saved and self.step == saved[0] + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, batch)

    Run.save, Run.update = then, step

for name in {names!r}:
    print(name, os.waitpid(forked(name, name, dying), 0)[1], flush=True)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])

def member(rank):
    os.environ.update(LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)

members = [forked("two", "two", lambda: member(rank), devices=2) for rank in range(2)]
print("two", *(os.waitpid(child, 0)[1] for child in members), flush=True)
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Path]) -> Path:
    """The same trainings elsewhere: each killed after its first checkpoint, and one run in two processes."""
    folder = tmp_path_factory.mktemp("others")
    named = {name: str(path) for name, path in data.items()}
    named["two"] = named["probe"]
    tests = str(Path(__file__).parent)
    script = SCRIPT.format(tests=tests, data=named, out=str(folder), names=list(CONFIGS))
    # One thread each: nothing of OpenMP's crosses the forks.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    expected = [f"{name} {int(signal.SIGKILL)}" for name in CONFIGS] + ["two 0 0"]
    assert [line for line in done.stdout.split("\n") if line in expected] == expected, (
        done.stdout + done.stderr
    )
    return folder


def assert_same_log(found: Path, expected: Path) -> None:
    """Two run folders whose logs hold the same figures."""
    for file, close in (("log.csv", 2e-4), ("metrics.csv", 2e-3)):
        mine, theirs = rows(found / file), rows(expected / file)
        assert [row.keys() for row in mine] == [row.keys() for row in theirs]
        for one, other in zip(mine, theirs, strict=True):
            figures = [[float(value) for value in row.values()] for row in (one, other)]
            assert figures[0] == pytest.approx(figures[1], abs=close), file


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_killed_run_is_resumed_to_the_same_log(
    runs: dict[str, Path], others: Path, data: dict[str, Path], name: str
) -> None:
    whole, broken = runs[name], others / name
    last = torch.load(broken / "last.ckpt", weights_only=True)["step"]
    assert 0 < last < int(rows(whole / "log.csv")[-1]["step"])
    go(name, data[name], broken, resume=True)
    assert_same_log(broken, whole)
    for key, value in averaged_weights(whole).items():
        assert torch.allclose(value.float(), averaged_weights(broken)[key].float(), atol=1e-4), key


@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path: Path, others: Path, data: dict[str, Path]) -> None:
    go("two", data["probe"], tmp_path / "one")
    assert_same_log(others / "two", tmp_path / "one")
    assert json.loads((others / "two/run.json").read_text(encoding="utf-8"))["training"]["devices"] == 2


def test_the_pack_of_two_runs_is_opened_by_the_app(
    tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "mine"
    how = ["train", "pack", "--run", str(runs["finetune"]), "--run", str(runs["unet"]), "--pack", str(pack)]
    assert main([*how, "--licence", "Ours alone."]) == 0
    found = read_pack(pack)
    verify_pack(found)
    assert found.licence == "Ours alone."
    assert found.models[0].labels == CLASSES
    assert found.models[1].preprocessing.kernel == "cv2-linear"
    assert found.gate.labels == {"polyps": 0.5}
    for part in ("metrics", "data", "training"):
        assert found.details[part].keys() == {"classifier", "segmenter"}
    figures = json.loads((runs["unet"] / "figures.json").read_text(encoding="utf-8"))
    assert found.details["metrics"]["segmenter"]["test_dice"] == round(figures["test_dice"], 4)
    assert len(found.details["data"]["classifier"]["data_sha256"]) == 64
    assert found.details["training"]["segmenter"]["git"]
    network = models.load(found, found.models[0])
    assert isinstance(network, DinoV2Classifier)
    trained = averaged_weights(runs["finetune"])
    assert torch.equal(network.head.weight, trained["net.head.weight"])
    clip = write_video(tmp_path / "clip.mp4", frames=4)
    for command in (
        ["packs", "verify", str(pack)],
        ["analyze", str(clip), "--pack", str(pack), "--out", str(tmp_path / "out")],
    ):
        assert main(command) == 0, capsys.readouterr()
    assert main(how) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_pack_of_one_run(tmp_path: Path, runs: dict[str, Path], data: dict[str, Path]) -> None:
    config = tmp_path / "ours.toml"
    config.write_text(
        'task = "segmenter"\narchitecture = "unet"\nworkers = 0\nprecision = "32-true"\n'
        "[network]\nwidth = 4\n"
        '[split]\nshare = 0.3\nsources = ["*"]\n[schedule]\nsteps = 3\nbatch = 4\nside = 32\nlog_every = 1\n',
        encoding="utf-8",
    )
    start("segmenter", config, data["unet"], tmp_path / "ours", progress=False)
    assert len(rows(tmp_path / "ours/log.csv")) == 3
    for run, architecture in ((tmp_path / "ours", "unet-64"), (runs["probe"], "dinov2-vits14-linear")):
        write_pack([run], tmp_path / "pack", overwrite=True)
        found = read_pack(tmp_path / "pack")
        verify_pack(found)
        assert [model.architecture for model in found.models] == [architecture]
        assert found.gate.rule == "always"
        assert found.licence == TERMS
    with pytest.raises(InputError, match="at most one run"):
        write_pack([runs["probe"], runs["finetune"]], tmp_path / "two")
    with pytest.raises(InputError, match="not a run folder"):
        write_pack([tmp_path], tmp_path / "two")


def test_the_probe_leaves_its_backbone_alone(tmp_path: Path, data: dict[str, Path]) -> None:
    torch.manual_seed(5)
    published = DinoV2(24, 2, 2, 14, 4).state_dict()
    published.pop("mask_token")
    save_file(published, tmp_path / "hub.safetensors")
    go("probe", data["probe"], tmp_path / "run", backbone=tmp_path / "hub.safetensors")
    trained = averaged_weights(tmp_path / "run")
    for key, value in published.items():
        assert torch.equal(trained[f"net.backbone.{key}"], value), key
    record = json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))
    assert record["init"]["file"] == "hub.safetensors"
    plain = CONFIGS["probe"].replace("least = 0.3\nflip = 0.5\n", "")
    (tmp_path / "plain.toml").write_text(plain, encoding="utf-8")
    how = {"backbone": tmp_path / "hub.safetensors", "progress": False}
    start_labels(tmp_path / "plain.toml", data["probe"], tmp_path / "cached", **how)
    assert len(rows(tmp_path / "cached/metrics.csv")) == 2


@pytest.mark.parametrize("layout", ["bare", "published", "teacher", "chunked"])
def test_backbones_are_found_in_checkpoints(tmp_path: Path, layout: str) -> None:
    torch.manual_seed(6)
    state = DinoV2(24, 2, 2, 14, 4).state_dict()
    content: dict[str, Any] = {
        "bare": state,
        "published": {"epoch": 3, "backbone_state_dict": state, "head_state_dict": {"weight": torch.ones(2)}},
        "teacher": {"teacher": {f"module.backbone.{key}": value for key, value in state.items()}},
        "chunked": {key.replace("blocks.", "blocks.0."): value for key, value in state.items()},
    }[layout]
    torch.save(content, tmp_path / "file.pth")
    network = DinoV2(24, 2, 2, 14, 4)
    load_backbone(network, tmp_path / "file.pth")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_bad_backbone_is_one_line(tmp_path: Path) -> None:
    network, path = DinoV2(24, 2, 2, 14, 4), tmp_path / "file.pth"
    for content, expected in (
        ({"a": torch.ones(2)}, "no DINOv2 backbone"),
        (DinoV2(36, 2, 2, 14, 4).state_dict(), "does not fit"),
        (network.state_dict() | {"register_tokens": torch.ones(1)}, "register tokens"),
        ([1], "no state dict"),
        (None, "damaged"),
    ):
        torch.save(content, path)
        if content is None:
            path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match=expected) as caught:
            load_backbone(network, path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no file"):
        load_backbone(network, tmp_path / "none.pth")


def test_what_cannot_be_trained_is_one_line(
    tmp_path: Path, data: dict[str, Path], runs: dict[str, Path]
) -> None:
    one = tmp_path / "one"
    (one / "polyps").mkdir(parents=True)
    cv2.imwrite(str(one / "polyps/a.png"), draw(0, 0)[0])
    for name, folder, out, how, expected in (
        ("probe", data["probe"], tmp_path / "a", {"from_scratch": False}, "--backbone FILE"),
        ("probe", one, tmp_path / "b", {}, r"1 class\(es\)"),
        ("unet", data["probe"], tmp_path / "c", {}, "no masks"),
        ("probe", data["probe"], runs["probe"], {}, "already holds a run"),
        ("unet", data["unet"], tmp_path / "d", {"resume": True}, "without --resume"),
    ):
        with pytest.raises(InputError, match=expected) as caught:
            go(name, folder, out, **how)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="endostream train unet"):
        read_config(LabelRecipe, Path("endodinov2-unet"), "labels")


def test_the_published_recipes_are_as_published() -> None:
    probe = read_config(LabelRecipe, Path("endodinov2-probe"), "labels")
    assert probe.frozen
    assert (probe.partition.method, probe.partition.seed) == ("pictures", 42)
    size = 10662
    items = tuple(Item(str(n), "", "x", "s", str(n // 1), "colon") for n in range(size))
    shares = [len(part) for part in _parts(items, probe.partition)]
    assert shares == [8530, 1066, 1066]
    schedule = settled(probe.schedule, shares[0])
    assert schedule.steps == 20 * 267
    assert rate_at(267 * 10 - 1, schedule) == pytest.approx(5e-4)
    assert rate_at(267 * 10, schedule) == pytest.approx(5e-5)
    optimizer = optimizer_for(torch.nn.Linear(2, 2), schedule)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["nesterov"] and optimizer.defaults["momentum"] == 0.9
    unet = read_config(MaskRecipe, Path("endodinov2-unet"), "unet")
    assert (unet.schedule.batch, unet.schedule.epochs, unet.schedule.patience) == (8, 40, 5)
    assert unet.preprocessing() == {
        "width": 320,
        "height": 320,
        "kernel": "cv2-linear",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    assert read_config(LabelRecipe, Path("endodinov2-finetune"), "labels").change.any
    assert read_training(Path("unet-ours"), "segmenter").architecture == "unet"


def _parts(items: tuple[Item, ...], how: Partition) -> tuple[list[Item], list[Item], list[Item]]:
    from endostream.training.partition import _by_picture

    return _by_picture(items, how)


def test_groups_are_not_divided_and_classes_are_in_all_parts(data: dict[str, Path]) -> None:
    dataset = open_dataset(data["probe"])
    twins = tuple(
        Item(i.image, "", i.label, i.source, f"{i.label}{n % 10 // 2}", "colon")
        for n, i in enumerate(dataset.items)
    )
    parts = divided(
        Dataset(dataset.folder, dataset.layout, twins), Partition(validation=0.2, test=0.2, seed=1)
    )
    three = (parts.train, parts.validation, parts.test)
    assert sum(len(part) for part in three) == 40
    for part in three:
        assert {item.label for item in part} == set(CLASSES)
        assert not {item.group for item in part} & {
            i.group for other in three if other is not part for i in other
        }
    assert parts.record["test_shared_with_training"] == 0
    leaky = divided(Dataset(dataset.folder, dataset.layout, twins), Partition(method="pictures", test=0.2))
    assert leaky.record["test_shared_with_training"] > 0
    named = divided(Dataset(dataset.folder, dataset.layout, twins), Partition(held=("cecum0", "ileum1")))
    assert {item.group for item in named.test} == {"cecum0", "ileum1"}


def test_every_epoch_sees_every_picture_once_whatever_the_processes() -> None:
    schedule = settled(Schedule(epochs=3, batch=4), 10)
    whole = list(Order(schedule, 1, 10))
    assert [len(batch) for batch in whole] == [4, 4, 2] * 3
    for epoch in range(3):
        seen = [number for batch in whole[3 * epoch : 3 * epoch + 3] for number in batch]
        assert sorted(seen) == list(range(10 * epoch, 10 * epoch + 10))
    first, second = (list(Order(schedule, 1, 10, rank, 2)) for rank in range(2))
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(batch) for batch in whole]
    assert list(Order(schedule, 1, 10).since(5)) == whole[5:]
    assert len(Order(schedule, 1, 10).since(5)) == 4
    last = settled(Schedule(epochs=1, batch=3), 4)
    assert [len(list(Order(last, 1, 4, rank, 2))[1]) for rank in range(2)] == [1, 1]


def test_early_blocks_learn_more_slowly() -> None:
    network = DinoV2Classifier(2, 24, 3, 2, 14, 4)
    scales: dict[float, int] = {}
    for group in optimizer_for(network, Schedule(layer_decay=0.5)).param_groups:
        scales[group["scale"]] = scales.get(group["scale"], 0) + len(group["params"])
    assert sorted(scales) == [0.0625, 0.125, 0.25, 0.5, 1.0]
    assert sum(scales.values()) == len(list(network.parameters()))
    decayed = {g["weight_decay"] for g in optimizer_for(network, Schedule(decay=0.3)).param_groups}
    assert decayed == {0.3, 0.0}


def test_class_weights_and_figures_on_hand_made_numbers() -> None:
    weights = class_weights([90, 10, 0], 1.0)
    assert weights.tolist() == pytest.approx([100 / 180, 5.0, 1.0])
    assert class_weights([90, 10], 0.0).tolist() == [1.0, 1.0]
    logits = torch.tensor([[9.0, 0, 0], [9.0, 0, 0], [9.0, 0, 0], [0, 9.0, 0]])
    truth = torch.tensor([0, 0, 1, 1])
    figures = label_figures(logits, truth)
    assert figures["accuracy"] == 0.75
    assert figures["balanced_accuracy"] == pytest.approx(0.75)
    assert figures["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert figures["ece"] == pytest.approx(0.25, abs=0.001)
    found = recalls(logits, truth, ("a", "b", "c"))
    assert found == {"a": {"recall": 1.0, "pictures": 2}, "b": {"recall": 0.5, "pictures": 2}}


def test_the_unet_s_losses_and_figures_on_hand_made_masks() -> None:
    recipe = MaskRecipe(width=4, normalise=False, schedule=Schedule(side=16, batch=2))
    mask = np.zeros((2, 16, 16), np.uint8)
    mask[0, :8] = 1
    task = MaskTask(recipe, Kept(np.zeros((2, 16, 16, 3), np.uint8), mask, ""))
    truth = torch.from_numpy(mask)[:, None].float()
    parts = task.losses((truth - 0.5) * 40, type("Batch", (), {"mask": truth}))  # type: ignore[arg-type]
    assert sum(float(part) for part in parts.values()) < 1e-4
    half = torch.full((2, 1, 16, 16), -20.0)
    half[0, 0, :4] = 20
    dice = task.losses(half, type("Batch", (), {"mask": truth}))["dice"]  # type: ignore[arg-type]
    assert float(dice) == pytest.approx(1 - 2 * 64 / (64 + 128), abs=1e-4)
    figures = task.figures(lambda _: half)
    assert figures["dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["dice_by_batch"] == pytest.approx(2 / 3)
    assert figures["iou"] == pytest.approx((0.5 + 1) / 2)
    assert overlaps(np.zeros((2, 2), bool), np.ones((2, 2), bool)) == (0.0, 0.0)


def test_copies_are_mirrored_and_lit_anew() -> None:
    image, mask = draw(1, 0)
    small, flat = (
        cv2.resize(image, (32, 32)),
        cv2.resize(mask // 255, (32, 32), interpolation=cv2.INTER_NEAREST),
    )
    kept = Kept(small[None], flat[None], "")
    recipe = MaskRecipe(seed=3, normalise=False, change=Change(copies=True), schedule=Schedule(side=32))
    samples = MaskSamples(kept, recipe)
    assert len(samples) == 3
    plain, mirrored, lit = (samples[number] for number in range(3))
    assert torch.equal(mirrored.image.flip(2), plain.image)
    assert torch.equal(mirrored.mask.flip(2), plain.mask)
    assert torch.equal(lit.mask, plain.mask)
    assert not torch.allclose(lit.image.mean(), plain.image.mean(), atol=0.01)
    assert torch.equal(samples[4].image, mirrored.image), "the copies are the same in every epoch"


def test_changes_keep_mask_and_picture_together() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:20, 4:16] = 255
    change = Change(least=0.6, flip=0.5, vertical=0.5, moved=1.0, degrees=40.0)
    changes = Changes(change, 28, normalise=False)
    torch.manual_seed(0)
    for _ in range(10):
        picture, mask = changes(image, (image[..., 0] > 0).astype(np.uint8))
        assert mask.shape == (1, 28, 28)
        assert float(((picture.mean(0) > 0.5) == (mask[0] > 0.5)).float().mean()) > 0.93
    assert torch.equal(
        to_tensor(image, False, 16, centre=True)[0], torch.from_numpy(image[8:24, 8:24, 0] / 255.0)
    )
