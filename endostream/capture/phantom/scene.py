"""What is in the phantom and when: the stretches of the script, the polyps, the camera's way.

Owns the seeded description of one chapter; it must not know how any of it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHAPTER_SECONDS = 50.0
"""Nominal length of one chapter; a longer phantom tells several, each with a seed of its own."""
SPEED = 0.5
"""Travel along the colon where nothing is looked at, in lumen radii per nominal second."""
APPROACH = 3.4
"""Distance along the colon at which a polyp begins to matter, in lumen radii."""
JUMP = 40.0
"""How far the camera is moved, unseen, when insertion turns into withdrawal."""
KINDS = ("sessile", "pedunculated", "flat", "lobulated")
"""The polyp shapes, in the order in which a full chapter shows them."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the script with one picture quality."""

    start: float
    """Chapter time of its begin in seconds."""
    end: float
    """Chapter time of its end in seconds."""
    quality: str
    """clear, blur, stool, bubbles, dark or outside."""
    polyp: int
    """Index of the polyp that is looked at, -1 for none."""
    withdrawing: bool
    """Whether the camera moves backwards."""


@dataclass(frozen=True, slots=True)
class Polyp:
    """One polyp: where it sits and what it looks like."""

    kind: str
    """One of KINDS."""
    angle: float
    """Preferred place on the circumference in radians."""
    z: float
    """Place along the colon in lumen radii."""
    size: float
    """Scale of the shape, 1 is about 0.3 lumen radii across."""
    redness: float
    """-1 pale and yellowish, +1 red."""
    seed: int
    """Seed of its lobes and texture."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One chapter: its stretches, polyps and the keys of the camera's way."""

    seed: int
    """Seed of everything in the chapter."""
    seconds: float
    """Length of the chapter."""
    stretches: tuple[Stretch, ...]
    """The script, without gaps."""
    polyps: tuple[Polyp, ...]
    """The polyps in order of appearance."""
    stool_z: float
    """Middle of the badly prepared part along the colon."""
    key_times: NDArray[np.float64]
    """Times of the camera's keys in seconds, rising."""
    key_z: NDArray[np.float64]
    """Place along the colon at every key; the unseen jump is not in it."""
    jump_time: float
    """When insertion turns into withdrawal; infinite where it never does."""

    def stretch_at(self, time: float) -> Stretch:
        """Return the stretch that holds at a chapter time."""
        for stretch in self.stretches:
            if time < stretch.end:
                return stretch
        return self.stretches[-1]

    def z_at(self, time: float) -> float:
        """Return the camera's place along the colon at a chapter time."""
        z = _smooth_interp(time, self.key_times, self.key_z)
        return z + (JUMP if time >= self.jump_time else 0.0)

    def __repr__(self) -> str:
        return f"Scene(seed={self.seed}, seconds={self.seconds}, stretches={len(self.stretches)})"


# (quality, nominal seconds, polyp, withdrawing)
_FULL = (
    ("outside", 2.4, -1, False),
    ("dark", 1.4, -1, False),
    ("clear", 2.7, -1, False),
    ("clear", 4.8, 0, False),
    ("clear", 2.0, -1, False),
    ("blur", 2.0, -1, False),
    ("clear", 0.7, -1, False),
    ("clear", 5.0, 1, False),
    ("clear", 1.4, -1, False),
    ("stool", 3.2, -1, False),
    ("dark", 1.8, -1, False),
    ("clear", 0.8, -1, True),
    ("clear", 4.8, 2, True),
    ("clear", 1.0, -1, True),
    ("bubbles", 3.2, -1, True),
    ("clear", 1.0, -1, True),
    ("clear", 5.0, 3, True),
    ("clear", 2.4, -1, True),
    ("blur", 1.6, -1, True),
    ("clear", 2.8, -1, True),
)
_SHORT = (
    ("outside", 0.8, -1, False),
    ("dark", 0.6, -1, False),
    ("clear", 1.2, -1, False),
    ("clear", 4.6, 0, False),
    ("clear", 0.6, -1, False),
    ("bubbles", 0.9, -1, False),
    ("blur", 0.7, -1, False),
    ("clear", 0.6, -1, False),
)


