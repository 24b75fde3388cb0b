"""The `endostream train` commands.

Owns options and messages only; heavy imports happen inside the commands.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["train"]

Folder = click.Path(path_type=Path, file_okay=False)


@click.group()
def train() -> None:
    """Train the networks of a pack and write the pack."""
    # Both end a run with a checkpoint, also where a shell started it in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


class _Devices(click.ParamType):  # type: ignore[type-arg]
    name = "number|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        """Give a number over 0, or `auto`."""
        if value == "auto" or isinstance(value, int):
            return value  # type: ignore[no-any-return]
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number over 0 nor auto", param, ctx)
        return int(value)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--minutes", type=click.FloatRange(min=0), help="Stop after this long; --resume goes on."
        ),
        click.option("--resume", is_flag=True, help="Continue the run that lies in --out."),
        click.option(
            "--devices", type=_Devices(), help="Processes with a device each: a number, or auto. Default 1."
        ),
        click.option("--out", type=Folder, required=True, help="Run folder: checkpoints, logs, figures."),
        click.option("--data", type=Folder, required=True, help="Folder as published, or with manifest.csv."),
        click.option("--config", required=True, help="TOML file, or the name of a shipped config."),
    ):
        command = option(command)
    return command


def _packed(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--licence", help="Terms of the pack's weights; by default those of the data."),
        click.option("--pack", type=Folder, help="Write a pack into this new folder at the end."),
    ):
        command = option(command)
    return command


def _pack(run: Path, pack: Path | None, licence: str | None) -> None:
    if pack is None or not _first():
        return
    from endostream.training.packing import TERMS, write_pack

    write_pack([run], pack, licence or TERMS)
    click.echo(f"pack in {pack}: endostream analyze FILE --pack {pack}")


@train.command()
@_options
@_packed
@click.option("--init", type=Folder, help="Run folder of a segmenter to start from: a second schedule.")
def segmenter(config: str, data: Path, out: Path, pack: Path | None, licence: str | None, **how: Any) -> None:
    """Train a mask network on frames, crops and changed frames."""
    from endostream.training.runs import start

    _tell(start("segmenter", Path(config), data, out, **how))
    _pack(out, pack, licence)


@train.command()
@_options
@click.option("--init", type=Folder, help="Run folder of a segmenter to start from.")
def classifier(config: str, data: Path, out: Path, **how: Any) -> None:
    """Train the classifier of polyp against background."""
    from endostream.training.runs import start

    _tell(start("classifier", Path(config), data, out, **how))


@train.command()
@_options
@_packed
@click.option(
    "--backbone", type=click.Path(path_type=Path, dir_okay=False), help="DINOv2 checkpoint to start from."
)
@click.option("--from-scratch", is_flag=True, help="Start from random weights instead of a checkpoint.")
def labels(config: str, data: Path, out: Path, pack: Path | None, licence: str | None, **how: Any) -> None:
    """Train a frame classifier of many classes: a linear probe, or the whole network."""
    from endostream.training.published import start_labels

    _tell(start_labels(Path(config), data, out, **how))
    _pack(out, pack, licence)


@train.command()
@_options
@_packed
def unet(config: str, data: Path, out: Path, pack: Path | None, licence: str | None, **how: Any) -> None:
    """Train the published UNet by its published recipe."""
    from endostream.training.published import start_unet

    _tell(start_unet(Path(config), data, out, **how))
    _pack(out, pack, licence)


@train.command(name="pack")
@click.option(
    "--run",
    "runs",
    type=Folder,
    required=True,
    multiple=True,
    help="Run folder; twice for a classifier and a segmenter.",
)
@click.option("--pack", type=Folder, required=True, help="Folder to write; it names the pack.")
@click.option("--licence", help="Terms of the weights; by default those of the training data.")
@click.option("--title", default="", help="One line for people.")
@click.option("--version", default="0.1.0", show_default=True, help="Version of the weights.")
@click.option("--overwrite", is_flag=True, help="Replace the pack that the folder holds.")
def write(
    runs: tuple[Path, ...], pack: Path, licence: str | None, title: str, version: str, overwrite: bool
) -> None:
    """Write a pack that the app opens from one run, or from a classifier's and a segmenter's."""
    from endostream.training.packing import TERMS, write_pack

    write_pack(list(runs), pack, licence or TERMS, version, title, overwrite)
    click.echo(f"pack in {pack}: endostream analyze FILE --pack {pack}")


@train.command()
@click.option("--segmenter", "segmenter_run", type=Folder, required=True, help="Run of the segmenter.")
@click.option(
    "--classifier",
    "classifier_run",
    type=Folder,
    help="Run of the classifier; without it the segmenter's presence head is the classifier.",
)
@click.option("--data", type=Folder, required=True, help="Data folder, for calibration and figures.")
@click.option("--pack", type=Folder, required=True, help="Folder to write; it names the pack.")
@click.option(
    "--gate",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Score that lets the segmenter look.",
)
@click.option(
    "--bound",
    type=click.FloatRange(0.01, 0.99),
    default=0.25,
    show_default=True,
    help="Least presence score of the mask network itself that lets it draw.",
)
@click.option("--version", default="0.1.0", show_default=True, help="Version of the weights.")
def export(
    segmenter_run: Path,
    classifier_run: Path | None,
    data: Path,
    pack: Path,
    gate: float,
    bound: float,
    version: str,
) -> None:
    """Calibrate, measure and write a pack."""
    from endostream.training.export import export_pack

    _tell(export_pack(segmenter_run, classifier_run, data, pack, gate, bound, version))


@train.command()
@click.option("--out", type=Folder, required=True, help="Folder to fill.")
@click.option("--seeds", default="101-112", show_default=True, help="First and last seed.")
@click.option("--frames", type=click.IntRange(min=2), default=60, show_default=True, help="Frames per seed.")
def phantom(out: Path, seeds: str, frames: int) -> None:
    """Render procedural frames to train on."""
    from endostream.training.phantom import render_phantom

    first, _, last = seeds.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise click.BadParameter("give two numbers, such as 101-112", param_hint="--seeds")
    chosen = tuple(range(int(first), int(last or first) + 1))
    click.echo(f"{render_phantom(out, chosen, frames)} frames in {out}")


def _first() -> bool:
    """Tell whether this is the first of the processes of a run."""
    return not any(int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "NODE_RANK"))


def _tell(figures: dict[str, float]) -> None:
    if not _first():
        return
    for name, value in figures.items():
        click.echo(f"{name:32} {value:.4f}")
