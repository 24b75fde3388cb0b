"""Training runs: the loss goes down, a resumed run is the same run, and the pack that comes out is whole."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_data import write_data

from endostream import models
from endostream.datasets import open_dataset
from endostream.errors import InputError
from endostream.models.light import LightClassifier, LightUNet
from endostream.packs import read_pack, verify_pack
from endostream.training.data import Picture, load_pictures
from endostream.training.export import calibrated, export_pack, write_toml
from endostream.training.loop import Run, rate_at, train
from endostream.training.losses import mask_losses, presence_loss
from endostream.training.runs import averaged_weights, start
from endostream.training.samples import Sample, Samples
from endostream.training.segmenter import SegmenterTask
from endostream.training.settings import Loss, Network, Schedule, Training
from endostream.training.validation import HeldOut, held_out, mask_figures, presence_figures, run_network

CONFIG = """
task = "{task}"
workers = 0
precision = "32-true"
[network]
width = 12
depth = 1
[split]
groups = ["g0", "g1"]
[augmentation]
geometry = 0.3
colour = 0.2
damage = 0.0
tower = 0.0
[schedule]
steps = 32
batch = 4
rate = 2e-3
warmup = 2
ema = 0.8
side = 64
log_every = 4
[mixture]
whole = 0.5
crop = 0.0
free = 0.0
erased = 0.0
empty = 0.5
other = 0.0
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of twelve ellipses."""
    return write_data(tmp_path_factory.mktemp("training") / "data")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A folder with a segmenter run and a classifier run that started from it."""
    base = tmp_path_factory.mktemp("runs")
    for task in ("segmenter", "classifier"):
        config = base / f"{task}.toml"
        config.write_text(CONFIG.format(task=task), encoding="utf-8")
        init = base / "segmenter" if task == "classifier" else None
        start(task, config, data, base / task, init=init, progress=False)
    return base


def losses(run: Path) -> list[float]:
    """The logged losses of a run."""
    with (run / "log.csv").open(newline="", encoding="utf-8") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_the_loss_goes_down(runs: Path, task: str) -> None:
    found = losses(runs / task)
    assert len(found) == 8
    assert sum(found[-2:]) < 0.8 * sum(found[:2])


class Interrupted(Samples):
    """Samples whose user presses Ctrl-C at one of them."""

    def __getitem__(self, number: int) -> Sample:
        """Give the sample, or the interruption."""
        if number == 5 * self.training.schedule.batch:
            raise KeyboardInterrupt
        return super().__getitem__(number)


def test_a_resumed_run_is_the_same_run(tmp_path: Path, data: Path) -> None:
    schedule = Schedule(steps=8, batch=3, side=48, log_every=2, ema=0.9, warmup=2)
    training = Training(workers=0, precision="32-true", network=Network(12, 1), schedule=schedule)
    found, _ = load_pictures(open_dataset(data), open_dataset(data).items, 400)
    weights = {}
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        torch.manual_seed(3)
        run = Run(SegmenterTask(training, held_out(found[:4])), training, tmp_path / name)
        if name == "broken":
            train(run, Interrupted(found, training), progress=False)
            assert run.step == 5
            torch.manual_seed(99)
            run = Run(SegmenterTask(training, held_out(found[:4])), training, tmp_path / name)
            run.restore()
            assert run.step == 5
        train(run, Samples(found, training), progress=False)
        weights[name] = averaged_weights(tmp_path / name)
    assert weights["whole"].keys() == weights["broken"].keys()
    for key, value in weights["whole"].items():
        assert torch.allclose(value.float(), weights["broken"][key].float(), atol=1e-6), key
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "broken"), abs=1e-4)


