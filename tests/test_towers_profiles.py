"""Tower profiles: what a file may say, where it is found, and how it is laid over other frame sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endostream.capture.source import MIN_SIDE
from endostream.capture.towers import (
    AUTO_PROFILE,
    NO_PROFILE,
    Layout,
    TowerProfile,
    broken_profiles,
    find_profile,
    list_profiles,
    profiles_folder,
    read_profile,
)
from endostream.capture.towers.profile import Box
from endostream.errors import InputError

SHIPPED = ("full-height-centre", "text-left", "text-right")
GOOD = """
name = "room-4"
title = "Room 4"
[[layout]]
resolution = [1920, 1080]
image = [480, 0, 1920, 1080]
mask = [[0, 0, 480, 400], [1500, 1000, 1920, 1080]]
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the user's own profiles."""
    monkeypatch.setenv("ENDOSTREAM_CONFIG", str(tmp_path / "config"))
    folder = profiles_folder()
    folder.mkdir(parents=True)
    return folder


def written(path: Path, text: str = GOOD) -> Path:
    """A file with this text."""
    path.write_text(text, encoding="utf-8")
    return path


# Scaling


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_is_complete_and_honest(name: str) -> None:
    profile = find_profile(name)
    assert profile.name == name and profile.shipped and profile.alters
    assert {(layout.width, layout.height) for layout in profile.layouts} == {
        (1920, 1080),
        (1280, 1024),
        (720, 576),
        (720, 480),
    }
    assert "not measured on any maker's tower" in profile.notes
    assert f"endostream towers draw SOURCE --profile {name}" in profile.notes
    assert profile.audience and all(layout.masks for layout in profile.layouts)


@pytest.mark.parametrize(
    ("size", "layout", "image", "masks"),
    [
        ((720, 576), (720, 576), (180, 0, 720, 576), ((0, 0, 180, 576),)),
        ((1280, 720), (1920, 1080), (320, 0, 1280, 720), ((0, 0, 320, 720),)),
        ((1920, 1080), (1920, 1080), (480, 0, 1920, 1080), ((0, 0, 480, 1080),)),
        ((3840, 2160), (1920, 1080), (960, 0, 3840, 2160), ((0, 0, 960, 2160),)),
        ((1280, 1024), (1280, 1024), (256, 0, 1280, 1024), ((0, 0, 256, 1024),)),
        # Of the two of the same shape, 5:4, the one nearer in size.
        ((800, 640), (720, 576), (200, 0, 800, 640), ((0, 0, 200, 640),)),
        ((1150, 920), (1280, 1024), (230, 0, 1150, 920), ((0, 0, 230, 920),)),
        # Nearly 16:9, and fractions of pixels: the mask grows, the picture shrinks.
        ((1366, 768), (1920, 1080), (342, 0, 1366, 768), ((0, 0, 342, 768),)),
        ((1021, 575), (1920, 1080), (256, 0, 1021, 575), ((0, 0, 256, 575),)),
    ],
)
def test_the_nearest_layout_is_scaled(
    size: tuple[int, int], layout: tuple[int, int], image: Box, masks: tuple[Box, ...]
) -> None:
    fitted = find_profile("text-left").fit(*size)
    assert fitted.layout is not None and (fitted.layout.width, fitted.layout.height) == layout
    assert (fitted.image, fitted.masks, fitted.stretched, fitted.too_small) == (image, masks, False, False)
    assert (fitted.width, fitted.height) == size and not fitted.whole


@pytest.mark.parametrize(
    ("size", "layout"),
    [
        ((1024, 768), (1280, 1024)),
        ((640, 480), (720, 576)),
        ((2560, 1080), (1920, 1080)),
        ((704, 448), (720, 480)),
    ],
)
def test_another_shape_takes_the_nearest_and_says_that_it_was_stretched(
    size: tuple[int, int], layout: tuple[int, int]
) -> None:
    fitted = find_profile("text-right").fit(*size)
    assert fitted.layout is not None and fitted.stretched
    assert (fitted.layout.width, fitted.layout.height) == layout


def test_of_nearly_the_same_shape_the_nearest_size_wins() -> None:
    layouts = Layout(1920, 1080, (0, 0, 1920, 1080)), Layout(1366, 768, (0, 0, 1366, 768))
    fitted = TowerProfile("any", "any", layouts=layouts).fit(1280, 720)
    assert fitted.layout is layouts[1] and not fitted.stretched


def test_the_corners_grow_with_the_picture() -> None:
    profile = find_profile("full-height-centre")
    assert profile.fit(1920, 1080).corner == (180, 180)
    assert profile.fit(1280, 720).corner == (120, 120)
    assert profile.fit(641, 361).corner == (61, 61)


def test_where_the_picture_would_be_too_small_everything_is_filled() -> None:
    fitted = find_profile("text-left").fit(20, 16)
    assert fitted.too_small and fitted.image == (0, 0, 20, 16) and fitted.masks == ((0, 0, 20, 16),)


