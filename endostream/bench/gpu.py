"""What a GPU must do, measured: one stream, many streams, and half precision held against float32.

Owns how each figure is taken. Must not know codecs or the window: `python -m endostream.bench.gpu` runs where
neither is installed. Frames are drawn, nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from endostream.analysis.networks import Answer
from endostream.analysis.smoothing import softmax
from endostream.bench.gpu_result import (
    FRAMES,
    MARGIN,
    RATE,
    STREAMS,
    Check,
    GpuResult,
    as_json,
    as_markdown,
    as_text,
    checked,
    spread_ms,
)
from endostream.engines.choose import RANDOM_SEED
from endostream.engines.cuda.networks import DeviceNetworks
from endostream.engines.threads import settle_threads
from endostream.errors import EndostreamError, InputError
from endostream.packs import Pack, find_pack, verify_pack
from endostream.types import FloatArray, ImageArray

__all__ = ["Check", "GpuResult", "as_json", "as_markdown", "as_text", "main", "run_gpu_bench"]

Say = Callable[[str], None]
RANDOM_SPREAD = 10.0
"""Logits of a random head are stretched by this before margins are taken, and never otherwise: its weights
(standard deviation 0.02) put all 23 classes within 0.01 of each other. The order of classes stays."""
LOOPED = 24
"""Pictures that are drawn for the speeds, then shown again and again; more than the engine remembers."""
WARM = 60
"""Frames of each stream before anything counts."""
COMPARED_SIZE = (640, 360)
"""Width and height of the pictures of the comparison: larger ones are resized to the same input."""


def run_gpu_bench(
    pack: str = "endodinov2",
    *,
    seconds: float = 10.0,
    streams: int = STREAMS,
    frames: int = FRAMES,
    size: tuple[int, int] = (1920, 1080),
    device: str = "cuda",
    say: Say | None = None,
) -> GpuResult:
    """Measure a pack's networks on the GPU and hold them against the demands.

    Parameters
    ----------
    pack
        Name or folder; a recipe without weights runs with seeded random ones.
    seconds
        Seconds to measure each of the two speeds.
    streams
        Streams at once.
    frames
        Frames to compare with float32.
    size
        Width and height of the pictures for the speeds.
    device
        `cuda`; `cpu` runs the same code on the processor and proves nothing.
    say
        Hears what takes time, one line each.

    Raises
    ------
    InputError
        When there is no CUDA device, or the pack cannot be used.
    RunError
        When the GPU fails.
    """
    said = say or (lambda line: None)
    if device == "cuda":
        _refuse_without_cuda()
    if seconds <= 0 or frames < 1 or streams < 1:
        raise InputError("nothing to measure; give at least 1 second, 1 frame and 1 stream")
    settle_threads()
    found = find_pack(pack)
    seed = RANDOM_SEED if found.missing else None
    if seed is None:
        verify_pack(found)
    bench = _Bench(found, seed, device, said)
    return bench.run(seconds, streams, frames, size)


def _refuse_without_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            "no CUDA device was found; bench --gpu needs an NVIDIA GPU, its driver and a CUDA build of torch"
        )


class _Bench:
    """The three measurements, one after the other."""

    def __init__(self, pack: Pack, seed: int | None, device: str, say: Say) -> None:
        self._pack, self._seed, self._device, self._say = pack, seed, device, say
        self._warnings: tuple[str, ...] = ()

    def _open(self, precision: str, ahead: bool = False) -> DeviceNetworks:
        # Not `open_networks`: what falls back to the processor must not be measured as a GPU.
        return DeviceNetworks(self._pack, precision, False, self._seed, ahead, self._device)

    def run(self, seconds: float, streams: int, frames: int, size: tuple[int, int]) -> GpuResult:
        self._say(f"drawing {LOOPED} frames of {size[0]}x{size[1]}")
        pictures = drawn(LOOPED, size)
        self._say("one stream")
        one, one_fps = self._one(pictures, seconds)
        self._say(f"{streams} streams of {RATE:g} frames a second")
        many, many_fps, precision = self._many(pictures, seconds, streams)
        self._say(f"comparing {frames} frames with float32")
        with_margin, equal, flips = self._compare(frames)
        gpu, driver, version, memory = _machine(self._device)
        one_ms, many_ms = spread_ms(one), spread_ms(many)
        return GpuResult(
            gpu=gpu,
            driver=driver,
            torch=version,
            pack=self._pack.name,
            weights="random" if self._seed is not None else "pack",
            precision=precision,
            size=size,
            one_ms=one_ms,
            one_fps=round(one_fps, 1),
            streams=streams,
            rate=RATE,
            many_ms=many_ms,
            many_fps=round(many_fps, 1),
            compared=frames,
            with_margin=with_margin,
            equal_share=equal,
            flip_share=flips,
            memory_mb=memory,
            warnings=self._warnings,
            checks=checked(one_ms["p99"], streams, many_ms["p99"], frames, with_margin, equal, flips),
        )

    def _one(self, pictures: list[ImageArray], seconds: float) -> tuple[list[float], float]:
        """Seconds of every frame, each started when the one before is done, and frames a second."""
        networks = self._open("fp16")
        try:
            networks.warm_up(self._say)
            for number in range(WARM):
                _everything(networks, number, pictures[number % len(pictures)])
            times: list[float] = []
            start = time.perf_counter()
            while (began := time.perf_counter()) - start < seconds:
                _everything(networks, len(times), pictures[len(times) % len(pictures)])
                times.append(time.perf_counter() - began)
            return times, len(times) / (time.perf_counter() - start)
        finally:
            networks.close()

    def _many(
        self, pictures: list[ImageArray], seconds: float, streams: int
    ) -> tuple[list[float], float, str]:
        """Seconds of every frame of all streams since it was due, results a second, and the precision."""
        opened = [self._open("fp16") for _ in range(streams)]
        try:
            opened[0].warm_up(self._say)
            count = WARM + max(1, round(seconds * RATE))
            # Cameras do not start together; the same offsets in every run.
            offsets = np.random.default_rng(streams).uniform(0.0, 1.0 / RATE, streams)
            begin = time.monotonic() + 0.1
            feeds = [
                _Feed(networks, pictures[k:] + pictures[:k], begin + float(offset), count)
                for k, (networks, offset) in enumerate(zip(opened, offsets, strict=True))
            ]
            for feed in feeds:
                feed.start()
            for feed in feeds:
                feed.join()
            for feed in feeds:
                if feed.error is not None:
                    raise feed.error
            ages = [age for feed in feeds for age in feed.ages[WARM:]]
            took = max(feed.ended for feed in feeds) - begin
            self._warnings += opened[0].warnings
            return ages, streams * count / took, opened[0].info["precision"]
        finally:
            for networks in opened:
                networks.close()

    def _compare(self, frames: int) -> tuple[int, float, float]:
        """Frames with the margin, the share of them with the same class, and the share of flipped pixels."""
        both = [self._open(precision, ahead=True) for precision in ("fp16", "fp32")]
        margins = equal = flipped = pixels = 0
        try:
            for networks in both:
                networks.warm_up(self._say)
            step = both[0].depth
            pictures = drawn(frames, COMPARED_SIZE)
            for first in range(0, frames, step):
                batch = pictures[first : first + step]
                half, full = (_all(networks, batch) for networks in both)
                for (ours, mask), (theirs, other) in zip(half, full, strict=True):
                    if ours is not None and theirs is not None and self._margin(theirs.logits) > MARGIN:
                        margins += 1
                        equal += int(ours.logits.argmax() == theirs.logits.argmax())
                    if mask is not None and other is not None:
                        bound = _logit(self._pack.thresholds.mask)
                        flipped += int(((mask.logits > bound) != (other.logits > bound)).sum())
                        pixels += mask.logits.size
        finally:
            for networks in both:
                networks.close()
        return margins, equal / margins if margins else 0.0, flipped / pixels if pixels else 0.0

    def _margin(self, logits: FloatArray) -> float:
        spread = RANDOM_SPREAD if self._seed is not None else 1.0
        best = np.sort(softmax(logits * np.float32(spread)))
        return float(best[-1] - best[-2]) if len(best) > 1 else 1.0


class _Feed(threading.Thread):
    """One stream: a frame whenever it is due, and its age when everything about it is known."""

    def __init__(
        self, networks: DeviceNetworks, pictures: Sequence[ImageArray], begin: float, count: int
    ) -> None:
        super().__init__(name="bench-feed", daemon=True)
        self._networks, self._pictures, self._begin, self._count = networks, pictures, begin, count
        self.ages: list[float] = []
        self.ended = begin
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for number in range(self._count):
                due = self._begin + number / RATE
                time.sleep(max(0.0, due - time.monotonic()))
                _everything(self._networks, number, self._pictures[number % len(self._pictures)])
                self.ended = time.monotonic()
                self.ages.append(self.ended - due)
        except Exception as error:
            self.error = error


def _everything(networks: DeviceNetworks, key: int, picture: ImageArray) -> None:
    """Every classifier with its class maps, and the mask, of one picture."""
    lanes = [lane for lane in (*networks.classifiers, networks.segmenter) if lane is not None]
    for lane in lanes:
        lane.submit(key, picture)
    for lane in lanes:
        lane.take()


def _all(
    networks: DeviceNetworks, pictures: Sequence[ImageArray]
) -> list[tuple[Answer | None, Answer | None]]:
    """The acting classifier's answer and the mask of every picture."""
    none: list[Answer | None] = [None] * len(pictures)
    lanes = (networks.classifiers[0] if networks.classifiers else None, networks.segmenter)
    for key, picture in enumerate(pictures):
        for lane in lanes:
            if lane is not None:
                lane.submit(key, picture)
    first, second = (none if lane is None else lane.poll(wait=True) for lane in lanes)
    return list(zip(first, second, strict=True))


