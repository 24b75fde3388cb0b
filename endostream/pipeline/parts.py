"""What a run is made of, and what it needs of its parts.

Owns the contract between the composition root and the run. Must not know how the parts work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from endostream.analysis.analyzer import Analyzer
from endostream.analysis.findings import FindingTracker, ReplayTracker
from endostream.analysis.visibility import BlindLedger
from endostream.capture.pacing import Pacer
from endostream.capture.source import Source
from endostream.pipeline.sampling import Sampler
from endostream.pipeline.sinks import Sink
from endostream.types import Analysis, Frame, Recording, RunInfo, SignalChange


class Closable(Protocol):
    """Something the run gives back at its end."""

    def close(self) -> None:
        """Give it back."""


class Records(Protocol):
    """What records a live source (see `pipeline.recorder`); no call of it waits."""

    @property
    def state(self) -> Recording:
        """How it is doing."""

    @property
    def said(self) -> tuple[str, ...]:
        """What could not be done, one line each."""

    def start(self, folder: Path, *, before_s: float | None = None) -> None:
        """Record into a session folder; raises `InputError` when it cannot."""

    def stop(self) -> None:
        """End the recording."""

    def close(self) -> None:
        """End everything."""

    def frame(self, frame: Frame) -> None:
        """A frame was captured."""

    def fate(self, frame: Frame, fate: str, analysis: Analysis | None = None) -> None:
        """What became of a frame."""

    def signalled(self, change: SignalChange) -> None:
        """The picture was lost, froze or came back."""


@dataclass(slots=True)
class Parts:
    """What a run is made of; the run owns all of it once it has started."""

    source: Source
    """Frames."""
    analyzer: Analyzer
    """Frame to analysis."""
    tracker: FindingTracker | ReplayTracker | None
    """Analyses to findings; None for independent pictures."""
    info: RunInfo
    """What sinks are told."""
    sampler: Sampler = field(default_factory=Sampler)
    """Which frames are analysed."""
    blind: BlindLedger | None = None
    """The ledger of blind time; None for independent pictures."""
    sinks: Sequence[Sink] = ()
    """Listeners."""
    pacer: Pacer | None = None
    """Plays a recorded source at its own pace; None reads as fast as it is analysed."""
    closing: Sequence[Closable] = ()
    """Given back after the run, in order."""
    warnings: tuple[str, ...] = ()
    """What could not be done so far."""
    notices: Callable[[], tuple[str, ...]] = tuple
    """What cannot be done as asked for since the run began."""
    recorder: Records | None = None
    """Records a live source; None where nothing is recorded."""
    folder: Path | None = None
    """The session folder, where one is kept."""
    record: bool = False
    """Record from the first picture on."""
    watched: bool = True
    """Somebody sees banners: a sink that fails in a live run does not end it. Headless it does."""

    @property
    def drops(self) -> bool:
        """True when pictures may be dropped: live, or shown at their own pace."""
        return self.pacer is not None or self.info.source.live
