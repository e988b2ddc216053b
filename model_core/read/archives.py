"""Unpack ZIP archives into private folders that are removed again.

Nothing about an archive is believed: names must stay inside the folder, links are no files, and count,
size and growth are limited while unpacking, whatever the archive declares (zip bombs).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import shutil
import stat
import threading
import weakref
import zipfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from model_core.base.jobs import Progress
from model_core.base.volume import FileReport
from model_core.read.errors import LIBRARY_FAILURES, FileError, plain_reason
from model_core.read.sandbox import PrivateFolder, remove_stale
from model_core.read.tolerances import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_FILES,
    MAX_ARCHIVE_GROWTH,
    SMALL_ARCHIVE_BYTES,
)

_FAILURES: tuple[type[Exception], ...] = (*LIBRARY_FAILURES, zipfile.BadZipFile)
_CHUNK = 1 << 20
# Archives whose files are kept after their scan until the program ends or newer ones push them out.
_KEPT = 4
# Left free on the disk.
_RESERVE_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Unpacked:
    """An archive whose files lie in ``folder``; ``refused`` tells which members do not, and why.

    As long as this object is held, the files stay: a scan may find more archives than are kept.
    """

    archive: Path
    folder: Path
    refused: tuple[FileReport, ...]

    def shown(self, path: str) -> str:
        """Return the name that a file in the folder has for the user: inside the archive."""
        inside = Path(path)
        if not inside.is_relative_to(self.folder):
            return path
        return str(self.archive / inside.relative_to(self.folder))


@dataclass
class _Kept:
    """The files of an archive, and who uses them."""

    archive: Path
    private: PrivateFolder
    folder: Path
    refused: tuple[FileReport, ...]
    users: weakref.WeakSet[Unpacked] = field(default_factory=weakref.WeakSet)

    def share(self) -> Unpacked:
        """Return the archive for one more user."""
        unpacked = Unpacked(self.archive, self.folder, self.refused)
        self.users.add(unpacked)
        return unpacked


_unpacked: dict[tuple[str, int, int], _Kept] = {}
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


def lasting_text(text: str) -> str:
    """Return text with the archives themselves in place of the folders that they are unpacked to.

    Those change from session to session; a name made of a path must not.
    """
    with _lock:
        known = list(_unpacked.values())
    for kept in known:
        text = text.replace(str(kept.folder), str(kept.archive.resolve()))
    return text


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
        raise FileError.of(error) from error
    with _lock:
        known = _unpacked.get(key)
        shared = known.share() if known is not None and known.folder.is_dir() else None
    if shared is not None:
        yield shared
        return
    remove_stale()
    try:
        private = PrivateFolder()
    except OSError as error:
        reason = "It cannot be unpacked: the folder for temporary files is full or closed."
        raise FileError(reason, details=type(error).__name__) from error
    # The series of an archive are named after the folder that they lie in.
    folder = private.path / (path.stem.strip(". ") or "archive")
    complete = False
    try:
        folder.mkdir()
        refused = yield from _unpack_into(path, folder, status.st_size)
        complete = True
    except FileError:
        raise
    except _FAILURES as error:
        reason = "The archive is damaged." if isinstance(error, zipfile.BadZipFile) else plain_reason(error)
        raise FileError(reason, details=type(error).__name__) from error
    finally:
        if not complete:
            private.remove()
    with _lock:
        kept = _unpacked[key] = _Kept(path, private, folder, refused)
        shared = kept.share()
        idle = [name for name, other in _unpacked.items() if not other.users]
        old = [_unpacked.pop(name) for name in idle[: -_KEPT + 1]]
    for archive in old:
        archive.private.remove()
    yield shared


def _unpack_into(path: Path, folder: Path, size: int) -> Generator[Progress, None, tuple[FileReport, ...]]:
    refused: list[FileReport] = []
    allowed = min(MAX_ARCHIVE_BYTES, max(SMALL_ARCHIVE_BYTES, size * MAX_ARCHIVE_GROWTH))
    room = max(0, shutil.disk_usage(folder).free - _RESERVE_BYTES)
    with zipfile.ZipFile(path) as archive:
        members = [
            member for member in archive.infolist() if not member.is_dir() and not _is_note(member.filename)
        ]
        if len(members) > MAX_ARCHIVE_FILES:
            raise FileError(
                f"The archive holds {len(members)} files; at most {MAX_ARCHIVE_FILES} are unpacked."
            )
        left = min(allowed, room)
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
                reason = (
                    f"The archive grows to more than {allowed >> 20} MiB: unpack it yourself if you trust it."
                )
                full = room < allowed or isinstance(error.__cause__, OSError)
                raise FileError(_NO_ROOM if full else reason) from error
    return tuple(refused)


_NO_ROOM = (
    "The files of the archive do not fit on the disk for temporary files: make room there, or unpack it."
)
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


def _is_note(name: str) -> bool:
    """Whether a member is what a Mac notes beside the files that it packs."""
    return "__MACOSX" in PurePosixPath(name).parts


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
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _TooLarge from error
        raise FileError(_member_reason(error), details=type(error).__name__) from error
    return written


def _member_reason(error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return "This file of the archive is compressed in a way that cannot be read here: unpack it yourself."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "The name of this member is too long: unpack it yourself under a shorter one."
    return "This file of the archive is damaged."


def remove_all() -> None:
    """Remove everything that was unpacked."""
    with _lock:
        old = list(_unpacked.values())
        _unpacked.clear()
    for kept in old:
        kept.private.remove()


atexit.register(remove_all)
