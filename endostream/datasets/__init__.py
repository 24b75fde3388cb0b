"""Labelled pictures from folders as their authors publish them: open, split, read.

Owns layouts, decoding, group-aware splits and near-duplicate groups. It must not know networks, training or
figures.
"""

from __future__ import annotations

from endostream.datasets.boxes import Box, free_box, polyp_box
from endostream.datasets.duplicates import grouped, shared
from endostream.datasets.items import Dataset, Item, LabelledPicture
from endostream.datasets.layouts import LAYOUTS, open_dataset
from endostream.datasets.splitting import split

__all__ = [
    "LAYOUTS",
    "Box",
    "Dataset",
    "Item",
    "LabelledPicture",
    "free_box",
    "grouped",
    "open_dataset",
    "polyp_box",
    "shared",
    "split",
]
