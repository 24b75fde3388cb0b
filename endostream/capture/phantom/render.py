"""Light and colour: what the endoscope's lamps make of the surfaces that the rays meet.

Owns shading and exposure in linear light; it must not know the tower, the script or the artefacts.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from endostream.capture.phantom.camera import Pose
from endostream.capture.phantom.debris import LIQUID, STOOL
from endostream.capture.phantom.noise import Field, as_field, ramp
from endostream.capture.phantom.surface import DETAIL_LENGTH, DETAIL_TILES, PERIOD, TURN, Wall
from endostream.capture.phantom.trace import Hits, Solids

LAMPS = ((-0.055, 0.02), (0.055, -0.02))
"""Where the two light guides leave the tip, right and down of the lens."""
LAMP_COLOUR = np.array([1.0, 0.95, 0.86], np.float32)
"""Xenon through glass fibre: a little warm."""


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """The surface under every pixel."""

    x: Field
    """float32[H, W]: world position."""
    y: Field
    """float32[H, W]: world position."""
    z: Field
    """float32[H, W]: world position."""
    normal: Field
    """float32[3, H, W]: unit normal of the smooth surface, into the lumen."""
    wet: Field
    """float32[3, H, W]: unit normal of the wet film, with the fine relief."""
    colour: Field
    """float32[H, W, 3]: linear reflectance."""
    openness: Field
    """float32[H, W]: how much stray light arrives."""
    gloss: Field
    """float32[H, W]: strength of the wet reflections."""
    soft: Field
    """float32[H, W]: how far light creeps around edges, 0..1."""

    def __repr__(self) -> str:
        return f"Spots({self.x.shape})"


def shade(solids: Solids, pose: Pose, rays: Field, hits: Hits) -> Field:
    """Return the linear light float32[H, W, 3] that reaches the lens, before exposure."""
    spots = _spots(solids, pose, rays, hits)
    light = np.zeros(spots.x.shape, np.float32)
    shine = np.zeros(spots.x.shape, np.float32)
    stray = np.zeros(spots.x.shape, np.float32)
    for right, down in LAMPS:
        lamp = pose.place + right * pose.axes[0] + down * pose.axes[1]
        lx, ly, lz = lamp[0] - spots.x, lamp[1] - spots.y, lamp[2] - spots.z
        square = lx * lx + ly * ly + lz * lz
        length = np.sqrt(square)
        beam = -(lx * pose.axes[2, 0] + ly * pose.axes[2, 1] + lz * pose.axes[2, 2]) / length
        cone = 0.5 * (0.35 + 0.65 * np.clip(beam, 0, 1) ** 1.3)
        power = np.exp(np.float32(-0.10) * length) * cone / (square + np.float32(0.10))
        facing = (spots.normal[0] * lx + spots.normal[1] * ly + spots.normal[2] * lz) / length
        lit = np.sqrt(np.maximum(facing, 0.0)) * np.maximum(facing, 0.3)
        light += power * (lit * (1 - spots.soft) + spots.soft)
        stray += power
        hx, hy, hz = lx / length - rays[0], ly / length - rays[1], lz / length - rays[2]
        half = spots.wet[0] * hx + spots.wet[1] * hy + spots.wet[2] * hz
        half = half / np.sqrt(hx * hx + hy * hy + hz * hz)
        shine += power * ramp(0.9918, 0.9978, half) * spots.gloss
    open_light = (light * np.clip(spots.openness, 0.35, 1.2))[..., None]
    # Light that has met the wall before comes back redder: the reflectance counts twice.
    bounced = (stray * 0.26 * spots.openness)[..., None] * spots.colour * spots.colour
    body = (open_light * spots.colour + bounced) * LAMP_COLOUR
    return as_field(body + np.float32(7.0) * shine[..., None] * LAMP_COLOUR)


def expose(light: Field, breathing: float) -> Field:
    """Return display values 0..1 of linear light, exposed for the picture's own brightness."""
    level = float(np.mean(np.minimum(light[::4, ::4].max(axis=2), 4.0))) + 1e-4
    gain = np.float32(0.74 * breathing / level**0.8)
    lit = light * gain
    peak = lit.max(axis=2, keepdims=True) + np.float32(1e-6)
    # Half by the brightest channel, which keeps the red, half by channel, which bleaches highlights.
    whole = lit * ((1.0 - np.exp(-peak)) / peak)
    linear = 0.55 * whole + 0.45 * (1.0 - np.exp(-lit))
    shown = np.power(linear, np.float32(0.48))
    return as_field(0.3 * shown + 0.7 * shown * shown * (3.0 - 2.0 * shown))


