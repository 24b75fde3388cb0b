"""Tower profiles from TOML files: read, checked, found by name.

Owns the format and the places where profiles lie. Must not know frames or sources.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from endostream.capture.source import MIN_SIDE
from endostream.capture.towers.profile import SPECIAL, Box, Layout, TowerProfile
from endostream.errors import InputError
from endostream.resources import user_config

SHIPPED = Path(__file__).resolve().parent
KEYS = ("name", "title", "audience", "notes", "layout")
LAYOUT_KEYS = ("resolution", "image", "corner", "mask")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LARGEST = 16_384
"""Longest side of a frame in pixels."""


def profiles_folder() -> Path:
    """Where a user's own profiles are looked for by name."""
    return user_config("towers")


def find_profile(name_or_path: str) -> TowerProfile:
    """The profile with this name (special, shipped, then the user's own), or in this TOML file.

    Raises `InputError` naming the nearest known name, or what is wrong with the file.
    """
    for special in SPECIAL:
        if name_or_path == special.name:
            return special
    files = {**_files(profiles_folder()), **_files(SHIPPED)}
    if name_or_path in files:
        return read_profile(files[name_or_path])
    path = Path(name_or_path).expanduser()
    if name_or_path and (path.suffix.lower() == ".toml" or path.is_file() or path.name != name_or_path):
        return read_profile(path)
    known = [*(special.name for special in SPECIAL), *files]
    near = difflib.get_close_matches(name_or_path, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}, or the path of a TOML file"
    raise InputError(f"unknown tower profile {name_or_path!r}; {hint}")


def list_profiles() -> list[TowerProfile]:
    """The special profiles, the shipped ones, and the user's own that can be read."""
    return [*SPECIAL, *(read_profile(path) for path in _files(SHIPPED).values()), *_own()[0]]


def broken_profiles() -> list[str]:
    """One line for every file among the user's own that is no profile."""
    return _own()[1]


def _own() -> tuple[list[TowerProfile], list[str]]:
    good: list[TowerProfile] = []
    bad: list[str] = []
    for path in _files(profiles_folder()).values():
        try:
            good.append(read_profile(path))
        except InputError as error:
            bad.append(str(error))
    return good, bad


def _files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_profile(path: Path) -> TowerProfile:
    """The profile in a TOML file; raises `InputError` in one line for anything that is wrong with it."""
    where = path.name
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no tower profile {path}; see: endostream towers list") from error
    except UnicodeDecodeError as error:
        raise InputError(f"tower profile {path} is not TOML: it is no UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"tower profile {path} is not TOML: {error}") from error
    except OSError as error:
        raise InputError(f"tower profile {path} cannot be read: {error.strerror}") from error
    _known(table, KEYS, where)
    shipped = path.resolve().parent == SHIPPED
    return TowerProfile(
        name=_name(table, path, shipped),
        title=_text(table, "title", where, needed=True),
        audience=_text(table, "audience", where),
        notes=_text(table, "notes", where),
        layouts=_layouts(table.get("layout"), where),
        path=path,
        shipped=shipped,
    )


def _known(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(keys)}"
            raise InputError(f"{where}: unknown key {key!r}; {hint}")


def _text(table: Mapping[str, Any], key: str, where: str, needed: bool = False) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or (needed and not value.strip()):
        raise InputError(f'{where}: {key} must be text: write {key} = "..."')
    return value.strip()


def _name(table: Mapping[str, Any], path: Path, shipped: bool) -> str:
    name = _text(table, "name", path.name, needed=True)
    if not NAME.fullmatch(name):
        raise InputError(f"{path.name}: name {name!r} may hold a-z, 0-9 and single hyphens only")
    taken = {special.name for special in SPECIAL} | (set() if shipped else set(_files(SHIPPED)))
    if name in taken:
        raise InputError(f"{path.name}: {name!r} is the name of a shipped profile; choose another name")
    if path.parent in (SHIPPED, profiles_folder()) and name != path.stem:
        raise InputError(f"{path.name}: it says name = {name!r}; call the file {name}.toml")
    return name


def _layouts(tables: Any, where: str) -> tuple[Layout, ...]:
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise InputError(f"{where}: there is no layout; write [[layout]] with resolution and image")
    layouts = tuple(_layout(t, f"{where}: layout {i}") for i, t in enumerate(tables, start=1))
    sizes = [(layout.width, layout.height) for layout in layouts]
    for width, height in sizes:
        if sizes.count((width, height)) > 1:
            raise InputError(f"{where}: two layouts are for {width}x{height}; keep one of them")
    return layouts


def _layout(table: Mapping[str, Any], where: str) -> Layout:
    _known(table, LAYOUT_KEYS, where)
    width, height = _numbers(table.get("resolution"), 2, f"{where}: resolution", "[width, height]")
    if not (MIN_SIDE <= width <= LARGEST and MIN_SIDE <= height <= LARGEST):
        raise InputError(
            f"{where}: resolution {width}x{height} is not within {MIN_SIDE} and {LARGEST} pixels"
        )
    image = _box(table.get("image"), width, height, f"{where}: image")
    sides = image[2] - image[0], image[3] - image[1]
    if min(sides) < MIN_SIDE:
        raise InputError(f"{where}: image is {sides[0]}x{sides[1]} pixels; it needs {MIN_SIDE}x{MIN_SIDE}")
    (corner,) = _numbers([table.get("corner", 0)], 1, f"{where}: corner", "a number")
    if not 0 <= corner <= min(sides) // 2:
        raise InputError(f"{where}: corner {corner} is not within 0 and {min(sides) // 2}, half of the image")
    masks = table.get("mask", [])
    if not isinstance(masks, list):
        raise InputError(f"{where}: mask must be a list of boxes: write mask = [[x0, y0, x1, y1]]")
    boxes = (_box(m, width, height, f"{where}: mask {i}") for i, m in enumerate(masks, start=1))
    return Layout(width, height, image, corner, tuple(boxes))


def _numbers(value: Any, count: int, what: str, form: str) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(type(v) is int for v in value)
    if not whole or len(value) != count:
        raise InputError(f"{what} must be {form} in whole pixels")
    return tuple(value)


def _box(value: Any, width: int, height: int, what: str) -> Box:
    x0, y0, x1, y1 = _numbers(value, 4, what, "[x0, y0, x1, y1]")
    if x0 >= x1 or y0 >= y1:
        raise InputError(f"{what} {[x0, y0, x1, y1]} is empty; write [left, top, right, bottom]")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise InputError(f"{what} {[x0, y0, x1, y1]} lies outside of {width}x{height}")
    return x0, y0, x1, y1
