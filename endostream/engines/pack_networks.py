"""The networks of one pack on their lanes: who gets how many threads, and what is computed once for two.

Owns the set of lanes. Must not know how an engine works inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from endostream.engines import int8, kernels, openvino_engine, torch_engine
from endostream.engines.lane import NetworkLane, QueueLane
from endostream.engines.shared import RestLane, Shelf, TrunkLane
from endostream.engines.threads import inference_threads
from endostream.engines.wish import Choice, Rest, Runner, Say, Trunk, Wish
from endostream.models.sharing import shares_trunk
from endostream.packs import ModelSpec, Pack

__all__ = ["PackNetworks"]

MOST_STREAMS = 4
"""Pictures worked on at once at most; every one holds memory of its own."""
BUSY_SHARE = 0.8
"""Share of the time between two pictures that one classification may take; above it two run at once."""
PROBES = 3


class PackNetworks:
    """The networks of one pack on their lanes (the protocol `Networks`).

    Parameters
    ----------
    pack
        Packs whose weights were verified.
    choice
        What runs them.
    exact
        Published resize kernels to the last bit.
    seed
        Random weights by this seed instead of the pack's.
    ahead
        Work on several pictures at once where that is faster: for files, whose pictures can wait.
    rate
        Pictures a second of a source with a pace of its own; None where it has none or it is not known.
    """

    def __init__(
        self,
        pack: Pack,
        choice: Choice,
        exact: bool = False,
        seed: int | None = None,
        ahead: bool = False,
        rate: float | None = None,
    ) -> None:
        self._pack, self._choice, self._seed = pack, choice, seed
        self._exact = exact
        self._threads = inference_threads()
        several = choice.engine == "openvino" and self._threads > 1
        self._streams = min(self._threads, MOST_STREAMS) if ahead and several else 1
        self._ahead, self._rate = ahead, rate if several and not ahead else None
        self._say: Say = lambda text: None
        self._wake: Callable[[], None] = lambda: None
        self._lanes = self._open_lanes(exact)

    def _open_lanes(self, exact: bool) -> dict[str, QueueLane[Any]]:
        pack, choice = self._pack, self._choice
        # In int8 the two networks are quantised, and proven, apart.
        shared = choice.engine == "openvino" and choice.precision in ("fp32", "bf16")
        shared = shared and not exact and self._seed is None and shares_trunk(pack)
        workers = 2 if self._rate else self._streams
        acting = pack.classifiers[0] if pack.classifiers else None
        shelf, lanes = Shelf(), dict[str, QueueLane[Any]]()
        # One trunk for both lanes, loaded by whichever comes first.
        trunk = cache(lambda: openvino_engine.open_trunk(self._wish(acting))) if shared and acting else None
        self._forget_trunk = trunk.cache_clear if trunk is not None else lambda: None
        for model in pack.models:
            if trunk is not None and model is acting:
                lane: QueueLane[Any] = TrunkLane(shelf, model, trunk, workers, self._rang)
            elif trunk is not None and model is pack.segmenter:
                lane = RestLane(shelf, model, partial(self._load_rest, trunk, model), self._rang)
            else:
                count = workers if model.role == "classifier" else 1
                lane = NetworkLane(model, partial(self._load, model), exact, count, self._rang)
            lanes[model.name] = lane
        return lanes

    def _rang(self) -> None:
        self._wake()

    @property
    def depth(self) -> int:
        """Pictures a classifier should have on its way at once: one more than are worked on, if they wait."""
        return self._streams + 1 if self._ahead and self._streams > 1 else self._streams

    @property
    def classifiers(self) -> tuple[QueueLane[Any], ...]:
        """The classifiers in the order of the pack; the first acts."""
        return tuple(self._lanes[m.name] for m in self._pack.classifiers)

    @property
    def segmenter(self) -> QueueLane[Any] | None:
        """The segmenter, or None."""
        model = self._pack.segmenter
        return None if model is None else self._lanes[model.name]

    @property
    def info(self) -> Mapping[str, str]:
        """`engine`, `device`, `precision`, `threads`: what runs; `kernels`: the networks on our own ones."""
        choice = self._choice
        own = ", ".join(model.name for model in self._pack.models if self._by_kernels(model))
        return {
            "engine": choice.engine,
            "device": choice.device,
            "precision": self._precision,
            "threads": str(self._threads),
            **({"kernels": own} if own else {}),
        }

    @property
    def _precision(self) -> str:
        """The precision of the networks, and of those that differ, as `int8 (frame bf16)`."""
        choice = self._choice
        others = [f"{m.name} {p}" for m in self._pack.models if (p := self._of(m)) != choice.precision]
        return f"{choice.precision} ({', '.join(others)})" if others else choice.precision

    def _of(self, model: ModelSpec) -> str:
        choice = self._choice
        apart = choice.precision == "int8" and model.name not in choice.int8
        return openvino_engine.others() if apart else choice.precision

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each: nothing, on the processor."""
        return ()

    def ring(self, wake: Callable[[], None]) -> None:
        """Call `wake` from the network's thread whenever an answer is ready."""
        self._wake = wake

    def warm_up(self, say: Say | None = None) -> None:
        """Compile or load and run once; `say` hears what is being done, in one line each."""
        if say is not None:
            self._say = say
        for lane in self._lanes.values():
            lane.warm_up()
        if self._rate and self.classifiers:
            self._keep_up(self._rate)

    def _keep_up(self, rate: float) -> None:
        """Work on two pictures at once, each on its share of the cores, where one at a time is too slow.

        With the ViT-S/14 in bf16 on two cores: 45 ms for one with both cores, 64 ms for two with one each.
        """
        took = sum(min(lane.probe() for _ in range(PROBES)) for lane in self.classifiers)
        if took * rate > BUSY_SHARE and self._streams == 1:
            self._streams = 2
            self._forget_trunk()
            for lane in self._lanes.values():
                lane.reload()

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        # The classifiers first: a mask network may wait for what they compute.
        for lane in (*self.classifiers, *self._lanes.values()):
            lane.close()

    def _wish(self, model: ModelSpec) -> Wish:
        # A mask is asked for one at a time: it gets all threads.
        streams = self._streams if model.role == "classifier" else 1
        device, precision = self._choice.device, self._of(model)
        return Wish(self._pack, model, device, precision, self._threads, streams, self._seed, self._say)

    def _load(self, model: ModelSpec) -> Runner:
        if self._choice.engine == "openvino":
            wish = self._wish(model)
            if self._by_kernels(model):
                return kernels.open_runner(wish)
            if wish.precision == "int8":
                return int8.open_runner(wish, self._choice.int8[model.name])
            return openvino_engine.open_runner(wish)
        return torch_engine.open_runner(self._wish(model))

    def _by_kernels(self, model: ModelSpec) -> bool:
        """Whether our own kernels stand in for OpenVINO: never for what has to be exactly as published."""
        fits = self._choice.engine == "openvino" and not self._exact
        return fits and kernels.serves(model, self._of(model))

    def _load_rest(self, trunk: Callable[[], Trunk], model: ModelSpec) -> tuple[Trunk, Rest]:
        return trunk(), openvino_engine.open_rest(self._wish(model))
