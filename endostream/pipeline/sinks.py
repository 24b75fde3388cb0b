"""What listens to a run: the contract of a sink, and a way to give one its own thread.

Owns who is told what, and in which order. Must not know who listens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from endostream.pipeline.channel import Channel
from endostream.types import Analysis, BlindSpan, FindingEvent, Frame, Review, RunInfo, SignalChange, Status


class Sink(Protocol):
    """A listener; every call comes from one thread, in the order of the stream.

    `opened` first, then any number of the others, `closed` last and always. A sink that raises fails a
    headless run; in a live one it is marked as failed and hears nothing more, while the picture goes on.
    """

    name: str

    def opened(self, info: RunInfo) -> None:
        """A run begins."""

    def analysed(self, analysis: Analysis) -> None:
        """A frame was analysed; keep no picture longer than needed."""

    def found(self, event: FindingEvent) -> None:
        """A finding or landmark opened, changed, closed or proved to be none; follows its `analysed`."""

    def blind(self, span: BlindSpan) -> None:
        """A stretch that could not be judged has ended."""

    def signalled(self, change: SignalChange) -> None:
        """The picture of a live source was lost, froze, or came back."""

    def stated(self, status: Status) -> None:
        """The state of the run changed."""

    def closed(self, status: Status) -> None:
        """The run is over; finish what is open."""


class QuietSink:
    """A sink that ignores everything: a base for sinks that care about some calls only."""

    name = "quiet"

    def opened(self, info: RunInfo) -> None:
        """A run begins."""

    def analysed(self, analysis: Analysis) -> None:
        """A frame was analysed."""

    def found(self, event: FindingEvent) -> None:
        """A finding changed."""

    def blind(self, span: BlindSpan) -> None:
        """A blind stretch ended."""

    def signalled(self, change: SignalChange) -> None:
        """The picture was lost, froze, or came back."""

    def stated(self, status: Status) -> None:
        """The state changed."""

    def still_taken(self, frame: Frame, analysis: Analysis | None) -> None:
        """A person asked for a still of this frame."""

    def reviewed(self, finding: int, review: Review, note: str, landmark: bool) -> None:
        """A person confirmed or rejected a finding or landmark."""

    def closed(self, status: Status) -> None:
        """The run is over."""


class Background:
    """Gives a sink its own thread; a full queue makes the caller wait, so that no fact is ever lost.

    An error in the sink is raised from the next call, at the latest from `closed`.

    Parameters
    ----------
    sink
        The sink to run.
    capacity
        Calls that may wait; each may hold one picture.
    """

    def __init__(self, sink: QuietSink, capacity: int = 8) -> None:
        self.name = sink.name
        self._sink = sink
        self._calls: Channel[Callable[[], None]] = Channel(capacity)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def opened(self, info: RunInfo) -> None:
        """A run begins: raises what the sink's own opening raises."""
        self._thread.start()
        done = threading.Event()
        self._post(lambda: self._sink.opened(info))
        self._calls.put(done.set)
        done.wait()
        self._check()

    def analysed(self, analysis: Analysis) -> None:
        """A frame was analysed."""
        self._check()
        self._post(lambda: self._sink.analysed(analysis))

    def found(self, event: FindingEvent) -> None:
        """A finding changed."""
        self._check()
        self._post(lambda: self._sink.found(event))

    def blind(self, span: BlindSpan) -> None:
        """A blind stretch ended."""
        self._check()
        self._post(lambda: self._sink.blind(span))

    def signalled(self, change: SignalChange) -> None:
        """The picture was lost, froze, or came back."""
        self._check()
        self._post(lambda: self._sink.signalled(change))

    def stated(self, status: Status) -> None:
        """The state changed."""
        self._check()
        self._post(lambda: self._sink.stated(status))

    def still_taken(self, frame: Frame, analysis: Analysis | None) -> None:
        """A person asked for a still; may be called from any thread."""
        self._post(lambda: self._sink.still_taken(frame, analysis))

    def reviewed(self, finding: int, review: Review, note: str, landmark: bool) -> None:
        """A person confirmed or rejected a finding or landmark; may be called from any thread."""
        self._post(lambda: self._sink.reviewed(finding, review, note, landmark))

    def closed(self, status: Status) -> None:
        """The run is over: waits for the sink to finish, then raises the first error it had."""
        self._calls.put(lambda: self._finish(status))
        self._calls.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._check()

    def _post(self, call: Callable[[], None]) -> None:
        self._calls.put(lambda: self._guard(call))

    def _guard(self, call: Callable[[], None]) -> None:
        if self._error is None:
            try:
                call()
            except BaseException as error:
                self._error = error

    def _finish(self, status: Status) -> None:
        try:
            self._sink.closed(status)
        except BaseException as error:
            self._error = self._error or error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
