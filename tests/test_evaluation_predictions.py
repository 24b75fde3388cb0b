"""Saved probabilities against a truth table: figures worked out by hand, and every kind of bad table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endostream.cli import main
from endostream.errors import InputError
from endostream.evaluation.alignment import align
from endostream.evaluation.calibration import Calibration, wilson
from endostream.evaluation.challenge import Judged, judge
from endostream.evaluation.predictions import evaluate_predictions
from endostream.evaluation.tables import read_table

Rows = list[list[Any]]
SIX: Rows = [
    ["image_path", "A", "B", "C"],
    ["1.jpg", 0.7, 0.2, 0.1],
    ["2.jpg", 0.4, 0.5, 0.1],
    ["3.jpg", 0.3, 0.6, 0.1],
    ["4.jpg", 0.2, 0.3, 0.5],
    ["5.jpg", 0.1, 0.1, 0.8],
    ["6.jpg", 0.2, 0.1, 0.7],
]
TRUE: Rows = [["image_path", "class_label"], *([f"{i}.jpg", c] for i, c in enumerate("AABBCC", start=1))]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    return path


def write_xlsx(path: Path, **sheets: Sequence[Sequence[Any]]) -> Path:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def judged(said: Path, true: Path, labels: tuple[str, ...] | None = None) -> Judged:
    pairs = align(read_table(said, "image_path"), read_table(true, "image_path"), labels)
    return judge(pairs.probabilities, pairs.truth, pairs.labels)


def copied(rows: Rows) -> Rows:
    return [list(row) for row in rows]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "truth.csv", TRUE)


def test_six_rows_give_the_figures_worked_out_by_hand(tmp_path: Path, truth: Path) -> None:
    found = evaluate_predictions(write_csv(tmp_path / "p.csv", SIX), truth, "the command")
    # Class B is beaten once in 2 × 4 pairs (0.3 of row 4 against 0.5 of row 2); A and C never.
    assert found.figures == pytest.approx(
        {
            "mean_auc": (1 + 7 / 8 + 1) / 3,
            "balanced_accuracy": (1 / 2 + 1 / 2 + 1) / 3,
            "ranking_score": (23 / 24 + 2 / 3) / 2,
            "ece": 2.2 / 6,
            "avg_precision": (1 + 1 / 2 + 2 / 3) / 3,
            "avg_sensitivity": 2 / 3,
            "avg_f1": (2 / 3 + 1 / 2 + 4 / 5) / 3,
            "avg_specificity": (1 + 3 / 4 + 3 / 4) / 3,
            "mean_average_precision": (1 + (1 / 2 + (1 / 2 + 2 / 3) / 4) + 1) / 3,
            "accuracy": 4 / 6,
            "mean_confidence": 3.8 / 6,
        }
    )
    report = found.facts["organisers_report"]
    assert list(report) == [
        "mean_auc", "balanced_accuracy", "avg_precision", "avg_sensitivity", "avg_f1", "avg_specificity",
        "class_wise_metrics",
    ]  # fmt: skip
    # 0.5 counts: rows 2 and 3 are B, rows 4, 5 and 6 are C.
    keys = ("precision", "recall", "f1_score", "specificity", "accuracy", "auc")
    assert {name: tuple(c) for name, c in report["class_wise_metrics"].items()} == dict.fromkeys("ABC", keys)
    expected = {
        "A": (1, 1 / 2, 2 / 3, 1, 5 / 6, 1),
        "B": (1 / 2, 1 / 2, 1 / 2, 3 / 4, 4 / 6, 7 / 8),
        "C": (2 / 3, 1, 4 / 5, 3 / 4, 5 / 6, 1),
    }
    for name, values in expected.items():
        assert tuple(report["class_wise_metrics"][name].values()) == pytest.approx(values)
    confusion = next(table for table in found.tables if table.name == "confusion")
    assert confusion.rows == (("A", 1, 1, 0), ("B", 0, 1, 1), ("C", 0, 0, 2))
    usual = found.facts["usual_report"]
    assert usual["mean_average_precision"] == pytest.approx((1 + (1 / 2 + 1 / 3) + 1) / 3)
    assert found.warnings == () and found.command == "the command"
    assert {plot.name for plot in found.plots} == {"reliability", "recall", "confusion"}


def test_an_undefined_auc_counts_zero_for_the_organisers_and_not_at_all_for_us(
    tmp_path: Path, truth: Path
) -> None:
    rows = [[*row, extra] for row, extra in zip(copied(SIX), ["D", 0, 0, 0, 0, 0, 0], strict=True)]
    found = evaluate_predictions(write_csv(tmp_path / "p.csv", rows), truth, "c")
    report, usual = found.facts["organisers_report"], found.facts["usual_report"]
    assert report["mean_auc"] == pytest.approx(23 / 32) and usual["mean_auc"] == pytest.approx(23 / 24)
    assert report["class_wise_metrics"]["D"]["auc"] == 0
    # D is neither true nor predicted: the macro means leave it out, the specificity does not.
    assert report["avg_precision"] == pytest.approx(13 / 18)
    assert report["avg_specificity"] == pytest.approx((2.5 + 1) / 4)
    assert any("no image of D" in line for line in found.warnings)
    assert any("0.7188" in line and "0.9583" in line for line in found.warnings)


def test_a_truth_of_one_class_only_has_no_auc(tmp_path: Path) -> None:
    true = write_csv(tmp_path / "t.csv", [TRUE[0], *([f"{i}.jpg", "A"] for i in range(1, 7))])
    found = evaluate_predictions(write_csv(tmp_path / "p.csv", SIX), true, "c")
    assert found.figures["mean_auc"] == 0 and found.facts["usual_report"]["mean_auc"] is None
    assert found.figures["balanced_accuracy"] == pytest.approx(1 / 6)
    assert any("every image of the truth is A" in line for line in found.warnings)


@st.composite
def tables(draw: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in tenths, so that ties and the edge at 0.5 are common, and a truth."""
    classes, rows = draw(st.integers(2, 5)), draw(st.integers(1, 12))
    tenths = draw(st.lists(st.integers(0, 10), min_size=rows * classes, max_size=rows * classes))
    true = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return np.reshape(np.asarray(tenths, float) / 10, (rows, classes)), np.asarray(true, np.int64)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_figures_are_what_their_definitions_say(table: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.metrics import precision_score, recall_score

    scores, true = table
    classes = scores.shape[1]
    found = judge(scores, true, [str(i) for i in range(classes)])
    predicted = [max(range(classes), key=lambda c, row=row: (row[c], -c)) for row in scores.tolist()]
    aucs, specificities = [], []
    for c in range(classes):
        yes, no = scores[true == c, c].tolist(), scores[true != c, c].tolist()
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]
        aucs.append(sum(pairs) / len(pairs) if pairs else 0.0)
        others = [p for p, t in zip(predicted, true.tolist(), strict=True) if t != c]
        specificities.append(sum(p != c for p in others) / len(others) if others else 0.0)
        binary = (true == c, scores[:, c] >= 0.5)
        listed = found.report["class_wise_metrics"][str(c)]
        assert listed["precision"] == pytest.approx(precision_score(*binary, zero_division=0))
        assert listed["recall"] == pytest.approx(recall_score(*binary, zero_division=0))
    assert found.report["mean_auc"] == pytest.approx(np.mean(aucs))
    assert found.report["avg_specificity"] == pytest.approx(np.mean(specificities))
    recalls = [np.mean(np.asarray(predicted)[true == c] == c) for c in np.unique(true)]
    assert found.report["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found.confusion.sum() == len(true)


def test_calibration_and_wilson_by_hand() -> None:
    # Two at 0.95 of which one is right, two at 0.55 that are both right.
    assert Calibration([0.95, 0.95, 0.55, 0.55], [1, 0, 1, 1], 10).error == pytest.approx(0.45)
    assert Calibration([1.0], [True]).error == 0 and Calibration([], []).error is None
    low, high = wilson(8, 10)
    assert (float(low), float(high)) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


ONE_HOT: Rows = [["image_path", "Dataset", "C", "A", "B"]] + [
    [f"{i}.jpg", "KID" if i < 4 else "KVASIR", *(int(c == k) for k in "CAB")]
    for i, c in enumerate("AABBCC", start=1)
]


def accepted(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Tables that say the same as SIX and TRUE."""
    true = write_csv(folder / "truth.csv", TRUE)
    shuffled = [SIX[0], *SIX[:0:-1]]
    columns = [[row[0], row[3], row[1], row[2]] for row in SIX]
    comma = [[str(cell).replace(".", ",") if at else cell for at, cell in enumerate(row)] for row in SIX]
    comma = [SIX[0], *([row[0], *cells[1:]] for row, cells in zip(SIX[1:], comma[1:], strict=True))]
    chosen = [[*row, c] for row, c in zip(SIX, ["predicted_class", *"ABBCCC"], strict=True)]
    windows = [[row[0] if row is SIX[0] else f"test\\x\\{row[0]}", *row[1:]] for row in SIX]
    numbered = [[at - 1 if at else "", *row] for at, row in enumerate(SIX)]
    bom = folder / "bom.csv"
    bom.write_bytes(b"\xef\xbb\xbf" + write_csv(folder / "x.csv", SIX).read_bytes() + b"\r\n\r\n")
    wide = folder / "wide.csv"
    wide.write_text(write_csv(folder / "y.csv", SIX, "\t").read_text(), encoding="utf-16")
    return {
        "shuffled": (write_csv(folder / "p1.csv", shuffled), true),
        "columns": (write_csv(folder / "p2.csv", columns), true),
        "semicolons": (write_csv(folder / "p3.csv", SIX, ";"), true),
        "decimal comma": (write_csv(folder / "p4.csv", comma, ";"), true),
        "quoted comma": (write_csv(folder / "p5.csv", comma), true),
        "predicted_class": (write_csv(folder / "p6.csv", chosen), true),
        "Windows folders": (write_csv(folder / "p7.csv", windows), true),
        "row numbers": (write_csv(folder / "p8.csv", numbered), true),
        "BOM and empty rows": (bom, true),
        "UTF-16 with tabs": (wide, true),
        "one-hot": (write_csv(folder / "p9.csv", SIX), write_csv(folder / "hot.csv", ONE_HOT)),
        "xlsx": (write_xlsx(folder / "p.xlsx", One=SIX), write_xlsx(folder / "t.xlsx", One=TRUE)),
        "second sheet": (write_xlsx(folder / "s.xlsx", Notes=[["a note"]], Empty=[], Data=SIX), true),
    }


def test_every_accepted_form_of_a_table_gives_the_same_figures(tmp_path: Path) -> None:
    for name, (said, true) in accepted(tmp_path).items():
        found = judged(said, true)
        assert found.report["mean_auc"] == pytest.approx(23 / 24), name
        assert found.report["balanced_accuracy"] == pytest.approx(2 / 3), name
        assert found.report["class_wise_metrics"]["B"]["auc"] == pytest.approx(7 / 8), name


def test_names_that_repeat_are_compared_by_path(tmp_path: Path) -> None:
    folders = ["a\\1.jpg", "b\\1.jpg", "a\\2.jpg", "b\\2.jpg", "a\\3.jpg", "b\\3.jpg"]
    true = [TRUE[0], *([p, row[1]] for p, row in zip(folders, TRUE[1:], strict=True))]
    said = [
        SIX[0],
        *(["./" + p.replace("\\", "/"), *row[1:]] for p, row in zip(folders, SIX[1:], strict=True)),
    ]
    pairs = align(
        read_table(write_csv(tmp_path / "p.csv", said), "image_path"),
        read_table(write_csv(tmp_path / "t.csv", true), "image_path"),
    )
    assert pairs.matched_by == "path" and pairs.probabilities[1].tolist() == [0.4, 0.5, 0.1]


def test_sources_are_told_apart(tmp_path: Path) -> None:
    said, true = write_csv(tmp_path / "p.csv", SIX), write_csv(tmp_path / "t.csv", ONE_HOT)
    found = evaluate_predictions(said, true, "c")
    sources = next(table for table in found.tables if table.name == "sources")
    assert [row[:4] for row in sources.rows] == [("KID", 3, 2, 2 / 3), ("KVASIR", 3, 2, 2 / 3)]
    assert [row[-1] for row in sources.rows] == pytest.approx([3 / 4, 1 / 2])


def test_oddities_are_warnings(tmp_path: Path, truth: Path) -> None:
    rows = [[*row, c] for row, c in zip(copied(SIX), ["predicted_class", *"BBBCCC"], strict=True)]
    rows[3][1], rows[5][1] = 0.0, 0.05
    found = evaluate_predictions(write_csv(tmp_path / "p.csv", rows), truth, "c")
    assert "2 of 6 rows do not sum to 1; the first is p.csv, row 4 (3.jpg): 0.7" in found.warnings
    assert any(line.startswith("predicted_class") and "in 1 of 6 rows" in line for line in found.warnings)


def said_with(row: int, column: int, value: Any) -> Rows:
    rows = copied(SIX)
    rows[row][column] = value
    return rows


def true_with(row: int, column: int, value: Any) -> Rows:
    rows = copied(TRUE)
    rows[row][column] = value
    return rows


BAD: dict[str, tuple[Rows, Rows, str]] = {
    "missing": (SIX[:3] + SIX[4:], TRUE, "p.csv has no row for 3.jpg, which is row 4 of truth.csv"),
    "many missing": (SIX[:3], TRUE, "(and 3 more images)"),
    "unknown": (said_with(2, 0, "7.jpg"), TRUE, "p.csv, row 3 (7.jpg): this image is not an image of truth"),
    "all unknown": (
        [SIX[0], *(["x" + r[0], *r[1:]] for r in SIX[1:])], TRUE, "(x1.jpg): this image is no image, nor"
    ),
    "double": (said_with(4, 0, "d/1.jpg"), TRUE, "p.csv, row 5 (d/1.jpg): a duplicate of row 2 (1.jpg)"),
    "double truth": (SIX, true_with(3, 0, "1.jpg"), "truth.csv, row 4 (1.jpg): a duplicate of row 2"),
    "NaN": (said_with(4, 2, "NaN"), TRUE, "p.csv, row 5 (4.jpg): column 'B' is NaN"),
    "empty": (said_with(4, 2, ""), TRUE, "p.csv, row 5 (4.jpg): column 'B' is empty"),
    "text": (said_with(4, 2, "high"), TRUE, "row 5 (4.jpg): column 'B' holds 'high', which is no number"),
    "per cent": (said_with(4, 2, "50%"), TRUE, "holds '50%', which is no number"),
    "thousands": (said_with(4, 2, "0.000.1"), TRUE, "holds '0.000.1', which is no number"),
    "infinite": (said_with(4, 2, "inf"), TRUE, "holds 'inf', which is no number"),
    "huge": (said_with(4, 2, "1e999"), TRUE, "holds inf, which is not between 0 and 1"),
    "negative": (said_with(4, 2, -0.2), TRUE, "row 5 (4.jpg): column 'B' holds -0.2, which is not between 0"),
    "above one": (said_with(4, 2, 1.5), TRUE, "holds 1.5, which is not between 0 and 1"),
    "mixed decimals": (said_with(4, 2, "0,3"), TRUE, "a decimal comma, but row 2 has a decimal point"),
    "no path": (said_with(2, 0, ""), TRUE, "p.csv, row 3 (no name): image_path is empty"),
    "class of the truth": (SIX, true_with(5, 1, "Ulcer"), "truth.csv, row 6 (5.jpg): class 'Ulcer' is unk"),
    "near class": (SIX, true_with(5, 1, "c "), "row 6 (5.jpg): class 'c' is unknown"),
    "no class": (SIX, true_with(5, 1, ""), "truth.csv, row 6 (5.jpg): class_label is empty"),
    "two hot": (SIX, [ONE_HOT[0], ["1.jpg", "K", 1, 1, 0], *ONE_HOT[2:]], "truth.csv, row 2 (1.jpg): its"),
    "soft": (SIX, [ONE_HOT[0], ["1.jpg", "K", 0.5, 1, 0], *ONE_HOT[2:]], "must hold a single 1 and else 0"),
    "comment column": (
        [[*row, c] for row, c in zip(SIX, ["note", *"uvwxyz"], strict=True)], TRUE, "unknown class: 'note'"
    ),
    "column of one-hot": (
        [["image_path", "A", "B", "c-"], *SIX[1:]], ONE_HOT, "for the class 'C'; did you mean 'c-'?"
    ),
    "unknown column": (
        [[*row, c] for row, c in zip(SIX, ["D", *"000000"], strict=True)], ONE_HOT, "unknown class: 'D'"
    ),
    "predicted_class": (
        [[*row, c] for row, c in zip(SIX, ["predicted_class", *"ABBXCC"], strict=True)], TRUE,
        "p.csv, row 5 (4.jpg): predicted_class 'X' is no class",
    ),
    "no classes": ([[row[0]] for row in SIX], TRUE, "p.csv has no column with probabilities"),
    "no truth": (SIX, [[row[0]] for row in TRUE], "truth.csv has neither a column 'class_label' nor"),
    "no rows": (SIX[:1], TRUE, "p.csv has a header but no rows"),
    "no header": (SIX[1:], TRUE, "p.csv has no column 'image_path' in its first row: '1.jpg', '0.7'"),
    "double column": ([["image_path", "A", "B", "A"], *SIX[1:]], TRUE, "the column 'A' comes twice"),
    "no column name": ([["image_path", "A", "", "C"], *SIX[1:]], TRUE, "column 3 has no name"),
    "long row": ([*SIX[:2], [*SIX[2], 0.1], *SIX[3:]], TRUE, "p.csv, row 3: 5 cells under 4 columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_one_line_that_names_the_row(tmp_path: Path, name: str) -> None:
    said, true, message = BAD[name]
    paths = write_csv(tmp_path / "p.csv", said), write_csv(tmp_path / "truth.csv", true)
    with pytest.raises(InputError) as raised:
        evaluate_predictions(*paths, "c")
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_bad_rows_are_counted_and_blank_rows_keep_their_numbers(tmp_path: Path, truth: Path) -> None:
    rows = [*SIX[:2], [], ["2.jpg", 0.4, "", 0.1], ["3.jpg", 0.3, "x", 0.1], *SIX[4:]]
    with pytest.raises(InputError) as raised:
        evaluate_predictions(write_csv(tmp_path / "p.csv", rows), truth, "c")
    assert str(raised.value) == "p.csv, row 4 (2.jpg): column 'B' is empty (and 1 more such rows)"


def test_given_labels_settle_the_classes(tmp_path: Path, truth: Path) -> None:
    said = write_csv(tmp_path / "p.csv", SIX)
    assert judged(said, truth, ("C", "A", "B")).report["mean_auc"] == pytest.approx(23 / 24)
    with pytest.raises(InputError, match="has no column for the class 'Polyp'"):
        evaluate_predictions(said, truth, "c", ("A", "B", "Polyp"))


FILES: dict[str, tuple[bytes, str]] = {
    "a.xlsx": (b"PK\x03\x04 and then nothing that a workbook has", "is not an XLSX workbook, or damaged"),
    "b.xlsx": (b"image_path,A\n1.jpg,1\n", "is not an XLSX workbook"),
    "c.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "old or password-protected workbook"),
    "d.csv": (b"", "d.csv is empty"),
    "e.csv": (b" \n\n \n", "e.csv is empty"),
    "f.csv": (b"image_path,A\n\xe4.jpg,1\n", "is not UTF-8 text"),
    "g.csv": (b'image_path,A\n"1.jpg,1\n', "g.csv, line"),
    "h.csv": (b"image_path,A\n1.jpg\x00,1\n", "is not a table"),
    "i.csv": (b"image_path,A,B\n1.jpg,0,5,0,5\n", "i.csv, row 2: 5 cells under 3 columns"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_table_is_one_line(tmp_path: Path, truth: Path, name: str) -> None:
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        evaluate_predictions(tmp_path / name, truth, "c")
    assert message in str(raised.value) and name in str(raised.value) and "\n" not in str(raised.value)


def test_a_workbook_without_the_column_names_what_it_saw(tmp_path: Path, truth: Path) -> None:
    one = write_xlsx(tmp_path / "one.xlsx", Only=[["path", "A"], ["1.jpg", 1]])
    with pytest.raises(InputError, match=r"one.xlsx, sheet Only has no column 'image_path' .*: 'path', 'A'"):
        evaluate_predictions(one, truth, "c")
    two = write_xlsx(tmp_path / "two.xlsx", One=[["path"]], Two=[["x"]])
    with pytest.raises(InputError, match=r"none of the 2 sheets of two.xlsx has a column 'image_path'"):
        evaluate_predictions(two, truth, "c")


def test_the_command_measures_a_table_of_the_size_of_the_challenge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(24)
    labels = [f"Class {i}" for i in range(10)]
    true = rng.integers(0, 10, 4385)
    scores = rng.dirichlet(np.ones(10), 4385)
    scores[np.arange(4385), true] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    names = [f"{i:05d}.jpg" for i in range(4385)]
    rows = [["image_path", *labels], *([n, *row] for n, row in zip(names, scores.tolist(), strict=True))]
    said = write_xlsx(tmp_path / "big.xlsx", Sheet1=rows)
    known = write_csv(
        tmp_path / "truth.csv",
        [["image_path", "class_label"], *([n, labels[t]] for n, t in zip(names, true, strict=True))],
    )
    out = tmp_path / "out"
    command = [
        "evaluate",
        "predictions",
        "--predictions",
        str(said),
        "--truth",
        str(known),
        "--out",
        str(out),
    ]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        k: v for k, v in json.loads((out / "results.json").read_text()).items() if k != "files"
    }
    assert document["facts"]["images"] == 4385 and document["research_use_only"] is True
    assert document["figures"]["accuracy"] == pytest.approx((scores.argmax(axis=1) == true).mean())
    assert str(tmp_path) not in (out / "results.json").read_text()
    assert main(command) == 2
    assert "already holds results" in capsys.readouterr().err