def build_scene(seed: int, seconds: float) -> Scene:
    """Return the chapter of a seed: the full script from 24 s on, a short one with one polyp below."""
    rng = np.random.default_rng([seed, 11])
    script = _FULL if seconds >= 24.0 else _SHORT
    nominal = sum(row[1] for row in script)
    stretch_scale = seconds / nominal
    kinds = list(KINDS) if script is _FULL else [KINDS[int(rng.integers(len(KINDS)))]]
    stretches: list[Stretch] = []
    polyps: list[Polyp] = []
    times, zs = [0.0], [0.0]
    clock, z, stool_z, jump_time = 0.0, float(rng.uniform(0.0, 20.0)), -1e6, np.inf
    zs[0] = z
    for quality, nominal_length, polyp, back in script:
        length = nominal_length * stretch_scale
        stretches.append(Stretch(clock, clock + length, quality, polyp, back))
        sign = -1.0 if back else 1.0
        if polyp >= 0:
            polyp_z = z - 0.25 if back else z + APPROACH
            near = 0.3 if kinds[polyp] == "pedunculated" else 0.0
            keys = _BACK_KEYS if back else _FORTH_KEYS
            times += [clock + share * length for share, _ in keys]
            zs += [polyp_z + offset - near * (-1.0 < offset < -0.5) for _, offset in keys]
            z = zs[-1]
            polyps.append(_polyp(rng, kinds[polyp], polyp_z + (JUMP if back else 0.0)))
        elif quality == "dark" and polyps:
            jump_time = clock + 0.5 * length if script is _FULL else np.inf
            times.append(clock + length)
            zs.append(z)
        elif quality != "outside":
            if quality == "stool":
                stool_z = z + 1.9
            z += sign * SPEED * nominal_length
            times.append(clock + length)
            zs.append(z)
        else:
            times.append(clock + length)
            zs.append(z)
        clock += length
    return Scene(
        seed, seconds, tuple(stretches), tuple(polyps), stool_z,
        np.asarray(times), np.asarray(zs), float(jump_time),
    )  # fmt: skip


_FORTH_KEYS = ((0.28, -1.7), (0.52, -0.85), (0.80, -0.58), (1.0, -0.12))
_BACK_KEYS = ((0.2, -0.55), (0.5, -0.8), (0.75, -1.9), (1.0, -3.7))
"""Share of the stretch against the camera's place relative to the polyp."""


def _polyp(rng: np.random.Generator, kind: str, z: float) -> Polyp:
    """Return a polyp of a kind with its seeded looks."""
    return Polyp(
        kind=kind,
        angle=float(rng.uniform(0.0, 2 * np.pi)),
        z=z,
        size=float(rng.uniform(1.1, 1.25)) * (0.85 if kind == "pedunculated" else 1.0),
        redness=float(rng.uniform(0.2, 1.0)) * (1.0 if rng.random() < 0.7 else -0.8),
        seed=int(rng.integers(1 << 30)),
    )


def _smooth_interp(time: float, times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return a monotone cubic through the keys (Fritsch and Carlson's slopes), clamped at both ends."""
    k = int(np.clip(np.searchsorted(times, time, side="right") - 1, 0, len(times) - 2))
    steps = np.diff(times)
    slopes = np.diff(values) / steps
    tangent = np.zeros(2)
    for side, i in enumerate((k, k + 1)):
        if 0 < i < len(times) - 1 and slopes[i - 1] * slopes[i] > 0:
            tangent[side] = 2 * slopes[i - 1] * slopes[i] / (slopes[i - 1] + slopes[i])
    u = float(np.clip((time - times[k]) / steps[k], 0.0, 1.0))
    h = steps[k]
    return float(
        (2 * u**3 - 3 * u**2 + 1) * values[k]
        + (u**3 - 2 * u**2 + u) * h * tangent[0]
        + (3 * u**2 - 2 * u**3) * values[k + 1]
        + (u**3 - u**2) * h * tangent[1]
    )
