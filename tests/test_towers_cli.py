"""`endostream towers`: what is listed, and the picture that a person checks a profile with."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_towers_auto import clip, dark, place_in, tower

from endostream.capture.encode import VideoWriter
from endostream.capture.towers import find_profile, profiles_folder
from endostream.capture.towers.drawing import CYAN, VIOLET, drawn, shows_something
from endostream.cli import main
from endostream.types import ImageArray

SHIPPED = ["full-height-centre", "text-left", "text-right"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place of its own for the user's profiles."""
    monkeypatch.setenv("ENDOSTREAM_CONFIG", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower's screen: dark for half a second, then with a picture."""
    path = tmp_path_factory.mktemp("towers") / "tower.mp4"
    with VideoWriter(path, width=640, height=360, fps=25, crf=16, preset="ultrafast", gop=10) as writer:
        for image, at in clip((np.zeros_like(dark()), 12), (tower(), 40)):
            writer.write(image, at)
    return path


def read_png(path: Path) -> ImageArray:
    """uint8[H, W, 3], RGB."""
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def share(image: ImageArray, colour: tuple[int, int, int]) -> float:
    """How much of the picture has nearly this colour."""
    return float((np.abs(image.astype(int) - colour).max(axis=2) < 48).mean())


def test_the_list_names_every_profile_and_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    profiles_folder().mkdir(parents=True)
    (profiles_folder() / "bad.toml").write_text("nmae = 'x'")
    assert main(["towers", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["none", "auto", *SHIPPED]
    assert lines[5] == "cannot be used: bad.toml: unknown key 'nmae'; did you mean 'name'?"
    assert str(profiles_folder()) in lines[6]
    assert main(["towers", "list", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in table["profiles"]] == ["none", "auto", *SHIPPED]
    assert table["profiles"][2]["resolutions"][0] == [1920, 1080] and len(table["broken"]) == 1


@pytest.mark.parametrize("name", ["none", "auto", *SHIPPED])
def test_a_profile_is_shown_with_its_boxes_and_warnings(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = find_profile(name)
    assert main(["towers", "show", name]) == 0
    said = capsys.readouterr().out
    assert profile.title in said and profile.notes in said
    assert said.count("masks [") == len(profile.layouts)
    assert main(["towers", "show", name, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [tuple(row["image"]) for row in table["layouts"]] == [layout.image for layout in profile.layouts]
    assert table["name"] == name


def test_the_boxes_are_drawn_on_the_first_frame_that_shows_something(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "check.png"
    assert main(["towers", "draw", str(video), "--profile", "text-left", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"written: {out} (not masked: delete it after checking)\n"
    image = read_png(out)
    assert image.shape[1] == 640 and 360 < image.shape[0] < 440
    fitted = find_profile("text-left").fit(640, 360)
    x0 = fitted.image[0]
    assert share(image[:360, x0 : x0 + 2], CYAN) > 0.9 and share(image[358:360, x0:], CYAN) > 0.5
    hatched = share(image[:360, : x0 - 4], VIOLET)
    assert 0.05 < hatched < 0.4
    # The picture itself is there, and not the black of the beginning.
    px0, py0, px1, _ = place_in(640, 360)
    assert abs(int(image[py0 + 40, (px0 + px1) // 2, 0]) - 150) < 12


def test_auto_draws_the_box_that_it_finds(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "auto.png"
    assert main(["towers", "draw", str(video), "--profile", "auto", "--out", str(out)]) == 0
    rows, columns = np.nonzero(np.abs(read_png(out)[:360].astype(int) - CYAN).max(axis=2) < 48)
    x0, y0, x1, y1 = place_in(640, 360)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert all(abs(int(a) - b) <= 18 for a, b in zip(edges, (x0, y0, x1, y1), strict=True))


def test_auto_says_that_it_found_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), dark())
    assert main(["towers", "draw", str(path), "--profile", "auto", "--out", str(tmp_path / "o.png")]) == 0
    assert "auto would keep the whole frame" in capsys.readouterr().out


def test_a_stretched_layout_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.png"
    cv2.imwrite(str(path), tower(640, 480))
    assert (
        main(["towers", "draw", str(path), "--profile", "text-left", "--out", str(tmp_path / "o.png")]) == 0
    )
    assert "no layout of text-left has the shape of 640x480: look closely" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["towers", "show", "txt-left"], "did you mean text-left?"),
        (
            ["towers", "draw", "VIDEO", "--profile", "nobody", "--out", "x.png"],
            "unknown tower profile 'nobody'",
        ),
        (["towers", "draw", "gone.mp4", "--profile", "auto", "--out", "x.png"], "gone.mp4"),
        (["towers", "draw", "VIDEO", "--profile", "auto", "--out", "VIDEO/x.png"], "choose another place"),
    ],
)
def test_wrong_use_is_answered_in_one_line(
    arguments: list[str], said: str, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.replace("VIDEO", str(video)) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("size", [(320, 240), (720, 576), (3840, 2160)])
def test_drawing_works_at_every_size_and_leaves_the_frame_alone(size: tuple[int, int]) -> None:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    image.flags.writeable = False
    fitted = find_profile("full-height-centre").fit(*size)
    picture = drawn(image, fitted, "full-height-centre")
    assert picture.shape[1] == size[0] and picture.shape[0] > size[1]
    assert (image == 90).all()
    # What is cropped away is dimmed, what is kept is not.
    assert picture[size[1] // 2, 1].max() < 90 and (picture[size[1] // 2, size[0] // 2] == 90).all()


def test_flat_frames_show_nothing() -> None:
    assert shows_something(tower())
    assert not shows_something(np.full((360, 640, 3), 16, np.uint8))
    assert not shows_something(np.full((360, 640, 3), (0, 0, 255), np.uint8))
