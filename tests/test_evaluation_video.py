"""`evaluate video`: figures on hand-made numbers, the forms of the truth, and a run from clip to page."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import tissue, write_pack, write_video

from endostream.analysis.findings import Bounds
from endostream.capture.phantom import Phantom, write_truth
from endostream.cli import main
from endostream.errors import InputError
from endostream.evaluation.advice import OPENS, advise, bounds_at, bounds_of, sought, sweep
from endostream.evaluation.video import Clip, evaluate_video
from endostream.evaluation.video_clips import Watched, lasting, watch_session
from endostream.evaluation.video_metrics import (
    Counts,
    alarms,
    changes,
    detections,
    episodes,
    mask_counts,
    poisson_upper,
    pooled,
    score_counts,
)
from endostream.evaluation.video_tables import blind_share, mean_dice
from endostream.evaluation.video_truth import Truth, beside, read_truth, runs
from endostream.packs import read_pack
from endostream.records.session import Session

BOUNDS = Bounds(open=0.6, close=0.4, minimum_s=0.5, merge_s=1.0)
RATE = 10


def made(
    high: dict[tuple[float, float], float],
    spans: tuple[tuple[float, float], ...] = (),
    seconds: float = 60.0,
) -> Watched:
    """A clip at 10 frames a second whose score has these values in these stretches, and 0 elsewhere."""
    time = np.arange(round(seconds * RATE)) / RATE
    score = np.zeros(len(time), np.float32)
    present = np.zeros(len(time), bool)
    for (start, end), value in high.items():
        score[(time >= start - 1e-6) & (time <= end + 1e-6)] = value
    for start, end in spans:
        present |= (time >= start - 1e-6) & (time < end - 1e-6)
    return Watched(
        name="made.mp4",
        index=np.arange(len(time)),
        time=time,
        lasts=lasting(time),
        score=score,
        raw=score.copy(),
        visible=np.ones(len(time), bool),
        area=np.zeros(len(time), np.float32),
        present=present,
        known=np.ones(len(time), bool),
        spans=spans,
    )


FALSE = {(5.0, 5.3): 0.9, (10.0, 10.7): 0.9, (15.0, 16.4): 0.9, (20.0, 23.0): 0.9}
TRUE = {(31.0, 34.0): 0.9, (45.0, 49.0): 0.9}
SPANS = ((30.0, 35.0), (45.0, 50.0))


@pytest.mark.parametrize(
    ("hold_off", "false", "delay"), [(0.2, 4, 0.7), (0.5, 3, 1.0), (1.0, 2, 1.5), (2.0, 1, 2.5)]
)
def test_a_longer_hold_off_has_fewer_false_positives_and_detects_later(
    hold_off: float, false: int, delay: float
) -> None:
    found = pooled([made(FALSE | TRUE, SPANS)], "polyps", BOUNDS, hold_off)
    assert (found.findings, found.false) == (false + 2, false)
    assert found.minutes == found.visible_minutes == pytest.approx(50 / 60)
    assert found.rate == pytest.approx(false / (50 / 60))
    assert (found.spans, found.found, found.carried, found.sensitivity) == (2, 2, 0, 1.0)
    assert found.delay == pytest.approx(delay)
    assert found.delays == pytest.approx((1.0 + hold_off, hold_off))


def test_a_missed_interval_and_a_blind_minute_are_counted() -> None:
    clip = made(FALSE | {(31.0, 34.0): 0.9}, SPANS)
    clip.visible[:100] = False
    found = alarms(clip, "polyps", BOUNDS)
    assert (found.spans, found.found, found.sensitivity) == (2, 1, 0.5)
    assert found.minutes == pytest.approx(50 / 60) and found.visible_minutes == pytest.approx(40 / 60)
    assert found.visible_rate == pytest.approx(3 / (40 / 60))
    assert blind_share([clip]) == pytest.approx(10 / 60)


def test_findings_are_the_products_own() -> None:
    """A score between the thresholds opens nothing and keeps open; a gap of 1 s does not split."""
    clip = made({(5.0, 8.0): 0.5, (10.0, 11.0): 0.9, (11.1, 13.0): 0.5, (13.8, 15.0): 0.9})
    (one,) = episodes(clip, "polyps", BOUNDS)
    assert (one.start, one.end, one.declared) == pytest.approx((10.0, 15.05, 10.5), abs=0.06)


def test_a_finding_that_runs_over_a_cut_must_hold_on() -> None:
    """Three scenes of 3 s; the finding goes through the first two and decays in the third."""
    scenes = ((0.0, 3.0), (3.0, 6.0), (6.0, 9.0))
    first, second, third = detections(made({(0.0, 6.2): 0.9}, scenes, 9.0), "polyps", BOUNDS)
    assert (first.found, first.delay) == (True, pytest.approx(0.5))
    assert (second.found, second.delay) == (True, None)
    assert (third.found, third.delay) == (False, None)
    short = ((0.0, 3.0), (3.0, 3.8), (3.8, 9.0))
    told = detections(made({(0.0, 8.0): 0.9}, short, 9.0), "polyps", BOUNDS)
    assert [d.found for d in told] == [True, None, True]
    assert alarms(made({(0.0, 8.0): 0.9}, short, 9.0), "polyps", BOUNDS).spans == 2


def test_a_finding_where_the_truth_is_silent_is_left_out() -> None:
    clip = made(FALSE)
    clip.known[195:235] = False
    found = alarms(clip, "polyps", BOUNDS)
    assert (found.findings, found.false) == (3, 2)
    assert found.minutes == pytest.approx(56 / 60)


def test_frames_against_the_truth() -> None:
    clip = made({(5.0, 5.9): 0.9, (30.0, 31.9): 0.7, (32.0, 34.9): 0.6}, ((30.0, 40.0),))
    counts = score_counts(clip, 0.65)
    assert counts == Counts(tp=20, fn=80, tn=490, fp=10)
    assert (counts.sensitivity, counts.specificity) == (0.2, 0.98)
    assert Counts().sensitivity is None and Counts(tp=1).specificity is None


def test_masks_count_where_they_overlap() -> None:
    clip = made({}, ((0.0, 0.4),), 1.0)
    clip.area[[0, 1, 5]] = 0.1
    assert mask_counts(clip) == Counts(tp=2, fn=2, tn=5, fp=1)
    values = np.full(10, np.nan, np.float32)
    values[:4] = (0.8, 0.0, 0.0, 0.0)
    compared = Watched(**{f: getattr(clip, f) for f in Watched.__slots__} | {"dice": values})
    assert mask_counts(compared) == Counts(tp=1, fn=3, tn=5, fp=1)
    assert mean_dice([compared]) == pytest.approx(0.2)
    assert mean_dice([compared], drawn=True) == pytest.approx(0.4)
    assert mean_dice([clip]) is None


def test_flicker_counts_changes() -> None:
    assert changes(np.array([0, 1, 1, 0, 1, 0], bool)) == 4
    assert changes(np.zeros(5, bool)) == 0


def test_the_exact_poisson_bound() -> None:
    """Without an event the bound is -ln 0.05; with c events the tail under it is 5 %."""
    assert poisson_upper(0) == pytest.approx(-math.log(0.05))
    for count in (1, 4):
        mean = poisson_upper(count)
        tail = sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count + 1))
        assert tail == pytest.approx(0.05)


def test_a_frame_stands_for_no_gap() -> None:
    assert lasting(np.array([0.0, 0.1, 0.2, 5.0])) == pytest.approx([0.1, 0.1, 1.0, 0.1])


# -- advice


def test_the_advice_is_the_lowest_threshold_that_stays_under_the_target() -> None:
    """Two minutes with findings at 0.96, 0.82, 0.72 and 0.52: one left over 0.8 is 0.5 a minute."""
    normal = made({(5, 7): 0.96, (20, 22): 0.82, (40, 42): 0.72, (60, 62): 0.52}, seconds=120.0)
    labelled = made({(1.0, 4.0): 0.9, (11.0, 14.0): 0.75}, ((0.0, 5.0), (10.0, 15.0)), 20.0)
    steps = sweep([normal], [labelled], "polyps", BOUNDS, (0.2, 2.5))
    at = {step.open: step for step in steps}
    assert tuple(at) == OPENS
    false = {o: at[o].by_hold_off[0.5].false for o in (0.3, 0.5, 0.55, 0.7, 0.75, 0.8, 0.85)}
    assert false == {0.3: 4, 0.5: 4, 0.55: 3, 0.7: 3, 0.75: 2, 0.8: 2, 0.85: 1}
    assert at[0.3].by_hold_off[2.5].false == 0
    advice = advise(steps, "polyps", BOUNDS, 0.5)
    assert (advice.open, advice.close, advice.hold_off_s) == (0.85, 0.4, 0.5)
    assert (advice.false_positives, advice.rate, advice.minutes) == (1, 0.5, pytest.approx(2.0))
    assert advice.upper == pytest.approx(poisson_upper(1) / 2.0)
    assert (advice.sensitivity, advice.intervals) == (0.5, 2)
    assert "1 false positives in 2.0 minutes" in advice.sentence and "50% of the 2" in advice.sentence
    assert any("do not prove it" in line for line in advice.limits)
    unproven = advise(steps, "polyps", BOUNDS, 2.0)
    assert unproven.open == 0.6, "two minutes do not speak for a lower threshold than the one in force"
    lower = advise(steps, "polyps", BOUNDS, 10.0)
    assert (lower.open, lower.close) == (0.3, 0.3)
    assert any("under the 0.6 in force" in line for line in lower.limits)
    none = advise(steps, "polyps", BOUNDS, 0.2)
    assert none.open is None and none.sentence.startswith("No opening threshold up to 0.95")
    assert none.limits[0].startswith("2.0 minutes of normal video: with 95 % confidence")


def test_the_closing_threshold_never_lies_over_the_opening_one() -> None:
    assert bounds_at(BOUNDS, 0.3).close == 0.3 and bounds_at(BOUNDS, 0.9).close == 0.4


# -- truth

LABELS = ("background", "polyps", "cecum")


def truth_of(tmp_path: Path, text: str) -> Truth:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    return read_truth(path, "polyps", LABELS)


def mask_file(path: Path, box: tuple[int, int, int, int] | None) -> Path:
    picture = np.zeros((64, 96), np.uint8)
    if box is not None:
        x0, y0, x1, y1 = box
        picture[y0:y1, x0:x1] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return path


def test_the_forms_of_the_truth(tmp_path: Path) -> None:
    index, time = np.arange(4), np.arange(4) / 2
    frames = truth_of(tmp_path, "index,label\n0,cecum\n1,polyps\n2,polyp\n")
    present, known = frames.at(index, time)
    assert present.tolist() == [False, True, True, False] and known.tolist() == [True, True, True, False]
    spans = truth_of(tmp_path, "label,start_s,end_s\npolyp,0.5,1.0\nblurred,0,2\n")
    present, known = spans.at(index, time)
    assert present.tolist() == [False, True, False, False] and known.all()
    mask_file(tmp_path / "masks" / "a.png", (0, 0, 9, 9))
    mask_file(tmp_path / "masks" / "b.png", None)
    masks = truth_of(
        tmp_path, "frame,sequence,mask\n0,1,masks/a.png\n1,1,masks/b.png\n2,2,masks/a.png\n3,3,\n"
    )
    assert masks.at(index, time)[0].tolist() == [True, False, True, False]
    assert masks.scenes(index) == ["1", "1", "2", "3"] and set(masks.masks) == {0, 1, 2}


def test_scene_cuts_end_an_interval() -> None:
    start = np.arange(5) / 10
    present = np.array([1, 1, 1, 0, 1], bool)
    assert runs(present, ["1", "1", "2", "2", "2"], start, start + 0.1) == (
        (0.0, pytest.approx(0.2)),
        (0.2, pytest.approx(0.3)),
        (0.4, pytest.approx(0.5)),
    )


def test_a_folder_of_masks(tmp_path: Path) -> None:
    mask_file(tmp_path / "000000.png", None)
    mask_file(tmp_path / "000001.png", (0, 0, 9, 9))
    truth = read_truth(tmp_path, "polyps", LABELS)
    assert truth.present == {0: False, 1: True} and not truth.synthetic


def test_the_phantoms_truth(tmp_path: Path) -> None:
    """Its intervals count; a sliver of a polyp beside them is not judged."""
    phantom = Phantom(seed=7, width=160, height=96, seconds=12.0, fps=2.0)
    write_truth(phantom, tmp_path / "truth")
    truth = read_truth(tmp_path / "truth", "polyps", LABELS)
    inside = {
        i
        for s in phantom.intervals
        if s.label == "polyp"
        for i in range(round(s.start * 2), round(s.end * 2))
    }
    assert inside and {i for i, p in truth.present.items() if p} == inside
    assert truth.synthetic and set(truth.masks) == set(range(24))
    assert {i for i in range(24) if i not in truth.present} == {
        i for i in range(24) if i not in inside and phantom.mask(i).any()
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index,label\n0,plyps\n", "line 2: unknown label 'plyps'; did you mean 'polyps'"),
        ("index,label\n0,polyps\n0,polyps\n", "line 3: frame 0 is there twice"),
        ("index,label\n-1,polyps\n", "line 2: frame '-1' is no number"),
        ("index,label\n1\n", "line 2: not as many columns"),
        ("label,start_s,end_s\npolyps,3,2\n", "line 2: the interval must end after it starts"),
        ("label,start_s,end_s\npolyps,3,soon\n", "line 2: start_s and end_s must be seconds"),
        ("frame,mask\n0,no.png\n", "line 2: no mask no.png; name with --truth-root"),
        ("a,b\n1,2\n", "columns a, b are no truth"),
        ("index,label\n", "holds no row"),
    ],
)
def test_a_truth_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match="truth") as caught:
        truth_of(tmp_path, text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


# -- from clip to page


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says `polyps` with about 0.69 on every frame."""
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny", bias=0.8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "clip.csv").write_text("label,start_s,end_s\npolyps,0.4,1.6\n")
    return write_video(folder / "clip.mp4", 60)