def _spots(solids: Solids, pose: Pose, rays: Field, hits: Hits) -> Spots:
    """Return the surface under every pixel, polyp and pool included."""
    wall = solids.wall
    x, y, z = (as_field(pose.place[i] + rays[i] * hits.distance) for i in range(3))
    cx, cy = wall.centre(z)
    lean_x, lean_y = wall.lean(z)
    ux, uy = as_field(x - cx), as_field(y - cy)
    rho, theta = map(as_field, cv2.cartToPolar(ux, uy))
    ux, uy = ux / rho, uy / rho
    v = z * np.float32(1.0 / PERIOD)
    v = v - np.floor(v)
    maps = _sample(wall.shade, theta, v)
    colour = _sample(wall.colour, theta, v)
    around, along = maps[..., 0] / rho, maps[..., 1]
    soiled = solids.debris.soiled(theta, z) if solids.debris is not None else None
    if soiled is not None and solids.debris is not None:
        colour, lump = _soil(colour, soiled, solids, theta, z)
        around, along = around - lump[0] / rho, along - lump[1]
    normal = _direction(-ux - uy * around, -uy + ux * around, along + ux * lean_x + uy * lean_y)
    detail = _detail(wall, theta, z)
    openness, gloss = maps[..., 2], 0.05 + 0.95 * maps[..., 3]
    if soiled is not None:
        gloss = gloss * (1.0 - 0.8 * soiled)
    colour = colour * (1.0 + 0.035 * detail[..., 2] + 0.03 * detail[..., 3])[..., None]
    if hits.box is not None and solids.seated is not None:
        _put_polyp(solids, hits, (x, y, z), normal, colour, openness, detail)
    gloss = gloss + hits.polyp * (np.float32(0.7) - gloss)
    rough = np.float32(0.085) * np.clip(1.5 / hits.distance, 0.0, 1.0)
    tx, ty = -uy, ux
    swell = _swell(wall, theta, z)
    for i, part in enumerate((swell[..., 0] * tx, swell[..., 0] * ty, swell[..., 1])):
        normal[i] += np.float32(0.048) * (1.0 - hits.polyp) * part
    wet = _direction(
        normal[0] + rough * detail[..., 0] * tx,
        normal[1] + rough * detail[..., 0] * ty,
        normal[2] + rough * detail[..., 1],
    )
    if hits.pool is not None and hits.pool.any():
        _put_pool(wall, hits.pool, x, z, lean_y, normal, wet, colour, openness, gloss)
    soft = as_field(0.24 + 0.10 * hits.polyp)
    return Spots(x, y, z, normal, wet, as_field(np.maximum(colour, 0.01)), openness, gloss, soft)


def _sample(values: Field, theta: Field, v: Field) -> Field:
    """Return a wrapped map at angles and at places along the colon given as 0..1 of the period."""
    rows, cols = values.shape[0] - 1, values.shape[1] - 1
    u = theta * np.float32(cols / TURN)
    return as_field(cv2.remap(values, u, v * np.float32(rows), cv2.INTER_LINEAR))


