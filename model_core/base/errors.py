"""The project's own errors. Their text says what was found, what is allowed and what to do."""

from __future__ import annotations

# How many ways to open fewer slices are offered.
_CHOICES = 4


def ordinal(number: int) -> str:
    """Return 2nd, 3rd, 4th, ... of a positive number."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def as_memory(count: int) -> str:
    """Return a number of bytes as people read memory, such as 1.5 GiB, 820 MiB or 96 KiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:.{1 if size > 1 << 20 else 0}f} {unit}"
    return f"{count / 1024:.0f} KiB"


class CTMaskNetError(Exception):
    """Base of every error that a user may be shown as plain text.

    Parameters
    ----------
    message:
        One line for a reader who knows radiology, not Python. Holds no patient data.
    details:
        Technical text to copy into a bug report; may be empty.
    """

    def __init__(self, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class ReadError(CTMaskNetError):
    """A file, folder or series cannot be opened as an image."""


class MemoryNeeded(ReadError):  # noqa: N818 - named by what it asks for; the caller may offer a way out
    """A series needs more memory than is free.

    Parameters
    ----------
    needed, free:
        Bytes that reading takes, and bytes that it may take.
    slices:
        How many slices the series has; 0 where it cannot be opened with fewer of them.
    """

    def __init__(self, needed: int, free: int, *, slices: int = 0) -> None:
        self.needed = needed
        self.free = max(free, 0)
        self.slices = slices
        way_out = f", or open every {ordinal(self.steps[0])} slice" if self.steps else ""
        super().__init__(
            f"The series needs {as_memory(needed)} of memory and {as_memory(self.free)} are free for it: "
            f"close other programs{way_out}."
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers n such that every n-th slice fits, ascending: the first few; empty where none does.

        At least two slices remain.
        """
        if self.slices < 3:
            return ()
        per_slice = self.needed / self.slices
        fitting = [step for step in range(2, self.slices) if -(-self.slices // step) * per_slice <= self.free]
        return tuple(fitting[:_CHOICES])


class WeightsError(CTMaskNetError):
    """A weight file is missing, damaged, unsafe or does not fit."""


class SettingsError(CTMaskNetError):
    """A setting or argument is outside what is allowed."""


class DataError(CTMaskNetError):
    """A training or evaluation data set is not what its layout promises."""


class ExportError(CTMaskNetError):
    """Something could not be written."""


class Cancelled(CTMaskNetError):  # noqa: N818 - a cancelled job is not an error, but it unwinds like one
    """The user asked a job to stop."""

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)
