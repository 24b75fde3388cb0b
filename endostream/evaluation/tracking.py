"""`endostream evaluate tracking`: masks carried by optical flow against the network's own.

Owns the comparison: every frame gets the network's mask, and the mask that was the network's a given age
before and came here through the product's own tracker. Must not know options or how motion is measured.

Definitions: only frames with a finding in the truth have a Dice. Frames whose older mask the tracker dropped
are counted and left out of every compared mean. A frame within `age` after a written scene cut has no older
mask of its scene: a carried mask there is an error and is counted.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from endostream.analysis.masks import mask_at
from endostream.analysis.tracking import Carried, MaskTracker, TrackingRules
from endostream.capture import open_source
from endostream.engines import open_networks
from endostream.errors import InputError
from endostream.evaluation.advice import sought
from endostream.evaluation.masks import count_pixels
from endostream.evaluation.video_truth import Truth, beside, read_mask, read_truth
from endostream.packs import Pack, Thresholds, find_pack
from endostream.types import FloatArray, Frame, MaskArray

__all__ = ["Compared", "Tracked", "compare", "evaluate_tracking", "spoken_table"]

Say = Callable[[str], None]
_SLACK_S = 1e-3
"""Frame times are no round numbers: a mask this much younger than `age` is of that age."""
_FOLLOWED = 256
"""The product follows a few frames at the network; here every frame is one, so that every frame has a mask of
exactly the age. Each is moved alone, so that the masks are the same."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One frame with a finding in the truth, and an older network mask."""

    index: int
    """Frame index."""
    scene: str
    """Its scene in the truth."""
    across: bool
    """The older mask is of another scene."""
    network: float
    """Dice of the network's mask of this frame."""
    still: float
    """Dice of the older mask left where it was."""
    tracked: float | None
    """Dice of the older mask carried here; None: dropped as unreliable."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a clip gave."""

    name: str
    """Base name of the clip."""
    age: float
    """Seconds between the older mask and the frame."""
    rows: tuple[Compared, ...]
    """Frames compared, in order."""
    cuts: tuple[int, ...]
    """Frames at which the truth changes its scene."""
    noticed: tuple[int, ...]
    """Frames at which the tracker saw a cut, or motion too large to be followed."""
    engine: str = ""
    """What ran the network."""

    def figures(self, scene: str | None = None) -> dict[str, float | None]:
        """The figures by name, of one scene or of all; None where one is not defined."""
        rows = [r for r in self.rows if scene is None or r.scene == scene]
        within = [r for r in rows if not r.across]
        kept = [r for r in within if r.tracked is not None]
        network = _mean([r.network for r in kept])
        tracked = _mean([r.tracked for r in kept if r.tracked is not None])
        return {
            "frames": len(within),
            "carried": len(kept),
            "dropped_share": 1.0 - len(kept) / len(within) if within else None,
            "network_dice": network,
            "tracked_dice": tracked,
            "still_dice": _mean([r.still for r in kept]),
            "lost_dice": None if network is None or tracked is None else network - tracked,
            "network_dice_dropped": _mean([r.network for r in within if r.tracked is None]),
            "still_dice_dropped": _mean([r.still for r in within if r.tracked is None]),
            "after_cut_frames": len(rows) - len(within),
            "after_cut_shown": sum(r.across and r.tracked is not None for r in rows),
        }

    @property
    def scenes(self) -> list[str]:
        """The scenes in order; one without a name where the truth names none."""
        return list(dict.fromkeys(r.scene for r in self.rows))

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "clip": self.name,
            "age_s": self.age,
            "engine": self.engine,
            "figures": self.figures(),
            "cuts": len(self.cuts),
            "cuts_noticed": len(set(self.cuts) & set(self.noticed)),
            "cuts_elsewhere": len(set(self.noticed) - set(self.cuts)),
            "scenes": {scene: self.figures(scene) for scene in self.scenes},
        }


def compare(
    seen: Iterable[tuple[Frame, FloatArray]],
    truth: Truth,
    thresholds: Thresholds,
    age: float,
    rules: TrackingRules | None = None,
    name: str = "",
) -> Tracked:
    """Hold carried masks against the network's.

    Parameters
    ----------
    seen
        Frames in order, each with the network's logits float32[h, w].
    truth
        Masks by frame index, and scenes where they are known.
    thresholds
        Of the pack: what is a mask.
    age
        Seconds between a mask and the frame it is carried to; the answer comes as late as this.
    rules
        Of the tracker.
    name
        Base name of the clip.
    """
    rules = dataclasses.replace(rules or TrackingRules(), expected=_FOLLOWED)
    tracker = MaskTracker(rules)
    waiting: deque[tuple[Frame, FloatArray]] = deque()
    older: tuple[int, FloatArray] | None = None
    rows, cuts, noticed = list[Compared](), list[int](), list[int]()
    scene: str | None = None
    for frame, logits in seen:
        before, past = tracker.cuts, scene
        tracker.see(frame)
        tracker.expect(frame.index)
        scene = truth.sequence.get(frame.index, "")
        if past is not None and past != scene:
            cuts.append(frame.index)
        if tracker.cuts > before:
            noticed.append(frame.index)
        waiting.append((_without_picture(frame), logits))
        while waiting and frame.time - waiting[0][0].time >= age - _SLACK_S:
            source, answer = waiting.popleft()
            tracker.anchor(source.index, answer)
            older = source.index, answer
        file = truth.masks.get(frame.index)
        if older is None or file is None or not truth.present.get(frame.index, False):
            continue
        carried = tracker.carried()
        if carried is not None and carried.index != older[0]:
            carried = None
        rows.append(_row(frame, read_mask(file), (logits, older, carried), truth, thresholds))
    return Tracked(name, age, tuple(rows), tuple(cuts), tuple(noticed))