SIDES = st.integers(16, 700)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Any layout that a file could hold."""
    width, height = draw(SIDES), draw(SIDES)

    def box(least: int) -> Box:
        x0 = draw(st.integers(0, width - least))
        y0 = draw(st.integers(0, height - least))
        return x0, y0, draw(st.integers(x0 + least, width)), draw(st.integers(y0 + least, height))

    image = box(MIN_SIDE)
    corner = draw(st.integers(0, min(image[2] - image[0], image[3] - image[1]) // 2))
    return Layout(width, height, image, corner, tuple(box(1) for _ in range(draw(st.integers(0, 3)))))


@given(layouts(), st.integers(16, 900), st.integers(16, 900))
def test_scaling_never_uncovers_a_pixel(layout: Layout, width: int, height: int) -> None:
    fitted = TowerProfile("any", "any", layouts=(layout,)).fit(width, height)
    if fitted.too_small:
        return

    def covers(outer: Box, inner: Box) -> bool:
        """Whether `outer`, of the new size, covers `inner`, of the layout's, by less than a pixel more."""
        scale = (width, layout.width), (height, layout.height)
        for axis in (0, 1):
            new, old = scale[axis]
            low, high = outer[axis] * old - inner[axis] * new, outer[axis + 2] * old - inner[axis + 2] * new
            if not -old < low <= 0 <= high < old:
                return False
        return True

    assert all(covers(mask, original) for mask, original in zip(fitted.masks, layout.masks, strict=True))
    x0, y0, x1, y1 = fitted.image
    assert layout.image[0] * width <= x0 * layout.width and x1 * layout.width <= layout.image[2] * width
    assert layout.image[1] * height <= y0 * layout.height and y1 * layout.height <= layout.image[3] * height
    assert fitted.corner[0] * layout.width >= layout.corner * width
    assert fitted.corner[1] * layout.height >= layout.corner * height
    assert fitted.size[0] >= MIN_SIDE and fitted.size[1] >= MIN_SIDE


# Names and places


def test_special_names_touch_nothing_until_frames_come() -> None:
    assert find_profile("none") is NO_PROFILE and find_profile("auto") is AUTO_PROFILE
    assert not NO_PROFILE.alters and AUTO_PROFILE.alters
    assert NO_PROFILE.fit(1920, 1080).whole and AUTO_PROFILE.fit(720, 576).whole
    assert "no promise" in AUTO_PROFILE.notes


def test_profiles_are_listed_in_order_of_trust(own_folder: Path) -> None:
    written(own_folder / "room-4.toml")
    assert [p.name for p in list_profiles()] == ["none", "auto", *SHIPPED, "room-4"]
    assert [p.name for p in list_profiles() if not p.shipped] == ["room-4"]
    assert broken_profiles() == []


def test_an_own_profile_is_found_by_name_and_by_path(own_folder: Path, tmp_path: Path) -> None:
    written(own_folder / "room-4.toml")
    elsewhere = written(tmp_path / "copy.toml", GOOD.replace("room-4", "room-5"))
    found = find_profile("room-4")
    assert found.path == own_folder / "room-4.toml" and found.layouts[0].masks[0] == (0, 0, 480, 400)
    assert find_profile(str(elsewhere)).name == "room-5"


def test_no_file_takes_the_name_of_a_shipped_profile(own_folder: Path, tmp_path: Path) -> None:
    written(own_folder / "text-left.toml", GOOD.replace("room-4", "text-left"))
    written(own_folder / "none.toml", GOOD.replace("room-4", "none"))
    assert find_profile("text-left").shipped and find_profile("none") is NO_PROFILE
    assert [p.name for p in list_profiles()] == ["none", "auto", *SHIPPED]
    assert len(broken_profiles()) == 2
    with pytest.raises(InputError, match=r"x\.toml: 'auto' is the name of a shipped profile; choose another"):
        read_profile(written(tmp_path / "x.toml", GOOD.replace("room-4", "auto")))


