"""One source after another into session folders, without a window.

Owns the headless run: build, start, wait, tell. Must not know the command line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from endostream.config import Settings
from endostream.errors import InputError
from endostream.pipeline.build import Keeping, build
from endostream.pipeline.pipeline import Pipeline
from endostream.records.facts import facts
from endostream.records.report import store_prose, write_report
from endostream.records.report.language_model import write_prose
from endostream.records.session import Session
from endostream.types import Status

Say = Callable[[str], None]
Listen = Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a headless run ended."""

    folder: Path
    """The session folder."""
    status: Status
    """The final status."""
    findings: int
    """Findings, landmarks left out."""

    def summary(self) -> str:
        """One line for people."""
        counts = self.status.counts
        what = "finding" if self.findings == 1 else "findings"
        left = f", {counts.skipped} left out" if counts.skipped else ""
        lost = f", {counts.total_dropped} dropped" if counts.total_dropped else ""
        return (
            f"{self.status.finish}: {counts.analysed} of {counts.captured} frames analysed{left}{lost}, "
            f"{self.findings} {what} in {self.status.duration:.1f} s"
        )


def analyse(
    source: str,
    settings: Settings,
    keeping: Keeping,
    *,
    say: Say | None = None,
    progress: Say | None = None,
    stops: Listen | None = None,
) -> Outcome:
    """Analyse a source into a session folder and wait for the end.

    Parameters
    ----------
    source, settings, keeping
        See `pipeline.build.build`.
    say
        Hears what takes time.
    progress
        Hears how far it is, twice a second.
    stops
        Is given a function that finishes the run early.

    Raises
    ------
    EndostreamError
        The first error of the run; the session is finished all the same.
    """
    given_up = threading.Event()
    if stops is not None:
        stops(given_up.set)
    pipeline = build(source, settings, paced=False, keeping=keeping, say=say, cancelled=given_up)
    if stops is not None:
        stops(pipeline.stop)
    pipeline.start()
    status = _wait(pipeline, progress)
    if status.counts.analysed == 0 and status.finish == "completed":
        raise InputError(
            f"{pipeline.info.source.name}: no frame in the part asked for; check --start and --duration"
        )
    session = Session.open(keeping.folder)
    return Outcome(keeping.folder, status, len(session.findings))


def _wait(pipeline: Pipeline, progress: Say | None) -> Status:
    while True:
        status = pipeline.join(timeout=0.5)
        if not pipeline.running:
            return status
        if progress is not None:
            done = f"{status.counts.analysed} frames analysed, {status.fps:.0f} a second"
            progress(f"{done}, at {status.duration:.1f} s")


def conclude(folder: Path, settings: Settings, stops: Listen | None = None) -> str:
    """Let the language model word the report of a finished session; one line that says how it went."""
    cancel = threading.Event()
    if stops is not None:
        stops(cancel.set)
    session = Session.open(folder)
    report = settings.report
    prose = write_prose(
        facts(session),
        url=report.llm,
        model=report.model,
        timeout=report.timeout_s,
        allow_remote=report.allow_remote,
        cancel=cancel,
    )
    store_prose(session, prose)
    write_report(session, prose=prose)
    return f"report: {prose.reason}" if prose.used else f"report: the template stands: {prose.reason}"
