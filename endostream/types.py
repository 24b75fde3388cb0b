"""The nouns that cross the house: frames, predictions, analyses, findings, status.

Owns frozen values only (numpy arrays inside are read-only). Must not know where they come from,
who draws them, or how they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ImageArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
MaskArray = NDArray[np.bool_]

Exam = Literal["any", "upper", "lower", "capsule"]
Finish = Literal["completed", "stopped", "failed"]
State = Literal["idle", "starting", "running", "paused", "no-signal", "frozen", "finishing", "finished"]
SignalState = Literal["good", "lost", "frozen"]
RecordingState = Literal["off", "on", "failed"]
Deinterlace = Literal["auto", "on", "off"]
Review = Literal["pending", "confirmed", "rejected"]
MaskSource = Literal["network", "tracked"]
Change = Literal["opened", "updated", "closed", "removed"]


def _shape(array: NDArray[Any] | None) -> str:
    return "None" if array is None else f"{array.dtype}{list(array.shape)}"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source, with the time it belongs to."""

    index: int
    """Delivered frames of this source counted from 0."""
    pts: int | None
    """Presentation time stamp in `time_base` units as the container gives it; None where it has none."""
    time_base: Fraction
    """Seconds per pts unit."""
    time: float
    """Stream time in seconds, start offset removed."""
    image: ImageArray
    """uint8[H, W, 3], RGB, read-only, display orientation."""
    captured: float
    """Monotonic clock (`time.monotonic`) when the picture was decoded, in seconds."""
    wall: float
    """Wall clock (`time.time`) when the picture was decoded, in seconds."""
    epoch: int = 0
    """Raised by a seek or a reconnect; analyses of an older epoch are thrown away."""
    file: str | None = None
    """Base name of the picture, for a folder of pictures."""

    def __repr__(self) -> str:
        return f"Frame({self.index}, t={self.time:.3f}s, epoch={self.epoch}, {_shape(self.image)})"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Class probabilities of one classifier for one frame."""

    model: str
    """Name of the model in its pack."""
    labels: tuple[str, ...]
    """C class names."""
    scores: FloatArray
    """float32[C], smoothed probabilities: what the product acts on."""
    raw: FloatArray
    """float32[C], probabilities of this frame alone."""

    @property
    def label(self) -> str:
        """The most probable class after smoothing."""
        return self.labels[int(np.argmax(self.scores))]

    @property
    def confidence(self) -> float:
        """The smoothed probability of `label`."""
        return float(self.scores.max())

    @property
    def known(self) -> bool:
        """True when one class holds at least half of the probability; else nothing is claimed of the frame.

        A softmax must call every picture something; blind frames take probability away from all classes.
        """
        return self.confidence >= 0.5

    @property
    def raw_label(self) -> str:
        """The most probable class of this frame alone."""
        return self.labels[int(np.argmax(self.raw))]

    @property
    def raw_confidence(self) -> float:
        """The probability of `raw_label` in this frame alone."""
        return float(self.raw.max())

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes after smoothing, best first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.labels[int(i)], float(self.scores[i])) for i in order]

    def __repr__(self) -> str:
        return f"Prediction({self.model}, {self.label} {self.confidence:.2f}, C={len(self.labels)})"


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A picture and the mask that the network made of it."""

    frame: Frame
    """The picture."""
    mask: MaskArray
    """bool[H, W] at its size."""

    def __repr__(self) -> str:
        return f"Masked({self.frame!r}, {_shape(self.mask)})"


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What the networks say about one frame."""

    frame: Frame
    """The frame the predictions belong to."""
    predictions: tuple[Prediction, ...]
    """One per classifier of the pack; the first acts."""
    heatmap: FloatArray | None
    """float32[gh, gw], class map of the acting label at its native grid, 0..1; None when not computed."""
    mask: MaskArray | None
    """bool[H, W] at source size; None when there is none."""
    mask_source: MaskSource | None
    """`network`, `tracked` or None."""
    mask_time: float | None
    """Stream time in seconds of the frame that the mask was computed from."""
    segmented: bool
    """True when the segmenter looked at this frame (whether or not it found anything)."""
    visible: bool
    """True when the frame can be judged."""
    reason: str | None
    """Why it cannot be judged: `outside`, `dark`, `overexposed`, `blurred`, `covered`, `flush`; else None."""
    took: Mapping[str, float] = field(default_factory=dict)
    """Seconds per stage: preprocess, classify, heatmap, segment, total."""
    anchor: Masked | None = None
    """Where this frame should have a mask and has not its own: the network's newest, on its picture."""

    @property
    def acting(self) -> Prediction | None:
        """The prediction that opens findings, or None for a pack without a classifier."""
        return self.predictions[0] if self.predictions else None

    def __repr__(self) -> str:
        maps = f"heatmap={_shape(self.heatmap)}, mask={_shape(self.mask)}"
        return f"Analysis({self.frame!r}, {self.acting!r}, {maps})"


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment a finding was surest."""

    time: float
    """Stream time in seconds."""
    confidence: float
    """Smoothed probability, 0..1."""
    index: int = 0
    """Index of the frame."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of time in which one class was seen."""

    id: int
    """Counted from 1 in order of opening."""
    label: str
    """Class name."""
    start: float
    """Stream time in seconds at which the score rose over the opening threshold."""
    end: float | None
    """Stream time in seconds at which it was last seen; None while it is open."""
    peak: Peak
    """When it was surest."""
    still: str | None = None
    """Path of its still, relative to the session folder."""
    review: Review = "pending"
    """What a person said of it."""
    note: str = ""
    """A person's remark."""


