"""A clip as the product analysed it: one short row per frame, held against its truth.

Owns the way from a video file (through the product's own headless run) or a finished session to arrays that
thresholds can be moved over. Keeps no picture. Must not know figures or pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.config import Settings
from endostream.errors import InputError
from endostream.evaluation.video_truth import Truth, read_mask, runs
from endostream.packs import Pack
from endostream.pipeline.build import build
from endostream.pipeline.sinks import QuietSink
from endostream.records.session import Session
from endostream.types import Analysis, MaskArray, RunInfo

__all__ = ["LONGEST_S", "Watched", "watch_session", "watch_video"]

LONGEST_S = 1.0
"""A frame stands for the time to the next one, but for no longer: a gap was not analysed."""
NAN = float("nan")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One analysed clip: N frames in the order of time."""

    name: str
    """Base name of the clip or session."""
    index: NDArray[np.int64]
    """int64[N], delivered frames of the source from 0."""
    time: NDArray[np.float64]
    """float64[N], seconds of stream time."""
    lasts: NDArray[np.float64]
    """float64[N], seconds that each frame stands for."""
    score: NDArray[np.float32]
    """float32[N], smoothed score of the sought class as a session stores it (float16)."""
    raw: NDArray[np.float32]
    """float32[N], score of each frame alone, likewise."""
    visible: NDArray[np.bool_]
    """bool[N], could be judged."""
    area: NDArray[np.float32]
    """float32[N], share of the picture that the mask covers; 0 without one."""
    present: NDArray[np.bool_]
    """bool[N], the sought finding is in view; False throughout for a clip without it."""
    known: NDArray[np.bool_]
    """bool[N], the truth speaks of the frame."""
    spans: tuple[tuple[float, float], ...] = ()
    """Seconds (start, end) in which it is in view, cut at changes of the scene."""
    dice: NDArray[np.float32] | None = None
    """float32[N], Dice of the mask where the truth has one that is not empty, else NaN; None: no masks."""
    synthetic: bool = False
    """True for rendered video."""
    engine: str = ""
    """What ran the networks; for a session, when it was made."""
    notes: tuple[str, ...] = ()
    """What a reader must be told of this clip."""

    @property
    def minutes(self) -> float:
        """Analysed minutes."""
        return float(self.lasts.sum()) / 60.0


