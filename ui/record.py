"""The record switch: what a press becomes, and whether the switch shows on or off.

Owns the words about recording. Must not know Qt or how anything is recorded.
"""

from __future__ import annotations

import time

from endostream.types import Recording

from .samples import spoken_time

SETTLING = 2.0
"""Seconds a press has to take effect; until then the switch shows what was asked for."""
UNDECIDED = (
    "Nothing is recorded yet: decide first what becomes of patient text in the picture. "
    "Open the source again and choose under Patient text."
)


def record_tip(before: float) -> str:
    """The tool tip of the switch, for a ring of so many seconds."""
    if before <= 0:
        return "Record the live picture from now on"
    return f"Record the live picture; the recording begins {before:g} s before the press"


def recording_words(recording: Recording | None) -> str:
    """What stands beside the ring in the strip; empty while nothing is recorded."""
    if recording is None or recording.state == "off":
        return ""
    if recording.state == "failed":
        return "REC ended"
    lost = f"  {recording.lost} lost" if recording.lost else ""
    return f"REC {spoken_time(recording.seconds)}{lost}"


def recording_figures(recording: Recording | None) -> str:
    """The recording in one or two lines of figures."""
    if recording is None:
        return "none: only live sources"
    if recording.state == "off" and not recording.seconds:
        return "off"
    size = (
        f"{recording.megabytes:.0f} MB"
        if recording.megabytes < 1000
        else f"{recording.megabytes / 1e3:.1f} GB"
    )
    state = {"on": "", "off": "off  ·  ", "failed": "ended  ·  "}[recording.state]
    more = [recording.mode.replace("encode", "encoded")] if recording.mode != "copy" else []
    more += [f"{recording.lost} lost"] if recording.lost else []
    first = f"{state}{spoken_time(recording.seconds)}  ·  {size}"
    return f"{first}\n{'  ·  '.join(more)}" if more else first


class RecordSwitch:
    """What was asked of the recording, until it shows."""

    def __init__(self) -> None:
        self._asked: tuple[bool, float] | None = None

    def press(self, on: bool) -> None:
        """Remember what was asked for."""
        self._asked = (on, time.monotonic())

    def refused(self) -> None:
        """Forget it: it could not be."""
        self._asked = None

    def shows(self, recording: Recording | None) -> bool:
        """Whether the switch is on: what is so, for a moment what was asked for."""
        on = recording is not None and recording.state == "on"
        if self._asked is not None:
            wanted, when = self._asked
            failed = recording is not None and recording.state == "failed"
            if on != wanted and time.monotonic() - when < SETTLING and not failed:
                return wanted
            self._asked = None
        return on
