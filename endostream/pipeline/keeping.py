"""Sinks that write files: the session folder with its stills, and the annotated video.

Owns what is written when; the formats belong to `records` and `capture`. Must not know threads or windows.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from endostream.analysis.overlay import Layers, render
from endostream.analysis.visibility import BlindLedger
from endostream.capture.encode import VideoWriter
from endostream.errors import RunError
from endostream.pipeline.sinks import QuietSink
from endostream.records.export import write_findings_json, write_frames_jsonl, write_timings_json
from endostream.records.files import write_json
from endostream.records.report import write_report
from endostream.records.session import Session
from endostream.records.store import SessionWriter
from endostream.types import (
    Analysis,
    BlindSpan,
    FindingEvent,
    FloatArray,
    Frame,
    ImageArray,
    Review,
    RunInfo,
    SignalChange,
    Status,
)
from endostream.vocabulary import marking

STILL_QUALITY = 95
_IMAGE_DESCRIPTION = 0x010E
"""EXIF's tag for a line about the picture."""
_MASK_PNG = [
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_NONE,
]
"""1.2 ms for a 720p mask; the default filters cost 5.7 ms and gain nothing on two values."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a session folder gets besides its database, stills and report."""

    masks: bool = False
    """`masks/{index:06d}.png` for every segmented frame."""
    heatmaps: bool = False
    """`heatmaps/{index:06d}.npy` for every analysed frame with a class map."""
    published: bool = False
    """`published.json`, the predecessor's list."""
    background: tuple[str, ...] = ()
    """Labels whose class map is not drawn."""


def drawable(analysis: Analysis, background: tuple[str, ...]) -> Analysis:
    """The analysis as it is drawn: a class map of a label that means nothing is left out."""
    acting = analysis.acting
    if analysis.heatmap is None or (
        acting is not None and acting.label not in background and analysis.visible
    ):
        return analysis
    return replace(analysis, heatmap=None)


class SessionSink(QuietSink):
    """Keeps a run as a session folder: database, stills, masks, exports and the report.

    Parameters
    ----------
    folder
        The session folder.
    overwrite
        Replace a session that is there.
    outputs
        What is written besides.
    """

    name = "session"

    def __init__(self, folder: Path, overwrite: bool = False, outputs: Outputs | None = None) -> None:
        self.folder = folder
        self._overwrite = overwrite
        self._outputs = outputs or Outputs()
        self._writer: SessionWriter | None = None
        self._current: Analysis | None = None
        self._best: dict[tuple[bool, int], Analysis] = {}
        self._manual = 0
        self._reasons: dict[float, str | None] = {}
        self._minimum_blind = 0.0
        self._epochs = 0
        self._seekable = False
        self._published: list[dict[str, object]] = []
        self._phi_mask = "none"

    def opened(self, info: RunInfo) -> None:
        """Create the folder; raises `InputError` when it cannot be used."""
        self._writer = SessionWriter.create(self.folder, info, overwrite=self._overwrite)
        self._phi_mask = info.phi_mask
        # In a live run a new epoch follows a loss, whose time the ledger knows; nothing is seen twice.
        self._seekable = info.source.seekable
        visibility = info.settings.get("visibility", {})
        self._minimum_blind = float(visibility.get("minimum_s", 0.0))
        for wanted, name in ((self._outputs.masks, "masks"), (self._outputs.heatmaps, "heatmaps")):
            if wanted:
                _folder(self.folder / name)

    def analysed(self, analysis: Analysis) -> None:
        """Write the frame's row, and its mask and class map when they are wanted."""
        self._session.add_analysis(analysis)
        self._current = analysis
        frame = analysis.frame
        self._epochs = max(self._epochs, frame.epoch)
        self._reasons[frame.time] = analysis.reason
        if self._outputs.masks and analysis.segmented:
            height, width = frame.image.shape[:2]
            mask = np.zeros((height, width), bool) if analysis.mask is None else analysis.mask
            _write_picture(self.folder / "masks" / f"{frame.index:06d}.png", mask.astype(np.uint8) * 255)
        if self._outputs.heatmaps and analysis.heatmap is not None:
            _write_array(self.folder / "heatmaps" / f"{frame.index:06d}.npy", analysis.heatmap)
        if self._outputs.published and analysis.acting is not None:
            acting = analysis.acting
            self._published.append(
                {
                    "frame_idx": len(self._published),
                    "predicted_class": acting.label,
                    "confidence": acting.confidence,
                    "polyp_detected": acting.label == "polyps",
                    "segmentation_available": analysis.segmented,
                }
            )

    def found(self, event: FindingEvent) -> None:
        """Write the finding, and its still when it opens and again when it was surest."""
        self._session.add_finding(event)
        key, finding = (event.landmark, event.finding.id), event.finding
        if event.change == "removed":
            self._best.pop(key, None)
            return
        if self._current is not None and finding.peak.index == self._current.frame.index:
            self._best[key] = self._current
        if event.change == "opened" and self._current is not None:
            self._best.setdefault(key, self._current)
            self._keep_still(event, self._current)
        elif event.change == "closed" and key in self._best:
            self._keep_still(event, self._best.pop(key))

    def blind(self, span: BlindSpan) -> None:
        """Write the stretch into the ledger."""
        self._session.add_blind(span)

    def signalled(self, change: SignalChange) -> None:
        """Write that the picture was lost, froze or came back, and all before it: silence may follow."""
        told = {"state": change.state, "time_s": change.time, "wall": change.wall, "detail": change.detail}
        self._session.event("signal", told)
        self._session.commit()

    def stated(self, status: Status) -> None:
        """Write how the run is doing."""
        self._session.set_status(status)

    def still_taken(self, frame: Frame, analysis: Analysis | None) -> None:
        """Write a still that a person asked for."""
        self._manual += 1
        path = f"stills/still-{self._manual:03d}"
        self._save(path, frame, analysis)
        self._session.add_still(None, f"{path}.jpg", frame.time, "manual")

    def reviewed(self, finding: int, review: Review, note: str, landmark: bool) -> None:
        """Write what a person said of a finding or landmark."""
        self._session.set_review(finding, review, note, landmark=landmark)

    def closed(self, status: Status) -> None:
        """Finish the session, then write its exports and its report."""
        if self._writer is None:
            return
        try:
            if self._epochs and self._seekable:
                self._writer.replace_blind(self._spans())
        finally:
            self._writer.finish(status)
        write_timings_json(status, self.folder / "timings.json", self._phi_mask)
        write_documents(self.folder)
        if self._outputs.published:
            write_json(self.folder / "published.json", self._published)

    @property
    def _session(self) -> SessionWriter:
        if self._writer is None:
            raise RuntimeError("a session sink hears nothing before `opened`")
        return self._writer

    def _spans(self) -> tuple[BlindSpan, ...]:
        ledger, spans = BlindLedger(self._minimum_blind), list[BlindSpan]()
        for time in sorted(self._reasons):
            spans += ledger.update(time, self._reasons[time])
        return (*spans, *ledger.finish())

    def _keep_still(self, event: FindingEvent, analysis: Analysis) -> None:
        kind = "landmark" if event.landmark else "finding"
        path = f"stills/{kind}-{event.finding.id:03d}"
        self._save(path, analysis.frame, analysis)
        self._session.add_still(event.finding.id, f"{path}.jpg", analysis.frame.time, kind)

    def _save(self, path: str, frame: Frame, analysis: Analysis | None) -> None:
        _folder(self.folder / "stills")
        shown = None if analysis is None else drawable(analysis, self._outputs.background)
        _write_jpeg(self.folder / f"{path}.jpg", render(frame, shown), self._phi_mask)
        _write_jpeg(self.folder / f"{path}_plain.jpg", frame.image, self._phi_mask)


