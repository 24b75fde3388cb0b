"""The only two ways a value crosses threads: a bounded queue that counts, and the latest value.

Owns waiting, dropping and closing. Must not know what the values are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """A bounded first-in-first-out hand-off; closing it is the only stop signal.

    Parameters
    ----------
    capacity
        Values held at most.
    drop_oldest
        True for live pictures: a full channel gives up its oldest value and says so; False makes `put` wait.
    """

    def __init__(self, capacity: int, drop_oldest: bool = False) -> None:
        self._values: deque[T] = deque()
        self._capacity = capacity
        self._drop = drop_oldest
        self._closed = False
        self._changed = threading.Condition()

    def put(self, value: T) -> list[T]:
        """Hand over a value; the values given up for it: the value itself when the channel is closed."""
        with self._changed:
            while not self._drop and len(self._values) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                return [value]
            given_up = []
            while len(self._values) >= self._capacity:
                given_up.append(self._values.popleft())
            self._values.append(value)
            self._changed.notify_all()
            return given_up

    def get(self, ready: Callable[[], bool] | None = None, after: float = 0.0) -> T | None:
        """Wait for the oldest value; None when the channel is closed and empty, or when `ready` holds first.

        Parameters
        ----------
        ready
            Something else to wait for; asked again after every `wake`.
        after
            Monotonic clock in seconds before which nothing is taken, unless the channel is closed.
        """
        with self._changed:
            while True:
                rest = after - time.monotonic()
                if self._values and (rest <= 0 or self._closed):
                    break
                if self._closed or (ready is not None and ready()):
                    return None
                self._changed.wait(rest if self._values else None)
            value = self._values.popleft()
            self._changed.notify_all()
            return value

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready` holds, asked again after every `wake`, or until the channel is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or ready())

    @property
    def closed(self) -> bool:
        """True when nothing more comes."""
        return self._closed

    def wake(self) -> None:
        """Make a waiting `get` ask again whether what it waits for is `ready`."""
        with self._changed:
            self._changed.notify_all()

    def clear(self) -> list[T]:
        """Take out everything that waits."""
        with self._changed:
            values = list(self._values)
            self._values.clear()
            self._changed.notify_all()
            return values

    def close(self) -> None:
        """Nothing more comes; what is inside can still be taken out. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._values)


class Latest(Generic[T]):
    """The newest value, for readers that look when they have time."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._version = 0
        self._lock = threading.Lock()

    def set(self, value: T | None) -> None:
        """Replace the value."""
        with self._lock:
            self._value = value
            self._version += 1

    def get(self) -> T | None:
        """The newest value, or None before the first."""
        with self._lock:
            return self._value

    @property
    def version(self) -> int:
        """Counts up with every `set`."""
        with self._lock:
            return self._version
