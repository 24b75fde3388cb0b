"""Where frames come from and where pictures go: files, folders, devices, streams, the phantom, video files.

Owns everything that touches a container (the only place that imports `av`). Must not know analysis,
records, packs or settings.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from endostream.capture.devices import DeviceInfo, list_devices
    from endostream.capture.encode import VideoWriter
    from endostream.capture.opening import is_live, open_source
    from endostream.capture.pacing import PacedSource, Pacer, paced
    from endostream.capture.source import Source

__all__ = [
    "DeviceInfo",
    "PacedSource",
    "Pacer",
    "Source",
    "VideoWriter",
    "is_live",
    "list_devices",
    "open_source",
    "paced",
]

_WHERE = {
    "DeviceInfo": "devices",
    "PacedSource": "pacing",
    "Pacer": "pacing",
    "Source": "source",
    "VideoWriter": "encode",
    "is_live": "opening",
    "list_devices": "devices",
    "open_source": "opening",
    "paced": "pacing",
}
"""The module behind every name; imported when asked for, so that the phantom needs no codecs."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
