"""The whole window over fast fakes or small real networks; no test leaves a thread behind."""

import pytest
from gui_fakes import FakeEngine, FakeReader, make_volume
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app import build
from ctmasknet_gui.settings import Settings


class AppRig:
    """A shown window and a few things a user does."""

    def __init__(self, qtbot, folder, **ports):
        self.qtbot = qtbot
        self.folder = folder
        self.settings = Settings(folder / "settings.ini")
        self.app = build(settings=self.settings, **ports)
        self.state = self.app.state
        self.controllers = self.app.controllers
        self.window = self.app.window
        self.commands = self.window.commands
        self.viewport = self.window.viewport
        self.window.resize(1280, 800)
        self.window.show()
        qtbot.waitExposed(self.window)

    def settle(self):
        self.qtbot.waitUntil(lambda: not self.controllers.jobs.busy)
        QApplication.processEvents()

    def case(self, name="case"):
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def open(self, path=None):
        self.window.use.open_paths((path or self.case(),))
        self.settle()

    def run_series(self):
        self.commands.run_series.trigger()
        self.settle()

    def run_slice(self):
        self.commands.run_slice.trigger()
        self.settle()

    def key(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        self.viewport.setFocus()
        self.qtbot.keyClick(self.viewport, key, modifier)

    def drop(self, widget, *paths):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        place, action = QPointF(40, 40), Qt.DropAction.CopyAction
        button, plain = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        entering = QDragEnterEvent(place.toPoint(), action, data, button, plain)
        # Straight to the handlers: Qt delivers drops only within a drag of the window system.
        widget.dragEnterEvent(entering)
        assert entering.isAccepted()
        widget.dropEvent(QDropEvent(place, action, data, button, plain))

    @property
    def texts(self):
        return [message.text for message in self.state.messages.messages]

    def close(self):
        return self.app.close()


@pytest.fixture
def make_app(qtbot, tmp_path):
    rigs = []

    def make(engine=None, reader=None):
        rig = AppRig(qtbot, tmp_path, engine=engine or FakeEngine(), reader=reader or FakeReader())
        rig.engine, rig.reader = engine, reader
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        for port in (rig.engine, rig.reader):
            for name in ("gate", "pixel_gate"):
                gate = getattr(port, name, None)
                if gate is not None:
                    gate.set()
        assert rig.close(), "the worker thread was left running"
        rig.window.deleteLater()
        rig.app.deleteLater()
    QApplication.processEvents()


@pytest.fixture
def rig(make_app):
    return make_app(engine=FakeEngine(), reader=FakeReader())


@pytest.fixture
def opened(rig):
    rig.open()
    return rig


@pytest.fixture
def analysed(opened):
    opened.run_series()
    return opened


@pytest.fixture
def real(make_app, tiny_weights):
    """The real engine with small random networks, over a small volume."""
    from ctmasknet_gui.controller.ports import Engine

    rig = make_app(engine=Engine(), reader=FakeReader([make_volume(slices=4)]))
    rig.window.use.choose_weights(
        (str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors"))
    )
    rig.settle()
    assert rig.texts == []
    rig.open()
    return rig
