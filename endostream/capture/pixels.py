"""Decoded pictures to RGB arrays in display orientation, with the right matrix and range.

Owns colour conversion and rotation. Must not know files, time or packets.
"""

from __future__ import annotations

from typing import Any, cast

import av
import cv2
import numpy as np
from av.buffer import Buffer
from av.video.reformatter import Colorspace, VideoReformatter

from endostream.capture.source import MIN_SIDE
from endostream.types import ImageArray

UNSPECIFIED = 2
"""Matrix code of H.273 for a stream that does not say which matrix it used."""
HD_WIDTH, HD_HEIGHT = 1280, 720
"""From this size on an unmarked stream is taken as BT.709, below it as BT.601."""

THUMBNAIL = 16
"""Side in pixels of the copy whose side data is looked into."""

Turn = tuple[int, bool]
"""Quarter turns counter-clockwise, then whether the picture is mirrored left to right."""
UPRIGHT: Turn = (0, False)
_CV_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def is_hd(width: int, height: int) -> bool:
    """True for the sizes whose unmarked streams are BT.709."""
    return width >= HD_WIDTH or height >= HD_HEIGHT


def turn_of(frame: av.VideoFrame) -> Turn:
    """How the display matrix of a decoded frame wants it turned (by quarters, mirrored or not)."""
    # Looking into side data ties a frame into a reference cycle until the next full garbage collection: 3 MB
    # at 1080p, 5 GB in ten minutes when done for every frame. A thumbnail carries the same data.
    small = frame.reformat(width=THUMBNAIL, height=THUMBNAIL, format="gray")
    data = small.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    matrix = np.frombuffer(memoryview(cast(Buffer, data)), dtype="=i4")
    if matrix.size != 9:
        return UPRIGHT
    # Points are rows: (x', y') = (x, y) [[a, b], [c, d]] with y down.
    a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))
    mirrored = a * d - b * c < 0
    if mirrored:
        a, c = -a, -c
    quarter = round(float(np.degrees(np.arctan2(-b, a))) / 90.0) % 4
    return quarter, mirrored


def turned(image: ImageArray, turn: Turn) -> ImageArray:
    """The picture turned and mirrored, contiguous."""
    quarter, mirrored = turn
    if quarter:
        image = np.asarray(cv2.rotate(image, _CV_TURNS[quarter]), dtype=np.uint8)
    if mirrored:
        image = np.asarray(cv2.flip(image, 1), dtype=np.uint8)
    return np.ascontiguousarray(image)


class RgbConverter:
    """Decoded frame to uint8[H, W, 3] RGB; keeps its scaler between frames.

    Pixels stay as they are stored: a sample aspect ratio other than 1:1 is not applied. Bit for bit what
    ffmpeg and OpenCV give, but for HD video that does not name its matrix.

    Parameters
    ----------
    as_opencv : bool
        Take unmarked HD video as BT.601 too, as OpenCV does.
    """

    def __init__(self, as_opencv: bool = False) -> None:
        self._as_opencv = as_opencv
        self._reformatter = VideoReformatter()
        self._turn: tuple[int, Turn] | None = None
        # One thread: a 720p frame costs 0.3 ms, and a pool per source fights with the networks for cores.
        self._threads: dict[str, Any] = {"threads": 1} if _takes_threads() else {}

    def convert(self, frame: av.VideoFrame) -> ImageArray:
        """uint8[H, W, 3], RGB, contiguous, display orientation; at most one copy besides the conversion."""
        matrix: int | None = None
        if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
            hd = is_hd(frame.width, frame.height) and not self._as_opencv
            matrix = Colorspace.ITU709 if hd else Colorspace.ITU601
        rgb = self._reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, **self._threads)
        image = cast(ImageArray, rgb.to_ndarray())
        turn = self._turn_of(frame)
        return turned(image, turn) if turn != UPRIGHT else np.ascontiguousarray(image)

    def _turn_of(self, frame: av.VideoFrame) -> Turn:
        """As `turn_of`, looked up when the rotation changes."""
        rotation = frame.rotation
        if self._turn is None or self._turn[0] != rotation:
            self._turn = (rotation, turn_of(frame))
        return self._turn[1]


def _takes_threads() -> bool:
    probe = av.VideoFrame(MIN_SIDE, MIN_SIDE, "gray")
    try:
        VideoReformatter().reformat(probe, format="rgb24", threads=1)
    except TypeError:  # an older PyAV: its scaler has one thread anyway
        return False
    return True
