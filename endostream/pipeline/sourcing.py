"""From the name of a source to a source whose patient text is masked, and the recorder beside it.

Owns what privacy asks of a source before anything sees its pictures. Must not know packs or networks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from endostream.capture import is_live, open_source
from endostream.capture.live import FIRST_FRAME_TIMEOUT
from endostream.capture.masked import masked
from endostream.capture.source import Source
from endostream.capture.towers import NO_PROFILE, find_profile
from endostream.config import Settings
from endostream.errors import InputError
from endostream.pipeline.recorder import Recorder, RecorderRules

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that is ready for a run."""

    source: Source
    """Its pictures show only what the tower profile lets through."""
    phi_mask: str = "none"
    """Name of the tower profile, or `none`."""
    recorder: Recorder | None = None
    """Records it, from its first packet on; None for recorded sources and where nothing is kept."""


def open_for(
    spec: str,
    settings: Settings,
    *,
    folder: Path | None,
    record: bool = False,
    patient: bool = False,
    as_opencv: bool = False,
    say: Callable[[str], None] | None = None,
    cancelled: threading.Event | None = None,
) -> Opened:
    """Open the source that `spec` means.

    Parameters
    ----------
    spec, cancelled, say, as_opencv
        See `open_source`.
    settings
        Its `profile`, `deinterlace`, `recording` and `start` count.
    folder
        The session folder, which need not be there yet; None keeps none, and then nothing is recorded.
    record
        It will be recorded from the first picture on: refused here, before anything is opened, where it
        cannot be.
    patient
        Wait for a live source's first frame for ever.

    Raises
    ------
    InputError
        The source, the profile or the wish to record cannot be granted; one line says why.
    """
    profile = find_profile(settings.profile) if settings.profile else NO_PROFILE
    live = is_live(spec)
    if record and not live:
        raise InputError("a file is its own recording; leave out --record, or give a device or a stream")
    if record and not settings.profile:
        raise InputError(
            "decide about patient text before recording: add --profile NAME (endostream towers list), "
            "or --profile none where no name is on the picture"
        )
    recorder: Recorder | None = None
    if live and folder is not None:
        wishes = settings.recording
        recorder = Recorder(
            RecorderRules(
                mode=wishes.mode,
                before_s=wishes.before_s,
                keep_free_bytes=round(wishes.keep_free_gb * GB),
                masked=profile.alters,
                phi_mask=profile.name if settings.profile else None,
            )
        )
        if record:
            recorder.check_room(folder)
    try:
        source = open_source(
            spec,
            start=settings.start,
            as_opencv=as_opencv,
            deinterlace="off" if as_opencv else settings.deinterlace,
            first_frame_timeout=None if patient else FIRST_FRAME_TIMEOUT,
            tap=recorder,
            say=say,
            cancelled=cancelled,
        )
    except BaseException:
        if recorder is not None:
            recorder.close()
        raise
    try:
        return Opened(masked(source, profile), profile.name if profile.alters else "none", recorder)
    except BaseException:
        source.close()
        if recorder is not None:
            recorder.close()
        raise
