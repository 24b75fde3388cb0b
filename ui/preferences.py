"""What the window remembers between starts, in an INI file in the user's preferences folder.

Owns the names and defaults. Must not hold anything of a patient: only the kind of the last source is
kept for devices and streams, the path for files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings

from endostream.resources import user_config

from .samples import Layers


def _digest(identity: str) -> str:
    """A name that gives nothing away: the address of a stream may hold a password or a room."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Preferences:
    """Geometry, theme, overlays, the last folder."""

    def __init__(self, path: Path | None = None) -> None:
        file = path or user_config("window.ini")
        file.parent.mkdir(parents=True, exist_ok=True)
        self._store = QSettings(str(file), QSettings.Format.IniFormat)

    @property
    def geometry(self) -> QByteArray | None:
        """The window's place and size, or None at the first start."""
        value = self._store.value("geometry")
        return value if isinstance(value, QByteArray) else None

    @geometry.setter
    def geometry(self, value: QByteArray) -> None:
        self._store.setValue("geometry", value)

    @property
    def theme(self) -> str:
        """`dark` or `light`."""
        return str(self._store.value("theme", "dark"))

    @theme.setter
    def theme(self, value: str) -> None:
        self._store.setValue("theme", value)

    @property
    def layers(self) -> Layers:
        """The overlays; they are never hidden at the start."""
        opacity = str(self._store.value("opacity", "0.8"))
        try:
            strength = min(max(float(opacity), 0.0), 1.0)
        except ValueError:
            strength = 0.8
        return Layers(
            heatmap=str(self._store.value("heatmap", "true")).lower() == "true",
            contour=str(self._store.value("contour", "true")).lower() == "true",
            opacity=strength,
        )

    @layers.setter
    def layers(self, value: Layers) -> None:
        self._store.setValue("heatmap", str(value.heatmap).lower())
        self._store.setValue("contour", str(value.contour).lower())
        self._store.setValue("opacity", f"{value.opacity:.2f}")

    @property
    def synced(self) -> bool:
        """Whether the picture that was analysed is shown, or the newest one."""
        return str(self._store.value("synced", "false")).lower() == "true"

    @synced.setter
    def synced(self, value: bool) -> None:
        self._store.setValue("synced", str(value).lower())

    @property
    def device(self) -> str:
        """Identity of the device used last; empty before the first."""
        return str(self._store.value("device", ""))

    @device.setter
    def device(self, value: str) -> None:
        self._store.setValue("device", value)

    def profile(self, identity: str) -> str:
        """What was decided about patient text for a device or stream; empty while undecided."""
        return str(self._store.value(f"patient_text/{_digest(identity)}", ""))

    def set_profile(self, identity: str, profile: str) -> None:
        """Remember what was decided about patient text for a device or stream."""
        self._store.setValue(f"patient_text/{_digest(identity)}", profile)

    @property
    def source(self) -> str:
        """The last file or device, offered first."""
        return str(self._store.value("source", ""))

    @source.setter
    def source(self, value: str) -> None:
        kept = value.split("://")[0] + "://" if "://" in value else value  # addresses may hold passwords
        self._store.setValue("source", kept)

    def save(self) -> None:
        """Write them down now."""
        self._store.sync()
