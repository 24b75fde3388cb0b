"""The one table of actions: it feeds menus, tool tips, the help panel and the tests.

Owns what can be done and by which key. Must not know how it is done: `method` names a method of the
main window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtGui import QKeySequence

Needs = Literal["nothing", "picture", "run", "file", "live", "finding", "report"]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done in the window."""

    key: str
    """Its name in code."""
    text: str
    """What menus and the help panel call it."""
    shortcuts: tuple[str, ...]
    """Keys in Qt's portable spelling; the first is shown."""
    group: str
    """Menu and help section."""
    method: str
    """Method of the main window; checkable ones receive the new value."""
    tip: str
    """One sentence for the tool tip."""
    checkable: bool = False
    """True for something that is on or off."""
    needs: Needs = "nothing"
    """What must be there for it to make sense."""

    @property
    def shown_key(self) -> str:
        """The first shortcut as people see it."""
        return QKeySequence(self.shortcuts[0]).toString(QKeySequence.SequenceFormat.NativeText)

    @property
    def hint(self) -> str:
        """The tool tip with the key."""
        return f"{self.tip}  ({self.shown_key})"


ACTIONS: tuple[Action, ...] = (
    Action("open", "Open a source…", ("Ctrl+O",), "Source", "choose_source",
           "Choose a video, a capture device, a stream or the sample"),
    Action("sample", "Play the sample video", ("Ctrl+D",), "Source", "open_sample",
           "Analyse the synthetic sample that came with the program"),
    Action("pack", "Choose a pack…", ("Ctrl+P",), "Source", "choose_pack",
           "Choose the networks that look at the picture"),
    Action("record", "Record", ("R",), "Source", "set_recording",
           "Record the live picture; the recording begins 10 s before the press",
           checkable=True, needs="live"),
    Action("stop", "Stop and finish", ("Ctrl+E",), "Source", "stop_run",
           "End the run and write the session", needs="run"),
    Action("report", "Open the report", ("Ctrl+R",), "Source", "open_report",
           "Open the report of the finished session", needs="report"),
    Action("word", "Word the report", ("Ctrl+W",), "Source", "word_report",
           "Let a language model on this computer word the report", needs="report"),
    Action("quit", "Quit", ("Ctrl+Q",), "Source", "close",
           "Finish the session and close the window"),
    Action("play", "Play or pause", ("Space",), "Playback", "play_or_pause",
           "Play or pause the file", needs="file"),
    Action("step_back", "One frame back", (",",), "Playback", "step_back",
           "Pause and show the frame before", needs="file"),
    Action("step_forward", "One frame on", (".",), "Playback", "step_forward",
           "Pause and show the next frame", needs="file"),
    Action("back", "5 seconds back", ("Left",), "Playback", "jump_back",
           "Go back 5 seconds", needs="file"),
    Action("forward", "5 seconds on", ("Right",), "Playback", "jump_forward",
           "Go on 5 seconds", needs="file"),
    Action("previous", "Previous finding", ("[", "PgUp"), "Playback", "previous_finding",
           "Go to the finding before", needs="file"),
    Action("next", "Next finding", ("]", "PgDown"), "Playback", "next_finding",
           "Go to the next finding", needs="file"),
    Action("start", "To the start", ("Home",), "Playback", "go_to_start",
           "Go to the start of the file", needs="file"),
    Action("slower", "Slower", ("-",), "Playback", "play_slower",
           "Halve the speed, down to 0.25×", needs="file"),
    Action("faster", "Faster", ("+", "="), "Playback", "play_faster",
           "Double the speed, up to 4×", needs="file"),
    Action("still", "Save a still", ("S",), "Picture", "save_still",
           "Save the picture as shown, with its overlay", needs="picture"),
    Action("heatmap", "Heat map", ("H",), "Picture", "set_heatmap",
           "Show where the class was seen", checkable=True),
    Action("contour", "Contour", ("C",), "Picture", "set_contour",
           "Show the outline of the mask", checkable=True),
    Action("hide", "Hide all overlays", ("O",), "Picture", "set_hidden",
           "Show the bare picture", checkable=True),
    Action("synced", "Synced picture", ("M",), "Picture", "set_synced",
           "Show the picture that was analysed with its own overlay, a little late", checkable=True),
    Action("fainter", "Overlays fainter", ("Ctrl+Down",), "Picture", "make_fainter",
           "Make heat map and fill fainter"),
    Action("stronger", "Overlays stronger", ("Ctrl+Up",), "Picture", "make_stronger",
           "Make heat map and fill stronger"),
    Action("confirm", "Confirm the finding", ("Y",), "Review", "confirm_finding",
           "Mark the chosen or newest finding as real", needs="finding"),
    Action("reject", "Reject the finding", ("N",), "Review", "reject_finding",
           "Mark the chosen or newest finding as false", needs="finding"),
    Action("full", "Full screen", ("F", "F11"), "Window", "set_full_screen",
           "Picture, indicator and clock only", checkable=True),
    Action("side", "Side panel", ("P",), "Window", "set_side",
           "Show what the AI sees and the findings", checkable=True),
    Action("timeline", "Timeline", ("T",), "Window", "set_timeline",
           "Show the timeline", checkable=True),
    Action("figures", "Figures", ("I",), "Window", "set_figures",
           "Show rates, ages, drops and the recording", checkable=True),
    Action("light", "Light theme", ("L",), "Window", "set_light",
           "Light colours for the office", checkable=True),
    Action("help", "All actions and keys", ("?", "F1"), "Window", "set_help",
           "Show every action with its key", checkable=True),
    Action("leave", "Leave or give up", ("Esc",), "Window", "leave",
           "Close the help, give up opening a source, leave full screen"),
)  # fmt: skip

BY_KEY: dict[str, Action] = {action.key: action for action in ACTIONS}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(action.group for action in ACTIONS))
