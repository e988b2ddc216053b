"""Builds state, controllers and window, and takes them down again."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Slot
from PySide6.QtWidgets import QMessageBox

from ctmasknet_gui.app.connect import Wiring
from ctmasknet_gui.controller.controllers import Controllers
from ctmasknet_gui.controller.exporter import Exporter
from ctmasknet_gui.controller.ports import Engine, Reader
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.main_window import MainWindow

GEOMETRY_KEY, LAYOUT_KEY = "window/geometry", "window/layout"


class App(QObject):
    """One window with everything behind it.

    The user is asked before the window closes on a running export.

    Closing the window, or calling `close`, stores what is remembered and joins the worker thread.
    """

    def __init__(self, settings: Settings, *, engine: Engine, reader: Reader) -> None:
        super().__init__()
        self.settings = settings
        self.state = AppState()
        self.controllers = Controllers(
            self.state, settings, engine=engine, reader=reader, exporter=Exporter(engine)
        )
        # What was remembered is in state before the window reads it.
        self.controllers.weights.list_available()
        self.controllers.remember.restore()
        self.controllers.weights.expect()
        self._wiring = Wiring(self.state, self.controllers, settings)
        self.window = MainWindow(self.state, self._wiring.use)
        self.window.restore_layout(settings.bytes(GEOMETRY_KEY), settings.bytes(LAYOUT_KEY))
        self._wiring.attach(self.window)
        self._joined: bool | None = None
        self._asks = True
        self.window.installEventFilter(self)
        self.window.closing.connect(self._on_closing)

    def close(self) -> bool:
        """Close the window without asking and join the worker; False when the thread did not end in time."""
        self._asks = False
        if self._joined is None:
            self.window.close()
        return bool(self._joined)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the window open where the user wants to wait for an export."""
        if (
            event.type() == QEvent.Type.Close
            and watched is self.window
            and self._asks
            and self._joined is None
            and self.controllers.jobs.active("export")
            and not self._may_stop_export()
        ):
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def _may_stop_export(self) -> bool:
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self.window,
            "Stop the export?",
            "An export is running. Close the window and stop it? What is written already stays.",
            buttons.Yes | buttons.Cancel,
            buttons.Cancel,
        )
        return bool(answer == buttons.Yes)

    @Slot()
    def _on_closing(self) -> None:
        if self._joined is not None:
            return
        geometry, layout = self.window.layout_bytes()
        self.settings.put_bytes(GEOMETRY_KEY, geometry)
        self.settings.put_bytes(LAYOUT_KEY, layout)
        self.controllers.remember.store()
        # A slice that is being computed is waited for; the user need not watch.
        self.window.hide()
        self._joined = self.controllers.shutdown()


def build(
    *, settings: Settings | None = None, engine: Engine | None = None, reader: Reader | None = None
) -> App:
    """Return a window, not yet shown, over the user's settings, the real networks and readers by default."""
    return App(settings or Settings(), engine=engine or Engine(), reader=reader or Reader())
