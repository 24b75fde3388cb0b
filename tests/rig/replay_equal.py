"""Live equals replay, on the real thing: `analyze --record` of a stream on 127.0.0.1, then `replay`.

    python tests/rig/replay_equal.py --rounds 10 --seconds 30

Prints a row per round and ends with 1 when a round does not hold: copied or lossless recordings must give the
same findings within one frame at their ends, encoded ones within 0.2 s and one brief finding.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from endostream.capture.loopback import SENDERS, Clip, encode_clip, open_sender
from endostream.capture.video_file import VideoFile
from endostream.resources import shipped
from endostream.types import ImageArray

SAMPLE = "phantom_colonoscopy.mp4"
FPS = 25
CUTS_S = (1.5, 4.0)
"""How long the signal is lost in every second round, in turn: after 3 s the connection is opened anew."""
Done = subprocess.CompletedProcess[str]
GIVE_UP_S = 240.0
"""A command that takes longer is killed."""
HOLDS = {
    "auto": ("identical", "within one frame"),
    "lossless": ("identical", "within one frame"),
    "encode": ("identical", "within one frame", "within 0.2 s"),
}
"""Verdicts that count, by how the recording was made."""
COLUMNS = (
    f"{'round':>5}  {'recorded':<9}{'signal':<8}{'captured':>9}{'analysed':>9}{'listed':>8}{'replayed':>9}"
    f"{'missing':>8}{'live':>6}{'replay':>7}{'frames apart':>13}{'probabilities':>14}  verdict"
)


def pictures(seconds: float) -> Iterator[ImageArray]:
    """The sample's first seconds."""
    with VideoFile(shipped("sample_videos", SAMPLE)) as source:
        for _ in range(round(seconds * FPS)):
            frame = source.read()
            if frame is None:
                return
            yield frame.image


def run(*arguments: str) -> Done:
    """The command line, to its end."""
    command = [sys.executable, "-m", "endostream", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)


def record(clip: Clip, protocol: Any, folder: Path, mode: str, seconds: float, cut_s: float) -> Done:
    """A live session of `seconds`, in which the signal may be lost once."""
    config = folder.with_suffix(".toml")
    config.write_text(f'[recording]\nmode = "{mode}"\nkeep_free_gb = 0.5\n')
    with open_sender(protocol, clip) as sender:
        over = threading.Event()

        def pull() -> None:
            # Counted from the session's own start: opening and loading take what they take.
            while not (folder / "recording.mkv").exists():
                if over.wait(0.1):
                    return
            if over.wait(seconds / 2):
                return
            sender.cut()
            over.wait(cut_s)
            sender.restore()

        thread = threading.Thread(target=pull)
        if cut_s:
            thread.start()
        try:
            return run(
                *("analyze", sender.url, "--out", str(folder), "--duration", str(seconds)),
                *("--record", "--profile", "none", "--config", str(config)),
            )
        finally:
            over.set()
            if cut_s:
                thread.join()


def row(number: int, mode: str, cut_s: float, folder: Path, document: dict[str, Any]) -> str:
    """One line of the table."""
    live = json.loads((folder / "findings.json").read_text())
    frames, seen, found = document["frames"], document["probabilities"], document["findings"]
    both, alone = found["both"], (len(found["only_live"]), len(found["only_replay"]))
    ends = [max(p["start_apart_frames"], p["end_apart_frames"]) for p in both]
    return (
        f"{number:>5}  {mode:<9}{f'-{cut_s:g} s' if cut_s else 'whole':<8}{live['frames']['captured']:>9}"
        f"{live['frames']['analysed']:>9}{frames['listed']:>8}{frames['replayed']:>9}{frames['missing']:>8}"
        f"{len(both) + alone[0]:>6}{len(both) + alone[1]:>7}{max(ends, default=0.0):>13.3f}"
        f"{seen['largest_difference']:>14.4f}  {document['verdict']}"
    )


def one(number: int, clip: Clip, protocol: str, base: Path, mode: str, seconds: float) -> bool:
    """Record and replay once; True when it holds."""
    folder = base / f"{number:03d}-{mode}"
    cut_s = 0.0 if number % 2 else CUTS_S[number // 2 % len(CUTS_S) - 1]
    for step in (
        lambda: record(clip, protocol, folder, mode, seconds, cut_s),
        lambda: run("replay", str(folder), "--json"),
    ):
        done = step()
        if done.returncode:
            print(f"{number:>5}  {mode:<9}exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
            return False
    document = json.loads(done.stdout)
    print(row(number, mode, cut_s, folder, document), flush=True)
    for line in document["warnings"]:
        print(f"       {line}", flush=True)
    return document["verdict"] in HOLDS[mode] and bool(document["findings"]["both"])


def main() -> int:
    """Run the rounds; 1 when one of them does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of each kind of recording")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a session")
    parser.add_argument("--modes", nargs="+", choices=tuple(HOLDS), default=["auto"])
    parser.add_argument("--protocol", choices=tuple(SENDERS), default="udp")
    parser.add_argument("--interlaced", action="store_true", help="send fields, which are deinterlaced")
    parser.add_argument("--keep", type=Path, help="folder for the sessions, which are removed without it")
    given = parser.parse_args()
    began = time.monotonic()
    clip = encode_clip(pictures(50.0), Fraction(FPS), interlaced=given.interlaced)
    print(f"{clip} over {given.protocol}, {given.seconds:g} s a session\n{COLUMNS}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        base = given.keep or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        held = [
            one(number, clip, given.protocol, base, mode, given.seconds)
            for mode, number in itertools.product(given.modes, range(1, given.rounds + 1))
        ]
    print(f"{sum(held)} of {len(held)} rounds hold; {time.monotonic() - began:.0f} s")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
