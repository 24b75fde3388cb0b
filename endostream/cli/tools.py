"""`devices`, `doctor`, `bench`, `phantom`: the machine and the test bed."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from endostream.errors import InputError


class LazyGroup(click.Group):
    """A group that is imported when it is used: `target` is `module:attribute`, `extra` what it needs."""

    def __init__(self, *args: Any, target: str = "", extra: str = "train", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._target, self._extra = target, extra

    def _load(self) -> click.Group:
        module, _, name = self._target.partition(":")
        try:
            group = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise self._missing(error) from error
        assert isinstance(group, click.Group)
        return group

    def _missing(self, error: ModuleNotFoundError) -> InputError:
        return InputError(f"{error.name} is missing; install it: pip install 'endostream[{self._extra}]'")

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command of the group; its own imports may miss a package as well."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in ("endostream", "endostream_ui"):
                raise
            raise self._missing(error) from error

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
    """List capture cards and webcams: what each is called, what it offers, how it is opened."""
    from endostream.capture import list_devices
    from endostream.capture.devices import as_json as as_table
    from endostream.capture.devices import as_text, examined

    found = [examined(device) for device in list_devices()]
    if as_json:
        echo_json({"devices": as_table(found)})
    elif not found:
        click.echo("no video device found; connect one, or analyse a file: endostream analyze FILE --out DIR")
    for line in () if as_json else as_text(found):
        click.echo(line)
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--llm", metavar="URL", help="Also ask for the local language model (auto: LM Studio).")
def doctor(as_json: bool, llm: str | None) -> int:
    """Check this machine: libraries, processor, packs, folders, display."""
    from endostream import doctor as health

    checks = health.examine(llm)
    if as_json:
        echo_json(health.as_json(checks))
    else:
        for line in health.as_text(checks):
            click.echo(line)
    return 1 if health.worst(checks) == "fail" else 0


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


@click.command()
@click.option("--pack", default="polyp", show_default=True, metavar="P", help="Name or folder of a pack.")
@click.option(
    "--source",
    metavar="S",
    help="A file (the sample video by default), looped; loopback[:FILE] sends it to this computer live.",
)
@click.option("--gate", type=click.Choice(["auto", "closed", "open"]), default="auto", show_default=True)
@click.option("--pace", type=click.Choice(["max", "source"]), default="max", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.5), default=20.0, show_default=True)
@click.option("--streams", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at once.")
@click.option(
    "--trace", type=click.Path(), metavar="FILE", help="What every thread does, for ui.perfetto.dev."
)
@click.option("--compare", is_flag=True, help="The same networks in plain PyTorch, in turns in the same run.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--engine", type=click.Choice(["auto", "torch", "openvino"]), default="auto")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]), default="auto")
@click.option("--floor", is_flag=True, help="The networks' arithmetic against this processor's peak instead.")
@click.option("--gpu", is_flag=True, help="Check what is demanded of a GPU instead (pack endodinov2).")
@click.option("--rig", is_flag=True, help="Live behaviour over this computer's own network instead, checked.")
@click.option("--markdown", is_flag=True, help="With --gpu: tables for docs/performance.md.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def bench(
    pack: str,
    source: str | None,
    as_json: bool,
    floor: bool,
    gpu: bool,
    rig: bool,
    markdown: bool,
    **how: Any,
) -> int:
    """Measure this machine: every stage, frame age, and against plain PyTorch."""
    say = partial(click.echo, err=True)
    code, table, lines = 0, dict[str, Any](), list[str]()
    if gpu:
        from endostream.bench import gpu as demands

        met = demands.run_gpu_bench(pack if _given("pack") else "endodinov2", seconds=how["seconds"], say=say)
        table, lines = demands.as_json(met), demands.as_markdown(met) if markdown else demands.as_text(met)
        code = 0 if met.passed else 1
    elif rig:
        from endostream.bench.rig import result as found_live
        from endostream.bench.rig.run import STEADY_S, run_rig

        live = run_rig(how["seconds"] if _given("seconds") else STEADY_S, say)
        table, lines = found_live.as_json(live), found_live.as_text(live)
        code = 0 if live.passed else 1
    elif floor:
        from endostream.bench import floor as least

        found = least.measure_floor(pack, how["precision"], say)
        table, lines = least.as_json(found), least.as_text(found)
    else:
        from endostream import bench as speed

        result = speed.run_bench(pack, source, say=say, **how)
        table, lines = speed.as_json(result), speed.as_text(result)
    if as_json:
        echo_json(table)
    for line in () if as_json else lines:
        click.echo(line)
    return code


def _given(option: str) -> bool:
    """True when the user wrote this option."""
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


COMMANDS: tuple[click.Command, ...] = (devices, doctor, bench, phantom)
