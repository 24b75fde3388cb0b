"""`packs`, `sessions`, `report`, `export`, `replay`: what is there and what can be made of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from endostream.cli.tools import echo_json
from endostream.config import Settings, read_settings
from endostream.errors import InputError
from endostream.packs import Pack, find_pack, pack_folders, read_pack, verify_pack
from endostream.resources import user_data
from endostream.sites import site_file


def _row(pack: Pack) -> dict[str, Any]:
    return {
        "name": pack.name,
        "version": pack.version,
        "title": pack.title,
        "state": "needs import" if pack.missing else "ready",
        "shipped": pack.shipped,
        "models": [{"role": m.role, "architecture": m.architecture, "file": m.file} for m in pack.models],
        "licence": pack.licence,
        "sha256": pack.sha256,
    }


@click.group()
def packs() -> None:
    """List, show, verify and import packs of weights."""


@packs.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_packs(as_json: bool) -> int:
    """List the packs that can be named."""
    rows = [_row(read_pack(folder)) for folder in pack_folders().values()]
    if as_json:
        echo_json({"packs": rows})
    for row in () if as_json else rows:
        click.echo(f"{row['name']:<16} {row['version']:<8} {row['state']:<13} {row['title']}")
    return 0


@packs.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(name: str, as_json: bool) -> int:
    """Show what a pack holds and what it is worth."""
    pack = find_pack(name)
    table = {
        **_row(pack),
        "summary": pack.summary,
        "exams": list(pack.exams),
        "labels": list(pack.classifiers[0].labels) if pack.classifiers else [],
        "unreliable": list(pack.classifiers[0].unreliable) if pack.classifiers else [],
        "gate": dataclasses.asdict(pack.gate),
        "thresholds": dataclasses.asdict(pack.thresholds),
        "site_overrides": _site(pack),
        "provenance": {m.file: dict(m.provenance) for m in pack.models},
        **pack.details,
    }
    if as_json:
        echo_json(table)
        return 0
    for key, value in table.items():
        if key != "site_overrides":
            click.echo(f"{key}: {value}")
    _tell_site(pack)
    return 0


def _site(pack: Pack) -> dict[str, Any]:
    """The site overrides of a pack as plain values: in force or not, and why."""
    site = pack.site
    if site is None:
        return {"in_force": False, "note": pack.site_note}
    return {
        "in_force": True,
        "note": "",
        "file": str(site_file(pack.name)),
        "thresholds": dict(site.thresholds),
        "labels": {label: dict(values) for label, values in site.labels.items()},
        "measured": dict(site.measured),
        "command": site.command,
    }


def _tell_site(pack: Pack) -> None:
    if pack.site is None:
        click.echo("site overrides: none in force" + (f"; {pack.site_note}" if pack.site_note else ""))
        return
    click.echo(f"site overrides: in force, from {site_file(pack.name)}")
    for where, values in (("", pack.site.thresholds), *pack.site.labels.items()):
        for key, value in values.items():
            click.echo(f"  {where + ': ' if where else ''}{key} = {value:g}")
    for key, value in pack.site.measured.items():
        click.echo(f"  measured {key}: {value}")
    click.echo(f"  by {pack.site.command}")


@packs.command()
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def verify(names: tuple[str, ...], as_json: bool) -> int:
    """Check the checksums of packs (all that are ready by default)."""
    known = [find_pack(name) for name in names] or [
        pack for folder in pack_folders().values() if not (pack := read_pack(folder)).missing
    ]
    for pack in known:
        verify_pack(pack)
        if not as_json:
            click.echo(f"{pack.name}: every file matches its checksum")
    if as_json:
        echo_json({"verified": [pack.name for pack in known]})
    return 0


@packs.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--pack", "name", required=True, metavar="P", help="The recipe that the checkpoints belong to.")
def import_checkpoints(files: tuple[Path, ...], name: str) -> int:
    """Turn published checkpoints into a verified pack."""
    from endostream.models.importing import import_pack

    pack = import_pack(list(files), name)
    for model in pack.models:
        known = (
            "published"
            if model.provenance.get("published")
            else "not the published file; kept with its checksum"
        )
        click.echo(f"{model.role}: {model.provenance.get('file')} ({known})")
    click.echo(f"pack {pack.name} is ready: {pack.folder}")
    return 0


def _session_folder(name: str) -> Path:
    for folder in (Path(name), user_data("sessions", name)):
        if folder.is_dir():
            return folder
    raise InputError(f"no session {name!r}; name a folder, or see: endostream sessions list")


@click.group()
def sessions() -> None:
    """List and show recorded sessions."""


@sessions.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_all(as_json: bool) -> int:
    """List the sessions in the user's data folder."""
    from endostream.records.library import list_sessions

    rows = list_sessions()
    if as_json:
        echo_json({"sessions": [_plain(dataclasses.asdict(row)) for row in rows]})
    elif not rows:
        click.echo(f"no sessions in {user_data('sessions')}")
    for row in () if as_json else rows:
        told = row.error or f"{row.findings} findings in {row.duration_s:.1f} s of {row.source} ({row.pack})"
        click.echo(f"{row.name:<24} {row.state:<11} {told}")
    return 0


