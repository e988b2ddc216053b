"""Unpack ZIP archives into private folders that are removed again.

Nothing about an archive is believed: names must stay inside the folder, links are no files, and count,
size and growth are limited while unpacking, whatever the archive declares (zip bombs).
"""

from __future__ import annotations

import atexit
import shutil
import stat
import tempfile
import threading
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from model_core.io.failures import LIBRARY_FAILURES, FileError, plain_reason
from model_core.io.tolerances import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_FILES,
    MAX_ARCHIVE_GROWTH,
    SMALL_ARCHIVE_BYTES,
)
from model_core.types import FileReport, Progress

_FAILURES: tuple[type[Exception], ...] = (*LIBRARY_FAILURES, zipfile.BadZipFile)
_CHUNK = 1 << 20
# Archives whose files are kept until the program ends or newer ones push them out.
_KEPT = 4
# Left free on the disk.
_RESERVE_BYTES = 256 << 20


@dataclass(frozen=True)
class Unpacked:
    """An archive whose files lie in ``folder``; ``refused`` tells which members do not, and why."""

    archive: Path
    folder: Path
    refused: tuple[FileReport, ...]

    def shown(self, path: str) -> str:
        """Return the name that a file in the folder has for the user: inside the archive."""
        inside = Path(path)
        if not inside.is_relative_to(self.folder):
            return path
        return str(self.archive / inside.relative_to(self.folder))


_unpacked: dict[tuple[str, int, int], Unpacked] = {}
_lock = threading.Lock()


def looks_like_zip(start: bytes) -> bool:
    """Whether a file starts like a ZIP archive, empty ones included."""
    return start[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def real_path(path: Path) -> Path:
    """Return where a file that is named inside an archive lies; other paths as they are."""
    with _lock:
        known = list(_unpacked.values())
    for unpacked in known:
        if path != unpacked.archive and path.is_relative_to(unpacked.archive):
            return unpacked.folder / path.relative_to(unpacked.archive)
    return path


def unpack(path: Path) -> Generator[Progress | Unpacked, None, None]:
    """Unpack an archive; the last item says where to. An unchanged archive is unpacked once only.

    Raises
    ------
    FileError
        It is damaged, too large, or grows too much; nothing is left on the disk then.
    """
    try:
        status = path.stat()
        key = (str(path.resolve()), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise FileError(plain_reason(error), details=type(error).__name__) from error
    with _lock:
        known = _unpacked.get(key)
    if known is not None and known.folder.is_dir():
        yield known
        return
    # The series of an archive are named after the folder that they lie in.
    folder = Path(tempfile.mkdtemp(prefix="ctmasknet-")) / (path.stem or "archive")
    complete = False
    try:
        folder.mkdir()
        result = yield from _unpack_into(path, folder, status.st_size)
        complete = True
    except FileError:
        raise
    except _FAILURES as error:
        reason = "The archive is damaged." if isinstance(error, zipfile.BadZipFile) else plain_reason(error)
        raise FileError(reason, details=type(error).__name__) from error
    finally:
        if not complete:
            _remove(folder)
    with _lock:
        _unpacked[key] = result
        old = [_unpacked.pop(name) for name in list(_unpacked)[:-_KEPT]]
    for archive in old:
        _remove(archive.folder)
    yield result


def _unpack_into(path: Path, folder: Path, size: int) -> Generator[Progress, None, Unpacked]:
    refused: list[FileReport] = []
    limit = min(
        MAX_ARCHIVE_BYTES,
        max(SMALL_ARCHIVE_BYTES, size * MAX_ARCHIVE_GROWTH),
        max(0, shutil.disk_usage(folder).free - _RESERVE_BYTES),
    )
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > MAX_ARCHIVE_FILES:
            raise FileError(
                f"The archive holds {len(members)} files; at most {MAX_ARCHIVE_FILES} are unpacked."
            )
        left = limit
        for number, member in enumerate(members):
            if number % 8 == 0:
                yield Progress(number, len(members), "Unpacking")
            try:
                target = _target(member, folder)
                left -= _write(archive, member, target, left)
            except FileError as error:
                name = path / PurePosixPath(member.filename.replace("\0", "?")).name
                refused.append(FileReport(str(name), "error", error.message))
            except _TooLarge as error:
                raise FileError(
                    f"The archive grows to more than {limit >> 20} MiB: unpack it yourself if you trust it."
                ) from error
    return Unpacked(path, folder, tuple(refused))


class _TooLarge(Exception):  # noqa: N818 - becomes a FileError about the whole archive
    """The archive grows beyond what is allowed."""


def _target(member: zipfile.ZipInfo, folder: Path) -> Path:
    """Return the path that a member gets inside the folder.

    Raises
    ------
    FileError
        The member is no plain file, is encrypted, or its name leads out of the folder.
    """
    if member.flag_bits & 1:
        raise FileError("This file of the archive is protected by a password: unpack it yourself.")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise FileError("This member of the archive is a link or a device: it is left out.")
    name = member.filename
    parts = PureWindowsPath(name).parts if "\\" in name else PurePosixPath(name).parts
    outside = not parts or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
    if outside or any(part in ("..", ".", "") or "\0" in part or ":" in part for part in parts):
        raise FileError("The name of this member leads out of the archive: it is left out.")
    target = folder.joinpath(*parts)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise FileError("The name of this member leads out of the archive: it is left out.")
    return target


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one member and return its size; a damaged one leaves nothing behind."""
    written = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("xb") as sink:
            while part := source.read(_CHUNK):
                written += len(part)
                if written > left:
                    raise _TooLarge
                sink.write(part)
    except FileExistsError as error:
        raise FileError("The archive holds two files of this name: the first one is used.") from error
    except _FAILURES as error:
        target.unlink(missing_ok=True)
        raise FileError("This file of the archive is damaged.", details=type(error).__name__) from error
    return written


def _remove(folder: Path) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)


def remove_all() -> None:
    """Remove everything that was unpacked."""
    with _lock:
        old = list(_unpacked.values())
        _unpacked.clear()
    for unpacked in old:
        _remove(unpacked.folder)


atexit.register(remove_all)
