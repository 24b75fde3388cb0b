"""Those who listen to a run, and what happens when one of them fails.

Owns telling all sinks in order. Must not know what they are told, nor threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from endostream.errors import EndostreamError
from endostream.pipeline.sinks import Background, Sink
from endostream.types import RunInfo, Status

Keep = Callable[[BaseException], None]


class Audience:
    """The sinks of a run.

    Parameters
    ----------
    sinks
        The listeners.
    lenient
        True for live runs: a sink that raises is marked as failed and hears nothing more; else it raises.
    """

    def __init__(self, sinks: Sequence[Sink], lenient: bool) -> None:
        self._sinks = list(sinks)
        self._lenient = lenient
        self.failed: dict[str, str] = {}
        """Sinks that failed: name to reason."""

    def open(self, info: RunInfo) -> None:
        """Open all of them; raises what one raises, and those that were asked are closed later."""
        asked: list[Sink] = []
        try:
            for sink in self._sinks:
                asked.append(sink)
                sink.opened(info)
        except BaseException:
            self._sinks = asked
            raise

    def tell(self, call: Callable[[Sink], None]) -> None:
        """Call every sink that still listens."""
        for sink in self._sinks:
            if sink.name in self.failed:
                continue
            try:
                call(sink)
            except Exception as error:
                self.failed[sink.name] = one_line(error)
                if not self._lenient:
                    raise

    def close(self, status: Callable[[], Status], keep: Keep) -> None:
        """Close all of them, whatever each of them does; `keep` hears what must fail the run."""
        for sink in self._sinks:
            try:
                sink.closed(status())
            except Exception as error:
                self.failed.setdefault(sink.name, one_line(error))
                if not self._lenient:
                    keep(error)

    @property
    def keepers(self) -> list[Background]:
        """Those that keep what a person asks for."""
        return [s for s in self._sinks if isinstance(s, Background) and s.name not in self.failed]


def one_line(error: BaseException) -> str:
    """An error as a user reads it: its own line when it is ours, else its kind and message."""
    if isinstance(error, EndostreamError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
