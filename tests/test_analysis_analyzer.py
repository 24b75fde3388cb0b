"""The analyzer over fake networks: gate, heat map, masks that belong to earlier frames, epochs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from endostream.analysis.analyzer import Analyzer, AnalyzerRules, class_map
from endostream.analysis.masks import mask_at
from endostream.analysis.networks import Answer
from endostream.analysis.visibility import VisibilityRules
from endostream.types import Frame

LABELS = ("background", "polyps")


def frame(index: int, brightness: int = 120, epoch: int = 0, size: tuple[int, int] = (64, 48)) -> Frame:
    rng = np.random.default_rng(index)
    image = rng.integers(0, brightness + 1, (size[1], size[0], 3), dtype=np.uint8)
    image[..., 2] //= 2
    return Frame(index, index, Fraction(1, 25), index / 25, image, 0.0, 0.0, epoch)


class FakeLane:
    """Answers with scripted logits; `lag` pictures later."""

    def __init__(self, script, maps=None, lag=0):  # type: ignore[no-untyped-def]
        self.name, self.labels = "fake", LABELS
        self.script, self.maps, self.lag, self.asked, self.queue = script, maps, lag, [], []

    @property
    def pending(self) -> int:
        return len(self.queue)

    @property
    def ready(self) -> bool:
        return bool(self.queue)

    def submit(self, key, image):  # type: ignore[no-untyped-def]
        self.asked.append(key)
        self.queue.append([self.lag, Answer(key, self.script(key), self.maps, {"infer": 1.0})])

    def take(self):  # type: ignore[no-untyped-def]
        return self.queue.pop(0)[1]

    def poll(self, wait=False):  # type: ignore[no-untyped-def]
        for item in self.queue:
            item[0] -= 1
        ready = [a for left, a in self.queue if wait or left < 0]
        self.queue = [] if wait else [item for item in self.queue if item[0] >= 0]
        return ready


class FakeNetworks:
    def __init__(self, classifier, segmenter):  # type: ignore[no-untyped-def]
        self.classifiers, self.segmenter = (() if classifier is None else (classifier,)), segmenter
        self.depth = 3
        self.ring = lambda wake: None


def logits(p: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.log(np.asarray([1 - p, p], np.float32))


def blob(_: int) -> np.ndarray:  # type: ignore[type-arg]
    grid = np.full((8, 8), -5.0, np.float32)
    grid[2:5, 3:6] = 5.0
    return grid


def analyzer(script, rules: AnalyzerRules, lag: int = 0):  # type: ignore[no-untyped-def]
    maps = np.stack([np.eye(4), np.eye(4)[::-1]]).astype(np.float32)
    classifier, segmenter = FakeLane(script, maps), FakeLane(blob, lag=lag)
    return Analyzer(FakeNetworks(classifier, segmenter), rules), segmenter


OPEN = VisibilityRules(enabled=False)


def test_gate_label_and_mask_come_from_one_smoothed_state() -> None:
    rules = AnalyzerRules(gate={"polyps": 0.5}, smoothing_s=0.2, visibility=OPEN)
    look, segmenter = analyzer(lambda k: logits(0.9 if k >= 3 else 0.1), rules)
    seen = [look.analyse(frame(k)) for k in range(12)]
    for analysis in seen:
        assert analysis.acting is not None
        assert analysis.segmented == (analysis.acting.scores[1] >= 0.5) == (analysis.mask is not None)
        assert analysis.acting.label == ("polyps" if analysis.segmented else "background")
    assert seen[3].acting.raw_label == "polyps" and not seen[3].segmented  # type: ignore[union-attr]
    assert segmenter.asked == [a.frame.index for a in seen if a.segmented]


def test_published_gate_goes_by_the_raw_label() -> None:
    look, segmenter = analyzer(lambda k: logits(0.9 if k == 2 else 0.1), AnalyzerRules(published=True))
    seen = [look.analyse(frame(k)) for k in range(4)]
    assert segmenter.asked == [2] and seen[2].segmented
    assert seen[2].acting.label == "background"  # type: ignore[union-attr]
    assert np.array_equal(seen[2].heatmap > 0.5, np.eye(4)[::-1] > 0)  # type: ignore[operator]


def test_a_paced_heat_map_is_computed_only_when_it_is_wanted() -> None:
    look, _ = analyzer(lambda k: logits(0.9), AnalyzerRules(gate={}, paced=True, visibility=OPEN))
    assert look.analyse(frame(0)).heatmap is not None
    look.map_wanted = False
    assert look.analyse(frame(1)).heatmap is None
    still, _ = analyzer(lambda k: logits(0.9), AnalyzerRules(gate={}, visibility=OPEN))
    still.map_wanted = False
    assert still.analyse(frame(0)).heatmap is not None, "a file always has one"


def test_frames_are_on_their_way_until_their_classifier_is_ready() -> None:
    look, _ = analyzer(lambda k: logits(0.9), AnalyzerRules(visibility=OPEN))
    assert not look.ready and look.depth == 3
    look.submit(frame(0))
    assert look.ready and look.pending == 1
    assert look.finish().frame.index == 0 and not look.ready


def test_a_seek_forgets_masks_and_smoothing() -> None:
    look, _ = analyzer(lambda k: logits(0.99 if k < 5 else 0.01), AnalyzerRules(visibility=OPEN), lag=0)
    for k in range(5):
        look.analyse(frame(k))
    after = look.analyse(frame(9, epoch=1))
    assert after.acting is not None and after.acting.scores[1] == pytest.approx(0.01, abs=1e-6)


def test_a_blind_frame_has_no_mask_but_a_single_picture_has() -> None:
    dark = frame(0, brightness=3)
    look, _ = analyzer(lambda k: logits(0.99), AnalyzerRules())
    blind = look.analyse(dark)
    assert (blind.visible, blind.reason, blind.mask, blind.segmented) == (False, "dark", None, False)
    look, _ = analyzer(lambda k: logits(0.01), AnalyzerRules(gate={"polyps": 0.5}, independent=True))
    alone = look.analyse(dark)
    assert alone.segmented and alone.mask is not None and alone.mask.any()


def test_a_pack_without_a_classifier_still_draws_masks() -> None:
    look = Analyzer(FakeNetworks(None, FakeLane(blob)), AnalyzerRules(visibility=OPEN))
    analysis = look.analyse(frame(0))
    assert analysis.acting is None and analysis.segmented


def test_class_map_is_normalised_and_flat_maps_are_empty() -> None:
    maps = np.asarray([[[-3.0, 1.0], [2.0, 5.0]], [[-1.0, -2.0], [-3.0, -4.0]]], np.float32)
    assert np.allclose(class_map(maps, 0), [[0.0, 0.2], [0.4, 1.0]])
    assert not class_map(maps, 1).any() and not class_map(maps, 1, published=True).any()


def test_mask_threshold_is_a_probability() -> None:
    ramp = np.linspace(-4, 4, 9, dtype=np.float32).reshape(1, 9).repeat(3, axis=0)
    for threshold in (0.2, 0.5, 0.9):
        expected = 1 / (1 + np.exp(-ramp)) > threshold
        assert np.array_equal(mask_at(ramp, (9, 3), threshold), expected)
