"""What the tests of our own kernels share: numbers to compute with, and how far two answers are apart."""

from __future__ import annotations

import os
import zlib
from functools import cache

import numpy as np
import pytest

from endostream.engines.kernels.library import Features, features

needed = pytest.mark.skipif(
    not features() & Features.AVX2, reason="no kernels for this processor, or not built"
)
ICE_LAKE = Features.AVX2 | Features.AVX512 | Features.AVX512_VNNI
ZEN_4 = ICE_LAKE | Features.AVX512_BF16
PICTURE = np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@cache
def _numbers(test: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(test.encode()))


def noise(*shape: int, scale: float = 1.0) -> np.ndarray:
    """Normally distributed numbers: the same for a test whatever ran before it."""
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
    return (_numbers(test).standard_normal(shape) * scale).astype(np.float32)


def apart(ours: np.ndarray, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape and expected.std() > 0
    return float(np.sqrt(np.mean((ours - expected) ** 2)) / expected.std())
