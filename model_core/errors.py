"""The project's own errors. Their text says what was found, what is allowed and what to do."""

from __future__ import annotations


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
