"""What pictures a device can give: modes, how a user asks for one, and which is taken.

Owns the query of a device's SOURCE (`?size=1920x1080&rate=50&format=mjpeg`) and the choice. Must not know
where modes come from or how a device is opened.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from endostream.errors import SourceError

KEYS = ("size", "rate", "format", "input")
"""What a query may ask for."""
OTHER_KEYS = {"framerate": "rate", "fps": "rate", "video_size": "size", "resolution": "size"}
"""What other programs call them."""
SMOOTH = Fraction(49, 2)
"""Pictures per second that examining needs: 25, with room for cameras that write it as 24.9."""
FASTEST = Fraction(61)
"""More pictures per second than this cost and show nothing: towers send 50 or 60."""
FULL_HD = (1920, 1080)
"""No mode larger than this is taken unasked: the networks see 224 to 512 pixels."""
NEAR = Fraction(2, 1000)
"""Rates this close are the same wish: 60 for a card that counts 59.94."""
COMPRESSED = ("mjpeg", "h264", "hevc", "mpeg4", "mpeg2video", "dvvideo", "vp8")
"""Formats that are decoded; all others are raw."""
COLOURLESS = ("gray", "bayer", "y8", "y16", "z16")
"""Beginnings of formats that are not a colour picture: never taken unasked."""
SAME_FORMAT = {"mjpg": "mjpeg", "jpeg": "mjpeg", "yuyv": "yuyv422", "yuy2": "yuyv422", "uyvy": "uyvy422"}
"""Names that people use for libav's."""
SHOWN_SIZES = 6
"""Sizes of one format that a line of text names."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One format and size that a device offers, or a span of sizes."""

    format: str
    """libav's name of the pixel format or codec; the system's own in lower case where libav has none; empty
    where the system does not tell."""
    width: int
    """Pixels; the largest of a span."""
    height: int
    """Pixels; the largest of a span."""
    rates: tuple[Fraction, ...] = ()
    """Pictures per second, fastest first; empty where the device does not tell."""
    least: tuple[int, int] | None = None
    """The smallest size of a span, None for a single size."""
    step: tuple[int, int] = (1, 1)
    """Pixels from one size of a span to the next."""
    any_rate: bool = False
    """True where everything between the ends of `rates` is taken too."""
    code: str = ""
    """The card's own name of the mode, where it is chosen by that (DeckLink)."""

    def has_size(self, width: int, height: int) -> bool:
        """True when this size can be asked for."""
        if self.least is None:
            return (width, height) == (self.width, self.height)
        ends = zip((width, height), self.least, (self.width, self.height), self.step, strict=True)
        return all(low <= v <= high and (v - low) % max(step, 1) == 0 for v, low, high, step in ends)

    def rate_near(self, wanted: Fraction) -> Fraction | None:
        """The rate to ask for when `wanted` is wished, None when the mode cannot give it."""
        close = [r for r in self.rates if abs(r - wanted) <= wanted * NEAR]
        if close:
            return min(close, key=lambda r: abs(r - wanted))
        if not self.rates or (self.any_rate and self.rates[-1] <= wanted <= self.rates[0]):
            return wanted
        return None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a query asks for; empty fields leave the choice open."""

    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    rate: Fraction | None = None
    """Pictures per second."""
    format: str = ""
    """libav's name of the pixel format or codec."""
    input: str = ""
    """The connector of a card that has several."""

    @property
    def open(self) -> bool:
        """True when nothing about the mode is asked for."""
        return self.size is None and self.rate is None and not self.format

    def __str__(self) -> str:
        """The wish as it is written in a query."""
        said = [f"size={self.size[0]}x{self.size[1]}"] if self.size else []
        said += [f"rate={shown_rate(self.rate)}"] if self.rate else []
        said += [f"format={self.format}"] if self.format else []
        return "&".join(said + ([f"input={self.input}"] if self.input else []))


@dataclass(frozen=True, slots=True)
class Choice:
    """What a device is asked for."""

    mode: Mode | None = None
    """The mode it was found in; None where the device does not tell its modes."""
    size: tuple[int, int] | None = None
    """Width and height; None leaves the device at the size it has."""
    rate: Fraction | None = None
    """Pictures per second; None leaves the device at the rate it has."""
    format: str = ""
    """libav's name; empty leaves it to libav."""


def split_query(spec: str) -> tuple[str, str]:
    """The device and the query of a SOURCE; a `?` without `key=value` behind it belongs to the name."""
    name, mark, query = spec.rpartition("?")
    if mark and name and (not query or all(re.match(r"\w+=", part) for part in query.split("&"))):
        return name, query
    return spec, ""