def drawn(count: int, size: tuple[int, int]) -> list[ImageArray]:
    """Pictures uint8[height, width, 3] from all over a phantom procedure, the same in every run.

    Drawing takes 1.6 s at 1080p, so each is used in four orientations.
    """
    from endostream.capture.phantom import Phantom

    phantom = Phantom(width=size[0], height=size[1])
    found: list[ImageArray] = []
    for number in np.linspace(0, phantom.frames - 1, -(-count // 4)):
        image = phantom.frame(int(number)).image
        found += [np.ascontiguousarray(image[::down, ::across]) for down in (1, -1) for across in (1, -1)]
    return found[:count]


def _logit(probability: float) -> float:
    return float(np.log(probability / (1.0 - probability)))


def _machine(device: str) -> tuple[str, str, str, float]:
    """Name of the GPU, its driver, torch, and the most memory that was held in MB."""
    import torch

    version = f"{torch.__version__} (CUDA {torch.version.cuda})"
    if device != "cuda":
        return "none (processor)", "none", version, 0.0
    memory = torch.cuda.max_memory_reserved() / 1e6
    return torch.cuda.get_device_name(0), _driver(), version, round(memory, 1)


def _driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown"
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        given = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return given[0] if given else "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; gives 0 when every demand is met, 1 when one is not, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m endostream.bench.gpu", description=run_gpu_bench.__doc__)
    parser.add_argument("--pack", default="endodinov2")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--markdown", action="store_true", help="tables for docs/performance.md")
    asked = parser.parse_args(arguments)
    try:
        result = run_gpu_bench(
            asked.pack,
            seconds=asked.seconds,
            streams=asked.streams,
            say=lambda line: print(line, file=sys.stderr),
        )
    except EndostreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = [json.dumps(as_json(result), indent=1)] if asked.json else as_text(result)
    for line in as_markdown(result) if asked.markdown else lines:
        print(line)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
