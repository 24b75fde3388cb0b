"""One recording, from its first packet to its end: its files, its sidecar, and the room they need.

Owns when a new file begins and which frames get a line. Must not know queues, threads or encoders. Every call
comes from one thread and may wait for the disk; what fails raises `RunError` in one line.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from endostream.capture.headers import can_begin, headers_in
from endostream.capture.recording import DiskFile, PacketFile, create_file, milliseconds, picture_size
from endostream.capture.tapping import StreamPacket
from endostream.errors import EndostreamError, RunError
from endostream.pipeline.ring import Stretch
from endostream.records.files import free_part, part_name
from endostream.records.sidecar import SIDECAR, EndLine, FrameLine, Line, LostLine, Part, SidecarWriter
from endostream.vocabulary import marking

LOOK_S = 1.0
"""Seconds between two looks at the free space."""
MOST_BYTES = 4_000_000_000
"""Size of a file after which the next key frame begins another: memory sticks (FAT32) hold up to 4.29 GB."""


class Disk:
    """What a recording asks of the disk."""

    def create(self, path: Path) -> DiskFile:
        """A new file at `path`."""
        return create_file(path)

    def free(self, folder: Path) -> int:
        """Bytes that may still be written into `folder`."""
        return shutil.disk_usage(folder).free


class Clip:
    """A recording that goes on.

    Parameters
    ----------
    folder
        The session folder.
    phi_mask
        Name of the tower profile that masks patient text, or `none`.
    keep_free
        Bytes that stay free on the disk.
    disk
        The disk.

    Raises
    ------
    InputError
        Another process records into this folder.
    RunError
        It cannot be written.
    """

    def __init__(self, folder: Path, phi_mask: str, keep_free: int, disk: Disk) -> None:
        self.folder = folder
        self._phi_mask, self._keep_free, self._disk = phi_mask, keep_free, disk
        self._sidecar = SidecarWriter(folder / SIDECAR)
        self._file: PacketFile | None = None
        self._stretch: Stretch | None = None
        self._part: Part | None = None
        self._kind = b""
        self._done_s = 0.0
        self._done_bytes = 0
        self._first: tuple[int, int] | None = None
        self._last: tuple[int, int] | None = None
        self._looked = time.monotonic()

    @property
    def seconds(self) -> float:
        """Recorded so far, of all its files."""
        return self._done_s + (self._file.seconds if self._file else 0.0)

    @property
    def bytes(self) -> int:
        """Written so far, of all its files."""
        return self._done_bytes + (self._file.bytes if self._file else 0)

    def write(self, stretch: Stretch, packet: StreamPacket) -> bool:
        """Add a packet; False when it was left out: it depends on one that is not there, or has no time."""
        if packet.keyframe:
            kind = headers_in(stretch.format, packet.data).kind if stretch.mode == "copy" else b""
            other = bool(kind and self._kind and kind != self._kind)
            full = self._file is not None and self._file.bytes >= MOST_BYTES
            if stretch is not self._stretch or self._file is None or other or full:
                if not can_begin(stretch.format, packet.data):
                    return False
                self._begin(stretch, packet, other and stretch is self._stretch)
            self._kind = kind or self._kind
        if stretch is not self._stretch or self._file is None:
            return False
        if not self._file.write(packet):
            return False
        assert packet.pts is not None
        place = (stretch.epoch, milliseconds(packet.pts, stretch.format.time_base))
        self._first = self._first or place
        self._last = max(self._last or place, place)
        self._announce(self._file)
        self._look()
        return True

    def _begin(self, stretch: Stretch, packet: StreamPacket, resized: bool) -> None:
        """A new file: of a new stretch, or of pictures that have changed in the middle of one."""
        self._finish_file()
        self._stretch, self._kind = stretch, b""
        format = stretch.format
        if resized or not (format.width and format.height):
            size = picture_size(format, packet.data) or (format.width, format.height)
            format = replace(format, width=size[0], height=size[1])
        number = free_part(self.folder)
        path = self.folder / part_name(number)
        tags = {"PHI_MASK": self._phi_mask, "COMMENT": marking(self._phi_mask)}
        self._file = PacketFile(path, format, tags=tags, create=self._disk.create)
        self._part = Part(
            number=number,
            file=path.name,
            epoch=stretch.epoch,
            codec=format.codec,
            width=format.width,
            height=format.height,
            time_base=stretch.time_base,
            mode=stretch.mode,
            phi_mask=self._phi_mask,
            wall=time.time(),
        )

    def _announce(self, file: PacketFile) -> None:
        """Write the line of a file once the file can be opened."""
        if self._part is not None and file.there:
            part, self._part = self._part, None
            self._sidecar.write(part)

    def _finish_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
            self._announce(file)
        finally:
            self._done_s += file.seconds
            self._done_bytes += file.bytes

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        free = self._disk.free(self.folder)
        if free < self._keep_free:
            raise RunError(
                f"only {free / 1e9:.1f} GB are left on the disk: the recording has ended; free some space "
                "and record again"
            )

    def line(self, line: Line) -> None:
        """Write a line; that of a frame only when its picture lies between the first and the last one."""
        if not isinstance(line, FrameLine) or self._covers(line):
            self._sidecar.write(line)

    def _covers(self, line: FrameLine) -> bool:
        if self._first is None:
            return False
        place = (line.epoch, stamp(line))
        return self._first <= place and (self._file is not None or place <= (self._last or place))

    def lost(self, pictures: int) -> None:
        """Write down that pictures could not be kept."""
        self._sidecar.write(LostLine(pictures, time.time()))

    def finish(self) -> None:
        """No more packets: finish the file; lines of what is in it may follow."""
        self._finish_file()

    def end(self, wall: float, reason: str = "") -> None:
        """Close everything, whatever the disk does; `reason` is why it ended by itself."""
        try:
            self._finish_file()
            self._sidecar.write(EndLine(wall, reason))
        except EndostreamError:
            # The first failure is the one that was said.
            if not reason:
                raise
        finally:
            self._sidecar.close()


def stamp(line: FrameLine) -> int:
    """The millisecond that the picture of a frame has in a recording."""
    return round(line.time * 1000) if line.pts is None else milliseconds(line.pts, line.time_base)
