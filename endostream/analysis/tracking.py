"""A mask carried on by optical flow until the network's next one.

Owns the motion between frames, and when it is no longer to be believed. numpy and OpenCV only, one thread.
Must not know networks, gates, thresholds of a mask or drawing.
"""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from endostream.types import FloatArray, Frame, ImageArray, MaskArray

LabelArray = NDArray[np.int32]

__all__ = ["Carried", "MaskTracker", "TrackingRules"]

_GRADIENT = np.asarray([-0.5, 0.0, 0.5], np.float32)
_ONE = np.ones(1, np.float32)
_DARK = 16
_BACKGROUND = np.float32(-10.0)
"""A logit that no threshold takes for a mask."""
_FINEST = 1
"""Flow at half the reduced size; the preset's own quarter placed fewer masks right at small sizes."""


@dataclass(frozen=True, slots=True)
class TrackingRules:
    """How motion is measured and when it is believed; lengths are shares of the picture's long side.

    The bounds were chosen on public CVC-ClinicDB sequences, whose steps are large, to carry as many masks as
    lose little Dice (`endostream evaluate tracking`); figures on those sequences are no independent test.
    """

    side: int = 160
    """Long side of the reduced grey picture in pixels; a smaller picture is not enlarged."""
    keep_s: float = 1.0
    """Oldest mask that is carried on, in seconds of stream time."""
    expected: int = 3
    """Frames at the network that are followed at once; the oldest is dropped first."""
    agree: float = 0.006
    """Forward and backward flow may disagree by so much, and ..."""
    agree_share: float = 0.1
    """... by this share of their own length."""
    cut: float = 0.25
    """Share of the picture in which the flow agrees under which the scene was cut."""
    trust: float = 0.5
    """Trust under which a mask, or a patch of it, is not shown."""
    part: float = 0.2
    """Share of a mask under which its trusted patches are not shown without the others: a speck of what was a
    polyp would mislead more than nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A mask of an earlier frame, moved to where the newest frame has it."""

    logits: FloatArray
    """float32[h, w] at the network's own size, read-only."""
    index: int
    """The frame that the network saw."""
    time: float
    """Its stream time in seconds."""
    age: float
    """Seconds of stream time from there to the newest frame."""
    trust: float
    """0..1: the share of the mask whose motion is believed, times the share of it still in the picture."""

    def __repr__(self) -> str:
        size = "x".join(map(str, self.logits.shape))
        return (
            f"Carried({self.index}, t={self.time:.3f}s, age={self.age:.3f}s, trust={self.trust:.2f}, {size})"
        )


@dataclass(slots=True, eq=False)
class _Followed:
    """A frame whose motion is followed."""

    frame: int
    time: float
    field: FloatArray | None = None
    """float32[h, w, 3] at the reduced size: where a pixel of the newest frame was (dx, dy), and how far that
    is believed (0..1); None: nothing has moved yet."""


@dataclass(slots=True, eq=False)
class _Past:
    """What is kept of the frame seen before."""

    frame: Frame
    grey: ImageArray | None = field(default=None)
    """uint8[h, w], made when it is first needed."""


