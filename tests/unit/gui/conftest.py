"""Controllers over fakes, without a window; no test may leave a worker thread behind."""

from pathlib import Path

import pytest
from gui_fakes import FakeEngine, FakeExporter, FakeReader, make_volume

from ctmasknet_gui.controller.controllers import Controllers
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState


class Rig:
    """Controllers with their fakes and a few waits."""

    def __init__(self, qtbot, folder, reader=None, engine=None, exporter=None):
        self.qtbot = qtbot
        self.folder = folder
        self.state = AppState()
        self.engine = engine or FakeEngine()
        self.reader = reader or FakeReader()
        self.settings = Settings(folder / "settings.ini")
        self.exporter = exporter or FakeExporter()
        self.controllers = Controllers(
            self.state, self.settings, engine=self.engine, reader=self.reader, exporter=self.exporter
        )
        self.controllers.weights.list_available()

    def settle(self):
        self.qtbot.waitUntil(lambda: not self.controllers.jobs.busy)

    def open(self, name="case", *, choose_best=True) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        self.controllers.opening.open_paths([path], choose_best=choose_best)
        self.settle()
        return path

    def run_all(self):
        self.controllers.running.run_series()
        self.settle()

    @property
    def texts(self):
        return [message.text for message in self.state.messages.messages]


@pytest.fixture
def make_rig(qtbot, tmp_path):
    rigs = []

    def build(**kwargs):
        rigs.append(Rig(qtbot, tmp_path, **kwargs))
        return rigs[-1]

    yield build
    for rig in rigs:
        for gate in (rig.engine.gate, rig.engine.reason_gate, rig.reader.gate, rig.exporter.gate):
            if gate is not None:
                gate.set()
        assert rig.controllers.shutdown()
        assert not rig.controllers.thread.running, "the worker thread was left running"


@pytest.fixture
def rig(make_rig):
    return make_rig()


@pytest.fixture
def opened(rig):
    rig.open()
    return rig


@pytest.fixture
def two_series(make_rig):
    return make_rig(reader=FakeReader([make_volume("one"), make_volume("second", slices=5)]))
