"""Site overrides: measured thresholds that count for the weights they were measured with, and no others."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w
from small import write_pack, write_video

from endostream.cli import main
from endostream.errors import InputError, RunError
from endostream.evaluation.advice import Advice, bounds_of, save_advice
from endostream.evaluation.video import Clip, evaluate_video, save
from endostream.packs import Pack, find_pack, read_pack, with_site
from endostream.sites import Site, read_site, site_file, write_site


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a configuration folder of its own."""
    folder = tmp_path / "config"
    monkeypatch.setenv("ENDOSTREAM_CONFIG", str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that says `polyps` with about 0.69 on every frame."""
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny", bias=0.8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "normal.mp4", 40)


def site_of(pack: Pack, **thresholds: float) -> Site:
    return Site(pack.name, pack.version, pack.sha256, thresholds, {}, {"normal_minutes": 12.5}, "a command")


def analysed(clip: Path, pack: Path, out: Path, *more: str) -> dict:  # type: ignore[type-arg]
    assert main(["analyze", str(clip), "--out", str(out), "--pack", str(pack), *more]) == 0
    return json.loads((out / "findings.json").read_text())  # type: ignore[no-any-return]


def test_what_is_written_is_read(folder: Path) -> None:
    pack = read_pack(folder)
    site = Site(
        "tiny", "1", "ab", {"open": 0.7}, {"polyps": {"close": 0.3}}, {"normal_clips": ["a.mp4"]}, "c"
    )
    assert read_site("tiny") is None and find_pack(str(folder)) == pack
    assert write_site(site) == site_file("tiny") and read_site("tiny") == site
    assert [p.name for p in site_file("tiny").parent.iterdir()] == ["tiny.toml"]


def test_overrides_change_the_thresholds_and_nothing_else(folder: Path) -> None:
    pack = read_pack(folder)
    write_site(site_of(pack, open=0.8, minimum_s=1.5))
    known = find_pack(str(folder))
    assert (known.thresholds.open, known.thresholds.minimum_s) == (0.8, 1.5)
    assert (known.thresholds.close, known.thresholds.merge_s) == (0.4, 1.0)
    assert known.site == read_site("tiny") and known.site_note == "" and known.sha256 == pack.sha256
    assert read_pack(folder) == pack


def test_a_labels_own_values_win(folder: Path) -> None:
    pack = read_pack(folder)
    write_site(Site("tiny", "1.0.0", pack.sha256, {"open": 0.8}, {"polyps": {"open": 0.9}}))
    bounds = bounds_of(find_pack(str(folder)), "polyps")
    assert (bounds.open, bounds.close, bounds.minimum_s) == (0.9, 0.4, 0.5)


HEAD = 'schema = 1\npack = "tiny"\nversion = "1"\nsha256 = "{sha}"\n'
BROKEN = {
    "no TOML": "open = ",
    "schema 2": 'schema = 2\npack = "tiny"\n',
    "'thresholds' is missing": HEAD,
    "unknown key 'opne'": HEAD + "[thresholds]\nopne = 0.7\n",
    "at most 1": HEAD + "[thresholds]\nopen = 7\n",
    "at least 0": HEAD + "[thresholds]\nminimum_s = nan\n",
    "is no table": HEAD + "[thresholds]\nlabels.polyps = 1\n",
    "close over where they open": HEAD + "[thresholds]\nopen = 0.2\n",
    "other weights": HEAD.replace("{sha}", "other") + "[thresholds]\nopen = 0.9\n",
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_file_that_does_not_fit_is_one_line_and_the_packs_own_thresholds(folder: Path, said: str) -> None:
    pack = read_pack(folder)
    file = site_file("tiny")
    file.parent.mkdir(parents=True)
    file.write_text(BROKEN[said].replace("{sha}", pack.sha256))
    known = find_pack(str(folder))
    assert known.thresholds == pack.thresholds and known.site is None
    assert known.site_note.startswith("site overrides sites/tiny.toml") and "\n" not in known.site_note
    assert said == "no TOML" or said in known.site_note
    assert str(file.parent) not in known.site_note


def test_a_file_that_is_no_text(folder: Path) -> None:
    site_file("tiny").parent.mkdir(parents=True)
    site_file("tiny").write_bytes(b"\xff\xfe\x00")
    assert "cannot be used" in find_pack(str(folder)).site_note


def test_the_app_obeys_says_so_and_config_beats_it(
    folder: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = analysed(clip, folder, tmp_path / "plain")
    assert len(plain["findings"]) == 1 and plain["settings"]["site_overrides"] is False
    write_site(site_of(read_pack(folder), open=0.8))
    quiet = analysed(clip, folder, tmp_path / "quiet")
    assert quiet["findings"] == [] and quiet["warnings"] == []
    assert quiet["settings"]["site_overrides"] is True and quiet["settings"]["finding"]["open"] == 0.8
    config = tmp_path / "config.toml"
    config.write_text("[finding]\nopen = 0.5\n")
    beaten = analysed(clip, folder, tmp_path / "beaten", "--config", str(config))
    assert len(beaten["findings"]) == 1 and beaten["settings"]["finding"]["open"] == 0.5
    capsys.readouterr()
    site_file("tiny").write_text("open = ")
    warned = analysed(clip, folder, tmp_path / "warned")
    assert warned["findings"] == plain["findings"] and warned["settings"] == plain["settings"]
    assert len(warned["warnings"]) == 1 and "sites/tiny.toml cannot be used" in warned["warnings"][0]
    assert capsys.readouterr().err.count("warning: site overrides") == 1


def test_packs_show_lists_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> str:
        assert main(["packs", "show", str(folder)]) == 0
        return capsys.readouterr().out

    assert "site overrides: none in force\n" in shown()
    write_site(site_of(read_pack(folder), open=0.85))
    told = shown()
    assert f"site overrides: in force, from {site_file('tiny')}" in told
    assert "  open = 0.85" in told and "measured normal_minutes: 12.5" in told and "by a command" in told
    assert main(["packs", "show", str(folder), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["site_overrides"]["in_force"] is True and table["thresholds"]["open"] == 0.85
    site_file("tiny").write_text("")
    assert "site overrides: none in force; site overrides sites/tiny.toml cannot be used" in shown()


def advice_of(open_at: float | None) -> Advice:
    return Advice("polyps", 0.5, 0.5, 12.0, open_at, 0.3)


def test_advice_keeps_what_the_site_had_set(folder: Path) -> None:
    write_site(site_of(read_pack(folder), open=0.9, minimum_s=1.0))
    save_advice(find_pack(str(folder)), advice_of(0.75), {}, "again")
    site = read_site("tiny")
    assert site is not None and site.command == "again"
    assert site.thresholds == {"open": 0.75, "close": 0.3, "minimum_s": 1.0} and site.labels == {}


def test_advice_of_a_pack_with_many_classes_is_for_one_of_them(folder: Path, tmp_path: Path) -> None:
    table = tomllib.loads((folder / "pack.toml").read_text())
    table["name"] = "many"
    table["model"][0]["labels"] = ["cecum", "polyps"]
    table["model"][0]["background"] = []
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "pack.toml").write_text(tomli_w.dumps(table))
    pack = read_pack(tmp_path / "many")
    save_advice(pack, advice_of(0.75), {}, "")
    known = with_site(pack)
    assert known.thresholds.open == pack.thresholds.open
    assert bounds_of(known, "polyps").open == 0.75 and bounds_of(known, "cecum").open == 0.6


def test_no_advice_is_not_saved(folder: Path) -> None:
    with pytest.raises(RunError, match="no advice to save"):
        save_advice(read_pack(folder), advice_of(None), {}, "")
    assert not site_file("tiny").exists()


def test_from_normal_clips_to_the_app(
    folder: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--negative", str(clip), "--pack", str(folder), "--out", str(tmp_path / "out"), "--save-advice"]
    assert main(["evaluate", "video", *given]) == 0
    assert f"site overrides written, in force from now on: {site_file('tiny')}" in capsys.readouterr().out
    text = site_file("tiny").read_text()
    table = tomllib.loads(text)
    assert table["thresholds"] == {"open": 0.7, "close": 0.4}
    assert (table["version"], table["sha256"]) == ("1.0.0", read_pack(folder).sha256)
    assert table["measured"]["normal_clips"] == ["normal.mp4"] and table["measured"]["false_positives"] == 0
    assert table["measured"]["normal_minutes"] == pytest.approx(40 / 25 / 60, abs=1e-3)
    assert table["command"].endswith("--target-fp 0.5 --save-advice") and str(clip.parent) not in text
    assert analysed(clip, folder, tmp_path / "session")["findings"] == []
    again = evaluate_video([], [Clip(clip)], str(folder))
    assert again.facts["site_overrides"] is True and again.facts["open"] == 0.7
    assert any("Site overrides are in force" in line for line in again.warnings)


def test_advice_from_synthetic_video_is_not_saved(folder: Path, clip: Path, tmp_path: Path) -> None:
    phantom = tmp_path / "phantom.mp4"
    phantom.write_bytes(clip.read_bytes())
    results = evaluate_video([], [Clip(phantom)], str(folder))
    with pytest.raises(InputError, match="synthetic video is not saved"):
        save(results, str(folder))
    assert not site_file("tiny").exists()


def test_a_folder_that_cannot_be_written_is_one_line(folder: Path, own_config: Path) -> None:
    own_config.write_text("a file where the folder should be")
    with pytest.raises(RunError, match="set ENDOSTREAM_CONFIG"):
        write_site(site_of(read_pack(folder), open=0.8))
    assert find_pack(str(folder)).site_note == ""
