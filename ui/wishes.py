"""What the actions for playing and reviewing do: wishes for the controller.

Owns the arithmetic of places and speeds. Must not know the layout of the window.
"""

from __future__ import annotations

from .controller import Controller
from .findings_panel import FindingsPanel
from .transport import SPEEDS


class PlaybackWishes:
    """Methods of the main window that only ask the controller."""

    controller: Controller
    findings: FindingsPanel

    # Playback

    def play_or_pause(self) -> None:
        """Play when held, hold when playing."""
        self.controller.set_playing(not (self.controller.playing and self.controller.running))

    def step_back(self) -> None:
        """Show the frame before."""
        self.controller.step(-1)

    def step_forward(self) -> None:
        """Show the next frame."""
        self.controller.step(1)

    def jump_back(self) -> None:
        """Go back 5 seconds."""
        self.controller.seek(self.controller.time - 5)

    def jump_forward(self) -> None:
        """Go on 5 seconds."""
        self.controller.seek(self.controller.time + 5)

    def previous_finding(self) -> None:
        """Go to the finding before."""
        starts = [f.start for f in self.findings.findings if f.start < self.controller.time - 1.0]
        if starts:
            self.controller.seek(max(starts))

    def next_finding(self) -> None:
        """Go to the next finding."""
        starts = [f.start for f in self.findings.findings if f.start > self.controller.time + 0.05]
        if starts:
            self.controller.seek(min(starts))

    def go_to_start(self) -> None:
        """Go to the start."""
        self.controller.seek(0.0)

    def play_slower(self) -> None:
        """Take the next lower speed."""
        self._change_speed(-1)

    def play_faster(self) -> None:
        """Take the next higher speed."""
        self._change_speed(1)

    def _change_speed(self, places: int) -> None:
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.controller.speed))
        self.controller.set_speed(SPEEDS[min(max(nearest + places, 0), len(SPEEDS) - 1)])

    # Review

    def confirm_finding(self) -> None:
        """Confirm the chosen or newest finding."""
        if self.findings.chosen_key is not None:
            self.controller.review(self.findings.chosen_key, "confirmed")

    def reject_finding(self) -> None:
        """Reject the chosen or newest finding."""
        if self.findings.chosen_key is not None:
            self.controller.review(self.findings.chosen_key, "rejected")
