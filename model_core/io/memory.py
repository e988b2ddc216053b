"""Refuse what does not fit into memory before it is allocated."""

from __future__ import annotations

import os

from model_core.errors import ReadError

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


def check_memory(needed: int) -> None:
    """Check that a volume fits into memory.

    Parameters
    ----------
    needed:
        Bytes that reading it takes.

    Raises
    ------
    ReadError
        It does not fit.
    """
    free = free_bytes()
    if free is not None and needed > max(free - _RESERVE_BYTES, 0):
        raise ReadError(
            f"The series needs {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free: "
            "close other programs, or open every second slice or fewer."
        )