def _detail(wall: Wall, theta: Field, z: Field) -> Field:
    """Return the fine relief's tile over the wall."""
    size = wall.detail.shape[0] - 1
    u = theta * np.float32(DETAIL_TILES / TURN)
    v = z * np.float32(1.0 / DETAIL_LENGTH)
    u, v = (u - np.floor(u)) * np.float32(size), (v - np.floor(v)) * np.float32(size)
    return as_field(cv2.remap(wall.detail, u, v, cv2.INTER_LINEAR))


def _swell(wall: Wall, theta: Field, z: Field) -> Field:
    """Return the slopes of broad swellings: the fine tile again, three times as large."""
    size = wall.detail.shape[0] - 1
    u = theta * np.float32(DETAIL_TILES / 3 / TURN)
    v = z * np.float32(1 / 3 / DETAIL_LENGTH) + np.float32(0.37)
    u, v = (u - np.floor(u)) * np.float32(size), (v - np.floor(v)) * np.float32(size)
    return as_field(cv2.remap(wall.detail, u, v, cv2.INTER_LINEAR))


def _direction(x: Field, y: Field, z: Field) -> Field:
    """Return the unit vectors float32[3, H, W] of three components."""
    length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
    return as_field(np.stack([x / length, y / length, z / length]))


def _soil(
    colour: Field, soiled: Field, solids: Solids, theta: Field, z: Field
) -> tuple[Field, tuple[Field, Field]]:
    """Return the colour with smears and lumps, and the lumps' slopes around and along."""
    debris = solids.debris
    if debris is None:
        return colour, (np.zeros_like(z), np.zeros_like(z))
    step = np.float32(0.012)
    here = debris.height(theta, z)
    around = (debris.height(theta + step, z) - here) / step
    along = (debris.height(theta, z + step) - here) / step
    tint = np.where((here > 0.004)[..., None], STOOL, 0.5 * (STOOL + LIQUID))
    mixed = colour + soiled[..., None] * (tint - colour) * 0.92
    return as_field(mixed), (around, along)


def _put_polyp(
    solids: Solids,
    hits: Hits,
    place: tuple[Field, Field, Field],
    normal: Field,
    colour: Field,
    openness: Field,
    detail: Field,
) -> None:
    """Lay the polyp's normals, colour and contact shadow over the wall's, in place."""
    seated, box = solids.seated, hits.box
    if seated is None or box is None:
        return
    x, y, z = (axis[box] for axis in place)
    u, v, w = seated.local(x, y, z, solids.grown)
    away = seated.distance(u, v, w)
    e = np.float32(0.006)
    gu, gv, gw = (
        seated.distance(u + e * a, v + e * b, w + e * c) - away
        for a, b, c in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    )
    share = hits.polyp[box]
    length = np.sqrt(gu * gu + gv * gv + gw * gw) + np.float32(1e-9)
    gu, gv, gw = gu / length, gv / length, gw / length
    skin = _skin(solids.wall.detail, (u, v, w), (gu, gv, gw))
    gu, gv = gu + 0.07 * skin[..., 0], gv + 0.07 * skin[..., 1]
    own = (
        gu * seated.around[0] + gw * seated.inwards[0],
        gu * seated.around[1] + gw * seated.inwards[1],
        gv,
    )
    length = np.sqrt(own[0] ** 2 + own[1] ** 2 + own[2] ** 2) + np.float32(1e-6)
    for i in range(3):
        normal[i][box] += share * (own[i] / length - normal[i][box])
    body = _polyp_colour(seated.polyp.redness, skin, u, v, w, seated.polyp.kind)
    colour[box] += ramp(0.35, 0.85, share)[..., None] * (body - colour[box])
    contact = ramp(-0.02, 0.16, away) * (1.0 - share) + share
    foot = 0.72 + 0.28 * ramp(0.0, 0.12, w)
    openness[box] = openness[box] * (1 - share) * (0.55 + 0.45 * contact) + share * foot
    detail[box][..., :2] *= (1.0 - 0.4 * share)[..., None]


