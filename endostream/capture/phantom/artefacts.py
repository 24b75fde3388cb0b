"""What spoils an endoscopic picture: blur, bubbles, flushing, wall against the lens, the room outside.

Owns changes to finished display pictures (float32[H, W, 3], 0..1); it must not know the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from endostream.capture.phantom.noise import Field, as_field, periodic_noise, ramp


@dataclass(frozen=True, slots=True, eq=False)
class Stains:
    """The seeded material of one chapter's artefacts for one picture size."""

    bubbles: Field
    """float32[N, 6]: x, y, radius (heights), drift, birth (0..1), brightness."""
    clouds: Field
    """float32[H, W]: soft 0..1 clouds."""
    swirl: Field
    """float32[H, W, 2]: soft displacement of unit deviation."""
    room: Field
    """float32[2H, 2W, 3]: the examination room, far out of focus."""

    def __repr__(self) -> str:
        return f"Stains({self.clouds.shape}, bubbles={len(self.bubbles)})"


def build_stains(seed: int, height: int, width: int) -> Stains:
    """Return the artefacts' material for pictures of height x width."""
    rng = np.random.default_rng([seed, 61])
    count, rafts = 130, rng.uniform((-0.05, 0.15), (width / height + 0.05, 1.05), (11, 2))
    raft = rafts[rng.integers(len(rafts), size=count)] + rng.normal(0.0, 0.085, (count, 2))
    bubbles = np.stack(
        [
            raft[:, 0],
            raft[:, 1],
            0.007 + 0.060 * rng.beta(1.0, 3.6, count),
            rng.normal(0.0, 0.05, count),
            rng.uniform(0.0, 0.55, count),
            rng.uniform(0.5, 1.0, count),
        ],
        axis=1,
    )
    shape = (height, width)
    clouds = ramp(-1.6, 1.6, periodic_noise(rng, shape, (3, 4)) + 0.5 * periodic_noise(rng, shape, (8, 9)))
    swirl = np.stack([periodic_noise(rng, shape, (7, 8)), periodic_noise(rng, shape, (7, 8))], axis=-1)
    return Stains(as_field(bubbles), as_field(clouds), as_field(swirl), _room(rng, 2 * height, 2 * width))