def lasting(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds that each frame stands for: to the next one, the last as long as the middle one of them."""
    if len(time) < 2:
        return np.zeros(len(time))
    steps = np.diff(time)
    usual = float(np.median(steps))
    return np.asarray(np.minimum(np.append(steps, usual), max(LONGEST_S, 2.0 * usual)))


def _dice(mask: MaskArray | None, truth: MaskArray) -> float:
    """Dice of a mask against a truth that is not empty; NaN when it is empty."""
    if not truth.any():
        return NAN
    if mask is None:
        return 0.0
    if mask.shape != truth.shape:
        size = (mask.shape[1], mask.shape[0])
        truth = cv2.resize(truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    both = int(np.logical_and(mask, truth).sum())
    return 2.0 * both / max(int(mask.sum()) + int(truth.sum()), 1)


def _engine(info: RunInfo) -> str:
    return " ".join(filter(None, (info.engine.get(k, "") for k in ("engine", "device", "precision"))))


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    time: float
    score: float
    raw: float
    visible: bool
    area: float
    dice: float


class _Rows(QuietSink):
    """Listens to a run and keeps the numbers."""

    name = "evaluation"

    def __init__(self, label: str, truth: Truth | None) -> None:
        self.rows: list[_Row] = []
        self.engine = ""
        self._label = label
        self._masks = truth.masks if truth is not None else {}

    def opened(self, info: RunInfo) -> None:
        """Refuse pictures that share no time line."""
        if info.source.independent:
            raise InputError(
                f"{info.source.name} is a picture or a folder of pictures, which has no time; give a video, "
                "or use: endostream evaluate segmentation"
            )
        self.engine = _engine(info)

    def analysed(self, analysis: Analysis) -> None:
        """Keep what a session would, and the Dice where there is a mask to compare with."""
        acting, frame = analysis.acting, analysis.frame
        if acting is None:
            raise InputError("the pack has no classifier, so that no finding can open; choose another --pack")
        at = acting.labels.index(self._label)
        scores = np.float16(acting.scores[at]), np.float16(acting.raw[at])
        path, mask = self._masks.get(frame.index), analysis.mask
        dice = NAN if path is None else _dice(mask, read_mask(path))
        area = 0.0 if mask is None else float(mask.mean())
        row = _Row(frame.index, frame.time, float(scores[0]), float(scores[1]), analysis.visible, area, dice)
        self.rows.append(row)


def _watched(name: str, rows: list[_Row], truth: Truth | None, compared: bool, **more: Any) -> Watched:
    if len(rows) < 2:
        raise InputError(f"{name}: fewer than two frames were analysed; give a longer clip")
    index = np.array([r.index for r in rows], np.int64)
    time = np.array([r.time for r in rows], np.float64)
    clip = Watched(
        name=name,
        index=index,
        time=time,
        lasts=lasting(time),
        score=np.array([r.score for r in rows], np.float32),
        raw=np.array([r.raw for r in rows], np.float32),
        visible=np.array([r.visible for r in rows], bool),
        area=np.array([r.area for r in rows], np.float32),
        present=np.zeros(len(rows), bool),
        known=np.ones(len(rows), bool),
        **more,
    )
    if truth is None:
        return clip
    clip = replace(clip, synthetic=clip.synthetic or truth.synthetic)
    if compared and truth.masks:
        clip = replace(clip, dice=np.array([r.dice for r in rows], np.float32))
    return _judged(clip, truth)


def _judged(clip: Watched, truth: Truth) -> Watched:
    """The clip held against its truth."""
    last = int(clip.index.max())
    beyond = [i for i in truth.present if i > last]
    if beyond:
        raise InputError(
            f"the truth of {clip.name} names frame {min(beyond)}, but its last analysed one is {last}; give "
            "the truth of this clip"
        )
    present, known = truth.at(clip.index, clip.time)
    if not known.any():
        raise InputError(f"the truth of {clip.name} names none of its frames; give the truth of this clip")
    ends = clip.time + clip.lasts
    if truth.kind == "intervals":
        spans = tuple(s for s in truth.spans if s[0] < ends[-1] and s[1] > clip.time[0])
        if truth.spans and not spans:
            raise InputError(f"the truth of {clip.name} lies outside it; give the truth of this clip")
    else:
        spans = runs(present & known, truth.scenes(clip.index), clip.time, ends)
    return replace(clip, present=present, known=known, spans=spans)


def watch_video(
    source: str, pack: Pack, settings: Settings, label: str, truth: Truth | None, say: Say
) -> Watched:
    """The clip `source`, run through the product's headless chain: every frame, same gate, same smoothing.

    Nothing is written. Raises `InputError` in one line for a source that cannot be used.
    """
    rows = _Rows(label, truth)
    name = Path(source).name
    say(f"analysing {name}")
    pipeline = build(source, settings.changed(heatmap=False), paced=False, sinks=[rows], say=say)
    pipeline.start()
    try:
        status = pipeline.join(timeout=10.0)
        while pipeline.running:
            say(f"{name}: {status.counts.analysed} frames, at {status.duration:.1f} s")
            status = pipeline.join(timeout=10.0)
    except BaseException:
        pipeline.close()
        raise
    synthetic = pipeline.info.source.kind == "phantom" or "phantom" in name.lower()
    more = {"synthetic": synthetic, "engine": rows.engine, "notes": tuple(status.warnings)}
    return _watched(name, rows.rows, truth, True, **more)


def watch_session(folder: Path, pack: Pack, label: str, truth: Truth | None) -> Watched:
    """A finished session from its stored probabilities; no network runs.

    The masks are compared where the session kept them (`--save-masks`). Raises `InputError` when the session
    was made with other weights than those of `pack`.
    """
    session = Session.open(folder)
    info = session.info
    if info.source.independent:
        raise InputError(f"session {folder.name} is one of pictures, which has no time; give one of a video")
    if session.live:
        raise InputError(f"session {folder.name} is still being written; wait until it is finished")
    if info.pack.get("sha256") != pack.sha256:
        made = f"{info.pack.get('name')} {info.pack.get('version')}"
        raise InputError(
            f"session {folder.name} was made with pack {made}, whose weights are not those of {pack.name} "
            f"{pack.version}; name its pack with --pack, or analyse again"
        )
    kept = truth is not None and bool(truth.masks) and (folder / "masks").is_dir()
    rows = []
    for row in session.frames():
        if not row.predictions:
            raise InputError(f"session {folder.name} holds no probabilities; give one of a classifier")
        acting = row.predictions[0]
        at, dice = acting.labels.index(label), NAN
        if kept and truth is not None and row.index in truth.masks:
            file = folder / "masks" / f"{row.index:06d}.png"
            dice = _dice(read_mask(file) if file.is_file() else None, read_mask(truth.masks[row.index]))
        scores = float(acting.scores[at]), float(acting.raw[at])
        rows.append(_Row(row.index, row.time, *scores, row.visible, row.mask_area, dice))
    # The folder of a session is often named by its date: the source's name is what may be told.
    name = info.source.name
    synthetic = info.source.kind == "phantom" or "phantom" in name.lower()
    notes = []
    if (dropped := session.status.counts.total_dropped) > 0:
        notes.append(f"{name}: {dropped} frames were dropped when the session was made")
    if (used := info.settings.get("smoothing_s")) != (usual := Settings().smoothing_s):
        notes.append(f"{name}: its scores were smoothed over {used} s, not over {usual} s")
    more = {"synthetic": synthetic, "engine": _engine(info), "notes": tuple(notes)}
    return _watched(name, rows, truth, kept, **more)
