"""The mask tracker: a mask follows the picture, late answers too, and is dropped where motion is unknown."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from endostream.analysis.tracking import Carried, MaskTracker, TrackingRules
from endostream.types import FloatArray, Frame, ImageArray, MaskArray

HEIGHT, WIDTH = 240, 320
MIDDLE = (WIDTH / 2, HEIGHT / 2)


def texture(seed: int) -> ImageArray:
    """A picture with detail of several sizes, like mucosa; deterministic."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((HEIGHT, WIDTH), np.float32)
    for sigma in (2.0, 6.0, 20.0):
        noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), sigma)
        picture += noise / noise.std()
    grey = np.clip(128 + 35 * picture, 20, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def polyp() -> MaskArray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (150, 110), (45, 30), 20.0, 0.0, 360.0, 1, -1)
    return mask.astype(bool)


def moved(picture: np.ndarray, motion: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return cv2.warpAffine(picture, motion, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def shown(index: int, image: ImageArray, time: float | None = None, epoch: int = 0) -> Frame:
    at = index / 25 if time is None else time
    return Frame(index, None, Fraction(1, 25), at, image, captured=0.0, wall=0.0, epoch=epoch)


def logits_of(mask: MaskArray, size: tuple[int, int] = (256, 256)) -> FloatArray:
    """Logits as a network gives them: squashed to its own size."""
    return np.asarray(cv2.resize(np.where(mask, np.float32(6.0), np.float32(-6.0)), size))


def at_source(logits: FloatArray) -> MaskArray:
    return np.asarray(cv2.resize(logits, (WIDTH, HEIGHT)) > 0)


def iou(a: MaskArray, b: MaskArray) -> float:
    return float((a & b).sum() / (a | b).sum())


def shift(step: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([[1, 0, 4.0 * step], [0, 1, -2.0 * step]], np.float32)


def turn(step: float) -> np.ndarray:  # type: ignore[type-arg]
    return cv2.getRotationMatrix2D(MIDDLE, 2.0 * step, 1.0)


def closer(step: float) -> np.ndarray:  # type: ignore[type-arg]
    return cv2.getRotationMatrix2D(MIDDLE, 0.0, 1.03**step)


def away(step: float) -> np.ndarray:  # type: ignore[type-arg]
    return cv2.getRotationMatrix2D(MIDDLE, 0.0, 0.97**step)


@pytest.mark.parametrize("size", [(256, 256), (320, 320), (96, 160)], ids=str)
@pytest.mark.parametrize("motion", [shift, turn, closer, away], ids=lambda m: m.__name__)
def test_a_mask_follows_the_picture(motion, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    picture, mask = texture(1), polyp()
    tracker = MaskTracker()
    tracker.see(shown(0, picture))
    tracker.expect(0)
    assert tracker.anchor(0, logits_of(mask, size))
    for step in range(1, 8):
        tracker.see(shown(step, moved(picture, motion(step))))
    carried = tracker.carried()
    assert carried is not None and carried.logits.shape == (size[1], size[0])
    truly = moved(mask.astype(np.uint8), motion(7)).astype(bool)
    assert iou(at_source(carried.logits), truly) > 0.88 > iou(mask, truly)
    assert (carried.index, carried.time) == (0, 0.0) and carried.age == pytest.approx(7 / 25)
    assert carried.trust > 0.8 and not carried.logits.flags.writeable


def test_a_late_answer_is_moved_by_all_that_happened_since() -> None:
    picture, mask = texture(2), polyp()
    at_once, late = MaskTracker(), MaskTracker()
    for step in range(7):
        frame = shown(step, moved(picture, shift(step)))
        for tracker in (at_once, late):
            tracker.see(frame)
            if step == 1:
                tracker.expect(1)
        if step == 1:
            assert at_once.anchor(1, logits_of(mask))
    assert late.carried() is None
    assert late.anchor(1, logits_of(mask))
    one, other = at_once.carried(), late.carried()
    assert one is not None and other is not None
    assert np.array_equal(one.logits, other.logits) and one.age == other.age == pytest.approx(5 / 25)
    truly = moved(mask.astype(np.uint8), shift(5)).astype(bool)
    assert iou(at_source(other.logits), truly) > 0.9


def test_a_newer_answer_takes_the_place_of_the_older_one() -> None:
    picture, mask = texture(3), polyp()
    tracker = MaskTracker()
    for step in range(3):
        tracker.see(shown(step, picture))
        tracker.expect(step)
    assert tracker.anchor(0, logits_of(mask))
    assert tracker.anchor(2, logits_of(~mask))
    carried = tracker.carried()
    assert carried is not None and carried.index == 2 and carried.age == 0.0
    assert np.array_equal(carried.logits, logits_of(~mask))
    assert not tracker.anchor(1, logits_of(mask)), "an answer older than the one carried is not wanted"


def test_a_cut_drops_the_mask_and_the_answer_that_is_on_its_way() -> None:
    tracker = MaskTracker()
    tracker.see(shown(0, texture(4)))
    tracker.expect(0)
    tracker.anchor(0, logits_of(polyp()))
    tracker.see(shown(1, texture(4)))
    tracker.expect(1)
    assert tracker.carried() is not None and tracker.cuts == 0
    tracker.see(shown(2, texture(5)))
    assert tracker.carried() is None and tracker.cuts == 1
    assert not tracker.anchor(1, logits_of(polyp()))
    tracker.expect(2)
    assert tracker.anchor(2, logits_of(polyp())) and tracker.carried() is not None


def test_a_mask_is_carried_to_its_age_limit_and_no_further() -> None:
    tracker = MaskTracker(TrackingRules(keep_s=0.4))
    tracker.see(shown(0, texture(6), time=10.0))
    tracker.expect(0)
    tracker.anchor(0, logits_of(polyp()))
    tracker.see(shown(1, texture(6), time=10.4))
    assert tracker.carried() is not None
    tracker.see(shown(2, texture(6), time=10.44))
    assert tracker.carried() is None
    tracker.expect(2)
    tracker.see(shown(3, texture(6), time=10.9))
    assert not tracker.anchor(2, logits_of(polyp())), "an answer past the limit has nothing to be carried to"


def test_a_frozen_picture_keeps_the_mask_where_it_is() -> None:
    tracker, logits = MaskTracker(), logits_of(polyp())
    for index, image in enumerate([texture(7)] * 5):
        tracker.see(shown(index, image))
        if index == 0:
            tracker.expect(0)
            tracker.anchor(0, logits)
    carried = tracker.carried()
    assert carried is not None and carried.trust == pytest.approx(1.0)
    assert iou(carried.logits > 0, logits > 0) > 0.99


def test_a_mask_that_was_empty_is_carried_as_empty() -> None:
    picture = texture(8)
    tracker = MaskTracker()
    for step in range(4):
        tracker.see(shown(step, moved(picture, shift(step))))
        if step == 0:
            tracker.expect(0)
            tracker.anchor(0, np.full((64, 64), -5.0, np.float32))
    carried = tracker.carried()
    assert carried is not None and carried.index == 0 and (carried.logits < 0).all()


def test_a_mask_that_has_left_the_picture_is_dropped() -> None:
    picture = texture(9)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[100:140, 270:310] = True
    tracker = MaskTracker()
    tracker.see(shown(0, picture))
    tracker.expect(0)
    tracker.anchor(0, logits_of(mask))
    trusts = []
    for step in range(1, 9):
        tracker.see(shown(step, moved(picture, np.array([[1, 0, 6.0 * step], [0, 1, 0]], np.float32))))
        carried = tracker.carried()
        trusts.append(0.0 if carried is None else carried.trust)
    assert trusts[0] > 0.8 and trusts[-1] == 0.0


def under_water(steady: MaskArray) -> tuple[Carried | None, MaskArray]:
    """What is carried of a steady patch and one under a jet of water, which flickers; and the latter."""
    picture, other = texture(10), texture(11)
    lost = np.zeros((HEIGHT, WIDTH), bool)
    lost[140:200, 210:280] = True
    tracker = MaskTracker()
    tracker.see(shown(0, picture))
    tracker.expect(0)
    tracker.anchor(0, logits_of(steady | lost))
    for step in (1, 2, 3):
        now = moved(picture, shift(step / 2))
        now[120:220, 190:300] = moved(other, shift(-9.0 * step))[120:220, 190:300]
        tracker.see(shown(step, now))
    return tracker.carried(), lost


def test_a_patch_whose_motion_is_unknown_is_left_out_and_the_others_stay() -> None:
    steady = np.zeros((HEIGHT, WIDTH), bool)
    steady[40:90, 40:110] = True
    carried, lost = under_water(steady)
    assert carried is not None and carried.trust > 0.8
    assert not (at_source(carried.logits) & lost).any()
    assert iou(at_source(carried.logits), moved(steady.astype(np.uint8), shift(1.5)) > 0) > 0.85


def test_a_speck_is_not_shown_without_the_patch_that_was_lost() -> None:
    speck = np.zeros((HEIGHT, WIDTH), bool)
    speck[40:62, 40:62] = True
    assert under_water(speck)[0] is None


@pytest.mark.parametrize(
    "then",
    [
        shown(1, texture(10), epoch=1),
        shown(1, texture(10)[:200]),
        shown(1, texture(10), time=-1.0),
    ],
    ids=["epoch", "size", "back in time"],
)
def test_another_stream_starts_afresh(then: Frame) -> None:
    tracker = MaskTracker()
    tracker.see(shown(0, texture(10)))
    tracker.expect(0)
    tracker.anchor(0, logits_of(polyp()))
    tracker.expect(0)
    tracker.see(then)
    assert tracker.carried() is None
    assert not tracker.anchor(0, logits_of(polyp()))


def test_frames_that_are_not_followed_are_not_known() -> None:
    tracker = MaskTracker()
    assert tracker.carried() is None and not tracker.anchor(0, logits_of(polyp()))
    tracker.see(shown(0, texture(11)))
    assert not tracker.anchor(0, logits_of(polyp()))
    with pytest.raises(ValueError, match="not the frame just seen"):
        tracker.expect(5)
    tracker.expect(0)
    tracker.reset()
    assert not tracker.anchor(0, logits_of(polyp()))
    for index in range(4):
        tracker.see(shown(index, texture(11)))
        tracker.expect(index)
    assert not tracker.anchor(0, logits_of(polyp())), "more are expected than are followed"
    assert tracker.anchor(1, logits_of(polyp()))
