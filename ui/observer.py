"""What is seen of a run: its pictures, its findings, its signal, and the one word for all of it.

Owns the two polls and everything that is heard of the run. Must not know widgets: it answers with signals
that carry frozen values. Must not decide what becomes of a run: that is the controller's.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace

from PySide6.QtCore import QElapsedTimer, QObject, Qt, QTimer, Signal

from endostream.types import FindingEvent, Recording, RunInfo, SignalChange, Status

from .aside import Aside
from .current import Current
from .indicator import Indicator, Kind, Situation, indicate
from .ledger import Ledger, key_of
from .life import CHECKING, WAITING, Build, Running, Wish, troubles, what_to_check
from .outage import Outage, SignalWatch
from .record import RecordSwitch
from .samples import Sample
from .watch import Watch

POLL_MS = 16
PATIENT_MS = 10_000
"""Milliseconds of waiting for the first picture after which it is said what to check."""
UNDER_WAY = ("starting", "running", "paused", "no-signal", "frozen")


class Observer(QObject):
    """Tells the window what to show of a run; `Controller` adds what can be wished for."""

    runStarting = Signal(object)  # Wish
    runOpened = Signal(object)  # RunInfo
    framed = Signal(object)  # Frame
    analysed = Signal(object)  # Analysis or None
    sampled = Signal(object)  # Sample
    findingChanged = Signal(object)  # FindingEvent
    stillReady = Signal(object, object)  # Key, QImage
    blinded = Signal(object)  # BlindSpan
    outageChanged = Signal(object)  # Outage or None
    recordingChanged = Signal(object, bool)  # Recording or None, whether the switch is on
    indicated = Signal(object)  # Indicator
    measured = Signal(object, object)  # Status, age in seconds or None
    noticed = Signal(object)  # Notice
    said = Signal(str)
    devicesListed = Signal(object)
    playingChanged = Signal(bool)
    speedChanged = Signal(float)
    ended = Signal(object)  # Ending
    idled = Signal()

    def __init__(self, build: Build) -> None:
        super().__init__()
        self._synced = False
        self._pipeline: Running | None = None
        self._wish: Wish | None = None
        self.ledger = Ledger()
        self._forget()
        self.indicator: Indicator = indicate(Situation())
        self._run = run = Current(build)
        for signal, slot in (
            (run.said, self._on_said),
            (run.opened, self._on_opened),
            (run.sampled, self._on_sample),
            (run.found, self._on_finding),
            (run.blinded, self._on_blind),
            (run.signalled, self._on_signal),
            (run.stated, self._on_status),
        ):
            signal.connect(slot)
        self._aside = Aside()
        for name in ("stillReady", "devicesListed", "noticed", "said"):
            getattr(self._aside, name).connect(getattr(self, name))
        self._aside.recordingRefused.connect(self._on_refused)
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
        self._watch.synced = self._synced
        self._signal = SignalWatch()
        self._outage: Outage | None = None
        self._switch = RecordSwitch()
        self._begun = QElapsedTimer()
        self._told: set[str] = set()

    # What it can be asked

    @property
    def busy(self) -> bool:
        """True while a run lives that has to be finished."""
        return self._run.alive

    @property
    def starting(self) -> bool:
        """True while a source is opened and nothing runs yet."""
        return self.busy and not self.running

    @property
    def live(self) -> bool:
        """True while a source runs whose pictures come at their own pace."""
        return self.running and self.info is not None and self.info.source.live

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
        """Seconds between the newest picture and its analysis."""
        return self._watch.age

    @property
    def time(self) -> float:
        """Stream time in seconds of the picture shown."""
        return self._watch.time

    # What the run says

    def _on_said(self, text: str) -> None:
        self._doing = text
        self._decide()

    def _on_opened(self, info: RunInfo) -> None:
        self._watch.live = info.source.live
        if not self.looking_again:
            self.info = info
            self.runOpened.emit(info)

    def _on_sample(self, sample: Sample) -> None:
        self._watch.take(sample)
        self.sampled.emit(sample)

    def _on_finding(self, event: FindingEvent) -> None:
        if self.looking_again:
            return
        known = self.ledger.take(event)
        self.findingChanged.emit(known)
        if event.change != "removed" and self._pipeline is not None:
            self._aside.take_thumbnail(key_of(event), event.finding, self._pipeline.latest_analysis.get())
        self._decide()

    def _on_blind(self, span: object) -> None:
        if not self.looking_again:
            self.blinded.emit(span)

    def _on_signal(self, change: SignalChange) -> None:
        self.poll()
        self._signal.hear(change, self._watch.newest, time.monotonic())
        self._set_outage()
        self._decide(paced=True)

    def _on_status(self, status: Status) -> None:
        """Take a status in; whether there is a picture is heard from `signalled` and measured, never here."""
        if self._status.state == "finishing" and status.state in UNDER_WAY:
            status = replace(status, state="finishing")
        self._status = status
        for notice in troubles(status):
            reason = re.sub(r"\d+", "#", notice.text)  # a count that grows is still the same trouble
            if reason not in self._told:
                self._told.add(reason)
                self.noticed.emit(notice)
        if status.state in ("running", "paused"):
            self._show_playing(status.state == "running")
        self._decide()

    def _set_outage(self) -> None:
        """Tell of an outage that began, changed or ended; without a picture there is no overlay either."""
        outage = self._signal.outage if self.running else None
        if outage == self._outage:
            return
        self._outage = outage
        if outage is not None and outage.kind == "no-signal":
            self._watch.analysis = None
            self.analysed.emit(None)
        self.outageChanged.emit(outage)

    def _on_refused(self) -> None:
        self._switch.refused()
        self._tell_recording(self._status.recording)

    def _tell_recording(self, recording: Recording | None) -> None:
        self.recordingChanged.emit(recording, self._switch.shows(recording))

    # Polling

    def poll(self) -> None:
        """Look for a newer picture and a newer analysis."""
        news = self._watch.look(self._pipeline) if self._pipeline is not None else None
        if news is None:
            return
        if news.frame is not None:
            self._signal.see(news.frame)
            self._set_outage()
        if news.analysed:
            self.analysed.emit(self._watch.analysis)
        if news.frame is not None or self._watch.synced:
            self.framed.emit(self._watch.newest)
        if news.analysed and self._watch.analysis is None and self._watch.live:
            self._measure()  # the overlay went at once: what happened is not waited for
        self._decide()

    def _measure(self) -> None:
        if self._pipeline is None:
            self._warn_of_waiting()
            return
        status = self._pipeline.status()
        self._signal.read(status.state, status.signal, self._watch.newest, time.monotonic())
        self._set_outage()
        self._on_status(status)
        self.measured.emit(self._status, self.age)
        self._tell_recording(self._status.recording)
        self._decide(paced=True)

    def _warn_of_waiting(self) -> None:
        waiting = self._doing.startswith(WAITING) and CHECKING not in self._doing
        if waiting and self._wish is not None and self._begun.elapsed() > PATIENT_MS:
            self._on_said(f"{self._doing}{CHECKING} {what_to_check(self._wish.spec)}")

    def _decide(self, paced: bool = False) -> None:
        live = self.info is not None and self.info.source.live
        again = self.looking_again or (not live and self._watch.behind)
        indicator = indicate(self._situation(again))
        if indicator.kind is Kind.DELAYED is self.indicator.kind and not paced:
            return  # its age changes with every picture, the words four times a second
        if indicator != self.indicator:
            self.indicator = indicator
            self.indicated.emit(indicator)

    def _situation(self, again: bool) -> Situation:
        state, outage = self._status.state, self._outage
        if state in ("no-signal", "frozen"):
            state = "running"
        if outage is not None and state == "running":
            state = outage.kind
        words = ""
        if outage is not None:
            words = outage.words(time.monotonic()) if outage.kind == "frozen" else outage.reason
        return Situation(
            lag=self._status.lag,
            state=state,
            failure=self.failure,
            doing=self._doing,
            sample=self._watch.judged,
            age=self._watch.age,
            open_labels=self.ledger.labels_at(self.time, again),
            replaying=again,
            outage=words,
            waited=self._watch.waited,
            synced=self._watch.synced,
        )

    def _show_playing(self, playing: bool) -> None:
        self.playing = playing
        self.playingChanged.emit(playing and self.running)
