"""Small values that the window draws: one sample per analysed frame, notices, layers.

Owns the step from an `Analysis` to numbers without pictures. Must not know Qt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from endostream.types import Analysis, FloatArray, RunInfo
from endostream.vocabulary import Role, in_context, term

ADEQUATE = "bbps-2-3"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one analysed frame says, without its picture."""

    time: float
    """Stream time in seconds."""
    index: int
    """Index of the frame."""
    epoch: int
    """Epoch of the frame."""
    labels: tuple[str, ...]
    """C class names of the acting classifier."""
    scores: FloatArray
    """float32[C], smoothed probabilities."""
    label: str | None
    """The most probable class, or None for a pack without a classifier."""
    confidence: float
    """Its smoothed probability."""
    finding_score: float
    """The highest smoothed probability among classes that are findings."""
    visible: bool
    """True when the frame could be judged."""
    reason: str | None
    """Why it could not."""
    segmented: bool
    """True when the segmenter looked."""
    mask_area: float | None
    """Fraction of the picture inside the mask; None when there is none."""

    @property
    def role(self) -> Role:
        """The clinical role of the most probable class."""
        return "background" if self.label is None else term(self.label).role

    @property
    def adequate(self) -> bool | None:
        """Whether the preparation looks adequate; None when the class says nothing of it."""
        return self.label == ADEQUATE if self.role == "preparation" and self.visible else None


@dataclass(frozen=True, slots=True)
class Layers:
    """Which overlays are wanted."""

    heatmap: bool = False
    """Draw the heat map."""
    contour: bool = True
    """Draw the contour."""
    hidden: bool = False
    """Draw nothing, whatever else is wanted."""
    opacity: float = 0.8
    """0..1; scales the heat map's 45 % and the mask fill's 15 %."""

    @property
    def shows_heatmap(self) -> bool:
        """True when the heat map is to be drawn."""
        return self.heatmap and not self.hidden

    @property
    def shows_contour(self) -> bool:
        """True when the contour is to be drawn."""
        return self.contour and not self.hidden


Level = Literal["info", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the banner: what happened and what to do."""

    text: str
    """One line."""
    level: Level = "info"
    """How grave it is."""
    action: str | None = None
    """Key of the action that helps, shown as a button."""


def sample_of(analysis: Analysis, may_open: frozenset[str] | None = None) -> Sample:
    """The numbers of an analysis, without its picture.

    `may_open` names the classes that can open a finding in this run; None goes by their role.
    """
    acting = analysis.acting
    labels = acting.labels if acting else ()
    scores = acting.scores if acting else np.zeros(0, np.float32)
    if may_open is None:
        may_open = frozenset(name for name in labels if term(name).role == "finding")
    findings = [float(s) for name, s in zip(labels, scores, strict=True) if name in may_open]
    mask = analysis.mask
    return Sample(
        time=analysis.frame.time,
        index=analysis.frame.index,
        epoch=analysis.frame.epoch,
        labels=labels,
        scores=scores,
        label=acting.label if acting else None,
        confidence=acting.confidence if acting else 0.0,
        finding_score=max(findings, default=0.0),
        visible=analysis.visible,
        reason=analysis.reason,
        segmented=analysis.segmented,
        mask_area=None if mask is None else float(np.count_nonzero(mask)) / mask.size,
    )


def listed(info: RunInfo, key: str) -> frozenset[str]:
    """The classes that the pack lists under `key` (`background`, `unreliable`)."""
    return frozenset(name.strip() for name in info.pack.get(key, "").split(",") if name.strip())


def openers(info: RunInfo) -> frozenset[str]:
    """The classes that can open a finding in this run."""
    names = (n for n in info.labels if term(n).role == "finding" and in_context(n, info.exam))
    return frozenset(names) - listed(info, "background")


def spoken_time(seconds: float, hours: bool = False) -> str:
    """A stream time for people: `05:12`, or `00:05:12` with hours."""
    whole = max(0, int(seconds))
    if hours or whole >= 3600:
        return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60:02d}:{whole % 60:02d}"
