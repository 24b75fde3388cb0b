"""The time line of a report as one inline SVG: score, findings, landmarks, therapy, blind time.

Owns the drawing. Must not know files or fonts beyond the page's own. Colour never speaks alone: findings are
solid bars, landmarks are diamonds, therapy is dotted, blind time is hatched.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np

from endostream.records.facts import Facts, Sighting
from endostream.records.quality import Observed
from endostream.records.report.wording import clock
from endostream.records.session import Session
from endostream.types import FloatArray
from endostream.vocabulary import in_context, term

FINDING, LANDMARK, THERAPY, BLIND = "#F5B301", "#4CC9F0", "#B388EB", "#6B7280"
BINS = 600
LEFT, WIDTH = 96.0, 890.0
CURVE_TOP, CURVE_HEIGHT, LANE = 14.0, 96.0, 26.0
LANES = ("findings", "landmarks", "therapy", "blind")
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_FIRST = CURVE_TOP + CURVE_HEIGHT + 16
HEIGHT = _FIRST + LANE * len(LANES) + 24

_PATTERNS = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="6" height="6" fill="#fff"/><rect width="2.5" height="6" fill="{BLIND}"/></pattern>'
    '<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse">'
    f'<rect width="6" height="6" fill="{THERAPY}"/><circle cx="3" cy="3" r="1.3" fill="#fff"/></pattern>'
)


def score_curve(session: Session, duration: float) -> FloatArray:
    """float32[BINS]: the highest smoothed score of a finding class per stretch of time; NaN where none was
    judged.
    """
    curve = np.full(BINS, np.nan, np.float32)
    for frame in session.frames():
        if not (frame.visible and frame.predictions):
            continue
        acting = frame.predictions[0]
        wanted = [
            float(score)
            for label, score in zip(acting.labels, acting.scores, strict=True)
            if term(label).role == "finding" and in_context(label, session.info.exam)
        ]
        if wanted:
            at = min(BINS - 1, max(0, int(frame.time / duration * BINS)))
            curve[at] = np.fmax(curve[at], max(wanted))
    return curve


def _pieces(curve: FloatArray) -> Iterable[list[tuple[float, float]]]:
    """Runs of points; a hole of more than 2 % of the time line is a gap, a smaller one is joined."""
    piece: list[tuple[float, float]] = []
    last = -1
    for at in np.flatnonzero(~np.isnan(curve)):
        if piece and at - last > BINS // 50:
            yield piece
            piece = []
        x = LEFT + (at + 0.5) / BINS * WIDTH
        piece.append((x, CURVE_TOP + CURVE_HEIGHT * (1 - float(curve[at]))))
        last = int(at)
    if piece:
        yield piece


def _curve(curve: FloatArray) -> str:
    base = CURVE_TOP + CURVE_HEIGHT
    parts = []
    for piece in _pieces(curve):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
        if len(piece) == 1:
            x, y = piece[0]
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="#8A6400"/>')
            continue
        area = f"{piece[0][0]:.1f},{base:.1f} {line} {piece[-1][0]:.1f},{base:.1f}"
        parts.append(f'<polygon points="{area}" fill="{FINDING}" fill-opacity=".22"/>')
        parts.append(f'<polyline points="{line}" class="score"/>')
    return "".join(parts)


def _grid(duration: float) -> str:
    bottom = _FIRST + LANE * len(LANES)
    parts = []
    for value in (0.0, 0.5, 1.0):
        y = CURVE_TOP + CURVE_HEIGHT * (1 - value)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 3.5:.1f}" class="end">{value:g}</text>')
    parts.append(f'<text x="0" y="{CURVE_TOP + CURVE_HEIGHT / 2 + 3.5:.1f}">score</text>')
    step = next((s for s in STEPS_S if duration / s <= 10), duration / 8)
    for number in range(int(duration / step + 1e-9) + 1):
        x = LEFT + number * step / duration * WIDTH
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{CURVE_TOP}" y2="{bottom:.1f}" class="grid"/>')
        label = clock(number * step) if step < 1 else clock(number * step)[:-2]
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15:.1f}" class="middle">{label}</text>')
    for row, name in enumerate(LANES):
        y = _FIRST + LANE * row
        parts.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{WIDTH}" height="{LANE - 6}" class="lane"/>')
        parts.append(f'<text x="0" y="{y + 14:.1f}">{name}</text>')
    return "".join(parts)


def _bar(row: int, start: float, end: float, duration: float, fill: str, title: str) -> str:
    x = LEFT + min(start, duration) / duration * WIDTH
    width = max(2.0, (min(end, duration) - min(start, duration)) / duration * WIDTH)
    x, y = min(x, LEFT + WIDTH - width), _FIRST + LANE * row + 2
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{LANE - 10}" rx="2" '
        f'fill="{fill}"><title>{escape(title)}</title></rect>'
    )


def _diamond(sighting: Sighting, duration: float) -> str:
    x = LEFT + min(sighting.peak_s, duration) / duration * WIDTH
    y = _FIRST + LANE * 1.5 - 3
    return (
        f'<path d="M{x:.1f} {y - 8:.1f}l7 8l-7 8l-7 -8z" fill="{LANDMARK}" stroke="#0B5F7A" stroke-width="1">'
        f"<title>{escape(sighting.label)} {clock(sighting.peak_s)}</title></path>"
    )


def timeline_svg(session: Session, facts: Facts, seen: Observed) -> str:
    """The time line as an `<svg>` element; empty when there is no time."""
    duration = facts.duration_s
    if facts.independent or duration <= 0:
        return ""
    marks = [
        _bar(
            0,
            f.start_s,
            duration if f.end_s is None else f.end_s,
            duration,
            FINDING,
            f"finding {f.id} {f.label}",
        )
        for f in facts.findings
    ]
    marks += [_diamond(s, duration) for s in facts.landmarks]
    marks += [_bar(2, start, end, duration, "url(#dots)", "therapy") for start, end in seen.therapy]
    marks += [_bar(3, b.start, b.end, duration, "url(#hatch)", f"blind: {b.reason}") for b in session.blind]
    curve = _curve(score_curve(session, duration))
    return (
        f'<svg viewBox="0 0 1000 {HEIGHT:.0f}" role="img" aria-label="Time line of the examination">'
        f"<defs>{_PATTERNS}</defs>{_grid(duration)}{curve}{''.join(marks)}</svg>"
    )
