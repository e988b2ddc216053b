"""What can go wrong in the libraries below, and how it is told.

Decoders raise almost any type on damaged input, so the types are listed once here instead of a blind
``except`` in every reader.
"""

from __future__ import annotations

import errno
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pydicom.errors import BytesLengthException, InvalidDicomError

from model_core.base.errors import ReadError

#: Everything that pydicom, SimpleITK and Pillow were seen to raise on damaged files.
LIBRARY_FAILURES: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,  # RecursionError and NotImplementedError are kinds of it
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    ImportError,
    SyntaxError,  # Pillow, for a broken PNG
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)


class FileError(ReadError):
    """One file that is not part of any series, with the status its report gets.

    Parameters
    ----------
    message:
        Why, in one line.
    status:
        "skipped" for something that is no image, "error" for an image that cannot be read.
    transfer_syntax, series_uid:
        UIDs where they are known.
    """

    def __init__(
        self,
        message: str,
        *,
        status: Literal["skipped", "error"] = "error",
        transfer_syntax: str = "",
        series_uid: str = "",
        details: str = "",
    ) -> None:
        super().__init__(message, details=details)
        self.status: Literal["skipped", "error"] = status
        self.transfer_syntax = transfer_syntax
        self.series_uid = series_uid

    @classmethod
    def of(cls, error: Exception, *, transfer_syntax: str = "", series_uid: str = "") -> FileError:
        """Return the error of a file for one that a library raised: why, without quoting it."""
        details = type(error).__name__
        return cls(
            plain_reason(error), transfer_syntax=transfer_syntax, series_uid=series_uid, details=details
        )


class AbsentFileError(FileError):
    """A link or pointer to content that is not here."""


class IndexFileError(FileError):
    """The file is a DICOMDIR: the index of other files, not an image."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of the libraries: they quote element values, and ours say more.

    Filters are global to the process, so this is entered by the thread that runs a job and never held
    across a ``yield`` of a job.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _system_reason(code: int) -> str:
    """Say what the system answered; the file itself may be sound."""
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "There is no space left on the disk for temporary files."
    if code == errno.EMFILE:
        return "Too many files are open at once."
    if code in (errno.EINVAL, errno.EOVERFLOW):
        return "The file is damaged: it points beyond its own end."
    return f"The system cannot read the file: {os.strerror(code)}."


def plain_reason(error: BaseException) -> str:
    """Say why reading failed without quoting what a library says (it may hold patient data)."""
    if isinstance(error, ReadError):
        return error.message
    if isinstance(error, FileNotFoundError):
        return "The file is gone."
    if isinstance(error, PermissionError):
        return "The file may not be read (permissions)."
    if isinstance(error, RecursionError):
        return "The file is nested too deeply; it is damaged or hostile."
    if isinstance(error, MemoryError):
        return "There is not enough memory for what the file declares."
    if isinstance(error, OSError) and error.errno is not None:
        return _system_reason(error.errno)
    if isinstance(error, (EOFError, struct.error, zlib.error)):
        return "The file ends too early or its compressed part is damaged."
    return f"The file is damaged ({type(error).__name__})."
