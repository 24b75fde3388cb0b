"""Live sessions with a recording, made in a few seconds without a network: a clip plays the live source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from small import tissue, write_pack

from endostream.capture.encode import VideoWriter
from endostream.capture.recording import PacketFile
from endostream.capture.source import SourceBase
from endostream.capture.tapping import StreamFormat, StreamPacket, Tap
from endostream.capture.video_file import VideoFile
from endostream.config import FindingSettings, Settings
from endostream.engines import open_networks
from endostream.errors import SourceError
from endostream.packs import read_pack, sha256_of
from endostream.pipeline.build import Keeping, Repeat, build
from endostream.pipeline.sinks import QuietSink
from endostream.records.sidecar import EndLine, FrameLine, LostLine, Part, SidecarWriter, SignalLine
from endostream.types import Analysis, Frame, SourceInfo, Status

FPS = 25
BASE = Fraction(1, 90_000)
TICKS = 3600
"""Units of `BASE` between two pictures."""
GOP = 10
PATIENCE_S = 20.0
INFO = SourceInfo("udp://127.0.0.1:5000", "stream", True, False, False, 96, 64, FPS, None, None, "h264")


def scene(index: int) -> NDArray[np.uint8]:
    """Tissue of changing colours for 1.6 s, then 0.8 s of darkness: findings that open and close."""
    if index % 60 >= 40:
        return np.full((64, 96, 3), 4, np.uint8)
    swing = 0.25 * np.sin(index / np.asarray([4.0, 7.0, 11.0]))
    return (tissue(index) * (0.75 + swing)).astype(np.uint8)


def write_seeing_pack(folder: Path) -> Path:
    """A pack whose classifier answers every picture of `scene` differently, and mostly with polyps."""
    import torch
    from safetensors.torch import load_file, save_file

    write_pack(folder)
    file, recipe = folder / "classifier.safetensors", folder / "pack.toml"
    weights = load_file(file)
    weight, bias = (next(n for n in weights if n.startswith("head") and weights[n].ndim == d) for d in (2, 1))

    def save() -> None:
        before = read_pack(folder).classifiers[0].sha256
        save_file(weights, file)
        recipe.write_text(recipe.read_text().replace(before, sha256_of(file)))

    # Random layers leave little of a picture: what is left is turned up, and its mean taken out again.
    weights[weight] = weights[weight] * 200_000.0
    save()
    networks = open_networks(read_pack(folder), engine="torch", device="cpu")
    lane = networks.classifiers[0]
    logits = []
    for index in range(0, 40, 4):
        lane.submit(index, scene(index))
        logits.append(lane.take().logits)
    networks.close()
    wanted = np.asarray([0.0, 2.0], np.float32) - np.mean(logits, axis=0)
    weights[bias] = weights[bias] + torch.from_numpy(wanted)
    save()
    return folder


def write_clip(path: Path, frames: int, gop: int = GOP) -> Path:
    """An H.264 clip of `scene` whose every tenth picture is a key frame."""
    with VideoWriter(path, width=96, height=64, fps=FPS, container="matroska", gop=gop) as writer:
        for index in range(frames):
            writer.write(scene(index), index / FPS)
    return path


@dataclass(frozen=True)
class Stretch:
    """Pictures of the clip that come over one connection."""

    first: int
    """First picture of the clip; a key frame."""
    last: int
    """The one after its last picture."""
    stamp: int
    """Time stamp of the first picture, in units of `BASE`."""
    seconds: float
    """Stream time of the first picture."""
    lost: frozenset[int] = frozenset()
    """Pictures of the clip that nobody delivered: an overrun."""


USUAL = (
    Stretch(0, 120, 126_045, 0.0, lost=frozenset({17, 18, 63})),
    Stretch(140, 230, 8_100_000, 7.3),
    Stretch(240, 300, 45, 30.25),
)
"""Two losses of the signal; time stamps half-way between two milliseconds, and clocks that start anew."""


class FakeLive(SourceBase):
    """Delivers the pictures of a clip as a live source does: a few at once, whether they are taken or not."""

    def __init__(self, clip: Path, stretches: Sequence[Stretch], burst: int) -> None:
        super().__init__()
        self._info = INFO
        with VideoFile(clip) as file:
            self._images = []
            while (frame := file.read()) is not None:
                self._images.append(frame.image)
        self._script = [
            (epoch, stretch, at)
            for epoch, stretch in enumerate(stretches)
            for at in range(stretch.first, stretch.last)
            if at not in stretch.lost
        ]
        self._burst = burst
        self.delivered: list[Frame] = []
        self.before: Callable[[], None] = lambda: None
        """Called before each picture."""
        self.settled = threading.Condition()
        """Notified whenever a frame was analysed."""
        self.analysed: dict[int, Analysis] = {}

    def _next(self) -> Frame | None:
        if len(self.delivered) == len(self._script):
            return None
        if self.delivered and len(self.delivered) % self._burst == 0:
            last = self.delivered[-1].index
            with self.settled:
                assert self.settled.wait_for(lambda: last in self.analysed, PATIENCE_S)
        self.before()
        epoch, stretch, at = self._script[len(self.delivered)]
        self._pass_on(epoch, stretch, at)
        self._epoch, past = epoch, at - stretch.first
        image = self._images[at].copy()
        # Seconds as a live source adds them up: not a round number in the last bits.
        seconds = stretch.seconds + past * 0.1 * 0.4
        frame = self._frame(image, seconds, stretch.stamp + past * TICKS, BASE)
        self.delivered.append(replace(frame, image=np.zeros((1, 1, 3), np.uint8)))
        return frame

    def _pass_on(self, epoch: int, stretch: Stretch, at: int) -> None:
        """Pass the packets on that this picture is decoded from."""

    def _go_to(self, time: float) -> None:
        raise SourceError("live")


class TappedLive(FakeLive):
    """Passes on the packets too, as far as the pictures that are delivered need them."""

    def __init__(self, clip: Path, stretches: Sequence[Stretch], burst: int, tap: Tap) -> None:
        super().__init__(clip, stretches, burst)
        self._tap = tap
        self._packets = [list(packets_of(clip, stretch)) for stretch in stretches]
        self._heard: set[tuple[int, int]] = set()
        self._format = format_of(clip)
        self._connected = -1

    def _pass_on(self, epoch: int, stretch: Stretch, at: int) -> None:
        if self._connected != epoch:
            self._tap.connected(self._format, epoch)
            self._connected = epoch
        while (epoch, at) not in self._heard:
            shown, packet = self._packets[epoch].pop(0)
            self._tap.packet(replace(packet, arrived=time.monotonic()))
            self._heard.add((epoch, shown))


class Listening(QuietSink):
    name = "fates"

    def __init__(self, source: FakeLive) -> None:
        self._source = source

    def analysed(self, analysis: Analysis) -> None:
        slim = replace(
            analysis, frame=replace(analysis.frame, image=np.zeros((1, 1, 3), np.uint8)), mask=None
        )
        with self._source.settled:
            self._source.analysed[analysis.frame.index] = slim
            self._source.settled.notify_all()


def format_of(clip: Path) -> StreamFormat:
    """How the clip's packets are coded."""
    with av.open(str(clip)) as container:
        headers = bytes(container.streams.video[0].codec_context.extradata or b"")
    return StreamFormat("h264", 96, 64, "yuv420p", BASE, Fraction(FPS), headers)


