"""The floor: operations counted rightly, times held against a measured peak."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small import write_pack
from tiny_packs import tiny_pack

from endostream.bench.floor import _operations, as_json, as_text, measure_floor
from endostream.cli import main
from endostream.engines.kernels import library, unet
from endostream.engines.kernels.library import Features, features
from endostream.errors import InputError
from endostream.models.unet import UNet


def test_operations_are_counted_twice_per_multiplication() -> None:
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert _operations(convolution, (1, 3, 10, 20)) == 2 * 3 * 8 * 9 * 10 * 20


def test_the_floor_of_a_pack(tmp_path: Path) -> None:
    said: list[str] = []
    floor = measure_floor(str(write_pack(tmp_path / "tiny")), "fp32", said.append)
    assert [n.name for n in floor.networks] == ["frame", "polyp-mask"]
    assert floor.peak_gflops > 0 and floor.copy_gb_s > 0 and floor.threads >= 1
    for network in floor.networks:
        assert network.runs_on == "OpenVINO" and network.needed_gflop == network.gflop
        # 1e9 operations over 1e9 operations a second is a second; the table rounds to 0.01 ms.
        assert network.floor_ms == pytest.approx(1e3 * network.gflop / floor.peak_gflops, abs=0.1)
        assert network.share == pytest.approx(network.floor_ms / network.measured_ms, abs=0.1)
        assert network.weights_mb > 0
    assert as_json(floor)["networks"][1]["architecture"] == "light-unet"
    lines = as_text(floor)
    assert "fp32" in lines[0] and len(lines) == 4 and max(map(len, lines)) <= 80
    assert any("counting frame" in line for line in said)


def test_our_kernels_need_a_quarter_of_the_multiplications_of_3x3_convolutions() -> None:
    network = UNet(16)
    direct = 16 * 27 * 64 * 64  # the first convolution, from 3 channels
    direct += 256 * 128 * 4 * 4**2 + 128 * 64 * 4 * 8**2 + 64 * 32 * 4 * 16**2 + 32 * 16 * 4 * 32**2
    direct += 16 * 64 * 64  # the last, to 1 channel
    whole = _operations(network, (1, 3, 64, 64)) // 2
    products, kept = unet.cost(network.folded(), 64, 64)
    assert products == direct + (whole - direct) // 4
    # The kernels keep 36 numbers for the 9 of a filter in tiles; what else there is are biases.
    weights = [p for p in network.parameters() if p.ndim == 4]
    tiled = sum(p.numel() for p in weights if p.shape[-1] == 3 and p.shape[1] > 3)
    biases = kept - sum(p.numel() for p in weights) - 3 * tiled
    assert biases == sum(value.size for value in network.folded().values() if value.ndim == 1)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        ("bottleneck.1", (32, 16, 3, 3), 36 * 32 * 16),
        ("dec3.0", (32, 16, 3, 3), 36 * 32 * 16 * 2 * 3),
        ("enc1.1", (32, 16, 3, 3), 36 * 32 * 16 * 8 * 12),
        ("enc1.0", (32, 3, 3, 3), 9 * 32 * 3 * 32 * 48),
        ("up4", (32, 16, 2, 2), 4 * 32 * 16 * 2 * 3),
        ("final", (1, 32, 1, 1), 32 * 32 * 48),
    ],
)
def test_a_tile_over_the_border_costs_as_much_as_any(
    layer: str, shape: tuple[int, ...], expected: int
) -> None:
    """A picture of 32x48: the bottleneck's 2x3 pixels are one tile."""
    weights = {f"{layer}.weight": np.zeros(shape, np.float32), f"{layer}.bias": np.zeros(32, np.float32)}
    assert unet.cost(weights, 32, 48)[0] == expected


@pytest.mark.skipif(not features() & Features.AVX2, reason="no kernels for this processor, or not built")
def test_a_network_on_our_kernels_is_measured_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    tiny_pack(tmp_path / "tiny", width=16)
    said: list[str] = []
    floor = measure_floor(str(tmp_path / "tiny"), "fp32", said.append)
    assert any("own kernels" in line for line in said)
    three, mask = floor.networks
    assert mask.runs_on == "own kernels"
    assert three.needed_gflop == three.gflop and 0.2 * mask.gflop < mask.needed_gflop < 0.5 * mask.gflop
    assert mask.floor_ms == pytest.approx(1e3 * mask.needed_gflop / floor.peak_gflops, rel=0.2, abs=0.01)
    lines = as_text(floor)
    assert (
        lines[2].endswith(three.runs_on) and lines[3].endswith("own kernels") and max(map(len, lines)) <= 80
    )
    monkeypatch.setenv(library.SWITCH, "off")
    command = ["bench", "--floor", "--pack", str(tmp_path / "tiny"), "--precision", "fp32", "--json"]
    assert main(command) == 0
    off = json.loads(capsys.readouterr().out)["networks"][1]
    assert off["runs_on"] == "OpenVINO" and off["needed_gflop"] == off["gflop"] == mask.gflop
    assert off["weights_mb"] < mask.weights_mb


def test_int8_has_no_floating_point_operations_to_count() -> None:
    with pytest.raises(InputError, match="bf16"):
        measure_floor("polyp", "int8")


def test_the_command_prints_the_floor_or_says_that_there_is_no_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_pack(tmp_path / "tiny"))
    assert main(["bench", "--floor", "--pack", folder, "--json"]) == 0
    assert [n["name"] for n in json.loads(capsys.readouterr().out)["networks"]] == ["frame", "polyp-mask"]
    monkeypatch.setattr("endostream.engines.torch_engine.DRIVER", "no-such-driver")
    assert main(["bench", "--gpu"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) <= 3 and "CUDA" in said.err