def _without_picture(frame: Frame) -> Frame:
    """Nothing that keeps a list keeps pictures."""
    return dataclasses.replace(frame, image=np.empty((0, 0, 3), np.uint8))


def _row(
    frame: Frame,
    target: MaskArray,
    masks: tuple[FloatArray, tuple[int, FloatArray], Carried | None],
    truth: Truth,
    thresholds: Thresholds,
) -> Compared:
    logits, (index, old), carried = masks
    height, width = frame.image.shape[:2]
    if target.shape != (height, width):
        grown = cv2.resize(target.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        target = grown.astype(bool)

    def dice(of: FloatArray) -> float:
        mask = mask_at(of, (width, height), thresholds.mask, thresholds.mask_peak)
        return count_pixels(target, mask).dice or 0.0

    scene = truth.sequence.get(frame.index, "")
    return Compared(
        index=frame.index,
        scene=scene,
        across=truth.sequence.get(index, "") != scene,
        network=dice(logits),
        still=dice(old),
        tracked=None if carried is None else dice(carried.logits),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def evaluate_tracking(
    clip: Path,
    truth: Path | None = None,
    pack: str = "polyp",
    *,
    age: float = 0.3,
    every: int = 1,
    truth_root: Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    rules: TrackingRules | None = None,
    say: Say = lambda line: None,
) -> Tracked:
    """Measure what is lost by carrying a pack's masks on a clip instead of computing them.

    Parameters
    ----------
    clip
        A video.
    truth
        Its masks: a CSV (`frame,mask[,sequence]`) or a folder of masks; None looks beside the clip.
    pack
        Name or folder; its segmenter and thresholds are used, its gate is not.
    age
        Seconds, at most `TrackingRules.keep_s`.
    every
        Take every n-th frame only: the same motion in larger steps.
    truth_root
        The folder in which mask paths inside a CSV begin.
    engine, device, precision
        As for `endostream analyze`.
    rules
        Of the tracker; None for the product's own.
    say
        Hears what takes time.

    Raises
    ------
    InputError
        The clip, its truth or the pack cannot be used; one line says why.
    """
    rules = rules or TrackingRules()
    if not 0.0 < age <= rules.keep_s:
        raise InputError(f"an age of {age:g} s is not carried; give --age over 0 and up to {rules.keep_s:g}")
    known = find_pack(pack)
    if known.segmenter is None:
        raise InputError(f"pack {known.name} has no mask network; choose another with --pack")
    if not clip.is_file():
        raise InputError(f"no clip {clip}; check the path")
    path = truth or beside(clip)
    if path is None:
        raise InputError(f"{clip.name} has no truth beside it; name it with --truth")
    judged = _truth(path, known, truth_root)
    alone = dataclasses.replace(known, models=(known.segmenter,))
    networks = open_networks(alone, engine=engine, device=device, precision=precision)
    try:
        networks.warm_up(say)
        lane = networks.segmenter
        assert lane is not None
        with open_source(str(clip)) as source:

            def seen() -> Iterator[tuple[Frame, FloatArray]]:
                while (frame := source.read()) is not None:
                    if frame.index % every == 0:
                        lane.submit(frame.index, frame.image)
                        yield frame, lane.take().logits

            found = compare(seen(), judged, known.thresholds, age, rules, clip.name)
        ran = " ".join(networks.info[k] for k in ("engine", "device", "precision") if k in networks.info)
    finally:
        networks.close()
    if not found.rows:
        raise InputError(f"no frame of {clip.name} has a finding in its truth; give the truth of this clip")
    return dataclasses.replace(found, engine=ran)


def _truth(path: Path, pack: Pack, root: Path | None) -> Truth:
    labels = pack.classifiers[0].labels if pack.classifiers else pack.models[0].labels
    label = sought(pack, None) if pack.classifiers else labels[0]
    truth = read_truth(path, label, labels, root)
    if not truth.masks:
        raise InputError(f"{path.name} holds no masks; give a CSV with frame,mask or a folder of masks")
    return truth


def spoken_table(found: Tracked) -> list[str]:
    """The figures as short lines for a terminal: the clip, then every scene where there are several."""
    told = found.as_json()
    lines = [f"{found.name}: masks carried {found.age:g} s by optical flow, {found.engine}".rstrip(", ")]
    for name, value in told["figures"].items():
        text = "-" if value is None else f"{value:d}" if isinstance(value, int) else f"{value:.4f}"
        lines.append(f"{name:<22} {text}")
    lines.append(
        f"cuts noticed           {told['cuts_noticed']} of {told['cuts']}; elsewhere {told['cuts_elsewhere']}"
    )
    if len(found.scenes) > 1:
        lines.append("scene       frames carried network tracked   still")
        for scene in found.scenes:
            f = found.figures(scene)
            dices = [f[k] for k in ("network_dice", "tracked_dice", "still_dice")]
            cells = "".join(f"{'-' if d is None else format(d, '.3f'):>8}" for d in dices)
            lines.append(f"{scene:<10} {f['frames']:>7} {f['carried']:>7}{cells}")
    return lines
