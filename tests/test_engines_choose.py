"""Which engine runs: what `auto` means, what is refused, and what the choice costs at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_packs import tiny_pack

from endostream.analysis.networks import Lane
from endostream.engines import Choice, choose, open_networks, openvino_engine, threads, torch_engine
from endostream.errors import InputError, PackError
from endostream.packs import find_pack


class Machine:
    """What the machine is said to have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.has()

    def has(self, cuda: bool = False, openvino: bool = True, bf16: bool = True) -> None:
        self._patch.setattr(torch_engine, "has_cuda", lambda: cuda)
        self._patch.setattr(openvino_engine, "available", lambda: openvino)
        self._patch.setattr(openvino_engine, "has_bf16", lambda: bf16)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    ("has", "wish", "expected"),
    [
        ({}, {}, ("openvino", "cpu", "bf16")),
        ({"bf16": False}, {}, ("openvino", "cpu", "fp32")),
        ({"openvino": False}, {}, ("torch", "cpu", "fp32")),
        ({"cuda": True}, {}, ("torch", "cuda", "fp16")),
        ({"cuda": True}, {"device": "cpu"}, ("openvino", "cpu", "bf16")),
        ({"cuda": True}, {"engine": "openvino"}, ("openvino", "cpu", "bf16")),
        ({"cuda": True}, {"device": "cuda", "precision": "bf16"}, ("torch", "cuda", "bf16")),
        ({}, {"engine": "torch"}, ("torch", "cpu", "fp32")),
        ({}, {"engine": "torch", "precision": "bf16"}, ("torch", "cpu", "bf16")),
        ({"cuda": True}, {"precision": "int8"}, ("openvino", "cpu", "int8")),
        ({}, {"protocol": "published"}, ("openvino", "cpu", "fp32")),
        ({"cuda": True}, {"protocol": "published"}, ("torch", "cuda", "fp32")),
        ({}, {"protocol": "published", "precision": "bf16"}, ("openvino", "cpu", "bf16")),
    ],
)
def test_auto_takes_the_best_there_is(
    has: dict[str, bool], wish: dict[str, str], expected: tuple[str, str, str], machine: Machine
) -> None:
    machine.has(**has)
    assert choose(**wish) == Choice(*expected)


@pytest.mark.parametrize(
    ("has", "wish", "said"),
    [
        ({}, {"device": "cuda"}, "no CUDA device was found; use --device cpu"),
        ({"cuda": True}, {"engine": "openvino", "device": "cuda"}, "OpenVINO runs on the CPU only"),
        ({"openvino": False}, {"engine": "openvino"}, "OpenVINO is not installed; use --engine torch"),
        ({"bf16": False}, {"precision": "bf16"}, "no bfloat16 arithmetic; use --precision fp32"),
        ({}, {"precision": "fp16"}, "openvino does not offer fp16 on the CPU; use --precision bf16 or fp32"),
        ({}, {"engine": "torch", "precision": "fp16"}, "torch does not offer fp16 on the CPU"),
        ({"openvino": False}, {"precision": "int8"}, "torch does not offer int8 on the CPU"),
        ({}, {"engine": "tensorrt"}, "unknown engine 'tensorrt'; one of auto, torch, openvino"),
        ({}, {"device": "tpu"}, "unknown device 'tpu'"),
        ({}, {"precision": "fp8"}, "unknown precision 'fp8'"),
        ({}, {"protocol": "other"}, "unknown protocol 'other'"),
    ],
)
def test_what_cannot_be_is_one_line(
    has: dict[str, bool], wish: dict[str, str], said: str, machine: Machine
) -> None:
    machine.has(**has)
    with pytest.raises(InputError, match=said) as caught:
        choose(**wish)
    assert "\n" not in str(caught.value)


def test_packs_are_verified_before_anything_is_loaded(tmp_path: Path, machine: Machine) -> None:
    with pytest.raises(PackError, match="endostream packs import"):
        open_networks(find_pack("endodinov2"))
    pack = tiny_pack(tmp_path)
    pack.path(pack.models[0]).write_bytes(b"other")
    with pytest.raises(PackError, match="does not match its checksum"):
        open_networks(pack)
    open_networks(pack, verified=True).close()
    open_networks(pack, random_weights=True).close()


def test_networks_say_what_runs(tmp_path: Path) -> None:
    networks = open_networks(tiny_pack(tmp_path), engine="torch")
    said: list[str] = []
    networks.warm_up(said.append)
    networks.warm_up(said.append)
    assert said == [
        "loading classifier three for the CPU (fp32)",
        "loading segmenter mask for the CPU (fp32)",
    ]
    assert dict(networks.info) == {
        "engine": "torch",
        "device": "cpu",
        "precision": "fp32",
        "threads": str(threads.inference_threads()),
    }
    assert isinstance(networks.classifiers[0], Lane) and isinstance(networks.segmenter, Lane)
    networks.close()
    networks.close()


def test_a_pack_without_a_segmenter_has_no_lane_for_it(tmp_path: Path) -> None:
    folder = tiny_pack(tmp_path).folder
    text = (folder / "pack.toml").read_text(encoding="utf-8")
    first, second, _ = text.split("[[model]]")
    (folder / "pack.toml").write_text(f"{first}[[model]]{second}", encoding="utf-8")
    networks = open_networks(find_pack(str(folder)), engine="torch")
    assert networks.segmenter is None and len(networks.classifiers) == 1
    networks.close()


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (4, 4), (8, 7), (64, 16)])
def test_threads_follow_the_cores(count: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: count)
    assert threads.inference_threads() == expected


def test_importing_the_engines_is_light() -> None:
    code = (
        "import sys, endostream.engines, endostream.models\n"
        "heavy = {'torch', 'openvino', 'timm', 'av', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
