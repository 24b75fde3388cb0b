"""Visibility and overlay on real pixels."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from endostream.analysis.overlay import COLOURS, Layers, bar_height, clock, contours, render
from endostream.analysis.visibility import BlindLedger, VisibilityRules, judge
from endostream.types import Analysis, BlindSpan, Frame, Prediction

RNG = np.random.default_rng(3)


def mucosa(blur: float = 0.0, gain: float = 1.0) -> np.ndarray:  # type: ignore[type-arg]
    texture = cv2.GaussianBlur(RNG.normal(0, 1, (240, 320)).astype(np.float32), (0, 0), 2)
    base = np.stack([170 + 60 * texture, 95 + 45 * texture, 75 + 40 * texture], -1) * gain
    image = np.clip(base, 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), blur) if blur else image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (mucosa(), None),
        (mucosa(gain=0.6), None),
        (mucosa(gain=0.06), "dark"),
        (np.zeros((90, 120, 3), np.uint8), "dark"),
        (mucosa(gain=6.0), "overexposed"),
        (mucosa(blur=30.0), "blurred"),
        (mucosa()[..., ::-1].copy(), "outside"),
    ],
)
def test_reasons(image: np.ndarray, reason: str | None) -> None:  # type: ignore[type-arg]
    assert judge(image, VisibilityRules()) == reason
    assert judge(image, VisibilityRules(enabled=False)) is None


def test_blind_ledger_adds_up_stretches() -> None:
    ledger, spans = BlindLedger(0.4), list[BlindSpan]()
    for k in range(100):
        time = k / 10
        reason = "dark" if 2.0 <= time < 4.0 else "blurred" if 4.0 <= time < 4.2 or time >= 9.0 else None
        spans += ledger.update(time, reason)
    spans += ledger.finish()
    assert spans == [BlindSpan(2.0, 4.0, "dark"), BlindSpan(9.0, 9.9, "blurred")]


def shown(mask: np.ndarray | None, heat: np.ndarray | None = None) -> tuple[Frame, Analysis]:  # type: ignore[type-arg]
    frame = Frame(0, 0, Fraction(1, 25), 61.5, mucosa(), 0.0, 0.0)
    scores = np.asarray([0.1, 0.9], np.float32)
    prediction = Prediction("m", ("background", "polyps"), scores, scores)
    analysis = Analysis(frame, (prediction,), heat, mask, "network", 61.5, True, True, None)
    return frame, analysis


def test_pixels_outside_what_is_drawn_are_untouched() -> None:
    mask = np.zeros((240, 320), bool)
    mask[60:120, 100:180] = True
    frame, analysis = shown(mask)
    picture = render(frame, analysis)
    assert picture.shape == (240 + bar_height(240), 320, 3)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert np.array_equal(picture[:240][~near], frame.image[~near])
    assert np.abs(picture[60, 105:175].astype(int) - COLOURS["finding"]).max() < 40
    inside = picture[80:100, 120:160].astype(int) - frame.image[80:100, 120:160]
    assert 0 < np.abs(inside).max() <= 0.15 * 255


def test_without_an_analysis_the_bar_says_so_and_the_picture_is_untouched() -> None:
    frame, analysis = shown(None)
    bare, judged = render(frame, None), render(frame, analysis)
    assert np.array_equal(bare[:240], frame.image) and np.array_equal(judged[:240], frame.image)
    assert not np.array_equal(bare[240:], judged[240:])


def test_heat_map_is_never_opaque_and_lies_where_it_is_hot() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[2, 5] = 1.0
    frame, analysis = shown(None, heat)
    changed = np.abs(render(frame, analysis, Layers(bar=False)).astype(int) - frame.image).max(axis=2) > 3
    rows, columns = np.nonzero(changed)
    assert abs(rows.mean() - 75) < 8 and abs(columns.mean() - 220) < 8
    assert (
        np.abs(render(frame, analysis, Layers(bar=False)).astype(int) - frame.image).max() <= 0.45 * 255 + 2
    )


def test_a_frame_without_a_majority_is_unknown_and_says_so() -> None:
    frame, analysis = shown(None)
    flat = np.asarray([0.3, 0.4, 0.3], np.float32)
    unsure = Prediction("m", ("background", "polyps", "cecum"), flat, flat)
    doubtful = replace(analysis, predictions=(unsure,))
    assert analysis.acting is not None and analysis.acting.known and not unsure.known
    assert not np.array_equal(render(frame, analysis)[240:], render(frame, doubtful)[240:])


def test_contours_and_clock() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10:15, 10:18] = True
    assert len(contours(mask)) == 2
    assert (clock(3725.25), clock(0.0)) == ("1:02:05.2", "0:00:00.0")
