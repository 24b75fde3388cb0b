"""Reports and exports: complete, stable to the byte, safe against hostile names."""

from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_records_store import analysis, done, finding, run_info

from endostream.errors import InputError, RunError
from endostream.records.export import EXPORTERS, export, findings_document, write_timings_json
from endostream.records.export.frames import FRAME_KEYS
from endostream.records.facts import facts
from endostream.records.files import atomic, inside, write_text
from endostream.records.quality import quality_indicators, total
from endostream.records.report import Prose, Sentence, template_sentences, write_report
from endostream.records.session import Session
from endostream.records.store import SessionWriter, set_review
from endostream.types import Analysis, BlindSpan, FindingEvent, FrameCounts, Peak, Prediction, Status

LABELS = ("background", "polyps", "cecum", "ileum", "bbps-0-1", "bbps-2-3", "dyed-lifted-polyps")
HOSTILE = "<img src=x onerror=alert(1)>\"'&|`*_[x](javascript:1)"
KEYS = [
    "schema",
    "research_use_only",
    "phi_mask",
    "source",
    "pack",
    "settings",
    "finish",
    "warnings",
    "frames",
    "duration_s",
    "findings",
    "landmarks",
    "blind",
    "quality_indicators",
]


def frame(index: int, label: str, visible: bool = True) -> Analysis:
    scores = np.full(len(LABELS), 0.01, np.float32)
    scores[LABELS.index(label)] = 0.94
    made = analysis(index, index / 5, visible=visible, reason=None if visible else "dark")
    return replace(made, predictions=(Prediction("net", LABELS, scores, scores),))


def record(folder: Path, **info: object) -> Session:
    """A session of 20 s at 5 frames/s: 2 s dark, caecum at 6 s, a polyp at 10 s, therapy at 14 to 16 s."""
    pack = {
        "name": "polyp",
        "version": "1.0",
        "sha256": "ab",
        "unreliable": "hemorrhoids",
        "licence": "Apache-2.0",
    }
    writer = SessionWriter.create(folder, run_info(**{"labels": LABELS, "pack": pack, **info}))
    for index in range(100):
        at = index / 5
        label = (
            "cecum" if 6 <= at < 8 else "polyps" if 10 <= at < 12 else "bbps-2-3" if index % 2 else "bbps-0-1"
        )
        label = "dyed-lifted-polyps" if 14 <= at <= 16 else label
        writer.add_analysis(frame(index, label, visible=at >= 2))
    (folder / "stills").mkdir()
    picture = np.full((480, 640, 3), (40, 60, 160), np.uint8)
    cv2.imwrite(str(folder / "stills" / "1.png"), picture)
    polyp = finding(1, 10.0, end=12.0, peak=Peak(11.0, 0.94, 55), still="stills/1.png")
    writer.add_finding(FindingEvent("closed", polyp))
    writer.add_finding(FindingEvent("closed", finding(2, 18.0, end=18.4, review="rejected")))
    cecum = finding(1, 6.0, label="cecum", end=8.0, peak=Peak(7.0, 0.9, 35))
    writer.add_finding(FindingEvent("closed", cecum, landmark=True))
    writer.add_blind(BlindSpan(0.0, 2.0, "dark"))
    writer.finish(replace(done(100), duration=20.0, warnings=("2 packets were left out",)))
    return Session.open(folder)


def files(folder: Path) -> dict[str, bytes]:
    session = Session.open(folder)
    for name in EXPORTERS:
        export(session, name)
    write_report(session)
    names = ("frames.jsonl", "findings.json", "frames.csv", "findings.csv", "report.md", "report.html")
    return {name: (folder / name).read_bytes() for name in names}


