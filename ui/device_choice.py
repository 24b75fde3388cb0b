"""What can be chosen of a capture device, and the SOURCE that says so.

Owns the lists of sizes, rates and formats and how they are written. Must not know Qt or open anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from endostream.capture.devices import DeviceInfo
from endostream.capture.modes import Mode, shown_rate

Size = tuple[int, int]
USUAL: tuple[Size, ...] = (
    (3840, 2160), (1920, 1080), (1280, 1024), (1280, 720), (1024, 768), (720, 576), (720, 480), (640, 480),
)  # fmt: skip
"""Sizes offered of a device that takes a whole span of them."""


def identity_of(device: DeviceInfo) -> str:
    """What stays the same when the system counts its devices anew."""
    return device.identity or device.id


def fitting(modes: Iterable[Mode], size: Size | None, rate: Fraction | None, format: str) -> list[Mode]:
    """The modes that have what is chosen; None and nothing leave it open."""
    return [
        mode
        for mode in modes
        if (size is None or mode.has_size(*size))
        and (rate is None or mode.rate_near(rate) is not None)
        and (not format or mode.format == format)
    ]


def sizes(modes: Iterable[Mode]) -> list[Size]:
    """Sizes that can be asked for, largest first."""
    found: set[Size] = set()
    for mode in modes:
        found.add((mode.width, mode.height))
        found.update(size for size in USUAL if mode.has_size(*size))
    return sorted(found, key=lambda size: (-size[0] * size[1], size))


def rates(modes: Iterable[Mode]) -> list[Fraction]:
    """Rates that can be asked for, fastest first."""
    return sorted({rate for mode in modes for rate in mode.rates}, reverse=True)


def formats(modes: Iterable[Mode]) -> list[str]:
    """Formats that can be asked for, as the device lists them."""
    return list(dict.fromkeys(mode.format for mode in modes if mode.format))


def device_spec(
    device: DeviceInfo,
    size: Size | None = None,
    rate: Fraction | None = None,
    format: str = "",
    input: str = "",
) -> str:
    """The SOURCE of a device in the mode chosen, by identity: `ID?size=1920x1080&rate=50&format=mjpeg`."""
    said = [f"size={size[0]}x{size[1]}"] if size is not None else []
    said += [f"rate={shown_rate(rate)}"] if rate is not None else []
    said += [f"format={format}"] if format else []
    said += [f"input={input}"] if input else []
    return identity_of(device) + (f"?{'&'.join(said)}" if said else "")