def evaluated(out: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((out / "results.json").read_text())  # type: ignore[no-any-return]


def test_from_clip_to_page(
    clip: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["--clip", str(clip), "--negative", str(clip), "--pack", str(pack), "--out", str(out)]
    assert main(["evaluate", "video", *given]) == 0
    told = capsys.readouterr().out
    assert "Duration threshold (hold-off): 0.5 s" in told and "advice: Open polyps at 0.7" in told
    found = evaluated(out)
    figures = found["figures"]
    assert (figures["score_sensitivity"], figures["score_specificity"]) == (1.0, 0.0)
    assert (figures["finding_sensitivity"], figures["first_detection_median_s"]) == (1.0, pytest.approx(0.12))
    assert figures["false_positives_per_minute_at_0.5_s"] == 0.0
    assert figures["normal_false_positives_per_minute_at_0.5_s"] == pytest.approx(25.0)
    assert figures["normal_upper_95_per_minute_at_0.5_s"] == pytest.approx(poisson_upper(1) / 0.04)
    assert (figures["advised_open"], figures["advised_finding_sensitivity"]) == (0.7, 0.0)
    assert found["facts"]["hold_offs_s"] == [0.2, 0.5, 1.0, 2.0]
    assert found["command"] == (
        f"endostream evaluate video --clip clip.mp4 --negative clip.mp4 --pack {pack.name} --target-fp 0.5"
    )
    assert str(tmp_path) not in (out / "results.json").read_text()
    with (out / "hold_offs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["findings"] for row in rows] == ["1", "1", "1", "1"]
    assert (out / "index.html").is_file() and (out / "plots" / "false_positives.svg").is_file()
    assert main(["evaluate", "video", *given]) == 2
    assert "already holds results" in capsys.readouterr().err


def test_a_session_gives_what_its_clip_gives(clip: Path, pack: Path, tmp_path: Path) -> None:
    session = tmp_path / "session"
    assert main(["analyze", str(clip), "--out", str(session), "--pack", str(pack), "--save-masks"]) == 0
    masks = tmp_path / "truth"
    for index in range(60):
        mask_file(masks / f"{index:06d}.png", (20, 10, 80, 60) if 10 <= index < 40 else None)
    both = [evaluate_video([Clip(source, masks)], [Clip(source)], str(pack)) for source in (clip, session)]
    assert both[0].figures == both[1].figures
    assert both[0].tables == both[1].tables
    assert both[0].figures["mask_dice"] is not None
    known = read_pack(pack)
    seen = episodes(watch_session(session, known, "polyps", None), "polyps", bounds_of(known, "polyps"))
    kept = [(f.start, f.end) for f in Session.open(session).findings]
    assert kept and [(e.start, e.end) for e in seen] == kept
    with pytest.raises(InputError, match="whose weights are not those of tiny"):
        evaluate_video([], [Clip(session)], str(write_pack(tmp_path / "other", bias=0.5)))


def test_synthetic_video_is_never_sensitivity(clip: Path, pack: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    for index in range(60):
        mask_file(truth / "masks" / f"{index:06d}.png", (20, 10, 80, 60) if 10 <= index < 40 else None)
    about = {"synthetic": True, "fps": 25.0, "intervals": [{"label": "polyp", "start": 0.4, "end": 1.6}]}
    (truth / "truth.json").write_text(json.dumps(about))
    results = evaluate_video([Clip(clip, truth)], [], str(pack), hold_offs=(0.5,))
    assert any("nothing measured on synthetic video is sensitivity" in line for line in results.warnings)
    assert results.facts["clips"][0]["intervals"] == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "nothing to measure"),
        (["--clip", "{clip}", "--truth", "a", "--truth", "b"], "2 --truth for 1 --clip"),
        (["--negative", "{folder}"], "is no session and no video"),
        (["--negative", "{folder}/none.mp4"], "no clip"),
        (["--clip", "{bare}"], "has no truth beside it"),
        (["--clip", "{clip}", "--label", "cecum"], "'cecum' opens no finding in pack tiny"),
        (["--clip", "{clip}", "--truth", "{late}"], "lies outside it"),
        (["--clip", "{clip}", "--truth", "{long}"], "names frame 60"),
        (["--clip", "{clip}", "--save-advice"], "--save-advice needs normal clips"),
    ],
)
def test_wrong_use_is_one_line(
    clip: Path, pack: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.mp4"
    bare.write_bytes(clip.read_bytes())
    late, long = tmp_path / "late.csv", tmp_path / "long.csv"
    late.write_text("label,start_s,end_s\npolyps,30,40\n")
    long.write_text("index,label\n" + "".join(f"{i},polyps\n" for i in range(61)))
    names = {"clip": clip, "folder": tmp_path, "bare": bare, "late": late, "long": long}
    given = [word.format(**names) for word in more]
    assert main(["evaluate", "video", "--pack", str(pack), "--out", str(tmp_path / "out"), *given]) == 2
    (line, *_) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_pictures_has_no_time(pack: Path, tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    assert cv2.imwrite(str(picture), tissue(0))
    with pytest.raises(InputError, match="which has no time"):
        evaluate_video([], [Clip(picture)], str(pack))


def test_the_class_that_is_looked_for(pack: Path) -> None:
    known = read_pack(pack)
    assert sought(known, None) == sought(known, "polyps") == "polyps"
    with pytest.raises(InputError, match="one of polyps"):
        sought(known, "background")


def test_what_lies_beside_a_clip(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    assert beside(clip) is None
    (tmp_path / "a_truth").mkdir()
    assert beside(clip) == tmp_path / "a_truth"
    (tmp_path / "a.csv").touch()
    assert beside(clip) == tmp_path / "a.csv"
