"""The polyps as solids: distance, normal and colour of a seated shape.

Owns the shapes (signed distances in the polyp's own axes); it must not know the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from endostream.capture.phantom.noise import Field, as_field
from endostream.capture.phantom.scene import Polyp
from endostream.capture.phantom.surface import PERIOD, TURN, Wall


@dataclass(frozen=True, slots=True, eq=False)
class Seated:
    """A polyp seated on the wall: balls and a stalk in local axes (around, along, inwards)."""

    polyp: Polyp
    """What it is."""
    base: Field
    """float32[3]: the spot on the wall."""
    around: Field
    """float32[3]: local x in the world."""
    along: Field
    """float32[3]: local y in the world."""
    inwards: Field
    """float32[3]: local z in the world, towards the lumen."""
    centres: Field
    """float32[N, 3]: centres of the ellipsoids."""
    radii: Field
    """float32[N, 3]: their half axes."""
    stalk: Field
    """float32[4]: tip x, y, z and radius of the stalk; radius 0 for none."""
    blend: float
    """How softly the ellipsoids melt into one another."""
    reach: float
    """Radius of a ball around `middle` that holds everything."""
    middle: Field
    """float32[3]: the world point to look at."""

    def __repr__(self) -> str:
        return f"Seated({self.polyp.kind}, balls={len(self.centres)})"

    def local(self, x: Field, y: Field, z: Field, grown: float) -> tuple[Field, Field, Field]:
        """Return world points in local axes, divided by the growth."""
        dx, dy, dz = x - self.base[0], y - self.base[1], z - self.base[2]
        k = np.float32(1.0 / grown)
        u = (dx * self.around[0] + dy * self.around[1]) * k
        w = (dx * self.inwards[0] + dy * self.inwards[1]) * k
        return u, dz * k, w

    def distance(self, u: Field, v: Field, w: Field) -> Field:
        """Return the signed distance of local points, a lower bound away from the surface."""
        out: Field | None = None
        for centre, radius in zip(self.centres, self.radii, strict=True):
            ball = _ellipsoid(u - centre[0], v - centre[1], w - centre[2], radius)
            out = ball if out is None else soft_min(out, ball, self.blend)
        if out is None:
            raise ValueError("a polyp needs a ball")
        out = out + np.float32(0.016) * np.sin(13 * u + 5 * w + 1) * np.sin(12 * v - 7 * w + 2)
        if self.stalk[3] > 0:
            out = soft_min(out, _stalk(u, v, w, self.stalk), 0.06)
        return out


def soft_min(a: Field, b: Field, k: float) -> Field:
    """Return the smooth minimum of two distances over a width k."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0.0) * np.float32(1.0 / k)
    return as_field(np.minimum(a, b) - h * h * np.float32(k * 0.25))


def seat(polyp: Polyp, wall: Wall) -> Seated:
    """Return the polyp on the wall, at the angle near its own where folds hide it least."""
    angle = _open_angle(polyp, wall)
    rows, cols = wall.radius.shape[0] - 1, wall.radius.shape[1] - 1
    row = round((polyp.z % PERIOD) / PERIOD * rows) % rows
    col = round(angle / TURN * cols) % cols
    radius = float(cv2.GaussianBlur(wall.radius, (0, 0), 6)[row, col])
    cx, cy = wall.centre(np.full(1, polyp.z, np.float32))
    outwards = np.array([np.cos(angle), np.sin(angle), 0.0])
    base = np.array([cx[0], cy[0], polyp.z]) + radius * outwards
    centres, radii, stalk, blend = _SHAPES[polyp.kind](np.random.default_rng([polyp.seed, 5]))
    size = polyp.size
    centres, radii, stalk = centres * size, radii * size, stalk * size
    middle_local = centres.mean(axis=0)
    around = np.array([-outwards[1], outwards[0], 0.0])
    axes = np.stack([around, np.array([0.0, 0.0, 1.0]), -outwards])
    reach = float((np.linalg.norm(centres - middle_local, axis=1) + radii.max(axis=1)).max())
    reach = max(reach, float(np.linalg.norm(middle_local)) if stalk[3] > 0 else 0.0)
    return Seated(
        polyp, as_field(base), as_field(axes[0]), as_field(axes[1]), as_field(axes[2]),
        as_field(centres), as_field(radii), as_field(stalk), blend, reach * 1.08,
        as_field(base + middle_local @ axes),
    )  # fmt: skip


