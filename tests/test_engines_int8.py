"""int8: quantised once on drawn frames, kept, used only with a proof, and silent to the network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from small import write_pack

from endostream.engines import choose, int8, open_networks, openvino_engine, proof
from endostream.engines.pack_networks import PackNetworks
from endostream.errors import InputError, PackError
from endostream.packs import Pack, Sample, find_pack, read_pack

SAMPLE = '[sample]\nphantom = { seeds = [3], frames = 3, size = "96x64" }\n'
GOOD = {"top1_change": 0.004, "dice_loss": 0.002, "pictures": 200}
RANDOM = np.random.default_rng(1)
PICTURES = [RANDOM.integers(0, 256, (48, 40 + 8 * i, 3), dtype=np.uint8) for i in range(3)]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pack]:
    """A pack of tiny networks with a small sample, and an empty cache of its own."""
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    folder = write_pack(tmp_path / "tiny", bias=0.0)
    with (folder / "pack.toml").open("a", encoding="utf-8") as file:
        file.write(SAMPLE)
    yield read_pack(folder)
    torch.set_num_threads(before)


def cached(word: str) -> list[str]:
    return sorted(p.name for p in Path(os.environ["ENDOSTREAM_CACHE"], "openvino").glob(f"*{word}*"))


def prove(pack: Pack, *names: str, **figures: Any) -> None:
    for model in pack.models:
        if model.name in names:
            proof.write(pack, model, int8.installed(), GOOD | figures)


def answers(networks: PackNetworks) -> tuple[list[np.ndarray], list[str]]:
    """Logits of both networks on all pictures, and what was said."""
    said: list[str] = []
    try:
        networks.warm_up(said.append)
        found = []
        for lane in (networks.classifiers[0], networks.segmenter):
            assert lane is not None
            for key, picture in enumerate(PICTURES):
                lane.submit(key, picture)
            found += [answer.logits for answer in lane.poll(wait=True)]
        return found, said
    finally:
        networks.close()


def quantised_layers(pack: Pack) -> int:
    """FakeQuantize operations in what is kept of the classifier."""
    from endostream.engines.cache import read_blob

    content = read_blob(int8.kept(pack, "frame", int8.installed()))
    assert content is not None
    ops = int8._unpacked(content).get_ops()
    return sum(op.get_type_name() == "FakeQuantize" for op in ops)


def test_quantised_once_kept_and_close_to_fp32(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _ = answers(open_networks(pack, engine="openvino", precision="fp32"))
    first, said = answers(open_networks(pack, precision="int8", unproven=True))
    assert [s.split()[0] for s in said] == ["quantising", "compiling"] * 2
    assert "phantom seeds 3, 3 frames each, 96x64" in said[0]
    assert len(cached("quantised")) == 2 and quantised_layers(pack) > 5
    scale = max(np.abs(e).max() for e in exact)
    gap = max(np.abs(a - b).max() for a, b in zip(first, exact, strict=True))
    assert 0 < gap < 0.1 * scale, "quantised, and not far off"

    def gone() -> None:
        raise AssertionError("NNCF was asked for again")

    monkeypatch.setattr(int8, "_nncf", gone)
    second, said = answers(open_networks(pack, precision="int8", unproven=True))
    assert [s.split()[0] for s in said] == ["loading", "loading"]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    for name in cached("-int8-"):
        Path(os.environ["ENDOSTREAM_CACHE"], "openvino", name).unlink()
    _, said = answers(open_networks(pack, precision="int8", unproven=True))
    assert [s.split()[0] for s in said] == ["compiling", "compiling"], "compiled anew from what was kept"


def test_kept_networks_depend_on_all_that_made_them(pack: Pack) -> None:
    import dataclasses

    path = int8.kept(pack, "frame", "3.4.0")
    model = pack.models[0]
    wider = dataclasses.replace(model.preprocessing, std=(0.5, 0.5, 0.5))
    others = [
        int8.kept(pack, "frame", "3.5.0"),
        int8.kept(pack, "frame", "3.4.0", seed=20),
        int8.kept(dataclasses.replace(pack, sample=Sample()), "frame", "3.4.0"),
    ]
    for changed in ({"sha256": "0" * 64}, {"preprocessing": wider}, {"options": {"classes": 3}}):
        models = (dataclasses.replace(model, **changed), *pack.models[1:])
        others.append(int8.kept(dataclasses.replace(pack, models=models), "frame", "3.4.0"))
    assert len({path, *others}) == 7


def test_without_nncf_one_line_says_what_to_install(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    prove(pack, "frame", "polyp-mask")
    version = int8.installed()
    monkeypatch.setattr(int8, "installed", lambda: "")
    networks = open_networks(pack, precision="int8")
    with pytest.raises(InputError, match=rf'int8 needs NNCF once .* pip install "nncf=={version}"') as caught:
        answers(networks)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(int8, "installed", lambda: "9.9")
    with pytest.raises(
        InputError, match=rf'"nncf=={version}", or measure with NNCF 9.9: endostream evaluate'
    ):
        answers(open_networks(pack, precision="int8"))
    monkeypatch.setattr(int8, "installed", lambda: "")
    proof._path(pack, pack.models[0]).unlink()
    networks = open_networks(pack, precision="int8", random_weights=True)
    with pytest.raises(InputError, match=r'pip install "endostream\[int8\]"$'):
        answers(networks)


def test_random_weights_need_no_proof_and_say_so(pack: Pack) -> None:
    networks = open_networks(pack, precision="int8", random_weights=True)
    assert networks.info["precision"] == "int8"
    _, said = answers(networks)
    assert [s.split()[0] for s in said] == ["int8", "quantising", "compiling"] * 2
    assert said[0] == "int8 of frame with random weights: its speed is real, its answers are not"
    assert all("-random-" in name for name in cached(".blob"))


def test_without_a_proof_it_is_refused(pack: Pack) -> None:
    with pytest.raises(InputError, match=r"endostream evaluate int8 --pack tiny --data DIR") as caught:
        open_networks(pack, precision="int8")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "figures",
    [{"top1_change": 0.011, "dice_loss": 0.011}, {"pictures": 99}, {"top1_change": "0", "dice_loss": None}],
)
def test_a_proof_that_does_not_hold_is_refused(figures: dict[str, Any], pack: Pack) -> None:
    prove(pack, "frame", "polyp-mask", **{k: v for k, v in figures.items() if v is not None})
    if figures.get("dice_loss", 0) is None:
        prove(pack, "polyp-mask", dice_loss="none")
    with pytest.raises(InputError, match=r"does not hold for pack tiny \(frame: top1_.*bf16 or fp32"):
        open_networks(pack, precision="int8")


def test_one_proven_network_runs_in_int8_and_the_other_says_so(pack: Pack) -> None:
    prove(pack, "polyp-mask")
    prove(pack, "frame", top1_change=0.2)
    networks = open_networks(pack, precision="int8")
    others = "bf16" if openvino_engine.has_bf16() else "fp32"
    assert networks.info["precision"] == f"int8 (frame {others})"
    assert networks.info["engine"] == "openvino" and networks.info["device"] == "cpu"
    _, said = answers(networks)
    assert [s.split()[0] for s in said] == ["compiling", "quantising", "compiling"]
    prove(pack, "frame")
    networks = open_networks(pack, precision="int8")
    assert networks.info["precision"] == "int8"
    networks.close()


def test_a_proof_holds_for_these_weights_sample_and_recipe_only(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    prove(pack, "frame", "polyp-mask")
    assert set(proof.granted(pack)) == {"frame", "polyp-mask"}
    other = dataclasses.replace(pack.models[0], sha256="1" * 64)
    assert set(proof.granted(dataclasses.replace(pack, models=(other, pack.models[1])))) == {"polyp-mask"}
    with pytest.raises(InputError, match="nobody has measured"):
        proof.granted(dataclasses.replace(pack, sample=Sample(seeds=(4,))))
    monkeypatch.setattr(int8, "RECIPE", int8.RECIPE + 1)
    with pytest.raises(InputError, match="nobody has measured"):
        proof.granted(pack)


def test_a_pack_can_bring_its_proof_and_a_own_measurement_overrules_it(pack: Pack) -> None:
    shipped = {
        m.name: {**proof.bound(pack, m, int8.installed()), **GOOD} for m in pack.models if m.name == "frame"
    }
    with (pack.folder / "pack.toml").open("a", encoding="utf-8") as file:
        file.write(tomli_w.dumps({"int8": shipped}))
    pack = read_pack(pack.folder)
    assert proof.granted(pack) == {"frame": int8.installed()}
    prove(pack, "frame", top1_change=0.5)
    with pytest.raises(InputError, match=r"not hold for pack tiny \(frame: top1_change 0.5 of at most 0.01"):
        proof.granted(pack)
    proof._path(pack, pack.models[0]).write_text("damaged", encoding="utf-8")
    assert proof.granted(pack) == {"frame": int8.installed()}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[int8.other]\nweights = ''\n", r"\[int8\] names 'other', which is no network"),
        ("[sample]\nvideo = 'a.mp4'\n", r"\[sample\] does not know 'video'"),
        ("[sample]\nphantom = { seed = 3 }\n", r"\[sample\] does not know 'seed'"),
        ("[sample]\nphantom = { frames = 0 }\n", r"\[sample\] draws nothing"),
        ("[sample]\nphantom = { size = 'big' }\n", r"correct the pack.toml"),
    ],
)
def test_what_a_pack_says_of_its_sample_is_checked(more: str, said: str, tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "tiny")
    assert read_pack(folder).sample == Sample(), "without a word, the usual frames"
    with (folder / "pack.toml").open("a", encoding="utf-8") as file:
        file.write(more)
    with pytest.raises(PackError, match=said):
        read_pack(folder)


def test_the_sample_is_the_same_every_time_and_varied() -> None:
    sample = Sample(seeds=(3, 4), frames=2, width=96, height=64)
    first, second = list(int8.sample_pictures(sample)), list(int8.sample_pictures(sample))
    assert len(first) == 4 and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({p.tobytes() for p in first}) == 4
    assert first[0].shape == (64, 96, 3) and first[1].shape != first[0].shape, "with and without the border"


def test_int8_is_openvino_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from endostream.engines import torch_engine

    monkeypatch.setattr(torch_engine, "has_cuda", lambda: True)
    monkeypatch.setattr(openvino_engine, "available", lambda: True)
    choice = choose(precision="int8")
    assert (choice.engine, choice.device, choice.precision) == ("openvino", "cpu", "int8")
    for wish in ({"engine": "torch"}, {"device": "cuda"}):
        with pytest.raises(InputError, match="torch does not offer int8 on the GPU; use --precision fp16"):
            choose(precision="int8", **wish)  # type: ignore[arg-type]


GUARDED = """
import logging, os, socket, sys
def refuse(*a, **k):
    os.write(2, b"SOCKET USED")
    os._exit(9)
