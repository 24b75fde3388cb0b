"""The bench at work: streams at once, loopback, held between turns, shown as a window would, traced."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from small import write_pack, write_video

from endostream.bench import BenchResult, as_json, as_text, run_bench
from endostream.bench.figures import Taken, of_stream, together
from endostream.bench.memory import MemoryCurve
from endostream.bench.result import Shown, StreamResult
from endostream.bench.run import Watch
from endostream.bench.screen import draw
from endostream.types import Analysis, Frame

PLAIN_ENGINE = {"engine": "torch", "precision": "fp32"}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pack that sees a polyp in every picture."""
    return str(write_pack(tmp_path_factory.mktemp("packs") / "tiny"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Half a second of moving tissue."""
    return str(write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=12))


@pytest.fixture(scope="module")
def pair(pack: str, clip: str) -> BenchResult:
    """Two streams at the clip's pace."""
    return run_bench(pack, clip, gate="open", pace="source", seconds=0.8, streams=2, **PLAIN_ENGINE)  # type: ignore[arg-type]


def adds_up(figures: StreamResult | BenchResult) -> None:
    """Every captured frame was analysed or dropped, and at most a few of the streams' frames came."""
    assert figures.captured > 0
    assert figures.captured == figures.frames + figures.dropped
    assert figures.dropped_share == pytest.approx(figures.dropped / figures.captured, abs=1e-5)


def test_two_streams_have_figures_of_their_own_and_together(pair: BenchResult) -> None:
    assert pair.streams == len(pair.per_stream) == 2
    for one in (pair, *pair.per_stream):
        adds_up(one)
    assert pair.captured == sum(one.captured for one in pair.per_stream)
    assert pair.fps == pytest.approx(sum(one.fps for one in pair.per_stream), abs=0.01)
    for figure in ("frame_age_ms", "mask_age_ms", "annotation_delay_ms"):
        worst = max(getattr(one, figure)["p95"] for one in pair.per_stream)
        assert getattr(pair, figure)["p95"] == worst
    table = json.loads(json.dumps(as_json(pair)))
    assert table["streams"] == 2
    assert [set(one) for one in table["per_stream"]] == [{*StreamResult.__dataclass_fields__}] * 2


def test_a_window_shows_every_frame_with_a_mask_while_the_gate_is_open(pack: str, tmp_path: Path) -> None:
    # Slow pictures: a busy computer gives each its own mask as well.
    clip = write_video(tmp_path / "slow.mp4", frames=12, fps=6)
    result = run_bench(pack, str(clip), pace="source", seconds=1.5, **PLAIN_ENGINE)  # type: ignore[arg-type]
    assert result.shown is not None
    assert result.shown.with_mask == 1.0
    assert result.shown.fps > 0
    assert result.masks_per_s == pytest.approx(result.fps, abs=0.01)
    assert result.shown.overlay_age_ms["p50"] is not None
    assert result.annotation_delay_ms["p50"] is not None
    assert result.mask_age_ms["p50"] >= result.frame_age_ms["p50"] - 1e-3  # type: ignore[operator]


def test_a_closed_gate_says_nothing_of_masks_and_full_speed_nothing_of_a_window(pack: str, clip: str) -> None:
    closed = run_bench(pack, clip, gate="closed", pace="source", seconds=0.3, **PLAIN_ENGINE)  # type: ignore[arg-type]
    assert closed.shown is not None
    assert closed.shown.with_mask is None
    assert closed.shown.fps > 0
    assert run_bench(pack, clip, seconds=0.3, **PLAIN_ENGINE).shown is None  # type: ignore[arg-type]


def test_time_held_for_the_comparison_counts_as_nothing(pack: str, clip: str) -> None:
    seconds = 2.0
    result = run_bench(
        pack, clip, gate="open", pace="source", seconds=seconds, compare=True, **PLAIN_ENGINE  # type: ignore[arg-type]
    )  # fmt: skip
    held_ms = 1000.0 * seconds / 2
    adds_up(result)
    assert result.plain is not None
    assert result.plain.masks_ratio is not None
    assert result.seconds < 1.5 * seconds, "the plain turns are not in it"
    for figure in (result.frame_age_ms, result.mask_age_ms, result.annotation_delay_ms):
        assert figure["p99"] < held_ms  # type: ignore[operator]
    assert result.captured <= 25 * seconds + 4, "nothing is made up for after a turn"


def sockets() -> int:
    """Open sockets of this process."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return 0
    links = [os.readlink(entry) for entry in folder.iterdir() if entry.is_symlink() and entry.exists()]
    return sum(link.startswith("socket:") for link in links)


def test_loopback_is_a_live_stream_and_leaves_nothing(pack: str, clip: str) -> None:
    before = sockets()
    result = run_bench(pack, f"loopback:{clip}", gate="open", seconds=0.6, **PLAIN_ENGINE)  # type: ignore[arg-type]
    assert (result.source, result.pace) == ("loopback:clip.mp4", "source")
    assert result.frames > 0
    assert result.shown is not None
    assert result.stages["decode"]["p50_ms"] is None, "a live source decodes in its own thread"
    assert sockets() == before


def test_the_trace_holds_the_measured_frames(pack: str, clip: str, tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    result = run_bench(pack, clip, gate="open", seconds=0.3, trace=path, **PLAIN_ENGINE)  # type: ignore[arg-type]
    events = json.loads(path.read_text())
    assert [json.loads(line.rstrip(",")) for line in path.read_text().splitlines()[1:-1]] == events
    seen = Counter(event["name"] for event in events if event["ph"] == "X")
    assert seen["decode"] == seen["publish"] == seen["heatmap"] == result.frames
    assert seen["infer"] == 2 * result.frames, "one for each network"
    assert seen["draw"] > 0
    infers = [event for event in events if event["name"] == "infer"]
    assert {event["args"]["network"] for event in infers} == {"frame", "polyp-mask"}
    assert result.warnings == ()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_trace_without_room_is_said_and_stops_nothing(pack: str, clip: str) -> None:
    result = run_bench(pack, clip, seconds=0.3, trace="/dev/full", **PLAIN_ENGINE)  # type: ignore[arg-type]
    assert result.frames > 0
    assert "free some space" in result.warnings[0]
    assert as_text(result)[-1].startswith("note: trace")


def test_the_text_fits_a_terminal(pair: BenchResult) -> None:
    lines = as_text(pair)
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines[-2:]}) == 1, "the columns of the streams stand under each other"


def test_a_mask_does_not_age_while_its_run_is_held() -> None:
    watch, taken = Watch(threading.Event()), Taken()
    image = np.zeros((16, 16, 3), np.uint8)
    now = time.monotonic()
    first = Frame(0, 0, Fraction(1, 25), 0.0, image, now, 0.0)
    watch.analysed(Analysis(first, (), None, None, None, None, False, True, None))
    watch.held(100.0)
    watch.taken = taken
    second = Frame(1, 1, Fraction(1, 25), 0.04, image, now + 100.0, 0.0)
    watch.analysed(Analysis(second, (), None, None, "tracked", 0.0, False, True, None))
    assert taken.mask_ages == pytest.approx(taken.ages)
    assert taken.masks == 1, "a late mask is first seen carried"
    watch.analysed(Analysis(second, (), None, None, "tracked", 0.0, False, True, None))
    assert taken.masks == 1


def row(value: float) -> dict[str, float | None]:
    """Three percentiles, all the same."""
    return dict.fromkeys(("p50", "p95", "p99"), value)


def test_together_is_the_sum_of_rates_and_the_worst_of_ages() -> None:
    taken = [Taken(captured=10, frames=8, dropped=2, seconds=2.0, ages=[0.01 * n]) for n in (1, 3)]
    taken[1].shown_s, taken[1].shown, taken[1].gated, taken[1].masked = 2.0, 10, 8, 6
    streams = [of_stream(one) for one in taken]
    assert streams[0].shown is None
    none = dict.fromkeys(("p50", "p95", "p99"))
    assert streams[1].shown == Shown(5.0, 0.75, none, none)
    whole = together(streams)
    assert (whole.fps, whole.captured, whole.dropped, whole.dropped_share) == (8.0, 20, 4, 0.2)
    assert whole.frame_age_ms == row(30.0)
    assert whole.mask_age_ms == none
    assert whole.shown == streams[1].shown


def test_memory_that_settles_has_not_grown() -> None:
    curve = MemoryCurve()
    curve.values = [100.0 + 10 * min(n, 30) for n in range(120)]
    assert curve.growth() == 0.0
    curve.values = [100.0 + n for n in range(130)]
    assert curve.growth() == 95.0
    curve.values = [100.0] * 5
    assert curve.growth() is None


@pytest.mark.parametrize(("size", "shown"), [((720, 1280), (720, 1280)), ((1080, 1920), (720, 1280))])
def test_what_is_drawn_fits_the_display_and_leaves_the_frame_alone(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    image.flags.writeable = False
    mask = np.zeros(size, np.bool_)
    mask[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = True
    frame = Frame(0, 0, Fraction(1, 25), 0.0, image, 0.0, 0.0)
    analysis = Analysis(frame, (), None, mask, "network", 0.0, True, True, None)
    drawn = draw(frame, analysis)
    assert drawn.shape == (*shown, 3)
    changed = (drawn != 90).any(axis=2)
    assert changed[shown[0] // 4 + 20, shown[1] // 4 + 20]
    assert not changed[shown[0] * 3 // 4].any()
    assert (draw(frame, None) == 90).all()
    assert (image == 90).all()
