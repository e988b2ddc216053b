"""Runs the program from the command line's options to its exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType

from PySide6.QtCore import (
    QMessageLogContext,
    QObject,
    QSize,
    Qt,
    QTimer,
    QtMsgType,
    Slot,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app.build import App, build
from ctmasknet_gui.app.logs import log_to_file, stop_logging
from ctmasknet_gui.controller.script import Options, ScriptController
from ctmasknet_gui.settings import APPLICATION, ORGANISATION, Settings
from ctmasknet_gui.view.style import apply_style

INTERRUPTED = 130
# Python looks at signals only between its own instructions; the event loop must come by now and then.
SIGNAL_POLL_MS = 200
# The window has drawn itself, and what it was started for has begun.
WARM_UP_MS = 400
_OFFSCREEN = "offscreen"


def make_application(*, needs_display: bool = True) -> QApplication:
    """Return the one `QApplication`, styled; fractional screen scales are taken as they are.

    Where no display can be used, the process ends with one line and exit code 1, unless ``needs_display`` is
    False: then the window is drawn without one.
    """
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        application = existing
    else:
        QApplication.setHighDpiScaleFactorRoundingPolicy(Qt.HighDpiScaleFactorRoundingPolicy.PassThrough)
        if not needs_display:
            _draw_without_display()
        # Qt aborts the process where it finds no display, whose reason is in its messages alone.
        former = qInstallMessageHandler(_PlatformMessages())
        try:
            application = QApplication(sys.argv[:1])
        finally:
            qInstallMessageHandler(former)
    application.setOrganizationName(ORGANISATION)
    application.setApplicationName(APPLICATION)
    application.setApplicationDisplayName("CTMaskNet")
    application.setDesktopFileName(APPLICATION)
    apply_style(application)
    return application


def _draw_without_display() -> None:
    """Let Qt take its offscreen platform where it cannot use that of the system."""
    if sys.platform in ("win32", "darwin"):
        return
    shown = {"DISPLAY": "xcb", "WAYLAND_DISPLAY": "wayland"}
    usual = ";".join(platform for name, platform in shown.items() if os.environ.get(name))
    wanted = os.environ.get("QT_QPA_PLATFORM") or usual
    os.environ["QT_QPA_PLATFORM"] = f"{wanted};{_OFFSCREEN}" if wanted else _OFFSCREEN


class _PlatformMessages:
    """Takes Qt's messages while it looks for a display; ends the process where it gives up."""

    def __init__(self) -> None:
        self._reason = ""

    def __call__(self, kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        if kind == QtMsgType.QtFatalMsg:
            _write_error(f"ctmasknet-gui: {self._why(text)}")
            os._exit(1)
        if (context.category or "").startswith("qt.qpa"):
            # What follows the first warning says less: that the platform could not be loaded.
            if kind == QtMsgType.QtWarningMsg and not self._reason:
                self._reason = text
        else:
            _write_error(text)

    def _why(self, text: str) -> str:
        displays = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        if not displays and not self._reason.startswith("Could not find"):
            why = "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)."
        else:
            why = f"the display cannot be used: {' '.join((self._reason or text).split())}"
        return f"No window can be opened: {why} Start it from a desktop, or take a --screenshot."


def _write_error(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class _Leaving(QObject):
    """Ends the event loop with the exit code that the script or a signal decided."""

    def __init__(self, application: QApplication) -> None:
        super().__init__()
        self._application = application
        self._interrupted = False
        self._poll = QTimer(self)
        self._poll.timeout.connect(self._look)
        self._poll.start(SIGNAL_POLL_MS)
        self._former = signal.signal(signal.SIGINT, self._on_signal)

    def restore(self) -> None:
        """Give Ctrl+C back to who had it."""
        self._poll.stop()
        signal.signal(signal.SIGINT, self._former)

    @Slot(int, str)
    def leave(self, code: int, text: str) -> None:
        """Write a line to stderr and end."""
        if text:
            _write_error(text)
        self._application.exit(code)

    @Slot()
    def _look(self) -> None:
        """Let Python run a pending signal handler, and obey one that came before the event loop ran."""
        if self._interrupted:
            self._application.exit(INTERRUPTED)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._interrupted = True
        self._application.exit(INTERRUPTED)


def execute(options: Options) -> int:
    """Show the window, carry out the options, and return the exit code once the window is closed."""
    application = make_application(needs_display=options.screenshot is None)
    leaving = _Leaving(application)
    # A screenshot leaves what the user had as it was.
    settings = Settings(read_only=options.screenshot is not None)
    log = log_to_file(settings.folder)
    app = build(settings=settings)
    app.controllers.messages.install_hooks()
    spare_collector(app)
    script = make_script(app, options)
    script.leave.connect(leaving.leave)
    if options.weights:
        app.controllers.remember.ignore_weights(options.weights)
    if options.size is not None:
        # A window that was maximised when it was closed keeps its size otherwise.
        app.window.setWindowState(Qt.WindowState.WindowNoState)
        app.window.resize(QSize(*options.size))
    app.window.show()
    QTimer.singleShot(0, script.start)
    QTimer.singleShot(WARM_UP_MS, app.controllers.warm_up)
    try:
        code = application.exec()
    finally:
        leaving.restore()
        joined = app.close()
        app.controllers.messages.remove_hooks()
        stop_logging(log)
    if not joined:
        # A thread that still runs would crash the interpreter on its way out.
        os._exit(code or 1)
    return int(code)


def spare_collector(app: App) -> None:
    """Leave what is there once the networks are loaded out of later collections of garbage.

    It is mostly what was imported, which stays, and to look through it stops every thread for a tenth of a
    second.
    """

    def spare() -> None:
        # What weights that are left leave behind is no part of it; at first there is none.
        if gc.get_freeze_count():
            gc.collect()
        gc.freeze()

    app.controllers.weights.changed.connect(spare)


def make_script(app: App, options: Options) -> ScriptController:
    """Return the controller that carries out the command line in this window."""
    controllers = app.controllers
    return ScriptController(
        app.state,
        options,
        jobs=controllers.jobs,
        opening=controllers.opening,
        case_files=controllers.case_files,
        running=controllers.running,
        weights=controllers.weights,
        display=controllers.display,
        grab=app.window.save_picture,
        parent=app.window,
    )