class MaskTracker:
    """Follows the frames that went to the mask network, and moves its late answers to the newest frame.

    Costs nothing while nothing is expected or carried: the frame before is remembered and not even reduced.
    With one mask carried and one expected a 720p frame costs about 2.9 ms, and the warp another 0.9 ms.

    Motion is dense inverse search (Kroeger et al., ECCV 2016) both ways between successive frames; where the
    two disagree by more than a bound (Sundaram et al., ECCV 2010) the motion is not believed. The maps back
    to the followed frame are composed, so that the logits are interpolated once, however old they are.

    Parameters
    ----------
    rules
        Sizes and bounds.
    """

    def __init__(self, rules: TrackingRules | None = None) -> None:
        self._rules = rules or TrackingRules()
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._flow.setFinestScale(_FINEST)
        self._past: _Past | None = None
        self._expected: deque[_Followed] = deque(maxlen=self._rules.expected)
        self._anchor: tuple[_Followed, FloatArray] | None = None
        self._cuts = 0

    @property
    def cuts(self) -> int:
        """Scene cuts noticed so far; they can be noticed only while something is followed."""
        return self._cuts

    def reset(self) -> None:
        """Forget everything: a seek, a closed gate."""
        self._past = None
        self._forget()

    def see(self, frame: Frame) -> None:
        """Take the next analysed frame; another epoch or size, or a step back in time, resets first."""
        past = self._past
        if past is not None and not _follows(past.frame, frame):
            self.reset()
            past = None
        now = _Past(frame)
        self._past = now
        self._drop_old(frame.time)
        if past is None or not (self._expected or self._anchor):
            return
        now.grey = _reduced(frame.image, self._rules.side)
        step = self._step(now.grey, self._grey(past))
        if _agreement(step[..., 2], now.grey) < self._rules.cut:
            self._cuts += 1
            self._forget()
            return
        followed = list(self._expected)
        if self._anchor is not None:
            followed.append(self._anchor[0])
        for one in followed:
            one.field = _compose(step, one.field)

    def expect(self, index: int) -> None:
        """Follow the frame just seen from here on: it is at the mask network.

        Raises `ValueError` when `index` is not the frame just seen.
        """
        past = self._past
        if past is None or past.frame.index != index:
            raise ValueError(f"frame {index} is not the frame just seen")
        self._expected.append(_Followed(index, past.frame.time))

    def anchor(self, index: int, logits: FloatArray) -> bool:
        """Carry on the network's answer float32[h, w] for frame `index` from now on.

        Returns False, and changes nothing, when the frame is not followed any more: a reset, a cut, too old.
        Frames expected before it are dropped.
        """
        while self._expected and self._expected[0].frame <= index:
            one = self._expected.popleft()
            if one.frame == index:
                self._anchor = (one, logits)
                return True
        return False

    def carried(self) -> Carried | None:
        """The newest network mask where the newest frame has it, or None.

        None without an anchor, past `keep_s` and after a cut. Where the motion of the mask is not believed,
        or most of it has left the picture, the patches of which that is true are left out; None where too
        little is left. A mask that was empty stays empty.
        """
        if self._anchor is None or self._past is None:
            return None
        one, logits = self._anchor
        trust = 1.0
        if one.field is not None:
            found = _believed(one.field, logits, _warp(logits, one.field), self._rules)
            if found is None:
                return None
            logits, trust = found
        logits = logits.view()
        logits.setflags(write=False)
        return Carried(logits, one.frame, one.time, self._past.frame.time - one.time, trust)

    def _forget(self) -> None:
        self._expected.clear()
        self._anchor = None

    def _drop_old(self, time: float) -> None:
        # Time stamps are multiples of a frame time that float cannot hold: a millisecond is no age.
        oldest = time - self._rules.keep_s - 1e-3
        while self._expected and self._expected[0].time < oldest:
            self._expected.popleft()
        if self._anchor is not None and self._anchor[0].time < oldest:
            self._anchor = None

    def _grey(self, past: _Past) -> ImageArray:
        if past.grey is None:
            past.grey = _reduced(past.frame.image, self._rules.side)
        return past.grey

    def _step(self, now: ImageArray, before: ImageArray) -> FloatArray:
        """float32[h, w, 3]: where a pixel was in the frame before (dx, dy), and 1 where believed."""
        rules = self._rules
        # None: OpenCV takes an array that is given for a first guess; its type notes do not know that.
        back = self._flow.calc(now, before, None)  # type: ignore[call-overload]
        forth = self._flow.calc(before, now, None)  # type: ignore[call-overload]
        height, width = now.shape
        at = _grid(height, width) + back
        there = _fetch(forth, at)
        apart = back + there
        length = _square(back) + _square(there)
        bound = (rules.agree * max(height, width)) ** 2 + rules.agree_share**2 * length
        step = np.empty((height, width, 3), np.float32)
        step[..., :2] = back
        x, y = at[..., 0], at[..., 1]
        inside = (x > -1.0) & (y > -1.0) & (x < width) & (y < height)
        step[..., 2] = (_square(apart) < bound) & inside
        return step


def _follows(past: Frame, frame: Frame) -> bool:
    return past.epoch == frame.epoch and past.image.shape == frame.image.shape and past.time <= frame.time


def _reduced(image: ImageArray, side: int) -> ImageArray:
    """The green of a picture uint8[H, W, 3] with its long side at `side`, uint8[h, w].

    Green carries the texture of mucosa. Pixels are skipped before the average by area: halving all three
    colours first takes 0.45 ms.
    """
    height, width = image.shape[:2]
    stride = max(1, max(height, width) // (2 * side))
    green = np.ascontiguousarray(image[::stride, ::stride, 1])
    scale = min(1.0, side / max(green.shape))
    size = (max(16, round(green.shape[1] * scale)), max(16, round(green.shape[0] * scale)))
    return np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA))


def _agreement(sound: FloatArray, grey: ImageArray) -> float:
    """Share of the lit picture whose motion is believed: the black rim of a tower never moves."""
    lit = grey > _DARK
    return float((sound if not lit.any() else sound[lit]).mean())


@functools.lru_cache(maxsize=4)
def _grid(height: int, width: int) -> FloatArray:
    """float32[h, w, 2]: x and y of every pixel; read-only, made once per size."""
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
    grid.setflags(write=False)
    return grid


