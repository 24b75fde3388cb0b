"""A pack over single pictures, read and run by the very parts that the app uses.

Owns the way from a pack's name to scores, gate and masks of pictures. It must not know figures or data sets.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np

from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.analysis.visibility import VisibilityRules
from endostream.config import Settings
from endostream.engines import open_networks
from endostream.packs import Pack, find_pack
from endostream.types import Analysis, FloatArray, Frame, ImageArray, MaskArray

__all__ = ["PackRunner", "Seen", "describe_pack", "find_pack", "gate_opens"]

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Seen(Generic[T]):
    """What a pack made of one picture."""

    key: T
    """What the caller gave with the picture."""
    scores: FloatArray | None
    """float32[C], probabilities by the first classifier; None for a pack without one."""
    mask: MaskArray | None
    """bool[H, W] at source size, gate or not; None for a pack without a segmenter."""
    gated: bool
    """Whether the app would segment such a frame of a video: it can be judged and the gate opens."""


class PackRunner:
    """The networks of a pack over independent pictures, as the app treats a folder of pictures.

    Parameters
    ----------
    pack
        Any pack with weights; they are checked first.
    engine, device, precision
        What to run on.
    masks
        False leaves the segmenter out.
    say
        Hears what takes time, one line each.

    Raises
    ------
    InputError
        The machine cannot do what was asked for.
    PackError
        Weights are missing or do not match their checksums.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        masks: bool = True,
        say: Say | None = None,
    ) -> None:
        run = pack if masks else dataclasses.replace(pack, models=pack.classifiers)
        self._gate = dict(pack.gate.labels) if pack.gate.rule == "labels" else None
        visibility: dict[str, Any] = dataclasses.asdict(Settings().visibility)
        # Independent pictures: no smoothing, and neither gate nor blindness stops a mask. Whether the gate
        # would have opened is told beside it.
        self._rules = AnalyzerRules(
            gate=self._gate,
            mask_threshold=pack.thresholds.mask,
            mask_peak=pack.thresholds.mask_peak,
            heatmap=False,
            independent=True,
            visibility=VisibilityRules(**visibility),
        )
        # Measuring is how a proof for int8 is got: it needs none.
        self._networks = open_networks(
            run, engine=engine, device=device, precision=precision, ahead=True, unproven=True
        )
        try:
            self._networks.warm_up(say)
        except BaseException:
            self._networks.close()
            raise

    def __enter__(self) -> PackRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._networks.close()

    @property
    def info(self) -> dict[str, str]:
        """`engine`, `device`, `precision`: what runs."""
        return {k: v for k, v in self._networks.info.items() if k != "threads"}

    def run(self, pictures: Iterable[tuple[T, ImageArray]]) -> Iterator[Seen[T]]:
        """Give what the pack makes of every picture uint8[H, W, 3] RGB, in order."""
        analyzer = Analyzer(self._networks, self._rules)
        keys: deque[T] = deque()
        for index, (key, image) in enumerate(pictures):
            analyzer.submit(_frame(index, image))
            keys.append(key)
            if analyzer.pending >= analyzer.depth:
                yield self._seen(keys.popleft(), analyzer.finish())
        while keys:
            yield self._seen(keys.popleft(), analyzer.finish())

    def _seen(self, key: T, analysis: Analysis) -> Seen[T]:
        acting = analysis.acting
        return Seen(key, acting.scores if acting else None, analysis.mask, gate_opens(self._gate, analysis))


def gate_opens(gate: dict[str, float] | None, analysis: Analysis) -> bool:
    """Whether the app would segment this frame of a video, were its score alone the smoothed one."""
    if not analysis.visible:
        return False
    if gate is None or analysis.acting is None:
        return True
    scores = dict(zip(analysis.acting.labels, analysis.acting.scores, strict=True))
    return any(scores.get(label, 0.0) >= bound for label, bound in gate.items())


def _frame(index: int, image: ImageArray) -> Frame:
    image = np.ascontiguousarray(image)
    image.setflags(write=False)
    return Frame(index, None, Fraction(1), float(index), image, captured=0.0, wall=0.0)


def describe_pack(pack: Pack) -> dict[str, Any]:
    """Give the name, version, checksum, gate and thresholds of a pack, for the facts of an evaluation."""
    thresholds = pack.thresholds
    return {
        "name": pack.name,
        "version": pack.version,
        "sha256": pack.sha256,
        "gate": {"rule": pack.gate.rule, "labels": dict(pack.gate.labels)},
        "thresholds": {
            "open": thresholds.open,
            "mask": thresholds.mask,
            "mask_peak": thresholds.mask_peak,
            "labels": {label: dict(values) for label, values in thresholds.labels.items()},
        },
        "site_overrides": pack.site is not None,
    }
