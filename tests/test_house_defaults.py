"""Defaults that stand on two places of one floor agree; neither may import the other."""

from __future__ import annotations

from dataclasses import asdict

from endostream.analysis.findings import Bounds
from endostream.analysis.visibility import VisibilityRules
from endostream.config import VisibilitySettings
from endostream.packs import Thresholds


def test_settings_and_rules_have_the_same_defaults() -> None:
    assert asdict(VisibilitySettings()) == asdict(VisibilityRules())
    thresholds = asdict(Thresholds())
    assert {name: thresholds[name] for name in asdict(Bounds())} == asdict(Bounds())