def parse_query(query: str) -> Wish:
    """What a query asks for; raises `SourceError` that names the nearest key or shows how to write it."""
    said: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in KEYS:
            near = difflib.get_close_matches(key, (*KEYS, *OTHER_KEYS), 1, 0.5)
            meant = OTHER_KEYS.get(near[0], near[0]) if near else ""
            hint = f"did you mean {meant}=?" if meant else f"use {', '.join(KEYS)}"
            raise SourceError(f"a device has no setting {key!r}: {hint}")
        if not value or key in said:
            wrong = "is given twice" if key in said else "is empty"
            raise SourceError(f"{key}= {wrong}; write for example ?size=1920x1080&rate=50&format=mjpeg")
        said[key] = value
    return Wish(
        _size(said["size"]) if "size" in said else None,
        _rate(said["rate"]) if "rate" in said else None,
        format_name(said.get("format", "")),
        said.get("input", ""),
    )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise SourceError(f"size={text} is not WIDTHxHEIGHT; write for example size=1920x1080")
    return int(found[1]), int(found[2])


def _rate(text: str) -> Fraction:
    found = re.fullmatch(r"\d{1,7}(\.\d{1,6})?|\d{1,7}/\d{1,7}", text)
    rate = Fraction(text) if found and not re.search(r"/0+$", text) else Fraction(0)
    if not 0 < rate <= 1000:
        raise SourceError(f"rate={text} is not pictures per second; write for example rate=50 or rate=59.94")
    return rate


def format_name(text: str) -> str:
    """What libav calls a format that may be written otherwise (`MJPG`, `YUY2`)."""
    text = text.strip().lower()
    return SAME_FORMAT.get(text, text)


def choose(modes: Sequence[Mode], wish: Wish, device: str) -> Choice:
    """What to ask the device for; raises `SourceError` that says what it offers when a wish is not met.

    Of what fits the wish, the first that holds: a colour picture, raw or MJPEG; no larger than 1920x1080; 25
    pictures per second; then the largest; raw rather than MJPEG (nothing is lost or decoded); the fastest up
    to 60. So MJPEG is taken where raw would be too slow. With no wish at all, a card that scales to any size
    is left at the size it has (its input's, as a rule).
    """
    if not modes:
        return Choice(None, wish.size, wish.rate, wish.format)
    fitting = [found for mode in modes if (found := _fitted(mode, wish)) is not None]
    if not fitting:
        raise SourceError(f"{device} has no mode with {wish}; it offers {offer(modes)}")
    return max(fitting, key=lambda choice: _rank(choice, wish))


def _fitted(mode: Mode, wish: Wish) -> Choice | None:
    """The mode with what the wish leaves open filled in; None when it cannot do that."""
    if wish.format and mode.format not in ("", wish.format):
        return None
    if wish.size and not mode.has_size(*wish.size):
        return None
    if wish.rate is not None:
        rate = mode.rate_near(wish.rate)
        if rate is None:
            return None
    else:
        calm = [r for r in mode.rates if r <= FASTEST]
        rate = calm[0] if calm else mode.rates[-1] if mode.rates else None
    size = wish.size or (None if mode.least is not None else (mode.width, mode.height))
    return Choice(mode, size, rate, mode.format or wish.format)


def _rank(choice: Choice, wish: Wish) -> tuple[int, bool, int, float, bool, float]:
    mode = choice.mode
    assert mode is not None
    width, height = choice.size or (mode.width, mode.height)
    fits = wish.size is not None or choice.size is None or (width <= FULL_HD[0] and height <= FULL_HD[1])
    rate = float(choice.rate or 0)
    smooth = 2 if choice.rate is not None and choice.rate >= SMOOTH else 1 if choice.rate is None else 0
    area = float(width * height if fits else -width * height)
    # Too slow in any case: then the fastest counts, and the size after it.
    before, after = (area, rate) if smooth or wish.rate is not None else (rate, area)
    return _kind(mode.format), fits, smooth, before, mode.format not in COMPRESSED, after


def _kind(name: str) -> int:
    if name.startswith(COLOURLESS):
        return 0
    return 2 if name == "mjpeg" or name not in COMPRESSED else 1


def shown_rate(rate: Fraction) -> str:
    """Pictures per second as people write them: `50`, `59.94`."""
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")


def shown_mode(mode: Mode) -> str:
    """Size and rates of a mode: `1920x1080 60 50 25`."""
    size = f"{mode.width}x{mode.height}"
    if mode.least is not None:
        size = f"{mode.least[0]}x{mode.least[1]} to {size}"
    between = " to " if mode.any_rate else " "
    return " ".join(filter(None, (size, between.join(shown_rate(r) for r in mode.rates))))


def folded(modes: Iterable[Mode], most: int = SHOWN_SIZES) -> list[str]:
    """The modes in one line per format, the largest sizes first: `mjpeg 1920x1080 60 50, 1280x720 60`."""
    formats: dict[str, list[Mode]] = {}
    for mode in modes:
        formats.setdefault(mode.format, []).append(mode)
    lines = []
    for name, found in formats.items():
        sizes = [shown_mode(m) for m in sorted(found, key=lambda m: -m.width * m.height)]
        rest = [f"{len(sizes) - most} smaller"] if len(sizes) > most else []
        lines.append(f"{name or 'any format'} {', '.join(sizes[:most] + rest)}")
    return lines


def offer(modes: Sequence[Mode]) -> str:
    """What a device offers, in one line that a message can end with."""
    lines = folded(modes, 3)
    rest = [f"{len(lines) - 3} more formats: see endostream devices"] if len(lines) > 3 else []
    return "; ".join(lines[:3] + rest)
