"""The slices that a job still has to do: the window adds to them while a worker takes from them."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class RunQueue:
    """Thread-safe set of waiting slices, taken nearest first.

    Attributes
    ----------
    total:
        Slices ever asked for, for the progress.
    """

    def __init__(self, slices: Iterable[int]) -> None:
        self._lock = threading.Lock()
        self._waiting = set(slices)
        self._taken: int | None = None
        self.total = len(self._waiting)

    def add(self, slices: Iterable[int]) -> None:
        """Ask for further slices; those that wait already, or are being done, are not doubled."""
        with self._lock:
            new = set(slices) - self._waiting - {self._taken}
            self._waiting |= new
            self.total += len(new)

    def take(self, centre: int) -> int | None:
        """Return the waiting slice nearest to ``centre`` and forget it; None when nothing waits."""
        with self._lock:
            self._taken = min(self._waiting, key=lambda k: (abs(k - centre), k), default=None)
            self._waiting.discard(self._taken)
            return self._taken

    def rest(self) -> tuple[int, ...]:
        """Return what still waits."""
        with self._lock:
            return tuple(sorted(self._waiting))
