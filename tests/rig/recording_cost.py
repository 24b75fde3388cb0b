"""What recording costs: milliseconds of one core per picture, and bytes per second, for every way to record.

    python tests/rig/recording_cost.py [CLIP] [--pictures N]

The clip's packets and pictures go through the product's own recorder, as fast as it takes them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.pipeline.recorder import Recorder, RecorderRules
from endostream.resources import shipped
from endostream.types import Analysis, Frame, Prediction

CLASSES = 23
AT_ONCE = 10
"""Pictures handed over before the recorder is waited for: none is left out."""


def read(path: Path, count: int) -> tuple[StreamFormat, list[StreamPacket], list[Frame]]:
    """The beginning of a clip, as a connection gives it."""
    packets, frames = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base, context = stream.time_base or Fraction(1, 90_000), stream.codec_context
        format = StreamFormat(
            *(context.name, context.width, context.height, context.pix_fmt, base),
            stream.average_rate,
            context.extradata,
        )
        for packet in container.demux(stream):
            if packet.size and len(packets) < count:
                key = bool(packet.is_keyframe)
                packets.append(StreamPacket(bytes(packet), packet.pts, packet.dts, key, 0.0))
            for picture in packet.decode() if len(frames) < count else ():
                image = picture.to_ndarray(format="rgb24")
                number, now = len(frames), time.monotonic()
                seconds = float((picture.pts or 0) * base)
                frames.append(Frame(number, picture.pts, base, seconds, image, now, time.time(), 0))
            if len(frames) >= count:
                break
    return format, packets, frames


def cost(mode: str, format: StreamFormat, packets: list[StreamPacket], frames: list[Frame]) -> None:
    """Record once and print a row."""
    rules = RecorderRules(
        mode="lossless" if mode == "lossless" else "auto",
        before_s=0.0,
        keep_free_bytes=0,
        masked=mode == "encode",
        phi_mask="none",
    )
    scores = np.full(CLASSES, 1 / CLASSES, np.float32)
    said = Prediction("frame", tuple(map(str, range(CLASSES))), scores, scores)
    with tempfile.TemporaryDirectory(prefix="endostream-cost-") as folder:
        recorder = Recorder(rules)
        recorder.connected(format, 0)
        recorder.start(Path(folder))
        recorder.frame(frames[0])  # opens the encoder
        recorder.start(Path(folder))
        began, wall = time.process_time(), time.perf_counter()
        for number, (packet, frame) in enumerate(zip(packets, frames[1:], strict=False)):
            recorder.packet(packet)
            recorder.frame(frame)
            recorder.fate(
                frame, "analysed", Analysis(frame, (said,), None, None, None, None, False, True, None)
            )
            if number % AT_ONCE == 0:
                recorder.start(Path(folder))  # answers when everything so far is written
        recorder.start(Path(folder))
        spent, wall = time.process_time() - began, time.perf_counter() - wall
        state = recorder.state
        recorder.close()
        lines = (Path(folder) / "recording.jsonl").stat().st_size / len(frames)
    count = len(frames) - 1
    rate = state.megabytes * 8 / max(state.seconds, 1e-9)
    name = f"{mode} ({state.encoder})" if state.encoder else mode
    print(
        f"| {name} | {1000 * spent / count:.2f} | {1000 * wall / count:.2f} | {rate:.1f} | {lines:.0f} "
        f"| {state.lost} |"
    )


def main() -> None:
    """Every way to record, a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    clip = shipped("sample_videos", "phantom_colonoscopy.mp4")
    parser.add_argument("clip", nargs="?", type=Path, default=clip)
    parser.add_argument("--pictures", type=int, default=240)
    arguments = parser.parse_args()
    format, packets, frames = read(arguments.clip, arguments.pictures)
    print(f"{format.width}x{format.height}, {len(frames)} pictures of {format.codec}")
    print("| way | CPU ms a picture | wall ms a picture | Mbit/s | sidecar bytes a picture | left out |")
    print("|---|---|---|---|---|---|")
    for mode in ("copy", "encode", "lossless"):
        cost(mode, format, packets, frames)


if __name__ == "__main__":
    main()
