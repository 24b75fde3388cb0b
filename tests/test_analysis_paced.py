"""Masks of a paced run: one for every frame, whatever the network takes, and honest about its age."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from endostream.analysis.networks import Answer
from endostream.analysis.paced import LONGEST_S, Budget, PacedMasks
from endostream.types import Frame, ImageArray, MaskArray

SIDE, STEP = 160, 3
RNG = np.random.default_rng(5)
COARSE = RNG.integers(40, 216, (24, 60, 3), dtype=np.uint8)
SCENE = cv2.GaussianBlur(cv2.resize(COARSE, (640, 240), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)


def frame(index: int, epoch: int = 0, rate: float = 25.0) -> Frame:
    """A camera that moves by `STEP` pixels a frame over a textured scene."""
    image = np.ascontiguousarray(SCENE[:SIDE, STEP * index : STEP * index + SIDE])
    image.setflags(write=False)
    return Frame(index, index, Fraction(1, 25), index / 25, image, index / rate, 0.0, epoch)


def truth(index: int) -> MaskArray:
    """Where the disc of the scene stands in that frame."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.hypot(x - (110 - STEP * index), y - 80) < 28


def overlap(one: MaskArray, other: MaskArray) -> float:
    return 2.0 * float((one & other).sum()) / max(1.0, float(one.sum() + other.sum()))


class Masks:
    """A mask network that knows the truth and answers `lag` polls later, or at once when waited for."""

    name, labels = "mask", ("polyps",)

    def __init__(self, lag: int, takes: float = 1.0) -> None:
        self.lag, self.takes = lag, takes
        self.asked: list[int] = []
        self.queue: list[list[int]] = []
        self.empty = False

    @property
    def pending(self) -> int:
        return len(self.queue)

    @property
    def ready(self) -> bool:
        return bool(self.queue) and self.queue[0][0] <= 0

    def submit(self, key: int, image: ImageArray) -> None:
        self.asked.append(key)
        self.queue.append([self.lag, key])

    def answer(self, key: int) -> Answer:
        small = cv2.resize(truth(key).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
        logits = np.full_like(small, -9.0) if self.empty else (12.0 * small - 6.0)
        return Answer(key, logits.astype(np.float32), None, {"infer": self.takes})

    def take(self) -> Answer:
        return self.answer(self.queue.pop(0)[1])

    def poll(self, wait: bool = False) -> list[Answer]:
        ready = [k for left, k in self.queue if wait or left <= 0]
        self.queue = [[left - 1, k] for left, k in self.queue if k not in ready]
        return [self.answer(k) for k in ready]


def run(masks: PacedMasks, frames: list[Frame], wanted: bool = True):  # type: ignore[no-untyped-def]
    found = []
    for f in frames:
        masks.begin(f)
        found.append(masks.end(f, wanted, {"classify": 0.02}))
    return found


def test_a_slow_network_leaves_no_frame_without_a_mask() -> None:
    lane = Masks(lag=4)
    seen = run(PacedMasks(lane, 0.5, 0.0), [frame(k) for k in range(25)])
    assert seen[0][1] == "network", "how long it takes is not known before the first"
    for index, (mask, source, time) in enumerate(seen):
        assert mask is not None and time is not None
        assert source == ("network" if time == index / 25 else "tracked")
        assert index / 25 - time <= 11 / 25, "at most two answers old"
        assert overlap(mask, truth(index)) > 0.9, f"frame {index}"
        assert not mask.flags.writeable
    assert {s for _, s, _ in seen} == {"network", "tracked"}
    assert len(lane.asked) == len(set(lane.asked)) and max(np.diff(lane.asked)) <= 6


def test_the_network_is_never_left_idle() -> None:
    lane = Masks(lag=0, takes=1.0)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(2)])
    lane.lag = 99
    masks.begin(frame(2))
    assert lane.asked[-1] == 2
    masks.end(frame(2), True, {"classify": 0.02})
    held = frame(3)
    masks.begin(held)
    assert lane.asked[-1] == 2, "busy"
    lane.queue[0][0] = 0
    assert masks.ready
    newer = frame(5)
    masks.attend(newer)
    assert lane.asked[-1] == 5, "the newest captured, while the classification of 3 goes on"
    mask, source, time = masks.end(held, True, {"classify": 0.02})
    assert mask is not None and (source, time) == ("tracked", 2 / 25)
    assert overlap(mask, truth(3)) > 0.9 > overlap(mask, truth(5)), "as it was for frame 3"
    lane.queue[0][0] = 0
    masks.attend(newer)
    assert lane.asked[-1] == 5 and not lane.pending, "no frame twice"
    masks.begin(newer)
    assert lane.asked[-1] == 5
    mask, source, time = masks.end(newer, True, {"classify": 0.02})
    assert mask is not None and (source, time) == ("network", 5 / 25)