@sessions.command(name="show")
@click.argument("session")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show_session(session: str, as_json: bool) -> int:
    """Show the facts of one session."""
    from endostream.records.export import findings_document
    from endostream.records.session import Session

    document = findings_document(Session.open(_session_folder(session)))
    if as_json:
        echo_json(document)
        return 0
    frames = document["frames"]
    click.echo(f"{document['source']}: {document['finish']}, {document['duration_s']} s")
    click.echo(f"frames: {frames['analysed']} of {frames['captured']} analysed, {frames['dropped']} dropped")
    for finding in document["findings"]:
        end = "open" if finding["end_s"] is None else f"{finding['end_s']:.1f} s"
        click.echo(
            f"{finding['label']}  {finding['start_s']:.1f} s to {end}  {finding['peak_confidence']:.2f}"
        )
    click.echo("Research use only. Not for diagnosis.")
    return 0


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


@click.command()
@click.argument("session")
@click.option(
    "--llm", metavar="URL|off", help="Local language model (auto: LM Studio on this machine), or off."
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
def report(session: str, llm: str | None, config: Path | None) -> int:
    """Write report.md and report.html of a session again."""
    from endostream.batch import conclude
    from endostream.pipeline.keeping import write_documents

    settings = Settings() if config is None else read_settings(config)
    if llm is not None:
        settings = dataclasses.replace(settings, report=dataclasses.replace(settings.report, llm=llm))
    folder = _session_folder(session)
    write_documents(folder)
    if settings.report.llm != "off":
        click.echo(conclude(folder, settings))
    click.echo(f"written: {folder / 'report.md'}, {folder / 'report.html'}")
    return 0


@click.command()
@click.argument("session")
@click.option("--format", "format_name", required=True, metavar="F", help="jsonl, json or csv.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the files (the session's by default)."
)
def export(session: str, format_name: str, out: Path | None) -> int:
    """Export a session's frames or findings."""
    from endostream.records.export import export as write_export
    from endostream.records.session import Session

    for path in write_export(Session.open(_session_folder(session)), format_name, out):
        click.echo(f"written: {path}")
    return 0


@click.command()
@click.argument("session")
@click.option(
    "--every-frame", is_flag=True, help="Every picture of the recording, not only those of the run."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the replay (SESSION/replay by default)."
)
@click.option("--overwrite", is_flag=True, help="Replace a replay that is in the folder given by --out.")
@click.option(
    "--pack", metavar="P", default="", help="Folder of the session's pack, if it has no known name."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where networks run.")
@click.option("--engine", type=click.Choice(["auto", "torch", "openvino"]), help="What runs them.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def replay(
    session: str,
    every_frame: bool,
    out: Path | None,
    overwrite: bool,
    pack: str,
    as_json: bool,
    **engine: str | None,
) -> int:
    """Analyse the recording of a live SESSION again and compare the findings.

    Takes the frames that were analysed live, the same pack, thresholds and engine. The result is a session of
    its own, with the comparison in replay.json.
    """
    from endostream.cli.analyze import _progress, _say, _Stops
    from endostream.replay import Wish, as_text
    from endostream.replay import replay as replay_session

    stops = _Stops()
    with stops:
        outcome = replay_session(
            _session_folder(session),
            out=out,
            overwrite=overwrite,
            every_frame=every_frame,
            pack=pack,
            wish=Wish(**{name: value or "" for name, value in engine.items()}),
            say=_say,
            progress=_progress(),
            stops=stops.listen,
        )
    for line in outcome.document["warnings"]:
        _say(f"warning: {line}")
    if as_json:
        echo_json(outcome.document)
        return 0
    click.echo(as_text(outcome.document))
    click.echo(f"results: {outcome.folder}")
    return 0


COMMANDS: tuple[click.Command, ...] = (packs, sessions, report, export, replay)