def test_an_existing_run_is_not_overwritten(runs: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        start("segmenter", runs / "segmenter.toml", data, runs / "segmenter", progress=False)
    with pytest.raises(InputError, match="without --resume"):
        start("segmenter", runs / "segmenter.toml", data, tmp_path / "no", resume=True, progress=False)


def test_the_exported_pack_is_whole(runs: Path, data: Path, tmp_path: Path) -> None:
    figures = export_pack(runs / "segmenter", runs / "classifier", data, tmp_path / "tiny")
    pack = read_pack(tmp_path / "tiny")
    verify_pack(pack)
    assert [m.role for m in pack.models] == ["classifier", "segmenter"]
    assert pack.models[0].labels == ("background", "polyps")
    assert pack.models[0].background == ("background",)
    assert pack.gate.rule == "labels"
    assert "research" in pack.licence.lower()
    assert pack.details["metrics"]["free_crops"] > 0
    assert figures["ece"] == pytest.approx(pack.details["metrics"]["ece"], abs=1e-3)
    classifier, segmenter = (models.load(pack, model) for model in pack.models)
    assert isinstance(classifier, LightClassifier)
    assert isinstance(segmenter, LightUNet)
    trained = averaged_weights(runs / "segmenter")["net.out.weight"]
    assert torch.allclose(segmenter.out.weight, trained, atol=1e-3)


def test_without_a_classifier_the_presence_head_is_one(runs: Path, data: Path, tmp_path: Path) -> None:
    export_pack(runs / "segmenter", None, data, tmp_path / "one")
    pack = read_pack(tmp_path / "one")
    verify_pack(pack)
    classifier, segmenter = (models.load(pack, model) for model in pack.models)
    assert isinstance(segmenter, LightUNet) and segmenter.bound is not None
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        margin = torch.diff(classifier(x)[0], dim=1)
        bound = segmenter.bound(segmenter.both(x)[1].mean((2, 3)))
    # Both are the calibrated score: the bound is its steep version, shifted to the logit of `mask_peak`.
    assert torch.allclose(torch.diff(bound, dim=0), 4 * torch.diff(margin, dim=0), atol=0.05)
    assert (segmenter(x) <= bound[:, :, None, None] + 1e-5).all()


def test_export_wants_one_run_of_each_task(runs: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="swap"):
        export_pack(runs / "classifier", runs / "segmenter", data, tmp_path / "tiny")
    with pytest.raises(InputError, match="not a run folder"):
        export_pack(tmp_path, runs / "classifier", data, tmp_path / "tiny")


@pytest.mark.parametrize("size", [(64, 64), (96, 72), (50, 70)])
def test_the_networks_keep_their_contract(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        assert LightUNet(12, 1).eval()(x).shape == (2, 1, *size)
        network = LightClassifier(3, 12, 1).eval()
        logits, maps = network(x)
    assert logits.shape == (2, 3)
    assert maps.shape[:2] == (2, 3)
    assert torch.allclose(maps.mean((2, 3)) + network.head.bias, logits, atol=1e-5)


def test_the_rate_warms_up_holds_and_falls() -> None:
    schedule = Schedule(steps=100, warmup=10, hold=0.5, rate=1.0)
    rates = [rate_at(step, schedule) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:51] == [1.0] * 41
    assert all(a > b for a, b in itertools.pairwise(rates[50:]))
    assert rates[100] == pytest.approx(0.0)


def test_mask_losses_on_hand_made_masks() -> None:
    target = torch.zeros(2, 1, 10, 10)
    target[0, 0, :5] = 1
    right = torch.where(target > 0, 20.0, -20.0)
    parts = mask_losses(right, target, Loss())
    assert sum(float(part) for part in parts.values()) < 1e-3
    spot = right.clone()
    spot[1, 0, 0, 0] = 20.0
    wrong = mask_losses(spot, target, Loss())
    assert float(wrong["false_alarm"]) == pytest.approx(0.25 * 20, rel=1e-3)
    assert float(wrong["dice"]) == pytest.approx(float(parts["dice"])), "Dice leaves empty pictures out"
    missed = mask_losses(torch.full_like(right, -20.0), target, Loss())
    assert float(missed["dice"]) == pytest.approx(1 - 1 / 51, rel=1e-3)


def test_slivers_are_left_out_of_the_presence_loss() -> None:
    logits = torch.tensor([[5.0, -5.0], [-5.0, 5.0]])
    assert float(presence_loss(logits, torch.tensor([0, -1]), Loss())) < 1e-3
    assert float(presence_loss(logits, torch.tensor([-1, 0]), Loss())) == pytest.approx(10, rel=1e-3)
    assert float(presence_loss(logits, torch.tensor([-1, -1]), Loss())) == 0.0


def test_mask_figures_on_hand_made_masks() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[:10] = 1
    polyp = HeldOut(Picture(np.zeros((20, 20, 3), np.uint8), mask, "a", "g", "polyp"), free=False)
    empty = HeldOut(Picture(np.zeros((20, 20, 3), np.uint8), 0 * mask, "a", "g", "empty"), free=True)
    half = np.zeros((40, 40), bool)
    half[:10] = True
    nothing = np.zeros((40, 40), bool)
    dot = nothing.copy()
    dot[0, :4] = True
    figures = mask_figures([(polyp, half), (polyp, half), (empty, nothing), (empty, dot)])
    assert figures["dice_a"] == pytest.approx(2 * 10 / 30)
    assert figures["false_mask_free_crops"] == 0.5


def test_presence_figures_on_hand_made_scores() -> None:
    image, mask = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8)
    polyp = HeldOut(Picture(image, mask, "a", "g", "polyp"), free=False)
    crop = HeldOut(Picture(image, 0 * mask, "a", "g", "empty"), free=True)
    figures = presence_figures([(polyp, 0.9), (polyp, 0.5), (crop, 0.7), (crop, 0.1)])
    assert figures["auroc_free_crops"] == pytest.approx(0.75)
    assert figures["sensitivity_0.6"] == 0.5
    assert figures["false_0.6_free_crops"] == 0.5


def test_toml_is_read_back_as_written() -> None:
    import tomllib

    table = {"name": 'ä "quoted"', "n": 3, "x": 0.5, "list": ["a", "b"], "t": {"k": True, "u": {"v": 1}}}
    table["model"] = [{"a": 1, "options": {"b": 2}}, {"a": 2, "options": {"b": 3}}]
    assert tomllib.loads(write_toml(table)) == table


def test_settings_survive_the_run_folder(runs: Path) -> None:
    from endostream.training.runs import read_run

    training, described = read_run(runs / "segmenter")
    assert dataclasses.replace(training, task="classifier") == read_run(runs / "classifier")[0]
    assert described["held_out_groups"] == ["g0", "g1"]
    assert described["init"] is None


def test_calibration_mends_a_wrong_temperature_and_prior() -> None:
    rng = np.random.default_rng(0)
    held = []
    for number in range(60):
        image = np.full((32, 32, 3), int(rng.integers(0, 256)), np.uint8)
        bright = rng.random() < float(image.mean()) / 255
        mask = np.full((32, 32), int(bright), np.uint8)
        held.append(
            HeldOut(Picture(image, mask, "a", f"g{number}", "polyp" if bright else "empty"), free=not bright)
        )
    torch.manual_seed(0)
    network = LightClassifier(2, 12, 1).eval()
    with torch.no_grad():
        network.head.bias.add_(torch.tensor([4.0, -4.0]))

    def ece() -> float:
        pairs = run_network(network, held, 32)
        return presence_figures([(item, float(out[0].softmax(0)[1])) for item, out in pairs])["ece"]

    before = ece()
    fitted = calibrated(network, held, 32)
    assert fitted["shift"] > 1
    assert ece() < 0.5 * before


def test_a_second_schedule_starts_from_the_weights_of_the_first(
    runs: Path, data: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    start(
        "segmenter",
        runs / "segmenter.toml",
        data,
        second,
        init=runs / "segmenter",
        minutes=0,
        progress=False,
    )
    key = "net.encoder.stages.3.0.first.0.weight"
    first, after = averaged_weights(runs / "segmenter")[key], averaged_weights(second)[key]
    torch.manual_seed(7)
    fresh = LightUNet(12, 1).state_dict()[key.removeprefix("net.")]
    assert (after - first).norm() < 0.3 * (after - fresh).norm()
    described = json.loads((second / "run.json").read_text(encoding="utf-8"))
    assert described["init"] == "segmenter"


def test_a_start_from_another_network_is_one_line(runs: Path, data: Path, tmp_path: Path) -> None:
    config = tmp_path / "wide.toml"
    text = (runs / "segmenter.toml").read_text(encoding="utf-8").replace("width = 12", "width = 24")
    config.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="run of another network"):
        start("segmenter", config, data, tmp_path / "out", init=runs / "segmenter", progress=False)