def test_two_sessions_of_one_run_give_identical_files(tmp_path: Path) -> None:
    record(tmp_path / "a", started=1.0)
    record(tmp_path / "b", started=2e9)
    first, again, second = files(tmp_path / "a"), files(tmp_path / "a"), files(tmp_path / "b")
    assert first == again == second
    year = time.strftime("%Y").encode()
    for name, data in first.items():
        assert str(tmp_path).encode() not in data, name
        assert year + b"-" not in data and b"\r" not in data, name
    assert not list((tmp_path / "a").glob(".*"))


def test_frames_jsonl_keeps_its_contract(tmp_path: Path) -> None:
    record(tmp_path)
    lines = files(tmp_path)["frames.jsonl"].decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 100 and all(tuple(row) == FRAME_KEYS for row in rows)
    assert rows[35] == {
        "index": 35,
        "pts": 35,
        "time_s": 7.0,
        "file": None,
        "label": "cecum",
        "confidence": 0.94,
        "raw_label": "cecum",
        "raw_confidence": 0.94,
        "visible": True,
        "reason": None,
        "segmented": False,
        "mask_area": 0.0,
        "mask_bbox": None,
        "mask_source": None,
        "mask_time_s": None,
    }
    assert rows[0]["reason"] == "dark" and rows[0]["visible"] is False


def test_findings_json_keeps_its_contract(tmp_path: Path) -> None:
    document = findings_document(record(tmp_path))
    assert list(document) == KEYS
    assert document["pack"] == {"name": "polyp", "version": "1.0", "sha256": "ab"}
    assert document["frames"] == {"captured": 100, "analysed": 100, "dropped": 0, "skipped": 0, "pending": 0}
    assert document["findings"][0] == {
        "id": 1,
        "label": "polyps",
        "start_s": 10.0,
        "end_s": 12.0,
        "peak_s": 11.0,
        "peak_confidence": 0.94,
        "still": "stills/1.png",
        "review": "pending",
    }
    assert [f["review"] for f in document["findings"]] == ["pending", "rejected"]
    assert [f["label"] for f in document["landmarks"]] == ["cecum"]
    assert document["blind"] == [{"start_s": 0.0, "end_s": 2.0, "reason": "dark"}]
    assert (document["finish"], document["research_use_only"]) == ("completed", True)


def test_quality_indicators_are_estimates_and_never_guesses(tmp_path: Path) -> None:
    session = record(tmp_path / "lower")
    found = {q["name"]: q["value"] for q in quality_indicators(session)}
    assert all(q["estimated"] is True for q in quality_indicators(session))
    assert found["insertion_time"] == 4.0  # judged from 2 s on, caecum at 6 s
    assert found["withdrawal_time"] == pytest.approx(11.8)  # 8 s to the last frame at 19.8 s
    assert found["effective_withdrawal_time"] == pytest.approx(9.8)  # without therapy, 14 to 16 s
    assert found["still_of_cecum"] == found["still_of_ileum"] == "not documented"
    assert found["blind_time"] == 2.0
    assert found["adequate_preparation_share"] == pytest.approx(0.5, abs=0.02)
    upper = {q["name"] for q in quality_indicators(record(tmp_path / "upper", exam="upper"))}
    assert "withdrawal_time" not in upper and "still_of_cecum" not in upper


def test_a_missing_caecum_is_not_documented(tmp_path: Path) -> None:
    record(tmp_path)
    set_review(tmp_path, 1, "rejected", landmark=True)
    found = {q["name"]: q["value"] for q in quality_indicators(Session.open(tmp_path))}
    assert found["withdrawal_time"] == found["insertion_time"] == "not documented"


@pytest.mark.parametrize(
    ("spans", "within", "seconds"),
    [
        ([], None, 0),
        ([(0, 1), (2, 4)], None, 3),
        ([(0, 3), (2, 4), (2.5, 3)], None, 4),
        ([(0, 3), (8, 12)], (2, 10), 3),
    ],
)
def test_overlapping_stretches_count_once(
    spans: list[tuple[float, float]], within: tuple[float, float] | None, seconds: float
) -> None:
    assert total(spans, within) == seconds


