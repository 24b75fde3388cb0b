"""The window's arithmetic and tables: actions, indicator, ages, colours, the timeline's memory, verdicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from endostream_ui import theme
from endostream_ui.actions import ACTIONS, GROUPS
from endostream_ui.ages import carried_age, freshness, in_step, overlay_age
from endostream_ui.icons import shape
from endostream_ui.indicator import LOOKS, Kind, Situation, indicate
from endostream_ui.lanes import stretches
from endostream_ui.ledger import Ledger
from endostream_ui.main_window import MainWindow
from endostream_ui.overlay_picture import FILL_OPACITY, HEAT_OPACITY, heat_picture, outline
from endostream_ui.samples import Sample, openers, sample_of, spoken_time
from endostream_ui.stills import around
from endostream_ui.track import ADEQUATE, BLIND, JUDGED, UNSEEN, Track
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QKeySequence
from ui_fakes import BOX, HEIGHT, LABELS, WIDTH, analysis, finding, frame, opened, run_info

from endostream.analysis import overlay
from endostream.types import FindingEvent, Masked


def sample(time: float, score: float = 0.2, epoch: int = 0, **more: object) -> Sample:
    of = replace(frame(), time=time, epoch=epoch)
    return sample_of(analysis(of, score=score, **more))  # type: ignore[arg-type]


def test_every_action_has_a_method_a_key_of_its_own_and_words() -> None:
    keys: dict[str, str] = {}
    for action in ACTIONS:
        assert callable(getattr(MainWindow, action.method)), action.key
        assert action.text and action.tip and action.group in GROUPS
        for shortcut in action.shortcuts:
            portable = QKeySequence(shortcut).toString()
            assert portable, f"{action.key}: {shortcut!r} is no key"
            assert portable not in keys, f"{shortcut!r} is both {keys.get(portable)} and {action.key}"
            keys[portable] = action.key
    assert len({a.key for a in ACTIONS}) == len({a.text for a in ACTIONS}) == len(ACTIONS)


RUNNING = Situation(state="running", sample=sample(1.0), age=0.04)
BLURRED = replace(RUNNING, sample=sample(1.0, visible=False))
CASES = {
    "nothing open": (Situation(), Kind.READY, "choose a source"),
    "building": (Situation(state="starting", doing="compiling"), Kind.STARTING, "compiling"),
    "no analysis yet": (Situation(state="running"), Kind.STARTING, "first analysis"),
    "nothing found": (RUNNING, Kind.ANALYSING, "no finding"),
    "found": (replace(RUNNING, open_labels=("polyps", "polyps")), Kind.FINDING, "polyps"),
    "blind": (BLURRED, Kind.BLIND, "blurred"),
    "blind with a finding still open": (replace(BLURRED, open_labels=("polyps",)), Kind.BLIND, "blurred"),
    "late": (replace(RUNNING, age=0.8), Kind.DELAYED, "800 ms"),
    "slow line": (replace(RUNNING, lag=2.1), Kind.DELAYED, "comes 2.1 s late"),
    "hardly late": (replace(RUNNING, lag=0.3), Kind.ANALYSING, "no finding"),
    "late with a finding": (replace(RUNNING, age=1.5, open_labels=("polyps",)), Kind.DELAYED, "1.5 s"),
    "cable out": (replace(RUNNING, state="no-signal"), Kind.NO_SIGNAL, "cable"),
    "held": (replace(RUNNING, state="paused"), Kind.PAUSED, "Space"),
    "seen before": (replace(RUNNING, replaying=True), Kind.REPLAY, "analysed before"),
    "ending": (replace(RUNNING, state="finishing"), Kind.FINISHING, "writing"),
    "over": (replace(RUNNING, state="finished"), Kind.FINISHED, ""),
    "broken": (replace(RUNNING, failure="disk full; free some"), Kind.FAILED, "disk full; free some"),
}


@pytest.mark.parametrize("case", CASES)
def test_indicator_says_one_thing(case: str) -> None:
    situation, kind, words = CASES[case]
    indicator = indicate(situation)
    assert indicator.kind is kind
    assert words in indicator.detail


def test_no_two_states_share_word_or_shape_and_colour_is_never_alone() -> None:
    assert set(LOOKS) == set(Kind)
    words = [look.word for look in LOOKS.values()]
    assert len(set(words)) == len(words)
    by_shape: dict[str, set[str]] = {}
    for look in LOOKS.values():
        by_shape.setdefault(look.shape, set()).add(look.word)
    assert {frozenset(v) for v in by_shape.values() if len(v) > 1} <= {frozenset({"STARTING", "FINISHING"})}
    for look in LOOKS.values():
        assert not shape(look.shape, QRectF(0, 0, 24, 24)).isEmpty()


@pytest.mark.parametrize("palette", theme.THEMES.values(), ids=theme.THEMES)
def test_what_is_read_has_enough_contrast(palette: theme.Palette) -> None:
    for role in ("text", "secondary", "finding", "landmark", "therapy", "failure", "running"):
        assert theme.contrast(getattr(palette, role), palette.panel) >= 4.5, role


def test_dark_colours_are_the_agreed_ones_and_the_stills_use_the_same() -> None:
    agreed = {"finding": "#F5B301", "landmark": "#4CC9F0", "therapy": "#B388EB", "blind": "#6B7280"}
    agreed |= {"failure": "#EF4444", "running": "#34D399", "ground": "#0D1117", "panel": "#151B23"}
    agreed |= {"hairline": "#27303A", "text": "#E6EDF3", "secondary": "#9AA7B4"}
    for role, colour in agreed.items():
        assert getattr(theme.DARK, role) == colour
        drawn = overlay.COLOURS.get("healthy" if role == "running" else role)
        assert drawn is None or "#{:02X}{:02X}{:02X}".format(*drawn) == colour
    assert overlay.HEAT <= HEAT_OPACITY == 0.45
    assert overlay.FILL <= FILL_OPACITY == 0.15


@pytest.mark.parametrize(
    ("age", "drawn"), [(None, 0.0), (0.0, 1.0), (0.5, 1.0), (0.75, 0.5), (1.0, 0.0), (9.0, 0.0)]
)
def test_overlay_fades_past_half_a_second(age: float | None, drawn: float) -> None:
    assert freshness(age) == pytest.approx(drawn)


def test_age_is_between_the_pictures_and_counts_from_the_masks_own_frame() -> None:
    shown = frame(20)
    assert overlay_age(shown, analysis(shown)) == 0.0
    assert overlay_age(shown, analysis(frame(15))) == pytest.approx(0.2)
    carried = analysis(frame(15), mask_source="tracked", mask_time=frame(10).time)
    assert overlay_age(shown, carried) == pytest.approx(0.2), "a carried mask was moved to its frame"
    assert carried_age(carried) == pytest.approx(0.2)
    assert carried_age(analysis(frame(15))) is None and carried_age(None) is None
    assert overlay_age(shown, analysis(frame(20, epoch=1))) is None
    assert overlay_age(shown, None) is None
    assert overlay_age(None, analysis(shown)) is None


def test_sample_holds_numbers_and_no_picture() -> None:
    numbers = sample_of(analysis(frame(), score=0.7), openers(run_info()))
    assert numbers.finding_score == pytest.approx(0.7)
    assert numbers.mask_area == pytest.approx(80 * 80 / (WIDTH * HEIGHT))
    sizes = [np.asarray(getattr(numbers, name)).size for name in Sample.__dataclass_fields__]
    assert max(sizes) == len(LABELS)
    assert openers(run_info()) == {"polyps", "hemorrhoids"}


def test_time_for_people() -> None:
    assert [spoken_time(t) for t in (0, 59.99, 312, 3600)] == ["00:00", "00:59", "05:12", "01:00:00"]
    assert spoken_time(872, hours=True) == "00:14:32"


def test_track_keeps_the_highest_score_of_a_column_for_an_hour_at_25_a_second() -> None:
    track = Track()
    of = sample(0.0, 0.1)
    for index in range(0, 3600 * 25, 5):
        track.add(replace(of, time=index / 25, index=index, finding_score=0.1))
    track.add(replace(of, time=1800.0, finding_score=0.93))
    columns = track.columns(0.0, 3600.0, 1400)
    assert len(columns.times) <= 1400
    peak = int(np.nanargmax(columns.scores))
    assert columns.scores[peak] == pytest.approx(0.93)
    assert abs(columns.times[peak] - 1800.0) < 3600 / 1400
    assert set(columns.seen.tolist()) == {JUDGED}


def test_track_forgets_an_earlier_pass_over_the_same_stretch() -> None:
    track = Track()
    for place in range(100):
        track.add(sample(place / 10, 0.9))
    track.add(sample(2.0, 0.2, epoch=1))
    track.add(sample(4.0, 0.2, epoch=1))
    columns = track.columns(0.0, 10.0, 1000)
    passed = (columns.times > 2.0) & (columns.times < 4.05)
    assert np.nanmax(columns.scores[passed]) == pytest.approx(0.2)
    assert (columns.seen[(columns.times > 2.1) & (columns.times < 4.0)] == UNSEEN).all()
    assert columns.scores[columns.times > 4.2] == pytest.approx(0.9)


def test_track_knows_blind_unseen_and_preparation_apart() -> None:
    track = Track()
    track.add(sample(0.0, 0.8, top="bbps-2-3"))
    track.add(sample(0.1, 0.9, visible=False))
    track.add(sample(0.5, 0.9))
    columns = track.columns(0.0, 1.0, 100)
    assert columns.seen.tolist() == [JUDGED, BLIND, UNSEEN, UNSEEN, UNSEEN, JUDGED]
    assert columns.context[0] == ADEQUATE
    assert np.isnan(columns.scores[1]) and columns.scores[5] == pytest.approx(0.9)


def test_stretches_join_what_is_the_same_and_leave_gaps_open() -> None:
    met = [(0.0, 1), (0.1, 1), (0.2, 2), (5.0, 2)]
    assert stretches(met, 5.0, gap=1.0, least=0.1) == [
        (1, 0.0, 0.2),
        (2, 0.2, pytest.approx(0.3)),
        (2, 5.0, 5.1),
    ]


def test_ledger_keeps_a_verdict_and_counts_landmarks_apart() -> None:
    ledger = Ledger()
    ledger.take(opened(1))
    ledger.take(opened(1, landmark=True))
    assert ledger.count == 1
    assert ledger.labels_at(5.0, again=False) == ("polyps",)
    assert ledger.review((1, False), "rejected") is not None
    later = ledger.take(FindingEvent("closed", finding(1, 0.0, 4.0)))
    assert later.finding.review == "rejected"
    assert ledger.count == 0 and ledger.labels_at(2.0, again=True) == ()
    assert ledger.review((9, False), "confirmed") is None


def test_heat_map_is_at_most_45_percent_and_nothing_where_the_map_is_low() -> None:
    heat = np.zeros((16, 16), np.float32)
    heat[4:8, 4:8] = 1.0
    picture = heat_picture(heat, 160, 160)
    alphas = [[picture.pixelColor(x, y).alphaF() for x in range(160)] for y in range(160)]
    assert np.max(alphas) == pytest.approx(0.45, abs=0.01)
    assert np.max(np.asarray(alphas)[100:, 100:]) == 0.0


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 2.7])
def test_outline_lies_on_the_masks_edge_at_any_size(scale: float) -> None:
    path = outline(analysis(frame()).mask, WIDTH * scale, HEIGHT * scale)  # type: ignore[arg-type]
    bounds = path.boundingRect()
    slack = 1.0 + scale  # half a source pixel and the rounded corners
    for got, wanted in zip(bounds.getCoords(), BOX, strict=True):
        assert got == pytest.approx(wanted * scale, abs=slack)
    assert path.contains(QPointF(160 * scale, 120 * scale))
    assert not path.contains(QPointF(20 * scale, 20 * scale))


def test_small_picture_shows_the_mask_and_stays_inside_the_frame() -> None:
    x, y, width, height = around(analysis(frame()), 1.4)
    assert x <= BOX[0] and x + width >= BOX[2] and y <= BOX[1] and y + height >= BOX[3]
    assert x >= 0 and y >= 0 and x + width <= WIDTH and y + height <= HEIGHT
    assert around(analysis(frame(), mask=False), 1.4)[2] == min(WIDTH, round(HEIGHT * 1.4))


def test_the_synced_picture_is_the_one_its_contour_was_made_of_and_never_goes_back() -> None:
    frames = [frame(k) for k in range(8)]
    own = analysis(frames[2])
    assert in_step(None, own) is None
    assert in_step(own, None) is own, "a mask of its own"
    made = Masked(frames[3], own.mask)  # type: ignore[arg-type]
    carried = analysis(frames[5], mask_source="tracked", mask_time=frames[3].time, anchor=made)
    shown = in_step(carried, own)
    assert shown is not None and shown.frame is frames[3] and shown.mask is made.mask
    assert (shown.mask_source, shown.mask_time, shown.heatmap) == ("network", frames[3].time, None)
    assert shown.predictions is carried.predictions, "what is acted on is as new as ever"
    later = analysis(frames[6], mask_source="tracked", mask_time=frames[3].time, anchor=made)
    assert in_step(later, shown) is shown, "the same picture is not drawn anew"
    ahead = analysis(frames[5], mask=False)
    assert in_step(carried, ahead) is ahead, "it waits, and does not go back"
    elsewhere = analysis(frame(0, epoch=1))
    assert in_step(elsewhere, shown) is elsewhere, "another stretch begins where it likes"
