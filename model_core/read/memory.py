"""Refuse what does not fit into memory before it is allocated."""

from __future__ import annotations

import os

from model_core.base.errors import MemoryNeeded

# Left for the network, the window and the system.
_RESERVE_BYTES = 512 << 20


def free_bytes() -> int | None:
    """Return the memory that the system can still give, or None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123 - not a file of the user
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    if not hasattr(os, "sysconf"):
        return None
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def check_memory(needed: int, *, slices: int = 0) -> None:
    """Check that a volume fits into memory.

    Parameters
    ----------
    needed:
        Bytes that reading it takes.
    slices:
        How many slices it has, where it can be opened with fewer of them (`model_core.read.thin`).

    Raises
    ------
    MemoryNeeded
        It does not fit; the error knows how many slices would.
    """
    free = free_bytes()
    if free is None:
        return
    free = max(free - _RESERVE_BYTES, 0)
    if needed > free:
        raise MemoryNeeded(needed, free, slices=slices)
