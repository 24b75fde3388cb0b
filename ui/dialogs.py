"""Choosers for source and pack: windows of their own that never block the main one.

Owns the choices offered. Must not open anything; they emit `chosen(spec)` or `chosen(pack)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from endostream.capture.devices import DeviceInfo
from endostream.errors import PackError
from endostream.packs import Pack, pack_folders, read_pack
from endostream.resources import shipped

from . import theme

VIDEO_ENDS = "*.mp4 *.mkv *.avi *.mov *.mpg *.mpeg *.m4v *.webm *.ts"
PICTURE_ENDS = "*.png *.jpg *.jpeg *.tif *.tiff *.bmp"
VIDEOS = f"Videos and pictures ({VIDEO_ENDS} {PICTURE_ENDS})"
SPEC = Qt.ItemDataRole.UserRole


def sample_video() -> Path | None:
    """The sample video that came with the program, or None."""
    return next(iter(sorted(shipped("sample_videos").glob("*.mp4"))), None)


def _label(text: str, name: str = "quiet") -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    label.setWordWrap(True)
    if name == "title":
        label.setFont(theme.font(theme.FAR, QFont.Weight.DemiBold))
    return label


class Chooser(QDialog):
    """A window that stays beside the main one and goes when it is closed."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget, title: str) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setModal(False)
        self.setWindowTitle(title)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 20, 24, 20)
        self.column.setSpacing(10)
        self.column.addWidget(_label(title, "title"))

    def choose(self, spec: str) -> None:
        """Emit what was chosen and go."""
        self.chosen.emit(spec)
        self.close()


class SourceDialog(Chooser):
    """A file or folder, the sample, a capture device, an address."""

    def __init__(self, parent: QWidget, last: str = "") -> None:
        super().__init__(parent, "Choose a source")
        self.setMinimumWidth(560)
        self._last = last
        self.column.addWidget(_label("Video or pictures", "heading"))
        row = QHBoxLayout()
        for text, work in (
            ("Video file…", self.browse_file),
            ("Folder of pictures…", self.browse_folder),
            ("Sample video", self.take_sample),
        ):
            button = QPushButton(text)
            button.clicked.connect(work)
            row.addWidget(button)
            if text == "Sample video":
                button.setEnabled(sample_video() is not None)
                button.setToolTip("A synthetic procedure: it shows how things look, it proves nothing")
        row.addStretch()
        self.column.addLayout(row)
        self.column.addSpacing(6)
        self.column.addWidget(_label("Capture device", "heading"))
        self.devices = QListWidget()
        self.devices.setMaximumHeight(150)
        self.devices.itemActivated.connect(self._take_device)
        self.devices.itemClicked.connect(self._take_device)
        self.column.addWidget(self.devices)
        self._device_line = _label("looking for devices…")
        self.column.addWidget(self._device_line)
        self.column.addSpacing(6)
        self.column.addWidget(_label("Stream or path", "heading"))
        row = QHBoxLayout()
        self.address = QLineEdit()
        self.address.setPlaceholderText("rtsp://tower.local/live   or   /path/to/video.mp4")
        self.address.setText(last if "://" not in last else "")
        self.address.returnPressed.connect(self.take_address)
        row.addWidget(self.address)
        button = QPushButton("Open")
        button.setDefault(True)
        button.clicked.connect(self.take_address)
        row.addWidget(button)
        self.column.addLayout(row)
        self.column.addSpacing(6)
        self.column.addWidget(_label("You can also drop a video on the main window."))

    def set_devices(self, devices: Sequence[DeviceInfo]) -> None:
        """Offer these devices."""
        self.devices.clear()
        for device in devices:
            item = QListWidgetItem(f"{device.name}   {device.id}")
            item.setData(SPEC, device.id)
            self.devices.addItem(item)
        self.devices.setVisible(bool(devices))
        none = "No capture device is connected. Plug one in and open this again."
        self._device_line.setText("" if devices else none)
        self._device_line.setVisible(not devices)

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

    def take_address(self) -> None:
        """Choose what was written."""
        if self.address.text().strip():
            self.choose(self.address.text().strip())

    def _browse(self, mode: QFileDialog.FileMode) -> None:
        start = Path(self._last).parent if self._last and Path(self._last).exists() else Path.home()
        browser = QFileDialog(self, "Choose a source", str(start), VIDEOS + ";;All files (*)")
        browser.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        browser.setFileMode(mode)
        browser.setModal(False)
        browser.fileSelected.connect(self.choose)
        browser.show()

    def _take_device(self, item: QListWidgetItem) -> None:
        self.choose(str(item.data(SPEC)))


class PackDialog(Chooser):
    """Every pack; one without weights is shown with the command that imports it."""

    def __init__(self, parent: QWidget, current: str) -> None:
        super().__init__(parent, "Choose a pack")
        self.resize(620, 480)
        self.packs = QListWidget()
        self.packs.setWordWrap(True)
        self.packs.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.packs.currentItemChanged.connect(self._describe)
        self.packs.itemActivated.connect(self._take)
        self.column.addWidget(self.packs)
        self._summary = _label("")
        self._command = _label("", "mono")
        self._command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.column.addWidget(self._summary)
        self.column.addWidget(self._command)
        self._use = QPushButton("Use this pack")
        self._use.setDefault(True)
        self._use.clicked.connect(self._take)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self._use)
        self.column.addLayout(row)
        self._known: dict[str, Pack] = {}
        self._damaged: dict[str, str] = {}
        for name, folder in pack_folders().items():
            self._add(name, folder, current)
        if self.packs.currentItem() is None:
            self._describe(None)

    def _add(self, name: str, folder: Path, current: str) -> None:
        try:
            pack = read_pack(folder)
        except PackError as error:
            self._damaged[name] = str(error)
            text = f"{name}\ndamaged"
        else:
            self._known[name] = pack
            text = f"{pack.title}\n{name} {pack.version}" + ("   ·   needs import" if pack.missing else "")
        item = QListWidgetItem(text)
        item.setData(SPEC, name)
        if not self.can_use(name):
            item.setForeground(self.palette().placeholderText())
        self.packs.addItem(item)
        if name == current:
            self.packs.setCurrentItem(item)

    def command_for(self, name: str) -> str:
        """The command that imports the weights of a pack."""
        files = " ".join("FILE" for _ in self._known[name].models)
        return f"endostream packs import {files} --pack {name}"

    def can_use(self, name: str) -> bool:
        """True when the pack is whole."""
        return name in self._known and not self._known[name].missing

    def _describe(self, item: QListWidgetItem | None) -> None:
        name = str(item.data(SPEC)) if item is not None else ""
        self._use.setEnabled(self.can_use(name))
        self._command.hide()
        if name in self._known:
            pack = self._known[name]
            self._summary.setText(f"{pack.summary}\nLicence: {pack.licence}".strip())
            if pack.missing:
                self._command.setText(self.command_for(name))
                self._command.show()
        else:
            self._summary.setText(self._damaged.get(name, "No pack is installed." if not item else ""))

    def _take(self) -> None:
        item = self.packs.currentItem()
        if item is not None and self.can_use(str(item.data(SPEC))):
            self.choose(str(item.data(SPEC)))
