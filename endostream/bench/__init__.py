"""How fast is it here? The product's own run over a source, measured, and against plain PyTorch.

Owns what `endostream bench` measures. Must not know how it is printed.
"""

from endostream.bench.measure import run_bench
from endostream.bench.result import BenchResult, PlainResult, as_json, as_text

__all__ = ["BenchResult", "PlainResult", "as_json", "as_text", "run_bench"]
