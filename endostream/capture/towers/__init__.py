"""Tower profiles: where on the screen of a tower the endoscopic picture is, and where patient text.

Owns the profiles that are shipped (`*.toml` here), their format, their scaling to other frame sizes, and the
search for the picture where there is no profile (`auto`). Must not know sources, settings or the window.
"""

from __future__ import annotations

from endostream.capture.towers.profile import AUTO_PROFILE, NO_PROFILE, Fitted, Layout, TowerProfile
from endostream.capture.towers.reading import (
    broken_profiles,
    find_profile,
    list_profiles,
    profiles_folder,
    read_profile,
)

__all__ = [
    "AUTO_PROFILE",
    "NO_PROFILE",
    "Fitted",
    "Layout",
    "TowerProfile",
    "broken_profiles",
    "find_profile",
    "list_profiles",
    "profiles_folder",
    "read_profile",
]
