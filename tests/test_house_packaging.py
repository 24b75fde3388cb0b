"""The wheel: it holds what runs, under names that are ours, and works outside the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import endostream

ROOT = Path(__file__).resolve().parent.parent
PACKED = ("endostream", "ui", "weights", "sample_videos")
SKIP = shutil.ignore_patterns("__pycache__", "*.py[co]", "*.egg-info", "_kernels.*")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the repository."""
    base = tmp_path_factory.mktemp("wheel")
    copy = base / "copy"
    copy.mkdir()
    for name in PACKED:
        shutil.copytree(ROOT / name, copy / name, ignore=SKIP)
    (copy / "weights" / "stray").mkdir()
    (copy / "weights" / "stray" / "notes.bin").write_bytes(b"left by somebody")
    (copy / "tests").mkdir()
    (copy / "tests" / "__init__.py").touch()
    for name in ("pyproject.toml", "setup.py", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "README.md").write_text("# EndoStream\n")
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(base)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return next(base.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The folder a user would get as site-packages."""
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_top_level_names_are_ours(installed: Path) -> None:
    info = f"endostream-{endostream.__version__}.dist-info"
    assert {p.name for p in installed.iterdir()} == {"endostream", "endostream_ui", info}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("endostream", "endostream"),
        ("ui", "endostream_ui"),
        ("weights", "endostream/_data/weights"),
        ("sample_videos", "endostream/_data/sample_videos"),
    ],
)
def test_nothing_is_left_behind_and_nothing_strays_in(installed: Path, source: str, target: str) -> None:
    wanted = {p.relative_to(ROOT / source) for p in (ROOT / source).rglob("*") if p.is_file()}
    wanted = {p for p in wanted if "__pycache__" not in p.parts and not p.name.startswith(".")}
    packed = {p.relative_to(installed / target) for p in (installed / target).rglob("*") if p.is_file()}
    packed = {p for p in packed if p.parts[0] != "_data"}
    # The kernels are packed as compiled, where there is a compiler, and not as source.
    wanted = {p for p in wanted if p.parent.name != "native" and not p.name.startswith("_kernels.")}
    assert {p for p in packed if not p.name.startswith("_kernels.")} == wanted


def test_the_kernels_come_compiled_where_there_is_a_compiler(installed: Path, tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        pytest.skip("no C++ compiler")
    code = (
        "from endostream.engines.kernels import library\n"
        "print(library.__file__, library.available(), library.features() >= 0)"
    )
    where, *said = run_outside(installed, code, tmp_path).split()
    assert Path(where).is_relative_to(installed) and said == ["True", "True"]


def run_outside(installed: Path, code: str, tmp_path: Path) -> str:
    """What a Python says that finds the unpacked wheel before the repository."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_data_is_found_inside_the_package(installed: Path, tmp_path: Path) -> None:
    code = (
        "from endostream import resources as r; import endostream_ui; "
        "print(r.shipped('weights')); print(r.shipped('sample_videos')); print(endostream_ui.__file__)"
    )
    weights, videos, window = run_outside(installed, code, tmp_path).splitlines()
    assert Path(weights) == installed / "endostream" / "_data" / "weights"
    assert Path(videos) == installed / "endostream" / "_data" / "sample_videos"
    assert Path(window) == installed / "endostream_ui" / "__init__.py"


def test_every_pack_in_the_wheel_is_found_and_whole(installed: Path, tmp_path: Path) -> None:
    code = (
        "from endostream import packs\n"
        "for name in packs.pack_folders():\n"
        "    pack = packs.find_pack(name)\n"
        "    pack.missing or packs.verify_pack(pack)\n"
        "    print(name, pack.shipped)"
    )
    said = set(run_outside(installed, code, tmp_path).splitlines())
    assert said == {f"{p.parent.name} True" for p in (ROOT / "weights").glob("*/pack.toml")}


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
        points = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())
    assert f"Version: {endostream.__version__}" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert {"Provides-Extra: train", "Provides-Extra: dev", "Provides-Extra: all"} <= set(lines)
    assert re.search(r"^endostream = endostream\.cli:main$", points, re.MULTILINE)
