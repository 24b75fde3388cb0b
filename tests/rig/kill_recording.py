"""Kill a recording process with SIGKILL at random times, and see what is left.

    python tests/rig/kill_recording.py

A child records a synthetic live feed through the product's own recorder, at 30 pictures a second, with a new
connection every two seconds, and logs what it handed over. The parent kills it and checks that every file
plays to its end with the source's time stamps, that at most two seconds are lost against the child's log, and
that the sidecar parses to its last line. One row per kill, one for all of them; exit code 1 when a check
fails. With --live the child is `endostream analyze udp://... --record`, with its networks and its session,
and what it lost is measured by the clock on the wall.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from endostream.capture.loopback import Sender
from endostream.capture.recording import milliseconds
from endostream.capture.tapping import StreamFormat, StreamPacket
from endostream.pipeline.recorder import Recorder, RecorderRules
from endostream.records.session import Session
from endostream.records.sidecar import read_sidecar
from endostream.resources import shipped
from endostream.types import Frame

TICKS = Fraction(1, 90_000)
RATE = 30
GOP = 15
STEP = 3003
"""Ticks from one picture to the next: 29.97 Hz, so that most time stamps lie between two milliseconds."""
FIRST = 8_000_000_007
"""A broadcaster's clock starts anywhere."""
EPOCH_PICTURES = 60
"""Pictures of one connection."""
FATE_AFTER = 6
"""Pictures after which it is known what became of one: 0.2 s of a network."""
MOST_LOST_S = 2.0
CLIP = "phantom_colonoscopy.mp4"
CHILD_S = 60.0
"""A child whose parent is gone ends by itself."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed process left."""

    parts: int
    """Files."""
    pictures: int
    """Pictures that play."""
    lost_s: float
    """From the last picture that plays to the last one that was handed over."""
    lines: int
    """Lines of frames."""
    lines_lost_s: float
    """From the last line to the last frame whose fate was handed over."""
    faults: tuple[str, ...]
    """What is wrong."""


