"""The command line: names, JSON on stdout alone, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from endostream.cli import cli, main

NAMES = {
    "open",
    "analyze",
    "demo",
    "devices",
    "doctor",
    "packs",
    "bench",
    "phantom",
    "train",
    "sessions",
    "report",
}


def test_the_contracts_names_are_there() -> None:
    assert set(cli.commands) >= NAMES | {"export"}


@pytest.mark.parametrize("command", [["packs", "list"], ["sessions", "list"], ["devices"], ["doctor"]])
def test_json_is_one_document(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json"]) in (0, 1)
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_a_recipe_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDOSTREAM_DATA", "/nonexistent")
    assert main(["packs", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("endodinov2"))
    assert "needs import" in line
    assert main(["packs", "show", "endodinov2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["labels"]) == 23 and len(shown["unreliable"]) == 7


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["analyse"], 2),
        (["packs", "show", "polip"], 2),
        (["packs", "import", "x.pth"], 2),
        (["sessions", "show", "nothing-here"], 2),
        (["report", "nothing-here"], 2),
        (["phantom", "x.mp4", "--size", "big"], 2),
        (["--version"], 0),
        (["analyze", "--help"], 0),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert len(error.splitlines()) <= 3 and "Traceback" not in error
    assert bool(error) == (code == 2)


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "('torch', 'cv2', 'av', 'PySide6', 'openvino')"
    said = f"print([m for m in {heavy} if m in sys.modules])"
    code = f"import sys, endostream.cli as c; c.main(['--help']); {said}"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert out.stdout.strip().splitlines()[-1] == "[]"


def test_a_defect_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import endostream.capture

    def broken() -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.delenv("ENDOSTREAM_DEBUG", raising=False)
    monkeypatch.setattr(endostream.capture, "list_devices", broken)
    assert main(["devices"]) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error and "Traceback" not in error
