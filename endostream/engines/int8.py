"""int8 on the processor: a network quantised once by NNCF on the pack's drawn sample, and kept.

Owns the recipe, the sample's pictures and the quantised network's file. Must not know whether a network may
be used in int8 (see `proof`), lanes, or what the numbers mean.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import struct
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from endostream.engines import openvino_engine
from endostream.engines.cache import key_of, read_blob, write_blob
from endostream.engines.openvino_engine import Made
from endostream.engines.preprocess import Preprocessor
from endostream.engines.wish import Runner, Wish
from endostream.errors import InputError
from endostream.packs import Pack, Sample
from endostream.resources import user_cache
from endostream.types import ImageArray

__all__ = ["INSTALL", "RECIPE", "installed", "kept", "open_runner", "sample_pictures"]

RECIPE = 1
"""Number of the way networks are quantised; a proof holds for one recipe."""
RANDOM_FRAMES = 8
"""Frames for random weights: only the speed counts there, and a UNet at 320 x 320 takes 1 s for each."""
INSTALL = 'pip install "endostream[int8]"'
"""How NNCF is got."""
WEIGHTED = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul")
"""OpenVINO's operations that have weights."""


def installed() -> str:
    """NNCF's version, or an empty string where it is not installed; it is not imported."""
    try:
        return importlib.metadata.version("nncf")
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def _nncf() -> ModuleType:
    """NNCF with its telemetry out of reach, silent, and without a mark on the process's logging."""
    openvino_engine.library()
    before = logging.getLoggerClass()
    nncf = importlib.import_module("nncf")
    logging.setLoggerClass(before)
    logger = logging.getLogger("nncf")
    # It writes to stdout, which belongs to `--json`.
    logger.handlers = []
    logger.setLevel(logging.ERROR)
    # Says that no GPU was found wherever a CUDA toolkit lies.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    progress = importlib.import_module("nncf.common.logging.track_progress")
    bars: Any = progress.track
    bars.__init__ = functools.partialmethod(bars.__init__, disable=True)
    # Where somebody imported NNCF before us, it still holds the real thing.
    stub = importlib.import_module("nncf.telemetry.wrapper").NNCFTelemetryStub()
    for holder in [m for n, m in sys.modules.items() if n.startswith("nncf.telemetry")]:
        if hasattr(holder, "telemetry"):
            vars(holder)["telemetry"] = stub
    return nncf


def kept(pack: Pack, name: str, nncf: str, seed: int | None = None) -> Path:
    """Where the network `name` of a pack is kept once this version of NNCF has quantised it."""
    model = next(m for m in pack.models if m.name == name)
    parts = (openvino_engine.network_key(model, seed), model.preprocessing, _sample(pack, seed))
    kind = "pack" if seed is None else "random"
    folder = user_cache("openvino")
    return folder / f"{pack.name}-{name}-quantised-{kind}-{key_of((*parts, RECIPE, nncf))}.blob"


def open_runner(wish: Wish, nncf: str) -> Runner:
    """One model of a pack compiled in int8; the layers left unquantised run in bf16 where possible.

    Parameters
    ----------
    wish
        The model, with precision `int8`.
    nncf
        The version of NNCF that quantises it, or did; it need not be installed for what is kept.

    Raises
    ------
    InputError
        When the network is not kept and this version of NNCF is not installed.
    """
    if wish.seed is not None:
        wish.say(f"int8 of {wish.model.name} with random weights: its speed is real, its answers are not")
    path = kept(wish.pack, wish.model.name, nncf, wish.seed)
    content = read_blob(path)
    if content is None:
        content = _quantised(wish, nncf)
        problem = write_blob(path, content)
        if problem:
            wish.say(f"quantised networks cannot be kept in {path.parent} ({problem}); each start makes them")
    whole = content
    return openvino_engine.open_runner(wish, Made(path.stem, lambda: _unpacked(whole)))


def _sample(pack: Pack, seed: int | None) -> Sample:
    return pack.sample if seed is None else replace(Sample(), seeds=Sample().seeds[:1], frames=RANDOM_FRAMES)


