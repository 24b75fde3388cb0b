"""Engines: they agree with torch and with each other, remember what they compiled, and call nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_packs import tiny_pack

from endostream.analysis.networks import Answer
from endostream.engines import Preprocessor, open_networks, openvino_engine
from endostream.engines.cache import key_of, read_blob, write_blob
from endostream.models import load
from endostream.packs import Pack

RANDOM = np.random.default_rng(1)
PICTURES = [RANDOM.integers(0, 256, (60 + 9 * i, 100, 3), dtype=np.uint8) for i in range(4)]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pack]:
    """A small pack and an empty cache of its own."""
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    yield tiny_pack(tmp_path / "tiny")
    torch.set_num_threads(before)


def blobs() -> list[Path]:
    return sorted(Path(os.environ["ENDOSTREAM_CACHE"], "openvino").glob("*"))


def run(pack: Pack, **wish: str) -> tuple[list[Answer], list[Answer], list[str]]:
    """Answers of the classifier and the segmenter to all pictures, and what was said."""
    networks = open_networks(pack, **wish)  # type: ignore[arg-type]
    said: list[str] = []
    try:
        networks.warm_up(said.append)
        lanes = [*networks.classifiers, networks.segmenter]
        for lane in lanes:
            assert lane is not None
            for key, picture in enumerate(PICTURES):
                lane.submit(key, picture)
        first, second = (lane.poll(wait=True) for lane in lanes if lane is not None)
        return first, second, said
    finally:
        networks.close()


def plainly(pack: Pack) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Logits, maps and mask logits of all pictures by calling the modules."""
    found = []
    models = [(load(pack, m), Preprocessor(m.preprocessing, exact=True)) for m in pack.models]
    (classifier, first), (segmenter, second) = models
    with torch.no_grad():
        for picture in PICTURES:
            logits, maps = classifier(torch.from_numpy(first(picture)))
            mask = segmenter(torch.from_numpy(second(picture)))
            found.append((logits[0].numpy(), maps[0].numpy(), mask[0, 0].numpy()))
    return found


@pytest.mark.parametrize(
    ("engine", "precision", "gap"),
    [("torch", "fp32", 1e-4), ("openvino", "fp32", 1e-3), ("torch", "bf16", 0.3), ("openvino", "bf16", 0.3)],
)
def test_every_engine_agrees_with_the_module(engine: str, precision: str, gap: float, pack: Pack) -> None:
    if (engine, precision) == ("openvino", "bf16") and not openvino_engine.has_bf16():
        pytest.skip("this processor has no bfloat16")
    classified, segmented, _ = run(pack, engine=engine, precision=precision, protocol="published")
    assert [a.key for a in classified] == [a.key for a in segmented] == list(range(len(PICTURES)))
    for seen, mask, (logits, maps, mask_logits) in zip(classified, segmented, plainly(pack), strict=True):
        assert seen.maps is not None
        for ours, expected in ((seen.logits, logits), (seen.maps, maps), (mask.logits, mask_logits)):
            assert ours.dtype == np.float32 and ours.shape == expected.shape
            assert np.abs(ours - expected).max() < gap
            assert expected.std() > 0


def test_answers_are_not_overwritten_by_later_ones(pack: Pack) -> None:
    for engine in ("torch", "openvino"):
        classified, segmented, _ = run(pack, engine=engine, precision="fp32")
        assert len({a.logits.tobytes() for a in classified}) == len(PICTURES)
        assert len({a.logits.tobytes() for a in segmented}) == len(PICTURES)


def test_a_second_start_loads_what_the_first_compiled(pack: Pack) -> None:
    first = run(pack, engine="openvino", precision="fp32")
    kept = blobs()
    assert len(kept) == 2 and all(b.suffix == ".blob" for b in kept)
    assert first[2] == [
        "compiling classifier three for the CPU (fp32); cached for next time",
        "compiling segmenter mask for the CPU (fp32); cached for next time",
    ]
    second = run(pack, engine="openvino", precision="fp32")
    assert [s.split()[0] for s in second[2]] == ["loading", "loading"]
    assert blobs() == kept
    for a, b in zip(first[0] + first[1], second[0] + second[1], strict=True):
        assert np.array_equal(a.logits, b.logits)


