"""How fast the window reacts: frames, window changes and thresholds, idle and beside a run.

    QT_QPA_PLATFORM=offscreen python -m ctmasknet_gui.app.benchmark FOLDER [--quick]

Opens the DICOM series of the folder in a real window with settings of its own and prints one line of JSON;
docs/performance.md says what each number is. `ctmasknet benchmark` runs it in a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app.build import App, build
from ctmasknet_gui.app.start import make_application, spare_collector
from ctmasknet_gui.settings import Settings
from model_core.base.threads import wait_without_spinning

# The window as most screens show it.
_WIDTH, _HEIGHT = 1600, 1000
_MOST_SECONDS = 120.0


class Clock(QObject):
    """Ticks in the event loop and keeps the longest time between two ticks, in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.restart()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)

    def restart(self) -> None:
        """Begin anew."""
        self.longest, self._last = 0.0, time.perf_counter()

    @Slot()
    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, 1000 * (now - self._last))
        self._last = now


class WindowBenchmark:
    """The measurements, in a window that shows a series."""

    def __init__(self, app: App, *, frames: int) -> None:
        self._app, self._frames = app, frames
        self._slices = 0

    def open(self, folder: Path) -> None:
        """Open the series, and run its middle slice so that the networks are there."""
        self._app.controllers.opening.open_paths([folder], choose_best=True)
        self.settle()
        self._app.controllers.running.run_slice()
        self.settle()
        volume = self._app.state.case.volume
        assert volume is not None
        self._slices = volume.slices

    def window_p95(self) -> float | None:
        """Return milliseconds from a new window/level to its painted frame, while nothing runs."""
        change = self._app.controllers.display.set_window
        return _p95([self._painted(partial(change, 1500.0 - 3 * k, -600.0 + k)) for k in self._all])

    def toggle(self) -> float:
        """Return milliseconds from a switch of NMS to class, masks that are known, and plots."""
        times = []
        for number in range(8):
            took = self._painted(self._app.controllers.thresholds.toggle_nms, until=self._follows)
            self.settle()
            if number > 1:  # the first two compute the masks
                times.append(took)
        return float(np.median(times))

    def beside_a_run(self) -> dict[str, float | None]:
        """Return the frame and the longest block of the event loop while the series is run."""
        controllers = self._app.controllers
        controllers.running.run_series()
        self._wait(0.5)
        frames = []
        for k in self._all:
            if not controllers.jobs.active("run"):
                break
            frames.append(self._painted(partial(controllers.display.show_slice, 7 * k % self._slices)))
            self._wait(0.02)
        blocks = self._blocks()
        controllers.running.cancel()
        self.settle()
        return {
            "frame_p95_ms": _p95(frames),
            "event_loop_block_ms": float(np.percentile(blocks, 99)) if blocks else None,
            "frames_beside_a_run": len(frames),
            "moves_beside_a_run": len(blocks),
        }

    def _blocks(self) -> list[float]:
        """Return the longest block in each of some moves: slice, window and score in turn."""
        controllers = self._app.controllers
        clock, blocks = Clock(), []
        for k in self._all:
            if not controllers.jobs.active("run"):
                break
            clock.restart()
            if k % 3 == 0:
                controllers.display.show_slice(11 * k % self._slices)
            elif k % 3 == 1:
                controllers.display.set_window(1500 - k, -600.0)
            else:
                self._app.window.explanation.thresholds.score.slider.setValue(30 + k % 40)
            self._wait(0.06)
            blocks.append(clock.longest)
        return blocks

    @property
    def _all(self) -> range:
        return range(self._frames)

    def _follows(self) -> bool:
        shown, thresholds = self._app.state.results.shown, self._app.state.thresholds
        return shown is not None and shown.detections.settings == thresholds.detections

    def _painted(self, act: Callable[[], object], *, until: Callable[[], bool] = lambda: True) -> float:
        start = time.perf_counter()
        act()
        QApplication.processEvents()
        while not until() and time.perf_counter() - start < _MOST_SECONDS:
            QApplication.processEvents()
        QApplication.processEvents()
        return 1000 * (time.perf_counter() - start)

    def _wait(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            QApplication.processEvents()
            time.sleep(0.0005)

    def settle(self) -> None:
        """Wait until nothing is to be done any more."""
        end = time.perf_counter() + _MOST_SECONDS
        self._wait(0.05)
        while self._app.controllers.jobs.busy and time.perf_counter() < end:
            self._wait(0.02)
        self._wait(0.1)


def _p95(times: list[float]) -> float | None:
    return float(np.percentile(times, 95)) if times else None


def measure(folder: Path, *, quick: bool) -> dict[str, float | None]:
    """Return every number of the window."""
    make_application(needs_display=False)
    with tempfile.TemporaryDirectory(prefix="ctmasknet-benchmark-") as own:
        app = build(settings=Settings(Path(own) / "settings.ini"))
        spare_collector(app)
        app.window.resize(_WIDTH, _HEIGHT)
        app.window.show()
        benchmark = WindowBenchmark(app, frames=40 if quick else 150)
        benchmark.open(folder)
        found: dict[str, float | None] = {
            "window_p95_ms": benchmark.window_p95(),
            "toggle_ms": benchmark.toggle(),
        }
        found |= benchmark.beside_a_run()
        app.close()
    return found


def main(arguments: list[str]) -> None:
    """Measure and print."""
    wait_without_spinning()
    folder, *more = arguments
    sys.stdout.write(json.dumps(measure(Path(folder), quick="--quick" in more)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
