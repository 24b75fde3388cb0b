"""The measurement as a whole: a pack, a source and a gate put together, in turns with plain PyTorch.

Owns the turns and the figures. Must not know how results are shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from endostream import tracing
from endostream.analysis.analyzer import AnalyzerRules
from endostream.analysis.networks import Networks
from endostream.analysis.visibility import VisibilityRules
from endostream.bench.figures import Taken, of_stream, stages_of, together
from endostream.bench.looped import LoopedSource
from endostream.bench.memory import MemoryCurve, memory_mb
from endostream.bench.result import BenchResult, StreamResult
from endostream.bench.run import Run, measure
from endostream.capture import Source, open_source
from endostream.capture.loopback import LoopbackSource
from endostream.errors import InputError
from endostream.packs import Pack, find_pack
from endostream.resources import shipped
from endostream.types import SourceInfo

if TYPE_CHECKING:
    from endostream.bench.plain import PlainRun

GateName = Literal["auto", "closed", "open"]
PaceName = Literal["max", "source"]
Say = Callable[[str], None]
SLICE_S = 5.0
"""Longest stretch of one side before the other takes its turn: clock speeds drift over longer ones."""
ALWAYS_VISIBLE = VisibilityRules(dark=-1.0, bright_share=2.0, sharpness=-1.0, redness=-9.0)
"""Looks at every picture as usual and calls none blind, so that an open gate is open on every frame."""


def run_bench(
    pack: str = "polyp",
    source: str | None = None,
    *,
    gate: GateName = "auto",
    pace: PaceName = "max",
    seconds: float = 20.0,
    streams: int = 1,
    compare: bool = False,
    trace: str | Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    say: Say | None = None,
) -> BenchResult:
    """Measure a pack on a source with the product's own pipeline.

    Parameters
    ----------
    pack
        Name or folder; a recipe without weights runs with seeded random ones.
    source
        Anything `open_source` takes, or `loopback[:FILE]`: the file sent to this computer as a live stream.
        The sample video by default. A file is looped.
    gate
        `auto` the pack's own gate, `closed` no masks, `open` a mask on every frame.
    pace
        `max` as fast as it goes, every frame; `source` at the source's rate, shown, dropping what comes too
        fast. A live source has its own pace whatever is said here.
    seconds
        Seconds to measure, warm-up excluded.
    streams
        Runs at once, each over a source of its own.
    compare
        Measure the same networks in plain PyTorch for as long, in turns.
    trace
        Write what every thread does while measuring to this file.
    engine, device, precision
        As in `open_networks`.
    say
        Hears what takes time, one line each.

    Raises
    ------
    InputError
        The pack, the source or the combination cannot be used; one line says why.
    """
    if seconds <= 0:
        raise InputError(f"--seconds {seconds:g} measures nothing; give at least 1")
    if streams < 1:
        raise InputError(f"--streams {streams} measures nothing; give at least 1")
    found = find_pack(pack)
    opener = _opener(source, compare)
    with ExitStack() as stack:
        if trace is not None:
            tracing.start(trace, held=True)
            stack.callback(tracing.stop)
        bench = _Bench(found, gate, pace, compare, opener, say or (lambda line: None))
        over = threading.Event()
        runs = [bench.open(stack, over, engine, device, precision) for _ in range(streams)]
        for run in runs:
            run.start()
        for run in runs:
            run.warm()
        return bench.measure(runs, over, seconds)


def _opener(source: str | None, compare: bool) -> Callable[[], Source]:
    spec = source or str(sample_video())

    def opened() -> Source:
        given = _open(spec)
        if compare and given.info.live:
            given.close()
            raise InputError(f"--compare needs a source that can be read twice; {given.info.name} is live")
        return given

    return opened


def _open(spec: str) -> Source:
    kind, _, file = spec.partition(":")
    if kind != "loopback":
        return open_source(spec)
    return LoopbackSource(Path(file).expanduser() if file else sample_video())


def sample_video() -> Path:
    """The sample that comes with the product; raises `InputError` when it is not there."""
    found = sorted(shipped("sample_videos").glob("*.mp4"))
    if not found:
        raise InputError("there is no sample video to measure with; name a source: --source FILE")
    return found[0]


class _Bench:
    """One measurement, from opened networks to its result."""

    def __init__(
        self,
        pack: Pack,
        gate: GateName,
        pace: PaceName,
        compare: bool,
        opener: Callable[[], Source],
        say: Say,
    ) -> None:
        self.pack, self.gate, self.pace, self.compare = pack, gate, pace, compare
        self.opener, self.say = opener, say
        self.random = bool(pack.missing)
        own = dict(pack.gate.labels) if pack.gate.rule == "labels" else None
        self.labels: dict[str, float] | None = {"auto": own, "closed": {}, "open": None}[gate]
        self.info: dict[str, str] = {}
        self.about: SourceInfo
        self._threads = 0

    def open(self, stack: ExitStack, over: threading.Event, engine: str, device: str, precision: str) -> Run:
        """One run, its networks warm; `stack` gives it back."""
        source = LoopedSource(self.opener)
        stack.callback(source.close)
        self.about = source.info
        rules = self._rules(self.pace == "source" or source.info.live)
        networks = self._open_networks(engine, device, precision, rules.paced, source.info.fps)
        stack.callback(networks.close)
        networks.warm_up(self.say)
        self.info = dict(networks.info)
        pack = {"name": self.pack.name, "version": self.pack.version, "sha256": self.pack.sha256}
        run = Run(source, networks, rules, pack, over)
        stack.callback(run.close)
        return run

    def _rules(self, paced: bool) -> AnalyzerRules:
        return AnalyzerRules(
            gate=self.labels,
            mask_threshold=self.pack.thresholds.mask,
            mask_peak=self.pack.thresholds.mask_peak,
            paced=paced,
            visibility=ALWAYS_VISIBLE if self.gate == "open" else VisibilityRules(),
        )

    def _open_networks(
        self, engine: str, device: str, precision: str, paced: bool, fps: float | None
    ) -> Networks:
        import torch

        from endostream.engines import open_networks

        # Asked before an engine applies its own policy: the comparison gets PyTorch's default.
        self._threads = self._threads or torch.get_num_threads()
        return open_networks(
            self.pack,
            engine=engine,
            device=device,
            precision=precision,
            random_weights=self.random,
            ahead=not paced,
            rate=fps if paced else None,
        )

    def measure(self, runs: Sequence[Run], over: threading.Event, seconds: float) -> BenchResult:
        """Measure in turns and put the figures together."""
        turns = max(2, round(seconds / SLICE_S)) if self.compare else 1
        plain: PlainRun | None = None
        memory: float | None = None
        curve = MemoryCurve()
        for turn in range(turns):
            self.say(f"measuring, {turn + 1} of {turns}")
            measure(runs, seconds / turns, over, curve)
            memory = memory_mb() if turn == 0 else memory
            if self.compare:
                plain = plain or self._plain(self.info["device"])
                plain.measure(seconds / turns)
        if plain is not None:
            plain.close()
        # The source's and the networks' warnings, said once for all streams.
        said = dict.fromkeys(line for run in runs for line in run.pipeline.status().warnings)
        return self._result([run.taken for run in runs], memory, curve.growth(), tuple(said), plain)

    def _plain(self, device: str) -> PlainRun:
        # Imported here: plain.py needs torch, which takes seconds to load.
        from endostream.bench.plain import PlainNetworks, PlainRun
        from endostream.engines.choose import RANDOM_SEED

        self.say("loading the networks in plain PyTorch")
        seed = RANDOM_SEED if self.random else None
        networks = PlainNetworks(self.pack, device, seed, self.labels, self._threads)
        return PlainRun(networks, LoopedSource(self.opener), self._threads)

    def _result(
        self,
        taken: Sequence[Taken],
        memory: float | None,
        growth: float | None,
        said: tuple[str, ...],
        plain: PlainRun | None,
    ) -> BenchResult:
        about, info = self.about, self.info
        streams = tuple(of_stream(one) for one in taken)
        whole = together(streams)
        cut_off = tracing.stop()
        return BenchResult(
            device=info["device"],
            engine=info["engine"],
            kernels=info.get("kernels", ""),
            precision=info["precision"],
            threads=int(info["threads"]),
            pack=self.pack.name,
            weights="random" if self.random else "pack",
            source=about.name,
            width=about.width,
            height=about.height,
            gate=self.gate,
            pace="source" if about.live else self.pace,
            seconds=round(max(one.seconds for one in taken), 3),
            stages=stages_of(taken),
            streams=len(streams),
            per_stream=streams,
            **{field.name: getattr(whole, field.name) for field in fields(StreamResult)},
            memory_mb=None if memory is None else round(memory, 1),
            # The comparison lives in the same process: what grows then says nothing of the product.
            memory_growth_mb=None if growth is None or plain is not None else round(growth, 1),
            warnings=(*said, cut_off) if cut_off else said,
            plain=None if plain is None else plain.result(whole.fps, whole.masks_per_s),
        )
