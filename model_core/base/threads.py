"""How the threads of one process wait for each other."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Held while a figure is filled and rendered. matplotlib draws in one thread at a time: all figures share its
# settings (which a written SVG changes for a moment) and the parser and caches of its texts.
DRAWING = threading.RLock()


def wait_without_spinning() -> None:
    """Let OpenMP threads that wait give their core away; what the user has set stays.

    To be called before torch is imported. By default they spin for a while, so that beside another busy
    process each parallel loop waits for a thread that has no core (``benchmarks/busy_neighbour.py``).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def compute_threads() -> int:
    """Return how many threads share one computation: ``OMP_NUM_THREADS``, else the cores of this process."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if given.isdecimal() and int(given) > 0:
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return max(1, len(affinity(0)) if affinity else (os.cpu_count() or 1))


# What a thread that only computes gets where another wants the core too: a tenth of what that gets.
_NICENESS = 10
_Made = TypeVar("_Made")
_window_first = threading.Event()


def let_the_window_go_first() -> None:
    """From now on let threads that only compute give way, see `with_threads_that_give_way`."""
    _window_first.set()


def with_threads_that_give_way(make: Callable[[], _Made]) -> _Made:
    """Return what ``make`` makes, and let every other thread go before those that it starts.

    For threads that never hold Python's lock: one that did would keep the window waiting for it while it
    waits for a core itself. They take after the thread that starts them, which is one of its own, as nothing
    brings it back. Only Linux knows the niceness of a thread; elsewhere and without a window nothing is done.
    """
    if sys.platform != "linux" or not _window_first.is_set():
        return make()
    with ThreadPoolExecutor(1, initializer=_give_way) as passing:
        return passing.submit(make).result()


def _give_way() -> None:
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
