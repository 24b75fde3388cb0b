"""`devices`, `doctor`, `bench`, `phantom`: the machine and the test bed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import click

from endostream.errors import InputError


class LazyGroup(click.Group):
    """A group that is imported when it is used: `target` is `module:attribute`."""

    def __init__(self, *args: Any, target: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._target = target

    def _load(self) -> click.Group:
        module, _, name = self._target.partition(":")
        try:
            group = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise InputError(f"{error.name} is missing; install it: pip install 'endostream[train]'") from error
        assert isinstance(group, click.Group)
        return group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands of the group."""
        return self._load().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command of the group."""
        return self._load().get_command(ctx, cmd_name)


def echo_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def devices(as_json: bool) -> int:
    """List capture cards and webcams."""
    import dataclasses

    from endostream.capture import list_devices

    found = list_devices()
    if as_json:
        echo_json({"devices": [dataclasses.asdict(d) for d in found]})
    elif not found:
        click.echo("no video device found; connect one, or analyse a file: endostream analyze FILE --out DIR")
    for device in () if as_json else found:
        click.echo(f"{device.id}  {device.name}")
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def doctor(as_json: bool) -> int:
    """Check this machine: libraries, processor, packs, folders, display."""
    from endostream import doctor as health

    checks = health.examine()
    if as_json:
        echo_json(health.as_json(checks))
    else:
        for check in checks:
            advice = f"  →  {check.advice}" if check.advice and check.state != "ok" else ""
            click.echo(f"{check.state:<5} {check.name:<22} {check.detail}{advice}")
    return 1 if any(check.state == "fail" for check in checks) else 0


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seconds", type=click.FloatRange(min=0.2, max=3600), default=50.0, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--size", default="1280x720", show_default=True, metavar="WxH")
@click.option("--truth", type=click.Path(path_type=Path), help="Folder for masks and intervals.")
def phantom(out: Path, seconds: float, seed: int, size: str, truth: Path | None) -> int:
    """Write a procedural colonoscopy to OUT: a test bed, never a source of accuracy claims."""
    from endostream.capture.phantom import Phantom
    from endostream.capture.phantom_source import write_phantom

    try:
        width, height = (int(v) for v in size.lower().split("x"))
    except ValueError as error:
        raise InputError(f"--size {size!r} is not WIDTHxHEIGHT; write for example 1280x720") from error
    write_phantom(out, Phantom(seed=seed, width=width, height=height, seconds=seconds), truth)
    click.echo(f"written: {out}" + (f", truth in {truth}" if truth else ""))
    return 0


COMMANDS: tuple[click.Command, ...] = (devices, doctor, phantom)
