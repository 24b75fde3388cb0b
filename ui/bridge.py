"""The one class on both sides: a sink for the pipeline, signals for the window.

Owns the crossing from the pipeline's threads to the main thread. Must not hold pictures, nor decide
anything. Every signal carries the number of its run, so that late ones of an earlier run are known.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from endostream.types import Analysis, BlindSpan, FindingEvent, RunInfo, SignalChange, Status

from .samples import openers, sample_of


class Bridge(QObject):
    """A sink that emits Qt signals; connect with queued connections."""

    runOpened = Signal(int, object)
    sampled = Signal(int, object)
    findingChanged = Signal(int, object)
    blindSpanEnded = Signal(int, object)
    signalChanged = Signal(int, object)
    statusChanged = Signal(int, object)
    runClosed = Signal(int, object)

    def __init__(self, run: int) -> None:
        super().__init__()
        self.run = run
        self.name = "window"
        self._may_open: frozenset[str] | None = None

    def opened(self, info: RunInfo) -> None:
        """Tell the window what run this is."""
        self._may_open = openers(info)
        self.runOpened.emit(self.run, info)

    def analysed(self, analysis: Analysis) -> None:
        """Pass the numbers on; the picture is polled elsewhere."""
        self.sampled.emit(self.run, sample_of(analysis, self._may_open))

    def found(self, event: FindingEvent) -> None:
        """Pass a change of a finding or landmark on."""
        self.findingChanged.emit(self.run, event)

    def blind(self, span: BlindSpan) -> None:
        """Pass a blind stretch on."""
        self.blindSpanEnded.emit(self.run, span)

    def signalled(self, change: SignalChange) -> None:
        """Pass on that the live picture was lost, froze or came back."""
        self.signalChanged.emit(self.run, change)

    def stated(self, status: Status) -> None:
        """Pass a state change or warning on."""
        self.statusChanged.emit(self.run, status)

    def closed(self, status: Status) -> None:
        """Pass the end of the run on."""
        self.runClosed.emit(self.run, status)
