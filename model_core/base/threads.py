"""How the threads of one process wait for each other."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

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


# What a thread that computes gets where another wants the core too: a tenth of what that gets.
_NICENESS = 10


def give_way() -> None:
    """Let every other thread of the program go before this one where both want a core, and those it starts.

    To be called by the thread itself, before it makes what has threads of its own: ONNX Runtime's and numba's
    take after it. Only Linux knows the niceness of a thread; elsewhere, and in the main thread, nothing is
    done.
    """
    if sys.platform != "linux" or threading.current_thread() is threading.main_thread():
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)
