"""The picture: pixels stay as they are, the contour lies on the mask, stale overlays go, nothing leaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from endostream_ui.findings_panel import FindingsPanel
from endostream_ui.lanes import GUTTER
from endostream_ui.samples import Layers, sample_of
from endostream_ui.scores import HEAD, Scores
from endostream_ui.timeline import Timeline
from endostream_ui.video_view import FOOT, MARGIN, VideoView
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QImage, QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget
from ui_fakes import BOX, HEIGHT, WIDTH, analysis, finding, frame, qt, settle, span, spin  # noqa: F401

ZOOM = 2


@pytest.fixture
def view(qt: QApplication) -> Iterator[VideoView]:  # noqa: F811
    shown = VideoView()
    shown.resize(WIDTH * ZOOM + 2 * MARGIN, HEIGHT * ZOOM + MARGIN + FOOT)
    shown.show()
    yield shown
    shown.close()
    shown.deleteLater()


def grabbed(widget: QWidget) -> NDArray[np.uint8]:
    """What the widget shows, uint8[H, W, 3]."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).copy()


def picture_of(view: VideoView) -> NDArray[np.uint8]:
    """The part of the view that is the picture."""
    box = view.picture_rect().toRect()
    return grabbed(view)[box.top() : box.bottom() + 1, box.left() : box.right() + 1]


def test_picture_keeps_its_aspect_and_its_pixels(view: VideoView) -> None:
    shown = frame()
    view.set_frame(shown)
    box = view.picture_rect()
    assert (box.width(), box.height()) == (WIDTH * ZOOM, HEIGHT * ZOOM)
    drawn = picture_of(view)[::ZOOM, ::ZOOM]
    assert np.abs(drawn.astype(int) - shown.image).max() <= 1


def test_picture_at_its_own_size_is_shown_bit_for_bit(view: VideoView) -> None:
    view.resize(WIDTH + 2 * MARGIN, HEIGHT + MARGIN + FOOT)
    view.set_frame(frame())
    np.testing.assert_array_equal(picture_of(view), frame().image)


def test_contour_lies_on_the_mask_and_nothing_else_changes(view: VideoView) -> None:
    view.set_layers(Layers(heatmap=False))
    view.set_frame(frame())
    bare = picture_of(view)
    view.set_analysis(analysis(frame()))
    changed = np.abs(picture_of(view).astype(int) - bare).max(axis=2)
    x0, y0, x1, y1 = (v * ZOOM for v in BOX)
    outside = changed.copy()
    outside[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4] = 0
    assert outside.max() == 0
    middle = (y0 + y1) // 2
    edge = picture_of(view)[middle, x0 - 3 : x0 + 4].astype(int)
    amber = np.abs(edge - (0xF5, 0xB3, 0x01)).sum(axis=1)
    assert amber.min() < 40, "no amber line on the mask's edge"
    dark = edge.sum(axis=1)
    assert dark[0] < 200 or dark[1] < 200, "no dark edge outside the line"
    inside = changed[y0 + 12 : y1 - 12, x0 + 12 : x1 - 12]
    assert 0 < inside.max() <= 0.15 * 255 + 1, "the fill is at most 15 %"


