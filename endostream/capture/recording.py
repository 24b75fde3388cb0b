"""Packets as they came, or pictures encoded anew, into Matroska files that survive the death of the process.

Owns one output container and one encoder. Must not know queues, disks' free space or what is recorded when.

A file appears with its first picture, under its own name, and grows with every picture that follows. It needs
nothing that is written at its end: a reader plays whatever is there, all but the last picture given. Time
stamps are the source's own, rounded to the millisecond that Matroska keeps.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Final, Protocol

import av
from av.container import OutputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext

from endostream.capture.headers import MATROSKA_CODECS, headers_in, stream_header
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.errors import RunError

log = logging.getLogger(__name__)

MILLISECOND: Final = Fraction(1, 1000)
"""The unit of time of every file."""
CLUSTER_MS = 1
"""Every picture is a lump of its own, written when the next one comes: 40 bytes more, and a killed process
loses no more than one picture of what it was given."""
REORDER_MS = 1000
"""Pictures may come this much (ms) before those that are shown earlier."""
BUFFER = 1 << 18
"""Bytes handed to the file at once."""
COPYABLE: Final = frozenset(MATROSKA_CODECS) - {"ffv1"}
"""Codecs of sources whose packets can be kept as they are."""


class DiskFile(Protocol):
    """What a container is written to."""

    def write(self, data: bytes) -> int:
        """Take all of `data`; raises `OSError` when the disk does not."""
        ...

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file."""
        ...

    def tell(self) -> int:
        """The place in the file."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class _NewFile(io.FileIO):
    """A file that was not there before; unlike a raw one it takes all of what it is given or raises."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(data)
        while view:
            view = view[super().write(view) or 0 :]
        return len(data)


def create_file(path: Path) -> DiskFile:
    """A new file at `path`; raises `FileExistsError` rather than touch one that is there."""
    return _NewFile(path)


