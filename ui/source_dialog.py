"""The chooser of sources: a file or folder, the sample, a capture device and its mode, a stream.

Owns the choices offered. Must not open anything; it emits `taken(SourceChoice)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from endostream.capture.devices import DeviceInfo
from endostream.errors import EndostreamError

from .device_choice import device_spec, fitting, formats, identity_of, rates, shown_rate, sizes
from .dialogs import Choices, Chooser, label, sample_video
from .preferences import Preferences

VIDEO_ENDS = "*.mp4 *.mkv *.avi *.mov *.mpg *.mpeg *.m4v *.webm *.ts"
PICTURE_ENDS = "*.png *.jpg *.jpeg *.tif *.tiff *.bmp"
VIDEOS = f"Videos and pictures ({VIDEO_ENDS} {PICTURE_ENDS})"
DEVICE = Qt.ItemDataRole.UserRole
EXAMPLES = (
    "rtsp://tower.local/live   ·   udp://0.0.0.0:5000   ·   tcp://0.0.0.0:5000?listen\n"
    "http://tower.local/live.ts   ·   srt://tower.local:9000"
)
DECISIONS = (
    ("", "undecided: nothing is recorded"),
    ("none", "nothing to mask in this picture"),
    ("auto", "crop to the picture of the scope"),
)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """A source that a person chose."""

    spec: str
    """SOURCE as on the command line."""
    profile: str | None = None
    """What was decided about patient text; None for a recorded source, where nothing is to be decided."""
    identity: str = ""
    """By what the decision is remembered: the device's identity, or the stream's address."""
    device: bool = False
    """True for a capture device."""


def decisions() -> list[tuple[str, str]]:
    """Profile and words of everything that can be decided about patient text."""
    from endostream.capture.towers import list_profiles  # reads files: only when somebody wants to choose

    try:
        profiles = list_profiles()
    except EndostreamError:
        profiles = []
    fixed = {name for name, _ in DECISIONS}
    return [*DECISIONS, *((p.name, f"{p.name}: {p.title}") for p in profiles if p.name not in fixed)]


def address_identity(address: str) -> str:
    """By what a stream is known: its address without user and password."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", address.strip())


