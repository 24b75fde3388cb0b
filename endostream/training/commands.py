"""The `endostream train` commands.

Owns options and messages only; heavy imports happen inside the commands.
"""

from __future__ import annotations

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


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--minutes", type=click.FloatRange(min=0), help="Stop after this long; --resume goes on."
        ),
        click.option("--resume", is_flag=True, help="Continue the run that lies in --out."),
        click.option("--out", type=Folder, required=True, help="Run folder: checkpoints, logs, figures."),
        click.option("--data", type=Folder, required=True, help="Folder with manifest.csv and its pictures."),
        click.option("--config", required=True, help="TOML file, or the name of a shipped config."),
    ):
        command = option(command)
    return command


@train.command()
@_options
def segmenter(config: str, data: Path, out: Path, resume: bool, minutes: float | None) -> None:
    """Train the mask network."""
    from endostream.training.runs import start

    _tell(start("segmenter", Path(config), data, out, resume=resume, minutes=minutes))


@train.command()
@_options
@click.option("--init", type=Folder, help="Run folder of a segmenter to start from.")
def classifier(
    config: str, data: Path, out: Path, resume: bool, minutes: float | None, init: Path | None
) -> None:
    """Train the frame classifier."""
    from endostream.training.runs import start

    _tell(start("classifier", Path(config), data, out, resume=resume, minutes=minutes, init=init))


@train.command()
@click.option("--segmenter", "segmenter_run", type=Folder, required=True, help="Run of the segmenter.")
@click.option("--classifier", "classifier_run", type=Folder, required=True, help="Run of the classifier.")
@click.option("--data", type=Folder, required=True, help="Data folder, for calibration and figures.")
@click.option("--pack", type=Folder, required=True, help="Folder to write; it names the pack.")
@click.option(
    "--gate",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Score that lets the segmenter look.",
)
@click.option("--version", default="0.1.0", show_default=True, help="Version of the weights.")
def export(
    segmenter_run: Path, classifier_run: Path, data: Path, pack: Path, gate: float, version: str
) -> None:
    """Calibrate, measure and write a pack."""
    from endostream.training.export import export_pack

    _tell(export_pack(segmenter_run, classifier_run, data, pack, gate, version))


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


def _tell(figures: dict[str, float]) -> None:
    for name, value in figures.items():
        click.echo(f"{name:32} {value:.4f}")