def test_other_weights_and_other_precision_are_compiled_anew(pack: Pack) -> None:
    run(pack, engine="openvino", precision="fp32")
    before = blobs()
    other = tiny_pack(pack.folder, seed=5)
    said = run(other, engine="openvino", precision="fp32")[2]
    assert all(s.startswith("compiling") for s in said)
    assert len(blobs()) == 2 and not set(blobs()) & set(before), "the older ones are gone"


def test_a_damaged_cache_is_rebuilt(pack: Pack) -> None:
    first = run(pack, engine="openvino", precision="fp32")
    flipped, foreign = blobs()
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 0xFF
    flipped.write_bytes(content)
    # Whole by its checksum, but nothing OpenVINO can read.
    write_blob(foreign, b"not a compiled network")
    again = run(pack, engine="openvino", precision="fp32")
    assert [s.split()[0] for s in again[2]] == ["compiling", "compiling"]
    assert np.array_equal(first[0][0].logits, again[0][0].logits)
    assert all(s.startswith("loading") for s in run(pack, engine="openvino", precision="fp32")[2])


def test_an_unwritable_cache_is_said_and_done_without(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "file"))
    classified, _, said = run(pack, engine="openvino", precision="fp32")
    assert len(classified) == len(PICTURES)
    assert sum("cannot be kept" in s and "each start compiles" in s for s in said) == 2


def test_blobs_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "net-a.blob"
    assert read_blob(path) is None
    assert write_blob(path, b"12345") is None and read_blob(path) == b"12345"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:30], b"", whole[:-1] + b"6", b"x" + whole[1:]):
        path.write_bytes(damaged)
        assert read_blob(path) is None
    assert write_blob(path.with_name("net-b.blob"), b"678") is None
    assert write_blob(path.with_name("net-other-c.blob"), b"9") is None
    assert [p.name for p in sorted(path.parent.iterdir())] == ["net-b.blob", "net-other-c.blob"]
    assert key_of(["a", 1]) != key_of(["a", 2]) and len(key_of(["a"])) == 20


GUARDED = """
import os, socket, sys
def refuse(*a, **k):
    os.write(2, b"SOCKET USED")
    os._exit(9)
socket.socket.__init__ = refuse
for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, refuse)
socket.create_connection = socket.getaddrinfo = refuse
{first}
from pathlib import Path
import numpy as np
from endostream.engines import open_networks
from endostream.packs import read_pack
networks = open_networks(read_pack(Path(sys.argv[1])), engine="openvino", precision="fp32")
networks.warm_up(print)
networks.classifiers[0].submit(1, np.zeros((40, 40, 3), np.uint8))
print(len(networks.classifiers[0].poll(wait=True)), "torch" in sys.modules)
networks.close()
assert sys.modules.get("openvino_telemetry") is None
"""


def guarded(pack: Pack, home: Path, first: str = "") -> str:
    home.mkdir(exist_ok=True)
    env = os.environ | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    env.pop("CI", None)
    command = [sys.executable, "-c", GUARDED.replace("{first}", first), str(pack.folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == [], "nothing is left in the home folder"
    return done.stdout


@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [4, 16], ids=["openvino", "own-kernels"])
def test_nothing_is_sent_and_a_second_start_does_without_torch(
    width: int, pack: Pack, tmp_path: Path
) -> None:
    pack = tiny_pack(tmp_path / "another", width=width)
    first, second = guarded(pack, tmp_path / "home"), guarded(pack, tmp_path / "home")
    assert first.startswith("compiling") and first.endswith("1 True\n")
    assert second.startswith("loading") and second.endswith("1 False\n")
