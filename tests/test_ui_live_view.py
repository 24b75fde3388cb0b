"""The live picture, pixel by pixel: dimmed without a signal, overlays that go in time, synced pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from endostream_ui.ages import GONE, LATE, STALE, freshness, live_age
from endostream_ui.outage import Outage
from endostream_ui.overlay_picture import FILL_OPACITY
from endostream_ui.samples import Layers
from endostream_ui.video_view import FADE_MS, FOOT, MARGIN, VideoView
from numpy.typing import NDArray
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QWidget
from ui_fakes import HEIGHT, WIDTH, analysis, frame, live_frame, qt, spin  # noqa: F401

from endostream.types import Analysis, Frame

BLOCK = 40
"""Edge of the moving block in pixels."""


@pytest.fixture
def view(qt: QApplication) -> Iterator[VideoView]:  # noqa: F811
    shown = VideoView()
    shown.set_live(True)
    shown.resize(WIDTH + 2 * MARGIN, HEIGHT + MARGIN + FOOT)
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


def block_at(index: int) -> tuple[int, int]:
    """x and y of the block in the picture of this number."""
    return 10 + 7 * index % (WIDTH - BLOCK - 20), 20 + 3 * index % (HEIGHT - BLOCK - 40)


def moving(index: int) -> Frame:
    """A dark picture with a bright block that moves."""
    x, y = block_at(index)
    image = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    image[y : y + BLOCK, x : x + BLOCK] = (200, 60, 60)
    image.setflags(write=False)
    return replace(live_frame(index), image=image)


def boxed(of: Frame) -> Analysis:
    """What a network says that boxes the block."""
    x, y = block_at(of.index)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + BLOCK, x : x + BLOCK] = True
    return replace(analysis(of), mask=mask, heatmap=None)


def off_by(view: VideoView) -> tuple[int, int]:
    """Pixels between the block in the picture and the contour around it, horizontally and vertically.

    The contour is amber on dark ground, the block red: neither hides the other's edges.
    """
    shown = picture_of(view).astype(int)
    red, green, blue = shown[..., 0], shown[..., 1], shown[..., 2]
    contour = (red > 180) & (green > 120) & (blue < 90)
    block = (red > 150) & (green < 110)
    assert contour.any() and block.any()

    def middle(mask: NDArray[Any]) -> tuple[float, float]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2

    (cx, cy), (bx, by) = middle(contour), middle(block)
    return round(cx - bx), round(cy - by)


def test_synced_overlay_is_on_its_block_in_every_picture(view: VideoView) -> None:
    view.set_layers(Layers(heatmap=False, opacity=0.0))
    view.set_synced(True)
    for index in range(6, 40):
        view.set_frame(moving(index))
        if index % 3 == 0:
            view.set_analysis(boxed(moving(index - 5)))
            assert off_by(view) == (0, 0), f"picture {index}"
    view.set_synced(False)
    assert off_by(view) != (0, 0), "the live picture has moved on: this can be seen"


def test_live_overlay_is_off_by_what_the_stated_age_says(view: VideoView) -> None:
    view.set_layers(Layers(heatmap=False, opacity=0.0))
    late = boxed(moving(5))
    view.set_analysis(late)
    for index in range(6, 16):
        view.set_frame(moving(index))
        dx, _ = off_by(view)
        stated = view._stated
        assert stated is not None
        frames = (block_at(index)[0] - block_at(5)[0]) / 7
        assert -dx == block_at(index)[0] - block_at(5)[0]
        assert stated == pytest.approx(frames / 25, abs=0.010), "true within 10 ms when it is painted"
        assert f"{round(stated * 1000)} ms" in view.overlay_line()


def test_no_signal_leaves_nothing_that_could_be_taken_for_live(view: VideoView) -> None:
    view.set_layers(Layers(heatmap=True))
    shown = live_frame(3)
    view.set_frame(shown)
    view.set_analysis(analysis(shown))
    view.set_marked(True)
    before = picture_of(view).astype(int)
    view.set_outage(Outage("no-signal", "no picture for 1 s", shown.captured, shown.time))
    after = picture_of(view).astype(int)
    dim = after[: HEIGHT // 5]
    assert dim.max() < 60 and np.ptp(dim, axis=2).max() <= 12, "dark and without colours"
    assert dim.max() > 15, "but known again"
    words = after[HEIGHT // 3 : HEIGHT * 3 // 4]
    assert (words.min(axis=2) > 200).sum() > 300, "large words, nearly white"
    amber = (after[..., 0] > 180) & (after[..., 1] > 120) & (after[..., 2] < 90)
    assert not amber.any() and view.analysis_shown is None
    view.set_outage(None)
    np.testing.assert_array_equal(picture_of(view), before)


def test_no_signal_is_said_without_any_picture_too(view: VideoView) -> None:
    empty = grabbed(view)
    view.set_outage(Outage("no-signal", "", time.monotonic(), 0.0))
    assert (grabbed(view) != empty).any()


def test_frozen_picture_keeps_its_pixels_inside_a_hatched_frame(view: VideoView) -> None:
    view.set_frame(frame(3))
    view.set_live(False)
    bare, around = picture_of(view), grabbed(view)
    view.set_outage(Outage("frozen", "", time.monotonic() - 3.2, 0.0))
    np.testing.assert_array_equal(picture_of(view), bare)
    box = view.picture_rect().toRect()
    strip = grabbed(view)[box.top() - 6 : box.top(), box.left() : box.right()]
    assert strip.std() > 10, "hatched, not plain"
    assert (grabbed(view) != around).any()
    assert view.overlay_line() == "frozen: the picture has not changed for 3 s"


def test_ages_go_by_pictures_while_they_come_and_by_the_clock_after() -> None:
    shown, of = live_frame(20), analysis(replace(live_frame(15), captured=0.0))
    of = replace(of, frame=replace(of.frame, captured=shown.captured - 0.2))
    assert live_age(shown, of, shown.captured + 0.1) == pytest.approx(0.2)
    assert live_age(shown, of, shown.captured + LATE + 0.01) == pytest.approx(0.2 + LATE + 0.01)
    assert live_age(replace(shown, epoch=1), of, shown.captured) is None


@pytest.mark.parametrize("pictures", ["come", "stop"])
def test_stale_overlay_is_gone_within_a_frame_of_the_limit(view: VideoView, pictures: str) -> None:
    """No analysis comes any more: with or without new pictures the overlay must go in time."""
    started = time.monotonic()
    first = live_frame(0, ago=0.0)
    of = analysis(first)
    view.set_frame(first)
    view.set_analysis(of)
    drawn: list[tuple[float, bool]] = []
    paint = view._overlays.paint

    def watched(painter: Any, box: Any, analysis: Any, strength: float) -> None:
        drawn.append((time.monotonic(), strength > 0))
        paint(painter, box, analysis, strength)

    view._overlays.paint = watched  # type: ignore[method-assign]

    def on() -> bool:
        if pictures == "come":
            index = round((time.monotonic() - started) * 25)
            if view._newest is not None and index > view._newest.index:
                view.set_frame(
                    replace(live_frame(index, ago=0.0), time=first.time + time.monotonic() - started)
                )
        return time.monotonic() - started > GONE + 0.25

    spin(on)
    assert view.analysis_shown is None
    last = drawn[-1][0] - first.captured
    assert last <= GONE + 1 / 25, "nothing is drawn one frame past the limit"
    assert last > STALE, "and it was drawn, fading, up to it"
    grey = picture_of(view)
    view.set_analysis(None)
    np.testing.assert_array_equal(picture_of(view), grey)


def test_fading_without_pictures_repaints_by_itself(view: VideoView) -> None:
    assert FADE_MS <= 17, "one frame at 60 Hz"
    stalled = live_frame(3, ago=GONE - 0.1)
    view.set_frame(stalled)
    view.set_analysis(analysis(stalled))
    assert 0 < freshness(view.age) < 0.5
    painted: list[float] = []
    paint = view._paint_line
    view._paint_line = lambda *values: (painted.append(time.monotonic()), paint(*values))[1]  # type: ignore[method-assign, func-returns-value]
    view.update()
    spin(lambda: view.analysis_shown is None)
    spin(lambda: not view._fade.isActive())
    gone = stalled.captured + GONE
    assert painted[-1] >= gone, "the paint without the overlay came by itself"


def test_picture_is_reported_after_it_was_painted_and_not_while_dimmed(view: VideoView) -> None:
    told: list[tuple[Frame, Analysis | None]] = []
    view.painted.connect(lambda shown, of: told.append((shown, of)))
    shown = live_frame(1)
    view.set_frame(shown)
    assert told == []
    view.grab()
    view.grab()
    assert told == [(shown, None)]
    of = analysis(live_frame(2))
    view.set_analysis(of)
    view.set_outage(Outage("no-signal", "", time.monotonic(), 0.0))
    view.set_frame(live_frame(3))
    view.grab()
    assert len(told) == 1


def test_many_live_paints_leave_no_reference_to_none(view: VideoView) -> None:
    told: list[int] = []
    view.painted.connect(lambda shown, of: told.append(1))

    def paint(count: int) -> None:
        for index in range(count):
            of = analysis(live_frame(index))
            view.set_synced(index % 2 == 0)
            view.set_frame(live_frame(index + 1))
            view.set_analysis(of if index % 3 else None)
            view.set_outage(Outage("frozen", "", time.monotonic(), 0.0) if index % 5 == 0 else None)
            view.grab()
            view.set_outage(Outage("no-signal", "gone", time.monotonic(), 0.0) if index % 7 == 0 else None)
            view.grab()

    paint(10)
    before = sys.getrefcount(None)
    paint(60)
    gained = sys.getrefcount(None) - before
    assert abs(gained) < 150, f"None gained {gained} references in 120 paints"
    assert len(told) >= 60
    assert FILL_OPACITY == 0.15
