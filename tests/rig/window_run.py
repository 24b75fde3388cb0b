"""The real window over a real stream with stub networks, and somebody who looks at its screen.

Owns opening and closing it, and what is taken down of every paint: which picture, whose overlay, which words,
and the pixels that are on the screen afterwards. Must not know what is demanded of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from endostream_ui import theme, video_view
from endostream_ui.ages import freshness
from endostream_ui.app import application
from endostream_ui.controller import Controller
from endostream_ui.main_window import MainWindow
from endostream_ui.outage import Outage
from endostream_ui.preferences import Preferences
from endostream_ui.video_view import FOOT, MARGIN
from endostream_ui.wiring import Wiring
from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, QObject, QPoint, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QFontMetrics, QGuiApplication, QImage, QPainter

from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.analysis.findings import FindingRules, FindingTracker
from endostream.analysis.visibility import BlindLedger
from endostream.bench.rig import counter, stub
from endostream.bench.rig.clips import Scene
from endostream.bench.rig.live_run import GATE
from endostream.capture import open_source
from endostream.capture.loopback import ClipSender
from endostream.config import Settings
from endostream.errors import RunError
from endostream.pipeline.parts import Parts
from endostream.pipeline.pipeline import Pipeline
from endostream.types import Analysis, Frame, ImageArray, RunInfo

LOOK_MS = 10
"""Milliseconds between two looks, at most, at whether what was waited for has happened."""
OPEN_S = 20.0
"""Seconds until the first overlay must be on the screen."""
QUIT_S = 10.0
"""Seconds a window has to close."""
RING_S = 0.8
"""Seconds after the first overlay until the ring of the new finding, which is amber too, is gone."""


@dataclass(frozen=True, slots=True)
class Paint:
    """One paint of the view."""

    at: float
    """Monotonic time in seconds at its end."""
    number: int | None
    """Counter of the picture painted."""
    captured: float
    """When it was captured, monotonic seconds."""
    newest: int | None
    """Counter of the newest picture that the window had."""
    waited: float
    """Seconds since the newest picture was captured."""
    overlay: int | None
    """Counter of the picture whose overlay was drawn; None when none was."""
    analysed: float | None
    """When that picture was captured, monotonic seconds."""
    masked: bool
    """True when that overlay has a mask, so that there is a contour."""
    carried: bool
    """True when its mask was carried there from an earlier picture."""
    text: str
    """The words under the picture."""
    lost: bool
    """True when it was painted as the last picture before a loss."""
    first: bool
    """True for the first paint of this picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Grab:
    """What was on the screen after a paint."""

    at: float
    """Monotonic time in seconds when it was copied."""
    image: ImageArray
    """The picture's place, uint8[H, W, 3]."""
    paint: Paint
    """The paint that left it there."""
    bare: ImageArray
    """The picture that was painted, at its own size."""
    words: bool
    """True when the pixels of the line under the picture are those of the words."""


