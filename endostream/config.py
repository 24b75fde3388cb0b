"""Settings: one place for defaults, read from TOML, changed by the command line.

Owns the names and defaults of every knob. Must not know what they do.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from endostream.errors import InputError
from endostream.types import Deinterlace, Exam

EngineName = Literal["auto", "torch", "openvino"]
DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Protocol = Literal["pack", "published"]


@dataclass(frozen=True, slots=True)
class FindingSettings:
    """Thresholds that replace the pack's own; None keeps the pack's value. Seconds are stream time."""

    open: float | None = None
    """Smoothed score at which a finding may open."""
    close: float | None = None
    """Smoothed score under which it may close."""
    minimum_s: float | None = None
    """Hold-off in seconds."""
    merge_s: float | None = None
    """Gaps up to this many seconds do not split a finding."""


@dataclass(frozen=True, slots=True)
class VisibilitySettings:
    """When a frame counts as not judgeable; values on the 0..1 scale of the picture."""

    enabled: bool = True
    """False judges every frame."""
    minimum_s: float = 0.4
    """Blind stretches shorter than this are not written down."""
    dark: float = 0.15
    """Mean brightness of the lit picture under which it is dark."""
    bright_share: float = 0.45
    """Share of blown-out pixels over which it is overexposed."""
    sharpness: float = 0.032
    """Focus measure under which it is blurred."""
    redness: float = 0.015
    """Redness under which it is not mucosa."""


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """The report and the language model that may write its prose."""

    llm: str = "off"
    """URL of an OpenAI-compatible server, `auto` for LM Studio on this machine, or `off`."""
    model: str = ""
    """Model name to ask for; empty takes the first the server lists."""
    timeout_s: float = 60.0
    """Seconds until the template stands without the language model."""
    allow_remote: tuple[str, ...] = ()
    """Host names other than loopback to which reviewed facts may be sent."""


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """How live sources are recorded."""

    mode: Literal["auto", "encode", "lossless"] = "auto"
    """`auto` keeps the packets as they came where nothing is masked and encodes where something is."""
    before_s: float = 10.0
    """Seconds before the press that a recording starts with; 0 keeps none."""
    keep_free_gb: float = 2.0
    """Recording stops before the disk has less free than this."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every knob of an analysis."""

    pack: str = "polyp"
    """Name or folder of the pack."""
    exam: Exam = "any"
    """Exam context: which classes may open findings."""
    device: DeviceName = "auto"
    """Where the networks run."""
    engine: EngineName = "auto"
    """What runs them."""
    precision: Precision = "auto"
    """Arithmetic of the networks."""
    protocol: Protocol = "pack"
    """`published` reproduces the predecessor's sampling, smoothing and kernels."""
    smoothing_s: float = 0.561
    """Time constant of the score smoothing in seconds (0.3 per sample at 5 samples/s)."""
    every: float = 0.0
    """Analyse one frame in this many seconds of stream time; 0 analyses all."""
    start: float = 0.0
    """Stream time in seconds at which to begin."""
    duration: float | None = None
    """Seconds to analyse; None to the end."""
    heatmap: bool = True
    """Compute the class map."""
    profile: str = ""
    """Tower profile: a name, a TOML file, `auto` (crop to the picture), `none` (nothing to mask); empty is
    undecided, and nothing is recorded."""
    deinterlace: Deinterlace = "auto"
    """`auto`: pictures that say they are interlaced."""
    finding: FindingSettings = field(default_factory=FindingSettings)
    """Thresholds that replace the pack's."""
    visibility: VisibilitySettings = field(default_factory=VisibilitySettings)
    """When a frame cannot be judged."""
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    """The recording of live sources."""
    report: ReportSettings = field(default_factory=ReportSettings)
    """The report's prose."""

    def changed(self, **values: Any) -> Settings:
        """These settings with some values replaced; None leaves a value as it is."""
        given = {k: v for k, v in values.items() if v is not None}
        changed: Settings = _build(Settings, given, "command line", base=self)
        return changed

    def facts(self) -> dict[str, Any]:
        """The settings that decide the result, as plain values without paths."""
        table = dataclasses.asdict(self)
        for key in ("pack", "report", "recording", "profile"):
            table.pop(key)
        return table


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"


def _checked(value: Any, hint: Any, where: str) -> Any:
    options = get_args(hint)
    if hint is Exam or (options and all(isinstance(o, str) for o in options)):
        if value not in options:
            raise InputError(f"{where}: {value!r} is not one of {', '.join(map(str, options))}")
        return value
    allowed = options or (hint,)
    if hint == tuple[str, ...]:
        if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise InputError(f"{where}: a list of texts is expected, not {value!r}")
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join(getattr(a, "__name__", str(a)) for a in allowed)
        raise InputError(f"{where}: {names} is expected, not {value!r}")
    return value


def _build(kind: type[Any], table: Mapping[str, Any], where: str, base: Any = None) -> Any:
    hints = get_type_hints(kind)
    base = kind() if base is None else base
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise InputError(f"unknown key {key!r} in {where}; {_nearest(key, list(hints))}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if dataclasses.is_dataclass(value):
                values[key] = value
            elif isinstance(value, Mapping):
                values[key] = _build(hint, value, f"{where} [{key}]", base=getattr(base, key))  # type: ignore[arg-type]
            else:
                raise InputError(f"{where}: {key} is a table: write [{key}]")
        else:
            values[key] = _checked(value, hint, f"{where}: {key}")
    return dataclasses.replace(base, **values)


def read_settings(path: Path) -> Settings:
    """The settings written in a TOML file; keys that are not there keep their defaults.

    Raises `InputError` for a file that cannot be read, an unknown key (the nearest is named) or a wrong
    value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no config file {path}; check the path given to --config") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"config file {path} cannot be read: {error}") from error
    settings: Settings = _build(Settings, table, path.name)
    return settings
