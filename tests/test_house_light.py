"""Importing is light: what takes seconds to load is loaded by the command that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "openvino", "lightning", "PySide6", "pyqtgraph")


@pytest.mark.parametrize(
    "module",
    [
        "endostream.cli",
        "endostream.bench",
        "endostream.doctor",
        "endostream.engines",
        "endostream.pipeline.build",
    ],
)
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print(*(set({HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_help_does_not_even_load_the_video_library() -> None:
    code = "import sys, endostream.cli; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
