"""The CUDA engine on the processor: the same code without streams, graphs and pinned memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_packs import tiny_pack

from endostream.analysis.networks import Lane
from endostream.engines.cuda import device as device_module
from endostream.engines.cuda.device import Device, out_of_memory
from endostream.engines.cuda.kernels import weights
from endostream.engines.cuda.network import DeviceNetwork, fuse
from endostream.engines.cuda.networks import DeviceNetworks
from endostream.engines.cuda.resizing import Resizer
from endostream.engines.cuda.staging import Staging
from endostream.engines.fallback import DeviceFailure
from endostream.engines.preprocess import Preprocessor
from endostream.errors import PackError, RunError
from endostream.models import load
from endostream.packs import KERNELS, Kernel, Pack, Preprocessing, read_pack, sha256_of
from endostream.types import ImageArray

RANDOM = np.random.default_rng(5)
PICTURES = [RANDOM.integers(0, 256, (60 + 9 * (i % 2), 100, 3), dtype=np.uint8) for i in range(6)]
SIZES = [
    (720, 1280),
    (1080, 1920),
    (576, 720),
    (541, 967),
    (101, 333),
    (224, 300),
    (448, 448),
    (40, 30),
    (1, 1),
]
CV2 = {"cv2-linear": cv2.INTER_LINEAR, "cv2-cubic": cv2.INTER_CUBIC}
PIL = {"pil-bilinear": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return tiny_pack(tmp_path_factory.mktemp("packs") / "tiny")


@contextmanager
def opened(pack: Pack, *precisions: str, **how: Any) -> Iterator[list[DeviceNetworks]]:
    """Networks on the processor, one for each precision, closed at the end."""
    found = [DeviceNetworks(pack, precision, device="cpu", **how) for precision in precisions]
    try:
        yield found
    finally:
        for networks in found:
            networks.close()
            networks.close()


def lanes_of(networks: DeviceNetworks) -> tuple[Lane, Lane]:
    assert networks.segmenter is not None
    return networks.classifiers[0], networks.segmenter


def scene(rows: int, columns: int) -> ImageArray:
    """Soft shapes, hard edges and noise."""
    random = np.random.default_rng(0)
    soft = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(soft, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image[:, : columns // 8] = 0
    image[rows // 3 : rows // 2, columns // 3 : columns // 2] = 255
    return np.clip(image + random.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SIZES)
def test_resizing_is_that_of_the_processor(kernel: Kernel, shape: tuple[int, int]) -> None:
    image = scene(*shape)
    if kernel in CV2:
        expected = cv2.resize(image, (224, 224), interpolation=CV2[kernel])
    else:
        expected = np.array(Image.fromarray(image).resize((224, 224), PIL[kernel]))
    device = Device("cpu")
    resizer = Resizer(device, Preprocessing(224, 224, kernel), *shape, torch.float32)
    with device.on(None):
        found = resizer(torch.from_numpy(image)).permute(1, 2, 0).numpy() * 255.0
    gap = np.abs(found - expected)
    assert gap.mean() < 0.12 and gap.max() < 1.01


def test_normalising_follows_the_pack() -> None:
    how = Preprocessing(48, 32, "pil-bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    image, device = scene(90, 120), Device("cpu")
    with device.on(None):
        found = Resizer(device, how, 90, 120, torch.float32)(torch.from_numpy(image)).numpy()
    gap = np.abs(found - Preprocessor(how, exact=True)(image)[0])
    assert found.shape == (3, 32, 48)
    assert gap.mean() < 0.001 and gap.max() < 1.1 / (255 * 0.2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_target_pixel_gets_all_its_weight(kernel: str) -> None:
    for source, target in ((1920, 224), (30, 224), (1, 7), (333, 100)):
        table = weights(kernel, source, target)
        assert table.shape == (target, source)
        assert np.allclose(table.sum(axis=1), 1.0, atol=1e-5)
    assert np.array_equal(weights(kernel, 64, 64), np.eye(64))


@pytest.mark.parametrize(
    ("precision", "exact", "gap"),
    [("fp32", True, 1e-4), ("fp32", False, 0.01), ("fp16", False, 0.03), ("bf16", False, 0.3)],
)
def test_answers_are_those_of_the_modules(precision: str, exact: bool, gap: float, pack: Pack) -> None:
    modules = [(load(pack, m), Preprocessor(m.preprocessing, exact=True)) for m in pack.models]
    with opened(pack, precision, exact=exact, ahead=True) as (networks,), torch.no_grad():
        networks.warm_up()
        classifier, segmenter = lanes_of(networks)
        for key, picture in enumerate(PICTURES):
            classifier.submit(key, picture)
            segmenter.submit(key, picture)
        found = list(zip(classifier.poll(wait=True), segmenter.poll(wait=True), strict=True))
        assert [(a.key, b.key) for a, b in found] == [(n, n) for n in range(len(PICTURES))]
        for picture, (seen, mask) in zip(PICTURES, found, strict=True):
            logits, maps = modules[0][0](torch.from_numpy(modules[0][1](picture)))
            other = modules[1][0](torch.from_numpy(modules[1][1](picture)))
            assert seen.maps is not None and mask.maps is None
            for ours, theirs in ((seen.logits, logits[0]), (seen.maps, maps[0]), (mask.logits, other[0, 0])):
                assert ours.dtype == np.float32 and ours.shape == theirs.shape
                assert np.abs(ours - theirs.numpy()).max() < gap * max(1.0, float(theirs.abs().max()))
            assert set(seen.took) == {"preprocess", "infer"}
        assert networks.info == {"engine": "torch", "device": "cpu", "precision": precision, "threads": "1"}


def test_working_normalisation_into_weights_changes_nothing(pack: Pack) -> None:
    model = pack.models[1]
    picture = torch.rand(1, 3, 32, 48)
    plain, fused = load(pack, model), fuse(load(pack, model))
    with torch.no_grad():
        assert torch.allclose(plain(picture), fused(picture), atol=1e-5)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fused.modules())


class Gate:
    """Holds the first batch until it is opened, and remembers how many pictures every batch had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held, self.opened = threading.Event(), threading.Event()
        self.counts: list[tuple[str, int]] = []
        put = DeviceNetwork.put

        def gated(network: DeviceNetwork, values: Any) -> int:
            self.counts.append((network.model.role, len(values)))
            self.held.set()
            assert self.opened.wait(20)
            return put(network, values)

        monkeypatch.setattr(DeviceNetwork, "put", gated)