def test_a_frame_older_than_the_one_at_the_network_ends_no_tracking() -> None:
    lane = Masks(lag=0, takes=1.0)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(3)])
    masks.attend(frame(5))
    lane.queue[0][0] = 99
    (found,) = run(masks, [frame(4)])
    assert found[0] is not None and overlap(found[0], truth(4)) > 0.85
    (found,) = run(masks, [frame(6)])
    assert found[0] is not None and overlap(found[0], truth(6)) > 0.9


def test_the_old_mask_unmoved_would_be_wrong() -> None:
    assert overlap(truth(10), truth(4)) < 0.75


def test_a_fast_network_gives_every_frame_its_own() -> None:
    lane = Masks(lag=4, takes=0.01)
    masks = PacedMasks(lane, 0.5, 0.0)
    seen = run(masks, [frame(k) for k in range(10)])
    assert [s for _, s, _ in seen] == ["network"] * 10
    assert lane.asked == list(range(10)) and masks.interval == 0.0


def test_a_frame_that_wants_no_mask_has_none_and_ends_the_tracking() -> None:
    lane = Masks(lag=2)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(6)])
    assert run(masks, [frame(6)], wanted=False) == [(None, None, None)]
    (again,) = run(masks, [frame(7)])
    assert again[0] is None, "what was on its way belongs to the stretch before"


@pytest.mark.parametrize("takes", [0.01, 1.0])
def test_a_blink_takes_the_mask_from_no_other_frame(takes: float) -> None:
    lane = Masks(lag=2, takes=takes)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(8)])
    masks.begin(frame(8))
    assert masks.end(frame(8), False, {"classify": 0.02}, visible=False) == (None, None, None)
    ((mask, source, _),) = run(masks, [frame(9)])
    assert mask is not None and overlap(mask, truth(9)) > 0.9
    assert source == ("network" if takes < 1 else "tracked")
    for k in range(10, 18):
        masks.begin(frame(k))
        masks.end(frame(k), False, {"classify": 0.02}, visible=False)
    lane.queue.clear()
    asked = len(lane.asked)
    masks.begin(frame(18))
    assert len(lane.asked) == asked, "a third of a second without sight is no blink"


def test_a_gate_that_opens_again_is_not_held_up_by_what_was_left_behind() -> None:
    lane = Masks(lag=9, takes=0.01)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(4)])
    masks.begin(frame(4))
    masks.end(frame(4), False, {"classify": 0.005})
    assert lane.pending, "begun while the gate was still open"
    ((mask, source, time),) = run(masks, [frame(5)])
    assert mask is not None and (source, time) == ("network", 5 / 25)


@pytest.mark.parametrize(
    ("captured", "period"),
    [
        (lambda k: k / 25 + (5.0 if k > 20 else 0.0), 0.04),  # a pause
        (lambda k: (k // 2 * 2) / 25, 0.04),  # in pairs
        (lambda k: k / 100, 0.01),  # a file at four times its speed
    ],
)
def test_the_frame_period_is_that_of_the_clock_without_pauses(captured, period: float) -> None:  # type: ignore[no-untyped-def]
    budget = Budget()
    for k in range(31):
        budget.saw(replace(frame(k), captured=captured(k)))
    budget.masked(0.001, 0.001)
    for share, waits in ((0.6, True), (1.3, False)):
        for _ in range(30):
            budget.classified(share * period)
        assert budget.waits is waits


def test_looked_and_found_nothing_is_a_mask_without_pixels() -> None:
    lane = Masks(lag=0)
    lane.empty = True
    ((mask, source, _),) = run(PacedMasks(lane, 0.5, 0.0), [frame(0)])
    assert mask is not None and not mask.any() and source == "network"


def test_answers_of_an_older_epoch_are_dropped() -> None:
    lane = Masks(lag=3)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(7)])
    assert lane.pending
    for k in range(7, 14):
        (found,) = run(masks, [frame(k, epoch=1)])
        assert found[2] is None or found[2] >= 7 / 25
    assert found[2] is not None


