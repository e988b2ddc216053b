"""Longest block of the window's event loop while the score slider is dragged during a run of a series.

With masks that follow in a thread of their own, and the former way, in which every move computes them before
the window goes on; in turns, each in a window of its own over the same slice of the phantom. A clock in the
event loop ticks every millisecond; the longest time between two ticks is the longest block, its ratio is
former over present. On a busy machine most of it is waiting for a core: the second number is the most that
the window's own thread computed in one.

    QT_QPA_PLATFORM=offscreen python benchmarks/slider_drag.py [--turns 3] [--weights lesion-r18t1 ...]

Measured on 2 cores beside much other work (load 14), Python 3.11: block 1279 and 506 ms (2.5 times), computed
71 and 32 ms; in a second call 1160 and 706 ms (1.6 times), 71 and 27 ms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app import App, build
from ctmasknet_gui.app.start import make_application
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.settings import Settings
from model_core.base.threads import wait_without_spinning

# A quick pull: the mouse tells of few places between its ends.
MOVES, MOVE_MS = 6, 50
SLICE = 24


class Clock(QObject):
    """Ticks in the event loop; keeps the longest time between two ticks, and the most computed, in ms."""

    def __init__(self) -> None:
        super().__init__()
        self.restart()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)

    def restart(self) -> None:
        """Begin anew."""
        self.longest = self.most = 0.0
        self._last, self._used = time.perf_counter(), time.thread_time()

    @Slot()
    def _tick(self) -> None:
        now, used = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, 1000 * (now - self._last))
        self.most = max(self.most, 1000 * (used - self._used))
        self._last, self._used = now, used


def wait(seconds: float) -> None:
    """Let the event loop run for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.0005)


def wait_until_idle(app: App) -> None:
    """Let the event loop run until nothing is left to be done."""
    while app.controllers.jobs.busy:
        wait(0.05)
    wait(0.5)


def former(app: App, engine: Engine) -> None:
    """Let every move of a threshold wait for the masks, as it once did."""
    shown, state = app.controllers.shown, app.state

    def refresh() -> None:
        result = state.results.slices.get(state.display.slice_index)
        pipeline, volume = app.controllers.weights.pipeline, state.case.volume
        if result is not None and pipeline is not None and volume is not None:
            settings = state.thresholds.detections, state.thresholds.evidence
            state.results.shown = engine.show(pipeline, volume, result, *settings)

    shown.refresh = refresh  # type: ignore[method-assign]


def drag(app: App, clock: Clock) -> tuple[float, float]:
    """Run the series, drag the score down meanwhile, and return what the clock says."""
    app.controllers.running.run_slice()
    wait_until_idle(app)
    # As after a run of this slice alone: no mask but those of the card's thresholds is known.
    results, detections = app.state.results, app.state.thresholds.detections
    app.controllers.running.run_series()
    wait(0.3)
    slider = app.window.explanation.thresholds.score.slider
    top = slider.value()
    clock.restart()
    for move in range(1, MOVES + 1):
        slider.setValue(round(top * (1 - move / MOVES)))
        wait(MOVE_MS / 1000)
    wait(0.3)
    measured = clock.longest, clock.most
    app.controllers.running.cancel()
    wait_until_idle(app)
    assert results.shown is not None
    assert results.shown.detections.settings == app.state.thresholds.detections != detections
    app.controllers.thresholds.reset()
    wait_until_idle(app)
    return measured


def one_turn(weights: list[str], *, way: str) -> tuple[float, float]:
    """Return the longest block of a new window, and the most that it computed in one, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine()
        app = build(settings=Settings(Path(folder) / "settings.ini"), engine=engine)
        app.window.resize(1280, 800)
        app.window.show()
        app.controllers.opening.open_demo()
        wait_until_idle(app)
        app.controllers.weights.choose(weights)
        wait_until_idle(app)
        app.controllers.display.show_slice(SLICE)
        if way == "former":
            former(app, engine)
        clock = Clock()
        measured = drag(app, clock)
        app.close()
        app.window.deleteLater()
        wait(0.1)
    return measured


def main() -> None:
    """Print both blocks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--weights", nargs="*", default=[])
    arguments = parser.parse_args()
    wait_without_spinning()
    make_application()
    turns: dict[str, list[tuple[float, float]]] = {"former": [], "present": []}
    for _ in range(arguments.turns):
        for way, measured in turns.items():
            measured.append(one_turn(arguments.weights, way=way))
    before, now = (np.median(measured, axis=0) for measured in turns.values())
    for what, former_ms, present_ms in zip(("block", "computed"), before, now, strict=True):
        times = f"former {former_ms:.0f} ms, present {present_ms:.0f} ms"
        sys.stdout.write(f"{what}: {times}, {former_ms / present_ms:.1f} times\n")


if __name__ == "__main__":
    main()