def test_what_waits_from_all_streams_is_one_batch(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(pack, *["fp32"] * 3) as streams, opened(pack, "fp32", seed=1) as (other,):
        for networks in (*streams, other):
            networks.warm_up()
        gate = Gate(monkeypatch)
        lanes = [networks.classifiers[0] for networks in streams]
        lanes[0].submit(0, PICTURES[0])
        assert gate.held.wait(20)
        for number, lane in enumerate(lanes):
            for key in (1, 2):
                lane.submit(key, PICTURES[number + key])
        assert not lanes[0].ready and lanes[0].pending == 3
        gate.opened.set()
        answers = [lane.poll(wait=True) for lane in lanes]
        assert [[a.key for a in found] for found in answers] == [[0, 1, 2], [1, 2], [1, 2]]
        assert sum(count for _, count in gate.counts) == 7 and len(gate.counts) <= 3
        # The same picture in different batches and streams.
        assert np.allclose(answers[0][2].logits, answers[1][0].logits, atol=1e-5)
        other.classifiers[0].submit(0, PICTURES[0])
        assert not np.allclose(other.classifiers[0].take().logits, answers[0][0].logits, atol=1e-3)


def test_a_batch_holds_what_was_prepared(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(pack, "fp32", ahead=True) as (networks,):
        networks.warm_up()
        gate = Gate(monkeypatch)
        lane = networks.classifiers[0]
        for key in range(40):
            lane.submit(key, PICTURES[key % 6])
        gate.opened.set()
        assert [a.key for a in lane.poll(wait=True)] == list(range(40))
        assert max(count for _, count in gate.counts) <= 8, "8 are ready for one stream of a file"


def test_a_picture_is_uploaded_once_for_all_networks(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[int] = []
    upload, new = Staging.upload, Staging._new
    monkeypatch.setattr(Staging, "upload", lambda s, image: uploads.append(id(image)) or upload(s, image))  # type: ignore[func-returns-value]
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(Staging, "_new", lambda s, *size: made.append(size) or new(s, *size))  # type: ignore[func-returns-value]
    with opened(pack, "fp32") as (networks,):
        classifier, segmenter = lanes_of(networks)
        for key in range(20):
            picture = PICTURES[key % 2 * 2].copy()
            classifier.submit(key, picture)
            if key % 2:
                assert classifier.take().key == key  # asked for later, as behind a gate
            segmenter.submit(key, picture)
            assert segmenter.take().key == key
            if key % 2 == 0:
                assert classifier.take().key == key
        assert len(uploads) == 20
        segmenter.submit(20, PICTURES[5])
        assert segmenter.take().key == 20, "a mask needs no classifier"
    assert len(made) <= 5, "memory of earlier pictures is used again"


def test_closing_one_stream_leaves_the_others(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(pack, "fp32", "fp32") as (one, other):
        one.warm_up()
        gate = Gate(monkeypatch)
        one.classifiers[0].submit(0, PICTURES[0])
        assert gate.held.wait(20)
        one.classifiers[0].submit(1, PICTURES[1])
        other.classifiers[0].submit(7, PICTURES[1])
        one.close()
        gate.opened.set()
        assert other.classifiers[0].take().key == 7
        with pytest.raises(RunError, match="open the pack again"):
            one.classifiers[0].submit(2, PICTURES[2])
        with pytest.raises(RunError, match="open the pack again"):
            one.classifiers[0].take()


def test_every_answer_rings(pack: Pack) -> None:
    with opened(pack, "fp32") as (networks,):
        rung = threading.Semaphore(0)
        networks.ring(rung.release)
        classifier, _ = lanes_of(networks)
        classifier.submit(3, PICTURES[0])
        assert rung.acquire(timeout=20)
        assert classifier.ready and [a.key for a in classifier.poll()] == [3]
        assert classifier.poll() == []


def louder(pack: Pack, folder: Path, factor: float) -> Pack:
    """The pack with a head whose logits are so many times larger."""
    folder.mkdir()
    for model in pack.models:
        state = load_file(pack.path(model))
        if "head.weight" in state:
            state["head.weight"] *= factor
        save_file(state, folder / model.file)
    text = (pack.folder / "pack.toml").read_text(encoding="utf-8")
    model = pack.models[0]
    text = text.replace(model.sha256, sha256_of(folder / model.file))
    (folder / "pack.toml").write_text(text, encoding="utf-8")
    return read_pack(folder)


def test_numbers_that_overflow_go_on_in_a_wider_type(pack: Pack, tmp_path: Path) -> None:
    loud = louder(pack, tmp_path / "loud", 1e6)
    with opened(loud, "fp16", "fp32", ahead=True) as (half, full):
        for networks in (half, full):
            networks.warm_up()
            for key, picture in enumerate(PICTURES):
                networks.classifiers[0].submit(key, picture)
        ours, theirs = (networks.classifiers[0].poll(wait=True) for networks in (half, full))
        assert [a.key for a in ours] == list(range(len(PICTURES)))
        for seen, other in zip(ours, theirs, strict=True):
            assert np.allclose(seen.logits, other.logits, atol=0.05 * np.abs(other.logits).max())
        said = "network three overflows in fp16: going on in bf16; use --precision bf16"
        assert half.warnings == (said,) and full.warnings == ()
        assert half.info["precision"] == "bf16 and fp16"


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[int], Exception | None]) -> list[int]:
    """Make batches of some sizes fail; gives the sizes that were tried."""
    tried: list[int] = []
    run = DeviceNetwork.run

    def running(network: DeviceNetwork, size: int) -> Any:
        tried.append(size)
        found = error(size)
        if found is not None:
            raise found
        return run(network, size)

    monkeypatch.setattr(DeviceNetwork, "run", running)
    return tried


def test_out_of_memory_means_smaller_batches_first(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
    with opened(pack, "fp32", ahead=True) as (networks,):
        networks.warm_up()
        tried = failing(monkeypatch, lambda size: full if size > 2 else None)
        gate = Gate(monkeypatch)
        lane = networks.classifiers[0]
        for key in range(9):
            lane.submit(key, PICTURES[key % 6])
        gate.opened.set()
        assert [a.key for a in lane.poll(wait=True)] == list(range(9))
        assert max(tried) > 2 and set(tried[-2:]) <= {1, 2}


def test_batches_that_do_not_fit_are_not_prepared(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, most = DeviceNetwork._prepare, [2]

    def limited(network: DeviceNetwork, size: int) -> None:
        if size > most[0]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        prepare(network, size)

    monkeypatch.setattr(DeviceNetwork, "_prepare", limited)
    network = DeviceNetwork(Device("cpu"), pack, pack.models[0], "fp32", None, lambda line: None)
    network.prepare(16)
    assert network.top == 2
    most[0] = 16
    network.prepare(16)
    assert network.top == 2, "not tried again"
    most[0] = 0
    with (
        opened(pack, "fp32") as (networks,),
        pytest.raises(DeviceFailure, match="out of memory; close other"),
    ):
        networks.warm_up()


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory.\nmore"), "the GPU is out of memory; close other"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "the GPU is out of memory; close other"),
        (
            RuntimeError("CUDA error: device lost\nCompile with"),
            r"the GPU failed \(CUDA error: device lost\); check",
        ),
    ],
)
def test_a_device_that_fails_tells_every_stream(
    error: Exception, what: str, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(pack, "fp32", "fp32") as streams:
        failing(monkeypatch, lambda size: error)
        rung = threading.Event()
        streams[1].ring(rung.set)
        streams[0].classifiers[0].submit(0, PICTURES[0])
        for networks in streams:
            for _ in range(2):
                with pytest.raises(DeviceFailure, match=what) as caught:
                    networks.classifiers[0].take()
                assert "\n" not in str(caught.value)
        assert rung.is_set() and streams[1].classifiers[0].ready
        streams[1].classifiers[0].submit(1, PICTURES[1])
        with pytest.raises(DeviceFailure):
            streams[1].classifiers[0].poll()
        monkeypatch.undo()
        with opened(pack, "fp32") as (again,):
            again.classifiers[0].submit(0, PICTURES[0])
            assert again.classifiers[0].take().key == 0, "whoever opens the pack now gets a new start"


def test_an_upload_that_fails_is_the_devices_failure(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("CUDA error: device lost")

    monkeypatch.setattr(Staging, "_new", lost)
    with opened(pack, "fp32") as (networks,):
        networks.classifiers[0].submit(0, PICTURES[0])
        with pytest.raises(DeviceFailure, match="device lost"):
            networks.classifiers[0].take()


def test_a_pack_that_does_not_fit_says_so(pack: Pack, tmp_path: Path) -> None:
    text = (pack.folder / "pack.toml").read_text(encoding="utf-8")
    (tmp_path / "pack.toml").write_text(
        text.replace('"cecum", ', "").replace('"cecum",', ""), encoding="utf-8"
    )
    for model in pack.models:
        (tmp_path / model.file).write_bytes(pack.path(model).read_bytes())
    with (
        opened(read_pack(tmp_path), "fp32") as (networks,),
        pytest.raises(PackError, match="3 scores for 2 labels"),
    ):
        networks.warm_up()


class FakeCuda(SimpleNamespace):
    """What `device` asks CUDA for, written down."""

    def __init__(self, breaks: bool) -> None:
        self.log: list[str] = []
        super().__init__(
            Stream=lambda where: SimpleNamespace(wait_stream=lambda other: self.log.append("after")),
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.log.append("replay")),
            stream=lambda stream: nullcontext(),
            synchronize=lambda where: self.log.append("settle"),
        )
        self.breaks = breaks

    @contextmanager
    def graph(self, graph: object, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        self.log.append(f"capture {capture_error_mode}")
        yield
        if self.breaks:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], tuple[FakeCuda, Device]]:
    def make(breaks: bool) -> tuple[FakeCuda, Device]:
        fake = FakeCuda(breaks)
        monkeypatch.setattr(device_module, "cuda", fake)
        monkeypatch.setattr(device_module, "_streams", [])
        monkeypatch.setattr(device_module, "_made", 0)
        device = Device("cpu")
        device.cuda = True
        return fake, device

    return make


@pytest.mark.parametrize("breaks", [False, True])
def test_a_graph_is_captured_or_done_without(
    breaks: bool, fake_cuda: Callable[[bool], tuple[FakeCuda, Device]]
) -> None:
    fake, device = fake_cuda(breaks)
    runs, said = list[int](), list[str]()

    def run() -> tuple[torch.Tensor, ...]:
        runs.append(1)
        return (torch.full((1,), float(len(runs))),)

    program = device.program(run, device.stream(), None, said.append)
    before = len(runs)
    assert fake.log[:3] == ["after", "after", "settle"] and "capture thread_local" in fake.log
    assert before > 2, "warm before it is captured"
    program()
    assert (len(runs) > before) == breaks and ("replay" in fake.log) != breaks
    assert len(said) == breaks and all("\n" not in line for line in said)


def test_no_two_have_the_same_stream(fake_cuda: Callable[[bool], tuple[FakeCuda, Device]]) -> None:
    fake, device = fake_cuda(False)
    mine = [device.stream() for _ in range(20)]
    device.close()
    again = [device.stream() for _ in range(20)]
    assert {id(s) for s in again} == {id(s) for s in mine} and len({id(s) for s in again}) == 20
    device.program(lambda: (), again[0])
    assert "capture thread_local" in fake.log
    fake.log.clear()
    for _ in range(20):
        device.stream()
    device.program(lambda: (), again[0])
    assert fake.log == [], "torch has no more streams of its own: nothing is captured"


def test_out_of_memory_is_known_by_every_name() -> None:
    assert out_of_memory(torch.cuda.OutOfMemoryError("x"))
    assert out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not out_of_memory(RuntimeError("CUDA error: unspecified launch failure"))
    assert not out_of_memory(ValueError("out of memory"))
