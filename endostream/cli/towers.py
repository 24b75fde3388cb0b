"""`towers`: the tower profiles, and a look at one over a frame before it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from endostream.cli.tools import echo_json
from endostream.errors import InputError

if TYPE_CHECKING:
    from endostream.capture.source import Source
    from endostream.capture.towers import Fitted, Layout, TowerProfile
    from endostream.types import ImageArray

LOOK_FOR = 5.0
"""Seconds of stream time in which a frame that shows something is looked for."""


def _row(profile: TowerProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "shipped": profile.shipped,
        "audience": profile.audience,
        "resolutions": [[layout.width, layout.height] for layout in profile.layouts],
    }


def _layout_row(layout: Layout) -> dict[str, Any]:
    return {
        "resolution": [layout.width, layout.height],
        "image": list(layout.image),
        "corner": layout.corner,
        "mask": [list(mask) for mask in layout.masks],
    }


@click.group()
def towers() -> None:
    """Tower profiles: where the endoscopic picture is on the screen, and what is masked."""


@towers.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_towers(as_json: bool) -> int:
    """List the profiles that can be named."""
    from endostream.capture.towers import broken_profiles, list_profiles, profiles_folder

    profiles, broken = list_profiles(), broken_profiles()
    if as_json:
        echo_json(
            {"profiles": [_row(p) for p in profiles], "broken": broken, "folder": str(profiles_folder())}
        )
        return 0
    for profile in profiles:
        click.echo(f"{profile.name:<20} {'shipped' if profile.shipped else 'own':<8} {profile.title}")
    for line in broken:
        click.echo(f"cannot be used: {line}")
    click.echo(f"your own: TOML files in {profiles_folder()}, or any path")
    return 0


@towers.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(name: str, as_json: bool) -> int:
    """Show a profile: its boxes and what to know before trusting it."""
    from endostream.capture.towers import find_profile

    profile = find_profile(name)
    path = str(profile.path) if profile.path else None
    layouts = [_layout_row(layout) for layout in profile.layouts]
    if as_json:
        echo_json({**_row(profile), "path": path, "notes": profile.notes, "layouts": layouts})
        return 0
    click.echo(f"{profile.name}: {profile.title}")
    click.echo(f"for: {profile.audience}")
    if path:
        click.echo(f"file: {path}")
    click.echo(profile.notes)
    for layout in profile.layouts:
        masks = " ".join(str(list(mask)) for mask in layout.masks) or "none"
        size, corner = f"{layout.width}x{layout.height}", f", corners cut by {layout.corner}"
        click.echo(f"{size}: image {list(layout.image)}{corner if layout.corner else ''}, masks {masks}")
    return 0


@towers.command()
@click.argument("source")
@click.option("--profile", "name", required=True, metavar="TOWER", help="Name or TOML file of a profile.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The PNG to write.")
@click.option(
    "--start", type=click.FloatRange(min=0), default=0.0, help="Stream time of the frame in seconds."
)
def draw(source: str, name: str, out: Path, start: float) -> int:
    """Draw a profile's boxes on a frame of SOURCE, to see whether all patient text is covered.

    The frame is not masked: delete the picture after checking.
    """
    import cv2

    from endostream.capture import open_source
    from endostream.capture.towers import find_profile
    from endostream.capture.towers.drawing import drawn

    profile = find_profile(name)
    with open_source(source, start=start) as opened:
        image, fitted = _frame_and_boxes(opened, profile)
    picture = drawn(image, fitted, profile.name)
    data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}; choose another place") from error
    click.echo(f"written: {out} (not masked: delete it after checking)")
    if fitted.stretched:
        click.echo(
            f"no layout of {profile.name} has the shape of {fitted.width}x{fitted.height}: look closely"
        )
    if profile.name == "auto" and fitted.whole:
        click.echo("no picture on a dark surround was found: auto would keep the whole frame")
    return 0


def _frame_and_boxes(source: Source, profile: TowerProfile) -> tuple[ImageArray, Fitted]:
    """The first frame that shows something (else the first), and the profile over it."""
    from dataclasses import replace

    from endostream.capture.towers.drawing import shows_something
    from endostream.capture.towers.picture import PictureFinder

    first = frame = source.read()
    if first is None:
        raise InputError(f"{source.info.name} gave no frame; check it and try again")
    finder = PictureFinder(first.image.shape[1], first.image.shape[0])
    searching = profile.name == "auto"
    chosen = None
    while frame is not None and frame.time - first.time < LOOK_FOR and (chosen is None or searching):
        if frame.image.shape == first.image.shape:
            if chosen is None and shows_something(frame.image):
                chosen = frame
            finder.look(frame.image, frame.time)
        searching = searching and finder.box is None
        frame = source.read()
    image = (chosen or first).image
    fitted = profile.fit(image.shape[1], image.shape[0])
    if profile.name == "auto" and finder.box is not None:
        fitted = replace(fitted, image=finder.box)
    return image, fitted


COMMANDS: tuple[click.Command, ...] = (towers,)
