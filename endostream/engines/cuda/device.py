"""The calls to CUDA, and their absence: streams, marks in them, pinned memory, graphs.

Owns every call that needs a GPU, and what its failures are called. On the device `cpu` the same calls do
their work at once. Must not know networks, pictures or packs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from endostream.engines.lane import one_line

cuda: Any = torch.cuda
"""Much of it has no types."""
__all__ = ["Device", "Program", "out_of_memory"]

Program = Callable[[], tuple[Tensor, ...]]
"""Runs something whose inputs and outputs stay in place; what it gives is overwritten by the next run."""
STREAMS = 32
"""Streams that torch makes; it then gives the same ones again, and what one thread puts on a stream that
another captures would become part of the graph."""
_streams: list[Any] = []
"""Streams that nobody uses at the moment."""
_made = 0
_lending = threading.Lock()
CAPTURING = threading.Lock()
"""One capture at a time in a process: each waits for the whole GPU."""
WARM_RUNS = 3
"""Runs before a graph is captured: cuDNN tries its algorithms, cuBLAS takes its workspace."""


class Device:
    """One GPU, or the processor in its place.

    Parameters
    ----------
    name
        `cuda` (the first GPU) or `cpu`.
    """

    def __init__(self, name: str) -> None:
        self.cuda = name == "cuda"
        """True for a GPU."""
        self.where = torch.device("cuda", 0) if self.cuda else torch.device("cpu")
        """Where tensors live."""
        self._mine: list[Any] = []
        if self.cuda:
            with warnings.catch_warnings():
                # The names that every release since 1.7 knows; newer ones say that there are newer names.
                warnings.simplefilter("ignore")
                # TensorFloat-32 rounds to 10 bits: not what somebody who asks for fp32 expects.
                torch.backends.cudnn.allow_tf32 = False
                torch.backends.cuda.matmul.allow_tf32 = False
                # Sums in half precision cost masks more pixels than they save time.
                torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
                torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
            torch.backends.cudnn.benchmark = True

    def stream(self) -> Any:
        """A queue of work that runs beside other queues, its own until `close`; None on the processor."""
        global _made
        if not self.cuda:
            return None
        with _lending:
            if _streams:
                stream = _streams.pop()
            else:
                stream, _made = cuda.Stream(self.where), _made + 1
        self._mine.append(stream)
        return stream

    def close(self) -> None:
        """Give the streams back; nothing may be under way on them."""
        with _lending:
            _streams.extend(self._mine)
        self._mine.clear()

    @cached_property
    def _side(self) -> Any:
        return self.stream()

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """What is called inside goes to this stream, without gradients."""
        with torch.inference_mode():
            if stream is None:
                yield
            else:
                with cuda.stream(stream):
                    yield

    def mark(self, stream: Any) -> Any:
        """A mark behind everything that was given to the stream so far; None on the processor."""
        if not self.cuda:
            return None
        # Blocking: waiting sleeps instead of burning a core that decodes or paints.
        mark = cuda.Event(blocking=True)
        mark.record(stream)
        return mark

    def after(self, stream: Any, mark: Any) -> None:
        """What is given to the stream from now on waits for the mark; this thread does not."""
        if mark is not None:
            stream.wait_event(mark)

    def wait(self, mark: Any) -> None:
        """Wait here until the mark is reached."""
        if mark is not None:
            mark.synchronize()

    def settle(self) -> None:
        """Wait here for everything; raises what the GPU has to say."""
        if self.cuda:
            cuda.synchronize(self.where)

    def host(self, shape: Sequence[int], number: torch.dtype) -> Tensor:
        """Memory of the computer that the GPU can reach by itself (pinned)."""
        return torch.empty(tuple(shape), dtype=number, pin_memory=self.cuda)

    def tidy(self) -> None:
        """Give memory back that nothing uses, after running out of it."""
        if self.cuda:
            cuda.empty_cache()

    def pool(self) -> Any:
        """Memory for graphs that never run at the same time."""
        return cuda.graph_pool_handle() if self.cuda else None

    def program(
        self, run: Program, stream: Any, pool: Any = None, say: Callable[[str], None] | None = None
    ) -> Program:
        """The same work as one CUDA graph, or as it is where it cannot be captured.

        Parameters
        ----------
        run
            The work; it must read from tensors that stay in place.
        stream
            Where it will run.
        pool
            See `pool`; None for memory of its own.
        say
            Hears that it could not be captured.
        """
        # With more streams than torch has, some are the same: no capture can be trusted.
        if not self.cuda or _made > STREAMS:
            return run
        with CAPTURING:
            self._warm(run, stream)
            return self._captured(run, stream, pool, say)

    def _warm(self, run: Program, stream: Any) -> None:
        """Run it on a stream of its own first, as captures ask for."""
        side = self._side
        side.wait_stream(stream)
        with self.on(side):
            for _ in range(WARM_RUNS):
                run()
        stream.wait_stream(side)
        self.settle()

    def _captured(self, run: Program, stream: Any, pool: Any, say: Callable[[str], None] | None) -> Program:
        graph = cuda.CUDAGraph()
        try:
            # `thread_local`: other threads go on uploading pictures meanwhile.
            with (
                torch.inference_mode(),
                cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                kept = run()
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            # Raises when the GPU itself is at fault, not the capture.
            self.settle()
            if say is not None:
                say(f"no CUDA graph ({one_line(error)}); each step is started by itself, which is slower")
            return run

        def replay() -> tuple[Tensor, ...]:
            graph.replay()
            return kept

        return replay


def out_of_memory(error: BaseException) -> bool:
    """True when a GPU's memory did not suffice, whichever library noticed."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "ALLOC_FAILED" in text)
