"""The overlay on the screen belongs to the picture under it: in place, in age, and gone in time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endostream_ui.overlay_painter import OverlayPainter
from endostream_ui.overlay_picture import as_qimage
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QApplication
from ui_fakes import analysis, live_frame, qt  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent / "rig"))

from overlay_fading import stale
from overlay_pixels import contour, drawn_on
from overlay_place import belongs, stated_ms
from overlay_truth import shown_ages
from window_run import WindowRun, as_array

from endostream.bench.rig.clips import Scene, make_clip, picture
from endostream.bench.rig.result import Figure
from endostream.bench.rig.stub import block_mask
from endostream.capture.loopback import open_sender
from endostream.types import Analysis

SMALL = Scene(640, 360, 30)
DELAY_S = 0.08


@pytest.fixture(scope="module", autouse=True)
def path() -> Iterator[None]:
    """The rig's own files are found while this module is tested."""
    yield
    sys.path.remove(str(Path(__file__).parent / "rig"))


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def missed(figures: list[Figure]) -> list[str]:
    return [f"{f.name}: {f.value} over {f.limit} {f.unit} ({f.note})" for f in figures if f.met is False]


@pytest.mark.parametrize("scale", [1.0, 0.75])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_reader_finds_a_contour_to_the_pixel(qt: QApplication, shift: int, scale: float) -> None:  # noqa: F811
    scene = Scene(1280, 720)
    bare = picture(scene, 17)
    mask = np.roll(block_mask(bare), shift, axis=1)
    of = replace(analysis(live_frame(0)), mask=mask, heatmap=None)
    image = as_qimage(bare).scaled(round(1280 * scale), round(720 * scale))
    before = as_array(image)
    painter = QPainter(image)
    OverlayPainter().paint(painter, QRectF(image.rect()), of, 1.0)
    painter.end()
    drawn = as_array(image)
    seen = contour(drawn)
    assert seen is not None and seen.astray == 0
    x0, y0, x1, y1 = scene.block_at(17)
    if scale == 1.0:
        assert seen.box == (x0 + shift, y0, x1 + shift, y1)
    assert seen.beside((x0, y0, x1, y1), scale) == pytest.approx(shift, abs=0.45)
    assert contour(before) is None
    assert drawn_on(before, before) == 0 < drawn_on(drawn, before)


def test_words_are_read_only_where_an_overlay_is_drawn() -> None:
    assert stated_ms("overlay 233 ms") == stated_ms("synced, 233 ms behind") == 233.0
    assert stated_ms("overlay 634 ms, fading") == 634.0
    assert stated_ms("overlay hidden, 1.2 s old") is None and stated_ms("not analysed") is None


def test_overlay_is_on_its_block_and_as_old_as_it_says(qt: QApplication) -> None:  # noqa: F811
    with open_sender("udp", make_clip(SMALL)) as sender, WindowRun(sender, SMALL, DELAY_S) as run:
        for synced in (True, False):
            assert not missed(belongs(run, "window", synced, 1.0, 20))

        # The same, broken on purpose: figures that cannot be missed would prove nothing.
        overlays, stated = run.view._overlays, run.view._stated_now
        paint, before = overlays.paint, list[Analysis]()

        def paint_last(painter: Any, box: Any, of: Analysis, strength: float) -> None:
            before.append(of)
            paint(painter, box, next((old for old in reversed(before) if old is not of), of), strength)

        overlays.paint = paint_last  # type: ignore[method-assign]
        off = by_name(belongs(run, "window", True, 1.0, 8))["contour off its block"]
        assert off.met is False and off.value is not None and off.value > 2
        overlays.paint = paint  # type: ignore[method-assign]

        run.view._stated_now = lambda: (stated() or 0.0) + 1 / 30  # type: ignore[method-assign]
        wrong = by_name(belongs(run, "window", False, 1.0, 8))["age stated, wrong by"]
        assert wrong.value == pytest.approx(1000 / 30, abs=1.0) and wrong.met is False


def test_stale_overlay_is_off_the_screen_in_time(qt: QApplication) -> None:  # noqa: F811
    with open_sender("tcp", make_clip(SMALL)) as sender, WindowRun(sender, SMALL, DELAY_S, True) as run:
        assert not missed(stale(run, "window", DELAY_S, 1))
        found = by_name(shown_ages(run, "window", 0.5))
        assert found["pictures that could not be told"].met
        age = found["shown-frame age p50"].value
        assert age is not None and 0.0 < age < 1000.0
