"""Where frames come from and where pictures go: files, folders, devices, streams, the phantom, video files.

Owns everything that touches a container (the only place that imports `av`). Must not know analysis,
records, packs or settings.
"""

from endostream.capture.devices import DeviceInfo, list_devices
from endostream.capture.encode import VideoWriter
from endostream.capture.opening import open_source
from endostream.capture.pacing import PacedSource, Pacer, paced
from endostream.capture.source import Source

__all__ = [
    "DeviceInfo",
    "PacedSource",
    "Pacer",
    "Source",
    "VideoWriter",
    "list_devices",
    "open_source",
    "paced",
]
