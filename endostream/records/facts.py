"""What may be said of a session: the plain, deterministic facts that a report is written from.

Owns the step from a session to facts. Must not know how they are worded, drawn or sent. Findings that a
person rejected are counted but not told. No date, path or identity beyond the source's base name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from endostream.records.codec import clean, plain, rounded
from endostream.records.quality import Indicator, Observed, blind_time, indicators, observe, total
from endostream.records.session import Session
from endostream.types import Exam, Finding, Finish, Review
from endostream.vocabulary import Role, term


@dataclass(frozen=True, slots=True)
class Sighting:
    """A finding or landmark as it may be told."""

    kind: Literal["finding", "landmark"]
    """What it is."""
    id: int
    """Its id in the session."""
    label: str
    """Class name."""
    role: Role
    """What the vocabulary makes of the class."""
    say: str
    """The sentence fragment that may be used."""
    start_s: float
    """Stream time in seconds."""
    end_s: float | None
    """Stream time in seconds; None when it was still open."""
    peak_s: float
    """Stream time at which it was surest, in seconds."""
    peak_confidence: float
    """Smoothed probability at the peak."""
    still: str | None
    """Path of its still, relative to the session folder."""
    review: Review
    """What a person said of it."""
    unreliable: bool
    """True when the measured recall of the class is zero or unknown."""

    @property
    def length_s(self) -> float | None:
        """Seconds from start to end."""
        return None if self.end_s is None else self.end_s - self.start_s

    @property
    def evidence(self) -> str:
        """How a sentence refers to it: `finding:1`, `landmark:2`."""
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class BlindReason:
    """Blind time of one cause."""

    reason: str
    """Why nothing could be judged."""
    spans: int
    """Number of stretches."""
    seconds: float
    """Their length together."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Share of adequate preparation among the frames that speak of it."""

    adequate: int
    """Frames called adequate."""
    judged: int
    """Frames whose label speaks of preparation."""
    labels: Mapping[str, int]
    """Frames per label."""

    @property
    def share(self) -> float:
        """Adequate / judged."""
        return self.adequate / self.judged


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a report may tell."""

    source: str
    """Base name of the source: never sent to a language model."""
    independent: bool
    """True for a folder of pictures, which has no time line."""
    pack: Mapping[str, str]
    """name, version, sha256, and title and licence where known."""
    exam: Exam
    """Exam context."""
    finish: Finish | None
    """How the run ended."""
    interrupted: bool
    """True when the run died."""
    duration_s: float
    """Stream time that was analysed, in seconds."""
    frames: Mapping[str, int]
    """captured, analysed, dropped, skipped, pending."""
    dropped: Mapping[str, int]
    """Dropped frames by cause."""
    findings: tuple[Sighting, ...]
    """Findings that were not rejected, by start."""
    landmarks: tuple[Sighting, ...]
    """Landmarks that were not rejected, by start."""
    rejected: int
    """Findings and landmarks that a person rejected."""
    blind: tuple[BlindReason, ...]
    """Blind time, longest cause first."""
    blind_s: float
    """Seconds that could not be judged."""
    preparation: Preparation | None
    """None when no frame spoke of preparation."""
    therapy_s: float
    """Seconds of therapy in progress."""
    therapy_labels: tuple[str, ...]
    """Classes that said so."""
    quality: tuple[Indicator, ...]
    """Estimated quality indicators."""
    labels: tuple[str, ...]
    """Classes the pack knows."""
    unreliable: tuple[str, ...]
    """Classes whose measured recall is zero or unknown."""
    warnings: tuple[str, ...]
    """What could not be done."""
    phi_mask: str
    """Tower profile that masks patient text, or `none`."""

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Findings, then landmarks."""
        return self.findings + self.landmarks

    @property
    def blind_share(self) -> float:
        """Blind time as a share of the duration."""
        return min(1.0, self.blind_s / self.duration_s) if self.duration_s > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, numbers rounded to 6 digits."""
        table: dict[str, Any] = rounded(plain(self))
        table["blind_share"] = round(self.blind_share, 6)
        return table

    def for_language_model(self) -> dict[str, Any]:
        """What a language model may be sent: no source name, no checksums, no paths, no warnings."""
        table = self.to_dict()
        for key in ("source", "pack", "labels", "warnings", "phi_mask"):
            del table[key]
        for sighting in (*table["findings"], *table["landmarks"]):
            del sighting["still"]
        return table


def _sighting(found: Finding, kind: Literal["finding", "landmark"], unreliable: tuple[str, ...]) -> Sighting:
    meaning = term(found.label)
    return Sighting(
        kind=kind,
        id=found.id,
        label=clean(found.label),
        role=meaning.role,
        say=meaning.say,
        start_s=found.start,
        end_s=found.end,
        peak_s=found.peak.time,
        peak_confidence=found.peak.confidence,
        still=found.still,
        review=found.review,
        unreliable=found.label in unreliable,
    )


def _blind(session: Session) -> tuple[BlindReason, ...]:
    by_reason: dict[str, list[tuple[float, float]]] = {}
    for span in session.blind:
        by_reason.setdefault(span.reason, []).append((span.start, span.end))
    found = (BlindReason(reason, len(spans), total(spans)) for reason, spans in by_reason.items())
    return tuple(sorted(found, key=lambda b: (-b.seconds, b.reason)))


def unreliable_labels(pack: Mapping[str, str]) -> tuple[str, ...]:
    """The labels named in the pack's `unreliable`, separated by commas."""
    return tuple(sorted(name.strip() for name in pack.get("unreliable", "").split(",") if name.strip()))


def facts(session: Session, seen: Observed | None = None) -> Facts:
    """The facts of `session`; the same for the same session."""
    info, status = session.info, session.status
    seen = observe(session) if seen is None else seen
    unreliable = unreliable_labels(info.pack)
    kept = [f for f in session.findings if f.review != "rejected"]
    marks = [f for f in session.landmarks if f.review != "rejected"]
    counts = status.counts
    return Facts(
        source=info.source.name,
        independent=info.source.independent,
        pack=dict(info.pack),
        exam=info.exam,
        finish=status.finish,
        interrupted=session.interrupted,
        duration_s=status.duration,
        frames={
            "captured": counts.captured,
            "analysed": counts.analysed,
            "dropped": counts.total_dropped,
            "skipped": counts.skipped,
            "pending": counts.pending,
        },
        dropped=dict(sorted(counts.dropped.items())),
        findings=tuple(_sighting(f, "finding", unreliable) for f in kept),
        landmarks=tuple(_sighting(f, "landmark", unreliable) for f in marks),
        rejected=len(session.findings) + len(session.landmarks) - len(kept) - len(marks),
        blind=_blind(session),
        blind_s=blind_time(session.blind),
        preparation=Preparation(seen.adequate, seen.prepared, seen.preparation) if seen.prepared else None,
        therapy_s=total(seen.therapy),
        therapy_labels=seen.therapy_labels,
        quality=indicators(session, seen),
        labels=info.labels,
        unreliable=unreliable,
        warnings=status.warnings,
        phi_mask=info.phi_mask,
    )
