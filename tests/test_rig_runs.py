"""The rig's measurements: true figures, demands that can be missed, and a table of both."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from endostream.bench.rig import run as rig_run
from endostream.bench.rig.census import Census, census, settled
from endostream.bench.rig.changes import oddities, sizes
from endostream.bench.rig.clips import Scene, make_clip
from endostream.bench.rig.faults import black_hole, cycles, left_over
from endostream.bench.rig.live_run import Ages, LiveRun
from endostream.bench.rig.result import Figure, RigResult, as_json, as_text, failure
from endostream.bench.rig.run import measure
from endostream.bench.rig.steady import balance, slope_ms, steady
from endostream.bench.rig.view import Views
from endostream.capture.loopback import UdpSender
from endostream.capture.loopback.connections import HOST, free_port
from endostream.cli import main
from endostream.errors import RunError
from endostream.types import FrameCounts

SMALL = Scene(320, 180, 30, 2.0)
TV = Scene(360, 288, 25, 2.0, interlaced=True)


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_an_undisturbed_run_gives_true_figures() -> None:
    delay = 0.1
    found = by_name(steady("udp", SMALL, delay, 2.0))
    sent, shown = found["pictures sent"].value, found["shown-frame age p50"].value
    assert sent is not None and 55 <= sent <= 65
    # No picture is seen before its end has come, and none is analysed faster than the network.
    assert shown is not None and 0.0 < shown < 1000.0
    analysed = found["analysis age p50"].value
    assert analysed is not None and analysed >= 1000 * delay
    assert found["analysis age p95"].limit == 250.0
    assert found["captured - analysed - dropped"].met
    assert found["pictures that could not be read"].met
    assert found["quit"].met
    assert found["memory growth"].met is None


class Detour:
    """A way from a UDP sender to its reader that takes every datagram so long; stands for the sender."""

    def __init__(self, sender: UdpSender, seconds: float) -> None:
        self.sent, self.url = sender.sent, f"udp://{HOST}:{free_port(socket.SOCK_DGRAM)}"
        self._to = (HOST, int(self.url.rpartition(":")[2]))
        self._seconds = seconds
        self._inlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inlet.bind((HOST, sender.port))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        waiting = deque[tuple[float, bytes]]()
        with self._inlet, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet:
            while True:
                left = waiting[0][0] - time.monotonic() if waiting else 5.0
                if left <= 0:
                    outlet.sendto(waiting.popleft()[1], self._to)
                    continue
                self._inlet.settimeout(left)
                with suppress(TimeoutError):
                    data = self._inlet.recv(2048)
                    if not data:
                        return
                    waiting.append((time.monotonic() + self._seconds, data))

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self._inlet.getsockname())
        self._thread.join(2.0)


def test_ages_are_counted_from_the_sender_wherever_the_time_is_lost() -> None:
    with UdpSender(make_clip(SMALL)) as sender:
        detour = Detour(sender, 0.4)
        try:
            with LiveRun(cast(UdpSender, detour), Views([SMALL]), 0.1) as run:
                run.settle()
                run.shown.clear()
                run.analysed.clear()
                assert run.wait_fresh(time.monotonic(), 5.0) is not None
                assert min(run.shown.ages) >= 0.4
                assert min(run.analysed.ages) >= 0.5
        finally:
            detour.close()


def test_a_cut_and_a_return_are_timed() -> None:
    found = by_name(cycles("tcp", SMALL, 1))
    lost, back = found["NO SIGNAL after"], found["picture back after"]
    assert lost.value is not None and lost.value > 0.1
    assert back.value is not None and back.value > 0.0
    assert found["overlays left without a picture"].met
    assert found["threads more than before"].value is not None
    assert found["captured - analysed - dropped"].met


def test_a_black_hole_is_quit_and_cancelled() -> None:
    found = by_name(black_hole("tcp", SMALL))
    assert found["quit"].value is not None
    assert found["cancel while connecting"].value is not None
    assert all(figure.limit is not None for figure in found.values())


def test_other_sizes_behind_a_profile_are_timed_and_their_masks_measured() -> None:
    found = sizes("tcp", (SMALL, TV, Scene(384, 216, 30, 2.0)), "text-left")
    assert [f.name for f in found if f.value is None] == []
    off = [f.met for f in found if "beside the block" in f.name]
    assert off == [True, True]
    assert by_name(found)["errors"].met


def test_oddities_are_survived() -> None:
    found = oddities("udp", SMALL)
    assert [f.name for f in found if f.value is None] == []
    assert by_name(found)["errors"].met


# -- without a run


def test_the_balance_is_exact() -> None:
    counts = FrameCounts(captured=10, analysed=6, dropped={"busy": 3, "late": 1})
    assert balance("x", counts).met
    assert balance("x", FrameCounts(captured=10, analysed=6, dropped={"busy": 3})).value == 1.0
    # What a run cannot account for at its end must not pass as something that was stopped.
    assert balance("x", FrameCounts(captured=10, analysed=6, dropped={"busy": 3, "stopped": 1})).value == 1.0


def test_the_slope_is_what_the_age_grows_by_in_a_minute() -> None:
    ages = Ages()
    for second in range(120):
        ages.add(1000.0 + second, 0.04 + second / 60.0 * 0.002)
    assert slope_ms(ages) == pytest.approx(2.0)
    ages.clear()
    ages.add(0.0, None)
    assert (slope_ms(ages), ages.unread) == (None, 1)


def test_a_thread_and_a_file_that_stay_are_found(tmp_path: Path) -> None:
    before, stay = census(), threading.Event()
    thread = threading.Thread(target=stay.wait)
    thread.start()
    with (tmp_path / "file").open("w"):
        after = settled(before, 0.0)
    figures = left_over("x", before, after)
    assert [figure.value for figure in figures] == [1.0, 1.0][: len(figures)]
    stay.set()
    thread.join()
    assert settled(before, 2.0).threads <= before.threads
    assert left_over("x", Census(1, None), Census(1, None))[0].met


def test_a_demand_is_missed_by_a_worse_figure_and_by_none() -> None:
    assert Figure("run", "age", 99.0, "ms", 100.0).met is True
    assert Figure("run", "age", 101.0, "ms", 100.0).met is False
    assert Figure("run", "age", None, "ms", 100.0).met is False
    assert Figure("run", "age", None, "ms").met is None
    assert Figure("run", "age", float("nan"), "ms", 100.0).met is False


def test_a_run_that_fails_is_a_line_and_the_others_go_on() -> None:
    def broken() -> list[Figure]:
        raise RunError("the port\nis taken")

    heard = list[str]()
    result = measure({"a": broken, "b": lambda: [Figure("b", "age", 2.0, "ms", 3.0)]}, heard.append)
    assert heard == ["rig: a", "rig: b"]
    assert [figure.met for figure in result.figures] == [False, True]
    assert not result.passed
    lines = as_text(result)
    assert "NOT MET, the port is taken" in lines[1]
    assert lines[-1].startswith("1 of 2 demands NOT met")
    assert failure("c", ValueError()).note == "ValueError"


def test_the_table_and_the_json_say_the_same() -> None:
    figures = (
        Figure("a", "age", 12345.6, "ms", 20000.0),
        Figure("a", "rate", 1.5, "Hz"),
        Figure("b", "n", None),
    )
    result = RigResult(figures, 3.0)
    text = as_text(result)
    assert text[1].split() == ["a", "age", "12346", "ms", "20000", "ms", "met"]
    assert text[2].split() == ["rate", "1.5", "Hz"]
    assert text[3].split() == ["b", "n", "-"]
    assert text[-1] == "all 1 demands met, in 3 s"
    given = json.loads(json.dumps(as_json(result)))
    assert given["passed"] is True
    assert [figure["met"] for figure in given["figures"]] == [True, None, None]


# -- the commands


def test_the_bench_prints_a_table_and_its_exit_code_is_the_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"good": 1.0, "bad": 3.0}
    for name, value in limits.items():
        figures = [Figure(name, "age", value, "ms", 2.0)]
        given = list[float]()

        def short(seconds: float, figures: list[Figure] = figures, given: list[float] = given) -> object:
            given.append(seconds)
            return {"run": lambda: figures}

        monkeypatch.setattr(rig_run, "short_runs", short)
        assert main(["bench", "--rig", "--seconds", "2"]) == (0 if name == "good" else 1)
        assert given == [2.0]
        assert ("NOT MET" in capsys.readouterr().out) == (name == "bad")
        main(["bench", "--rig", "--json"])
        assert given[1] == rig_run.STEADY_S
        assert json.loads(capsys.readouterr().out)["passed"] == (name == "good")


def test_every_run_of_the_bench_and_of_the_soak_can_be_chosen() -> None:
    assert set(rig_run.short_runs(1.0)) >= {"steady", "cycles-tcp", "cycles-udp", "black-hole", "sizes"}
    soak = Path(__file__).parent / "rig" / "soak.py"
    listed = subprocess.run([sys.executable, soak, "--help"], capture_output=True, text=True, check=True)
    assert "cycles-udp" in listed.stdout
    wrong = subprocess.run([sys.executable, soak, "nothing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no run 'nothing'" in wrong.stderr
