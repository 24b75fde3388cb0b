"""Live sources: a device or a network stream that is opened, lost, and opened again.

Owns the watchdog, a thread that never enters a library: it says when the picture is lost, gives up
connections that hang, and starts new ones. Must not know containers (see `connection`), pacing or analysis.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from endostream.capture.address import Address
from endostream.capture.connection import OPEN_S, SILENCE_S, Connection, Described, Picture
from endostream.capture.lateness import LATE, LATE_S, Lag
from endostream.capture.source import MIN_SIDE, SourceBase, too_small
from endostream.capture.tapping import Tap
from endostream.errors import SourceError
from endostream.types import Deinterlace, Frame, SignalChange, SignalState, SourceInfo

log = logging.getLogger(__name__)

FIRST_FRAME_TIMEOUT = 10.0
"""Seconds a live source has for its first frame."""
LOST_S = 0.7
"""Seconds without a new picture after which the signal is lost; said on screen within a second."""
SLOWEST = 3.0
"""Intervals between pictures that count as lost where this is longer: a source of two pictures a second."""
PAUSES_S = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Seconds between attempts to open it again; the last one repeats for `PATIENCE_S`."""
PATIENCE_S, LONG_PAUSE_S = 600.0, 1.0
"""Seconds of loss after which the pauses grow to the longer one: somebody has gone home."""
MOST_STUCK = 4
"""Connections that hang in libav at once; further attempts wait until one lets go."""
REMEMBERED = 100
"""Changes of the signal that are kept for the first listener."""
WAITING = 3
"""Pictures that wait for the reader at most, where it comes late: then the oldest is given up."""
FAREWELL_S = 1.0
"""Seconds `close` waits for threads; one that sits in a dead connection ends by its own time limit."""