def test_heat_map_stays_near_the_class_map_and_hiding_takes_all_away(view: VideoView) -> None:
    view.set_frame(frame())
    bare = picture_of(view)
    view.set_analysis(analysis(frame(), mask=False))
    view.set_layers(Layers(heatmap=True, opacity=1.0))
    changed = np.abs(picture_of(view).astype(int) - bare).max(axis=2)
    assert changed[HEIGHT * ZOOM // 2, WIDTH * ZOOM // 2] > 20
    assert changed[: HEIGHT // 4].max() == 0
    view.set_layers(Layers(heatmap=True, hidden=True))
    np.testing.assert_array_equal(picture_of(view), bare)


@pytest.mark.parametrize("case", ["background", "blind"])
def test_a_class_that_means_nothing_has_no_heat_map(view: VideoView, case: str) -> None:
    view.set_frame(frame())
    bare = picture_of(view)
    view.set_layers(Layers(heatmap=True))
    view.set_background(frozenset({"background"}))
    top = "background" if case == "background" else "polyps"
    view.set_analysis(analysis(frame(), top=top, mask=False, visible=case != "blind"))
    np.testing.assert_array_equal(picture_of(view), bare)


STALE = {
    "fresh": (20, "overlay 0 ms"),
    "fading": (5, "overlay 600 ms, fading"),
    "gone": (-10, "overlay hidden"),
    "other epoch": (None, "not analysed"),
}


@pytest.mark.parametrize("case", STALE)
def test_stale_overlay_fades_and_says_so(view: VideoView, case: str) -> None:
    index, words = STALE[case]
    view.set_frame(frame(20))
    bare = picture_of(view)
    of = frame(20, epoch=3) if index is None else replace(frame(20), time=index / 25)
    view.set_analysis(analysis(of))
    changed = int(np.abs(picture_of(view).astype(int) - bare).max())
    assert words in view.overlay_line()
    if case in ("gone", "other epoch"):
        assert changed == 0 and view.analysis_shown is None
    elif case == "fading":
        view.set_analysis(analysis(frame(20)))
        assert 0 < changed < np.abs(picture_of(view).astype(int) - bare).max()
    else:
        assert changed > 100


def test_corner_marks_lie_outside_the_picture(view: VideoView) -> None:
    view.set_frame(frame())
    bare, before = picture_of(view), grabbed(view)
    view.set_marked(True)
    np.testing.assert_array_equal(picture_of(view), bare)
    assert (grabbed(view) != before).any()


def test_many_paints_leave_no_reference_to_none(view: VideoView) -> None:
    view.set_layers(Layers(heatmap=True))
    scores, line = Scores(), Timeline()
    line.start(60.0, True)
    line.resize(600, 146)

    def paint(count: int) -> None:
        for index in range(count):
            of = analysis(frame(index))
            view.set_frame(of.frame)
            view.set_analysis(of)
            scores.set_sample(sample_of(of))
            line.add(sample_of(of))
            line.set_time(of.frame.time)
            for widget in (view, scores, line):
                widget.grab()

    paint(5)
    before = sys.getrefcount(None)
    paint(60)
    after = sys.getrefcount(None)
    scores.deleteLater()
    line.deleteLater()
    assert abs(after - before) < 150, f"None gained {after - before} references in 60 paints"


@pytest.fixture
def line(qt: QApplication) -> Iterator[Timeline]:  # noqa: F811
    shown = Timeline()
    shown.resize(900, 146)
    shown.show()
    yield shown
    shown.close()
    shown.deleteLater()


def test_timeline_grows_without_jumping_when_the_length_is_unknown(line: Timeline) -> None:
    line.start(None, False)
    ends = []
    for second in range(0, 600, 2):
        line.set_time(float(second))
        ends.append(line.shown_end)
        assert line.x_of(second) <= 900
    steps = np.diff(ends)
    assert ends[0] == 60.0 and (steps >= 0).all() and steps.max() < 2.5
    line.set_time(10.0)
    assert line.shown_end == ends[-1], "going back does not shrink it"


def test_timeline_shows_findings_landmarks_and_blind_time(line: Timeline) -> None:
    line.start(10.0, True)
    empty = grabbed(line)
    line.put(finding(1, 2.0, 4.0), False)
    line.put(finding(1, 6.0, 7.0, "cecum"), True)
    line.add_blind(span(8.0, 9.0))
    spin(lambda: (grabbed(line) != empty).any())
    shown = grabbed(line)
    assert np.abs(shown[16, int(line.x_of(3.0))].astype(int) - (0xF5, 0xB3, 0x01)).max() < 12
    assert np.abs(shown[35, int(line.x_of(6.0))].astype(int) - (0x4C, 0xC9, 0xF0)).max() < 12
    hatch = shown[62:70, int(line.x_of(8.2)) : int(line.x_of(8.8))]
    assert hatch.std(axis=(0, 1)).max() > 10, "blind time is hatched, not plain"
    assert "polyps 0.90" in line.described(3.0) and "blurred" in line.described(8.5)
    line.remove((1, False))
    assert "polyps" not in line.described(3.0)


@pytest.mark.parametrize("seekable", [True, False])
def test_timeline_click_seeks_files_only(line: Timeline, seekable: bool) -> None:
    line.start(10.0, seekable)
    asked: list[float] = []
    line.seekRequested.connect(asked.append)
    press(line, QPoint(int(line.x_of(5.0)), 60))
    press(line, QPoint(GUTTER - 40, 60))
    assert [round(t, 1) for t in asked] == ([5.0, 0.0] if seekable else [])


def press(widget: QWidget, at: QPoint) -> None:
    """A press of the left button."""
    left = Qt.MouseButton.LeftButton
    where = QPointF(at)
    event = QMouseEvent(
        QEvent.Type.MouseButtonPress,
        where,
        widget.mapToGlobal(where),
        left,
        left,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(widget, event)


def test_scores_mark_the_unreliable_and_say_when_nothing_is_analysed(qt: QApplication) -> None:  # noqa: F811
    scores = Scores()
    scores.resize(360, scores.height())
    assert scores.heading == "NOT ANALYSED" and scores.rows == ()
    scores.set_sample(sample_of(analysis(frame(), top="hemorrhoids")))
    assert scores.heading == "what the AI sees now"
    assert scores.rows[0] == ("hemorrhoids", 0.9) and len(scores.rows) == 5
    bar = slice(HEAD + 30, HEAD + 34), slice(20, 200)
    assert grabbed(scores)[bar].std(axis=(0, 1)).max() < 1, "a reliable class has a plain bar"
    scores.set_classes(frozenset({"hemorrhoids"}), 0.6)
    assert grabbed(scores)[bar].std(axis=(0, 1)).max() > 10, "an unreliable one is hatched"
    scores.set_sample(sample_of(analysis(frame(), visible=False)))
    assert scores.heading == "NOT JUDGED: blurred"
    scores.set_sample(None)
    assert scores.heading == "NOT ANALYSED" and scores.rows == ()
    scores.deleteLater()


def test_findings_list_emits_wishes_and_keeps_the_order_of_time(qt: QApplication) -> None:  # noqa: F811
    panel = FindingsPanel()
    panel.resize(360, 400)
    panel.show()
    wishes: list[tuple[object, ...]] = []
    panel.seekRequested.connect(lambda t: wishes.append(("seek", t)))
    panel.reviewRequested.connect(lambda key, review: wishes.append((key, review)))
    panel.put(finding(2, 8.0), False)
    panel.put(finding(1, 3.0, label="cecum"), True)
    settle()
    rows = [panel.row((1, True)), panel.row((2, False))]
    assert rows[0].y() < rows[1].y()
    press(rows[1], QPoint(20, 20))
    rows[1].confirm_button.click()
    rows[0].reject_button.click()
    assert wishes == [("seek", 8.0), ((2, False), "confirmed"), ((1, True), "rejected")]
    panel.put(replace(finding(2, 8.0), review="confirmed"), False)
    spin(lambda: rows[1].finding.review == "confirmed")
    rows[1].confirm_button.click()
    assert wishes[-1] == ((2, False), "pending"), "a second click takes the verdict back"
    panel.clear()
    assert panel.findings == () and panel.chosen_key is None
    panel.close()
    panel.deleteLater()
