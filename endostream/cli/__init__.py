"""The command line: names, options and exit codes; the work is done below.

Owns how commands are called and how errors are told. Heavy imports happen inside the commands, so that
`--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from endostream import __version__
from endostream.cli import analyze, library, tools, towers
from endostream.errors import EndostreamError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="endostream")
def cli() -> None:
    """Endoscopy video analysis on your own machine. Research use only, not for diagnosis."""


for _command in (*analyze.COMMANDS, *tools.COMMANDS, *library.COMMANDS, *towers.COMMANDS):
    cli.add_command(_command)


@cli.group(
    name="train",
    cls=tools.LazyGroup,
    target="endostream.training.commands:train",
    help="Train networks and make packs of them.",
)
def _train() -> None:
    """Train networks and make packs of them."""


@cli.group(
    name="evaluate",
    cls=tools.LazyGroup,
    target="endostream.evaluation.commands:evaluate",
    extra="evaluate",
    help="Measure a pack, or saved predictions, against labelled data.",
)
def _evaluate() -> None:
    """Measure a pack, or saved predictions, against labelled data."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 wrong use or input, 1 failure while running."""
    try:
        result = cli.main(
            args=None if argv is None else list(argv), prog_name="endostream", standalone_mode=False
        )
        return int(result) if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as wanted:
        click.echo(wanted.format_message())
        return 2
    except click.UsageError as error:
        _complain(error.format_message())
        if error.ctx is not None:
            click.echo(f"try: {error.ctx.command_path} --help", err=True)
        return 2
    except click.ClickException as error:
        _complain(error.format_message())
        return 2
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except EndostreamError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the reader has gone; nothing may be flushed to it)
        return 0
    except Exception as error:
        if os.environ.get("ENDOSTREAM_DEBUG"):
            raise
        _complain(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
        click.echo("this is a defect: run again with ENDOSTREAM_DEBUG=1 and report what it prints", err=True)
        return 1


def _complain(message: str) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)