def test_a_broken_own_profile_is_named_and_hides_no_other(own_folder: Path) -> None:
    written(own_folder / "bad.toml", "name = 3")
    written(own_folder / "room-4.toml")
    assert [p.name for p in list_profiles()][-1] == "room-4"
    assert [line.split(":")[0] for line in broken_profiles()] == ["bad.toml"]
    with pytest.raises(InputError, match=r"bad\.toml: name must be text"):
        find_profile("bad")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("txt-left", "unknown tower profile 'txt-left'; did you mean text-left\\?"),
        ("", "unknown tower profile ''; known: none, auto, "),
        ("zzz", "unknown tower profile 'zzz'; known: none, auto, .* or the path of a TOML file"),
        ("there/is/none.toml", "no tower profile there/is/none.toml; see: endostream towers list"),
        ("gone.toml", "no tower profile gone.toml; see"),
        (".", r"tower profile \S+ cannot be read: Is a directory|unknown tower profile '\.'"),
    ],
)
def test_an_unknown_name_is_answered_in_one_line(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        find_profile(name)
    assert "\n" not in str(caught.value)


# What a file may say


def change(old: str, new: str) -> str:
    """The good profile with one thing wrong."""
    assert old in GOOD
    return GOOD.replace(old, new)


RES, IMAGE, MASK = (
    line for line in GOOD.splitlines() if line.split(" =")[0] in ("resolution", "image", "mask")
)
WRONG = {
    "not TOML": ("name = ", "is not TOML: "),
    "nothing": ("", r"p\.toml: name must be text: write name = "),
    "unknown key": (f"tittle = 'x'\n{GOOD}", r"p\.toml: unknown key 'tittle'; did you mean 'title'\?"),
    "far key": (f"zzz = 'x'\n{GOOD}", r"p\.toml: unknown key 'zzz'; known keys: name, title"),
    "unknown layout key": (
        GOOD + "masks = []",
        r"p\.toml: layout 1: unknown key 'masks'; did you mean 'mask'\?",
    ),
    "name": (change('"room-4"', '"Room 4"'), "name 'Room 4' may hold a-z, 0-9 and single hyphens only"),
    "no title": (change('title = "Room 4"', ""), "title must be text"),
    "blank title": (change('"Room 4"', '" "'), "title must be text"),
    "notes": ("notes = 3\n" + GOOD, "notes must be text"),
    "no layout": (
        'name = "a"\ntitle = "b"',
        r"there is no layout; write \[\[layout\]\] with resolution and image",
    ),
    "layout is a table": (change("[[layout]]", "[layout]"), "there is no layout"),
    "layout twice": (GOOD + "[[layout]]\n" + RES + "\n" + IMAGE, "two layouts are for 1920x1080; keep one"),
    "no resolution": (change(RES, ""), r"layout 1: resolution must be \[width, height\] in whole pixels"),
    "resolution of three": (change(RES, "resolution = [1, 2, 3]"), "resolution must be"),
    "resolution of floats": (change(RES, "resolution = [1920.0, 1080]"), "resolution must be"),
    "resolution of truths": (change(RES, "resolution = [true, true]"), "resolution must be"),
    "resolution too small": (change(RES, "resolution = [8, 8]"), "resolution 8x8 is not within 16 and 16384"),
    "resolution negative": (change(RES, "resolution = [-1920, 1080]"), "is not within"),
    "no image": (change(IMAGE, ""), r"layout 1: image must be \[x0, y0, x1, y1\] in whole pixels"),
    "image is text": (change(IMAGE, "image = 'all'"), "image must be"),
    "image outside": (
        change(IMAGE, "image = [0, 0, 1921, 1080]"),
        r"image \[0, 0, 1921, 1080\] lies outside of 1920",
    ),
    "image before": (change(IMAGE, "image = [-1, 0, 1920, 1080]"), "lies outside of 1920x1080"),
    "image empty": (
        change(IMAGE, "image = [480, 0, 480, 1080]"),
        r"is empty; write \[left, top, right, bottom\]",
    ),
    "image turned": (change(IMAGE, "image = [900, 0, 480, 1080]"), "is empty"),
    "image tiny": (change(IMAGE, "image = [0, 0, 15, 1080]"), "image is 15x1080 pixels; it needs 16x16"),
    "corner": (GOOD + "corner = 541", "corner 541 is not within 0 and 540, half of the image"),
    "corner negative": (GOOD + "corner = -1", "corner -1 is not within"),
    "corner text": (GOOD + "corner = 'x'", "corner must be a number in whole pixels"),
    "mask is a box": (change(MASK, "mask = [0, 0, 9, 9]"), r"mask 1 must be \[x0, y0, x1, y1\]"),
    "mask is text": (change(MASK, "mask = 'x'"), "mask must be a list of boxes"),
    "mask outside": (
        change(MASK, "mask = [[0, 0, 9, 9], [0, 0, 9, 1081]]"),
        "layout 1: mask 2 .* lies outside",
    ),
    "mask empty": (change(MASK, "mask = [[5, 5, 5, 9]]"), "mask 1 .* is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, said = WRONG[case]
    with pytest.raises(InputError, match=said) as caught:
        read_profile(written(tmp_path / "p.toml", text))
    assert "p.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="is not TOML: it is no UTF-8 text"):
        read_profile(path)


def test_an_own_file_is_called_like_its_profile(own_folder: Path) -> None:
    with pytest.raises(InputError, match=r"it says name = 'room-4'; call the file room-4\.toml"):
        read_profile(written(own_folder / "other.toml"))


def test_the_good_file_is_good(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path / "p.toml"))
    assert profile.layouts == (
        Layout(1920, 1080, (480, 0, 1920, 1080), 0, ((0, 0, 480, 400), (1500, 1000, 1920, 1080))),
    )
    assert not profile.shipped and profile.title == "Room 4" and profile.path == tmp_path / "p.toml"