def blur(picture: Field, amount: float, heading: float) -> Field:
    """Return the picture out of focus and smeared along a heading (radians)."""
    if amount <= 0.01:
        return picture
    height = picture.shape[0]
    out = cv2.GaussianBlur(picture, (0, 0), max(0.3, 0.020 * height * amount))
    size = int(0.10 * height * amount) // 2 * 2 + 1
    if size >= 3:
        kernel = np.zeros((size, size), np.float32)
        middle = (size - 1) / 2
        dx, dy = np.cos(heading) * middle, np.sin(heading) * middle
        ends = [(round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy))]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
        out = cv2.filter2D(out, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
    return as_field(out)


def flush(picture: Field, stains: Stains, amount: float, time: float, progress: float) -> Field:
    """Return the picture under a jet of water, then behind foam; progress runs 0..1."""
    if amount <= 0.01:
        return picture
    height, width = picture.shape[:2]
    jet = amount * float(ramp(0.55, 0.25, progress))
    rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
    roll_y, roll_x = int(time * height * 1.3) % height, int(time * width * 0.4) % width
    swirl = np.roll(stains.swirl, (roll_y, roll_x), axis=(0, 1))
    reach = np.float32(height * (0.006 * amount + 0.030 * jet))
    out = cv2.remap(
        picture, cols + reach * swirl[..., 0], rows + reach * swirl[..., 1],
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    if jet > 0.02:
        fan = np.abs(cols / width - 0.62 + 0.22 * (1 - rows / height)) / (0.05 + 0.30 * (1 - rows / height))
        spray = ramp(1.0, 0.1, fan) * ramp(0.15, 0.75, rows / height) * (0.45 + 0.55 * (swirl[..., 0] > 0.2))
        spray = cv2.GaussianBlur(as_field(spray), (0, 0), max(0.5, height * 0.012))[..., None]
        out = out + (0.55 * jet) * spray * (np.array([0.93, 0.90, 0.86], np.float32) - out)
        out = cv2.GaussianBlur(as_field(out), (0, 0), max(0.3, height * 0.008 * jet))
    return _bubbles(as_field(out), stains, amount, time, progress)


def _bubbles(picture: Field, stains: Stains, amount: float, time: float, progress: float) -> Field:
    """Return the picture with foam: lens-like discs with bright rims and a glint."""
    height, width = picture.shape[:2]
    out = picture.copy()
    for x, y, radius, drift, birth, bright in stains.bubbles:
        age = float(ramp(birth, birth + 0.12, progress + 0.1))
        r = float(radius) * height * age * amount
        if r < 1.0:
            continue
        cx = (x + 0.03 * np.sin(2.1 * time + 40 * drift)) * height
        cy = (y + drift * 0.6 * np.sin(0.7 * time + 9 * x)) * height
        _bubble(out, picture, float(cx), float(cy), r, float(bright), width, height)
    return out


def _bubble(
    out: Field, below: Field, cx: float, cy: float, r: float, bright: float, width: int, height: int
) -> None:
    """Draw one bubble, in place."""
    x0, x1 = max(0, int(cx - r - 2)), min(width, int(cx + r + 3))
    y0, y1 = max(0, int(cy - r - 2)), min(height, int(cy + r + 3))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    dx, dy = (xs - cx) / r, (ys - cy) / r
    away = np.hypot(dx, dy)
    inside = ramp(1.0 + 0.8 / r, 1.0 - 0.8 / r, away)[..., None]
    pull = (1.0 - 0.45 * np.clip(1 - away**2, 0, 1)).astype(np.float32)
    seen = cv2.remap(
        below, as_field(cx + dx * r * pull), as_field(cy + dy * r * pull),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    rim = np.exp(-(((away - 0.88) / 0.10) ** 2)) * (0.25 + 0.35 * np.clip(-0.7 * dy - 0.5 * dx, 0, 1))
    shadow = np.exp(-(((away - 0.72) / 0.14) ** 2)) * 0.16
    glint = np.exp(-((dx + 0.32) ** 2 + (dy + 0.34) ** 2) / 0.016) + 0.5 * np.exp(
        -((dx - 0.35) ** 2 + (dy - 0.38) ** 2) / 0.03
    )
    lit = seen * (1.0 - shadow[..., None]) + (bright * (0.06 + 0.8 * rim + glint))[..., None]
    out[y0:y1, x0:x1] += inside * (np.minimum(lit, 1.0) - out[y0:y1, x0:x1])


def press(picture: Field, stains: Stains, amount: float, time: float, brightness: float) -> Field:
    """Return the picture with the wall against the lens: red, featureless, dim."""
    if amount <= 0.005:
        return picture
    height, width = picture.shape[:2]
    shift = (int(0.11 * time * height) % height, int(0.17 * time * width) % width)
    clouds = np.roll(stains.clouds, shift, axis=(0, 1))[..., None]
    red = np.array([0.66, 0.17, 0.10], np.float32) * (0.72 + 0.36 * clouds) * np.float32(brightness)
    near = np.array([0.16, 0.12, 0.08], np.float32) * clouds * clouds * np.float32(brightness)
    soft = cv2.GaussianBlur(picture, (0, 0), max(0.4, height * 0.05 * amount))
    share = np.float32(ramp(0.0, 1.0, amount))
    return as_field(soft * (1.0 - share) + share * (red + near))


def outside(stains: Stains, height: int, width: int, time: float, leave: float) -> Field:
    """Return the dim room before the tip is inserted; `leave` 0..1 moves on to the darkness."""
    top = int((0.5 + 0.42 * np.sin(0.9 * time + 0.4)) * height)
    left = int((0.5 + 0.40 * np.sin(0.63 * time + 2.0)) * width)
    view = stains.room[top : top + height, left : left + width]
    return as_field(view * np.float32(1.0 - 0.9 * leave) * np.float32(1.0 + 0.04 * np.sin(11 * time)))


_DRAPES = (
    (0.10, 0.28, 0.30), (0.08, 0.22, 0.27), (0.13, 0.34, 0.36), (0.30, 0.31, 0.33), (0.16, 0.15, 0.14),
)  # fmt: skip
"""What hangs about in the room: green drapes, a grey gown, something dark."""


def _room(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return drapes, a gown, a lamp and monitors, blurred beyond recognition."""
    room = np.zeros((height, width, 3), np.float32)
    room[:] = (0.10, 0.11, 0.13)
    for tone in _DRAPES:
        spots = rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)
        hull = cv2.convexHull(np.round(spots).astype(np.int32))
        cv2.fillPoly(room, [hull], tone)
    sway = 2.2 * np.sin(np.arange(height) * 5 / height)[:, None]
    folds = np.sin(np.arange(width) * (45 / width) + sway)
    room *= (1.0 + 0.22 * folds[..., None]).astype(np.float32)
    room = as_field(cv2.GaussianBlur(room, (0, 0), max(0.5, height * 0.018)))
    lights = np.zeros_like(room)
    for _ in range(9):
        at = (int(rng.uniform(0, width)), int(rng.uniform(0, height * 0.6)))
        warm = rng.uniform(0.75, 1.0)
        tone = (0.8 * warm, 0.8 * warm * rng.uniform(0.8, 1), warm * rng.uniform(0.6, 1))
        cv2.circle(lights, at, max(1, int(height * rng.uniform(0.012, 0.035))), tone, -1, cv2.LINE_AA)
    screen = np.array([[0.64, 0.30], [0.84, 0.34], [0.82, 0.52], [0.63, 0.47]]) * (width, height)
    cv2.fillPoly(lights, [np.round(screen).astype(np.int32)], (0.20, 0.34, 0.52))
    room = room + 0.75 * cv2.GaussianBlur(lights, (0, 0), max(0.5, height * 0.009))
    return as_field(np.clip(room, 0.0, 1.0))
