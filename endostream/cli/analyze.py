"""`analyze`, `open` and `demo`: from a source to findings, headless or in the window.

Owns the options they share. Must not know how the work is done.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from endostream.config import Settings, read_settings
from endostream.resources import shipped, user_data

F = TypeVar("F", bound=Callable[..., Any])

SAMPLE = "phantom_colonoscopy.mp4"


def _settings_options(command: F) -> F:
    options = [
        click.option("--pack", metavar="P", help="Name or folder of a pack (default polyp)."),
        click.option("--exam", type=click.Choice(["any", "upper", "lower", "capsule"]), help="Exam context."),
        click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where networks run."),
        click.option("--engine", type=click.Choice(["auto", "torch", "openvino"]), help="What runs them."),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"])),
        click.option(
            "--profile",
            metavar="TOWER",
            help="Tower profile that masks patient text: a name, a TOML file, auto (crop) or none.",
        ),
        click.option("--deinterlace", type=click.Choice(["auto", "on", "off"]), help="Interlaced video."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _settings(config: Path | None, **values: Any) -> Settings:
    settings = Settings() if config is None else read_settings(config)
    return settings.changed(**values)


@click.command()
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--overwrite", is_flag=True, help="Replace a session that is in the folder.")
@_settings_options
@click.option(
    "--protocol", type=click.Choice(["pack", "published"]), help="published: the predecessor's way."
)
@click.option("--every", type=click.FloatRange(min=0), help="Analyse one frame in this many seconds.")
@click.option("--start", type=click.FloatRange(min=0), help="Begin at this stream time in seconds.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), help="Seconds to analyse.")
@click.option("--save-masks", is_flag=True, help="Write a mask PNG per segmented frame.")
@click.option("--save-heatmaps", is_flag=True, help="Write a class map per frame.")
@click.option("--annotated", is_flag=True, help="Write annotated.mp4.")
@click.option("--record", is_flag=True, help="Record a device or stream (recording.mkv); needs --profile.")
@click.option("--llm", metavar="URL|off", help="Local language model that may word the report.")
def analyze(
    source: str,
    out: Path,
    overwrite: bool,
    config: Path | None,
    save_masks: bool,
    save_heatmaps: bool,
    annotated: bool,
    record: bool,
    llm: str | None,
    **values: Any,
) -> int:
    """Analyse SOURCE into the folder given by --out.

    SOURCE is a video file, a picture, a folder of pictures, a device (webcam:0, /dev/video0, a card's name;
    ?size=1920x1080&rate=50 chooses a mode), a URL (rtsp:, udp:, tcp:, http:, srt:) or phantom:.
    """
    from endostream.pipeline.build import Keeping

    settings = _settings(config, **values)
    keeping = Keeping(out, overwrite, save_masks, save_heatmaps, annotated, record)
    return _run(source, settings, keeping, llm)


def _run(source: str, settings: Settings, keeping: Any, llm: str | None) -> int:
    import dataclasses

    from endostream.batch import analyse, conclude

    if llm is not None:
        settings = dataclasses.replace(settings, report=dataclasses.replace(settings.report, llm=llm))
    stops = _Stops()
    with stops:
        outcome = analyse(source, settings, keeping, say=_say, progress=_progress(), stops=stops.listen)
        for line in outcome.status.warnings:
            _say(f"warning: {line}")
        click.echo(outcome.summary())
        if settings.report.llm != "off":
            click.echo(conclude(keeping.folder, settings, stops.listen))
    click.echo(f"results: {keeping.folder}")
    return 0


def _say(line: str) -> None:
    click.echo(line, err=True)


def _progress() -> Callable[[str], None] | None:
    if not sys.stderr.isatty():
        return None
    return lambda line: click.echo(f"\r{line:<70}", nl=False, err=True)


class _Stops:
    """Ctrl-C and SIGTERM: the first finishes cleanly, the second kills."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._asked = False
        self._before: dict[int, Any] = {}

    def listen(self, stop: Callable[[], None]) -> None:
        """Call `stop` on the first signal (at once when it has come already)."""
        self._listeners.append(stop)
        if self._asked:
            stop()

    def __enter__(self) -> _Stops:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _signalled(self, number: int, _: Any) -> None:
        if self._asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked = True
        _say("\nfinishing; once more kills")
        for stop in self._listeners:
            stop()


@click.command(name="open")
@click.argument("source", required=False)
@_settings_options
def open_window(source: str | None, config: Path | None, **values: Any) -> int:
    """Open the window, with SOURCE when it is given."""
    from endostream_ui import app

    settings = _settings(config, **values)
    if not app.display_available():
        from endostream.errors import InputError

        raise InputError("no display can be opened; use: endostream analyze SOURCE --out DIR")
    return int(app.run(source, settings))


@click.command()
@_settings_options
def demo(config: Path | None, **values: Any) -> int:
    """Analyse the sample video with the shipped pack, in the window or, without a display, headless."""
    from endostream_ui import app

    from endostream.pipeline.build import Keeping

    settings = _settings(config, **values)
    sample = shipped("sample_videos", SAMPLE)
    if app.display_available():
        return int(app.run(str(sample), settings))
    _say("no display: analysing the sample video headless")
    return _run(str(sample), settings, Keeping(user_data("sessions", "demo"), True, annotated=True), None)


COMMANDS: tuple[click.Command, ...] = (open_window, analyze, demo)
