"""Figures of masks on hand-made numbers, their intervals, and the contact sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from endostream.evaluation import intervals, masks
from endostream.evaluation.failures import COLUMNS, TILE, WorstPictures, write_contact_sheet
from endostream.evaluation.mask_tables import mask_figures, mask_tables, score_figures
from endostream.evaluation.masks import Counts, Judged, count_pixels


def mask(*rows: str) -> NDArray[np.bool_]:
    return np.array([[cell == "x" for cell in row] for row in rows])


def judged(
    counts: Counts, kind: str = "polyp", group: str = "g", score: float = 0.9, gated: bool = True,
    source: str = "set",
) -> Judged:  # fmt: skip
    return Judged("a.png", source, group, kind, score, gated, counts)


@pytest.mark.parametrize(
    ("truth", "found", "counts", "dice", "iou", "precision", "recall"),
    [
        (mask("xx", ".."), mask("x.", "x."), (1, 1, 1, 1), 0.5, 1 / 3, 0.5, 0.5),
        (mask("xx", "xx"), mask("xx", "xx"), (4, 0, 0, 0), 1.0, 1.0, 1.0, 1.0),
        (mask("x.", ".."), mask("xx", "x."), (1, 2, 0, 1), 0.5, 1 / 3, 1 / 3, 1.0),
        (mask("xx", ".."), mask("..", ".."), (0, 0, 2, 2), 0.0, 0.0, None, 0.0),
        (mask("..", ".."), mask("x.", ".."), (0, 1, 0, 3), None, None, None, None),
        (mask("..", ".."), mask("..", ".."), (0, 0, 0, 4), None, None, None, None),
    ],
)
def test_two_by_two_masks(
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    counts: tuple[int, ...],
    dice: float | None,
    iou: float | None,
    precision: float | None,
    recall: float | None,
) -> None:
    seen = count_pixels(truth, found)
    assert (seen.tp, seen.fp, seen.fn, seen.tn) == counts
    assert seen.dice == dice
    assert seen.iou == pytest.approx(iou)
    assert seen.precision == pytest.approx(precision)
    assert seen.recall == recall
    if truth.any():
        assert seen.dice == pytest.approx(f1_score(truth.ravel(), found.ravel(), zero_division=0))
        assert seen.iou == pytest.approx(jaccard_score(truth.ravel(), found.ravel(), zero_division=0))


def test_a_false_mask_is_one_over_two_in_a_thousand() -> None:
    assert not Counts(0, 2, 0, 998).false_mask
    assert Counts(0, 3, 0, 997).false_mask


def test_sizes_of_polyps() -> None:
    found = [masks.size_of(Counts(0, 0, n, 1000 - n)) for n in (10, 11, 50, 51)]
    assert found == ["up to 1 %", "1 to 5 %", "1 to 5 %", "over 5 %"]


def test_overlap_per_picture_and_pooled_with_and_without_the_gate() -> None:
    items = [
        judged(Counts(1, 1, 1, 1), group="a"),
        judged(Counts(30, 0, 0, 70), group="b", gated=False),
        judged(Counts(0, 0, 4, 96), group="c"),
        judged(Counts(0, 50, 0, 50), kind="crop", group="a"),
    ]
    seen = masks.overlap(items, gate=False)
    assert (seen.pictures, seen.groups) == (3, 3)
    assert seen.dice == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert seen.precision == pytest.approx((0.5 + 1.0) / 2), "the picture without a mask has no precision"
    assert seen.recall == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert seen.missed == pytest.approx(1 / 3)
    assert seen.pooled.dice == pytest.approx(62 / (62 + 1 + 5))
    behind = masks.overlap(items, gate=True)
    assert behind.dice == pytest.approx(0.5 / 3)
    assert behind.pooled.dice == pytest.approx(2 / (2 + 1 + 35))
    assert behind.pooled.area == seen.pooled.area == 204


def test_nothing_to_measure_gives_no_figure() -> None:
    seen = masks.overlap([judged(Counts(0, 1, 0, 3), kind="empty")], gate=False)
    assert (seen.pictures, seen.dice, seen.iou, seen.pooled.dice, seen.missed) == (0, None, None, None, None)
    assert masks.presence([], 0.6) is None
    figures = mask_figures([judged(Counts(0, 1, 0, 3), kind="empty")], gates=True)
    assert figures["dice"] is None
    assert figures["false_mask_empty"] == 1.0
    assert "false_mask_free_crops" not in figures


def test_the_gate_empties_a_false_mask_and_the_tables_say_both() -> None:
    items = [
        judged(Counts(5, 0, 0, 95), group="a", source="one"),
        judged(Counts(0, 9, 0, 91), kind="crop", group="a", gated=False, score=0.2, source="one"),
        judged(Counts(0, 9, 0, 91), kind="crop", group="b", score=0.7, source="two"),
        judged(Counts(0, 0, 0, 100), kind="other", group="c", score=0.1, source="three"),
    ]
    figures = mask_figures(items, gates=True)
    assert figures["false_mask_free_crops"] == 1.0
    assert figures["gated_false_mask_free_crops"] == 0.5
    assert figures["false_mask_other"] == 0.0
    tables = {table.name: table for table in mask_tables(items, gates=True, opens=0.6)}
    assert {len(row) - len(table.columns) for table in tables.values() for row in table.rows} == {0}
    assert [row[:3] for row in tables["sources"].rows] == [("one", "open", 1), ("one", "pack", 1)]
    crops = [row for row in tables["false_masks"].rows if row[0] == "polyp-free crops"]
    assert [(row[1], row[4], row[7], row[10]) for row in crops] == [
        ("one", 1.0, 0.0, 0.0), ("two", 1.0, 1.0, 1.0), ("all", 1.0, 0.5, 0.5),
    ]  # fmt: skip
    assert [row[1] for row in tables["sizes"].rows] == ["open", "pack"]
    alone = mask_figures(items, gates=False)
    assert not [name for name in alone if name.startswith("gated_")]


def test_the_frame_score_on_four_pictures() -> None:
    items = [
        judged(Counts(1, 0, 0, 1), group="a", score=0.9),
        judged(Counts(1, 0, 0, 1), group="b", score=0.4),
        judged(Counts(0, 0, 0, 2), kind="crop", group="a", score=0.6),
        judged(Counts(0, 0, 0, 2), kind="crop", group="b", score=0.1),
    ]
    seen = masks.presence(items, 0.6)
    assert seen is not None
    assert (seen.polyps, seen.others) == (2, 2)
    assert seen.auroc == pytest.approx(3 / 4)
    assert seen.precision == pytest.approx((1 + 2 / 3) / 2)
    assert seen.ece == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4)
    assert seen.sensitivity == 0.5
    figures, found = score_figures([*items, judged(Counts(0, 0, 0, 2), "other", "c", 0.95)], 0.6)
    assert figures["auroc_free_crops"] == pytest.approx(3 / 4)
    assert figures["auroc_all"] == pytest.approx(3 / 6)
    assert figures["false_open_other"] == 1.0
    assert set(found) == {"set", "all", "every negative"}


def test_a_pack_without_a_classifier_has_no_frame_score() -> None:
    item = Judged("a", "s", "g", "polyp", None, True, Counts(1, 0, 0, 1))
    assert masks.presence([item], 0.6) is None
    assert score_figures([item], 0.6) == ({}, {})


def test_the_interval_of_the_calibration_error_holds_the_librarys_value() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(600)
    truth = rng.random(600) < scores**2
    groups = [str(i // 3) for i in range(600)]
    value = masks.calibration_error(scores, truth)
    seen = masks._error_interval(scores, truth, groups)
    assert seen.low is not None and seen.high is not None
    assert seen.low < value < seen.high
    assert seen.high - seen.low < 0.15
    import torch

    again = binary_calibration_error(torch.from_numpy(scores), torch.from_numpy(truth.astype(int)), 15)
    assert value == pytest.approx(float(again))


def test_groups_not_pictures_are_drawn() -> None:
    # 10 groups of 50 equal pictures: by pictures the interval would be 7 times narrower.
    values = np.repeat([0.0, 1.0] * 5, 50)
    groups = [f"g{i // 50}" for i in range(500)]
    by_group = intervals.mean_interval(values.tolist(), groups)
    by_picture = intervals.mean_interval(values.tolist(), [str(i) for i in range(500)])
    assert by_group.over == by_picture.over == "groups"
    assert by_group.low == pytest.approx(0.2, abs=0.11)
    assert by_group.high == pytest.approx(0.8, abs=0.11)
    assert by_picture.low == pytest.approx(0.456, abs=0.02)


def test_one_group_is_drawn_by_pictures_and_says_so_and_one_picture_has_no_interval() -> None:
    seen = intervals.mean_interval([0.0, 1.0, 1.0, 0.0], ["g"] * 4)
    assert seen.over == "pictures"
    assert seen.low is not None
    assert intervals.mean_interval([0.5], ["g"]) == intervals.Interval(None, None, "")
    assert intervals.mean_interval([], []) == intervals.Interval(None, None, "")


def test_ranking_intervals_are_those_of_the_library_with_the_draws_as_weights() -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 8, 60) / 8
    truth = rng.random(60) < 0.2 + scores / 2
    groups = [str(i % 9) for i in range(60)]
    index, times, _ = intervals.group_draws(groups, 120)
    area, precision = intervals.ranking_intervals(scores, truth, groups, 120)
    for seen, library in ((area, roc_auc_score), (precision, average_precision_score)):
        drawn = [library(truth, scores, sample_weight=chosen[index]) for chosen in times]
        assert (seen.low, seen.high) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))))


def test_a_figure_that_is_undefined_in_some_draws() -> None:
    groups = [str(i) for i in range(10)]
    ratio = intervals.ratio_interval([1.0] + [0.0] * 9, [1.0] + [0.0] * 9, groups)
    assert (ratio.low, ratio.high) == (1.0, 1.0), "65 % of the draws hold the first item"
    assert intervals.spread(np.array([1.0] * 4 + [np.nan] * 6), "groups").low is None
    area, _ = intervals.ranking_intervals(np.ones(3), np.ones(3, bool), groups[:3])
    assert area.low is None


def test_the_contact_sheet_holds_the_worst_with_their_outlines(tmp_path: Path) -> None:
    image = np.full((60, 80, 3), 90, np.uint8)
    truth = np.zeros((60, 80), bool)
    truth[10:30, 10:30] = True
    found, nothing = np.zeros_like(truth), np.zeros_like(truth)
    found[30:50, 40:70] = True
    kept = WorstPictures(2)
    for name, badness in (("good", 0.1), ("bad", 0.9), ("worst", 1.0)):
        kept.look(image, truth, found, name, badness, "Dice")
    kept.look(image, nothing, found, "false", 0.2, "mask")
    kept.look(image, nothing, nothing, "clean", 0.0, "mask")
    failures = kept.failures()
    assert [failure.badness for failure in failures] == [1.0, 0.9, 0.2]
    write_contact_sheet(tmp_path / "new" / "sheet.png", failures)
    sheet = cv2.imread(str(tmp_path / "new" / "sheet.png"))[..., ::-1]
    assert sheet.shape[1] == COLUMNS * (TILE[0] + 8) + 8
    tile = sheet[8 : 8 + TILE[1], 8 : 8 + TILE[0]].astype(int)
    green = (abs(tile - (40, 220, 70)).sum(-1) == 0).nonzero()
    magenta = (abs(tile - (255, 0, 200)).sum(-1) == 0).nonzero()
    assert green[1].max() < magenta[1].min(), "the truth lies left of the mask"
    assert len(green[0]) > 200 and len(magenta[0]) > 200
