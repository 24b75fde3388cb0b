"""The measurement as a whole: a pack, a source and a gate put together, in turns with plain PyTorch.

Owns the turns and the figures. Must not know how results are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from endostream.analysis.analyzer import AnalyzerRules
from endostream.analysis.networks import Networks
from endostream.analysis.visibility import VisibilityRules
from endostream.bench.looped import LoopedSource
from endostream.bench.result import BenchResult, percentiles
from endostream.bench.run import Run, Taken, memory_mb
from endostream.capture import Source, open_source
from endostream.errors import InputError
from endostream.packs import Pack, find_pack
from endostream.resources import shipped

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
    compare: bool = False,
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
        Anything `open_source` takes; the sample video by default. A file is looped.
    gate
        `auto` the pack's own gate, `closed` no masks, `open` a mask on every frame.
    pace
        `max` as fast as it goes, every frame; `source` at the source's rate, dropping what comes too fast.
    seconds
        Seconds to measure, warm-up excluded.
    compare
        Measure the same networks in plain PyTorch for as long, in turns.
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
    if compare and pace == "source":
        raise InputError("--compare runs at full speed; leave out --pace source")
    found = find_pack(pack)
    looped = LoopedSource(_opener(source, compare))
    try:
        bench = _Bench(found, gate, pace, compare, looped, say or (lambda line: None))
        networks = bench.open(engine, device, precision)
    except BaseException:
        looped.close()
        raise
    names = {"name": found.name, "version": found.version, "sha256": found.sha256}
    run = Run(looped, networks, bench.rules, names)
    try:
        run.warm()
        return bench.measure(run, dict(networks.info), seconds)
    finally:
        run.pipeline.close()
        looped.close()
        networks.close()


def _opener(source: str | None, compare: bool) -> Callable[[], Source]:
    spec = source or str(sample_video())

    def opened() -> Source:
        given = open_source(spec)
        if compare and given.info.live:
            given.close()
            raise InputError(f"--compare needs a source that can be read twice; {given.info.name} is live")
        return given

    return opened


def sample_video() -> Path:
    """The sample that comes with the product; raises `InputError` when it is not there."""
    found = sorted(shipped("sample_videos").glob("*.mp4"))
    if not found:
        raise InputError("there is no sample video to measure with; name a source: --source FILE")
    return found[0]


class _Bench:
    """One measurement, from opened networks to its result."""

    def __init__(
        self, pack: Pack, gate: GateName, pace: PaceName, compare: bool, source: LoopedSource, say: Say
    ) -> None:
        self.pack, self.gate, self.pace, self.compare = pack, gate, pace, compare
        self.source, self.say = source, say
        self.random = bool(pack.missing)
        own = dict(pack.gate.labels) if pack.gate.rule == "labels" else None
        self.labels: dict[str, float] | None = {"auto": own, "closed": {}, "open": None}[gate]
        self.rules = AnalyzerRules(
            gate=self.labels,
            mask_threshold=pack.thresholds.mask,
            mask_peak=pack.thresholds.mask_peak,
            paced=pace == "source" or source.info.live,
            visibility=ALWAYS_VISIBLE if gate == "open" else VisibilityRules(),
        )
        self._threads = 0

    def open(self, engine: str, device: str, precision: str) -> Networks:
        """The networks, warm."""
        import torch

        from endostream.engines import open_networks

        # Asked before an engine applies its own policy: the comparison gets PyTorch's default.
        self._threads = torch.get_num_threads()
        networks = open_networks(
            self.pack,
            engine=engine,
            device=device,
            precision=precision,
            random_weights=self.random,
            ahead=not self.rules.paced,
        )
        try:
            networks.warm_up(self.say)
        except BaseException:
            networks.close()
            raise
        return networks

    def measure(self, run: Run, info: dict[str, str], seconds: float) -> BenchResult:
        """Measure in turns and put the figures together."""
        turns = max(2, round(seconds / SLICE_S)) if self.compare else 1
        plain: PlainRun | None = None
        memory: float | None = None
        for turn in range(turns):
            self.say(f"measuring, {turn + 1} of {turns}")
            run.measure(seconds / turns)
            memory = memory_mb() if turn == 0 else memory
            if self.compare:
                plain = plain or self._plain(info["device"])
                plain.measure(seconds / turns)
        if plain is not None:
            plain.close()
        return self._result(run.taken, info, memory, plain)

    def _plain(self, device: str) -> PlainRun:
        # Imported here: plain.py needs torch, which takes seconds to load.
        from endostream.bench.plain import PlainNetworks, PlainRun
        from endostream.engines.choose import RANDOM_SEED

        self.say("loading the networks in plain PyTorch")
        seed = RANDOM_SEED if self.random else None
        networks = PlainNetworks(self.pack, device, seed, self.labels, self._threads)
        return PlainRun(networks, LoopedSource(self.source.opened), self._threads)

    def _result(
        self, taken: Taken, info: dict[str, str], memory: float | None, plain: PlainRun | None
    ) -> BenchResult:
        about = self.source.info
        fps, masks = taken.frames / taken.seconds, taken.masks / taken.seconds
        return BenchResult(
            device=info["device"],
            engine=info["engine"],
            precision=info["precision"],
            threads=int(info["threads"]),
            pack=self.pack.name,
            weights="random" if self.random else "pack",
            source=about.name,
            width=about.width,
            height=about.height,
            gate=self.gate,
            pace=self.pace,
            seconds=round(taken.seconds, 3),
            frames=taken.frames,
            stages={name: percentiles(values, "_ms") for name, values in taken.stages.items()},
            fps=round(fps, 3),
            masks_per_s=round(masks, 3),
            dropped=taken.dropped,
            frame_age_ms=percentiles(taken.ages),
            annotation_delay_ms=percentiles(taken.delays),
            mask_age_ms=percentiles(taken.mask_ages),
            memory_mb=None if memory is None else round(memory, 1),
            plain=None if plain is None else plain.result(fps, masks),
        )