class _Output:
    """What the container writes to: nothing is on the disk until `appear`, then everything goes there.

    A file of a header without a picture cannot be opened, and a process may be killed at any moment.
    """

    def __init__(self, path: Path, create: Callable[[Path], DiskFile]) -> None:
        self._path, self._create = path, create
        self._begun = bytearray()
        self._file: DiskFile | None = None
        self.error: OSError | None = None
        """The first thing that went wrong: libav hands on only that something did."""

    @property
    def there(self) -> bool:
        """True once the file is on the disk."""
        return self._file is not None

    def appear(self) -> DiskFile:
        """The file on the disk, with all that was written so far."""
        if self._file is None:
            file: DiskFile | None = None
            try:
                file = self._create(self._path)
                file.write(bytes(self._begun))
            except OSError as error:
                self.error = self.error or error
                if file is not None:
                    with contextlib.suppress(OSError):
                        file.close()
                    self._path.unlink(missing_ok=True)
                raise
            self._file = file
            self._begun.clear()
        return self._file

    def write(self, data: bytes) -> int:
        if self._file is None:
            self._begun += data
            return len(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.appear().seek(offset, whence)

    def tell(self) -> int:
        return len(self._begun) if self._file is None else self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def milliseconds(pts: int, time_base: Fraction) -> int:
    """The time stamp that a recording gives a picture: the nearest millisecond, halves upwards."""
    scaled = pts * time_base * 2000 + 1
    return int(scaled // 2)


def failure(name: str, error: Exception) -> RunError:
    """What is wrong with writing the file `name`, in one line."""
    if getattr(error, "errno", None) == errno.ENOSPC:
        return RunError(f"disk full while writing {name}; free some space and record again")
    reason = getattr(error, "strerror", None) or str(error)
    return RunError(f"{name} cannot be written: {reason}; choose another folder")


class PacketFile:
    """Writes packets as they are into Matroska.

    The first packet must be a key frame: its headers (or else those of the format) go into the file's own.

    Parameters
    ----------
    path : Path
        The file, which must not be there yet.
    format : StreamFormat
        How the packets are coded.
    tags : mapping
        Names and texts kept in the file.
    create : callable
        Makes the file.

    Raises
    ------
    RunError
        The file cannot be created or written.
    """

    def __init__(
        self,
        path: Path,
        format: StreamFormat,
        *,
        tags: Mapping[str, str] | None = None,
        create: Callable[[Path], DiskFile] = create_file,
    ) -> None:
        self.path = Path(path)
        self.pictures = 0
        """Packets written."""
        self.first: int | None = None
        """Time of the first packet in milliseconds."""
        self.last = 0
        """Highest time of a packet in milliseconds."""
        self._format = format
        self._tags = dict(tags or {})
        self._decoding = 0
        self._head = self._size = 0
        self._closed = self._failed = False
        self._container: OutputContainer | None = None
        self._stream: Stream | None = None
        self._file = _Output(self.path, create)
        if self.path.exists():
            raise failure(self.path.name, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))

    @property
    def seconds(self) -> float:
        """Length so far, without the last picture's own."""
        return 0.0 if self.first is None else (self.last - self.first) / 1000

    @property
    def there(self) -> bool:
        """True once it is on the disk, with a picture that plays."""
        return self._file.there

    @property
    def bytes(self) -> int:
        """Size so far."""
        return self._size if self._closed else self._file.tell()

    def write(self, packet: StreamPacket) -> bool:
        """Add a packet; False when it has no place in time and was left out.

        Raises `RunError` in one line; nothing more can be written then.
        """
        if packet.pts is None:
            return False
        shown = milliseconds(packet.pts, self._format.time_base)
        if self._container is None and not packet.keyframe:
            return False
        decoded = shown if packet.dts is None else milliseconds(packet.dts, self._format.time_base)
        # Matroska keeps no decoding time, but libav wants it rising: early enough, any will do, so that
        # sources that give none (RTSP) or a wrong one lose no picture.
        decoded -= REORDER_MS
        decoded = decoded if self.first is None else max(decoded, self._decoding)
        if shown < 0 or decoded > shown:
            return False
        try:
            if self._container is None:
                self._begin(packet)
            assert self._container is not None and self._stream is not None
            coded = av.Packet(packet.data)
            coded.pts, coded.dts, coded.time_base = shown, decoded, MILLISECOND
            coded.is_keyframe, coded.stream = packet.keyframe, self._stream
            self._container.mux_one(coded)
            if not self.pictures:
                self._head = self._file.tell()  # the picture itself waits for the next one
            elif not self._file.there and self._file.tell() > self._head:
                self._file.appear()
        except (av.FFmpegError, OSError) as error:
            self._failed = True
            raise failure(self.path.name, self._file.error or error) from error
        self._decoding = decoded
        self.first = shown if self.first is None else self.first
        self.last = max(self.last, shown)
        self.pictures += 1
        return True

    def _begin(self, packet: StreamPacket) -> None:
        """Open the container with the headers of its first packet."""
        found = headers_in(self._format, packet.data)
        self._container = av.open(
            self._file,
            "w",
            format="matroska",
            buffer_size=BUFFER,
            options={
                "cluster_time_limit": str(CLUSTER_MS),
                "flush_packets": "1",
            },
        )
        self._container.metadata.update(self._tags)
        with av.open(io.BytesIO(stream_header(self._format, found.extradata)), format="matroska") as model:
            self._stream = self._container.add_stream_from_template(model.streams.video[0], opaque=True)
        self._container.start_encoding()

    def close(self) -> None:
        """Finish the file; may be called again. Without a picture there is none.

        Raises `RunError` when its end could not be written, unless `write` said so before: what was written
        plays all the same.
        """
        if self._closed:
            return
        container, self._container, self._stream = self._container, None, None
        try:
            if container is not None:
                container.close()
            self._size = self._file.tell()
        except (av.FFmpegError, OSError) as error:
            # The first failure is the one that is reported; this one follows from it.
            if not self._failed:
                raise failure(self.path.name, self._file.error or error) from error
        finally:
            self._closed = True
            with contextlib.suppress(OSError):
                self._file.close()


def picture_size(format: StreamFormat, data: bytes) -> tuple[int, int] | None:
    """Width and height of the picture in a key frame's packet; None when it cannot be decoded."""
    decoder = av.CodecContext.create(format.codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    if format.extradata:
        decoder.extradata = format.extradata
    try:
        for packet in (av.Packet(data), None):
            for frame in decoder.decode(packet):
                return frame.width, frame.height
    except (av.FFmpegError, OSError) as error:
        log.debug("a key frame of %s cannot be decoded: %s", format.codec, error)
    return None
