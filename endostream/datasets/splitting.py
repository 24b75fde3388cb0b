"""Which items are held out: whole groups, by name or by a share of a source's groups.

Owns the split. It must not know files or figures.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable

from endostream.datasets.items import Item
from endostream.errors import InputError

__all__ = ["split"]


def split(
    items: Iterable[Item], groups: tuple[str, ...], share: float, sources: tuple[str, ...], seed: int
) -> tuple[list[Item], list[Item]]:
    """Give the items to train on and the items held out; no group is in both.

    Parameters
    ----------
    groups
        Groups held out by name.
    share
        Share of the groups of each of `sources` that is held out, picked by the seed.
    sources
        Sources to which `share` applies; `*` stands for all.

    Raises
    ------
    InputError
        When a group does not occur.
    """
    items = list(items)
    known = {item.group for item in items}
    for group in groups:
        if group not in known:
            near = difflib.get_close_matches(group, known, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise InputError(f"the split names group {group!r}, which the data does not have{hint}")
    held = set(groups)
    for item in items:
        if item.source in sources or "*" in sources:
            digest = hashlib.sha256(f"{seed}/{item.group}".encode()).digest()
            if int.from_bytes(digest[:8], "big") / 2**64 < share:
                held.add(item.group)
    return [item for item in items if item.group not in held], [item for item in items if item.group in held]