def clip(width: int, height: int) -> tuple[StreamFormat, list[tuple[bytes, bool]], list[np.ndarray]]:
    """One connection's packets, and its pictures."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
    context.gop_size, context.max_b_frames = GOP, 0
    context.options = {"preset": "ultrafast", "sc_threshold": "0", "crf": "18"}
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    pictures = [np.roll(noise // 4 + 80, n * 5, 1) for n in range(EPOCH_PICTURES)]
    coded = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        coded += context.encode(frame)
    coded += context.encode(None)
    format = StreamFormat("h264", width, height, "yuv420p", TICKS, Fraction(RATE), None)
    return format, [(bytes(p), bool(p.is_keyframe)) for p in coded], pictures


def child(folder: Path, mode: str) -> None:
    """Record until killed."""
    format, packets, pictures = clip(320, 192)
    rules = RecorderRules(
        mode="lossless" if mode == "lossless" else "auto",
        before_s=1.0,
        keep_free_bytes=0,
        masked=mode == "encode",
        phi_mask="none",
    )
    recorder = Recorder(rules)
    log = os.open(folder.parent / f"{folder.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    waiting: deque[Frame] = deque()
    begun = time.monotonic()
    for number in range(round(CHILD_S * RATE)):
        epoch, place = divmod(number, EPOCH_PICTURES)
        if place == 0:
            recorder.connected(format, epoch)
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        data, key = packets[place]
        # Every connection begins its clock anew, some before where the last one ended.
        pts, now = FIRST + epoch % 3 * 10_000_000 + place * STEP, time.monotonic()
        recorder.packet(StreamPacket(data, pts, pts, key, now))
        frame = Frame(number, pts, TICKS, number / RATE, pictures[place], now, time.time(), epoch)
        recorder.frame(frame)
        waiting.append(frame)
        told = -1
        if len(waiting) > FATE_AFTER:
            told = waiting[0].index
            recorder.fate(waiting.popleft(), "busy" if told % 3 else "skipped")
        os.write(log, f"{number} {epoch} {pts} {told}\n".encode())
        if number == RATE:
            recorder.start(folder)
            print("recording", flush=True)


def what_is_left(folder: Path) -> Left:
    """Look at a session folder after the death of its process."""
    log = (folder.parent / f"{folder.name}.log").read_text().splitlines()
    handed = [tuple(int(word) for word in line.split()) for line in log]
    faults = []
    sidecar = read_sidecar(folder / "recording.jsonl")
    if sidecar.damaged:
        faults.append(f"{sidecar.damaged} lines of the sidecar cannot be read")
    number_of = {(epoch, milliseconds(pts, TICKS)): number for number, epoch, pts, _ in handed}
    played: list[int] = []
    for part in sidecar.parts:
        with av.open(str(folder / part.file)) as container:
            stamps = [frame.pts for frame in container.decode(video=0)]
        numbers = [number_of.get((part.epoch, stamp)) for stamp in stamps]
        if None in numbers:
            faults.append(f"{part.file}: a time stamp that the source did not have")
            continue
        played += [n for n in numbers if n is not None]
    if not _without_gap(played):
        faults.append("pictures are missing between the first and the last one")
    stamps_of = {number: pts for number, _, pts, _ in handed}
    if any(line.pts != stamps_of.get(line.index) for line in sidecar.frames):
        faults.append("a line with another time stamp than the source's")
    indexes = [line.index for line in sidecar.frames]
    if not _without_gap(indexes):
        faults.append("lines are missing between the first and the last one")
    lost_s = (handed[-1][0] - (played[-1] if played else -1)) / RATE
    lines_lost_s = (max(told for *_, told in handed) - (indexes[-1] if indexes else -1)) / RATE
    for seconds, what in ((lost_s, "pictures"), (lines_lost_s, "lines")):
        if seconds > MOST_LOST_S:
            faults.append(f"{seconds:.2f} s of {what} are lost")
    return Left(len(sidecar.parts), len(played), lost_s, len(indexes), lines_lost_s, tuple(faults))


def kill_live(folder: Path, url: str, mode: str, after: float) -> Left:
    """Analyse and record a live stream until `after` seconds of it are recorded, kill, and look."""
    profile = "none" if mode == "copy" else "auto"
    command = [sys.executable, "-m", "endostream", "analyze", url, "--out", str(folder), "--record"]
    command += ["--profile", profile, "--device", "cpu", "--duration", str(CHILD_S)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + CHILD_S
            while not list(folder.glob("recording*.mkv")) and process.poll() is None:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
        finally:
            killed = time.time()
            process.send_signal(signal.SIGKILL)
    if process.returncode != -signal.SIGKILL:
        return Left(0, 0, 0.0, 0, 0.0, (f"the child ended by itself with {process.returncode}",))
    return what_is_left_live(folder, killed)


def what_is_left_live(folder: Path, killed: float) -> Left:
    """Look at the session folder of a run that was killed at `killed` (wall clock)."""
    sidecar = read_sidecar(folder / "recording.jsonl")
    faults = [f"{sidecar.damaged} lines of the sidecar cannot be read"] if sidecar.damaged else []
    played: set[tuple[int, int]] = set()
    for part in sidecar.parts:
        with av.open(str(folder / part.file)) as container:
            played |= {(part.epoch, frame.pts or 0) for frame in container.decode(video=0)}
    lines = {(x.epoch, milliseconds(x.pts or 0, x.time_base)): x for x in sidecar.frames}
    known = [x.wall for key, x in lines.items() if key in played]
    last = max(known, default=0.0)
    if any(x.wall < last for key, x in lines.items() if key not in played):
        faults.append("a line whose picture is missing, before the last one that is there")
    session = Session.open(folder)
    if not session.interrupted or not session.analysed:
        faults.append("the session is not one that was interrupted")
    lost_s, lines_lost_s = killed - last, killed - max((x.wall for x in sidecar.frames), default=0.0)
    for seconds, what in ((lost_s, "pictures"), (lines_lost_s, "lines")):
        if seconds > MOST_LOST_S:
            faults.append(f"{seconds:.2f} s of {what} are lost")
    return Left(len(sidecar.parts), len(played), lost_s, len(lines), lines_lost_s, tuple(faults))


def _without_gap(numbers: list[int]) -> bool:
    return bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def kill_once(folder: Path, mode: str, after: float) -> Left:
    """Record for `after` seconds, kill, and look."""
    folder.mkdir()
    command = [sys.executable, __file__, "--child", str(folder), "--mode", mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "recording\n":
                return Left(0, 0, 0.0, 0, 0.0, ("the child did not record",))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
        finally:
            process.send_signal(signal.SIGKILL)
    return what_is_left(folder)


def main() -> int:
    """Kill as often as was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--mode", choices=("copy", "encode", "lossless", "all"), default="all")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds of recording at most")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--live", action="store_true", help="kill `endostream analyze`, not the recorder alone"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child, arguments.mode)
        return 0
    dice = random.Random(arguments.seed)
    every = ("copy", "encode") if arguments.live else ("copy", "encode", "lossless")
    modes = every if arguments.mode == "all" else (arguments.mode,)
    print("| kill | mode | after s | files | pictures | lost s | lines | lines lost s | faults |")
    print("|---|---|---|---|---|---|---|---|---|")
    everything = []
    with tempfile.TemporaryDirectory(prefix="endostream-kill-") as base:
        for number in range(arguments.times):
            mode, after = modes[number % len(modes)], dice.uniform(0.2, arguments.longest)
            folder = Path(base) / f"{number:02d}"
            if arguments.live:
                with contextlib.closing(
                    Sender(shipped("sample_videos", "phantom_colonoscopy.mp4"))
                ) as sender:
                    left = kill_live(folder, sender.url, mode, after)
            else:
                left = kill_once(folder, mode, after)
            everything.append(left)
            print(
                f"| {number + 1} | {mode} | {after:.2f} | {left.parts} | {left.pictures} | {left.lost_s:.2f} "
                f"| {left.lines} | {left.lines_lost_s:.2f} | {'; '.join(left.faults) or 'none'} |",
                flush=True,
            )
    good = sum(not left.faults for left in everything)
    print(
        f"| kill -9 | {arguments.times} times | | | | at most {max(x.lost_s for x in everything):.2f} "
        f"| | at most {max(x.lines_lost_s for x in everything):.2f} | {good} of {arguments.times} without |"
    )
    return 0 if good == arguments.times else 1


if __name__ == "__main__":
    sys.exit(main())
