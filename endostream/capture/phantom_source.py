"""The phantom as a source of frames, and as a video file with its ground truth.

Owns the way from phantom frames to `Frame` and to files. Must not know how the phantom is drawn.
"""

from __future__ import annotations

import difflib
import math
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from endostream.capture.encode import VideoWriter
from endostream.capture.phantom import Phantom, write_truth
from endostream.capture.source import SourceBase, starts_late
from endostream.errors import InputError, SourceError
from endostream.types import Frame, SourceInfo

DEFAULTS = {"seed": "7", "seconds": "50", "size": "1280x720", "fps": "25"}
"""Options of `phantom:` and what they are when not given."""


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of `640x360`; raises `SourceError` for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise SourceError(f"size {text!r} is not WIDTHxHEIGHT; write for example 640x360")
    return int(width), int(height)


def _number(name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise SourceError(f"phantom: {name}={text!r} is not a number from {low:g} to {high:g}")
    return value


def parse_phantom(spec: str) -> Phantom:
    """The phantom of `phantom:?seed=3&seconds=10&size=640x360&fps=25`; an unknown option is named."""
    query = spec.partition(":")[2].lstrip("/").lstrip("?")
    options = dict(DEFAULTS)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in DEFAULTS:
            near = difflib.get_close_matches(key, DEFAULTS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(DEFAULTS)}"
            raise SourceError(f"phantom: unknown option {key!r}; {hint}")
        options[key] = value
    width, height = parse_size(options["size"])
    return Phantom(
        int(_number("seed", options["seed"], 0, 2**31 - 1)),
        width,
        height,
        _number("seconds", options["seconds"], 0.1, 86_400),
        _number("fps", options["fps"], 1, 240),
    )


class PhantomSource(SourceBase):
    """The frames of a phantom, drawn when they are asked for."""

    def __init__(self, phantom: Phantom, start: float = 0.0) -> None:
        super().__init__()
        self.phantom = phantom
        """What is drawn; its frames carry the ground truth."""
        self._position = 0
        self._info = SourceInfo(
            name="phantom",
            kind="phantom",
            live=False,
            seekable=True,
            independent=False,
            width=phantom.width,
            height=phantom.height,
            fps=float(phantom.fps),
            duration=phantom.frames / float(phantom.fps),
            frames=phantom.frames,
        )
        if start > 0:
            self._go_to(start)
            if self._position >= phantom.frames:
                raise SourceError(starts_late("phantom", start))

    def _next(self) -> Frame | None:
        if self._position >= self.phantom.frames:
            return None
        drawn = self.phantom.frame(self._position)
        rate = Fraction(self.phantom.fps).limit_denominator(1001)
        frame = self._frame(np.ascontiguousarray(drawn.image), drawn.time, self._position, 1 / rate)
        self._position += 1
        return frame

    def _go_to(self, time: float) -> None:
        self._position = math.ceil(time * float(self.phantom.fps) - 1e-6)


def write_phantom(path: Path, phantom: Phantom, truth: Path | None = None, crf: int = 26) -> None:
    """Write the phantom as H.264, and where `truth` names a folder its masks and `truth.json` into it.

    Raises `InputError` when the place cannot be used, `RunError` when writing fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be made: {error.strerror}; choose another folder") from error
    with VideoWriter(
        path, width=phantom.width, height=phantom.height, fps=phantom.fps, crf=crf, preset="slow", gop=50
    ) as writer:
        for index in range(phantom.frames):
            drawn = phantom.frame(index)
            writer.write(drawn.image, drawn.time)
    if truth is not None:
        write_truth(phantom, truth)