def _open_angle(polyp: Polyp, wall: Wall) -> float:
    """Return the angle whose wall stands back least behind the folds in front of it."""
    rows, cols = wall.radius.shape[0] - 1, wall.radius.shape[1] - 1
    row = round((polyp.z % PERIOD) / PERIOD * rows)
    before = np.arange(row - int(1.5 * rows / PERIOD), row) % rows
    near = np.arange(row - int(0.15 * rows / PERIOD), row + int(0.15 * rows / PERIOD)) % rows
    hidden = wall.radius[near, :cols].mean(axis=0) - wall.radius[before, :cols].min(axis=0)
    hidden = np.convolve(np.pad(hidden, cols // 12, mode="wrap"), np.ones(cols // 12) / (cols // 12), "same")
    hidden = hidden[cols // 12 : -(cols // 12)]
    theta = np.arange(cols) * (TURN / cols)
    score = hidden + 0.06 * (1.0 - np.cos(theta - polyp.angle))
    return float(theta[int(np.argmin(score))])


def _ellipsoid(u: Field, v: Field, w: Field, radius: Field) -> Field:
    """Return an ellipsoid's approximate signed distance."""
    if radius[0] == radius[1] == radius[2]:
        return as_field(np.sqrt(u * u + v * v + w * w) - radius[0])
    a, b, c = u / radius[0], v / radius[1], w / radius[2]
    k0 = np.sqrt(a * a + b * b + c * c)
    a, b, c = a / radius[0], b / radius[1], c / radius[2]
    k1 = np.sqrt(a * a + b * b + c * c) + np.float32(1e-6)
    return as_field(k0 * (k0 - 1.0) / k1)


def _stalk(u: Field, v: Field, w: Field, stalk: Field) -> Field:
    """Return the distance of a stalk from inside the wall to its tip, thicker at the foot."""
    tip = stalk[:3]
    share = np.clip((u * tip[0] + v * tip[1] + w * tip[2]) / np.float32(tip @ tip), -0.3, 1.0)
    bow = 0.05 * np.sin(np.float32(np.pi) * np.clip(share, 0, 1))
    away = np.sqrt((u - share * tip[0] - bow) ** 2 + (v - share * tip[1]) ** 2 + (w - share * tip[2]) ** 2)
    return as_field(away - stalk[3] * (1.0 + 0.6 * (1.0 - share) ** 3))


_Shape = tuple[Field, Field, Field, float]


def _sessile(rng: np.random.Generator) -> _Shape:
    centres = [[0.0, 0.0, 0.02], [0.09, -0.08, 0.07], [-0.11, 0.07, 0.05]]
    radii = [[0.31, 0.27, 0.21], [0.18, 0.18, 0.17], [0.17, 0.18, 0.16]]
    jitter = rng.normal(0.0, 0.012, (3, 3))
    return as_field(np.asarray(centres) + jitter), as_field(radii), np.zeros(4, np.float32), 0.08


def _pedunculated(rng: np.random.Generator) -> _Shape:
    tip = np.array([rng.uniform(-0.12, 0.12), -0.16, 0.40])
    lobes = [[0.0, -0.03, 0.05], [0.13, -0.10, 0.08], [-0.13, 0.04, 0.1], [0.02, -0.15, 0.0]]
    centres = tip + np.asarray(lobes)
    radii = [[0.19, 0.17, 0.16], [0.13, 0.13, 0.13], [0.14, 0.14, 0.14], [0.12, 0.12, 0.12]]
    return as_field(centres), as_field(radii), as_field([*tip, 0.085]), 0.05


def _flat(rng: np.random.Generator) -> _Shape:
    turns = np.arange(6) * (TURN / 6) + rng.uniform(0, 1)
    reach = rng.uniform(0.20, 0.27, 6)
    rim = np.stack([np.cos(turns) * reach, np.sin(turns) * reach, np.full(6, 0.02)], axis=1)
    centres = np.concatenate([[[0.0, 0.0, 0.0]], rim])
    radii = np.concatenate([[[0.36, 0.34, 0.12]], np.tile([[0.17, 0.17, 0.085]], (6, 1))])
    return as_field(centres), as_field(radii), np.zeros(4, np.float32), 0.05


def _lobulated(rng: np.random.Generator) -> _Shape:
    count = 9
    turns = np.arange(count) * 2.39996 + rng.uniform(0, 6)
    height = np.linspace(0.95, 0.1, count)
    flat = np.sqrt(1.0 - height**2)
    shell = np.stack([flat * np.cos(turns), flat * np.sin(turns), height], axis=1)
    centres = shell * rng.uniform(0.17, 0.23, (count, 1)) + (0.0, 0.0, 0.08)
    radii = np.repeat(rng.uniform(0.095, 0.145, (count, 1)), 3, axis=1)
    core = np.array([[0.0, 0.0, 0.09]])
    return (
        as_field(np.concatenate([core, centres])),
        as_field(np.concatenate([[[0.22, 0.22, 0.22]], radii])),
        np.zeros(4, np.float32),
        0.03,
    )


_SHAPES = {"sessile": _sessile, "pedunculated": _pedunculated, "flat": _flat, "lobulated": _lobulated}