class WindowRun(QObject):
    """The window as `endostream open` has it, showing what a sender sends, from here to `close`.

    Parameters
    ----------
    sender
        At work, and with a clip of `scene`.
    scene
        What it plays.
    delay_s
        Seconds both stub networks take.
    carrying
        True analyses as the product does live: masks that are late are carried along. False waits for the
        mask network on every picture that is analysed, so that each mask is the block's own box.

    Raises
    ------
    RunError
        No overlay came.
    """

    _repainted = Signal()

    def __init__(self, sender: ClipSender, scene: Scene, delay_s: float, carrying: bool = False) -> None:
        self.app = application()
        super().__init__()
        self.sender, self.scene = sender, scene
        self.networks = stub.StubNetworks(delay_s)
        self.paints: list[Paint] = []
        self.outages: list[tuple[float, Outage | None]] = []
        """When the window was told of an outage, or of its end."""
        self.seen: Callable[[Grab], None] | None = None
        """Is given what is on the screen after every paint."""
        self.carrying = carrying
        self._text, self._drawn = "", None  # type: tuple[str, Analysis | None]
        self._painted: Frame | None = None
        self._folder = tempfile.TemporaryDirectory()
        self.controller = Controller(Settings(profile="none"), build=self._build)
        self.window = MainWindow(self.controller, Preferences(Path(self._folder.name) / "window.ini"))
        self.view = self.window.view
        self._wiring: Wiring | None = Wiring(self.controller, self.window)
        self._own_line = video_view.overlay_line
        self._awake = QTimer(self, interval=LOOK_MS)
        self._awake.start()
        self._listen()
        # The colours of the heat map are those of the contour, too.
        self.window.act["heatmap"].setChecked(False)
        self.window.show()
        self.resize(1.0)
        self.controller.open(sender.url)

    # -- called by whoever measures

    def settle(self) -> None:
        """Wait until overlays are drawn and nothing moves but the pictures."""
        if not self.wait(lambda: self.paints and self.paints[-1].overlay is not None, OPEN_S):
            raise RunError(f"no overlay came within {OPEN_S:g} s ({self.controller.failure or 'no error'})")
        self.wait(lambda: False, RING_S)

    def wait(self, until: Callable[[], Any], seconds: float) -> bool:
        """Let the window work until something is true; False after `seconds`."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() >= end:
                return False
            QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        return True

    def resize(self, scale: float) -> None:
        """Show the picture at `scale`; raises `RunError` when the window does not become as large as that."""
        wide, high = round(self.scene.width * scale), round(self.scene.height * scale)
        for _ in range(8):
            lacking = QPoint(wide + 2 * MARGIN - self.view.width(), high + MARGIN + FOOT - self.view.height())
            if lacking.isNull():
                return
            self.window.resize(self.window.width() + lacking.x(), self.window.height() + lacking.y())
            QCoreApplication.processEvents()
        raise RunError(f"the window cannot show a picture of {wide} x {high}; it has {self.view.size()}")

    def set_synced(self, on: bool) -> None:
        """Switch between the two modes as a user does."""
        self.window.act["synced"].setChecked(on)

    @property
    def scale(self) -> float:
        """How large a pixel of the picture is on the screen."""
        return float(self.view.picture_rect().width()) / self.scene.width

    def close(self) -> None:
        """Close the window as a user does; raises `RunError` when it does not go."""
        self.seen = None
        self.window.close()
        gone = self.wait(lambda: not self.window.isVisible(), QUIT_S)
        self.controller.close()
        self.networks.close()  # a run that came to nothing has not
        video_view.overlay_line = self._own_line  # type: ignore[assignment]
        self._wiring = None
        for part in (self.window, self.controller, self):
            part.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        self._folder.cleanup()
        if not gone:
            raise RunError(f"the window was still there {QUIT_S:g} s after it was closed")

    def __enter__(self) -> Self:
        """The window, with overlays."""
        try:
            self.settle()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # -- the run, built on the window's own thread for that

    def _build(self, spec: str, settings: Settings, *, sinks: Any, say: Any, cancelled: Any, **_: Any) -> Any:
        source = open_source(spec, first_frame_timeout=None, say=say, cancelled=cancelled)
        rules = AnalyzerRules(gate=GATE, paced=True) if self.carrying else AnalyzerRules()
        facts = {"name": "stub", "background": stub.LABELS[0]}
        return Pipeline(
            Parts(
                source=source,
                analyzer=Analyzer(self.networks, rules),
                tracker=FindingTracker(FindingRules(stub.LABELS, background=stub.LABELS[:1])),
                info=RunInfo(source.info, facts, stub.LABELS, {}, dict(self.networks.info)),
                blind=BlindLedger(settings.visibility.minimum_s),
                sinks=sinks,
                closing=[self.networks],
            )
        )

    # -- what is seen

    def _listen(self) -> None:
        """Be told of every paint from inside it: what the view says of itself later may be another truth."""
        view, overlays = self.view, self.view._overlays
        paint_picture, paint_lost, paint_overlay = view._paint_picture, view._paint_lost, overlays.paint

        def line(*values: Any) -> str:
            self._text = self._own_line(*values)
            return self._text

        def overlay(painter: QPainter, box: Any, analysis: Analysis, strength: float) -> None:
            self._drawn = analysis
            paint_overlay(painter, box, analysis, strength)

        def picture(painter: QPainter, frame: Frame) -> None:
            self._text, self._drawn = "", None
            paint_picture(painter, frame)
            self._note(frame, False)

        def lost(painter: QPainter, outage: Outage) -> None:
            self._text, self._drawn = "", None
            frame = view.frame_shown
            paint_lost(painter, outage)
            if frame is not None:
                self._note(frame, True)

        video_view.overlay_line = line  # type: ignore[assignment]
        overlays.paint = overlay  # type: ignore[method-assign]
        view._paint_picture = picture  # type: ignore[method-assign]
        view._paint_lost = lost  # type: ignore[method-assign]
        self.controller.outageChanged.connect(self._on_outage)
        # Queued: it comes when the paint is on the screen.
        self._repainted.connect(self._look, Qt.ConnectionType.QueuedConnection)

    def _on_outage(self, outage: Outage | None) -> None:
        self.outages.append((time.monotonic(), outage))

    def _note(self, frame: Frame, lost: bool) -> None:
        newest, drawn = self.view._newest, self._drawn
        now = time.monotonic()
        fresh = drawn is not None and freshness(self.view.age) > 0
        self.paints.append(
            Paint(
                at=now,
                number=counter.read(frame.image),
                captured=frame.captured,
                newest=None if newest is None else counter.read(newest.image),
                waited=0.0 if newest is None else now - newest.captured,
                overlay=None if drawn is None or not fresh else counter.read(drawn.frame.image),
                analysed=None if drawn is None else drawn.frame.captured,
                masked=drawn is not None and drawn.mask is not None and bool(drawn.mask.any()),
                carried=drawn is not None and drawn.mask_source == "tracked",
                text=self._text,
                lost=lost,
                first=frame is not self._painted,
            )
        )
        self._painted = frame
        if self.seen is not None:
            self._repainted.emit()

    def _look(self) -> None:
        if self.seen is None or self._painted is None:
            return
        screen = QGuiApplication.primaryScreen()
        view, corner = self.view, self.view.mapTo(self.window, QPoint(0, 0))
        shot = screen.grabWindow(self.window.winId(), corner.x(), corner.y(), view.width(), view.height())
        at = time.monotonic()
        if shot.isNull():
            raise RunError("the screen cannot be grabbed; set QT_QPA_PLATFORM=offscreen")
        pixels = as_array(shot.toImage())
        place = view.picture_rect().toRect()
        rows, columns = slice(place.top(), place.bottom() + 1), slice(place.left(), place.right() + 1)
        self.seen(
            Grab(at, pixels[rows, columns], self.paints[-1], self._painted.image, self._has_words(pixels))
        )

    def _has_words(self, pixels: ImageArray) -> bool:
        """Whether the words of the last paint stand under the picture, to the pixel."""
        text, box = self.paints[-1].text, self.view.picture_rect()
        font = theme.font(theme.BODY)
        width = QFontMetrics(font).horizontalAdvance(text) + 4
        line = QRectF(box.right() - width, box.bottom() + 8, width, FOOT - 10)
        place = line.toRect()
        shown = pixels[place.top() : place.bottom() + 1, place.left() : place.right() + 1]
        for colour in (theme.DARK.secondary, theme.DARK.text):
            drawn = QImage(place.size(), QImage.Format.Format_RGB32)
            drawn.fill(QColor(theme.DARK.ground))
            painter = QPainter(drawn)
            painter.setFont(font)
            painter.setPen(QColor(colour))
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(line.translated(-place.topLeft()), right, text)
            painter.end()
            if np.array_equal(as_array(drawn), shown):
                return True
        return False


def as_array(image: QImage) -> ImageArray:
    """The pixels of a picture, uint8[H, W, 3]."""
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return rows[:, : 3 * rgb.width()].reshape(rgb.height(), rgb.width(), 3).copy()