class LiveSource(SourceBase):
    """Frames of a device or stream as they come; after a loss it reconnects until it is cancelled.

    Connections run in threads of their own, where nothing can reach them; the watchdog, `read` and `cancel`
    never wait for one. Pictures that nobody takes are given up, the oldest first, and counted (`overrun`).

    Parameters
    ----------
    address : Address
        Where it is.
    first_frame_timeout : float or None
        Seconds until `SourceError` when nothing comes; None waits for ever.
    cancelled : threading.Event or None
        Set by another thread to give up while still connecting.
    deinterlace : str
        Which pictures are deinterlaced: `auto`, `on` or `off`.
    tap : Tap or None
        Hears the packets that pictures are decoded from.
    say : callable or None
        Hears what the first connection waits for, one line each.
    """

    def __init__(
        self,
        address: Address,
        first_frame_timeout: float | None = FIRST_FRAME_TIMEOUT,
        cancelled: threading.Event | None = None,
        *,
        deinterlace: Deinterlace = "auto",
        tap: Tap | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._address = address
        self._deinterlace: Deinterlace = deinterlace
        self._tap = tap
        self._changed = threading.Condition()
        self._waiting: deque[Picture] = deque()
        self._connection: Connection | None = None
        self._stuck: list[Connection] = []
        self._described: Described | None = None
        self._reason = ""
        self._error: BaseException | None = None
        self._ended = False
        self._lost = True
        self._lost_by: Connection | None = None
        self._reading = False
        self._overrun = 0
        self._epoch_next = 0
        self._last_clock: float | None = None
        self._last_seconds = 0.0
        self._failures = 0
        self._listeners: list[Callable[[SignalChange], None]] = []
        self._news: deque[SignalChange] = deque(maxlen=REMEMBERED)
        self._pause_ends = 0.0
        self._lag = Lag()
        self._watchdog = threading.Thread(target=self._watch_over, name=f"watch {address.name}", daemon=True)
        self._watchdog.start()
        try:
            self._info = self._await_first(first_frame_timeout, cancelled, say)
        except BaseException:
            self.close()
            raise

    # The reader's side

    def _await_first(
        self, timeout: float | None, cancelled: threading.Event | None, say: Callable[[str], None] | None
    ) -> SourceInfo:
        began, told = time.monotonic(), None
        with self._changed:
            while not self._waiting and self._error is None and not self._ended:
                left = None if timeout is None else began + timeout - time.monotonic()
                if (left is not None and left <= 0) or (cancelled is not None and cancelled.is_set()):
                    break
                # Looked at twenty times a second: an event of somebody else's cannot ring this condition.
                self._changed.wait(0.05 if left is None else min(left, 0.05))
                if say is not None and self._line() != told:
                    told = self._line()
                    say(told)
            if self._error is not None:
                raise self._error
            if not self._waiting or self._described is None:
                why = f" ({self._reason})" if self._reason else ""
                if cancelled is not None and cancelled.is_set():
                    raise SourceError(f"{self._address.name} gave no picture before it was given up{why}")
                within = "" if timeout is None else f" within {timeout:g} s"
                raise SourceError(
                    f"{self._address.name} gave no picture{within}{why}; "
                    "check that it is switched on and sending"
                )
            first, described = self._waiting[0], self._described
        height, width = first.image.shape[:2]
        if min(width, height) < MIN_SIDE:
            raise SourceError(too_small(self._address.name, width, height))
        return SourceInfo(
            name=self._address.name,
            kind=self._address.kind,
            live=True,
            seekable=False,
            independent=False,
            width=width,
            height=height,
            fps=described.fps,
            duration=None,
            frames=None,
            codec=described.codec,
        )

    def _line(self) -> str:
        why = f" ({self._reason})" if self._reason else ""
        return f"waiting for a picture from {self._address.name}{why}"

    @property
    def signal(self) -> bool:
        """False while the picture is lost."""
        return not self._lost

    @property
    def lag(self) -> float:
        """Seconds by which the newest picture came later than it could have, by the stream's own clock.

        It grows where a connection is slower than its stream, and the buffers on the way fill up.
        """
        return 0.0 if self._lost else self._lag.seconds

    @property
    def overrun(self) -> int:
        """Pictures given up because nobody took them in time, since the first `read`."""
        return self._overrun

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be done, one line each."""
        connection = self._connection
        warning = connection.warning if connection is not None else ""
        damaged = f"{self._skipped} damaged packets were skipped" if self._skipped else ""
        late = LATE if self.lag > LATE_S else ""
        return tuple(line for line in (*self._said, warning, damaged, late) if line)

    @property
    def reconnecting(self) -> int:
        """Connections that were given up and still hang in a library."""
        return sum(one.alive for one in self._stuck)

    def watch(self, listener: Callable[[SignalChange], None]) -> None:
        """Call `listener` on every change of the signal, from a thread of the source's; it must not wait.

        The first listener hears what went before, too: the first picture at least.
        """
        with self._changed:
            self._listeners.append(listener)
            self._changed.notify_all()

    def _next(self) -> Frame | None:
        with self._changed:
            self._reading = True
            while not self._waiting and not self._cancelled.is_set() and not self._ended:
                self._changed.wait()
            if self._cancelled.is_set():
                return None
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            picture = self._waiting.popleft()
            self._changed.notify_all()
        self._epoch = picture.epoch
        stamps = (picture.captured, picture.wall)
        return self._frame(picture.image, picture.seconds, picture.pts, picture.time_base, stamps=stamps)

    def _go_to(self, time: float) -> None:
        raise SourceError(f"{self._address.name} is live and cannot be searched in")

    def cancel(self) -> None:
        """Make a waiting `read` and every later one return None; may be called from any thread."""
        super().cancel()
        with self._changed:
            self._changed.notify_all()

    def _release(self) -> None:
        with self._changed:
            self._waiting.clear()
            self._listeners.clear()
            self._changed.notify_all()
        end = time.monotonic() + FAREWELL_S
        self._watchdog.join(FAREWELL_S)
        for connection in (self._connection, *self._stuck):
            if connection is not None:
                connection.join(max(0.0, end - time.monotonic()))

    # The watchdog's side

    def _watch_over(self) -> None:
        try:
            while not self._cancelled.is_set() and not self._ended:
                self._look()
        except BaseException as error:
            self._error = error
        finally:
            if self._connection is not None:
                self._connection.give_up()
            with self._changed:
                self._ended = True
                self._lost = True
                self._changed.notify_all()

    def _look(self) -> None:
        """Begin a connection or wait for what happens to the one there is, at most until something is due."""
        with self._changed:
            now = time.monotonic()
            connection = self._connection
            if connection is None:
                due = self._begin(now)
            elif connection.finite and self._waiting:
                due = now + LOST_S  # it waits for its reader, which may take its time
            else:
                due = connection.active + (SILENCE_S if connection.opened else OPEN_S)
                if now >= due:
                    self._abandon(connection, f"no picture for {now - (self._last_clock or now):.0f} s")
                    due = now
            held = connection is not None and connection.finite and self._waiting
            if not held:
                due = min(due, self._lost_at(now))
            if not (self._news and self._listeners):
                self._changed.wait(max(0.0, due - now))
            news = list(self._news) if self._listeners else []
            if news:
                self._news.clear()
        # From this thread alone, so that a loss and a return are told in their order; and without the lock.
        for change in news:
            for listener in list(self._listeners):
                listener(change)

    def _lost_at(self, now: float) -> float:
        """When the picture counts as lost, if nothing comes; says so when that is now."""
        if self._lost or self._last_clock is None:
            return now + SILENCE_S
        fps = self._described.fps if self._described is not None else None
        at = self._last_clock + (max(LOST_S, SLOWEST / fps) if fps else LOST_S)
        if now >= at:
            self._lost, self._lost_by = True, self._connection
            self._news.append(self._change("lost", self._reason or "no picture comes"))
            return now
        return at

    def _begin(self, now: float) -> float:
        """Start a connection when one is due; when to look again."""
        self._stuck = [one for one in self._stuck if one.alive]
        if len(self._stuck) >= MOST_STUCK:
            return now + PAUSES_S[-1]
        due = self._pause_ends
        if now < due:
            return due
        self._connection = Connection(self._address, self, self._deinterlace, self._tap)
        return now + OPEN_S

    def _abandon(self, connection: Connection, reason: str) -> None:
        """Stop listening to a connection that hangs, and let another be begun."""
        connection.give_up()
        self._stuck.append(connection)
        self._reason = self._reason or reason
        self._over(connection)

    def _over(self, connection: Connection) -> None:
        """The connection is no longer ours; the next one is due after a pause."""
        self._connection = None
        self._skipped += connection.damaged
        now = time.monotonic()
        self._failures = 0 if connection.pictures else self._failures + 1
        gone = self._last_clock is not None and now - self._last_clock > PATIENCE_S
        pause = LONG_PAUSE_S if gone else PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
        self._pause_ends = now + pause

    def _change(self, state: SignalState, detail: str) -> SignalChange:
        return SignalChange(state, self._last_seconds, time.time(), detail)

    @property
    def detail(self) -> str:
        """What the picture is, or why there is none."""
        described, lost = self._described, self._lost
        return self._reason if lost or described is None else str(described)

    # What connections say, each from its own thread

    def begun(self, connection: Connection, described: Described) -> tuple[int, float] | None:
        """A new stretch: its epoch, and the stream time at which it goes on."""
        with self._changed:
            if connection is not self._connection or self._cancelled.is_set():
                return None
            other = self._described is not None and str(described) != str(self._described)
            self._described = described
            if other and not self._lost:
                self._news.append(self._change("good", str(described)))
            epoch, self._epoch_next = self._epoch_next, self._epoch_next + 1
            if self._last_clock is None:
                return epoch, 0.0
            return epoch, self._last_seconds + time.monotonic() - self._last_clock

    def pictured(self, connection: Connection, picture: Picture) -> bool:
        """A picture: the newest of those that wait for the reader."""
        with self._changed:
            if connection is not self._connection or self._cancelled.is_set():
                return False
            if connection.finite:
                self._changed.wait_for(lambda: not self._waiting or self._cancelled.is_set())
            elif len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self._overrun += self._reading
            if self._lost and self._kept_back(connection):
                return True
            self._waiting.append(picture)
            self._last_clock, self._last_seconds = picture.captured, picture.seconds
            self._lag.take(picture)
            if self._lost:
                self._lost, self._reason = False, ""
                self._news.append(self._change("good", self.detail))
            self._changed.notify_all()
        return True

    def _kept_back(self, connection: Connection) -> bool:
        """True for the first picture after a loss, when it comes from the connection that was lost.

        It is what libav held back while it waited for the next one: old, and the last when the connection
        breaks for good. It shall not look live.
        """
        if self._lost_by is not connection:
            return False
        self._lost_by = None
        return True

    def ended(self, connection: Connection) -> None:
        """A connection is closed."""
        with self._changed:
            if connection is self._connection:
                self._reason = connection.reason or self._reason
                if connection.wrong is not None and self._last_clock is None:
                    self._error = connection.wrong
                    self._ended = True
                elif connection.finite and connection.pictures and not connection.reason:
                    # Only what has a length (a clip behind a web address) can come to its end.
                    self._ended = True
                self._over(connection)
            self._changed.notify_all()