def _quantised(wish: Wish, nncf: str) -> bytes:
    model = wish.model
    here = installed()
    if not here or here != nncf:
        wanted = f'pip install "nncf=={nncf}"' if nncf else INSTALL
        again = f", or measure with NNCF {here}: endostream evaluate int8" if here else ""
        raise InputError(f"int8 needs NNCF once to quantise {model.name}: {wanted}{again}")
    sample = _sample(wish.pack, wish.seed)
    wish.say(f"quantising {model.role} {model.name} on {sample}; kept for next time")
    pictures = list(sample_pictures(sample))
    prepare = Preprocessor(model.preprocessing, exact=False)
    network = openvino_engine.convert(wish, *openvino_engine.whole(wish))
    tool = _nncf()
    dataset = tool.Dataset(pictures, lambda picture: prepare(picture).copy())
    return _packed(tool.quantize(network, dataset, subset_size=len(pictures), **_recipe(network)))


def _recipe(network: Any) -> dict[str, Any]:
    """How a network is quantised; what was measured stands in docs/performance.md.

    Ranges are the extremes over the sample: drawn frames reach less far than real ones, and the usual mean of
    the extremes cut so much off that masks vanished. Biases are not corrected: that would fit them to drawn
    frames. The first and the last weighted layers stay as they are: they cost next to nothing. Weights take 7
    of the 8 bits, so that no sum overflows on a processor without VNNI: a proof holds on any.
    """
    tool = _nncf()
    ranges = importlib.import_module("nncf.quantization.range_estimator").RangeEstimatorParametersSet
    types = {op.get_type_name() for op in network.get_ops()}
    transformer = "ScaledDotProductAttention" in types
    return {
        "model_type": tool.ModelType.TRANSFORMER if transformer else None,
        "preset": tool.QuantizationPreset.MIXED,
        "ignored_scope": tool.IgnoredScope(names=sorted(_ends(network))),
        "advanced_parameters": tool.AdvancedQuantizationParameters(
            activations_range_estimator_params=ranges.MINMAX,
            disable_bias_correction=True,
            overflow_fix=tool.OverflowFix.ENABLE,
        ),
    }


def _ends(network: Any) -> set[str]:
    """Names of the first weighted operations, and of everything from the last ones to the outputs."""
    found: set[str] = set()
    todo = [result.input_value(0).get_node() for result in network.get_results()]
    while todo:
        node = todo.pop()
        if node.get_friendly_name() in found or node.get_type_name() in ("Constant", "Parameter"):
            continue
        found.add(node.get_friendly_name())
        if node.get_type_name() not in WEIGHTED:
            todo += [value.get_source_output().get_node() for value in node.inputs()]
    seen: set[str] = set()
    todo = list(network.get_parameters())
    while todo:
        node = todo.pop()
        if node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        if node.get_type_name() in WEIGHTED:
            found.add(node.get_friendly_name())
        elif node.get_type_name() != "ShapeOf":
            todo += [i.get_node() for out in node.outputs() for i in out.get_target_inputs()]
    return found


def sample_pictures(sample: Sample) -> Iterator[ImageArray]:
    """The pictures of a sample, uint8[H, W, 3] RGB, every other one without the tower's border.

    75 ms each at 640 x 360.
    """
    # Imported here: with it come the decoders, which a start from the cache does not need.
    from endostream.capture.phantom import Phantom

    for seed in sample.seeds:
        phantom = Phantom(seed, sample.width, sample.height)
        for order, index in enumerate(np.linspace(0, phantom.frames - 1, sample.frames).astype(int)):
            image = phantom.frame(int(index)).image
            if order % 2:
                x0, y0, x1, y1 = phantom.image_box
                image = image[y0:y1, x0:x1]
            yield np.ascontiguousarray(image)


def _packed(network: Any) -> bytes:
    """A network as OpenVINO writes it, description and weights, in one piece."""
    with tempfile.TemporaryDirectory(prefix="endostream-") as folder:
        path = Path(folder) / "network.xml"
        openvino_engine.library().save_model(network, path, compress_to_fp16=False)
        description, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    return struct.pack("<Q", len(description)) + description + weights


def _unpacked(content: bytes) -> Any:
    size = struct.unpack_from("<Q", content)[0]
    return openvino_engine.core().read_model(content[8 : 8 + size], content[8 + size :])
