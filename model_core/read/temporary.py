"""Private temporary folders that do not outlive the program, not even where it crashed.

Each holds a file that its program keeps locked. A folder whose lock is free belongs to nobody any more and
is removed by the next program that looks (`remove_stale`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from model_core.read.failures import FileError

PREFIX = "ctmasknet-"
_MARK = ".in-use"
# A folder without its lock file was left half made, or is being made right now.
_HALF_MADE_SECONDS = 24 * 3600.0
_ATTEMPTS = 3


class PrivateFolder:
    """A new folder that only the user may enter (mode 0700), removed by `remove` or at the end of a block.

    Attributes
    ----------
    path:
        The folder, without links in it.

    Raises
    ------
    OSError
        It cannot be made.
    FileError
        Another program keeps removing it.
    """

    path: Path

    def __init__(self) -> None:
        for _ in range(_ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
            try:
                self._mark = (self.path / _MARK).open("xb")
            except FileNotFoundError:
                continue
            except OSError:
                shutil.rmtree(self.path, ignore_errors=True)
                raise
            # Between making and locking it, another program could have taken it for a stale one.
            if _lock(self._mark) and (self.path / _MARK).exists():
                return
            self._mark.close()
        raise FileError("No private temporary folder can be made: check the folder for temporary files.")

    def remove(self) -> None:
        """Remove the folder with all that is in it; what the system keeps goes at the next start."""
        self._mark.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def remove_stale() -> int:
    """Remove the folders that crashed programs of this user left behind; return how many they were."""
    removed = 0
    try:
        folders = [entry for entry in os.scandir(tempfile.gettempdir()) if entry.name.startswith(PREFIX)]
    except OSError:
        return 0
    for entry in folders:
        with contextlib.suppress(OSError):
            if _is_own_folder(entry) and _is_stale(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)
                removed += 1
    return removed


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, not a link to one, of this user."""
    status = entry.stat(follow_symlinks=False)
    mine = sys.platform == "win32" or status.st_uid == os.getuid()
    return mine and stat.S_ISDIR(status.st_mode)


def _is_stale(folder: Path) -> bool:
    try:
        with (folder / _MARK).open("r+b") as mark:
            if not _lock(mark):
                return False
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _HALF_MADE_SECONDS
    # Where files cannot be locked, one that is open cannot be removed either (Windows).
    (folder / _MARK).unlink()
    return True


def _lock(mark: BinaryIO) -> bool:
    """Take the lock of a file, which its closing gives back; False where another one holds it."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
