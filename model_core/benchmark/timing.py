"""Times of several ways to do one thing, in turns, and what machine they were taken on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

# Side of the square matrices whose product says how fast this machine multiplies.
_SIDE = 1536


def in_turns(
    ways: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float = float("inf")
) -> dict[str, list[float]]:
    """Return the seconds of each way in each round; every other round goes backwards.

    Each way is done once before. After ``seconds`` no further round begins, but three are done.
    """
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.monotonic() + seconds
    for number in range(rounds):
        if number >= min(3, rounds) and time.monotonic() > end:
            break
        names = list(ways)
        for name in names if number % 2 == 0 else reversed(names):
            start = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over rounds of how many times as long the slow way took."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def multiply() -> Callable[[], object]:
    """Return what multiplies two float32 matrices, `multiplications` multiply-adds counted twice."""
    left, right = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE)

    def product() -> object:
        return torch.mm(left, right)

    return product


def multiplications() -> float:
    """Return the floating point operations of one `multiply`."""
    return 2.0 * _SIDE**3


def machine() -> dict[str, Any]:
    """Return what the numbers depend on; nothing that names a person or a place."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gb": _memory_gb(),
        "system": platform.system(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
