"""Facts to `report.md` and `report.html`.

Owns what stands where. Must not decide what may be said: that comes from the facts and the checked prose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from endostream.records.codec import plain
from endostream.records.facts import Facts, Sighting, facts
from endostream.records.files import inside, write_text
from endostream.records.quality import observe
from endostream.records.report import wording
from endostream.records.report.pictures import embedded
from endostream.records.report.prose import Prose, Sentence, template_sentences
from endostream.records.report.timeline import timeline_svg
from endostream.records.session import Session
from endostream.vocabulary import NOTICE

Row = tuple[str, str]


def _settings(settings: Mapping[str, Any], prefix: str = "") -> list[Row]:
    rows: list[Row] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            rows += _settings(value, f"{prefix}{key}.")
        elif value is not None:
            rows.append((f"{prefix}{key}", str(plain(value))))
    return rows


def _overview(session: Session, told: Facts) -> list[Row]:
    info = session.info
    size = f"{info.source.width} × {info.source.height}" + (
        f", {info.source.fps:g} fps" if info.source.fps else ""
    )
    pack = " ".join(filter(None, (told.pack.get("name"), told.pack.get("version"))))
    rows = [
        ("Exam", wording.EXAMS[told.exam]),
        ("Picture", size),
        ("Analysed", f"{told.frames['analysed']} of {told.frames['captured']} frames"),
        ("Run", wording.FINISHES[told.finish]),
        ("Pack", pack),
        ("Patient text mask", told.phi_mask),
    ]
    if not told.independent:
        rows.insert(2, ("Length", f"{wording.clock(told.duration_s)} min"))
    return rows


def _counts(told: Facts) -> list[Row]:
    rows = [(name, str(number)) for name, number in told.frames.items()]
    return rows + [(f"dropped: {cause}", str(number)) for cause, number in told.dropped.items()]


def _terms(session: Session, told: Facts) -> list[Row]:
    pack, engine = told.pack, session.info.engine
    names = (("title", "pack"), ("licence", "licence"), ("sha256", "checksum"))
    rows = [(shown, pack[key]) for key, shown in names if pack.get(key)]
    return rows + [(key, str(value)) for key, value in sorted(engine.items())]


def _indicators(told: Facts) -> list[Row]:
    return [
        (wording.indicator_name(q.name), wording.indicator_value(q.name, q.value, q.unit))
        for q in told.quality
        if q.name != "blind_time"
    ]


def _card(session: Session, sighting: Sighting) -> dict[str, Any]:
    return {
        "kind": sighting.kind,
        "id": sighting.id,
        "label": sighting.label,
        "say": sighting.say,
        "role": sighting.role,
        "when": wording.stretch(sighting),
        "length": "" if sighting.length_s is None else wording.seconds(sighting.length_s),
        "peak": wording.clock(sighting.peak_s),
        "score": f"{sighting.peak_confidence:.2f}",
        "review": wording.REVIEWS[sighting.review],
        "unreliable": sighting.unreliable,
        "still": embedded(session.folder, sighting.still),
        "path": sighting.still if sighting.still and inside(session.folder, sighting.still) else None,
    }


def _others(session: Session, told: Facts) -> list[dict[str, Any]]:
    shown = {s.still for s in told.sightings}
    rejected = {f.still for f in (*session.findings, *session.landmarks) if f.review == "rejected"}
    return [
        {"path": s.path, "time": wording.clock(s.time), "still": embedded(session.folder, s.path)}
        for s in session.stills
        if s.kind == "manual" and s.path not in shown | rejected and inside(session.folder, s.path)
    ]


def _model_line(prose: Prose | None) -> str:
    """What the reader must know of the language model, in one line."""
    if prose is None:
        return ""
    if not prose.used:
        return f"The text is the fixed template: {prose.reason}."
    line = f"Text by a language model ({prose.model or 'unnamed'}), every sentence checked against the facts."
    lost = len(prose.flagged)
    if lost:
        were = "was" if lost == 1 else "were"
        line += f" {wording.counted(lost, 'sentence')} could not be verified and {were} left out."
    return line


def context(session: Session, prose: Prose | None) -> dict[str, Any]:
    """Everything the templates show, as texts."""
    seen = observe(session)
    told = facts(session, seen)
    used = prose is not None and prose.used
    sentences: tuple[Sentence, ...] = prose.kept if prose and used else template_sentences(told)
    return {
        "notice": NOTICE,
        "not_said": wording.NOT_SAID,
        "facts": told,
        "overview": _overview(session, told),
        "sentences": sentences,
        "model_line": _model_line(prose),
        "findings": [_card(session, s) for s in told.findings],
        "landmarks": [_card(session, s) for s in told.landmarks],
        "others": _others(session, told),
        "blind": [(b.reason, str(b.spans), wording.seconds(b.seconds)) for b in told.blind],
        "blind_total": f"{wording.seconds(told.blind_s)} ({wording.percent(told.blind_share)})",
        "spans": [(wording.clock(b.start), wording.clock(b.end), b.reason) for b in session.blind],
        "indicators": _indicators(told),
        "counts": _counts(told),
        "terms": _terms(session, told),
        "settings": _settings(session.info.settings),
        "timeline": Markup(timeline_svg(session, told, seen)),
        "no_finding": wording.NO_FINDING,
        "schema": 1,
    }


_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")


def markdown(text: object) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would act on."""
    line = " ".join(str(text).split())
    return _SPECIAL.sub(lambda m: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(m[1], f"\\{m[1]}"), line)


def _link(path: str) -> str:
    return "<" + path.replace("\\", "/").replace("<", "%3C").replace(">", "%3E").replace("\n", "%0A") + ">"


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("endostream.records.report", "."),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=markdown, link=_link, anchor=lambda evidence: evidence.replace(":", "-"))
    return environment.get_template(name)


def write_report(session: Session, *, prose: Prose | None = None) -> tuple[Path, Path]:
    """Write `report.md` and `report.html` into the session folder; their paths.

    The template's own words stand unless `prose` was used; its flagged sentences are never written.
    Raises `RunError` when the folder cannot be written.
    """
    told = context(session, prose)
    made = []
    for name in ("report.md", "report.html"):
        made.append(write_text(session.folder / name, _template(f"{name}.j2").render(told)))
    return made[0], made[1]
