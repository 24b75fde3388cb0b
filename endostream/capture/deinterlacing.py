"""Interlaced pictures to whole ones: towers still send 576i and 1080i.

Owns libavfilter's bwdif and the time stamps around it. Must not know where pictures come from.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph
from av.filter.context import FilterContext

from endostream.types import Deinterlace

FALLBACK_TIME_BASE = Fraction(1, 90_000)
"""For pictures without one; nothing that comes out shows it."""
SETTLED = 25
"""Progressive pictures in a row after which `auto` lets them pass again: mixed material sets the flag picture
by picture, and every change of hands costs the neighbours that bwdif looks at."""

_Kind = tuple[int, int, str, Any, int, int]


@dataclass(frozen=True, slots=True)
class _Stamps:
    """What libavfilter would change: bwdif halves the time base and drops what it does not know."""

    pts: int | None
    """As it went in."""
    dts: int | None
    """As it went in."""
    time_base: Fraction | None
    """As it went in."""

    @classmethod
    def of(cls, frame: av.VideoFrame) -> _Stamps:
        """Those of this picture."""
        return cls(frame.pts, frame.dts, frame.time_base)

    def put_on(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The picture with these stamps."""
        frame.pts, frame.dts = self.pts, self.dts
        # None means unknown and cannot be written; 0/1 is how libav says the same.
        frame.time_base = self.time_base or Fraction(0, 1)
        return frame


class Deinterlacer:
    """One whole picture out for every picture in, in order, with the stamps of the one that went in.

    The rate stays (50 fields become 25 pictures). bwdif looks at the next picture too, so what comes out is
    one picture behind: 40 ms at 25 per second, and the last comes with `flush`. Pictures that pass
    untouched are the same objects and are not delayed. Size, format, colours and time base may change
    between pictures. Belongs to one thread.

    Parameters
    ----------
    mode : {"auto", "on", "off"}
        `auto` touches only pictures that are flagged interlaced: before the first of them, and from the
        25th progressive one in a row on (at once with a change of size or format), pictures pass.
        `on` takes every picture as interlaced, for cards that lose the flag. `off` lets everything pass.
    """

    def __init__(self, mode: Deinterlace = "auto") -> None:
        self._mode = mode
        self._graph: Graph | None = None
        self._entry: FilterContext | None = None
        self._exit: FilterContext | None = None
        self._kind: _Kind | None = None
        self._inside: deque[_Stamps] = deque()
        self._progressive = 0
        self._refused: _Kind | None = None
        self._warning = ""

    @property
    def active(self) -> bool:
        """True while pictures go through bwdif, one picture late."""
        return self._graph is not None

    @property
    def warning(self) -> str:
        """One line when this libav cannot deinterlace what came, so that it passes as it is; else empty."""
        return self._warning

    def feed(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """The pictures that are ready now, in order; 0, 1, or 2 where a change lets the last one out."""
        kind = _kind_of(frame)
        if not self._wanted(frame, kind) or kind == self._refused:
            return [*self.flush(), frame]
        out = [] if kind == self._kind else self.flush()
        try:
            if self._graph is None:
                self._build(kind, frame.time_base)
            out += self._through(frame)
        except (av.FFmpegError, ValueError) as error:
            out += self._give_up(kind, error)
            out.append(frame)
        return out

    def flush(self) -> list[av.VideoFrame]:
        """The pictures still inside; nothing is held afterwards, and the next picture begins anew."""
        out: list[av.VideoFrame] = []
        try:
            if self._entry is not None and self._inside:
                self._entry.push(None)
                out = self._ready()
        finally:
            self.close()
        return out

    def close(self) -> None:
        """Let go of everything inside."""
        self._graph = self._entry = self._exit = self._kind = None
        self._inside.clear()
        self._progressive = 0

    def _wanted(self, frame: av.VideoFrame, kind: _Kind) -> bool:
        if self._mode != "auto":
            return self._mode == "on"
        if frame.interlaced_frame:
            self._progressive = 0
            return True
        self._progressive += 1
        return self._graph is not None and kind == self._kind and self._progressive < SETTLED

    def _build(self, kind: _Kind, time_base: Fraction | None) -> None:
        width, height, pixels, _, matrix, value_range = kind
        graph = Graph()
        # A pool of threads per connection fights with the networks for cores; alone in the thread that feeds,
        # a picture costs 0.2 ms at 576i and 1.2 ms at 1080i.
        graph.threads = 1
        base = time_base or FALLBACK_TIME_BASE
        entry = graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt={pixels}:time_base={base.numerator}/{base.denominator}"
            f":pixel_aspect=1/1:colorspace={matrix}:range={value_range}",
        )
        which = "all" if self._mode == "on" else "interlaced"
        bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={which}")
        sink = graph.add("buffersink")
        entry.link_to(bwdif)
        bwdif.link_to(sink)
        graph.configure()
        self._graph, self._entry, self._exit, self._kind = graph, entry, sink, kind

    def _through(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        assert self._entry is not None
        self._entry.push(frame)
        self._inside.append(_Stamps.of(frame))
        return self._ready()

    def _ready(self) -> list[av.VideoFrame]:
        assert self._exit is not None
        out: list[av.VideoFrame] = []
        while self._inside:
            try:
                frame = self._exit.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(frame, av.VideoFrame)
            out.append(self._inside.popleft().put_on(frame))
        return out

    def _give_up(self, kind: _Kind, error: Exception) -> list[av.VideoFrame]:
        """Rather a combed picture than none: what is inside comes out, and this kind passes from now on."""
        width, height, pixels, *_ = kind
        self._refused = kind
        why = (error.strerror if isinstance(error, av.FFmpegError) else str(error)) or type(error).__name__
        self._warning = (
            f"{width}x{height} {pixels} pictures cannot be deinterlaced ({why}); "
            "set the source to progressive, or the card to another pixel format"
        )
        try:
            return self.flush()
        except (av.FFmpegError, ValueError):
            return []


def _kind_of(frame: av.VideoFrame) -> _Kind:
    """What a filter graph is built for; another kind needs another graph."""
    return (
        frame.width,
        frame.height,
        frame.format.name,
        frame.time_base,
        int(frame.colorspace),
        int(frame.color_range),
    )