@dataclass(frozen=True, slots=True)
class FindingEvent:
    """A change to a finding or landmark; these are never dropped."""

    change: Change
    """What happened."""
    finding: Finding
    """The finding after the change."""
    landmark: bool = False
    """True for an anatomical landmark, which is documented but is not a finding."""


@dataclass(frozen=True, slots=True)
class BlindSpan:
    """A stretch that could not be judged."""

    start: float
    """Stream time in seconds."""
    end: float
    """Stream time in seconds."""
    reason: str
    """One of the reasons of `Analysis.reason`."""


@dataclass(frozen=True, slots=True)
class SignalChange:
    """A change of a live source's picture; these are never dropped."""

    state: SignalState
    """`good`: it came, came back, moves again, or is another kind of picture now; `lost`; `frozen`."""
    time: float
    """Stream time in seconds at which it happened: for `lost` and `frozen` that of the last new picture."""
    wall: float
    """Wall clock (`time.time`) in seconds at which it was noticed."""
    detail: str = ""
    """Why it was lost, or what the picture is now (`1280x720, 25 fps, h264`)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """How the recording of a live source is doing."""

    state: RecordingState = "off"
    """`failed`: it stopped by itself, and `reason` says why and what to do."""
    mode: Literal["copy", "encode", "lossless"] = "copy"
    """Packets as they came, or pictures encoded anew (always so where patient text is masked)."""
    encoder: str = ""
    """What encodes; empty for `copy`."""
    seconds: float = 0.0
    """Recorded so far, of all its files."""
    megabytes: float = 0.0
    """Written so far."""
    lost: int = 0
    """Pictures that a slow disk or encoder left out."""
    reason: str = ""
    """One line about a trouble, what to do included; empty while all is well."""


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Where every captured frame went: captured = analysed + dropped + skipped + pending."""

    captured: int = 0
    """Frames the source delivered."""
    analysed: int = 0
    """Frames with an analysis."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Frames lost, by cause: `busy` (the networks), `late` (not taken), `epoch`, `failed`, `stopped`."""
    skipped: int = 0
    """Frames left out on purpose (`--every`, the sampling of `published`)."""
    pending: int = 0
    """Frames on their way."""

    @property
    def total_dropped(self) -> int:
        """Dropped frames of every cause."""
        return sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says of itself before its first frame."""

    name: str
    """Base name or device name: never a full path, never credentials."""
    kind: Literal["file", "picture", "pictures", "device", "stream", "phantom"]
    """What it is."""
    live: bool
    """True when frames come at their own pace and cannot be asked for again."""
    seekable: bool
    """True when `seek` works."""
    independent: bool
    """True when the pictures have no common time line (a folder of pictures)."""
    width: int
    """Display width in pixels (of the first picture)."""
    height: int
    """Display height in pixels."""
    fps: float | None
    """Average frame rate in Hz where known."""
    duration: float | None
    """Seconds where known."""
    frames: int | None
    """Number of frames where known; an estimate for files."""
    codec: str | None = None
    """Codec name where there is one."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a sink is told when a run starts."""

    source: SourceInfo
    """The source."""
    pack: Mapping[str, str]
    """name, version, sha256 of the pack."""
    labels: tuple[str, ...]
    """Classes of the acting classifier (empty for a pack without one)."""
    settings: Mapping[str, Any]
    """The settings in force, as plain values (no paths, no times)."""
    engine: Mapping[str, str]
    """engine, device, precision: what runs the networks."""
    exam: Exam = "any"
    """Exam context."""
    phi_mask: str = "none"
    """Name of the tower profile that masks patient text, or `none`."""
    started: float = 0.0
    """Wall clock at the start, in seconds."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a run is doing."""

    state: State = "idle"
    """Where in its life it is."""
    finish: Finish | None = None
    """How it ended."""
    error: str | None = None
    """The first error, in one line."""
    counts: FrameCounts = field(default_factory=FrameCounts)
    """Where every captured frame went."""
    duration: float = 0.0
    """Stream time of the last analysed frame in seconds."""
    input_fps: float = 0.0
    """Frames captured a second, over the last seconds."""
    fps: float = 0.0
    """Frames analysed a second, over the last seconds."""
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Per stage p50_ms, p95_ms, p99_ms."""
    frame_age_ms: Mapping[str, float] = field(default_factory=dict)
    """Captured to published: p50, p95, p99."""
    warnings: tuple[str, ...] = ()
    """What could not be done, one line each."""
    sinks: Mapping[str, str] = field(default_factory=dict)
    """Sinks that failed: name to reason."""
    signal: str = ""
    """What the live picture is, or why it is lost; empty for recorded sources."""
    lag: float = 0.0
    """Seconds by which the live picture comes later than it could: a connection slower than its stream."""
    recording: Recording | None = None
    """How the recording is doing; None where there can be none."""
    display_fps: float = 0.0
    """Pictures shown a second, over the last seconds; 0 when nobody looks."""
    shown_age_ms: Mapping[str, float] = field(default_factory=dict)
    """Captured to shown, of every picture shown: p50, p95, p99."""
    overlay_age_ms: Mapping[str, float] = field(default_factory=dict)
    """Captured to shown, of the picture that the overlay drawn belongs to: p50, p95, p99."""