def test_facts_tell_what_was_kept(tmp_path: Path) -> None:
    told = facts(record(tmp_path))
    assert [(s.evidence, s.label, s.say) for s in told.sightings] == [
        ("finding:1", "polyps", "polyp candidate"),
        ("landmark:1", "cecum", "caecum suggested"),
    ]
    assert (told.rejected, told.blind_s, told.therapy_s) == (1, 2.0, 2.0)
    assert told.unreliable == ("hemorrhoids",)
    assert told.preparation is not None and told.preparation.judged == sum(told.preparation.labels.values())
    assert json.loads(json.dumps(told.to_dict())) == told.to_dict()


class Reader(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_says_what_it_must(tmp_path: Path) -> None:
    record(tmp_path, phi_mask="olympus-1080i")
    made = files(tmp_path)
    page = Reader()
    page.feed(made["report.html"].decode())
    for text in (page.text, made["report.md"].decode().replace("\\", "")):
        assert "Research use only. Not for diagnosis." in text
        for said in (
            "polyp candidate",
            "00:11.0",
            "0.94",
            "caecum suggested",
            "olympus-1080i",
            "not documented",
        ):
            assert said in text
        assert "2 packets were left out" in text and "hemorrhoids" in text and "Apache-2.0" in text
        for never in ("ADR", "Forrest I", "withdrawal adequate", "normal examination"):
            assert never not in text
    pictures = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 1 and all(src.startswith("data:image/jpeg;base64,") for src in pictures)
    assert len(made["report.html"]) < 120_000
    assert "![finding 1](<stills/1.png>)" in made["report.md"].decode()
    html = made["report.html"].decode()
    for colour in ("#F5B301", "#4CC9F0", "#B388EB", "#6B7280"):
        assert colour in html
    assert not re.search(r"(?:src|href)=\"https?:", html) and "<script" not in html and "@import" not in html


def test_every_sentence_links_to_evidence_that_is_there(tmp_path: Path) -> None:
    record(tmp_path)
    page = Reader()
    page.feed(files(tmp_path)["report.html"].decode())
    anchors = {attrs.get("id") for _, attrs in page.tags}
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["#finding-1", "#landmark-1"]
    assert all(link is not None and link[1:] in anchors for link in links)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    session = record(tmp_path / "plain")
    source = replace(session.info.source, name=HOSTILE)
    folder = tmp_path / "hostile"
    writer = SessionWriter.create(
        folder, run_info(source=source, settings={HOSTILE: HOSTILE}, phi_mask=HOSTILE, pack={"name": HOSTILE})
    )
    writer.add_finding(
        FindingEvent("closed", finding(1, 0.0, label=HOSTILE, end=1.0, still="../../../etc/passwd"))
    )
    writer.add_blind(BlindSpan(0.0, 1.0, HOSTILE))
    writer.finish(Status(finish="completed", duration=2.0, warnings=(HOSTILE, "two\nlines")))
    made = files(folder)
    html = made["report.html"].decode()
    page = Reader()
    page.feed(html)
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    assert "img" not in [tag for tag, _ in page.tags] and HOSTILE in page.text
    text = made["report.md"].decode()
    assert "<img" not in text and "[x](" not in text and "etc/passwd" not in text + html
    assert all(line.count("|") - line.count("\\|") != 5 for line in text.splitlines() if "onerror" in line)
    table = list(csv.reader(made["findings.csv"].decode().splitlines()))
    assert table[1][2] == HOSTILE


def test_a_formula_in_a_name_is_not_run_by_a_spreadsheet(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path, run_info())
    writer.add_finding(FindingEvent("closed", finding(1, note="=1+1")))
    writer.finish(done(0))
    assert files(tmp_path)["findings.csv"].decode().splitlines()[1].endswith(",'=1+1")


def test_only_verified_prose_is_exported(tmp_path: Path) -> None:
    session = record(tmp_path)
    kept, lost = (
        Sentence("One polyp candidate was seen.", ("finding:1",)),
        Sentence("It is benign.", (), "no"),
    )
    prose = Prose(kept.text, (kept, lost), True, "1 of 2 sentences verified", "m<b>", "prompt", {})
    for path in write_report(session, prose=prose):
        text = path.read_text().replace("\\", "")
        assert kept.text in text and "benign" not in text
        assert "1 sentence could not be verified and was left out" in text and "m&lt;b&gt;" in text
        assert template_sentences(facts(session))[0].text not in text
    unused = replace(
        prose, text="", used=False, reason="the language model at localhost:1234 was not used: HTTP 400"
    )
    for path in write_report(session, prose=unused):
        text = path.read_text().replace("\\", "")
        assert "HTTP 400" in text and kept.text not in text
        assert template_sentences(facts(session))[0].text in text


def test_a_folder_of_pictures_has_no_time_line(tmp_path: Path) -> None:
    source = replace(run_info().source, kind="pictures", independent=True, fps=None)
    writer = SessionWriter.create(tmp_path, run_info(source=source))
    for index in range(3):
        writer.add_analysis(analysis(index, float(index), file=f"{index}.png"))
    writer.finish(replace(done(3), duration=3.0))
    made = files(tmp_path)
    assert b"<svg" not in made["report.html"] and b"independent of each other" in made["report.html"]
    assert [json.loads(x)["file"] for x in made["frames.jsonl"].splitlines()] == ["0.png", "1.png", "2.png"]


def test_an_empty_and_an_interrupted_session_have_reports(tmp_path: Path) -> None:
    writer = SessionWriter.create(tmp_path / "a", run_info())
    writer.add_analysis(analysis(0))
    writer.commit()
    copy = tmp_path / "killed"
    copy.mkdir()
    for name in ("session.db", "session.db-wal"):
        (copy / name).write_bytes((tmp_path / "a" / name).read_bytes())
    writer.finish(Status(finish="stopped"))
    made = files(copy)
    assert json.loads(made["findings.json"])["finish"] == "failed"
    assert b"interrupted" in made["report.html"] and b"No finding was opened" in made["report.md"]
    assert b"was stopped before the end" in files(tmp_path / "a")["report.html"]


def test_damaged_and_missing_stills_are_shown_as_missing(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("text", b"hello"), ("gone", None)):
        folder = tmp_path / name
        record(folder)
        (folder / "stills" / "1.png").unlink()
        if data is not None:
            (folder / "stills" / "1.png").write_bytes(data)
        assert b"no still" in files(folder)["report.html"]


def test_timings_say_how_fast_it_went(tmp_path: Path) -> None:
    status = Status(
        counts=FrameCounts(10, 7, {"busy": 2}, 1, 0),
        fps=31.23456789,
        stages={"total": {"p50_ms": 1.23456789}},
    )
    table = json.loads(write_timings_json(status, tmp_path / "timings.json").read_text())
    assert (table["fps"], table["stages"]) == (31.234568, {"total": {"p50_ms": 1.234568}})
    assert table["frames"]["dropped"] == 2 and table["dropped_by_cause"] == {"busy": 2}


def test_an_export_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(RunError, match=r"cannot write b\.txt"):
        write_text(tmp_path / "missing" / "b.txt", "x")


def test_unknown_formats_and_folders_are_refused(tmp_path: Path) -> None:
    session = record(tmp_path / "s")
    with pytest.raises(InputError, match="jsonl, json, csv"):
        export(session, "xlsx")
    with pytest.raises(InputError, match="choose another folder"):
        export(session, "csv", tmp_path / "s" / "session.db")
    assert [p.name for p in export(session, "csv", tmp_path / "out")] == ["frames.csv", "findings.csv"]


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("secret.png", "s/in.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "s" / "link.png").symlink_to(tmp_path / "secret.png")
    assert inside(tmp_path / "s", "in.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "none.png", ""):
        assert inside(tmp_path / "s", name) is None
