"""How the threads of one process wait for each other."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
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


# What a thread that only computes gets where another wants the core too: a third of what that gets.
_NICENESS = 5
_Made = TypeVar("_Made")
_window_first = threading.Event()


def let_the_window_go_first() -> None:
    """From now on let threads that only compute give way, see `in_a_thread_that_gives_way`."""
    _window_first.set()


def in_a_thread_that_gives_way(compute: Callable[[], _Made]) -> _Made:
    """Return what ``compute`` returns, or raise what it raises, and let every other thread go before it.

    Threads that it starts give way too. For what hardly ever holds Python's lock: else the window waited for
    the lock while its holder waited for a core. A thread of its own, as nothing brings one back. Only Linux
    knows the niceness of a thread; elsewhere and without a window ``compute`` is just called.
    """
    if sys.platform != "linux" or not _window_first.is_set():
        return compute()
    return _giving_way().submit(compute).result()


@cache
def _giving_way() -> ThreadPoolExecutor:
    # One for each of the window's worker threads.
    return ThreadPoolExecutor(2, thread_name_prefix="ctmasknet-computes", initializer=_give_way)


def _give_way() -> None:
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
