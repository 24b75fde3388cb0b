"""A frame in, an analysis out: one decision whether to segment, one smoothed state that everything acts on.

Owns the order of classification, smoothing, gate, heat map and mask. Starts no threads, imports no engine:
it takes the networks as protocols. Must not know sources, sinks or sessions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from endostream import tracing
from endostream.analysis.masks import mask_at
from endostream.analysis.networks import Answer, Networks
from endostream.analysis.paced import PacedMasks
from endostream.analysis.smoothing import PUBLISHED_ALPHA, Smoother, softmax
from endostream.analysis.visibility import VisibilityRules, judge
from endostream.types import Analysis, FloatArray, Frame, MaskArray, Prediction


@dataclass(frozen=True, slots=True)
class AnalyzerRules:
    """What the pack and the settings ask of an analysis."""

    gate: Mapping[str, float] | None = None
    """Label to threshold on the smoothed score; None segments every frame."""
    mask_threshold: float = 0.5
    """Probability over which a pixel belongs to the mask."""
    mask_peak: float = 0.0
    """Probability that some pixel of a patch must reach, or the patch is dropped; 0 keeps all."""
    smoothing_s: float = 0.561
    """Time constant in seconds."""
    heatmap: bool = True
    """Compute the class map."""
    published: bool = False
    """The predecessor's rules: fixed smoothing weight, raw gate and map, nearest-neighbour mask."""
    published_gate: str = "polyps"
    """The raw label that opens the gate in `published`."""
    independent: bool = False
    """Pictures without a common time line: no smoothing, and neither gate nor blindness stops a mask."""
    paced: bool = False
    """Frames come at their own pace: a slow mask may belong to an earlier frame, and says so."""
    visibility: VisibilityRules = field(default_factory=VisibilityRules)
    """When a frame cannot be judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed:
    """What smoothing had come to at some frame."""

    time: float
    """Stream time in seconds."""
    scores: tuple[FloatArray, ...]
    """float32[C] of every classifier."""


Resume = Callable[[Frame], Smoothed | None]


def class_map(maps: FloatArray, index: int, published: bool = False) -> FloatArray:
    """The rectified map float32[gh, gw] of one class, min-max normalised to 0..1; a flat map gives zeros.

    Equal to Grad-CAM at the final norm, because the head reads nothing else (see `docs/design.md`);
    `published` divides twice with the predecessor's small constants.
    """
    cam = np.maximum(maps[index], 0.0).astype(np.float32)
    cam = cam - cam.min()
    if published:
        cam = cam / (cam.max() + np.float32(1e-6))
        return np.asarray((cam - cam.min()) / (cam.max() - cam.min() + np.float32(1e-8)), np.float32)
    top = cam.max()
    return np.asarray(cam / top if top > 0.0 else cam, np.float32)


class Analyzer:
    """Runs the networks of a pack over frames given in stream order.

    Parameters
    ----------
    networks
        The lanes; the first classifier acts.
    rules
        What the pack and the settings ask for.
    resume
        For a run that repeats another one in parts: where smoothing goes on from before a frame; None for
        frames before which nothing is missing.
    """

    def __init__(self, networks: Networks, rules: AnalyzerRules, resume: Resume = lambda frame: None) -> None:
        self._networks = networks
        self._rules = rules
        self._resume = resume
        weight = PUBLISHED_ALPHA if rules.published else None
        tau = 0.0 if rules.independent else rules.smoothing_s
        self._smoothers = [Smoother(tau, weight) for _ in networks.classifiers]
        self._epoch = 0
        self._pending: deque[tuple[Frame, float, bool, str | None]] = deque()
        self._began = 0.0
        self._masks: PacedMasks | None = None
        if rules.paced and networks.segmenter is not None:
            self._masks = PacedMasks(
                networks.segmenter, rules.mask_threshold, rules.mask_peak, rules.published
            )
        self.map_wanted = True
        """Whether a paced run computes the heat map: somebody looks at it, or a finding is open."""

    @property
    def depth(self) -> int:
        """Frames to have on their way at once."""
        return self._networks.depth

    @property
    def ready(self) -> bool:
        """True when `finish` would not wait for a classifier."""
        return bool(self._pending) and all(lane.ready for lane in self._networks.classifiers)

    @property
    def mask_ready(self) -> bool:
        """True when a mask has come in a paced run: `attend` takes it."""
        return self._masks is not None and self._masks.ready

    def attend(self, newest: Frame | None) -> None:
        """Take the masks that have come and give the mask network the `newest` frame captured.

        Raises `RunError` when it failed.
        """
        if self._masks is not None:
            self._masks.attend(newest)

    @property
    def not_before(self) -> float:
        """Monotonic clock in seconds before which the next frame should not be submitted: masks need time."""
        return 0.0 if self._masks is None else self._began + self._masks.interval

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, whenever `ready` may have become true."""
        self._networks.ring(wake)

    @property
    def pending(self) -> int:
        """Frames submitted and not yet finished."""
        return len(self._pending)

    def analyse(self, frame: Frame) -> Analysis:
        """The analysis of one frame, when no other is on its way; see `submit` and `finish`."""
        self.submit(frame)
        return self.finish()

    def submit(self, frame: Frame) -> None:
        """Start on a frame; returns at once."""
        began = time.perf_counter()
        self._began = time.monotonic()
        for lane in self._networks.classifiers:
            lane.submit(frame.index, frame.image)
        early = self._networks.segmenter is not None and not self._rules.paced and self._always
        if early:
            self._ask(frame)
        if self._masks is not None:
            start = time.perf_counter()
            self._masks.begin(frame)
            tracing.add("track", start, time.perf_counter(), frame=frame.index)
        # While the networks work: a frame that comes back is not kept waiting for it.
        start = time.perf_counter()
        reason = None if self._rules.published else judge(frame.image, self._rules.visibility)
        tracing.add("judge", start, time.perf_counter(), frame=frame.index)
        self._pending.append((frame, began, early, reason))

    def finish(self) -> Analysis:
        """The analysis of the oldest frame submitted.

        Waits for the classifiers, and for the mask unless the source is paced. Raises `RunError` when a
        network fails.
        """
        frame, began, early, reason = self._pending.popleft()
        if frame.epoch != self._epoch:
            self.reset(frame.epoch)
        if (before := self._resume(frame)) is not None:
            for smoother, state in zip(self._smoothers, before.scores, strict=True):
                smoother.resume(before.time, state)
        rules, took = self._rules, dict[str, float]()
        visible = reason is None
        answers = [lane.take() for lane in self._networks.classifiers]
        predictions = tuple(self._predict(i, a, frame, visible) for i, a in enumerate(answers))
        for answer in answers:
            for stage, seconds in answer.took.items():
                name = "classify" if stage == "infer" else stage
                took[name] = took.get(name, 0.0) + seconds
        heatmap = None
        mapped = rules.heatmap and (self.map_wanted or not rules.paced)
        if mapped and answers and answers[0].maps is not None:
            start = time.perf_counter()
            heatmap = self._heatmap(predictions[0], answers[0].maps)
            took["heatmap"] = time.perf_counter() - start
            tracing.add("heatmap", start, time.perf_counter(), frame=frame.index)
        wanted = self._wanted(predictions, visible)
        if self._masks is not None:
            start = time.perf_counter()
            mask, source, mask_time = self._masks.end(frame, wanted, took, visible)
            anchor = self._masks.anchor(frame) if wanted and source != "network" else None
            tracing.add("mask", start, time.perf_counter(), frame=frame.index)
        else:
            anchor = None
            mask = self._segment(frame, wanted, early, took)
            source, mask_time = (None, None) if mask is None else ("network", frame.time)
        took["total"] = time.perf_counter() - began
        return Analysis(
            frame=frame,
            predictions=predictions,
            heatmap=heatmap,
            mask=mask,
            mask_source=source,
            mask_time=mask_time,
            segmented=source == "network",
            visible=visible,
            reason=reason,
            took=took,
            anchor=anchor,
        )

    def reset(self, epoch: int = 0) -> None:
        """Forget the past: a seek, a reconnect, a new source."""
        self._epoch = epoch
        for smoother in self._smoothers:
            smoother.reset()

    @property
    def _always(self) -> bool:
        return self._rules.independent or (self._rules.gate is None and not self._rules.published)

    def _predict(self, index: int, answer: Answer, frame: Frame, visible: bool) -> Prediction:
        lane = self._networks.classifiers[index]
        raw = softmax(answer.logits)
        smoother = self._smoothers[index]
        scores = raw if self._rules.independent else smoother.update(frame.time, raw, visible)
        return Prediction(lane.name, lane.labels, scores, raw)

    def _heatmap(self, acting: Prediction, maps: FloatArray) -> FloatArray:
        scores = acting.raw if self._rules.published else acting.scores
        return class_map(maps, int(np.argmax(scores)), self._rules.published)

    def _wanted(self, predictions: tuple[Prediction, ...], visible: bool) -> bool:
        rules = self._rules
        if self._networks.segmenter is None:
            return False
        if rules.published:
            return bool(predictions) and predictions[0].raw_label == rules.published_gate
        if rules.independent:
            return True
        if not visible:
            return False
        if rules.gate is None or not predictions:
            return True
        acting = predictions[0]
        scores = dict(zip(acting.labels, acting.scores, strict=True))
        return any(scores.get(label, 0.0) >= bound for label, bound in rules.gate.items())

    def _ask(self, frame: Frame) -> None:
        lane = self._networks.segmenter
        assert lane is not None
        lane.submit(frame.index, frame.image)

    def _segment(self, frame: Frame, wanted: bool, early: bool, took: dict[str, float]) -> MaskArray | None:
        """The mask of a frame that can wait for it."""
        lane = self._networks.segmenter
        if lane is None or not (wanted or early):
            return None
        if not early:
            self._ask(frame)
        answer = lane.take()
        start = time.perf_counter()
        rules, (height, width) = self._rules, frame.image.shape[:2]
        mask = mask_at(answer.logits, (width, height), rules.mask_threshold, rules.mask_peak, rules.published)
        mask.setflags(write=False)
        took["segment"] = sum(answer.took.values()) + time.perf_counter() - start
        tracing.add("mask", start, time.perf_counter(), frame=frame.index)
        return mask if wanted else None
