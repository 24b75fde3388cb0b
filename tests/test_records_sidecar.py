"""The sidecar of a recording: what is written comes back to the last bit, and damage costs one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from endostream.errors import InputError, RunError
from endostream.records.sidecar import (
    EndLine,
    FrameLine,
    LostLine,
    Part,
    SidecarWriter,
    SignalLine,
    decode_line,
    encode_line,
    read_sidecar,
)

PART = Part(1, "recording.mkv", 0, "h264", 1280, 720, Fraction(1, 90_000), "copy", "none", 1.7e9 + 0.1)


def frame(index: int, **more: object) -> FrameLine:
    values: dict[str, object] = {
        "index": index,
        "epoch": 0,
        "pts": index * 3003,
        "time_base": Fraction(1, 90_000),
        "time": index * 3003 / 90_000 + 1e-13,
        "wall": 1_700_000_000.123456 + index / 3,
        "fate": "analysed",
    }
    return FrameLine(**{**values, **more})  # type: ignore[arg-type]


def same(a: FrameLine, b: FrameLine) -> bool:
    plain = ("index", "epoch", "pts", "time_base", "time", "wall", "fate", "label")
    if any(getattr(a, name) != getattr(b, name) for name in plain):
        return False
    for name in ("scores", "raw"):
        x, y = getattr(a, name), getattr(b, name)
        if (x is None) != (y is None) or (x is not None and x.tobytes() != y.tobytes()):
            return False
    return True


def test_lines_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    frames = []
    for index in range(200):
        scores, raw = rng.random((2, 23)).astype(np.float16)
        more = {"label": "polyps", "scores": scores, "raw": raw} if index % 3 else {"fate": "busy"}
        frames.append(frame(index, time=float(rng.random() * 1e4), wall=float(rng.random() * 2e9), **more))
    frames.append(frame(200, pts=None, time_base=Fraction(1001, 30_000)))
    others = [
        PART,
        SignalLine("lost", 1 / 3, 1.7e9 + 1 / 3, "no packet for 1 s ü"),
        LostLine(25, 1.7e9),
        EndLine(1.7e9, ""),
    ]
    writer = SidecarWriter(tmp_path / "recording.jsonl")
    writer.write(PART)
    for index in rng.permutation(201):
        writer.write(frames[index])
    writer.write(*others[1:])
    writer.close()
    read = read_sidecar(tmp_path / "recording.jsonl")
    assert [*read.parts, *read.signals, *read.losses, *read.ends] == others
    assert [f.index for f in read.frames] == list(range(201))
    assert all(same(a, b) for a, b in zip(frames, read.frames, strict=True))
    assert read.damaged == 0 and read.finished
    assert not read.frames[1].scores.flags.writeable  # type: ignore[union-attr]


def test_every_float16_comes_back() -> None:
    everything = np.arange(0x7C00, dtype=np.uint16).view(np.float16)
    back = decode_line(encode_line(frame(0, scores=everything, raw=-everything)))
    assert isinstance(back, FrameLine) and back.scores is not None and back.raw is not None
    assert back.scores.tobytes() == everything.tobytes()
    assert back.raw.tobytes() == (-everything).tobytes()


def test_the_lines_are_spelled_as_agreed() -> None:
    scores = np.array([0.25, 0.75], np.float16)
    table = json.loads(encode_line(frame(12, label="polyps", scores=scores, raw=scores)))
    assert table == {
        "kind": "frame",
        "index": 12,
        "epoch": 0,
        "pts": 36036,
        "time_base": [1, 90000],
        "time_s": 12 * 3003 / 90_000 + 1e-13,
        "wall": 1_700_000_000.123456 + 4,
        "fate": "analysed",
        "label": "polyps",
        "scores": [0.25, 0.75],
        "raw": [0.25, 0.75],
    }
    assert list(json.loads(encode_line(frame(1, fate="busy")))) == list(table)[:8]
    assert json.loads(encode_line(PART)) == {
        "kind": "part",
        "part": 1,
        "file": "recording.mkv",
        "epoch": 0,
        "codec": "h264",
        "width": 1280,
        "height": 720,
        "time_base": [1, 90000],
        "mode": "copy",
        "phi_mask": "none",
        "wall": 1.7e9 + 0.1,
    }


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_cut_last_line_is_counted_and_does_not_swallow_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "recording.jsonl"
    last = encode_line(frame(2))
    path.write_bytes(encode_line(PART) + encode_line(frame(1)) + last[:-cut])
    whole = cut == 1  # only the newline is missing
    read = read_sidecar(path)
    assert ([f.index for f in read.frames], read.damaged) == (([1, 2], 0) if whole else ([1], 1))
    assert not read.finished
    writer = SidecarWriter(path)
    writer.write(frame(3), EndLine(2.0))
    writer.close()
    read = read_sidecar(path)
    assert [f.index for f in read.frames] == ([1, 2, 3] if whole else [1, 3])
    assert read.damaged == (0 if whole else 1) and read.finished


def test_kinds_of_a_later_version_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    path.write_bytes(encode_line(PART) + b'{"kind":"smell","x":[1]}\n' + encode_line(frame(1)))
    read = read_sidecar(path)
    assert (len(read.frames), read.damaged) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello\n",
        b"[1, 2]\n",
        b'{"kind":"frame"}\n',
        b'{"kind":"frame","index":1.5,"epoch":0,"pts":0,"time_base":[1,0],"time_s":0,"wall":0,"fate":"x"}\n',
        b'{"kind":"signal","state":"odd","time_s":0,"wall":0}\n',
        encode_line(PART).replace(b"recording.mkv", b"../../secret.mkv"),
        b"\x00\xff\xfe\n" * 3,
        b"[" * 100_000,
    ],
    ids=["empty", "text", "list", "bare", "wrong", "state", "outside", "binary", "deep"],
)
def test_what_is_no_sidecar_is_said_in_one_line(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "recording.jsonl"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        read_sidecar(path)
    assert "\n" not in str(caught.value) and "recording.jsonl" in str(caught.value)


def test_a_missing_sidecar_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recording beside"):
        read_sidecar(tmp_path / "recording.jsonl")


LOCKING = """
import sys
from pathlib import Path
from endostream.errors import InputError
from endostream.records.sidecar import SidecarWriter
try:
    SidecarWriter(Path(sys.argv[1]))
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the lock of another process is a matter of flock")
def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    writer = SidecarWriter(path)
    writer.write(PART)
    with pytest.raises(InputError, match="being written"):
        SidecarWriter(path)
    done = subprocess.run(
        [sys.executable, "-c", LOCKING, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "being written by another process" in done.stdout and done.stdout.count("\n") == 1
    writer.close()
    SidecarWriter(path).close()
    with pytest.raises(RunError, match="closed"):
        writer.write(PART)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    writer = SidecarWriter(Path("/dev/full"))
    with pytest.raises(RunError, match=r"disk full .* free some space"):
        writer.write(PART)
    writer.close()


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recording.jsonl"
    writer = SidecarWriter(path)
    writer.write(PART)
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
        with pytest.raises(RunError, match="disk full"):
            writer.write(frame(1))
    writer.write(frame(2))
    writer.close()
    read = read_sidecar(path)
    assert [f.index for f in read.frames] == [2] and read.damaged == 0
