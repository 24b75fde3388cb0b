"""The line under the picture: how old the overlay is, how far the picture is behind, what is drawn.

Owns the words. Must not know the widget.
"""

from __future__ import annotations

from dataclasses import dataclass

from endostream.types import Analysis, Frame

from .ages import STALE, SYNC_LIMIT, carried_age, freshness, spoken_age, tenths
from .outage import Outage
from .overlay_painter import OverlayPainter
from .samples import Layers


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What the view shows at the moment of painting."""

    frame: Frame | None
    """The picture."""
    analysis: Analysis | None
    """The newest analysis, whether or not it is drawn."""
    age: float | None
    """Seconds between the picture shown and the overlay's own."""
    behind: float | None
    """Seconds between the newest picture and the overlay's own."""
    stated: float | None
    """The seconds that are stated."""
    synced: bool
    """True when the picture shown is to be the overlay's own."""

    @property
    def late(self) -> bool:
        """True when what is shown is too old to pass without a word."""
        age = self.behind if self.synced else self.age
        return age is not None and age > STALE


def overlay_line(shown: Shown, layers: Layers, outage: Outage | None, now: float) -> str:
    """What is said of the overlay: never silent about a missing one."""
    if outage is not None:
        return outage.words(now) if outage.kind == "no-signal" else f"frozen: {outage.words(now)}"
    if shown.frame is None:
        return ""
    if shown.analysis is None or shown.age is None or shown.stated is None:
        return "not analysed"
    if shown.synced and shown.behind is not None and shown.behind > SYNC_LIMIT:
        return f"synced: no analysis for {spoken_age(shown.stated)}, this is the newest picture"
    if shown.synced:
        return f"synced, {spoken_age(shown.stated)} behind"
    if layers.hidden:
        return "overlays hidden"
    if freshness(shown.age) == 0:
        return f"overlay hidden, {spoken_age(max(shown.stated, 1.0))} old"
    if shown.stated > STALE:
        return f"overlay {spoken_age(shown.stated)}, fading"
    return f"overlay {spoken_age(shown.stated)}"


def legend(shown: Analysis | None, overlays: OverlayPainter) -> str:
    """What is drawn on the picture."""
    layers = overlays.layers
    if layers.hidden:
        return "bare picture"
    parts = []
    if layers.contour:
        carried = carried_age(shown)
        parts.append("contour" if carried is None else f"contour, tracked for {tenths(carried)}")
    if layers.heatmap:
        label = overlays.heat_label(shown) if shown is not None else None
        parts.append(f"heat map: {label}" if label else "heat map: nothing to show")
    return "  ·  ".join(parts) or "bare picture"
