"""Where a live source is, as libav wants to be told.

Owns the value only. Must not know how it is found or opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Address:
    """Where a live source is."""

    url: str
    """What libav opens."""
    name: str
    """What is shown: without credentials or path."""
    kind: Literal["device", "stream"]
    """What it is."""
    format: str | None = None
    """libav's input format, where it cannot be told from the URL."""
    options: tuple[tuple[str, str], ...] = ()
    """Options for the connection."""
    again: Callable[[], Address] | None = None
    """Finds the source anew before each connection: a device may have come back under another node. Raises
    `SourceError` while it is away."""
    piped: bool = False
    """True for SRT: read through another program."""
