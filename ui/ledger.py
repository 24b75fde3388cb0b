"""The findings of a run as the window knows them, with what a person said of each.

Owns the newest state of every finding and landmark. Must not know Qt, widgets or the session.
"""

from __future__ import annotations

from dataclasses import replace

from endostream.types import Finding, FindingEvent, Review

Key = tuple[int, bool]
"""Id, and whether it is a landmark: findings and landmarks are counted apart."""


def key_of(event: FindingEvent) -> Key:
    """The key of an event's finding."""
    return (event.finding.id, event.landmark)


class Ledger:
    """Findings and landmarks by key."""

    def __init__(self) -> None:
        self.findings: dict[Key, Finding] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.findings.clear()

    def take(self, event: FindingEvent) -> FindingEvent:
        """Take a change in; the event with a person's verdict kept, which the pipeline does not know."""
        key = key_of(event)
        if event.change == "removed":
            self.findings.pop(key, None)
            return event
        said = self.findings.get(key)
        finding = event.finding
        if said is not None and finding.review == "pending":
            finding = replace(finding, review=said.review, note=said.note)
        self.findings[key] = finding
        return replace(event, finding=finding)

    def review(self, key: Key, review: Review) -> FindingEvent | None:
        """Take a verdict in; the change it makes, or None for an unknown finding."""
        finding = self.findings.get(key)
        if finding is None:
            return None
        self.findings[key] = replace(finding, review=review)
        return FindingEvent("updated", self.findings[key], key[1])

    def labels_at(self, time: float, again: bool) -> tuple[str, ...]:
        """Classes of the findings seen at a stream time; an open one counts unless the stretch is seen again.

        Landmarks and what a person rejected do not count.
        """
        return tuple(
            finding.label
            for (_, landmark), finding in self.findings.items()
            if not landmark
            and finding.review != "rejected"
            and ((finding.end is None and not again) or finding.start <= time <= (finding.end or time))
        )

    @property
    def count(self) -> int:
        """Findings that are not rejected; landmarks left out."""
        return sum(1 for (_, mark), f in self.findings.items() if not mark and f.review != "rejected")
