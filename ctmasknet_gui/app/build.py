"""Builds state, controllers and window, and takes them down again."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.app.connect import Wiring
from ctmasknet_gui.controller.bundle import Controllers
from ctmasknet_gui.controller.export_core import CoreExporter
from ctmasknet_gui.controller.ports import CoreEngine, CoreReader, Engine, Reader
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.main_window import MainWindow

GEOMETRY_KEY, LAYOUT_KEY = "window/geometry", "window/layout"


class App(QObject):
    """One window with everything behind it.

    Closing the window, or calling `close`, stores what is remembered and joins the worker thread.
    """

    def __init__(self, settings: Settings, *, engine: Engine, reader: Reader) -> None:
        super().__init__()
        self.settings = settings
        self.state = AppState()
        self.controllers = Controllers(
            self.state, settings, engine=engine, reader=reader, exporter=CoreExporter(engine)
        )
        # What was remembered is in state before the window reads it.
        self.controllers.weights.list_available()
        self.controllers.remember.restore()
        self.window = MainWindow(self.state)
        self.window.restore_layout(settings.bytes(GEOMETRY_KEY), settings.bytes(LAYOUT_KEY))
        self._wiring = Wiring(self.window, self.controllers, settings)
        self._joined: bool | None = None
        self.window.closing.connect(self._on_closing)

    def close(self) -> bool:
        """Close the window and join the worker; False when the thread did not end in time."""
        if self._joined is None:
            self.window.close()
        return bool(self._joined)

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
    return App(settings or Settings(), engine=engine or CoreEngine(), reader=reader or CoreReader())
