"""Files appear whole or not at all: a temporary file in the same folder, then a rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_core.base.errors import ExportError

# How names begin of what is not finished: left behind only where a program was killed.
PARTIAL = ".partial-"

_REASONS = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is too large for that disk",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EROFS: "the disk is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder has that name",
}


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes ``path`` when the block ends without an error.

    The temporary file has the suffixes of ``path`` (libraries choose the format by them), lies in the same
    folder, is flushed to the disk before the rename and never outlives the block. Missing folders are made.

    Parameters
    ----------
    path:
        The file to write.
    overwrite:
        Whether an existing file may be replaced. Without it, one that appears while the block runs is not
        replaced either.

    Raises
    ------
    ExportError
        If the file exists, or cannot be written (naming its base name only: folders can name patients).
    """
    refuse_existing(path, overwrite=overwrite)
    suffixes = "".join(path.suffixes[-2:])
    temporary = path.with_name(f"{PARTIAL}{secrets.token_hex(6)}{suffixes}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        _move(temporary, path, overwrite=overwrite)
        _flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, *, last: str, outdated: Iterable[Path] = ()) -> Iterator[Path]:
    """Give a temporary folder to write into; its files become those of ``target`` when the block ends.

    Where it ends with an error, nothing of ``target`` changes, and a folder made for nothing is removed.
    Files of the same names are replaced, others stay.

    Parameters
    ----------
    last:
        Name of the file that tells of the others: it comes last, so that where it is, everything is.
    outdated:
        Files to remove before.

    Raises
    ------
    ExportError
        If the folder cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=PARTIAL, ignore_cleanup_errors=True) as name:
            work = Path(name)
            yield work
            for path in outdated:
                path.unlink()
            files = (path for path in work.rglob("*") if path.is_file())
            for path in sorted(files, key=lambda path: (path.name == last, path)):
                place = target / path.relative_to(work)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            target.rmdir()  # only if empty


def write_text(path: Path, text: str, *, overwrite: bool = False, private: bool = False) -> None:
    """Write a UTF-8 text file, with ``private`` for the user alone (mode 0600); see `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        if private:
            temporary.touch(mode=0o600)
        # A file name need not be text; written so, it is what JSON calls it.
        temporary.write_text(text, "utf-8", "backslashreplace")


def write_json(path: Path, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write an indented JSON document; see `atomic_path`.

    Raises
    ------
    ValueError
        If a number in it is not finite: JSON has no word for that.
    """
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", overwrite=overwrite)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `ExportError` where ``path`` may not be written because something is there, or never could be."""
    try:
        is_folder = path.is_dir()
    except OSError as error:  # such as of a name that is too long
        raise cannot_write(path, error) from error
    if is_folder:
        raise ExportError(f"'{path.name}' is a folder: choose another file name.")
    if not overwrite and os.path.lexists(path):
        raise _exists(path)


def cannot_write(path: Path, error: OSError) -> ExportError:
    """Return the error that says why a file could not be written."""
    reason = _REASONS.get(error.errno or 0, error.strerror or "the system gives no reason")
    return ExportError(
        f"'{path.name}' cannot be written: {reason}. Choose another folder or make room, then export again.",
        details=f"{type(error).__name__} {error.errno}: {error.strerror}",
    )


def _exists(path: Path) -> ExportError:
    return ExportError(f"'{path.name}' exists already: allow it to be replaced, or choose another name.")


def _flush(path: Path) -> None:
    # Read-write, because Windows flushes only what may be written.
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename last through a power cut where the system can (POSIX); elsewhere it does so itself."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        # A hard link fails where the name is taken, in one step; a check before a rename could be overtaken.
        path.hardlink_to(temporary)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        # File systems without hard links (FAT, some network shares).
        refuse_existing(path, overwrite=False)
        temporary.replace(path)
