"""The files of a data folder, whether they lie in it or in one of its tar files.

Owns reading bytes by name. It must not know what is in them.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from threading import Lock

from endostream.errors import InputError

__all__ = ["PICTURES", "Files", "pictures_in"]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""Endings of pictures."""


class Files:
    """The files of a folder by their path inside it; `a/b.jpg` may be a member of `a.tar`."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"no data folder {folder}: name the folder that holds the pictures")
        self.folder = folder
        self._tars: dict[str, dict[str, tuple[int, int]]] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Files], tuple[Path]]:
        # A lock does not travel to a loader process.
        return Files, (self.folder,)

    def read(self, name: str) -> bytes:
        """Give the bytes of one file."""
        path = self.folder / name
        if path.is_file():
            return path.read_bytes()
        top = name.split("/", 1)[0]
        with self._lock:
            if top not in self._tars:
                self._tars[top] = self._indexed(top)
        place = self._tars[top].get(name)
        if place is None:
            raise InputError(f"the manifest names {name}, which is neither in {self.folder} nor in {top}.tar")
        with (self.folder / f"{top}.tar").open("rb") as stream:
            stream.seek(place[0])
            return stream.read(place[1])

    def _indexed(self, top: str) -> dict[str, tuple[int, int]]:
        path = self.folder / f"{top}.tar"
        if not path.is_file():
            return {}
        try:
            with tarfile.open(path, "r:") as archive:
                members = [member for member in archive if member.isfile()]
        except tarfile.TarError as error:
            raise InputError(f"{path.name} is damaged or compressed ({error}): unpack it") from error
        return {m.name.removeprefix("./"): (m.offset_data, m.size) for m in members}


def pictures_in(folder: Path) -> list[Path]:
    """Give the picture files that lie directly in a folder, by name; hidden files are left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()
    )
