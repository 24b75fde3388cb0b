"""Where things lie: shipped data inside the package, the user's own folders.

Owns the one lookup for package data and the user's data, cache and config folders.
Must not know what the files mean.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP = "endostream"
_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """The path of shipped data, e.g. `shipped("weights")`; the repository's own folders in a checkout."""
    installed = _PACKAGE / "_data"
    base = installed if (installed / "weights").is_dir() else _PACKAGE.parent
    return base.joinpath(*parts)


def user_data(*parts: str) -> Path:
    """The user's data folder (imported packs, sessions); `ENDOSTREAM_DATA` moves it."""
    base = os.environ.get("ENDOSTREAM_DATA") or platformdirs.user_data_dir(APP, appauthor=False)
    return Path(base).joinpath(*parts)


def user_cache(*parts: str) -> Path:
    """The user's cache folder (compiled models); `ENDOSTREAM_CACHE` moves it."""
    base = os.environ.get("ENDOSTREAM_CACHE") or platformdirs.user_cache_dir(APP, appauthor=False)
    return Path(base).joinpath(*parts)


def user_config(*parts: str) -> Path:
    """The user's preferences folder; `ENDOSTREAM_CONFIG` moves it."""
    base = os.environ.get("ENDOSTREAM_CONFIG") or platformdirs.user_config_dir(APP, appauthor=False)
    return Path(base).joinpath(*parts)
