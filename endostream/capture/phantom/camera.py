"""Where the endoscope's tip is and where it looks, and the rays of its fisheye lens.

Owns the pose over time and the lens; it must not know the light or the textures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from endostream.capture.phantom.noise import Field, as_field, ramp
from endostream.capture.phantom.polyps import Seated
from endostream.capture.phantom.scene import APPROACH, Scene
from endostream.capture.phantom.surface import Wall

HALF_FIELD = np.radians(70.0)
"""Angle between the axis and the corner of the picture: a field of view of 140 degrees."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """The tip at one moment."""

    place: Field
    """float32[3]: world position."""
    axes: Field
    """float32[3, 3]: rows are right, down and forward in the world."""
    focus: int
    """Index of the polyp that is looked at, -1 for none."""
    grown: float
    """Size of that polyp, 0..1: it is absent while it is far."""

    def __repr__(self) -> str:
        return f"Pose(z={float(self.place[2]):.2f}, focus={self.focus}, grown={self.grown:.2f})"


def lens(width: int, height: int) -> Field:
    """Return float32[3, height, width]: unit directions right, down, forward of every pixel."""
    xs = (np.arange(width, dtype=np.float32) + 0.5) * (2.0 / height) - width / height
    ys = (np.arange(height, dtype=np.float32) + 0.5) * (2.0 / height) - 1.0
    x, y = np.meshgrid(xs, ys)
    radius = np.hypot(x, y)
    angle = radius * np.float32(HALF_FIELD / np.hypot(1.0, width / height))
    side = np.sin(angle) / np.maximum(radius, 1e-6)
    return as_field(np.stack([x * side, y * side, np.cos(angle)]))


def pose_at(scene: Scene, wall: Wall, seats: tuple[Seated, ...], time: float) -> Pose:
    """Return the tip's pose at a chapter time."""
    rng = np.random.default_rng([scene.seed, 31])
    phase = rng.uniform(0, 2 * np.pi, 12)
    z = scene.z_at(time) + 0.018 * np.sin(5.3 * time + phase[0]) + 0.03 * np.sin(1.7 * time + phase[1])
    focus = _nearest(seats, z)
    aim, grown = 0.0, 0.0
    if focus >= 0:
        ahead = seats[focus].polyp.z - z
        grown = float(ramp(APPROACH + 1.2, APPROACH + 0.2, ahead)) * float(ramp(-1.2, -0.9, ahead))
        aim = float(ramp(APPROACH - 0.6, 1.4, ahead) * ramp(-0.5, 0.55, ahead))
    wander = np.array([np.sin(0.53 * time + phase[2]), np.sin(0.71 * time + phase[3])])
    tremor = np.array([np.sin(7.1 * time + phase[4]), np.sin(8.3 * time + phase[5])])
    offset = 0.16 * wander + 0.012 * tremor
    cx, cy = wall.centre(as_field([z, z + 1.5]))
    target = np.array([cx[1], cy[1], z + 1.5])
    target[:2] += 0.55 * np.array([np.sin(0.37 * time + phase[6]), np.sin(0.47 * time + phase[7])])
    place = np.array([cx[0] + offset[0], cy[0] + offset[1], z])
    forward = _unit(target - place)
    if aim > 0:
        seated = seats[focus]
        place[:2] += aim * (0.12 * seated.inwards[:2] - 0.7 * offset)
        forward = _unit(forward * (1 - 0.62 * aim) + 0.62 * aim * _unit(seated.middle - place))
    forward = _unit(forward + 0.012 * np.array([*tremor[::-1], 0.0]))
    roll = 0.5 * np.sin(0.21 * time + phase[8]) + 0.12 * np.sin(0.9 * time + phase[9])
    right = _unit(np.cross([np.sin(roll), np.cos(roll), 0.0], forward))
    down = np.cross(forward, right)
    return Pose(as_field(place), as_field(np.stack([right, down, forward])), focus, grown)


def turned(pose: Pose, directions: Field) -> Field:
    """Return the lens's directions float32[3, H, W] in the world."""
    return as_field((pose.axes.T @ directions.reshape(3, -1)).reshape(directions.shape))


def _nearest(seats: tuple[Seated, ...], z: float) -> int:
    """Return the polyp that is in front of the tip or just beside it, -1 for none."""
    for i, seated in enumerate(seats):
        if -1.2 < seated.polyp.z - z < APPROACH + 1.2:
            return i
    return -1


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector at length 1."""
    return v / np.linalg.norm(v)
