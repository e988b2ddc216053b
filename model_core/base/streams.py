"""Standard streams: those that the caller closed (``>&-``) are held open, and what a terminal can show."""

from __future__ import annotations

import os
import sys


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


def printable(text: str) -> str:
    """Escape what the terminal's encoding cannot show, such as file names that are no valid text."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
