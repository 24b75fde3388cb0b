"""The decisions: which run there is, what state it is in, what a wish of the user becomes.

Owns the life of the pipeline as the window sees it. Must not know widgets: it receives wishes as calls
and answers with signals that carry frozen values (`observer`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from endostream.config import Settings
from endostream.types import Analysis, Frame, Review, Status

from .ledger import Key
from .life import Build, Ending, Running, Wish, build_product, farewell
from .observer import Observer
from .record import UNDECIDED
from .samples import Layers, Notice

log = logging.getLogger(__name__)
Keep = Callable[[str], Path]
"""From a source to the folder its session is kept in."""


class Controller(Observer):
    """Opens, plays, stops; tells the window what to show."""

    def __init__(self, settings: Settings, *, build: Build = build_product, keep: Keep | None = None) -> None:
        super().__init__(build)
        self.settings = settings
        self._keep = keep
        self._heatmap = False
        self._next: Wish | None = None
        self._folder: Path | None = None
        self.report: Path | None = None
        self._run.built.connect(self._on_built)
        self._run.ended.connect(self._on_ended)

    @property
    def profile(self) -> str:
        """What was decided about patient text for the source that is open; empty while undecided."""
        return (self._wish.settings if self._wish is not None else self.settings).profile

    @property
    def _rate(self) -> float:
        return (self.info.source.fps if self.info is not None else None) or 25.0

    @property
    def spec(self) -> str:
        """The source that is or was open, as it was asked for; empty before the first."""
        return self._wish.spec if self._wish is not None else ""

    # Wishes

    def open(self, spec: str, settings: Settings | None = None, *, play: bool = True) -> None:
        """Open a source; a run that is going on is finished first."""
        self._wanted(Wish(spec, settings or self.settings, play))

    def use_pack(self, pack: str) -> None:
        """Look at the same source with another pack."""
        self.settings = self.settings.changed(pack=pack)
        if self._wish is not None and self.running:
            self.open(self._wish.spec, self._wish.settings.changed(pack=pack))

    def stop(self) -> None:
        """Finish the run; `idled` follows."""
        self._next = None
        if self.busy:
            self._run.stop()
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

    def set_synced(self, on: bool) -> None:
        """Show the picture that was analysed with its own overlay, or the newest with the newest overlay."""
        self._synced = self._watch.synced = on
        self._decide()

    def record(self, on: bool) -> None:
        """Begin or end the recording of a live source; `recordingChanged` says what came of it."""
        if on and not self.profile:
            self.noticed.emit(Notice(UNDECIDED, "info", "open"))
        elif self._pipeline is not None and self.live:
            self._switch.press(on)
            self._aside.record(self._pipeline, on)
        self._tell_recording(self._status.recording)

    def shown(self, frame: Frame, analysis: Analysis | None) -> None:
        """Hear that a picture was painted, and with whose overlay: once for every new picture."""
        if self._pipeline is not None and self._watch.holds(frame):
            self._pipeline.shown(frame, analysis)

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
            phi_mask = self.info.phi_mask if self.info is not None else "none"
            self._aside.save_still(self._folder, frame, analysis, layers, phi_mask)

    def list_devices(self) -> None:
        """Look for capture devices; `devicesListed` follows."""
        self._aside.list_devices()

    def close(self, timeout: float = 0.7, writing: float = 10.0) -> None:
        """Let everything go.

        Waits at most `timeout` seconds for a source, which may hang for ever, and `writing` seconds for a
        session that is being written.
        """
        self._poll.stop()
        self._slow.stop()
        self._pipeline = None
        if not self._run.close(timeout, writing):
            log.warning("a run did not end in time and was left behind")
        self._aside.close()

    # The run

    def _wanted(self, wish: Wish) -> None:
        if not self.busy:
            self._begin(wish)
        elif self._pipeline is None:
            self._run.leave()
            self._begin(wish)
        else:
            self.stop()
            self._next = wish

    def _begin(self, wish: Wish) -> None:
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
        self._run.begin(wish, None if wish.replay else self._folder)  # its words come later, queued
        self.runStarting.emit(wish)
        self._decide()
        self._poll.start()
        self._slow.start()
        self._begun.start()

    def _look_again(self, seconds: float) -> None:
        if self._wish is not None:
            self._begin(replace(self._wish, at=seconds, replay=True, play=True))

    def _on_built(self, pipeline: Running) -> None:
        self._pipeline = pipeline
        pipeline.show_heatmap(self._heatmap)
        if self._wish is not None and self._wish.at is not None:
            pipeline.seek(self._wish.at)
        if not self.playing:
            pipeline.pause()
        self._show_playing(self.playing)
        self._measure()

    def _on_ended(self, ending: Ending) -> None:
        self.poll()
        self._pipeline = None
        self._poll.stop()
        self._slow.stop()
        self.failure = ending.error
        self.report = ending.report or self.report
        state = "idle" if ending.status is None else "finished"
        self._status = replace(ending.status or Status(), state=state)  # type: ignore[arg-type]
        self._set_outage()
        self.measured.emit(self._status, self.age)
        self._tell_recording(None)
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