socket.socket.__init__ = refuse
for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, refuse)
socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from endostream.engines import open_networks
from endostream.packs import read_pack
networks = open_networks(read_pack(Path(sys.argv[1])), precision="int8", unproven=True)
networks.warm_up(lambda line: print(line, file=sys.stderr))
networks.close()
assert sys.modules.get("openvino_telemetry") is None
assert logging.getLoggerClass() is logging.Logger
print("nncf" in sys.modules, "torch" in sys.modules, "av" in sys.modules)
"""


@pytest.mark.timeout(240)
def test_nncf_sends_nothing_and_prints_nothing_and_is_needed_once(pack: Pack, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = os.environ | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for name in ("CI", "NNCF_CI", "NNCF_DEV", "PYTEST_CURRENT_TEST"):
        env.pop(name, None)
    said = []
    for _ in range(2):
        command = [sys.executable, "-W", "error::UserWarning", "-c", GUARDED, str(pack.folder)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said.append(done)
    assert said[0].stdout == "True True False\n" and said[1].stdout == "False False False\n"
    assert [line.split()[0] for line in said[0].stderr.splitlines()] == ["quantising", "compiling"] * 2
    assert [line.split()[0] for line in said[1].stderr.splitlines()] == ["loading"] * 2
    assert list(home.iterdir()) == [], "nothing is left in the home folder"


def test_the_shipped_pack_brings_a_proof_for_its_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDOSTREAM_CACHE", str(tmp_path))
    pack = find_pack("polyp")
    assert proof.granted(pack) == dict.fromkeys(("frame", "polyp-mask"), "3.4.0")
