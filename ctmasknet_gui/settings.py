"""What the program remembers between starts."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray, QDir, QSettings, QStandardPaths

ORGANISATION = "CTMaskNet"
APPLICATION = "ctmasknet-gui"
MAX_RECENT = 10


class Settings:
    """Typed access to a `QSettings` file; unreadable values count as absent.

    Parameters
    ----------
    path:
        An INI file of its own (tests); None for the user's settings.
    read_only:
        Whether nothing is written: a screenshot leaves what the user had.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self._read_only = read_only
        self._own = path is not None
        if path is None:
            self._store = QSettings(
                QSettings.Format.IniFormat, QSettings.Scope.UserScope, ORGANISATION, APPLICATION
            )
        else:
            self._store = QSettings(str(path), QSettings.Format.IniFormat)

    @property
    def folder(self) -> Path:
        """Folder of the settings file; the log lies beside it."""
        return Path(self._store.fileName()).parent

    @property
    def read_only(self) -> bool:
        """Whether nothing is written."""
        return self._read_only

    @property
    def cache_folder(self) -> Path:
        """Folder of what can be computed again: the system's, or that of a settings file given."""
        if self._own:
            return self.folder
        base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericCacheLocation)
        return Path(base) / APPLICATION if base else self.folder

    def sync(self) -> None:
        """Write to disk now."""
        if not self._read_only:
            self._store.sync()

    # -------------------------------------------------------------------------------------- plain

    def text(self, key: str, default: str = "") -> str:
        """Return a stored text."""
        value = self._store.value(key, default)
        return value if isinstance(value, str) else default

    def flag(self, key: str, default: bool) -> bool:
        """Return a stored switch."""
        return {"true": True, "false": False}.get(str(self._store.value(key, default)).lower(), default)

    def number(self, key: str, default: float) -> float:
        """Return a stored number."""
        try:
            value = float(self.text(key, str(default)))
        except ValueError:
            return default
        return value if abs(value) < 1e9 else default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a stored list of texts."""
        value = self._store.value(key, [])
        # An INI list of one comes back as a plain text.
        items = value if isinstance(value, list) else [value]
        return tuple(item for item in items if isinstance(item, str) and item)

    def put(self, key: str, value: str | bool | float | tuple[str, ...]) -> None:
        """Store a value."""
        if isinstance(value, tuple):
            self._set(key, list(value))
        elif isinstance(value, bool):
            self._set(key, "true" if value else "false")
        else:
            self._set(key, str(value))

    def bytes(self, key: str) -> QByteArray:
        """Return stored bytes (window geometry), perhaps empty."""
        value = self._store.value(key)
        return value if isinstance(value, QByteArray) else QByteArray()

    def put_bytes(self, key: str, value: QByteArray) -> None:
        """Store bytes."""
        self._set(key, value)

    def _set(self, key: str, value: object) -> None:
        if not self._read_only:
            self._store.setValue(key, value)

    # -------------------------------------------------------------------------------------- paths

    @property
    def recent(self) -> tuple[Path, ...]:
        """Paths opened last, newest first. They are not looked at: a dead network share takes a minute."""
        return tuple(Path(text) for text in self.texts("recent"))[:MAX_RECENT]

    def add_recent(self, path: Path) -> None:
        """Put a path on top of the recent ones."""
        new = path.absolute()
        rest = [old for old in self.recent if old != new]
        self.put("recent", tuple(str(p) for p in [new, *rest][:MAX_RECENT]))

    def remove_recent(self, path: Path) -> None:
        """Forget a recent path: it could not be opened."""
        gone = path.absolute()
        self.put("recent", tuple(str(old) for old in self.recent if old != gone))

    def clear_recent(self) -> None:
        """Forget the recent paths."""
        if not self._read_only:
            self._store.remove("recent")

    @property
    def last_folder(self) -> Path:
        """Where the last file was chosen, whether it is still there or not; the home folder at first."""
        folder = self.text("last_folder")
        return Path(folder or QDir.homePath())

    @last_folder.setter
    def last_folder(self, folder: Path) -> None:
        self.put("last_folder", str(folder.absolute()))

    @property
    def last_export_folder(self) -> Path:
        """Where the last export went; the user's documents at first, never the folder of the images."""
        folder = self.text("last_export_folder")
        if folder:
            return Path(folder)
        documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
        return Path(documents) if documents and Path(documents).is_dir() else Path(QDir.homePath())

    @last_export_folder.setter
    def last_export_folder(self, folder: Path) -> None:
        self.put("last_export_folder", str(folder.absolute()))
