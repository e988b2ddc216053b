"""The slices that a job still has to do: the window adds to them while a worker takes from them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

# Slices that are likely seen next: so many ahead where a person scrolls, and then the one behind; where none
# does, so many to both sides.
_AHEAD, _ASIDE = 4, 2


class RunQueue:
    """Thread-safe set of waiting slices.

    The visible one is taken first, whatever was asked for before, then those that are likely seen next, then
    every ``strip``-th one of all slices, for an early picture of the whole, then the nearest one.

    Attributes
    ----------
    total:
        Slices ever asked for, for the progress.
    """

    def __init__(self, slices: Iterable[int], *, strip: int = 0) -> None:
        self._lock = threading.Lock()
        self._waiting = set(slices)
        self._taken: int | None = None
        self._strip = strip
        # Where the visible slice was, and which way it went last.
        self._centre: int | None = None
        self._direction = 0
        self.total = len(self._waiting)

    def add(self, slices: Iterable[int]) -> None:
        """Ask for further slices; those that wait already, or are being done, are not doubled."""
        with self._lock:
            new = set(slices) - self._waiting - {self._taken}
            self._waiting |= new
            self.total += len(new)

    def take(self, centre: int, left_out: Callable[[int], bool] = lambda _: False) -> int | None:
        """Return the next waiting slice and forget it; ``centre`` is visible. None when nothing waits.

        Those that are to be ``left_out``, which may have turned out meanwhile, are forgotten.
        """
        with self._lock:
            gone = set(filter(left_out, self._waiting))
            self._waiting -= gone
            self.total -= len(gone)
            if self._centre is not None and centre != self._centre:
                self._direction = 1 if centre > self._centre else -1
            self._centre = centre
            self._taken = min(
                self._waiting, key=lambda k: (self._turn(k, centre), abs(k - centre), k), default=None
            )
            self._waiting.discard(self._taken)
            return self._taken

    def _turn(self, index: int, centre: int) -> int:
        """Return in which turn a slice comes: 0 first."""
        if index == centre or not self._strip:
            return 0
        ahead = (index - centre) * self._direction
        if 0 < ahead <= _AHEAD or (self._direction == 0 and abs(index - centre) <= _ASIDE):
            return 1
        if ahead == -1:
            return 2
        return 3 if index % self._strip == 0 else 4

    @property
    def waiting(self) -> int:
        """How many slices wait."""
        with self._lock:
            return len(self._waiting)

    def rest(self) -> tuple[int, ...]:
        """Return what still waits."""
        with self._lock:
            return tuple(sorted(self._waiting))
