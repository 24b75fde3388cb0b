"""Cameras and capture cards: which are there, and what a user means by a device.

Owns the names of devices on this system. Must not open or read them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import av

from endostream.capture.v4l2 import describe
from endostream.errors import SourceError

INPUT_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""libav's input for video devices, per `sys.platform`."""
V4L2_NAMES = Path("/sys/class/video4linux")
V4L2_NODES = Path("/dev")


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A video device."""

    id: str
    """What to give as SOURCE."""
    name: str
    """What the maker calls it."""
    kind: str
    """`v4l2`, `avfoundation` or `dshow`."""
    formats: tuple[str, ...] = ()
    """Pixel formats it offers, as four letters each; empty where the system does not tell."""


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """How libav opens a device."""

    file: str
    """The name libav wants."""
    format: str
    """libav's input format."""
    name: str
    """The name shown."""


def list_devices() -> list[DeviceInfo]:
    """The video devices of this machine; empty where there are none."""
    kind = INPUT_FORMATS.get(sys.platform)
    if kind == "v4l2":
        return list_v4l2(V4L2_NAMES, V4L2_NODES)
    listing = getattr(av, "enumerate_input_devices", None)
    if kind is None or listing is None:
        return []
    try:
        found = [d for d in listing(kind) if not d.media_types or "video" in d.media_types]
    except (av.FFmpegError, ValueError):  # a build without this input has no devices to offer
        return []
    return [DeviceInfo(f"webcam:{i}", d.description or d.name, kind) for i, d in enumerate(found)]


def list_v4l2(names: Path, nodes: Path) -> list[DeviceInfo]:
    """The nodes `video*` that can capture, in order of number, with the names that the kernel gives."""
    found = []
    numbered = {int(p.name[5:]): p for p in nodes.glob("video*") if p.name[5:].isdecimal()}
    for _, node in sorted(numbered.items()):
        captures, formats = describe(node)
        if captures:
            label = names / node.name / "name"
            name = label.read_text(errors="replace").strip() if label.is_file() else node.name
            found.append(DeviceInfo(str(node), name, "v4l2", formats))
    return found


def looks_like_device(spec: str) -> bool:
    """True for `webcam:…`, `/dev/video…`, a number, or the name of a device that is there."""
    if spec.startswith(("webcam:", "/dev/video")) or spec.isdecimal():
        return True
    return any(spec.casefold() == d.name.casefold() for d in list_devices())


def find_device(spec: str) -> DeviceAddress:
    """How to open the device that `spec` means; raises `SourceError` naming what there is."""
    wanted = spec.removeprefix("webcam:").strip() or "0"
    devices = list_devices()
    by_name = [d for d in devices if wanted.casefold() in (d.name.casefold(), d.id.casefold())]
    if not by_name and not wanted.isdecimal():
        by_name = [d for d in devices if wanted.casefold() in d.name.casefold()]
    if len(by_name) > 1:
        raise SourceError(f"{wanted!r} fits {len(by_name)} devices; use one of {_ids(by_name)}")
    if by_name:
        return _address(by_name[0], devices)
    if wanted.isdecimal():
        node = [d for d in devices if d.id == f"/dev/video{wanted}"]
        if node:
            return _address(node[0], devices)
        if sys.platform != "linux" and int(wanted) < len(devices):
            return _address(devices[int(wanted)], devices)
    there = f"there are {_ids(devices)}" if devices else "no video device is connected"
    raise SourceError(f"no video device {spec!r}: {there}; see endostream devices")


def _ids(devices: list[DeviceInfo]) -> str:
    return ", ".join(f"{d.id} ({d.name})" for d in devices)


def _address(device: DeviceInfo, devices: list[DeviceInfo]) -> DeviceAddress:
    if device.kind == "dshow":
        return DeviceAddress(f"video={device.name}", "dshow", device.name)
    if device.kind == "avfoundation":
        return DeviceAddress(f"{devices.index(device)}:none", "avfoundation", device.name)
    return DeviceAddress(device.id, device.kind, device.name)
