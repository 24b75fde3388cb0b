"""What a user means by a device, and how libav opens it in the mode that was asked for.

Owns SOURCE for devices: `webcam:0`, `/dev/video0`, a card's name, an identity, each with a query such as
`?size=1920x1080&rate=50&format=mjpeg`. Must not open or read them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from endostream.capture.cards import (
    INPUT_FORMATS,
    V4L2_NAMES,
    V4L2_NODES,
    DeviceInfo,
    examined,
    list_devices,
    list_v4l2,
)
from endostream.capture.modes import COMPRESSED, Choice, Wish, choose, folded, parse_query, split_query
from endostream.errors import SourceError

__all__ = [
    "DEVICE_PREFIXES",
    "INPUT_FORMATS",
    "V4L2_NAMES",
    "V4L2_NODES",
    "DeviceAddress",
    "DeviceInfo",
    "as_json",
    "as_text",
    "examined",
    "find_again",
    "find_device",
    "list_devices",
    "list_v4l2",
    "looks_like_device",
]

DEVICE_PREFIXES = ("webcam:", "/dev/video", "/dev/v4l/", "usb:", "pci:", "card:", "decklink:", "@device_")
"""Beginnings of a SOURCE that is a device whether or not it is there."""
DECKLINK_PIXELS = ("auto", "uyvy422", "yuv422p10", "argb", "bgra", "rgb10")
"""What DeckLink's input calls raw_format; other formats are its modes."""
DSHOW_BUFFER = "67108864"
"""Bytes: libav's 3 MB is less than one raw picture of 1920x1080, which would be thrown away each time."""


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """How libav opens a device."""

    file: str
    """The name libav wants."""
    format: str
    """libav's input format."""
    name: str
    """The name shown."""
    options: tuple[tuple[str, str], ...] = ()
    """libav's options for the mode."""
    identity: str = ""
    """The device itself, wherever the system counts it."""
    port: str = ""
    """Where it was plugged in."""
    query: str = ""
    """What the user asked for, as it was written."""


def looks_like_device(spec: str) -> bool:
    """True for `webcam:…`, `/dev/video…`, a number, or the name or identity of a device that is there."""
    name = split_query(spec)[0]
    if spec.startswith(DEVICE_PREFIXES) or name.isdecimal():
        return True
    return any(_is_called(d, spec) or _is_called(d, name) for d in list_devices())


def find_device(spec: str) -> DeviceAddress:
    """How to open the device that `spec` means, in the mode that it asks for.

    Raises
    ------
    SourceError
        One line: which devices there are, that several fit, which modes the device has, or what an unknown
        key was meant to be. A device is never guessed.
    """
    devices = list_devices()
    name, query = spec, ""
    if not any(_is_called(d, _bare(spec)) for d in devices):  # a name may hold what looks like a query
        name, query = split_query(spec)
    wish = parse_query(query)
    return _address(_meant(_bare(name), spec, devices), devices, wish, query)


def find_again(address: DeviceAddress) -> DeviceAddress:
    """The same device and mode under whatever node it has now; raises `SourceError` while it is gone.

    A device without a serial number that was the only one of its make when it was found is taken again on any
    port; where two of a make were there, only on its own.
    """
    devices = list_devices()
    known = [d for d in devices if address.identity in (d.identity, f"{d.identity}@{d.port}")]
    # A second one of the make came since: theirs is then `identity@port`.
    known = known or [d for d in devices if d.identity == f"{address.identity}@{address.port}"]
    if len(known) != 1:
        raise SourceError(f"{address.name} is not connected: {_there(devices)}")
    return _address(known[0], devices, parse_query(address.query), address.query)


def _bare(name: str) -> str:
    return name.removeprefix("webcam:").strip() or "0"


def _is_called(device: DeviceInfo, wanted: str) -> bool:
    """True when this is exactly the device's id, name or identity."""
    names = (device.id, device.name, device.identity, f"{device.identity}@{device.port}")
    return bool(wanted) and wanted.casefold() in (n.casefold() for n in names if n)


def _meant(wanted: str, spec: str, devices: list[DeviceInfo]) -> DeviceInfo:
    """The one device that `wanted` names."""
    path = os.path.realpath(wanted) if wanted.startswith("/") else ""  # a link of udev's
    found = [d for d in devices if _is_called(d, wanted) or (path and d.id == path)]
    if not found and wanted.isdecimal():
        found = [d for d in devices if d.id.endswith((f"/video{wanted}", f"webcam:{wanted}"))]
        if not found and sys.platform != "linux" and int(wanted) < len(devices):
            found = [devices[int(wanted)]]
    elif not found:
        part = wanted.casefold()
        found = [d for d in devices if part in d.name.casefold()]
        if not found and ":" in part:
            found = [d for d in devices if d.identity.casefold().startswith(part)]
    if len(found) > 1:
        raise SourceError(f"{wanted!r} fits {len(found)} devices; use one of {_ids(found)}")
    if not found:
        raise SourceError(f"no video device {spec!r}: {_there(devices)}; see endostream devices")
    return found[0]


def _ids(devices: Sequence[DeviceInfo]) -> str:
    return ", ".join(f"{d.id} ({d.name})" for d in devices)


