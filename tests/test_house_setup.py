"""Set-up: exact versions, and what happens where libraries, rights or Python are missing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))


def plain(name: str) -> str:
    """A distribution's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_has_one_exact_version() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["train"], *extras["dev"]]
    direct = {plain(re.match(r"[\w.-]+", line).group()) for line in lines}  # type: ignore[union-attr]
    assert direct - {"setuptools"} <= {plain(name) for name in PINS}


def test_constraints_work_on_any_platform() -> None:
    text = (ROOT / "constraints.txt").read_text()
    for word in ("nvidia", "triton", "cuda", "://", "@", "--", "file:", "+cpu", ";"):
        assert word not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE), word
    assert all(re.fullmatch(r"\d+(\.\d+)*", version) for version in PINS.values())


def test_what_runs_here_is_what_is_written_down() -> None:
    here = {name: importlib.metadata.version(name).split("+")[0] for name in PINS}
    other = {name: (version, here[name]) for name, version in PINS.items() if here[name] != version}
    assert other == {}, "the environment has other versions than constraints.txt: make setup"


def program(folder: Path, name: str, text: str) -> None:
    """A small shell program in `folder`."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def libraries(folder: Path, *arguments: str, **variables: str) -> str:
    """What scripts/system_libraries.py says where only the programs in `folder` exist."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "system_libraries.py"), *arguments],
        env={"PATH": str(folder), "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lacks libraries of Qt")
ABSENT = "echo '\tlibxcb-cursor.so.0 => not found'; echo '\tlibEGL.so.1 => not found'"


@linux
def test_where_nothing_is_missing_one_line_says_so(tmp_path: Path) -> None:
    program(tmp_path, "ldd", "echo '\tlibEGL.so.1 => /usr/lib/libEGL.so.1 (0x0)'")
    program(tmp_path, "Xvfb", "")
    program(tmp_path, "xauth", "")
    said = libraries(tmp_path, "--install")
    assert len(said.splitlines()) == 1 or "a font" in said
    assert "libEGL" not in said


@linux
@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", r"sudo apt-get update && sudo apt-get install .*libegl1 .*libxcb-cursor0.* xvfb"),
        ("dnf", r"sudo dnf install -y .*libglvnd-egl .*xcb-util-cursor.*xorg-x11-server-Xvfb"),
    ],
)
def test_the_command_is_named_where_it_may_not_run(tmp_path: Path, manager: str, command: str) -> None:
    program(tmp_path, "ldd", ABSENT)
    program(tmp_path, manager, f"/bin/touch {tmp_path}/was-called")
    said = libraries(tmp_path)
    assert re.search(command, said), said
    assert "libEGL.so, libxcb-cursor.so" in said
    assert not (tmp_path / "was-called").exists()


@linux
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root installs without a question")
@pytest.mark.parametrize("works", [True, False])
def test_root_installs_and_a_failure_stops_nothing(tmp_path: Path, works: bool) -> None:
    program(tmp_path, "ldd", f"[ -e {tmp_path}/installed ] && exit 0; {ABSENT}")
    program(tmp_path, "Xvfb", "")
    program(tmp_path, "xauth", "")
    if works:
        program(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/calls; /bin/touch {tmp_path}/installed')
    else:
        program(tmp_path, "apt-get", "echo 'E: no network' >&2; exit 100")
    said = libraries(tmp_path, "--install")
    if works:
        assert "libxcb-cursor0" in (tmp_path / "calls").read_text()
        assert "sudo apt-get" not in said or "a font" in said
    else:
        assert "E: no network" in said
        assert "sudo apt-get update && sudo apt-get install" in said


@linux
@pytest.mark.parametrize(("manager", "package"), [("apt-get", "g\\+\\+"), ("dnf", "gcc-c\\+\\+")])
def test_a_missing_compiler_is_named_and_a_present_one_is_not(
    tmp_path: Path, manager: str, package: str
) -> None:
    program(tmp_path, manager, f"/bin/touch {tmp_path}/was-called")
    said = libraries(tmp_path, "--compiler")
    assert re.search(rf"sudo {manager} install -y .*{package}", said) and "OpenVINO instead" in said
    assert "libEGL" not in said and not (tmp_path / "was-called").exists()
    program(tmp_path, "clang++", "")
    assert libraries(tmp_path, "--compiler") == ""


def set_up(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The end of scripts/setup.sh for a folder that does not exist yet."""
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "setup.sh"), str(tmp_path / "venv")],
        env={"PATH": f"{tmp_path}:/bin:/usr/bin", "HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_old_python_is_one_clear_line(tmp_path: Path) -> None:
    program(tmp_path, "old", "exit 1")
    done = set_up(tmp_path, PYTHON=str(tmp_path / "old"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "not Python 3.11 or newer" in done.stderr


def test_a_missing_venv_module_is_one_clear_line(tmp_path: Path) -> None:
    program(tmp_path, "bare", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    done = set_up(tmp_path, PYTHON=str(tmp_path / "bare"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "python3-venv" in done.stderr