def _square(vectors: FloatArray) -> FloatArray:
    """float32[h, w]: squared lengths of float32[h, w, 2]."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y)


def _fetch(picture: FloatArray, at: FloatArray) -> FloatArray:
    """The values of `picture` at places float32[h, w, 2] (x, y), bilinear; outside, those at its edge."""
    x, y = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _compose(step: FloatArray, before: FloatArray | None) -> FloatArray:
    """The map back to a followed frame, float32[h, w, 3], after one more step."""
    if before is None:
        return step
    height, width = step.shape[:2]
    at = _grid(height, width) + step[..., :2]
    moved = _fetch(before, at)
    moved[..., :2] += step[..., :2]
    moved[..., 2] *= step[..., 2]
    return moved


def _warp(logits: FloatArray, back: FloatArray) -> FloatArray:
    """Logits float32[h, w] moved along a map of any size that covers the same picture."""
    height, width = logits.shape
    full = np.asarray(cv2.resize(back[..., :2], (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    full *= np.asarray([width / back.shape[1], height / back.shape[0]], np.float32)
    full += _grid(height, width)
    # What comes into view beside a mask that was cut off by the edge is most likely more of the same.
    return _fetch(logits, full)


def _believed(
    back: FloatArray, logits: FloatArray, moved: FloatArray, rules: TrackingRules
) -> tuple[FloatArray, float] | None:
    """The moved logits and the trust in them; where the whole is not trusted, with the trusted patches alone.

    The trust is the share of the mask whose motion is believed, times the share of it still in the picture.
    None when too little of it is trusted.
    """
    least = rules.trust
    size = (back.shape[1], back.shape[0])
    then, now = _over(logits, size), _over(moved, size)
    sound = back[..., 2]
    if not then.any():
        trust = float(sound.mean())
        return (moved, trust) if trust >= least else None
    if not now.any():
        return None
    # The area of the old mask that a pixel of the new one came from is the map's Jacobian determinant: their
    # sum is what is still in view, whether the camera came closer or drew back.
    dx = cv2.sepFilter2D(back[..., :2], cv2.CV_32F, _GRADIENT, _ONE)
    dy = cv2.sepFilter2D(back[..., :2], cv2.CV_32F, _ONE, _GRADIENT)
    area = np.clip((1.0 + dx[..., 0]) * (1.0 + dy[..., 1]) - dx[..., 1] * dy[..., 0], 0.0, 4.0)
    trust = float(sound[now].mean()) * min(1.0, float(area[now].sum()) / int(then.sum()))
    if trust >= least:
        return moved, trust
    count, labels = cv2.connectedComponents(then.view(np.uint8))
    if count == 2:
        return None
    # Each pixel of the moved mask belongs to the patch that it came from.
    patches = np.asarray(labels, np.int32)
    came = np.where(now, _origin(patches, back), 0).astype(np.int32)
    before = _sums(patches, None, count)
    kept = np.minimum(1.0, _sums(came, area, count) / before)
    trusts = kept * _sums(came, sound, count) / np.maximum(1.0, _sums(came, None, count))
    good: MaskArray = trusts >= least
    if before[good].sum() < rules.part * before.sum():
        return None
    return _only(moved, came, good), float(np.average(trusts[good], weights=before[good]))


def _sums(patches: LabelArray, values: FloatArray | None, count: int) -> NDArray[np.float64]:
    """The sum of the values over each patch, or its pixels; without the background."""
    weights = None if values is None else values.ravel()
    return np.bincount(patches.ravel(), weights, minlength=count)[1:].astype(np.float64)


def _origin(patches: LabelArray, back: FloatArray) -> LabelArray:
    """The patch at the place that each pixel came from, int32[h, w]."""
    height, width = patches.shape
    at = np.rint(_grid(height, width) + back[..., :2]).astype(np.int32)
    return np.asarray(patches[np.clip(at[..., 1], 0, height - 1), np.clip(at[..., 0], 0, width - 1)])


def _only(logits: FloatArray, came: LabelArray, good: MaskArray) -> FloatArray:
    """The logits with everything but the good patches made background."""
    # A pixel more on every side: the reduced patch ends within the edge of the full one.
    chosen = np.concatenate(([False], good))[came].view(np.uint8)
    wide = cv2.dilate(chosen, np.ones((3, 3), np.uint8))
    size = (logits.shape[1], logits.shape[0])
    there = np.asarray(cv2.resize(wide, size, interpolation=cv2.INTER_NEAREST), np.uint8).view(np.bool_)
    return np.where(there, logits, np.minimum(logits, _BACKGROUND))


def _over(logits: FloatArray, size: tuple[int, int]) -> MaskArray:
    return np.asarray(cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR) > 0.0)
