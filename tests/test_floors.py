"""Imports go down: the table of floors from the architecture, enforced by reading the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    0: "types errors tracing vocabulary resources sites",
    1: "config packs capture analysis records datasets",
    2: "models",
    3: "engines",
    4: "pipeline",
    5: "replay batch bench doctor training evaluation",
    6: "cli ui",
    7: "__main__",
}
FLOOR = {place: floor for floor, places in FLOORS.items() for place in places.split()}
NETWORKS = frozenset({"models", "engines", "training", "evaluation", "bench"})
WINDOW = frozenset({"ui"})
OWNERS = {
    "av": frozenset({"capture"}),
    **dict.fromkeys(("torch", "torchvision", "timm", "openvino", "nncf"), NETWORKS),
    **dict.fromkeys(("lightning", "pytorch_lightning", "torchmetrics"), NETWORKS),
    **dict.fromkeys(("sklearn", "scipy"), frozenset({"training", "evaluation"})),
    **dict.fromkeys(("matplotlib", "openpyxl"), frozenset({"evaluation"})),
    **dict.fromkeys(("PySide6", "shiboken6", "pyqtgraph"), WINDOW),
}
WINDOW_COMMANDS = {"open_window", "demo"}
BANNED = {"manager", "helper", "util", "handler", "service"}


def house(root: Path = ROOT) -> dict[str, str]:
    """Every module of the product by its dotted name, as text."""
    found = {}
    for folder, package in (("endostream", "endostream"), ("ui", "endostream_ui")):
        for path in sorted((root / folder).rglob("*.py")):
            parts = [package, *path.relative_to(root / folder).with_suffix("").parts]
            name = ".".join(parts)
            found[name] = path.read_text(encoding="utf-8")
    return found


def place_of(module: str) -> str | None:
    """The row of the table a module belongs to; None for the package itself and third parties."""
    parts = module.split(".")
    if parts[0] == "endostream_ui":
        return "ui"
    return parts[1] if parts[0] == "endostream" and len(parts) > 1 and parts[1] != "__init__" else None


def imports(module: str, tree: ast.AST, known: set[str], inside: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of (imported module, name of the function it is imported in, or nothing)."""
    for node in ast.iter_child_nodes(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [n if {n, f"{n}.__init__"} & known else base for n in names]
        for name in names:
            yield (f"{name}.__init__" if f"{name}.__init__" in known else name), inside
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from imports(module, node, known, inside or (node.name if function else ""))


def upward(module: str, target: str, inside: str) -> str | None:
    """What is wrong with `module` importing `target` inside the function `inside`, or None."""
    here, there, line = place_of(module), place_of(target), f"{module} imports {target}"
    owners = OWNERS.get(target.split(".")[0] if target != "safetensors.torch" else "torch")
    if owners is not None and here not in owners:
        return f"{line}: only {', '.join(sorted(owners))} may"
    if there is None or here == there:
        return None
    if here is None:
        return f"{line}: the package itself imports nothing of the house"
    if there not in FLOOR:
        return f"{line}: {there} has no floor; add it to the table and the architecture"
    if (here, there) == ("cli", "ui"):
        return None if inside in WINDOW_COMMANDS else f"{line}: the window only inside open and demo"
    if FLOOR[here] > FLOOR[there] or FLOOR[here] == FLOOR[there] == 0:
        return None
    return f"{line}: floor {FLOOR[here]} may not look at floor {FLOOR[there]}"


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that can be reached from themselves."""
    found = []
    for start in graph:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += graph.get(name, ())
        if start in seen:
            found.append(f"{start} imports itself in a circle")
    return found


def bad_names(module: str, tree: ast.AST) -> list[str]:
    """Names of modules, classes and functions with a word that says nothing."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = [*module.split("."), *(n.name for n in ast.walk(tree) if isinstance(n, kinds))]
    found = {
        n: {w.lower().rstrip("s") for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", n)} for n in names
    }
    return [f"{module}: {name} is a banned name" for name, words in found.items() if BANNED & words]


def complaints(sources: dict[str, str]) -> list[str]:
    """Everything that breaks the law of the house."""
    found, graph = [], {}
    for module, text in sources.items():
        tree = ast.parse(text)
        if (place := place_of(module)) is not None and place not in FLOOR:
            found.append(f"{module}: {place} has no floor; add it to the table and the architecture")
            continue
        pairs = list(imports(module, tree, set(sources)))
        found += [said for target, inside in pairs if (said := upward(module, target, inside))]
        graph[module] = {target for target, _ in pairs}
        found += bad_names(module, tree)
    return found + circles(graph)


def test_the_house_keeps_its_law() -> None:
    sources = house()
    assert len(sources) > 5
    assert complaints(sources) == []


GOOD = {
    "endostream.__init__": "__version__ = '1'",
    "endostream.types": "import numpy",
    "endostream.vocabulary": "from endostream.types import Exam",
    "endostream.capture.__init__": "from endostream.capture.file import VideoFile",
    "endostream.capture.file": "import av\nfrom endostream import __version__\nfrom ..types import Frame",
    "endostream.models.light": "import torch\nfrom endostream.capture import open_source",
    "endostream.cli": "def demo():\n    from endostream_ui.app import main",
    "endostream_ui.app": "from PySide6 import QtWidgets\nfrom endostream import types\nfrom . import theme",
    "endostream_ui.theme": "from endostream.types import Frame",
}


def test_good_sources_pass() -> None:
    assert complaints(GOOD) == []


@pytest.mark.parametrize(
    ("module", "text", "word"),
    [
        ("endostream.types", "from endostream.capture import file", "floor 0 may not"),
        ("endostream.packs", "import endostream.capture.file", "floor 1 may not"),
        ("endostream.packs", "from . import capture", "floor 1 may not"),
        ("endostream.models.unet", "from endostream import cli", "floor 2 may not"),
        ("endostream.packs", "def f():\n    import torch", "endostream.packs imports torch"),
        ("endostream.packs", "from safetensors.torch import save_file", "only bench"),
        ("endostream.doctor", "import openvino as ov", "imports openvino"),
        ("endostream.pipeline.run", "import av.container", "only capture"),
        ("endostream.batch", "from PySide6.QtCore import QObject", "only ui"),
        ("endostream.batch", "from endostream import bench", "floor 5 may not"),
        ("endostream.bench", "def f():\n    from endostream_ui import app", "floor 5 may not"),
        ("endostream.cli", "from endostream_ui import app", "only inside open and demo"),
        ("endostream.cli", "def analyze():\n    import endostream_ui.app", "only inside open and demo"),
        ("endostream.cellar", "import numpy", "has no floor"),
        ("endostream.__init__", "from endostream.types import Frame", "the package itself"),
        ("endostream.capture.file", "from endostream.capture import open_source", "circle"),
        ("endostream.types", "from endostream.vocabulary import Term", "circle"),
        ("endostream_ui.theme", "from .app import main", "circle"),
        ("endostream.capture.file", "class FrameManager: ...", "banned"),
        ("endostream.capture.string_utils", "x = 1", "banned"),
        ("endostream.capture.file", "def event_handler(): ...", "banned"),
    ],
)
def test_bad_sources_are_named(module: str, text: str, word: str) -> None:
    below = {"endostream.bench": "", "endostream.packs": ""}
    said = complaints({**below, **GOOD, module: text})
    assert any(word in line and line.startswith(module) for line in said), said
