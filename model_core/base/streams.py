"""Standard streams that the caller closed (``>&-``): both programs look at them before anything is opened."""

from __future__ import annotations

import os


def hold_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    The next file that is opened would take their number, and what a library prints would be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken: this one.
            os.open(os.devnull, os.O_RDWR)
