"""The trace: every line an event, the whole file JSON, and a full disk never stops the run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from endostream import tracing
from endostream.errors import InputError


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No trace outlives its test."""
    yield
    tracing.stop()


def lines(path: Path) -> list[dict[str, Any]]:
    """Every event, read line by line."""
    first, *rest, last = path.read_text().splitlines()
    assert (first, last) == ("[", "]")
    return [json.loads(line.rstrip(",")) for line in rest]


def test_every_line_is_an_event_and_the_file_is_json(tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    tracing.start(path)
    began = time.perf_counter()
    tracing.add("decode", began, began + 0.25, frame=7)
    tracing.stages({"preprocess": 0.01, "infer": 0.02}, frame=7, network="mask")
    tracing.count("waiting", frames=3)
    assert tracing.stop() is None
    events = lines(path)
    assert json.loads(path.read_text()) == events
    decode, first, second, depth = [e for e in events if e["ph"] != "M"]
    assert (decode["name"], decode["ph"], decode["args"]) == ("decode", "X", {"frame": 7})
    assert decode["dur"] == pytest.approx(250_000, abs=1)
    assert 0 <= decode["ts"] < 1e6
    assert (first["name"], second["name"]) == ("preprocess", "infer")
    assert first["ts"] + first["dur"] == pytest.approx(second["ts"], abs=1)
    assert (depth["ph"], depth["args"]) == ("C", {"frames": 3})


def test_threads_have_numbers_and_names(tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    tracing.start(path)
    both = threading.Barrier(2)

    def work() -> None:
        both.wait(5)
        tracing.add("infer", 0.0, 1.0)
        # Neither ends before the other has written: a number may be given again after a thread's end.
        both.wait(5)

    threads = [threading.Thread(name=f"lane-{n}", target=work) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracing.stop()
    events = lines(path)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {names[e["tid"]] for e in events if e["ph"] == "X"} == {"lane-0", "lane-1"}


def test_many_threads_at_once_leave_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "BUFFER", 200)
    path = tmp_path / "run.trace"
    tracing.start(path)

    def work() -> None:
        for n in range(200):
            tracing.add("infer", 0.0, 1.0, frame=n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracing.stop() is None
    assert sum(e["ph"] == "X" for e in lines(path)) == 800


def test_nothing_is_kept_while_held_or_off(tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    tracing.add("before", 0.0, 1.0)
    tracing.start(path, held=True)
    tracing.add("held", 0.0, 1.0)
    tracing.release()
    tracing.add("kept", 0.0, 1.0)
    tracing.hold()
    tracing.stages({"held": 1.0})
    tracing.count("held", n=1)
    tracing.stop()
    tracing.release()
    tracing.add("after", 0.0, 1.0)
    assert [e["name"] for e in lines(path) if e["ph"] != "M"] == ["kept"]


@pytest.mark.parametrize("place", ["no/such/folder/run.trace", "."])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="choose another place") as caught:
        tracing.start(tmp_path / place)
    assert len(str(caught.value).splitlines()) == 1
    tracing.start(tmp_path / "run.trace")
    with pytest.raises(InputError, match="another trace"):
        tracing.start(tmp_path / "second.trace")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_ends_the_trace_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "BUFFER", 100)
    tracing.start("/dev/full")
    for n in range(50):
        tracing.add("infer", 0.0, 1.0, frame=n)
    said = tracing.stop()
    assert said is not None
    assert "free some space" in said
    assert len(said.splitlines()) == 1