class SourceDialog(Chooser):
    """A file or folder, the sample, a capture device, an address."""

    taken = Signal(object)  # SourceChoice

    def __init__(
        self, parent: QWidget, preferences: Preferences, profile: str = "", current: str = ""
    ) -> None:
        super().__init__(parent, "Choose a source")
        self.setMinimumWidth(640)
        self._preferences, self._profile = preferences, profile
        self._devices: dict[str, DeviceInfo] = {}
        self._decided = False
        self._add_files()
        self._add_devices()
        self._add_address(current)
        self._add_decision()
        self.chosen.connect(lambda spec: self.taken.emit(SourceChoice(spec)))
        self._remember(address_identity(self.address.text()))

    # Files

    def _add_files(self) -> None:
        self.column.addWidget(label("Video or pictures", "heading"))
        row = QHBoxLayout()
        for text, work in (
            ("Video file…", self.browse_file),
            ("Folder of pictures…", self.browse_folder),
            ("Sample video", self.take_sample),
        ):
            button = QPushButton(text)
            button.setAutoDefault(False)
            button.clicked.connect(work)
            row.addWidget(button)
            if text == "Sample video":
                button.setEnabled(sample_video() is not None)
                button.setToolTip("A synthetic procedure: it shows how things look, it proves nothing")
        row.addStretch()
        drop = label("or drop one on the main window")
        drop.setWordWrap(False)
        row.addWidget(drop)
        self.column.addLayout(row)
        self.column.addSpacing(8)

    def browse_file(self) -> None:
        """Ask for a file, without blocking."""
        self._browse(QFileDialog.FileMode.ExistingFile)

    def browse_folder(self) -> None:
        """Ask for a folder, without blocking."""
        self._browse(QFileDialog.FileMode.Directory)

    def take_sample(self) -> None:
        """Choose the sample video."""
        video = sample_video()
        if video is not None:
            self.choose(str(video))

    def _browse(self, mode: QFileDialog.FileMode) -> None:
        last = self._preferences.source
        start = Path(last).parent if last and Path(last).exists() else Path.home()
        browser = QFileDialog(self, "Choose a source", str(start), VIDEOS + ";;All files (*)")
        browser.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        browser.setFileMode(mode)
        browser.setModal(False)
        browser.fileSelected.connect(self.choose)
        browser.show()

    # Devices

    def _add_devices(self) -> None:
        self.column.addWidget(label("Capture device", "heading"))
        self.devices = QListWidget()
        self.devices.setMaximumHeight(118)
        self.devices.currentItemChanged.connect(self._describe)
        self.devices.itemActivated.connect(self.take_device)
        self.column.addWidget(self.devices)
        self._device_line = label("looking for devices…")
        self.column.addWidget(self._device_line)
        self._mode_row = QWidget()
        row = QHBoxLayout(self._mode_row)
        row.setContentsMargins(0, 0, 0, 0)
        self.size, self.rate, self.format, self.input = (Choices() for _ in range(4))
        for box, name in (
            (self.size, "size"),
            (self.rate, "rate"),
            (self.format, "format"),
            (self.input, "input"),
        ):
            box.setAccessibleName(name)
            box.currentIndexChanged.connect(self._narrow)
            row.addWidget(box, 1)
        self._open_device = QPushButton("Open device")
        self._open_device.setAutoDefault(False)
        self._open_device.clicked.connect(self.take_device)
        row.addWidget(self._open_device)
        self._mode_row.hide()
        self.column.addWidget(self._mode_row)
        self.column.addSpacing(8)

    def set_devices(self, devices: Sequence[DeviceInfo]) -> None:
        """Offer these devices; the one used last is chosen already."""
        before = self.device
        wanted = identity_of(before) if before is not None else self._preferences.device
        self.devices.clear()
        self._devices = {identity_of(device): device for device in devices}
        for identity, device in self._devices.items():
            item = QListWidgetItem(f"{device.name}   {device.id}")
            item.setData(DEVICE, identity)
            item.setToolTip(device.trouble or identity)
            self.devices.addItem(item)
            if identity == wanted or self.devices.currentItem() is None:
                self.devices.setCurrentItem(item)
        self.devices.setVisible(bool(devices))
        self._mode_row.setVisible(bool(devices))
        none = "No capture device is connected. Plug one in and open this again."
        self._device_line.setText("" if devices else none)
        self._device_line.setVisible(not devices)

    @property
    def device(self) -> DeviceInfo | None:
        """The device chosen in the list."""
        item = self.devices.currentItem()
        return None if item is None else self._devices.get(str(item.data(DEVICE)))

    def take_device(self) -> None:
        """Choose the device in the mode chosen."""
        device = self.device
        if device is not None:
            self._recall(identity_of(device))
            spec = device_spec(
                device,
                self.size.currentData(),
                self.rate.currentData(),
                self.format.currentData() or "",
                self.input.currentData() or "",
            )
            self._take(SourceChoice(spec, self.decision, identity_of(device), device=True))

    def _describe(self) -> None:
        """Show what the device chosen can do, and what was decided for it."""
        device = self.device
        if device is None:
            return
        for box in (self.size, self.rate, self.format, self.input):
            box.blockSignals(True)
            box.clear()
            box.blockSignals(False)
        _fill(self.input, "any input", [(name, name) for name in device.inputs])
        self.input.setVisible(bool(device.inputs))
        self._narrow()
        self._device_line.setText(device.trouble)
        self._device_line.setVisible(bool(device.trouble))
        self._remember(identity_of(device))

    def _narrow(self) -> None:
        """Offer in each list what goes with what is chosen in the others."""
        modes = self.device.modes if self.device is not None else ()
        size, rate, format = self.size.currentData(), self.rate.currentData(), self.format.currentData() or ""
        found = sizes(fitting(modes, None, rate, format))
        _fill(self.size, "any size", [(f"{w} × {h}", (w, h)) for w, h in found])
        paces = rates(fitting(modes, size, None, format))
        _fill(self.rate, "any rate", [(f"{shown_rate(r)} fps", r) for r in paces])
        _fill(self.format, "any format", [(f, f) for f in formats(fitting(modes, size, rate, ""))])

    # Streams

    def _add_address(self, current: str) -> None:
        self.column.addWidget(label("Stream or path", "heading"))
        row = QHBoxLayout()
        self.address = QLineEdit()
        self.address.setPlaceholderText("rtsp://tower.local/live   or   /path/to/video.mp4")
        last = self._preferences.source
        known = current if "://" in current and "@" not in current else last
        self.address.setText(known if known == current or (last and Path(last).exists()) else "")
        self.address.returnPressed.connect(self.take_address)
        self.address.textChanged.connect(lambda text: self._remember(address_identity(text)))
        row.addWidget(self.address)
        button = QPushButton("Open")
        button.setDefault(True)
        button.clicked.connect(self.take_address)
        row.addWidget(button)
        self.column.addLayout(row)
        self.column.addWidget(label(EXAMPLES))
        self.column.addSpacing(8)

    def take_address(self) -> None:
        """Choose what was written."""
        text = self.address.text().strip()
        if "://" in text:
            self._recall(address_identity(text))
            self._take(SourceChoice(text, self.decision, address_identity(text)))
        elif text:
            self.choose(text)

    def _take(self, choice: SourceChoice) -> None:
        self.taken.emit(choice)
        self.close()

    # Patient text

    def _add_decision(self) -> None:
        self.column.addWidget(label("Patient text in the picture of a device or stream", "heading"))
        self._decision = Choices()
        self._decision.setAccessibleName("patient text")
        for profile, words in decisions():
            self._decision.addItem(words, profile)
        self._decision.activated.connect(self._keep_decision)
        self.column.addWidget(self._decision)
        self.column.addWidget(
            label(
                "Masked before analysis, recording, stills and report. "
                "Remembered for this device or stream; recording needs a decision."
            )
        )

    @property
    def decision(self) -> str:
        """The tower profile chosen; empty while undecided."""
        return str(self._decision.currentData() or "")

    def decide(self, profile: str) -> None:
        """Choose a tower profile."""
        if self._decision.findData(profile) < 0:
            self._decision.addItem(profile, profile)
        self._decision.setCurrentIndex(self._decision.findData(profile))

    def _keep_decision(self) -> None:
        self._decided = True

    def _remember(self, identity: str) -> None:
        """Choose what was decided the last time for this device or stream."""
        self._decided = False
        self.decide(self._preferences.profile(identity) or self._profile)

    def _recall(self, identity: str) -> None:
        """Before opening: what is shown may be another source's, unless a person has just chosen it."""
        if not self._decided:
            self._remember(identity)


def _fill(box: QComboBox, nothing: str, values: Sequence[tuple[str, object]]) -> None:
    """Offer these values and none of them, keeping what is chosen where it is still there."""
    before = box.currentData()
    box.blockSignals(True)
    box.clear()
    box.addItem(nothing, None)
    for text, value in values:
        box.addItem(text, value)
        if value == before and before is not None:
            box.setCurrentIndex(box.count() - 1)
    box.setEnabled(bool(values))
    box.blockSignals(False)
