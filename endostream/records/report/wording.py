"""How numbers and words of the facts are written in a report.

Owns formats and the fixed statements. Must not know files or drawing.
"""

from __future__ import annotations

from endostream.records.facts import Sighting

NOT_SAID = (
    "This report never states the adenoma detection rate, histology, size, bleeding, or a Forrest, Paris, "
    "NICE, Prague or UCEIS class: no class of this software supports them."
)
NO_FINDING = "No finding was opened. This does not say that there is nothing to see."
REVIEWS = {
    "pending": "not yet reviewed",
    "confirmed": "confirmed by a person",
    "rejected": "rejected by a person",
}
FINISHES = {
    "completed": "ran to the end",
    "stopped": "was stopped before the end",
    "failed": "failed before the end",
    None: "has not ended yet",
}
INDICATORS = {
    "insertion_time": "Insertion time",
    "withdrawal_time": "Withdrawal time",
    "effective_withdrawal_time": "Effective withdrawal time (without therapy and blind time)",
    "adequate_preparation_share": "Share of adequate preparation",
    "blind_time": "Blind time",
}
EXAMS = {
    "any": "any (no context given)",
    "upper": "upper gastrointestinal tract",
    "lower": "lower gastrointestinal tract",
    "capsule": "capsule",
}


def clock(seconds: float) -> str:
    """Stream time as `00:05.2` or `1:02:03.4`."""
    tenths = round(max(0.0, seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{text}" if hours else text


def seconds(value: float) -> str:
    """A length of time as `3.2 s`."""
    return f"{value:.1f} s"


def percent(share: float) -> str:
    """A share as `6 %`."""
    return f"{share * 100:.0f} %"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 finding`, `2 findings`."""
    return f"{number} {noun if number == 1 else (plural or noun + 's')}"


def stretch(sighting: Sighting) -> str:
    """When it was seen: `00:05.2 to 00:08.4`."""
    end = "the end of the record" if sighting.end_s is None else clock(sighting.end_s)
    return f"{clock(sighting.start_s)} to {end}"


def indicator_name(name: str) -> str:
    """The words for a quality indicator."""
    if name.startswith("still_of_"):
        return f"Still of landmark {name.removeprefix('still_of_')}"
    return INDICATORS.get(name, name)


def indicator_value(name: str, value: float | str, unit: str) -> str:
    """The figure of a quality indicator in words."""
    if isinstance(value, str):
        return value
    if unit == "share":
        return percent(value)
    return f"at {clock(value)}" if name.startswith("still_of_") else f"{clock(value)} min"
