"""Rays to the first thing they meet: coarse sphere tracing, then refined on the full grid.

Owns the geometry of one picture; it must not know light, colour or artefacts.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from endostream.capture.phantom.camera import Pose
from endostream.capture.phantom.debris import HALF_LENGTH, Debris
from endostream.capture.phantom.noise import Field, as_field
from endostream.capture.phantom.polyps import Seated, soft_min
from endostream.capture.phantom.surface import PERIOD, TURN, Wall

FAR = 10.0
"""Rays end here; the light does not reach that far."""
SEAMS = {"sessile": 0.11, "pedunculated": 0.06, "flat": 0.09, "lobulated": 0.045}
"""Width over which a polyp of a kind melts into the wall."""
_FINE = 512.0
"""Entries of the centreline table per lumen radius."""


@dataclass(frozen=True, slots=True, eq=False)
class Solids:
    """Everything that a ray can meet in one picture."""

    wall: Wall
    """The colon."""
    seated: Seated | None
    """The polyp in view, if any."""
    grown: float
    """Its size, 0..1."""
    debris: Debris | None
    """The soiled part, if it is near."""
    first: float
    """Place along the colon of the first entry of the centreline table."""
    centre_x: Field
    """float32[N]: the centreline's x around the camera."""
    centre_y: Field
    """float32[N]: the centreline's y around the camera."""

    @property
    def seam(self) -> float:
        """Width over which the polyp in view melts into the wall."""
        return SEAMS[self.seated.polyp.kind] if self.seated is not None else 0.05

    def gap(self, x: Field, y: Field, z: Field) -> Field:
        """Return how far a point is from the wall, measured across the colon."""
        return self._gaps(x, y, z)[0]

    def pool(self, x: Field, y: Field, z: Field) -> Field | None:
        """Return 0..1, how much the liquid hides of what is below a point; None without liquid near."""
        _, liquid, wall = self._gaps(x, y, z)
        if liquid is None:
            return None
        return as_field(np.where(liquid < wall, 1.0 - np.exp(-np.maximum(wall - liquid, 0.0) / 0.05), 0.0))

    def _gaps(self, x: Field, y: Field, z: Field) -> tuple[Field, Field | None, Field]:
        """Return the gap to the nearest, to the liquid and to the wall."""
        index = ((z - np.float32(self.first)) * np.float32(_FINE)).astype(np.int32)
        below = y - self.centre_y.take(index, mode="clip")
        rho, theta = map(as_field, cv2.cartToPolar(x - self.centre_x.take(index, mode="clip"), below))
        rows, cols = self.wall.radius.shape[0] - 1, self.wall.radius.shape[1] - 1
        v = z * np.float32(1.0 / PERIOD)
        v = (v - np.floor(v)) * np.float32(rows)
        radius = cv2.remap(self.wall.radius, theta * np.float32(cols / TURN), v, cv2.INTER_LINEAR)
        if self.debris is None:
            return as_field(radius - rho), None, as_field(radius - rho)
        wall = as_field(radius - self.debris.height(theta, z) - rho)
        liquid = as_field(self.debris.surface(z) - below)
        return np.minimum(wall, liquid), liquid, wall

    def polyp_gap(self, x: Field, y: Field, z: Field) -> Field:
        """Return the distance from the polyp in view."""
        if self.seated is None:
            return np.full_like(x, FAR)
        u, v, w = self.seated.local(x, y, z, self.grown)
        return self.seated.distance(u, v, w) * np.float32(self.grown)

    def __repr__(self) -> str:
        return f"Solids(polyp={self.seated!r}, debris={self.debris!r})"


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Where the rays of one picture end."""

    distance: Field
    """float32[H, W]: length of every ray."""
    polyp: Field
    """float32[H, W]: 0 on the wall, 1 on the polyp, between in the seam."""
    box: tuple[slice, slice] | None
    """Rows and columns that can hold the polyp."""
    pool: Field | None
    """float32[H, W]: how much the pool of liquid hides, 0..1; None where there is none near."""

    def __repr__(self) -> str:
        return f"Hits({self.distance.shape}, box={self.box})"


def solids_at(wall: Wall, pose: Pose, seats: tuple[Seated, ...], debris: Debris | None) -> Solids:
    """Return what can be met from a pose."""
    first = float(pose.place[2]) - FAR - 1.0
    z = np.arange(int(2 * (FAR + 1.0) * _FINE), dtype=np.float32) * np.float32(1 / _FINE) + np.float32(first)
    cx, cy = wall.centre(z)
    near = debris is not None and abs(debris.middle - float(pose.place[2])) < HALF_LENGTH + 6.0
    seated = seats[pose.focus] if pose.focus >= 0 and pose.grown > 0.02 else None
    return Solids(wall, seated, max(pose.grown, 0.02), debris if near else None, first, cx, cy)


def trace(solids: Solids, pose: Pose, rays: Field) -> Hits:
    """Return where the rays float32[3, H, W] of the world end."""
    coarse_rays = as_field(rays[:, 1::4, 1::4])
    coarse, _ = _march(solids, pose, coarse_rays, np.full(coarse_rays.shape[1:], 0.05, np.float32), 60, False)
    shape = rays.shape[1:]
    box = _polyp_box(solids, pose, rays)
    if box is not None:
        high, wide = (slice(side.start // 4, side.stop // 4 + 1) for side in box)
        part = as_field(coarse_rays[:, high, wide])
        if part.size:
            start = np.full(part.shape[1:], 0.05, np.float32)
            coarse[high, wide], _ = _march(solids, pose, part, start, 60, True)
    # The nearest of the neighbours, a little shorter: the fine march must start in free space.
    near = cv2.erode(coarse, np.ones((3, 3), np.uint8))
    near = cv2.resize(near, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) * 0.96
    distance = _settled(solids, pose, rays, as_field(near), 7, False)
    polyp = np.zeros(shape, np.float32)
    if box is not None:
        part = as_field(rays[:, box[0], box[1]])
        t = _settled(solids, pose, part, as_field(near[box]), 7, True)
        distance[box] = t
        x, y, z = (pose.place[i] + part[i] * t for i in range(3))
        difference = solids.gap(x, y, z) - solids.polyp_gap(x, y, z)
        polyp[box] = np.clip(difference * np.float32(0.5 / solids.seam) + 0.5, 0.0, 1.0)
        polyp[box][t > FAR - 0.5] = 0.0
    pool = None
    if solids.debris is not None:
        x, y, z = (pose.place[i] + rays[i] * distance for i in range(3))
        pool = solids.pool(x, y, z)
        if pool is not None:
            pool[polyp > 0.5] = 0.0
    return Hits(distance, polyp, box, pool)


def _settled(solids: Solids, pose: Pose, rays: Field, start: Field, steps: int, both: bool) -> Field:
    """Return the ray lengths like `_march`, with the rays past an edge, a few per cent, led to their end."""
    t, gap = _march(solids, pose, rays, start, steps, both)
    open_rays = np.flatnonzero((gap > 0.012) & (t < FAR - 0.5))
    if open_rays.size:
        # A block, not a row: OpenCV's maps have at most 32767 columns.
        picked = np.resize(open_rays, -(-open_rays.size // 128) * 128).reshape(-1, 128)
        part = as_field(rays.reshape(3, -1)[:, picked])
        ends, _ = _march(solids, pose, part, as_field(t.reshape(-1)[picked]), 26, both)
        t.reshape(-1)[picked] = ends
    return t


def _march(
    solids: Solids, pose: Pose, rays: Field, start: Field, steps: int, both: bool
) -> tuple[Field, Field]:
    """Return the ray lengths after some steps towards the nearest surface, and the last gaps."""
    t = start.copy()
    gap = t
    for step in range(steps):
        x = pose.place[0] + rays[0] * t
        y = pose.place[1] + rays[1] * t
        z = pose.place[2] + rays[2] * t
        gap = solids.gap(x, y, z)
        if both:
            gap = soft_min(gap, solids.polyp_gap(x, y, z), solids.seam)
        # Folds rise at three units per unit and more, hence the short steps.
        t += np.clip(gap * np.float32(0.42 if step < steps - 3 else 0.7), -0.08, 0.5)
        np.clip(t, 0.02, FAR, out=t)
    return t, gap


def _polyp_box(solids: Solids, pose: Pose, rays: Field) -> tuple[slice, slice] | None:
    """Return the rows and columns whose rays pass the ball around the polyp in view."""
    if solids.seated is None:
        return None
    base = solids.seated.base
    away = base + (solids.seated.middle - base) * solids.grown - pose.place
    length = float(np.linalg.norm(away))
    reach = solids.seated.reach * solids.grown + 0.12
    along = away[0] * rays[0] + away[1] * rays[1] + away[2] * rays[2]
    limit = np.sqrt(max(0.0, length**2 - reach**2)) if length > reach else -length
    seen = along >= limit
    if not seen.any():
        return None
    rows, cols = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
