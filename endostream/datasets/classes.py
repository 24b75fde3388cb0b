"""HyperKvasir's class names, whatever way a folder spells them, and CVC-ClinicDB's sequences.

Owns those two public tables. It must not know files.
"""

from __future__ import annotations

import re

from endostream.vocabulary import term

__all__ = ["HYPERKVASIR", "SEQUENCES", "class_name", "organ_of", "sequence_of"]

HYPERKVASIR = (
    "barretts",
    "barretts-short-segment",
    "bbps-0-1",
    "bbps-2-3",
    "cecum",
    "dyed-lifted-polyps",
    "dyed-resection-margins",
    "esophagitis-a",
    "esophagitis-b-d",
    "hemorrhoids",
    "ileum",
    "impacted-stool",
    "polyps",
    "pylorus",
    "retroflex-rectum",
    "retroflex-stomach",
    "ulcerative-colitis-grade-0-1",
    "ulcerative-colitis-grade-1",
    "ulcerative-colitis-grade-1-2",
    "ulcerative-colitis-grade-2",
    "ulcerative-colitis-grade-2-3",
    "ulcerative-colitis-grade-3",
    "z-line",
)
"""The 23 classes in the order of the published network's outputs."""

_SPELLINGS = {
    "barrett": "barretts",
    "barretts-esophagus": "barretts",
    "short-segment-barretts": "barretts-short-segment",
    "hemorrhoid": "hemorrhoids",
    "polyp": "polyps",
    "dyed-lifted-polyp": "dyed-lifted-polyps",
    "dyed-resection-margin": "dyed-resection-margins",
    "impacted-stools": "impacted-stool",
    "stool": "impacted-stool",
    "terminal-ileum": "ileum",
    "rectum-retroflex": "retroflex-rectum",
    "stomach-retroflex": "retroflex-stomach",
    "retroflexed-rectum": "retroflex-rectum",
    "retroflexed-stomach": "retroflex-stomach",
    "normal-cecum": "cecum",
    "normal-pylorus": "pylorus",
    "normal-z-line": "z-line",
    "zline": "z-line",
}

SEQUENCES = (
    (1, 25), (26, 50), (51, 67), (68, 78), (79, 103), (104, 126), (127, 151), (152, 177), (178, 199),
    (200, 205), (206, 227), (228, 252), (253, 277), (278, 297), (298, 317), (318, 342), (343, 363),
    (364, 383), (384, 408), (409, 428), (429, 447), (448, 466), (467, 478), (479, 503), (504, 528),
    (529, 546), (547, 571), (572, 591), (592, 612),
)  # fmt: skip
"""First and last frame of CVC-ClinicDB's 29 sequences, as its authors list them."""


def class_name(folder: str) -> str:
    """Give the class that a folder's name means; a name that is none of HyperKvasir's stays as it is.

    Capitals, spaces, underscores, British spelling, a missing `grade` and Kvasir's `normal-` are understood.
    """
    name = re.sub(r"[\s_]+", "-", folder.strip().lower()).replace("'", "").replace("’", "")
    name = name.replace("–", "-").replace("oesoph", "esoph").replace("haemorr", "hemorr")
    name = name.replace("caecum", "cecum")
    name = re.sub(r"^ulcerative-colitis-(?:grade-)?(?=\d)", "ulcerative-colitis-grade-", name)
    name = _SPELLINGS.get(name, name)
    return name if name in HYPERKVASIR else folder


def organ_of(label: str) -> str:
    """Give `other` for a class of the upper tract, else `colon`."""
    return "other" if term(label).region == "upper" else "colon"


def sequence_of(frame: int) -> int | None:
    """Give the sequence of a CVC-ClinicDB frame, both counted from 1, or None for a number that is none."""
    found = (number for number, (first, last) in enumerate(SEQUENCES, 1) if first <= frame <= last)
    return next(found, None)