def packets_of(clip: Path, stretch: Stretch) -> Iterator[tuple[int, StreamPacket]]:
    """The number of a picture and its packet, with the stretch's time stamps; in decoding order."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.pts is None or stream.time_base is None:
                continue
            # Matroska keeps no decoding times: those of its first packets are not known.
            stamps = (packet.pts, packet.pts if packet.dts is None else packet.dts)
            at, decoded = (round(float(s * stream.time_base) * FPS) for s in stamps)
            if stretch.first <= at < stretch.last:
                pts, dts = (stretch.stamp + (k - stretch.first) * TICKS for k in (at, decoded))
                yield at, StreamPacket(bytes(packet), pts, dts, packet.is_keyframe, 0.0)


def write_parts(clip: Path, stretches: Iterable[Stretch], folder: Path) -> list[Part]:
    """The clip's packets as they are, a file per stretch, with the stretch's time stamps."""
    parts = []
    for epoch, stretch in enumerate(stretches):
        name = f"recording-{epoch + 1:03d}.mkv" if epoch else "recording.mkv"
        file = PacketFile(folder / name, format_of(clip))
        for _, packet in packets_of(clip, stretch):
            assert file.write(packet)
        file.close()
        parts.append(Part(epoch + 1, name, epoch, "h264", 96, 64, BASE, "copy", "none", 1.0))
    return parts


def frame_lines(source: FakeLive) -> list[FrameLine]:
    """What the sidecar says of every frame delivered."""
    lines = []
    for frame in source.delivered:
        analysis = source.analysed.get(frame.index)
        acting = None if analysis is None else analysis.acting
        lines.append(
            FrameLine(
                *(frame.index, frame.epoch, frame.pts, frame.time_base, frame.time, frame.wall),
                *("busy" if analysis is None else "analysed", None if acting is None else acting.label),
                None if acting is None else acting.scores.astype(np.float16),
                None if acting is None else acting.raw.astype(np.float16),
            )
        )
    return lines


def write_sidecar(folder: Path, parts: Sequence[Part], lines: Sequence[FrameLine]) -> None:
    """A sidecar whose lines are nearly, but not strictly, in the order of the frames."""
    writer = SidecarWriter(folder / "recording.jsonl")
    mixed = [line for k in range(0, len(lines), 4) for line in reversed(lines[k : k + 4])]
    for part in parts:
        writer.write(part)
        writer.write(*[line for line in mixed if line.epoch == part.epoch])
        writer.write(SignalLine("lost", 1.0, time.time(), "no picture comes"), LostLine(3, time.time()))
    writer.write(EndLine(time.time()))
    writer.close()


def live_run(
    clip: Path,
    folder: Path,
    pack: Path,
    stretches: Sequence[Stretch] = USUAL,
    burst: int = 3,
    settings: Settings | None = None,
) -> tuple[FakeLive, Status]:
    """A live run of the pictures in `stretches`, without its recording."""
    source = FakeLive(clip, stretches, burst)
    # Thresholds that are not the pack's own: the replay must take them from the session.
    settings = settings or Settings(engine="torch", device="cpu", finding=FindingSettings(merge_s=0.3))
    pipeline = build(
        "fake",
        settings,
        paced=False,
        sinks=[Listening(source)],
        keeping=Keeping(folder),
        repeat=Repeat(source, read_pack(pack), "none", {}),
    )
    pipeline.start()
    return source, pipeline.join()


def live_session(clip: Path, folder: Path, pack: Path, stretches: Sequence[Stretch] = USUAL) -> FakeLive:
    """A finished live session with a recording by stream copy."""
    source, _ = live_run(clip, folder, pack, stretches)
    write_sidecar(folder, write_parts(clip, stretches, folder), frame_lines(source))
    return source