def write_documents(folder: Path) -> None:
    """Write `frames.jsonl`, `findings.json` and the template report of a finished session."""
    session = Session.open(folder)
    write_frames_jsonl(session, folder / "frames.jsonl")
    write_findings_json(session, folder / "findings.json")
    write_report(session)


class AnnotatedSink(QuietSink):
    """Writes `annotated.mp4`: every analysed frame with its overlays.

    Parameters
    ----------
    path
        The file.
    background
        Labels whose class map is not drawn.
    """

    name = "annotated"

    def __init__(self, path: Path, background: tuple[str, ...] = ()) -> None:
        self._path = path
        self._background = background
        self._fps = 25.0
        self._marking = ""
        self._writer: VideoWriter | None = None

    def opened(self, info: RunInfo) -> None:
        """Remember the frame rate; the file is created with the first frame, whose size decides."""
        self._fps = info.source.fps or (1.0 if info.source.independent else 25.0)
        self._marking = marking(info.phi_mask)

    def analysed(self, analysis: Analysis) -> None:
        """Write the frame."""
        picture = render(analysis.frame, drawable(analysis, self._background), Layers())
        if self._writer is None:
            height, width = picture.shape[:2]
            fps = Fraction(self._fps).limit_denominator(1001)
            self._writer = VideoWriter(
                self._path,
                width=width,
                height=height,
                fps=fps,
                crf=23,
                preset="superfast",
                comment=self._marking,
            )
        self._writer.write(picture, analysis.frame.time)

    def closed(self, status: Status) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


def _folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {path.name}: {error.strerror}; free some space") from error


def _write_picture(path: Path, image: ImageArray) -> None:
    done, data = cv2.imencode(".png", image, _MASK_PNG)
    if not done:
        raise RunError(f"cannot encode {path.name}")
    _write(path, data.tobytes())


def _write_jpeg(path: Path, image: ImageArray, phi_mask: str) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[_IMAGE_DESCRIPTION] = marking(phi_mask)
    Image.fromarray(image).save(stream, "JPEG", quality=STILL_QUALITY, subsampling=0, exif=exif)
    _write(path, stream.getvalue())


def _write_array(path: Path, values: FloatArray) -> None:
    stream = io.BytesIO()
    np.save(stream, values.astype(np.float16))
    _write(path, stream.getvalue())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise RunError(
            f"cannot write {path.name}: {error.strerror}; free some space and run again"
        ) from error
