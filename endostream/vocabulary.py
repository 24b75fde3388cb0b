"""The clinical vocabulary: what a class is, where it belongs, and what may be said of it.

Owns the meaning of labels. Must not know models, packs or how words are shown.
A label that is not listed is a finding of no particular organ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from endostream.types import Exam

Role = Literal["finding", "landmark", "therapy", "preparation", "background"]
Region = Literal["upper", "lower", "any"]


@dataclass(frozen=True, slots=True)
class Term:
    """What is known of a class name."""

    role: Role
    """Only the role `finding` opens findings; landmarks and therapy are tracked apart."""
    region: Region
    """Where the class belongs; an upper class cannot open a finding in a lower exam."""
    say: str
    """The sentence fragment a report may use for one sighting."""


def _terms(role: Role, region: Region, **said: str) -> dict[str, Term]:
    return {name.replace("_", "-"): Term(role, region, say) for name, say in said.items()}


TERMS: dict[str, Term] = {
    **_terms(
        "finding",
        "upper",
        barretts="appearance suggestive of Barrett's oesophagus",
        barretts_short_segment="appearance suggestive of short-segment Barrett's oesophagus",
        esophagitis_a="appearance suggestive of oesophagitis, LA grade A",
        esophagitis_b_d="appearance suggestive of oesophagitis, LA grade B to D (not separable)",
    ),
    **_terms(
        "landmark",
        "upper",
        z_line="Z-line seen",
        pylorus="pylorus seen",
        retroflex_stomach="stomach seen in retroflexion",
    ),
    **_terms(
        "landmark",
        "lower",
        cecum="caecum suggested",
        ileum="terminal ileum suggested",
        retroflex_rectum="rectum suggested in retroflexion",
    ),
    **_terms(
        "finding",
        "lower",
        hemorrhoids="haemorrhoids seen",
        polyps="polyp candidate",
        ulcerative_colitis_grade_0_1="appearance of colitis, Mayo 0 to 1",
        ulcerative_colitis_grade_1="appearance of colitis, Mayo 1",
        ulcerative_colitis_grade_1_2="appearance of colitis, Mayo 1 to 2",
        ulcerative_colitis_grade_2="appearance of colitis, Mayo 2",
        ulcerative_colitis_grade_2_3="appearance of colitis, Mayo 2 to 3",
        ulcerative_colitis_grade_3="appearance of colitis, Mayo 3",
    ),
    **_terms(
        "therapy",
        "lower",
        dyed_lifted_polyps="dyed and lifted polyp (therapy in progress)",
        dyed_resection_margins="dyed resection margins (therapy in progress)",
    ),
    **_terms(
        "preparation",
        "lower",
        bbps_0_1="inadequate preparation",
        bbps_2_3="adequate preparation",
        impacted_stool="impacted stool",
    ),
    "background": Term("background", "any", "nothing to report"),
}

UNKNOWN = Term("finding", "any", "candidate")

NOTICE = "Research use only. Not for diagnosis."
"""Said on screen, on stills, in videos, in reports."""

UNSAYABLE: tuple[str, ...] = (
    "adenoma detection rate",
    "forrest",
    "paris",
    "nice",
    "prague",
    "histology",
    "uceis",
    "bleeding",
)
"""Scales and statements that no class of ours supports: never in a report."""


def term(label: str) -> Term:
    """What is known of `label`; an unlisted label is a finding of no particular organ."""
    return TERMS.get(label, UNKNOWN)


def in_context(label: str, exam: Exam) -> bool:
    """True when `label` can occur in an exam of this kind."""
    region = term(label).region
    return exam in ("any", "capsule") or region in ("any", exam)


def marking(phi_mask: str) -> str:
    """What pictures and videos say in their metadata: the notice, and how patient text was masked."""
    return f"{NOTICE} Patient text mask: {phi_mask}."
