"""A live run against a sender, with stub networks and somebody who looks at it as a window does.

Owns putting the product's own parts together, and what is seen and when. Must not know which figures are
made of it, or what the sender does.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from types import TracebackType
from typing import Self

from endostream.analysis.analyzer import Analyzer, AnalyzerRules
from endostream.bench.rig.stub import LABELS, StubNetworks
from endostream.bench.rig.view import Views
from endostream.bench.screen import POLL_S, draw
from endostream.capture import open_source
from endostream.capture.loopback import ClipSender, Sending
from endostream.capture.masked import masked
from endostream.errors import RunError
from endostream.pipeline.parts import Parts
from endostream.pipeline.pipeline import Pipeline
from endostream.pipeline.sinks import QuietSink
from endostream.types import Analysis, Frame, RunInfo, State, Status

OPEN_S = 10.0
"""Seconds a run has to give its first picture."""
SETTLE_S = 0.5
"""Seconds after the first mask until everything is at work."""
QUIT_S = 10.0
"""Seconds a run has to end before it is left behind."""
GATE = {"polyps": 0.5}
"""Masks are made while the block is seen."""
OVERLAY_S = 0.5
"""Age over which an analysis is not drawn any more, as in the window."""


class Ages:
    """When something happened, and how old the picture was then: 16 bytes each."""

    def __init__(self) -> None:
        self.at, self.ages = array("d"), array("d")
        """Monotonic time and age in seconds."""
        self.unread = 0
        """Pictures without a counter that could be read."""

    def add(self, at: float, age: float | None) -> None:
        """Something happened; without an age the picture could not be told."""
        if age is None:
            self.unread += 1
        else:
            self.at.append(at)
            self.ages.append(age)

    def clear(self) -> None:
        """Forget what was."""
        del self.at[:], self.ages[:]
        self.unread = 0


class _Listener(QuietSink):
    """Hears when a frame's analysis is published."""

    name = "rig"

    def __init__(self, heard: Callable[[Analysis], None]) -> None:
        self._heard = heard

    def analysed(self, analysis: Analysis) -> None:
        """A frame was analysed."""
        self._heard(analysis)


