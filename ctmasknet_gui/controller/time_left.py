"""Estimates the remaining time of a job from its pace."""

from __future__ import annotations

import time
from collections.abc import Callable

# The first steps hold imports and warm-up; an estimate from less would jump about.
MINIMUM_S = 1.0


class TimeLeft:
    """Remaining seconds of one job, from the mean pace since its first progress."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, int] | None = None
        self._total = 0

    def update(self, done: int, total: int) -> float | None:
        """Return the seconds left, or None while they cannot be told."""
        now = self._clock()
        if self._start is None or total != self._total or done < self._start[1]:
            self._start, self._total = (now, done), total
            return None
        elapsed, steps = now - self._start[0], done - self._start[1]
        if total <= 0 or steps <= 0 or elapsed < MINIMUM_S:
            return None
        return elapsed / steps * max(0, total - done)
