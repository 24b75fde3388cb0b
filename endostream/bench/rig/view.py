"""What can be seen of a scene, whole or behind a tower profile.

Owns finding counter and block in pictures that were cropped. Must not know runs or senders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from endostream.bench.rig import counter
from endostream.bench.rig.clips import Scene
from endostream.bench.rig.counter import Box
from endostream.capture.towers import NO_PROFILE, Fitted, TowerProfile
from endostream.types import ImageArray


@dataclass(frozen=True, slots=True)
class View:
    """One scene behind one profile."""

    scene: Scene
    """The scene."""
    fitted: Fitted
    """What the profile shows of it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its pictures."""
        width, height = self.fitted.size
        return height, width

    def read(self, image: ImageArray) -> int | None:
        """The number of a picture uint8[H, W, 3]; None where it is none of this view, or damaged."""
        if image.shape[:2] != self.shape:
            return None
        return counter.read(image, self._moved(counter.strip(self.scene.width, self.scene.height)))

    def block_at(self, number: float) -> Box:
        """Where the block is in picture `number`."""
        return self._moved(self.scene.block_at(number))

    def _moved(self, box: Box) -> Box:
        left, top = self.fitted.image[:2]
        return box[0] - left, box[1] - top, box[2] - left, box[3] - top


class Views:
    """The scenes that a sender may play, behind one profile; told apart by their size."""

    def __init__(self, scenes: Sequence[Scene], profile: TowerProfile = NO_PROFILE) -> None:
        self.profile = profile
        """What is masked."""
        self._views = [View(scene, profile.fit(scene.width, scene.height)) for scene in scenes]

    def of(self, scene: Scene) -> View:
        """What is seen of this scene."""
        return next(view for view in self._views if view.scene == scene)

    def read(self, image: ImageArray) -> int | None:
        """The number of a picture of any of them; None where it cannot be read."""
        for view in self._views:
            if view.shape == image.shape[:2]:
                return view.read(image)
        return None
