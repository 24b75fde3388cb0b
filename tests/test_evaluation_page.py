"""The files of an evaluation: whole, alone, the same bytes every time; and its drawings."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from endostream.errors import InputError, RunError
from endostream.evaluation.page import spoken, write_results
from endostream.evaluation.plots import (
    COLOURS,
    bars_plot,
    confusion_plot,
    curve_plot,
    reliability_plot,
)
from endostream.evaluation.results import Plot, Results, Table

LABELS = [f"class-{i} & co" for i in range(23)]


def reliability() -> Plot:
    rng = np.random.default_rng(3)
    confidence = rng.random(300)
    return reliability_plot(confidence, rng.random(300) < confidence)


def confusion() -> Plot:
    matrix = np.diag(np.arange(100, 123))
    matrix[4, 9], matrix[7, 7] = 31, 0
    return confusion_plot(matrix, LABELS)


def curves() -> Plot:
    x = np.linspace(0, 1, 5)
    series = {"hold-off 0.2 s": 3 - x, "hold-off 1 s": np.array([1, 0.5, np.nan, 0.2, 0.1])}
    return curve_plot("fp", "False positives", x, series, "threshold", "per minute", [(0.5, "in use")])


def bars() -> Plot:
    return bars_plot("sources", "Dice", ["A", "B"], [0.875, None], [0.81, None], [0.93, None], "Dice")


PLOTS: dict[str, Callable[[], Plot]] = {
    "reliability": reliability,
    "confusion": confusion,
    "fp": curves,
    "sources": bars,
}


@cache
def drawn(name: str) -> Plot:
    return PLOTS[name]()


def results(**changes: object) -> Results:
    given: dict[str, object] = {
        "kind": "segmentation",
        "title": "Masks of <polyp>",
        "command": "endostream evaluate segmentation --pack polyp --out OUT",
        "facts": {
            "pack": {"name": "polyp"},
            "thresholds": [0.5, 0.6],
            "held_out": True,
            "deep": {"a": {"b": 1}},
        },
        "figures": {"dice": 0.87654321, "mean_auc": None, "fp_per_minute": float("nan"), "images": 12.0},
        "tables": (
            Table("sources", "Sources", ("source", "images", "Dice"), (("=A1", 3, 0.5), ("B, C", 4, None))),
            Table("wide", "Wide", tuple(f"c{i}" for i in range(20)), (tuple(range(20)),), "note"),
            Table("none", "None", ("a",), ()),
        ),
        "plots": tuple(drawn(name) for name in PLOTS),
        "warnings": ("2 pictures could not be read: <script>alert(1)</script>",),
    }
    return Results(**{**given, **changes})  # type: ignore[arg-type]


class Page(HTMLParser):
    """Names of the tags, ids and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id" and value:
                self.ids[value] += 1
            if name in ("src", "href", "xlink:href") and value:
                self.addresses.append(value)


def test_the_files_hold_everything_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "deep" / "b"
    written = write_results(first, results(), False)
    write_results(second, results(), False)
    names = {path.relative_to(first).as_posix() for path in written}
    assert names == {
        "results.json", "index.html", "sources.csv", "wide.csv", "none.csv",
        *(f"plots/{name}.svg" for name in PLOTS),
    }  # fmt: skip
    assert {p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file()} == names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    document = json.loads((first / "results.json").read_text(encoding="utf-8"))
    assert document["schema"] == 1 and document["research_use_only"] is True
    assert document["figures"] == {
        "dice": 0.87654321,
        "mean_auc": None,
        "fp_per_minute": None,
        "images": 12.0,
    }
    assert document["tables"][0]["rows"] == [["=A1", 3, 0.5], ["B, C", 4, None]]
    assert document["facts"]["deep"] == {"a": {"b": 1}}
    with (first / "sources.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["source", "images", "Dice"],
            ["'=A1", "3", "0.5"],
            ["B, C", "4", ""],
        ]


