"""The bench: real runs of a small pack, and the arithmetic of what it reports."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from endostream.bench import BenchResult, as_json, as_text, run_bench
from endostream.bench.figures import percentiles
from endostream.bench.looped import LoopedSource
from endostream.bench.result import STAGES
from endostream.capture import VideoWriter, open_source
from endostream.errors import EndostreamError, InputError

FRAMES, RATE = 12, 25
PACK = """
schema = 1
name = "small"
version = "1"
[gate]
rule = "always"
[[model]]
role = "classifier"
name = "presence"
architecture = "light-classifier"
options = { width = 12, depth = 1, classes = 2 }
file = "presence.safetensors"
labels = ["background", "polyps"]
background = ["background"]
preprocessing = { width = 64, height = 64, kernel = "cv2-linear" }
[[model]]
role = "segmenter"
name = "mask"
architecture = "light-unet"
options = { width = 12, depth = 1 }
file = "mask.safetensors"
labels = ["polyps"]
preprocessing = { width = 64, height = 64, kernel = "pil-bilinear" }
"""
KEYS = {
    "device", "engine", "precision", "threads", "pack", "weights", "source", "stages", "fps", "masks_per_s",
    "dropped", "frame_age_ms", "annotation_delay_ms", "mask_age_ms", "memory_mb",
}  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small pack without weights."""
    folder = tmp_path_factory.mktemp("packs") / "small"
    folder.mkdir()
    (folder / "pack.toml").write_text(PACK)
    return str(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Half a second of a moving picture."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rows, columns = np.mgrid[0:96, 0:128]
    writer = VideoWriter(path, width=128, height=96, fps=RATE)
    for i in range(FRAMES):
        red = 120 + 100 * np.sin((rows + columns + 9 * i) / 9.0)
        writer.write(np.stack([red, red / 2, red / 3], axis=-1).astype(np.uint8), i / RATE)
    writer.close()
    return str(path)


@pytest.fixture(scope="module")
def opened(pack: str, clip: str) -> BenchResult:
    """One measurement with an open gate, against plain PyTorch."""
    return run_bench(pack, clip, gate="open", seconds=0.6, compare=True, engine="torch", precision="fp32")


def test_figures_fit_together(opened: BenchResult) -> None:
    assert opened.frames > 0
    assert opened.fps == pytest.approx(opened.frames / opened.seconds, rel=1e-3)
    assert opened.masks_per_s == pytest.approx(opened.fps, rel=1e-3), (
        "an open gate makes a mask of every frame"
    )
    assert opened.dropped == 0
    assert (opened.pack, opened.weights, opened.source) == ("small", "random", "clip.mp4")
    assert (opened.width, opened.height) == (128, 96)
    assert opened.plain is not None
    assert opened.plain.ratio == pytest.approx(opened.fps / opened.plain.fps, rel=1e-2)
    assert opened.plain.masks_per_s == pytest.approx(opened.plain.fps, rel=1e-3)
    assert opened.plain.masks_ratio == pytest.approx(opened.plain.ratio, rel=1e-2)


def test_every_stage_that_ran_has_percentiles(opened: BenchResult) -> None:
    assert tuple(opened.stages) == STAGES
    for name, values in opened.stages.items():
        if name == "track":
            continue
        assert 0 <= values["p50_ms"] <= values["p95_ms"] <= values["p99_ms"], name  # type: ignore[operator]
    total = opened.stages["total"]["p50_ms"]
    assert total is not None
    assert total >= opened.stages["classify"]["p50_ms"]  # type: ignore[operator]


def test_the_json_is_the_schema(opened: BenchResult) -> None:
    table = json.loads(json.dumps(as_json(opened)))
    assert set(table) >= KEYS | {"plain", "gate", "pace", "seconds"}
    assert set(table["stages"]["decode"]) == {"p50_ms", "p95_ms", "p99_ms"}
    assert set(table["frame_age_ms"]) == {"p50", "p95", "p99"}
    assert {"fps", "masks_per_s", "ratio"} <= set(table["plain"])


def test_the_text_names_the_ratio(opened: BenchResult) -> None:
    assert opened.plain is not None
    assert f"{opened.plain.ratio:.1f}x" in as_text(opened)[-1]


def test_networks_on_our_own_kernels_are_named(opened: BenchResult) -> None:
    assert opened.kernels == as_json(opened)["kernels"] == "" and "kernels" not in as_text(opened)[1]
    served = dataclasses.replace(opened, kernels="frame, mask")
    assert "on cpu (own kernels: frame, mask), " in as_text(served)[1]
    assert as_json(served)["kernels"] == "frame, mask"


def test_a_closed_gate_makes_no_masks_and_no_comparison_is_made_unasked(pack: str, clip: str) -> None:
    result = run_bench(pack, clip, gate="closed", seconds=0.2, engine="torch", precision="fp32")
    assert result.frames > 0
    assert result.masks_per_s == 0
    assert result.stages["segment"] == {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert result.mask_age_ms == {"p50": None, "p95": None, "p99": None}
    assert "plain" not in as_json(result)


def test_the_pace_of_the_source(pack: str, clip: str) -> None:
    result = run_bench(pack, clip, pace="source", seconds=0.8, engine="torch", precision="fp32")
    assert 0 < result.fps <= RATE * 1.3, "no faster than the source"
    assert result.fps * result.seconds + result.dropped <= RATE * 1.3 * result.seconds + 2
    assert result.annotation_delay_ms["p50"] is not None
    assert result.annotation_delay_ms["p50"] >= result.frame_age_ms["p50"] * 0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"seconds": 0.0}, "--seconds 0"),
        ({"streams": 0}, "--streams 0"),
        ({"trace": "/nowhere/run.trace"}, "run.trace"),
        ({"source": "/nowhere/clip.mp4"}, "clip.mp4"),
        ({"pack": "smal"}, "smal"),
        ({"engine": "openvino", "device": "cuda"}, "OpenVINO"),
    ],
)
def test_what_makes_no_sense_is_one_line(pack: str, clip: str, wish: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        run_bench(**{"pack": pack, "source": clip, **wish})  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_that_fails_ends_the_measurement(pack: str, clip: str, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    text = (Path(pack) / "pack.toml").read_text().replace('["background", "polyps"]', '["a", "b", "c"]')
    (folder / "pack.toml").write_text(text)
    with pytest.raises(EndostreamError, match="2 scores for 3 labels"):
        run_bench(str(folder), clip, seconds=0.2, engine="torch", precision="fp32")


def test_a_looped_clip_goes_on_without_a_seam(clip: str) -> None:
    with LoopedSource(lambda: open_source(clip)) as source:
        frames = [source.read() for _ in range(2 * FRAMES + 3)]
    times = [frame.time for frame in frames if frame is not None]
    assert [frame.index for frame in frames if frame is not None] == list(range(2 * FRAMES + 3))
    assert np.diff(times) == pytest.approx(1 / RATE, abs=1e-6)
    assert {frame.epoch for frame in frames if frame is not None} == {0}


def test_a_held_source_gives_nothing_until_it_is_released(clip: str) -> None:
    source = LoopedSource(lambda: open_source(clip))
    source.hold()
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(source.read()))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    assert source.delivered == 0
    source.release()
    thread.join(10)
    assert got[0] is not None
    source.hold()
    thread = threading.Thread(target=lambda: got.append(source.read()))
    thread.start()
    source.cancel()
    thread.join(10)
    assert got[1] is None
    source.close()


def test_percentiles_of_a_known_row() -> None:
    assert percentiles([0.001 * i for i in range(101)], "_ms") == {
        "p50_ms": 50.0,
        "p95_ms": 95.0,
        "p99_ms": 99.0,
    }
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}


def test_the_plain_class_map_is_the_closed_form(pack: str) -> None:
    torch = pytest.importorskip("torch")
    from endostream.bench.plain import GradCam, tensor
    from endostream.models import load
    from endostream.packs import find_pack

    found = find_pack(pack)
    model = found.classifiers[0]
    image = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)
    scores, cam = GradCam(found, model, "cpu", 5)(image)
    with torch.no_grad():
        logits, maps = load(found, model, 5)(tensor(image, model, "cpu"))
    assert list(scores.values()) == pytest.approx(torch.softmax(logits[0], 0).tolist(), abs=1e-6)
    own = np.maximum(maps[0, int(logits[0].argmax())].numpy(), 0)
    own = (own - own.min()) / (own.max() - own.min() + 1e-8)
    assert cam == pytest.approx(own, abs=1e-4)