def _there(devices: Sequence[DeviceInfo]) -> str:
    return f"there are {_ids(devices)}" if devices else "no video device is connected"


def _address(device: DeviceInfo, devices: list[DeviceInfo], wish: Wish, query: str) -> DeviceAddress:
    if device.trouble:
        raise SourceError(f"{device.name} ({device.id}): {device.trouble}")
    options, file = _options(device, wish), device.file or device.id
    if not device.file and device.kind == "dshow":
        file = f"video={device.name}"
    elif not device.file and device.kind == "avfoundation":
        file = f"{devices.index(device)}:none"
    identity = device.identity or device.id
    return DeviceAddress(file, device.kind, device.name, options, identity, device.port, query)


def _options(device: DeviceInfo, wish: Wish) -> tuple[tuple[str, str], ...]:
    """What libav is told so that this device gives what is wished."""
    if device.kind == "decklink":
        return _decklink_options(device, wish)
    shown = f"{device.name} ({device.id})"
    choice = choose(examined(device).modes, wish, shown)
    options = {
        "video_size": f"{choice.size[0]}x{choice.size[1]}" if choice.size else "",
        "framerate": str(choice.rate) if choice.rate else "",
        **_format_option(device.kind, choice),
        **({"rtbufsize": DSHOW_BUFFER} if device.kind == "dshow" else {}),
        **_input_option(device, wish.input),
    }
    return tuple((key, value) for key, value in options.items() if value)


def _format_option(kind: str, choice: Choice) -> dict[str, str]:
    if kind == "v4l2":
        return {"input_format": choice.format}
    # DirectShow takes the first mode of the size and rate; libav's option chooses among raw ones only.
    return {"pixel_format": "" if choice.format in COMPRESSED else choice.format}


def _input_option(device: DeviceInfo, wanted: str) -> dict[str, str]:
    """The option for a connector, given by number or (part of its) name."""
    if not wanted:
        return {}
    if device.kind == "dshow" and wanted.isdecimal():
        return {"crossbar_video_input_pin_number": wanted}
    names = [n.casefold() for n in device.inputs]
    found = [i for i, n in enumerate(names) if wanted.casefold() == n]
    found = found or [i for i, n in enumerate(names) if wanted.casefold() in n]
    if wanted.isdecimal() and int(wanted) < len(names):
        found = [int(wanted)]
    if device.kind == "v4l2" and len(found) == 1:
        return {"channel": str(found[0])}
    offers = f"it has {', '.join(device.inputs)}" if names else "leave input= out"
    raise SourceError(f"{device.name} ({device.id}) has no input {wanted!r}: {offers}")


def _decklink_options(device: DeviceInfo, wish: Wish) -> tuple[tuple[str, str], ...]:
    """DeckLink cards find the signal's mode by themselves; only what is asked for is set."""
    options: dict[str, str] = {}
    pixels = wish.format if wish.format in DECKLINK_PIXELS else ""
    mode_wish = Wish(wish.size, wish.rate, "" if pixels else wish.format)
    if not mode_wish.open:
        choice = choose(examined(device).modes, mode_wish, f"{device.name} ({device.id})")
        options["format_code"] = choice.mode.code if choice.mode else choice.format
    options |= {"raw_format": pixels, "video_input": wish.input}
    return tuple((key, value) for key, value in options.items() if value)


def as_json(devices: Sequence[DeviceInfo]) -> list[dict[str, Any]]:
    """Everything known of the devices, for a JSON document."""
    return [
        {
            "id": d.id,
            "name": d.name,
            "kind": d.kind,
            "identity": d.identity or d.id,
            "port": d.port,
            "formats": list(d.formats),
            "inputs": list(d.inputs),
            "trouble": d.trouble,
            "modes": [
                {
                    "format": m.format,
                    "width": m.width,
                    "height": m.height,
                    "rates": [round(float(r), 3) for r in m.rates],
                    "any_rate": m.any_rate,
                    "least": list(m.least) if m.least else None,
                    "step": list(m.step),
                    "code": m.code,
                }
                for m in d.modes
            ],
        }
        for d in devices
    ]


def as_text(devices: Sequence[DeviceInfo]) -> list[str]:
    """The devices as lines to read: what each is, what it offers, how it is opened."""
    lines = []
    for device in devices:
        lines.append(f"{device.id}  {device.name}")
        identity = device.identity or device.id
        told = [f"identity  {identity}"] + [f"modes     {line}" for line in folded(device.modes)]
        told += [f"inputs    {', '.join(device.inputs)}"] if device.inputs else []
        told += [f"trouble   {device.trouble}"] if device.trouble else []
        told += [f"open it   endostream open {_quoted(identity + _example(device))}"]
        lines += [f"    {line}" for line in told]
    return lines


def _example(device: DeviceInfo) -> str:
    """The query that asks for what would be chosen anyway: something to change."""
    if not device.modes or device.kind == "decklink":
        return ""
    choice = choose(device.modes, Wish(), device.name)
    return f"?{said}" if (said := str(Wish(choice.size, choice.rate, choice.format))) else ""


def _quoted(text: str) -> str:
    return f'"{text}"' if sys.platform == "win32" else "'" + text.replace("'", "'\\''") + "'"