def test_the_page_stands_alone(tmp_path: Path) -> None:
    write_results(tmp_path, results(), False)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags["svg"] == len(PLOTS) and page.tags["script"] == 0 and page.tags["link"] == 0
    assert "Research use only. Not for diagnosis." in text
    assert "Masks of &lt;polyp&gt;" in text and "&lt;script&gt;alert(1)" in text
    own = set(page.ids)
    for address in page.addresses:
        assert address[1:] in own if address.startswith("#") else address == "wide.csv", address
    assert [name for name, times in page.ids.items() if times > 1] == []
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= own
    assert not re.search(r"20\d\d-\d\d|url\(http|@import", text)
    # Every colour of a drawing follows the scheme.
    drawn = text[text.index("<svg") :]
    assert not any(colour in drawn for colour in COLOURS.values()) and "var(--plot-first)" in drawn
    assert "prefers-color-scheme: dark" in text and "@media print" in text


@pytest.mark.parametrize("name", PLOTS)
def test_a_drawing_is_xml_of_the_same_bytes_with_its_text_as_text(name: str) -> None:
    plot = drawn(name)
    assert plot.name == name and plot.svg == PLOTS[name]().svg
    assert ElementTree.fromstring(plot.svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<image" not in plot.svg and "Date" not in plot.svg and "DejaVu" not in plot.svg


def texts(plot: Plot) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(plot.svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_drawings_say_their_numbers() -> None:
    said = texts(drawn("confusion"))
    assert [said.count(label) for label in LABELS] == [2] * 23
    assert "31" in said and "–" in said  # class 7 has no picture
    assert f"{104 / 135:.2f}" in said
    assert "0.875  [0.810, 0.930]" in texts(drawn("sources")) and "not defined" in texts(drawn("sources"))
    assert {"hold-off 0.2 s", "hold-off 1 s", "in use"} <= set(texts(drawn("fp")))
    exact = reliability_plot(np.array([0.9, 0.9]), np.array([True, False]))
    assert "ECE 0.400, 2 pictures" in texts(exact)


def test_drawings_of_next_to_nothing() -> None:
    empty = np.zeros(0)
    assert "no pictures" in texts(reliability_plot(empty, empty))
    assert "long" not in bars_plot("n", "t", [], [], [], [], "x").svg
    assert "息肉" in texts(confusion_plot(np.zeros((2, 2), int), ["息肉", "a $x^2$ <b>"]))
    cut = texts(bars_plot("n", "t", ["long " * 40], [0.0], [0.0], [0.0], "x"))
    assert max(map(len, cut)) <= 40
    with pytest.raises(ValueError, match="for 1 labels"):
        confusion_plot(np.zeros((2, 2), int), ["a"])


def test_results_are_not_replaced_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_results(out, results(), False)
    kept = out / "mine.csv"
    kept.write_text("my own")
    before = (out / "index.html").read_bytes()
    with pytest.raises(InputError, match=r"already holds results; .*--overwrite"):
        write_results(out, results(title="other"), False)
    assert (out / "index.html").read_bytes() == before
    write_results(out, results(tables=(), plots=(), title="other"), True)
    left = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert left == {"results.json", "index.html", "mine.csv"}


@pytest.mark.parametrize("listed", ["../mine.csv", "/mine.csv", "plots/../mine.csv", "sub/mine.csv", 7])
def test_overwriting_never_leaves_its_folder(tmp_path: Path, listed: object) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    for place in (tmp_path, out, out / "sub"):
        (place / "mine.csv").write_text("my own")
    (out / "results.json").write_text(json.dumps({"files": [listed]}))
    write_results(out, results(plots=()), True)
    assert all((place / "mine.csv").read_text() == "my own" for place in (tmp_path, out, out / "sub"))


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        write_results(file, results(), False)
    with pytest.raises(RunError, match=r"cannot write to the folder out: Not a directory; choose"):
        write_results(file / "out", results(), False)
    (tmp_path / "taken" / "index.html").mkdir(parents=True)
    with pytest.raises(RunError, match=r"cannot write index\.html"):
        write_results(tmp_path / "taken", results(), False)
    assert not (tmp_path / "taken" / "results.json").exists()


def test_names_are_spoken_as_people_write_them() -> None:
    assert spoken("mean_auc") == "mean AUC"
    assert spoken("fp_per_minute") == "FP per minute"
