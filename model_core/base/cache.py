"""What the program computed once and keeps, in the user's own cache folder: private, bounded, expendable."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from model_core.base.errors import ExportError
from model_core.base.files import PARTIAL, atomic_path

# A folder to use instead of the user's; "off" for none.
VARIABLE = "CTMASKNET_CACHE"
_OFF = ("off", "0", "none")


def cache_folder() -> Path | None:
    """Return the folder for what can be computed anew, which need not exist; None where none is wanted."""
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return None if given.lower() in _OFF else Path(given)
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return None
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        given = os.environ.get("XDG_CACHE_HOME", "")
        root = Path(given) if Path(given).is_absolute() else home / ".cache"
    return root / "ctmasknet"


class Cache:
    """Files of one kind in the cache folder, by key; the ones used longest ago go where there are too many.

    Nothing here fails: what cannot be read is not there, what cannot be written is not kept.

    Parameters
    ----------
    kind:
        Name of the folder, and suffix of the files.
    limit:
        Bytes that all files together may take.
    """

    def __init__(self, kind: str, *, limit: int) -> None:
        self._kind = kind
        self._limit = limit

    def read(self, key: str) -> bytes | None:
        """Return what was kept under a key."""
        path = self._path(key)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def write(self, key: str, data: bytes) -> None:
        """Keep something under a key, where that is possible."""
        path = self._path(key)
        if path is None or len(data) > self._limit:
            return
        with contextlib.suppress(OSError, ExportError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_bytes(data)
            self._prune(path.parent)

    def _path(self, key: str) -> Path | None:
        folder = cache_folder()
        return None if folder is None else folder / self._kind / f"{key}.{self._kind}"

    def _prune(self, folder: Path) -> None:
        """Remove the files used longest ago until the others fit."""
        found = [
            (path.stat(), path)
            for path in folder.glob(f"*.{self._kind}")
            if not path.name.startswith(PARTIAL)
        ]
        total = 0
        for status, path in sorted(found, key=lambda item: -item[0].st_mtime):
            total += status.st_size
            if total > self._limit:
                path.unlink(missing_ok=True)
