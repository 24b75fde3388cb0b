"""The GPU's demands: measured by the same code on the processor, shown, and held against the bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_packs import tiny_pack

from endostream.bench import gpu
from endostream.bench.gpu_result import GpuResult, as_json, as_markdown, as_text, checked, spread_ms
from endostream.errors import InputError


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> GpuResult:
    """A run in miniature on the processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pack = tiny_pack(tmp_path_factory.mktemp("packs") / "tiny")
    said: list[str] = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gpu, "WARM", 2)
            patch.setattr(gpu, "LOOPED", 4)
            patch.setattr(gpu, "COMPARED_SIZE", (128, 96))
            found = gpu.run_gpu_bench(
                str(pack.folder),
                seconds=0.1,
                streams=2,
                frames=9,
                size=(96, 64),
                device="cpu",
                say=said.append,
            )
    finally:
        torch.set_num_threads(before)
    assert any("comparing 9 frames" in line for line in said)
    return found


def test_everything_is_measured(result: GpuResult) -> None:
    assert result.weights == "pack" and result.precision == "fp16" and result.streams == 2
    for spread in (result.one_ms, result.many_ms):
        assert 0 < spread["p50"] <= spread["p95"] <= spread["p99"] <= spread["most"]
    assert result.one_fps > 0 and result.many_fps > 0
    assert result.compared == 9 and 0 < result.with_margin <= 9
    assert 0 <= result.flip_share < 0.05 and result.equal_share > 0.5


def test_the_result_is_shown_in_three_ways(result: GpuResult) -> None:
    table = json.loads(json.dumps(as_json(result)))
    assert table["passed"] is False and len(table["checks"]) == 4
    assert table["one_ms"]["p99"] == result.one_ms["p99"]
    text = as_text(replace(result, warnings=("network three overflows",)))
    assert sum(line.startswith(("passed", "FAILED")) for line in text) == 4
    assert any("overflows" in line for line in text)
    marked = as_markdown(result)
    assert sum(line.startswith("|") for line in marked) == 4 + 6


GOOD = {
    "one": 7.9,
    "streams": 8,
    "many": 15.9,
    "frames": 500,
    "with_margin": 400,
    "equal": 0.996,
    "flips": 0.0004,
}


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, (True, True, True, True)),
        ({"one": 8.1}, (False, True, True, True)),
        ({"many": 16.1}, (True, False, True, True)),
        ({"streams": 7}, (True, False, True, True)),
        ({"equal": 0.99}, (True, True, False, True)),
        ({"with_margin": 0, "equal": 0.0}, (True, True, False, True)),
        ({"flips": 0.0006}, (True, True, True, False)),
        ({"frames": 400}, (True, True, False, False)),
    ],
)
def test_the_demands_are_those_of_the_product(change: dict[str, float], passed: tuple[bool, ...]) -> None:
    checks = checked(**{**GOOD, **change})  # type: ignore[arg-type]
    assert tuple(check.passed for check in checks) == passed


def test_a_spread_is_in_milliseconds() -> None:
    assert spread_ms([0.001 * n for n in range(1, 102)]) == {
        "p50": 51.0,
        "p95": 96.0,
        "p99": 100.0,
        "most": 101.0,
    }


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--seconds", "1"]) == 2
    given = capsys.readouterr()
    assert given.out == "" and given.err.count("\n") == 1 and "no CUDA device was found" in given.err


@pytest.mark.parametrize(("passes", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_all_passed(
    passes: bool,
    code: int,
    result: GpuResult,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = tuple(replace(check, passed=passes) for check in result.checks)
    monkeypatch.setattr(gpu, "run_gpu_bench", lambda *args, **how: replace(result, checks=checks))
    assert gpu.main(["--json"]) == code
    assert json.loads(capsys.readouterr().out)["passed"] is passes
    assert gpu.main(["--markdown"]) == code
    assert "| demand | measured |" in capsys.readouterr().out


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        gpu.run_gpu_bench(str(tmp_path), frames=0, device="cpu")


def test_pictures_of_the_phantom_differ() -> None:
    pictures = gpu.drawn(6, (96, 64))
    assert [p.shape for p in pictures] == [(64, 96, 3)] * 6
    assert len({p.tobytes() for p in pictures}) == 6
