"""The one place where errors become messages; keeps patient data out of details and the log."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import QObject, Qt, Signal, Slot

from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.state.privacy import without_patients
from model_core.base.errors import Cancelled, CTMaskNetError
from model_core.base.volume import Level

_log = logging.getLogger(__name__)

UNEXPECTED = "Something unexpected went wrong. The program goes on; please copy the details into a report."

# Of the files and folders that the user named, so many are remembered.
_PATHS_KEPT = 100
# Absolute paths of any system; a folder or file name may be a patient's name.
_PATHS = re.compile(r"(?:[A-Za-z]:\\|\\\\|(?<![\w.>])/)[^\n'\"<>|:]*")


def traceback_without_paths(error: BaseException) -> str:
    """Return type and frames of an error; files relative to their package, no message text."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        parts = Path(frame.filename).parts
        start = max(
            (k for k, part in enumerate(parts) if part in {"model_core", "ctmasknet_gui", "site-packages"}),
            default=len(parts) - 1,
        )
        lines.append(f"  {'/'.join(parts[start:])}:{frame.lineno} in {frame.name}")
    return "\n".join([*lines, type(error).__name__])


def what_went_wrong(error: BaseException) -> BaseException:
    """Return the error behind an error: events of state wrap what their observers raise."""
    while error.__cause__ is not None and not isinstance(error, CTMaskNetError):
        error = error.__cause__
    return error


class MessageController(QObject):
    """Turns errors into `MessageState` and, without their text, into log lines.

    A `CTMaskNetError` shows its own message; anything else is unexpected and shows where it happened.
    """

    posted = Signal(object)
    _unexpected = Signal(object)

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._hooks: tuple[object, object] | None = None
        # The hook of another thread must not touch state: a queued signal brings the error here.
        self._unexpected.connect(self.report, Qt.ConnectionType.QueuedConnection)

    def post(
        self,
        level: Level,
        text: str,
        details: str = "",
        *,
        topic: str = "",
        path: Path | None = None,
        offer: str = "",
    ) -> None:
        """Tell the user something; it takes the place of former notes, and of the same told before."""
        where = "" if path is None else str(path)
        message = Message(level, text, self._scrub(details), topic, where, offer)
        told = self._state.messages.messages
        kept = tuple(old for old in told if not old.fades and old != message)
        self._state.messages.messages = (*kept, message)
        self.posted.emit(message)

    @Slot(object)
    def forget(self, message: Message) -> None:
        """Take back one message: it was read, or is no longer true."""
        told = self._state.messages.messages
        self._state.messages.messages = tuple(old for old in told if old != message)

    def withdraw(self, topic: str) -> None:
        """Take back what was told of a topic: what failed went well since."""
        told = self._state.messages.messages
        if any(old.topic == topic for old in told):
            self._state.messages.messages = tuple(old for old in told if old.topic != topic)

    def may_name(self, *paths: Path) -> None:
        """Note files and folders that the user named, before anything is told of them."""
        named = dict.fromkeys((*self._state.messages.paths, *map(str, paths)))
        self._state.messages.paths = tuple(named)[-_PATHS_KEPT:]

    @Slot(object)
    def report(self, error: BaseException, *, topic: str = "", path: Path | None = None) -> None:
        """Show an error, with the whole path of what it is about; a cancelled job is none."""
        error = what_went_wrong(error)
        if isinstance(error, Cancelled):
            return
        trace = traceback_without_paths(error)
        if isinstance(error, CTMaskNetError):
            _log.warning("%s", trace.replace("\n", " |"))
            text = error.message
            if path is not None and path.name and path.name not in text:
                text = f"'{path.name}': {text}"
            self.post("error", text, error.details, topic=topic, path=path)
            return
        _log.error("%s", trace.replace("\n", " |"))
        self.post("error", UNEXPECTED, f"{trace}: {self._scrub(str(error))}", topic=topic, path=path)

    def dismiss_all(self) -> None:
        """Forget what was told."""
        self._state.messages.messages = ()

    def install_hooks(self) -> None:
        """Show what would otherwise end on a console nobody sees, from every thread."""
        self._hooks = (sys.excepthook, threading.excepthook)
        sys.excepthook = self._on_uncaught
        threading.excepthook = self._on_thread_uncaught

    def remove_hooks(self) -> None:
        """Put the former hooks back."""
        if self._hooks is not None:
            sys.excepthook, threading.excepthook = self._hooks  # type: ignore[assignment]
            self._hooks = None

    def _on_uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        self._unexpected.emit(error)

    def _on_thread_uncaught(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            self._unexpected.emit(args.exc_value)

    def _scrub(self, text: str) -> str:
        """Take paths and what identifies the open patients out of a technical text."""
        secrets = []
        case = self._state.case
        if case.catalogue is not None:
            secrets += [case.catalogue.root, Path(case.catalogue.root).name]
        with contextlib.suppress(RuntimeError):  # a user without a home folder
            secrets.append(str(Path.home()))
        for secret in sorted(filter(lambda s: len(s) > 2, secrets), key=len, reverse=True):
            text = text.replace(secret, "…")
        return without_patients(_PATHS.sub("<path>", text), self._state)