class LiveRun:
    """The product at work on what a sender sends, from here to `close`.

    Parameters
    ----------
    sender
        At work, and with a clip whose pictures carry a counter.
    views
        What it plays, and the profile that is laid over it.
    delay_s
        Seconds both stub networks take.

    Raises
    ------
    InputError
        No picture came.
    """

    def __init__(self, sender: ClipSender, views: Views, delay_s: float) -> None:
        self.sender, self.views = sender, views
        self.shown, self.analysed = Ages(), Ages()
        """Sent to shown, and sent to published."""
        self.picture: Frame | None = None
        """What is shown."""
        self.overlay: Analysis | None = None
        """What is drawn over it."""
        self._changed = threading.Condition()
        self._ending = threading.Event()
        source = masked(open_source(sender.url, first_frame_timeout=OPEN_S), views.profile)
        networks = StubNetworks(delay_s)
        self.pipeline = Pipeline(
            Parts(
                source=source,
                analyzer=Analyzer(networks, AnalyzerRules(gate=GATE, paced=True)),
                tracker=None,
                info=RunInfo(source.info, {"name": "stub"}, LABELS, {}, dict(networks.info)),
                sinks=[_Listener(self._note)],
                closing=[networks],
            )
        )
        self._viewer = threading.Thread(target=self._look_on, name="rig viewer", daemon=True)
        self.pipeline.start()
        self._viewer.start()

    # -- called by whoever measures

    @property
    def state(self) -> State:
        """What the run says of itself."""
        return self.pipeline.status().state

    def wait_state(self, wanted: State, timeout: float) -> float | None:
        """Wait until the run is in this state, looked at as often as a window does; when, or None."""
        end = time.monotonic() + timeout
        while (now := time.monotonic()) < end:
            if self.state == wanted:
                return now
            self._ending.wait(POLL_S)
        return None

    def wait_shown(self, good: Callable[[Frame], bool], timeout: float) -> float | None:
        """Wait until a picture is shown that is `good`; monotonic time, or None after `timeout` seconds."""
        with self._changed:
            if self._changed.wait_for(lambda: self.picture is not None and good(self.picture), timeout):
                return time.monotonic()
        return None

    def wait_overlay(self, good: Callable[[Analysis], bool], timeout: float) -> float | None:
        """The same for what is drawn over it."""
        with self._changed:
            if self._changed.wait_for(lambda: self.overlay is not None and good(self.overlay), timeout):
                return time.monotonic()
        return None

    def wait_fresh(self, moment: float, timeout: float) -> float | None:
        """Wait until a picture made after `moment` is shown while the run says that all is well; when."""
        return self.wait_shown(
            lambda frame: self.made_after(frame, moment) and self.state == "running", timeout
        )

    def settle(self, timeout: float = OPEN_S) -> None:
        """Wait for an undisturbed run: pictures, masks, and all threads that there will be.

        Raises `RunError` when no mask comes.
        """
        if self.wait_overlay(lambda analysis: analysis.mask is not None, timeout) is None:
            raise RunError(f"no mask came within {timeout:g} s ({self.status().error or 'no error'})")
        self._ending.wait(SETTLE_S)

    def made_after(self, frame: Frame, moment: float) -> bool:
        """True for a picture that was due at `moment` or later, however long it then waited to be sent."""
        sending = self.sending(frame)
        return sending is not None and sending.due >= moment

    def behind(self) -> float | None:
        """Seconds that have passed since the picture that is shown was due."""
        picture = self.picture
        sending = None if picture is None else self.sending(picture)
        return None if sending is None else time.monotonic() - sending.due

    def sending(self, frame: Frame) -> Sending | None:
        """When this picture was due and sent; None for one whose counter cannot be read."""
        number = self.views.read(frame.image)
        return None if number is None else self.sender.sent.find(number, time.monotonic())

    def _age(self, frame: Frame, now: float) -> float | None:
        sending = self.sending(frame)
        return None if sending is None else now - sending.at

    def close(self, timeout: float = QUIT_S) -> float | None:
        """End the run; the seconds that took, or None when it is left behind after `timeout` seconds."""
        self._ending.set()
        began = time.monotonic()
        # In a thread, because what is measured here might hang; daemon, because it might do so for ever.
        closing = threading.Thread(target=self.pipeline.close, name="rig quit", daemon=True)
        closing.start()
        closing.join(timeout)
        took = time.monotonic() - began
        self._viewer.join(1.0)
        self.picture = self.overlay = None
        return None if closing.is_alive() else took

    def status(self) -> Status:
        """How the run is doing, or ended."""
        return self.pipeline.status()

    def __enter__(self) -> Self:
        """The run; leaving the block ends it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    # -- what is seen

    def _note(self, analysis: Analysis) -> None:
        """An analysis was published just now."""
        now = time.monotonic()
        age = self._age(analysis.frame, now)
        with self._changed:
            self.analysed.add(now, age)

    def _look_on(self) -> None:
        """Show the newest picture with the newest analysis, every 16 ms, as the window does."""
        frames, analyses = self.pipeline.latest_frame, self.pipeline.latest_analysis
        seen = -1
        while not self._ending.wait(POLL_S):
            version = frames.version
            frame = frames.get()
            if version == seen or frame is None:
                continue
            seen = version
            analysis = analyses.get()
            if analysis is not None and not _fits(frame, analysis):
                analysis = None
            draw(frame, analysis)
            now = time.monotonic()
            self.pipeline.shown(frame, analysis)
            age = self._age(frame, now)
            with self._changed:
                self.shown.add(now, age)
                self.picture, self.overlay = frame, analysis
                self._changed.notify_all()


def _fits(frame: Frame, analysis: Analysis) -> bool:
    """True when an analysis may be drawn over a frame."""
    same = analysis.frame.epoch == frame.epoch and analysis.frame.image.shape == frame.image.shape
    return same and abs(frame.time - analysis.frame.time) < OVERLAY_S