def _skin(tile: Field, place: tuple[Field, Field, Field], normal: tuple[Field, Field, Field]) -> Field:
    """Return the fine relief's tile laid on a solid along its three axes, mixed by the normal."""
    size = np.float32(tile.shape[0] - 1)
    out = np.zeros((*place[0].shape, 4), np.float32)
    weights = [np.square(np.square(axis)) for axis in normal]
    total = weights[0] + weights[1] + weights[2] + np.float32(1e-6)
    for i in range(3):
        a, b = place[(i + 1) % 3] * np.float32(1.7), place[(i + 2) % 3] * np.float32(1.7)
        a, b = (a - np.floor(a)) * size, (b - np.floor(b)) * size
        part = cv2.remap(tile, as_field(a), as_field(b), cv2.INTER_LINEAR)
        out += part * (weights[i] / total)[..., None]
    return out


def _polyp_colour(redness: float, skin: Field, u: Field, v: Field, w: Field, kind: str) -> Field:
    """Return the polyp's linear reflectance: a tint of its own, pits and mottling."""
    red = np.array([0.70, 0.22, 0.16], np.float32)
    pale = np.array([0.86, 0.50, 0.36], np.float32)
    mix = np.float32(0.5 + 0.5 * redness)
    body = pale + mix * (red - pale)
    pits = np.clip(1.0 - 1.4 * np.abs(skin[..., 2]), 0.0, 1.0)
    strength = 0.10 if kind == "flat" else 0.17
    tone = 1.0 - strength * (pits - 0.4) + 0.06 * skin[..., 3]
    blotch = 0.5 + 0.5 * np.sin(9 * u + 3) * np.cos(8 * v - 7 * w)
    out = body * tone[..., None]
    out = out * (1.0 - 0.14 * blotch[..., None] * np.array([0.15, 1.0, 1.0], np.float32))
    return as_field(out)


def _put_pool(
    wall: Wall,
    pool: Field,
    x: Field,
    z: Field,
    lean_y: Field,
    normal: Field,
    wet: Field,
    colour: Field,
    openness: Field,
    gloss: Field,
) -> None:
    """Lay the liquid's flat, rippled, shining surface over what lies below, in place."""
    on = pool > 0.02
    hidden = pool[..., None]
    ripple_x = 0.06 * np.sin(9 * x + 4 * z) + 0.05 * np.sin(23 * z - 5 * x) + 0.05 * np.sin(41 * x + 17 * z)
    ripple_z = 0.06 * np.cos(8 * z - 3 * x) + 0.05 * np.sin(19 * x + 7 * z) + 0.05 * np.cos(37 * z - 23 * x)
    flat = _direction(ripple_x, np.full_like(x, -1.0), ripple_z + lean_y)
    for i in range(3):
        normal[i][on] = flat[i][on]
        wet[i][on] = flat[i][on]
    murk = 0.5 + 0.5 * np.sin(4 * x + 2 * np.sin(3 * z)) * np.sin(5 * z + 2 * np.sin(4 * x))
    a, b = x / DETAIL_LENGTH, z / DETAIL_LENGTH
    size = np.float32(wall.detail.shape[0] - 1)
    flecks = cv2.remap(
        wall.detail, as_field((a - np.floor(a)) * size), as_field((b - np.floor(b)) * size), cv2.INTER_LINEAR
    )
    shore = 1.0 - np.abs(2.0 * pool - 0.9)
    froth = ramp(0.9, 2.2, 0.6 * flecks[..., 3] + 0.5 * flecks[..., 2] + 0.9 * shore)[..., None]
    tint = LIQUID * (0.35 + 0.4 * murk[..., None])
    tint = tint + 0.45 * froth * (np.array([0.62, 0.50, 0.22], np.float32) - tint)
    colour[on] = (colour + hidden * (tint - colour))[on]
    openness[on] = 1.0
    gloss[on] = 1.0
