"""The floor: operations counted rightly, times held against a measured peak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small import write_pack

from endostream.bench.floor import _operations, as_json, as_text, measure_floor
from endostream.cli import main
from endostream.errors import InputError


def test_operations_are_counted_twice_per_multiplication() -> None:
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert _operations(convolution, (1, 3, 10, 20)) == 2 * 3 * 8 * 9 * 10 * 20


def test_the_floor_of_a_pack(tmp_path: Path) -> None:
    said: list[str] = []
    floor = measure_floor(str(write_pack(tmp_path / "tiny")), "fp32", said.append)
    assert [n.name for n in floor.networks] == ["frame", "polyp-mask"]
    assert floor.peak_gflops > 0 and floor.copy_gb_s > 0 and floor.threads >= 1
    for network in floor.networks:
        # 1e9 operations over 1e9 operations a second is a second; the table rounds to 0.01 ms.
        assert network.floor_ms == pytest.approx(1e3 * network.gflop / floor.peak_gflops, abs=0.1)
        assert network.share == pytest.approx(network.floor_ms / network.measured_ms, abs=0.1)
        assert network.weights_mb > 0
    assert as_json(floor)["networks"][1]["architecture"] == "light-unet"
    lines = as_text(floor)
    assert "fp32" in lines[0] and len(lines) == 4 and max(map(len, lines)) <= 80
    assert any("counting frame" in line for line in said)


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
