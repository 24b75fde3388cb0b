"""The main window: where everything lies, and what every action of the table does.

Owns the layout and the wishes. Must not know a pipeline; wishes go to the controller, values come from
it (`wiring` connects the two).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QMainWindow, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from endostream.types import Recording

from . import theme
from .actions import BY_KEY
from .banner import Banner
from .controller import Controller
from .dialogs import PackDialog, sample_video
from .figures_panel import FiguresPanel
from .findings_panel import FindingsPanel
from .footer import Footer
from .help_panel import HelpPanel
from .menus import enable, make_actions, make_menu
from .preferences import Preferences
from .record import record_tip, recording_words
from .samples import Layers, Notice
from .scores import Scores
from .source_dialog import SourceChoice, SourceDialog
from .status_strip import StatusStrip
from .timeline import Timeline
from .transport import Transport
from .video_view import VideoView
from .wishes import PlaybackWishes

SIDE = 360
PATIENCE_MS = 2000


class MainWindow(QMainWindow, PlaybackWishes):
    """Strip, picture, side panel, timeline, transport, footer."""

    def __init__(self, controller: Controller, preferences: Preferences) -> None:
        super().__init__()
        self.setWindowTitle("EndoStream")
        self.controller, self.preferences = controller, preferences
        self.layers = preferences.layers
        self._colours = theme.THEMES.get(preferences.theme, theme.DARK)
        self._closing = False
        self.strip, self.banner, self.view = StatusStrip(), Banner(), VideoView()
        self.scores, self.findings, self.help = Scores(), FindingsPanel(), HelpPanel()
        self.timeline, self.footer, self.figures = Timeline(), Footer(), FiguresPanel()
        self.act = make_actions(self, self._method)
        self.transport = Transport(self.act)
        self.strip.menu_button.setMenu(make_menu(self, self.act))
        self._lay_out()
        self._set_checks()
        self._paint_with(self._colours)
        self.view.set_layers(self.layers)
        self.view.set_synced(preferences.synced)
        controller.show_heatmap(self.layers.shows_heatmap)
        controller.set_synced(preferences.synced)
        self.transport.set_opacity(self.layers.opacity)
        self.resize(1440, 860)
        if preferences.geometry is not None:
            self.restoreGeometry(preferences.geometry)
        self.act["record"].setToolTip(
            f"{record_tip(controller.settings.recording.before_s)}  ({BY_KEY['record'].shown_key})"
        )
        self.refresh_actions()

    def _method(self, name: str) -> Callable[..., object]:
        return getattr(self, name)  # type: ignore[no-any-return]

    def _lay_out(self) -> None:
        panels = QWidget()
        column = QVBoxLayout(panels)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(1)
        column.addWidget(self.scores)
        column.addWidget(self.findings)
        column.addWidget(self.figures)
        self.findings.setMinimumHeight(1)  # with the figures the whole still fits a screen of 768 lines
        self.figures.hide()
        self.side = QStackedWidget()
        self.side.addWidget(panels)
        self.side.addWidget(self.help)
        self.side.setMinimumWidth(280)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.setHandleWidth(1)
        self.splitter.addWidget(self.view)
        self.splitter.addWidget(self.side)
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setStretchFactor(1, 0)
        self.splitter.setCollapsible(0, False)
        self.splitter.setCollapsible(1, False)
        self.splitter.setSizes([1080, SIDE])
        whole = QWidget()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for part in (self.strip, self.banner, self.splitter, self.timeline, self.transport, self.footer):
            column.addWidget(part)
        column.setStretchFactor(self.splitter, 1)
        self.setCentralWidget(whole)

    def _set_checks(self) -> None:
        checks = {
            "heatmap": self.layers.heatmap,
            "contour": self.layers.contour,
            "hide": self.layers.hidden,
            "synced": self.preferences.synced,
            "side": True,
            "timeline": True,
            "light": self._colours.name == "light",
        }
        for key, value in checks.items():
            self._check(key, value)

    def _check(self, key: str, value: bool) -> None:
        """Show a switch as it is, without asking for anything."""
        self.act[key].blockSignals(True)
        self.act[key].setChecked(value)
        self.act[key].blockSignals(False)

    def _paint_with(self, colours: theme.Palette) -> None:
        self._colours = colours
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.setPalette(theme.qt_palette(colours))
            app.setStyleSheet(theme.style_sheet(colours))
        for part in (self.strip, self.banner, self.view, self.scores, self.findings, self.timeline):
            part.set_palette(colours)
        self.transport.set_palette(colours)

    def refresh_actions(self) -> None:
        """Enable what makes sense now."""
        controller = self.controller
        enable(
            self.act,
            {
                "picture": self.view.frame_shown is not None,
                "run": controller.busy,
                "file": controller.seekable,
                "live": controller.live,
                "finding": self.findings.chosen_key is not None,
                "report": controller.report is not None,
            },
        )

    # Source

    def choose_source(self) -> None:
        """Offer the sources."""
        dialog = SourceDialog(self, self.preferences, self.controller.settings.profile, self.controller.spec)
        dialog.taken.connect(self.open_choice)
        self.controller.devicesListed.connect(dialog.set_devices)
        dialog.show()
        self.controller.list_devices()

    def open_choice(self, choice: SourceChoice) -> None:
        """Open what was chosen, and remember what was decided about patient text in a live picture."""
        settings = self.controller.settings
        if choice.profile is not None:
            settings = settings.changed(profile=choice.profile)
            self.preferences.set_profile(choice.identity, choice.profile)
        if choice.device:
            self.preferences.device = choice.identity
        self.preferences.source = choice.spec
        self.controller.open(choice.spec, settings)

    def open_source(self, spec: str) -> None:
        """Open this source."""
        self.preferences.source = spec
        self.controller.open(spec)

    def set_recording(self, on: bool) -> None:
        """Begin or end the recording."""
        self.controller.record(on)

    def show_recording(self, recording: Recording | None, on: bool) -> None:
        """Show how the recording is doing, and the switch as it is."""
        self.strip.set_recording(recording_words(recording))
        self._check("record", on)

    def open_sample(self) -> None:
        """Open the sample video."""
        video = sample_video()
        if video is None:
            missing = "the sample video is missing; install the program again, or open a video with Ctrl+O"
            self.banner.show_notice(Notice(missing, "warning", "open"))
        else:
            self.controller.open(str(video))

    def choose_pack(self) -> None:
        """Offer the packs."""
        dialog = PackDialog(self, self.controller.settings.pack)
        dialog.chosen.connect(self.controller.use_pack)
        dialog.show()

    def stop_run(self) -> None:
        """Finish the run."""
        self.controller.stop()

    def open_report(self) -> None:
        """Open the report in the system's viewer."""
        if self.controller.report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.controller.report)))

    def word_report(self) -> None:
        """Ask the language model on this computer for the report's prose."""
        self.controller.word_report()

    # Picture

    def save_still(self) -> None:
        """Save what is shown."""
        frame = self.view.frame_shown
        if frame is not None:
            self.controller.save_still(frame, self.view.analysis_shown, self.layers)

    def set_heatmap(self, shown: bool) -> None:
        """Show or hide the heat map."""
        self._set_layers(replace(self.layers, heatmap=shown))

    def set_contour(self, shown: bool) -> None:
        """Show or hide the contour."""
        self._set_layers(replace(self.layers, contour=shown))

    def set_hidden(self, hidden: bool) -> None:
        """Hide all overlays or show them again."""
        self._set_layers(replace(self.layers, hidden=hidden))

    def set_synced(self, on: bool) -> None:
        """Show the picture that was analysed with its own overlay, or the newest picture."""
        self.preferences.synced = on
        self.controller.set_synced(on)
        self.view.set_synced(on)

    def make_fainter(self) -> None:
        """Make the overlays fainter."""
        self.set_opacity(self.layers.opacity - 0.1)

    def make_stronger(self) -> None:
        """Make the overlays stronger."""
        self.set_opacity(self.layers.opacity + 0.1)

    def set_opacity(self, opacity: float) -> None:
        """Set the overlays' strength, 0..1."""
        self._set_layers(replace(self.layers, opacity=min(max(round(opacity, 2), 0.0), 1.0)))
        self.transport.set_opacity(self.layers.opacity)

    def _set_layers(self, layers: Layers) -> None:
        self.layers = layers
        self.view.set_layers(layers)
        self.controller.show_heatmap(layers.shows_heatmap)

    # Window

    def set_full_screen(self, full: bool) -> None:
        """Show picture, indicator and clock only, or everything."""
        self.strip.set_short(full)
        self.footer.set_short(full)
        self._show_parts()
        if full:
            self.showFullScreen()
        else:
            self.showNormal()

    def set_side(self, shown: bool) -> None:
        """Show or hide the side panel."""
        self._show_parts()

    def set_timeline(self, shown: bool) -> None:
        """Show or hide the timeline."""
        self._show_parts()

    def set_figures(self, shown: bool) -> None:
        """Show or hide the figures."""
        self.figures.setVisible(shown)
        if shown and not self.act["side"].isChecked():
            self.act["side"].setChecked(True)

    def set_help(self, shown: bool) -> None:
        """Show every action with its key in the side panel's place."""
        self.side.setCurrentIndex(1 if shown else 0)
        self._show_parts()

    def _show_parts(self) -> None:
        full = self.act["full"].isChecked()
        helping = self.act["help"].isChecked()
        self.side.setVisible(helping or (self.act["side"].isChecked() and not full))
        self.timeline.setVisible(self.act["timeline"].isChecked() and not full)
        self.transport.setVisible(not full)
        self.splitter.refresh()

    def set_light(self, light: bool) -> None:
        """Take the light or the dark theme."""
        self._paint_with(theme.LIGHT if light else theme.DARK)

    def leave(self) -> None:
        """Close the help, else give up opening a source, else leave full screen, else put the banner away."""
        if self.act["help"].isChecked():
            self.act["help"].setChecked(False)
        elif self.controller.starting:
            self.controller.stop()
        elif self.act["full"].isChecked():
            self.act["full"].setChecked(False)
        else:
            self.banner.clear()

    # The end

    def closeEvent(self, event: QCloseEvent) -> None:
        """Finish the run first; the window goes when it is done, at the latest after two seconds."""
        if self.controller.running and not self._closing:
            self._closing = True
            event.ignore()
            self.controller.idled.connect(self.close)
            QTimer.singleShot(PATIENCE_MS, self, self.close)
            self.controller.stop()
            return
        if not self.act["full"].isChecked():
            self.preferences.geometry = self.saveGeometry()
        self.preferences.layers = self.layers
        self.preferences.theme = self._colours.name
        self.preferences.save()
        event.accept()

    def fits_screen(self) -> None:
        """Shrink to the screen, where it is smaller."""
        screen = QGuiApplication.primaryScreen().availableGeometry()
        if self.width() > screen.width() or self.height() > screen.height():
            self.setGeometry(screen)
