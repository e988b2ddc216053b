"""Makes the pictures of docs/guide.md from the running program, on the synthetic phantom.

``QT_QPA_PLATFORM=offscreen python docs/guide_pictures.py [FOLDER]``; it takes a minute or two.
"""

import sys
import tempfile
import time
from pathlib import Path

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from ctmasknet_gui.app import build
from ctmasknet_gui.app.start import make_application
from ctmasknet_gui.settings import Settings

FOLDER = Path(__file__).parent / "images"
SETTLE_S = 0.8


class Guide:
    """The window, driven as a reader of the guide would."""

    def __init__(self, folder: Path, settings: Path) -> None:
        self.folder = folder
        self.app = build(settings=Settings(settings / "settings.ini"))
        self.window, self.state = self.app.window, self.app.state
        self.window.resize(1280, 800)
        self.window.show()
        self.use, self.commands = self.window.use, self.window.commands

    def settle(self) -> None:
        """Wait until nothing runs and everything is drawn."""
        quiet = time.monotonic() + SETTLE_S
        while time.monotonic() < quiet:
            QApplication.processEvents()
            time.sleep(0.01)
            if self.app.controllers.jobs.busy:
                quiet = time.monotonic() + SETTLE_S

    def picture(self, name: str, *widgets: QWidget) -> None:
        """Save the window, or the part of it that these widgets cover."""
        self.settle()
        rect = self.window.rect()
        if widgets:
            rect = QRect()
            for widget in widgets:
                rect = rect.united(QRect(widget.mapTo(self.window, QPoint(0, 0)), widget.size()))
        self.save(name, self.window, rect)

    def save(self, name: str, widget: QWidget, rect: QRect) -> None:
        """Save a part of a widget."""
        path = self.folder / f"guide-{name}.png"
        if not widget.grab(rect).save(str(path)):
            raise SystemExit(f"{path} cannot be written")
        sys.stdout.write(f"{path}\n")

    def make(self) -> None:
        """Take the pictures, one after the other."""
        self.settle()
        self.commands.open_demo.trigger()
        self.settle()
        self.picture("2-window")
        self.use.dismiss_hint()
        panel = self.window.explanation
        self.picture("3-verdict", panel.card, panel.classes)
        self.picture("4-why", panel.why)
        self.use.toggle("contributions")
        self.picture("5-colour", self.window.viewport)
        self.use.toggle("contributions")
        shown = self.state.results.shown
        assert shown is not None
        self.use.pick(shown.rois[0].candidate)
        self.settle()
        self.commands.exclude_region.trigger()
        self.picture("6-what-if")
        self.commands.undo.trigger()
        self.use.pick(None)
        self.settle()
        self.commands.ask_tool.trigger()
        self.drag((96.0, 60.0), (128.0, 92.0))
        self.picture("7-ask", self.window.viewport)
        self.commands.leave_tool.trigger()
        self.commands.restore_all.trigger()
        self.settle()
        self.use.pick(shown.rois[0].candidate)
        self.commands.heal_lesion.trigger()
        self.settle()
        self.use.run_edited()
        self.settle()
        changed = self.window.dialogs.picture_edit
        assert changed is not None
        self.save("9-heal", changed, changed.rect())
        self.use.forget_edited()
        self.use.pick(None)
        # High enough for the names of the lines.
        self.window.resize(1280, 1200)
        for name, page in (("8-sensitivity", panel.plots.sensitivity), ("10-scan", panel.plots.scan)):
            panel.plots.tabs.setCurrentWidget(page)
            self.picture(name, panel.plots)
        self.app.close()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a box over the picture, in slice pixels."""
        viewport = self.window.viewport
        view = viewport.current_view
        assert view is not None
        places = [view.to_screen(*place).toPoint() for place in (start, end)]
        QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=places[0])
        QTest.mouseMove(viewport, (places[0] + places[1]) / 2)
        QTest.mouseMove(viewport, places[1])
        QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=places[1])


if __name__ == "__main__":
    make_application()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    with tempfile.TemporaryDirectory() as settings:
        Guide(folder, Path(settings)).make()
