"""How soon the window answers a threshold that moves: 1,000 candidates, a slice of 512 x 512 pixels.

The default networks keep 1,000 proposals and 128 detections here, and see one slice of the phantom. Score,
NMS and mask threshold are moved by their sliders, one place at a time. For each move: how long until class,
boxes, table, plot and the masks that are known are on screen, how long until the last new mask is, and for
how long the event loop did not run. No backbone runs, which is counted. On screen means that every widget has
painted what it was asked to. ``--run``: the rest of the series is analysed meanwhile.

    QT_QPA_PLATFORM=offscreen python benchmarks/reaction.py [--moves 40] [--run]

Beside the time goes what the window's own thread computed, which says more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ctmasknet_gui  # noqa: F401 - before NumPy, as in the program  # isort: skip
import numpy as np
from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app import App, build
from ctmasknet_gui.app.start import make_application
from ctmasknet_gui.controller.ports import Engine, Reader
from ctmasknet_gui.settings import Settings
from model_core.base.arrays import ByteArray
from model_core.base.resources import resource
from model_core.base.threads import wait_without_spinning
from model_core.base.volume import Volume
from model_core.phantom import make_phantom

PROPOSALS, DETECTIONS, SLICE = 1000, 128, 24
NAMES = ("lesion-r18t1", "covid-s-r18t1")


class Clock(QObject):
    """Ticks in the event loop; keeps the times between two ticks, and what was computed in each, in ms."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[tuple[float, float]] = []
        self._last, self._used = time.perf_counter(), time.thread_time()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)

    @Slot()
    def _tick(self) -> None:
        now, used = time.perf_counter(), time.thread_time()
        self.blocks.append((1000 * (now - self._last), 1000 * (used - self._used)))
        self._last, self._used = now, used


def weights(folder: Path) -> list[str]:
    """Write the default weights with more proposals and detections, and return their files."""
    paths = []
    for name in NAMES:
        for suffix in (".safetensors", ".json"):
            shutil.copy(str(resource("weights") / f"{name}{suffix}"), folder)
        card = folder / f"{name}.json"
        fields = json.loads(card.read_text("utf-8"))
        fields["detector"] |= {"rpn_post_nms": PROPOSALS, "rpn_pre_nms": 2 * PROPOSALS, "rpn_nms_iou": 0.85}
        fields["detections"]["max_detections"] = DETECTIONS
        card.write_text(json.dumps(fields), "utf-8")
        paths.append(str(folder / f"{name}.safetensors"))
    return paths


def wait(until: Callable[[], bool], seconds: float = 120.0) -> None:
    """Let the event loop run until something is true."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.0002)


def idle(app: App) -> Callable[[], bool]:
    """Return what says whether nothing is left to be done."""
    return lambda: not app.controllers.jobs.busy


def moves(app: App, count: int) -> list[Callable[[], None]]:
    """Return the moves: score, NMS and mask threshold in turns, each to a place of its own."""
    panel = app.window.explanation.thresholds
    sliders = [panel.score.slider, panel.nms.slider, panel.mask_level.slider]
    middles = [slider.value() for slider in sliders]
    found: list[Callable[[], None]] = []
    for number in range(count):
        which = number % len(sliders)
        slider, span = sliders[which], sliders[which].maximum() - sliders[which].minimum()
        # Score down and up between its place and a tenth of that; the others about their places.
        wave = abs(((number // len(sliders)) % 10) / 5 - 1)
        value = middles[0] * (0.1 + 0.9 * wave) if which == 0 else middles[which] + (wave - 0.5) * 0.1 * span
        found.append(partial(slider.setValue, round(value)))
    return found


def measure(app: App, engine: Counting, count: int, *, run: bool) -> dict[str, np.ndarray]:
    """Move and return the times of each move, in ms: on screen, of the own thread, all masks; and blocks."""
    state, plots = app.state, app.window.explanation.plots
    if run:
        app.controllers.running.run_series()
        wait(lambda: state.run.kind == "run")
    screen, own, masks = [], [], []
    page = plots.scatter
    app.window.repaint()
    QApplication.processEvents()
    clock = Clock()
    for move in moves(app, count):
        before = engine.looks
        start, used = time.perf_counter(), time.thread_time()
        move()
        QApplication.processEvents()
        wait(lambda: not page.pending)
        QApplication.processEvents()
        screen.append(1000 * (time.perf_counter() - start))
        own.append(1000 * (time.thread_time() - used))
        wait(lambda: not state.results.computing)
        QApplication.processEvents()
        masks.append(1000 * (time.perf_counter() - start))
        if not run:
            assert engine.looks == before, "a backbone ran"
        rested = time.monotonic() + 0.15
        wait(partial(lambda end: time.monotonic() > end, rested))
    if run:
        app.controllers.running.cancel()
    wait(idle(app))
    blocks = np.array(clock.blocks)
    return {
        "on screen": np.array(screen),
        "own thread": np.array(own),
        "all masks": np.array(masks),
        "block": blocks[:, 0],
        "block, own thread": blocks[:, 1],
    }


class Large(Reader):
    """Makes the phantom with slices of 512 x 512 pixels."""

    def phantom(self) -> tuple[Volume, ByteArray]:
        """See `Reader.phantom`."""
        return make_phantom(size=512)


class Counting(Engine):
    """Counts the slices that went through a backbone."""

    looks = 0

    def run(self, pipeline, volume, slices):  # type: ignore[no-untyped-def]
        """See `Engine.run`."""
        for item in super().run(pipeline, volume, slices):
            type(self).looks += 1
            yield item


def main() -> None:
    """Print percentiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--run", action="store_true")
    arguments = parser.parse_args()
    wait_without_spinning()
    make_application()
    engine = Counting()
    with tempfile.TemporaryDirectory() as folder:
        app = build(settings=Settings(Path(folder) / "settings.ini"), engine=engine, reader=Large())
        app.window.resize(1600, 1000)
        app.window.show()
        app.controllers.opening.open_demo()
        wait(idle(app))
        app.controllers.weights.choose(weights(Path(folder)))
        wait(idle(app))
        app.controllers.display.show_slice(SLICE)
        app.controllers.running.run_slice()
        wait(idle(app))
        found = app.state.results.slices[SLICE].detection_candidates
        sys.stdout.write(f"{len(found)} candidates\n")
        for name, times in measure(app, engine, arguments.moves, run=arguments.run).items():
            middle, late, last = np.percentile(times, (50, 95, 99))
            sys.stdout.write(f"{name}: median {middle:.1f} ms, p95 {late:.1f}, p99 {last:.1f}\n")
        app.close()


if __name__ == "__main__":
    main()
