"""The decisions: which run there is, what state it is in, what a wish of the user becomes.

Owns the life of the pipeline as the window sees it. Must not know widgets: it receives wishes as calls
and answers with signals that carry frozen values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from endostream.config import Settings
from endostream.types import Analysis, FindingEvent, Frame, Review, RunInfo, Status

from .aside import Aside
from .bridge import Bridge
from .indicator import Indicator, Kind, Situation, indicate
from .ledger import Key, Ledger, key_of
from .life import Build, Ending, Life, Running, Wish, build_product, farewell, troubles
from .samples import Layers, Sample
from .watch import Watch

log = logging.getLogger(__name__)
POLL_MS = 16
QUEUED = Qt.ConnectionType.QueuedConnection
Keep = Callable[[str], Path]
"""From a source to the folder its session is kept in."""


class Controller(QObject):
    """Opens, plays, stops; tells the window what to show."""

    runStarting = Signal(object)  # Wish
    runOpened = Signal(object)  # RunInfo
    framed = Signal(object)  # Frame
    analysed = Signal(object)  # Analysis
    sampled = Signal(object)  # Sample
    findingChanged = Signal(object)  # FindingEvent
    stillReady = Signal(object, object)  # Key, QImage
    blinded = Signal(object)  # BlindSpan
    indicated = Signal(object)  # Indicator
    measured = Signal(object, object)  # Status, age in seconds or None
    noticed = Signal(object)  # Notice
    said = Signal(str)
    devicesListed = Signal(object)
    playingChanged = Signal(bool)
    speedChanged = Signal(float)
    ended = Signal(object)  # Ending
    idled = Signal()

    def __init__(self, settings: Settings, *, build: Build = build_product, keep: Keep | None = None) -> None:
        super().__init__()
        self.settings = settings
        self._build, self._keep = build, keep
        self._life: Life | None = None
        self._heatmap = False
        self._pipeline: Running | None = None
        self._wish: Wish | None = None
        self._next: Wish | None = None
        self._runs = 0
        self._folder: Path | None = None
        self.ledger = Ledger()
        self.report: Path | None = None
        self._forget()
        self.indicator: Indicator = indicate(Situation())
        self._aside = Aside()
        for name in ("stillReady", "devicesListed", "noticed", "said"):
            getattr(self._aside, name).connect(getattr(self, name))
        self._poll = QTimer(self, interval=POLL_MS, timerType=Qt.TimerType.PreciseTimer)
        self._poll.timeout.connect(self.poll)
        self._slow = QTimer(self, interval=250)
        self._slow.timeout.connect(self._measure)

    def _forget(self) -> None:
        """Start a run without anything of the one before."""
        self.info: RunInfo | None = None
        self.playing = True
        self.speed = 1.0
        self._doing = ""
        self.failure: str | None = None
        """What went wrong in the last run and what to do."""
        self._status = Status()
        self._watch = Watch()
        self._told: set[str] = set()

    # What it can be asked

    @property
    def busy(self) -> bool:
        """True while a run lives that has to be finished."""
        return self._life is not None

    @property
    def running(self) -> bool:
        """True while a pipeline runs."""
        return self._pipeline is not None

    @property
    def seekable(self) -> bool:
        """True when the source, running or finished, can be asked for another time."""
        return self.info is not None and self.info.source.seekable

    @property
    def looking_again(self) -> bool:
        """True while a finished run is looked at again."""
        return self._wish is not None and self._wish.replay

    @property
    def age(self) -> float | None:
        """Seconds between the picture shown and its analysis."""
        return self._watch.age

    @property
    def time(self) -> float:
        """Stream time in seconds of the picture shown."""
        return self._watch.time

    @property
    def _rate(self) -> float:
        return (self.info.source.fps if self.info is not None else None) or 25.0

    # Wishes

    def open(self, spec: str, settings: Settings | None = None, *, play: bool = True) -> None:
        """Open a source; a run that is going on is finished first."""
        self._wanted(Wish(spec, settings or self.settings, play))

    def use_pack(self, pack: str) -> None:
        """Look at the same source with another pack."""
        self.settings = self.settings.changed(pack=pack)
        if self._wish is not None and self.running:
            self.open(self._wish.spec)

    def stop(self) -> None:
        """Finish the run; `idled` follows."""
        self._next = None
        if self._life is not None:
            self._life.stop()
            self._status = replace(self._status, state="finishing")
            self._decide()

    def set_playing(self, playing: bool) -> None:
        """Play on or hold; after the end, play from the start."""
        if self._pipeline is None:
            if playing and self.seekable and not self.busy:
                self._look_again(0.0)
            return
        if playing:
            self._pipeline.resume()
        else:
            self._pipeline.pause()
        self._show_playing(playing)

    def seek(self, seconds: float) -> None:
        """Go to a stream time; after the end this looks at the recording again."""
        if not self.seekable:
            return
        end = self.info.source.duration if self.info else None
        if end is not None:
            seconds = min(seconds, end - 1.5 / self._rate)  # the last frame, not past it
        seconds = max(0.0, seconds)
        if self._pipeline is not None:
            self._pipeline.seek(seconds)
        elif not self.busy:
            self._look_again(seconds)

    def step(self, frames: int) -> None:
        """Hold and show the frame before (-1) or after (1), or look at this one again (0)."""
        if self.playing:
            self.set_playing(False)
        # a seek shows the first frame at or after a time: aim between two, so that rounding cannot matter
        self.seek(self.time + (frames - 0.5) / self._rate)

    def show_heatmap(self, on: bool) -> None:
        """Say whether anybody looks at the heat map: else it is computed only while a finding is open."""
        self._heatmap = on
        if self._pipeline is None:
            return
        self._pipeline.show_heatmap(on)
        shown = self._watch.analysis
        if on and not self.playing and shown is not None and shown.heatmap is None:
            self.step(0)

    def set_speed(self, speed: float) -> None:
        """Play at this speed."""
        self.speed = speed
        if self._pipeline is not None:
            self._pipeline.set_speed(speed)
        self.speedChanged.emit(speed)

    def review(self, key: Key, review: Review) -> None:
        """Take down what a person says of a finding."""
        event = self.ledger.review(key, review)
        if event is None:
            return
        self.findingChanged.emit(event)
        kept = self._folder is not None and not self.looking_again
        if self._pipeline is not None and kept:
            self._pipeline.review(key[0], review, landmark=key[1])
        elif self._folder is not None:
            self._aside.write_review(self._folder, key, review)
        self._decide()

    def word_report(self) -> None:
        """Let the language model on this computer word the report of the finished session."""
        if self._folder is not None and self.report is not None:
            self.said.emit("Asking the language model")
            self._aside.word_report(self._folder, self.settings)

    def save_still(self, frame: Frame, analysis: Analysis | None, layers: Layers) -> None:
        """Keep the picture shown: in the session while one is written, else as a file."""
        if self._pipeline is not None and self._pipeline.take_still():
            self.said.emit("Still saved in the session")
        else:
            self._aside.save_still(self._folder, frame, analysis, layers)

    def list_devices(self) -> None:
        """Look for capture devices; `devicesListed` follows."""
        self._aside.list_devices()

    def close(self, timeout: float = 5.0) -> None:
        """Let everything go; waits at most `timeout` seconds for a run that is still going on."""
        self._poll.stop()
        self._slow.stop()
        if self._life is not None:
            self._life.stop()
            if not self._life.wait(timeout):
                log.warning("a run did not end within %.0f s", timeout)
            self._life = self._pipeline = None
        self._aside.close()

    # The run

    def _wanted(self, wish: Wish) -> None:
        if self._life is None:
            self._begin(wish)
        elif self._pipeline is None:
            self._life.stop()  # it ends by itself; its late signals carry an old number
            self._begin(wish)
        else:
            self.stop()
            self._next = wish

    def _begin(self, wish: Wish) -> None:
        self._runs += 1
        kept = self.info if wish.replay else None
        self._forget()
        self._wish, self.info = wish, kept
        if not wish.replay:
            self.ledger.clear()
            self._aside.forget()
            self.report = self._folder = None
            if self._keep is not None:
                self._folder = self._keep(wish.spec)
        self._status = Status(state="starting")
        self._doing = "opening the source"
        self.playing = wish.play
        bridge = Bridge(self._runs)
        self._life = life = Life(bridge, self._build, None if wish.replay else self._folder)
        for signal, slot in (
            (bridge.runOpened, self._on_opened),
            (bridge.sampled, self._on_sample),
            (bridge.findingChanged, self._on_finding),
            (bridge.blindSpanEnded, self._on_blind),
            (bridge.statusChanged, self._on_status),
            (life.said, self._on_said),
            (life.built, self._on_built),
            (life.ended, self._on_ended),
        ):
            signal.connect(slot, QUEUED)
        self.runStarting.emit(wish)
        self._decide()
        self._poll.start()
        self._slow.start()
        self._life.begin(wish)

    def _look_again(self, seconds: float) -> None:
        if self._wish is not None:
            self._begin(replace(self._wish, at=seconds, replay=True, play=True))

    def _current(self, run: int) -> bool:
        return run == self._runs and self._life is not None

    def _on_said(self, run: int, text: str) -> None:
        if self._current(run):
            self._doing = text
            self._decide()

    def _on_built(self, run: int, pipeline: Running) -> None:
        if not self._current(run):
            return
        self._pipeline = pipeline
        pipeline.show_heatmap(self._heatmap)
        if self._wish is not None and self._wish.at is not None:
            pipeline.seek(self._wish.at)
        if not self.playing:
            pipeline.pause()
        self._show_playing(self.playing)
        self._measure()

    def _on_opened(self, run: int, info: RunInfo) -> None:
        if self._current(run) and not self.looking_again:
            self.info = info
            self.runOpened.emit(info)

    def _on_ended(self, run: int, ending: Ending) -> None:
        if not self._current(run):
            return
        self.poll()
        if self._life is not None:
            self._life.wait(1.0)
        self._life = self._pipeline = None
        self._poll.stop()
        self._slow.stop()
        self.failure = ending.error
        self.report = ending.report or self.report
        state = "idle" if ending.status is None else "finished"
        self._status = replace(ending.status or Status(), state=state)  # type: ignore[arg-type]
        self.measured.emit(self._status, self.age)
        self._show_playing(False)
        self._decide()
        if ending.report is not None and self.settings.report.llm != "off" and not self.looking_again:
            self.word_report()
        self.ended.emit(ending)
        wish, self._next = self._next, None
        notice = farewell(ending, self.ledger.count)
        if notice is not None and (ending.error is not None or not (self.looking_again or wish)):
            self.noticed.emit(notice)
        if wish is not None:
            self._begin(wish)
        else:
            self.idled.emit()

    # What the pipeline says

    def _on_sample(self, run: int, sample: Sample) -> None:
        if self._current(run):
            self._watch.take(sample)
            self.sampled.emit(sample)

    def _on_finding(self, run: int, event: FindingEvent) -> None:
        if not self._current(run) or self.looking_again:
            return
        known = self.ledger.take(event)
        self.findingChanged.emit(known)
        if event.change != "removed" and self._pipeline is not None:
            self._aside.take_thumbnail(key_of(event), event.finding, self._pipeline.latest_analysis.get())
        self._decide()

    def _on_blind(self, run: int, span: object) -> None:
        if self._current(run) and not self.looking_again:
            self.blinded.emit(span)

    def _on_status(self, run: int, status: Status) -> None:
        if not self._current(run):
            return
        if self._status.state == "finishing" and status.state in ("running", "paused", "starting"):
            status = replace(status, state="finishing")
        self._status = status
        for notice in troubles(status):
            if notice.text not in self._told:
                self._told.add(notice.text)
                self.noticed.emit(notice)
        if status.state in ("running", "paused"):
            self._show_playing(status.state == "running")
        self._decide()

    # Polling

    def poll(self) -> None:
        """Look for a newer picture and a newer analysis."""
        newer = self._watch.look(self._pipeline) if self._pipeline is not None else None
        if newer is None:
            return
        frame, analysis = newer
        if analysis is not None:
            self.analysed.emit(analysis)
        if frame is not None:
            self.framed.emit(frame)
        self._decide()

    def _measure(self) -> None:
        if self._pipeline is not None:
            self._on_status(self._runs, self._pipeline.status())
            self.measured.emit(self._status, self.age)
            self._decide(paced=True)

    def _decide(self, paced: bool = False) -> None:
        live = self.info is not None and self.info.source.live
        again = self.looking_again or (not live and self._watch.behind)
        labels = self.ledger.labels_at(self.time, again)
        indicator = indicate(
            self._watch.situation(self._status.state, self.failure, self._doing, labels, again)
        )
        if indicator.kind is Kind.DELAYED is self.indicator.kind and not paced:
            return  # its age changes with every picture, the words four times a second
        if indicator != self.indicator:
            self.indicator = indicator
            self.indicated.emit(indicator)

    def _show_playing(self, playing: bool) -> None:
        self.playing = playing
        self.playingChanged.emit(playing and self.running)
