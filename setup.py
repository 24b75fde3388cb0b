"""Which folders are packed, and under which names; everything else is in pyproject.toml.

The window and the data keep short folder names in the repository and take names under `endostream`
in a wheel, so that nothing called `ui` or `weights` lands in anybody's site-packages.
"""

from setuptools import find_packages, setup

ELSEWHERE = {
    "endostream_ui": "ui",
    "endostream._data.weights": "weights",
    "endostream._data.sample_videos": "sample_videos",
}

setup(
    packages=[*find_packages(include=["endostream", "endostream.*"]), *ELSEWHERE],
    package_dir=ELSEWHERE,
)
