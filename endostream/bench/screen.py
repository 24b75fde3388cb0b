"""What a window over the run would show: the newest frame with the newest analysis, polled and drawn.

Owns looking and drawing at display size, in the caller's thread. Must not know what is measured with it, nor
Qt: the picture and the contour are what the window draws by itself, the heat map is drawn when asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from endostream import tracing
from endostream.analysis.overlay import draw_mask
from endostream.bench.figures import Taken
from endostream.pipeline.pipeline import Pipeline
from endostream.types import Analysis, Frame, ImageArray

POLL_S = 0.016
"""Seconds between two looks, as the window has it."""
WIDTH, HEIGHT = 1280, 720
"""Pixels of the display: larger pictures are made smaller first, as in the window."""
GONE_S = 1.0
"""Stream time after which an overlay is not drawn any more, as in the window."""


def draw(frame: Frame, analysis: Analysis | None) -> ImageArray:
    """The picture with the mask of `analysis`, uint8[h, w, 3], at most 1280 x 720.

    A picture that fits takes 0.3 ms at 720p, one of 1080p 1.5 ms, a contour 0.5 ms more.
    """
    height, width = frame.image.shape[:2]
    scale = min(1.0, WIDTH / width, HEIGHT / height)
    size = (round(width * scale), round(height * scale))
    if scale == 1.0:
        canvas = frame.image.copy()
    else:
        canvas = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if analysis is not None and analysis.mask is not None:
        mask = analysis.mask
        if scale != 1.0:
            small = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            mask = np.asarray(small, np.uint8).view(np.bool_)
        draw_mask(canvas, mask)
    return canvas


class Screen:
    """Shows one run.

    Parameters
    ----------
    pipeline
        The run.
    opened
        Says of an analysis whether its frame is one that should have a mask.
    """

    def __init__(self, pipeline: Pipeline, opened: Callable[[Analysis], bool]) -> None:
        self._pipeline, self._opened = pipeline, opened
        self._versions = (-1, -1)
        self._frame: Frame | None = None
        self._analysis: Analysis | None = None

    def look(self, taken: Taken) -> bool:
        """Draw what is newer than at the last look, and write down what is seen; False when nothing is."""
        frames, analyses = self._pipeline.latest_frame, self._pipeline.latest_analysis
        versions, before = (frames.version, analyses.version), self._versions
        if versions == before:
            return False
        self._versions = versions
        new = versions[0] != before[0]
        if new:
            self._frame = frames.get()
        newer = analyses.get() if versions[1] != before[1] else None
        self._analysis = newer or self._analysis
        if self._frame is None:
            return False
        drawn = self._over(self._frame, self._analysis)
        start = time.perf_counter()
        draw(self._frame, drawn)
        end = time.perf_counter()
        taken.draw_s.append(end - start)
        tracing.add("draw", start, end, frame=self._frame.index)
        if newer is not None:
            taken.delays.append(time.monotonic() - newer.frame.captured)
        if new:
            self._note(taken, self._frame, drawn)
        return True

    def pass_over(self) -> None:
        """Leave what is there now unshown: it was captured before anything was measured."""
        self._versions = (self._pipeline.latest_frame.version, self._pipeline.latest_analysis.version)
        self._analysis = self._pipeline.latest_analysis.get()

    def _over(self, frame: Frame, analysis: Analysis | None) -> Analysis | None:
        """The analysis, when it is fresh enough to be drawn over the frame."""
        if analysis is None or analysis.frame.epoch != frame.epoch:
            return None
        return analysis if abs(frame.time - analysis.frame.time) < GONE_S else None

    def _note(self, taken: Taken, frame: Frame, drawn: Analysis | None) -> None:
        taken.shown += 1
        if drawn is not None:
            taken.overlay_ages.append(abs(frame.time - drawn.frame.time))
        # The gate's state is that of the newest analysis, however old; where that is too old, no mask is.
        if self._analysis is not None and self._opened(self._analysis):
            taken.gated += 1
            taken.masked += drawn is not None and drawn.mask is not None
