"""Figures of class probabilities on hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from endostream.datasets import Item
from endostream.errors import InputError
from endostream.evaluation.classification import class_numbers
from endostream.evaluation.labels import label_figures, label_intervals

LABELS = ("a", "b", "c")


def probabilities(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def test_four_pictures_of_two_classes_and_a_third_without_any() -> None:
    truth = np.array([0, 0, 0, 1])
    scores = probabilities((0.8, 0.1, 0.1), (0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (0.1, 0.5, 0.4))
    found = label_figures(truth, scores, LABELS)
    figures = found.figures
    assert found.undefined == ("c",)
    assert found.matrix.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert figures["accuracy"] == 0.75
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["precision_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert figures["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert figures["auroc_macro"] == pytest.approx((1.0 + 2 / 3) / 2)
    assert figures["map_macro"] == pytest.approx((1.0 + 0.5) / 2)
    assert figures["top2_accuracy"] == 1.0
    assert figures["ece"] == pytest.approx((0.2 + 0.4 + 0.7 + 0.5) / 4, abs=1e-6)
    a, b, c = found.classes
    assert (a.pictures, a.predicted, a.precision, a.recall) == (3, 2, 1.0, pytest.approx(2 / 3))
    assert b.specificity == pytest.approx(2 / 3)
    assert (c.pictures, c.precision, c.recall, c.f1, c.auroc, c.average_precision) == (0, *(None,) * 5)
    assert c.specificity == 1.0


def test_the_second_class_counts_in_top_two_only() -> None:
    truth = np.array([0, 1, 2])
    scores = probabilities((0.5, 0.3, 0.2), (0.5, 0.3, 0.2), (0.5, 0.3, 0.2))
    assert label_figures(truth, scores, LABELS).figures["top2_accuracy"] == pytest.approx(2 / 3)
    two = label_figures(np.array([0, 1]), probabilities((0.9, 0.1), (0.9, 0.1)), LABELS[:2])
    assert two.figures["top2_accuracy"] is None, "with two classes it would always be 1"


def test_one_class_only_has_no_auroc() -> None:
    found = label_figures(np.array([1, 1]), probabilities((0.1, 0.9, 0.0), (0.6, 0.4, 0.0)), LABELS)
    assert found.figures["auroc_macro"] is None
    assert found.figures["map_macro"] == 1.0
    assert found.figures["accuracy"] == 0.5
    assert found.undefined == ("a", "c")
    assert found.classes[1].specificity is None


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    found = label_figures(np.array([0, 1]), probabilities((0.9, 0.1, 0), (0.8, 0.2, 0)), LABELS)
    assert found.classes[1].precision == 0.0
    assert found.figures["precision_macro"] == 0.25


def test_many_pictures_agree_with_scikit_learn_and_lie_in_their_intervals() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 400)
    logits = rng.normal(0, 1, (400, 3)) + 1.2 * np.eye(3)[truth]
    scores = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    predicted = scores.argmax(1)
    found = label_figures(truth, scores, LABELS).figures
    wanted = {
        "accuracy": accuracy_score(truth, predicted),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "f1_macro": f1_score(truth, predicted, average="macro"),
        "auroc_macro": roc_auc_score(np.eye(3)[truth], scores, average="macro"),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value), name
    main, recalls = label_intervals(truth, scores, [str(i // 4) for i in range(400)])
    for name, interval in main.items():
        value = found[name]
        assert interval.over == "groups" and interval.low is not None and interval.high is not None
        assert value is not None and interval.low < value < interval.high, name
        assert interval.high - interval.low < 0.2
    assert len(recalls) == 3


def test_a_single_picture_has_no_interval() -> None:
    main, recalls = label_intervals(np.array([1]), probabilities((0.1, 0.9)), ["g"])
    assert main["accuracy"].low is None
    assert [r.low for r in recalls] == [None, None]


def test_a_class_of_one_group_has_no_interval_of_its_own() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1])
    scores = probabilities((0.9, 0.1), (0.1, 0.9), (0.9, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.1))
    _, recalls = label_intervals(truth, scores, ["g", "h", "i", "j", "k", "k"])
    assert recalls[0].low is not None and recalls[0].low < 0.75
    assert recalls[1].low is None


def items(*labels: str) -> list[Item]:
    return [Item(f"{i}.png", "", label, "set", f"g{i}", "colon") for i, label in enumerate(labels)]


def test_labels_are_found_by_map_by_name_and_by_a_manifests_words() -> None:
    known = ("background", "polyps")
    assert class_numbers(items("polyps"), known, {}, "p") == {"polyps": 1}
    assert class_numbers(items("polyp", "no_polyp"), known, {}, "p") == {"polyp": 1, "no_polyp": 0}
    assert class_numbers(items("polyp"), ("polyp", "polyps"), {}, "p") == {"polyp": 0}
    assert class_numbers(items("larynx"), known, {"larynx": "background"}, "p") == {"larynx": 0}


@pytest.mark.parametrize(
    ("labels", "mapping", "said"),
    [
        (("polyps", "cecum", "ileum"), {}, "does not know cecum, ileum: map them"),
        (("polyps", "cecum"), {"cecum": "nothing"}, "does not know cecum=nothing"),
        (("polyps",), {"cecum": "polyps"}, "--map names 'cecum', which is no label"),
        (("", "polyps"), {}, "1 pictures have no class"),
        ((), {}, "no picture is left"),
    ],
)
def test_a_label_that_the_pack_does_not_know_is_named(
    labels: tuple[str, ...], mapping: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        class_numbers(items(*labels), ("background", "polyps"), mapping, "p")
    assert "\n" not in str(caught.value)
