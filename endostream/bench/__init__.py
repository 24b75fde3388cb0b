"""How fast is it here? The product's own run over a source, measured, and against plain PyTorch.

Owns what `endostream bench` measures. Must not know how it is printed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from endostream.bench.measure import run_bench
    from endostream.bench.result import BenchResult, PlainResult, as_json, as_text

__all__ = ["BenchResult", "PlainResult", "as_json", "as_text", "run_bench"]

_WHERE = {
    "BenchResult": "result",
    "PlainResult": "result",
    "as_json": "result",
    "as_text": "result",
    "run_bench": "measure",
}
"""The module behind every name; imported when asked for, so that `bench.gpu` needs no codecs."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
