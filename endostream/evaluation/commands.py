"""The `endostream evaluate` commands.

Owns options and messages only; heavy imports happen inside the commands.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from endostream.evaluation.results import Results

__all__ = ["evaluate"]


@click.group()
def evaluate() -> None:
    """Measure a pack, or saved predictions, against labelled data."""


def _out(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document."),
        click.option("--overwrite", is_flag=True, help="Replace what --out holds."),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Folder for results.json, the CSV tables and index.html.",
        ),
    ):
        command = option(command)
    return command


def _pack(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--precision",
            default="auto",
            show_default=True,
            type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
            help="Number format.",
        ),
        click.option(
            "--engine",
            default="auto",
            show_default=True,
            type=click.Choice(["auto", "torch", "openvino"]),
            help="Inference engine.",
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            type=click.Choice(["auto", "cpu", "cuda"]),
            help="Where the networks run.",
        ),
        click.option("--pack", default="polyp", show_default=True, help="Pack, by name or folder."),
    ):
        command = option(command)
    return command


def _video_command(clips: list[tuple[Path, Path | None]], negatives: list[Path], **given: Any) -> str:
    """The command as it can be written down: base names only."""
    words = ["endostream evaluate video"]
    for clip, truth in clips:
        words.append(f"--clip {clip.name}" + (f" --truth {truth.name}" if truth else ""))
    words += [f"--negative {clip.name}" for clip in negatives]
    for name, value in given.items():
        for one in value if isinstance(value, (tuple, list)) else [value]:
            if one is not None:
                words.append(f"--{name.replace('_', '-')} {Path(one).name if name == 'pack' else one}")
    return " ".join(words)


def _video_pairs(
    clips: tuple[Path, ...], sessions: tuple[Path, ...], truths: tuple[Path, ...]
) -> list[tuple[Path, Path | None]]:
    """Every clip, then every session, with its truth: all named, in that order, or all beside them."""
    sources = [*clips, *sessions]
    if truths and len(truths) != len(sources):
        raise click.UsageError(
            f"{len(truths)} --truth for {len(sources)} --clip and --session; give one for each, in order"
        )
    return list(zip(sources, truths or [None] * len(sources), strict=True))


@evaluate.command()
@click.option(
    "--clip", "clips", multiple=True, type=click.Path(path_type=Path), help="A labelled video; repeatable."
)
@click.option(
    "--truth",
    "truths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Its truth: a CSV (frame,mask; index,label; label,start_s,end_s) or a folder of masks, "
    "one for every --clip, then every --session. Without it: NAME.csv or NAME_truth beside it.",
)
@click.option("--truth-root", type=click.Path(path_type=Path), help="Where mask paths inside a CSV begin.")
@click.option(
    "--session",
    "sessions",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A finished session in place of a clip: no network runs; repeatable.",
)
@click.option(
    "--negative",
    "negatives",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A normal video or session, where every finding is false; repeatable.",
)
@click.option(
    "--hold-off",
    "hold_offs",
    multiple=True,
    type=click.FloatRange(min=0, max=60),
    help="Seconds; repeatable (default 0.2, 0.5, 1 and 2).",
)
@click.option(
    "--target-fp",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="False positives per minute that the advice allows.",
)
@click.option("--label", help="The class that is looked for (default: the pack's only one, or polyps).")
@click.option(
    "--save-advice",
    is_flag=True,
    help="Put the advised threshold in force for this pack at this site. The clips' base names are "
    "written down with it: they must hold no patient data.",
)
@_pack
@_out
def video(
    clips: tuple[Path, ...], truths: tuple[Path, ...], truth_root: Path | None, sessions: tuple[Path, ...],
    negatives: tuple[Path, ...], hold_offs: tuple[float, ...], target_fp: float, label: str | None,
    save_advice: bool, pack: str, device: str, engine: str, precision: str, out: Path, overwrite: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Measure a pack on labelled clips, and advise a threshold from a site's own normal clips."""
    from endostream.evaluation import page
    from endostream.evaluation import video as videos

    pairs = _video_pairs(clips, sessions, truths)
    if save_advice and not negatives:
        raise click.UsageError("--save-advice needs normal clips; give them with --negative CLIP")
    _vacant(out, overwrite)
    wanted = hold_offs or videos.HOLD_OFFS
    command = _video_command(
        pairs, list(negatives), pack=pack, label=label, hold_off=hold_offs or None, target_fp=target_fp
    ) + (" --save-advice" if save_advice else "")
    results = videos.evaluate_video(
        [videos.Clip(source, truth) for source, truth in pairs],
        [videos.Clip(source) for source in negatives],
        pack, engine=engine, device=device, precision=precision, hold_offs=wanted, target_fp=target_fp,
        label=label, truth_root=truth_root, command=command, say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    page.write_results(out, results, overwrite)
    for line in results.warnings:
        click.echo(f"warning: {line}", err=True)
    saved = videos.save(results, pack) if save_advice else None
    if as_json:
        click.echo(json.dumps(page.as_json(results), indent=2))
        return 0
    for line in videos.spoken_table(results):
        click.echo(line)
    if saved is not None:
        click.echo(f"site overrides written, in force from now on: {saved}")
    click.echo(f"results: {out / 'index.html'}")
    return 0


@evaluate.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="Its masks: a CSV (frame,mask[,sequence]) or a folder of masks. Without it: NAME.csv or NAME_truth "
    "beside it.",
)
@click.option("--truth-root", type=click.Path(path_type=Path), help="Where mask paths inside a CSV begin.")
@click.option(
    "--age",
    type=click.FloatRange(min=0, min_open=True),
    default=0.3,
    show_default=True,
    help="Seconds between the network's mask and the frame it is carried to.",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Take every N-th frame only: the same motion in larger steps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document.")
@_pack
def tracking(
    source: Path, truth: Path | None, truth_root: Path | None, age: float, every: int, as_json: bool,
    pack: str, device: str, engine: str, precision: str,
) -> int:  # fmt: skip
    """Measure what masks lose when optical flow carries them, on a clip with masks."""
    from endostream.evaluation import tracking as tracks

    found = tracks.evaluate_tracking(
        source, truth, pack, age=age, every=every, truth_root=truth_root, engine=engine, device=device,
        precision=precision, say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return 0
    for line in tracks.spoken_table(found):
        click.echo(line)
    return 0


def _data(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(min=1), help="At most so many pictures, evenly spread."),
        click.option("--group", "groups", multiple=True, help="Only this group; repeatable."),
        click.option("--source", "sources", multiple=True, help="Only this source; repeatable."),
        click.option(
            "--held-out",
            is_flag=True,
            help="Only the groups that the pack's training held out (pack.toml, [data]).",
        ),
        click.option(
            "--layout",
            default="auto",
            show_default=True,
            metavar="NAME",
            help="manifest, hyperkvasir-labelled, images-masks, cvc-clinicdb or polypgen.",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Folder with the labelled pictures.",
        ),
    ):
        command = option(command)
    return command


def _spelled() -> str:
    """The command as it was called, to be written down: base names only."""
    context = click.get_current_context()
    words = ["endostream evaluate", str(context.info_name)]
    for option in context.command.params:
        value = context.params.get(str(option.name))
        given = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if not given or option.name in ("out", "overwrite", "as_json"):
            continue
        if isinstance(value, bool):
            words.append((option.opts if value else option.secondary_opts or option.opts)[0])
            continue
        for one in value if isinstance(value, tuple) else (value,):
            bare = Path(one).name if isinstance(one, Path) or option.name == "pack" else one
            words.append(f"{option.opts[0]} {bare}")
    return " ".join(words)


def _finish(out: Path, overwrite: bool, as_json: bool, results: Results, shown: tuple[str, ...]) -> int:
    """Write the results and print the figures `shown`, with their 95 % limits where there are any."""
    from endostream.evaluation import page

    page.write_results(out, results, overwrite)
    for line in results.warnings:
        click.echo(f"warning: {line}", err=True)
    if as_json:
        click.echo(json.dumps(page.as_json(results), indent=2))
        return 0
    figures = results.figures
    width = max(map(len, shown))
    for name in shown:
        if name in figures:
            value, low, high = (figures.get(key) for key in (name, f"{name}_low", f"{name}_high"))
            limits = "" if low is None or high is None else f"  [{low:.3f}, {high:.3f}]"
            click.echo(f"{name:{width}}  " + ("not defined" if value is None else f"{value:.4f}{limits}"))
    click.echo(f"results: {out / 'index.html'}")
    return 0


def _vacant(out: Path, overwrite: bool) -> None:
    """Say so before the work when `out` holds results."""
    if (out / "results.json").exists() and not overwrite:
        raise click.UsageError(f"{out.name} already holds results; choose another --out, or add --overwrite")


@evaluate.command()
@click.option(
    "--failures",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also draw the N worst overlaps and the N largest false masks into failures.png.",
)
@click.option(
    "--crops/--no-crops",
    default=True,
    show_default=True,
    help="Cut a polyp-free square crop out of every polyp frame.",
)
@click.option(
    "--gate",
    type=click.Choice(["pack", "open"]),
    default="pack",
    show_default=True,
    help="pack: every figure without and behind the pack's gate; open: without it only.",
)
@_data
@_pack
@_out
def segmentation(
    data: Path, layout: str, held_out: bool, sources: tuple[str, ...], groups: tuple[str, ...],
    limit: int | None, gate: Literal["pack", "open"], crops: bool, failures: int | None, pack: str,
    device: str, engine: str, precision: str, out: Path, overwrite: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure a pack's masks and frame score on pictures with masks."""
    from endostream.evaluation.segmentation import evaluate_segmentation

    _vacant(out, overwrite)
    results = evaluate_segmentation(
        data, layout, pack, held_out=held_out, sources=sources, groups=groups, limit=limit, crops=crops,
        gate=gate, engine=engine, device=device, precision=precision, command=_spelled(),
        failures=out / "failures.png" if failures else None, worst=failures or 0,
        say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    masks = [name for name in results.figures if name.startswith(("dice_", "gated_dice_"))]
    by_source = [n for n in masks if not n.endswith(("_low", "_high", "_pooled"))]
    shown = ("dice", "gated_dice", *by_source, "iou", "precision", "recall", "dice_pooled",
             "false_mask_free_crops", "gated_false_mask_free_crops", "auroc_free_crops", "ece_free_crops",
             "sensitivity_open", "false_open_free_crops")  # fmt: skip
    return _finish(out, overwrite, as_json, results, shown)


@evaluate.command()
@click.option("--leave-out", multiple=True, metavar="LABEL", help="Leave this label out; repeatable.")
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="LABEL=CLASS",
    help="A label of the data and the pack's class that it means; repeatable.",
)
@_data
@_pack
@_out
def classification(
    data: Path, layout: str, held_out: bool, sources: tuple[str, ...], groups: tuple[str, ...],
    limit: int | None, pairs: tuple[str, ...], leave_out: tuple[str, ...], pack: str, device: str,
    engine: str, precision: str, out: Path, overwrite: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure a pack's frame classifier on pictures sorted by class."""
    from endostream.evaluation.classification import evaluate_classification

    labels = dict(pair.rpartition("=")[::2] for pair in pairs)
    for pair in pairs:
        if "=" not in pair.strip("="):
            raise click.UsageError(f"--map {pair!r} is not LABEL=CLASS; write for example polyp=polyps")
    _vacant(out, overwrite)
    results = evaluate_classification(
        data, layout, pack, labels=labels, leave_out=leave_out, held_out=held_out, sources=sources,
        groups=groups, limit=limit, engine=engine, device=device, precision=precision, command=_spelled(),
        say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    shown = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro",
             "map_macro", "ece", "top2_accuracy")  # fmt: skip
    return _finish(out, overwrite, as_json, results, shown)


@evaluate.command("int8")
@_data
@click.option("--pack", default="polyp", show_default=True, help="Pack, by name or folder.")
@_out
def int8_cost(
    data: Path, layout: str, held_out: bool, sources: tuple[str, ...], groups: tuple[str, ...],
    limit: int | None, pack: str, out: Path, overwrite: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure what int8 costs a pack, and offer --precision int8 where its quality holds."""
    from endostream.evaluation.int8 import evaluate_int8, spoken

    _vacant(out, overwrite)
    results = evaluate_int8(
        data, layout, pack, held_out=held_out, sources=sources, groups=groups, limit=limit,
        command=_spelled(), say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    done = _finish(out, overwrite, as_json, results, tuple(results.figures))
    for line in spoken(results, pack):
        click.echo(line, err=as_json)
    return done


@evaluate.command()
@click.option(
    "--predictions",
    "table",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV or XLSX: image_path and one column of probabilities per class.",
)
@click.option(
    "--truth",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV or XLSX: image_path and class_label, or one column of 0 and 1 per class.",
)
@_out
def predictions(table: Path, truth: Path, out: Path, overwrite: bool, as_json: bool) -> int:
    """Measure saved class probabilities by the Capsule Vision 2024 organisers' figures."""
    from endostream.evaluation.predictions import evaluate_predictions

    _vacant(out, overwrite)
    results = evaluate_predictions(table, truth, _spelled())
    return _finish(out, overwrite, as_json, results, tuple(results.figures))
