"""The words of a report: sentences that name their evidence, from the template or from a language model.

Owns what a sentence is and how prose is kept with its session. Must not know servers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endostream.errors import EndostreamError, InputError
from endostream.records.codec import plain
from endostream.records.facts import Facts, Sighting
from endostream.records.files import PROSE, write_json
from endostream.records.report.wording import (
    FINISHES,
    NO_FINDING,
    REVIEWS,
    clock,
    counted,
    percent,
    seconds,
    stretch,
)
from endostream.records.session import Session
from endostream.records.store import add_event


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence and what it rests on."""

    text: str
    """The sentence."""
    evidence: tuple[str, ...] = ()
    """Sightings it speaks of: `finding:1`, `landmark:2`."""
    reason: str | None = None
    """Why it could not be verified; such a sentence is never exported."""

    @property
    def kept(self) -> bool:
        """True when it was verified."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Prose:
    """A language model's text, sentence by sentence, and how it came about."""

    text: str
    """The verified sentences; empty when the template stands."""
    sentences: tuple[Sentence, ...]
    """Every sentence, the flagged ones included."""
    used: bool
    """True when `text` stands in the report."""
    reason: str
    """One line: what happened."""
    model: str = ""
    """The model that wrote it."""
    prompt: str = ""
    """What it was asked."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was asked."""

    @property
    def kept(self) -> tuple[Sentence, ...]:
        """The verified sentences."""
        return tuple(s for s in self.sentences if s.kept)

    @property
    def flagged(self) -> tuple[Sentence, ...]:
        """The sentences that could not be verified."""
        return tuple(s for s in self.sentences if not s.kept)


def store_prose(session: Session, prose: Prose) -> Path:
    """Keep prompt, model, settings and every sentence (flagged ones too) with the session.

    They go into `prose.json`; the audit trail gets a line when nobody is writing the session.
    """
    path = write_json(session.folder / PROSE, plain(prose))
    if not session.live:
        add_event(session.folder, "prose", {"used": prose.used, "reason": prose.reason, "model": prose.model})
    return path


def load_prose(session: Session) -> Prose | None:
    """The prose kept with the session, or None.

    Raises `InputError` when it cannot be read.
    """
    path = session.folder / PROSE
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        sentences = tuple(Sentence(s["text"], tuple(s["evidence"]), s["reason"]) for s in table["sentences"])
        return Prose(**{**table, "sentences": sentences})
    except (OSError, ValueError, KeyError, TypeError, EndostreamError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it and write the report again") from error


def _run(facts: Facts) -> str:
    frames = facts.frames
    what = f"{frames['analysed']} of {frames['captured']} frames were analysed"
    lost = [f"{frames[key]} {key}" for key in ("skipped", "dropped", "pending") if frames[key]]
    length = "" if facts.independent else f" over {clock(facts.duration_s)} min"
    losses = f" ({', '.join(lost)})" if lost else ""
    return f"{what}{length}{losses}; the analysis {FINISHES[facts.finish]}."


def _totals(facts: Facts) -> str:
    if facts.independent:
        return "The pictures are independent of each other, so that nothing is counted as a finding."
    if not facts.findings:
        return NO_FINDING
    rejected = (
        f"; {facts.rejected} more {'was' if facts.rejected == 1 else 'were'} rejected"
        if facts.rejected
        else ""
    )
    found = counted(len(facts.findings), "finding was", "findings were")
    return f"{found} opened and {counted(len(facts.landmarks), 'landmark')} documented{rejected}."


def _sighting(sighting: Sighting) -> str:
    name = f"{sighting.kind.capitalize()} {sighting.id} ({sighting.label}): {sighting.say}"
    sure = f"surest at {clock(sighting.peak_s)} with a score of {sighting.peak_confidence:.2f}"
    doubt = "; this class is unreliable" if sighting.unreliable else ""
    return f"{name}, {stretch(sighting)}, {sure}; {REVIEWS[sighting.review]}{doubt}."


def _blind(facts: Facts) -> str:
    if not facts.blind:
        return "At no time was the view recorded as impossible to judge."
    parts = ", ".join(f"{b.reason} {seconds(b.seconds)}" for b in facts.blind)
    return f"For {seconds(facts.blind_s)} ({percent(facts.blind_share)}) nothing could be judged: {parts}."


def template_sentences(facts: Facts) -> tuple[Sentence, ...]:
    """The deterministic summary of the facts."""
    sentences = [Sentence(_run(facts)), Sentence(_totals(facts))]
    sentences += [Sentence(_sighting(s), (s.evidence,)) for s in facts.sightings]
    if not facts.independent:
        sentences.append(Sentence(_blind(facts)))
    if facts.preparation:
        share, judged = percent(facts.preparation.share), facts.preparation.judged
        sentences.append(
            Sentence(
                f"Preparation was called adequate in {share} of {counted(judged, 'frame')} that speak of it."
            )
        )
    if facts.therapy_s > 0:
        sentences.append(Sentence(f"Therapy was in progress for {seconds(facts.therapy_s)}."))
    return tuple(sentences)