def test_two_frames_on_their_way_each_get_the_mask_of_their_own_moment() -> None:
    lane = Masks(lag=3)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(8)])
    masks.begin(frame(8))
    for k in range(8, 16):
        masks.begin(frame(k + 1))
        mask, source, time = masks.end(frame(k), True, {"classify": 0.05})
        assert mask is not None and time is not None and source == "tracked"
        assert overlap(mask, truth(k)) > 0.9, f"frame {k}"
        assert overlap(mask, truth(k + 1)) < overlap(mask, truth(k))


def test_a_patch_that_is_nowhere_sure_is_dropped_before_it_is_carried() -> None:
    lane = Masks(lag=3)
    seen = run(PacedMasks(lane, 0.5, 0.999), [frame(k) for k in range(10)])
    assert all(mask is not None and not mask.any() for mask, *_ in seen)


def seen_at(budget: Budget, rate: float, count: int = 10) -> None:
    for k in range(count):
        budget.saw(frame(k, rate=rate))


@pytest.mark.parametrize(("rate", "waits"), [(25.0, True), (60.0, False)])
def test_a_frame_waits_for_its_mask_when_both_fit_between_two_frames(rate: float, waits: bool) -> None:
    budget = Budget()
    assert budget.waits, "the first mask is waited for"
    seen_at(budget, rate)
    budget.classified(0.01)
    budget.masked(0.01, 0.01)
    assert budget.waits is waits


def test_dropped_frames_do_not_look_like_a_slow_source() -> None:
    budget = Budget()
    for k in range(0, 30, 3):
        budget.saw(frame(k))
    budget.classified(0.01)
    budget.masked(0.05, 0.05)
    assert not budget.waits, "40 ms from frame to frame, though only every third came through"


def test_slow_masks_space_classifications_out_within_a_bound() -> None:
    budget = Budget()
    pauses = []
    for _ in range(6):
        budget.masked(0.3, 0.5)
        pauses.append(budget.interval)
    assert pauses == sorted(pauses) and pauses[0] > 0 and pauses[-1] == LONGEST_S < 0.1
    for _ in range(60):
        budget.masked(0.1, 0.1)
    assert budget.interval == 0.0, "and close up again"
    budget.masked(0.3, 0.5)
    budget.rest()
    assert budget.interval == 0.0


def test_the_pause_holds_only_while_a_mask_is_on_its_way() -> None:
    lane = Masks(lag=3)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(3)])
    masks._budget.masked(0.3, 0.5)
    assert lane.pending and masks.interval > 0
    lane.queue.clear()
    assert masks.interval == 0.0


def test_another_size_starts_anew() -> None:
    lane = Masks(lag=9)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(3)])
    small = frame(3)
    small = replace(small, image=np.ascontiguousarray(small.image[::2, ::2]))
    ((mask, _, _),) = run(masks, [small])
    assert mask is None or mask.shape == small.image.shape[:2]


def test_a_carried_mask_knows_the_networks_own_on_its_own_picture() -> None:
    lane = Masks(lag=4)
    masks = PacedMasks(lane, 0.5, 0.0)
    carried = 0
    for k in range(25):
        f = frame(k)
        ((_, source, time),) = run(masks, [f])
        own = masks.anchor(f)
        assert own is not None and masks.anchor(f) is own, "drawn once"
        made = own.frame.index
        assert np.array_equal(own.frame.image, frame(made).image) and made <= k
        assert overlap(own.mask, truth(made)) > 0.95 and not own.mask.flags.writeable
        if source == "tracked":
            carried += 1
            assert time is not None and own.frame.time >= time
    assert carried > 5


def test_there_is_no_anchor_of_another_stretch() -> None:
    lane = Masks(lag=2)
    masks = PacedMasks(lane, 0.5, 0.0)
    run(masks, [frame(k) for k in range(6)])
    assert masks.anchor(frame(6)) is not None
    assert masks.anchor(frame(6, epoch=1)) is None, "another epoch"
    run(masks, [frame(6)], wanted=False)
    assert masks.anchor(frame(6)) is None, "the gate is closed"
    masks.attend(frame(7))
    run(masks, [frame(7)], wanted=False)
    assert masks.anchor(frame(7)) is None, "what came after it closed is nobody's"
