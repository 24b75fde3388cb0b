"""Which signal goes where: the controller's values to the widgets, the widgets' wishes back.

Owns connections and the little that lies between them. Connects bound methods of QObjects only: some
signals come from other threads, and Qt then queues them to the main one.
"""

from __future__ import annotations

from PySide6.QtCore import QObject

from endostream.types import Analysis, FindingEvent, Frame, RunInfo, Status

from .controller import Controller
from .figures_panel import figures_line
from .indicator import Indicator, Kind
from .life import CHECKING, WAITING, Ending, Wish, shown_spec
from .main_window import MainWindow
from .outage import Outage
from .samples import Notice, Sample, listed


def subject_of(info: RunInfo, profile: str = "") -> str:
    """Source, pack and, for a live source, what was decided about patient text, for the strip."""
    exam = "" if info.exam == "any" else f"{info.exam} exam  ·  "
    mask = f"  ·  mask: {info.phi_mask if profile else 'undecided'}" if info.source.live else ""
    pack = f"{info.pack.get('name', '')} {info.pack.get('version', '')}".strip()
    return f"{exam}{info.source.name}  ·  {pack}{mask}"


def waiting_words(detail: str) -> tuple[str, str]:
    """Title and lines for the place of the picture while a source is opened."""
    if not detail.startswith(WAITING):
        return "Starting", detail
    source, found, hint = detail.partition(CHECKING)
    lines = [source.removeprefix(WAITING).strip(), f"check{hint}" if found else "", "Esc gives up"]
    return "Waiting for a picture", "\n".join(line for line in lines if line)


class Wiring(QObject):
    """Connects a controller with a main window."""

    def __init__(self, controller: Controller, window: MainWindow) -> None:
        super().__init__(window)
        self._controller, self._window = controller, window
        c, w = controller, window
        c.runStarting.connect(self._on_starting)
        c.runOpened.connect(self._on_opened)
        c.framed.connect(self._on_frame)
        c.analysed.connect(self._on_analysis)
        c.sampled.connect(self._on_sample)
        c.findingChanged.connect(self._on_finding)
        c.stillReady.connect(w.findings.set_still)
        c.blinded.connect(w.timeline.add_blind)
        c.outageChanged.connect(self._on_outage)
        c.recordingChanged.connect(w.show_recording)
        w.view.painted.connect(c.shown)
        c.indicated.connect(self._on_indicator)
        c.measured.connect(self._on_measured)
        c.noticed.connect(self._on_notice)
        c.said.connect(self._on_said)
        c.playingChanged.connect(self._on_playing)
        c.speedChanged.connect(w.transport.set_speed)
        c.ended.connect(self._on_ended)
        w.view.fileDropped.connect(w.open_source)
        w.view.doubleClicked.connect(w.act["full"].toggle)
        w.findings.seekRequested.connect(c.seek)
        w.findings.reviewRequested.connect(c.review)
        w.timeline.seekRequested.connect(c.seek)
        w.transport.speedRequested.connect(c.set_speed)
        w.transport.opacityRequested.connect(w.set_opacity)
        w.banner.actionRequested.connect(self._on_action)

    def _on_starting(self, wish: Wish) -> None:
        w = self._window
        w.scores.set_sample(None)
        w.view.set_analysis(None)
        w.banner.clear()
        if not wish.replay:
            w.findings.clear()
            w.timeline.start(None, False)
            w.view.set_live(False)
            w.transport.set_file(False)
            w.transport.set_live_word("")
            w.view.set_frame(None)
            w.view.set_marked(False)
            w.view.set_message("Starting", shown_spec(wish.spec))
            w.strip.set_subject(shown_spec(wish.spec))
            w.strip.set_time(None, None)
            w.footer.set_figures("")
        w.transport.set_speed(1.0)
        w.refresh_actions()

    def _on_opened(self, info: RunInfo) -> None:
        w, source = self._window, info.source
        w.timeline.start(source.duration, source.seekable, 1.0 if source.independent else 0.1)
        threshold = info.settings.get("finding", {}).get("open")
        w.timeline.set_threshold(threshold)
        w.scores.set_classes(listed(info, "unreliable"), threshold)
        w.view.set_background(listed(info, "background"))
        w.strip.set_subject(subject_of(info, self._controller.profile))
        w.view.set_live(source.live)
        w.transport.set_file(source.seekable)
        w.transport.set_live_word("live" if source.live else source.kind)
        w.refresh_actions()

    def _on_frame(self, frame: Frame) -> None:
        w = self._window
        first = w.view.frame_shown is None
        w.view.set_frame(frame)
        info = self._controller.info
        duration = info.source.duration if info is not None else None
        w.strip.set_time(self._controller.time, duration)
        w.timeline.set_time(self._controller.time)
        if first:
            w.refresh_actions()

    def _on_analysis(self, analysis: Analysis | None) -> None:
        self._window.view.set_analysis(analysis)

    def _on_sample(self, sample: Sample) -> None:
        self._window.scores.set_sample(sample)
        if not self._controller.looking_again:  # the curve is the recorded run's
            self._window.timeline.add(sample)

    def _on_finding(self, event: FindingEvent) -> None:
        w, key = self._window, (event.finding.id, event.landmark)
        if event.change == "removed":
            w.findings.remove(key)
            w.timeline.remove(key)
        else:
            w.findings.put(event.finding, event.landmark)
            w.timeline.put(event.finding, event.landmark)
            if event.change == "opened" and not event.landmark:
                w.view.play_ring()
        if event.change in ("opened", "removed"):
            w.refresh_actions()

    def _on_indicator(self, indicator: Indicator) -> None:
        w = self._window
        w.strip.set_indicator(indicator)
        w.scores.set_live(indicator.kind not in (Kind.FINISHED, Kind.FINISHING))
        w.view.set_marked(indicator.kind is Kind.FINDING)
        if indicator.kind is Kind.STARTING and w.view.frame_shown is None:
            w.view.set_message(*waiting_words(indicator.detail))
        if indicator.kind in (Kind.FAILED, Kind.NO_SIGNAL, Kind.FROZEN):
            w.scores.set_sample(None)
            if w.view.frame_shown is None:
                w.view.set_message("Not analysed", "choose another source with Ctrl+O")

    def _on_outage(self, outage: Outage | None) -> None:
        w = self._window
        w.view.set_outage(outage)
        w.timeline.set_outage(outage)
        headings = {"no-signal": "NO SIGNAL", "frozen": "NOT JUDGED: picture frozen"}
        w.scores.set_outage(headings[outage.kind] if outage is not None else "")

    def _on_measured(self, status: Status, age: float | None) -> None:
        info = self._controller.info
        self._window.footer.set_figures(figures_line(status, age, info.engine if info is not None else {}))
        self._window.figures.set_status(status)
        self._window.view.set_stated_age(age)

    def _on_notice(self, notice: Notice) -> None:
        self._window.banner.show_notice(notice)

    def _on_said(self, text: str) -> None:
        self._window.footer.say(text)

    def _on_playing(self, playing: bool) -> None:
        self._window.transport.set_playing(playing)
        self._window.refresh_actions()

    def _on_ended(self, ending: Ending) -> None:
        if ending.status is None:
            self._window.view.set_message("Not analysed", "choose a source with Ctrl+O")
        self._window.refresh_actions()

    def _on_action(self, key: str) -> None:
        self._window.act[key].trigger()
