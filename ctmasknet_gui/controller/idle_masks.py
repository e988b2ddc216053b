"""Computes masks ahead while nothing else is to be done, so that thresholds move among known ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import replace
from weakref import WeakSet

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.feature_maps import MASK_BYTES, mask_bytes
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.controller.run_queue import RunQueue
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult

_log = logging.getLogger(__name__)

# The best candidates of a slice whatever their scores: as many as the papers show.
_TOP, _ANY_SCORE = 128, -0.01
# They wait while a person scrolls, windows or moves thresholds, and this much longer.
_QUIET_S = 1.5


class IdleMaskController(QObject):
    """Has the masks of the best candidates of each analysed slice made, nearest to the visible one first.

    It begins when the window has nothing to do (`Jobs.idle`), waits while a person moves anything, stops for
    a run, and goes on afterwards, until the masks of the series take what `feature_maps.MASK_BYTES` allows.
    """

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        engine: Engine,
        weights: WeightsController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._engine = engine
        self._weights = weights
        self._made: WeakSet[SliceResult] = WeakSet()
        # When a person last moved anything.
        self._moved = 0.0
        for part in (state.display, state.thresholds, state.selection):
            part.events.all.connect(self._on_moved)
        jobs.idle.connect(self._begin)

    def _on_moved(self, *_: object) -> None:
        self._moved = time.monotonic()

    @Slot()
    def _begin(self) -> None:
        pipeline, results = self._weights.pipeline, self._state.results
        slices = results.slices
        waiting = {k: r for k, r in slices.items() if r.features and r not in self._made}
        room = MASK_BYTES - sum(map(mask_bytes, slices.values()))
        if pipeline is None or not waiting or room <= 0 or self._jobs.active("ahead"):
            return
        engine, display, run = self._engine, self._state.display, self._state.run
        settings = replace(self._state.thresholds.detections, score=_ANY_SCORE, max_detections=_TOP)
        queue = RunQueue(waiting)

        def work() -> Generator[Progress | SliceResult, None, None]:
            left = room
            while left > 0 and (index := queue.take(display.slice_index)) is not None:
                result = waiting[index]
                before = mask_bytes(result)
                for _ in engine.make_masks(pipeline, result, settings):
                    yield Progress(0, 0)
                    if run.kind == "run" or results.slices.get(index) is not result:
                        return
                    while time.monotonic() < self._moved + _QUIET_S:
                        time.sleep(0.02)
                        yield Progress(0, 0)
                left -= mask_bytes(result) - before
                yield result

        def fail(error: BaseException) -> None:
            # The end of this job makes the window idle again: what fails would be tried without end.
            _log.warning("masks were not made ahead: %s", type(error).__name__)
            self._made.update(waiting.values())

        self._jobs.submit(
            "ahead",
            work,
            Handlers(produced=self._take, failed=fail),
            priority=Priority.AHEAD,
            visible=False,
            beside=True,
        )

    def _take(self, item: object) -> None:
        if isinstance(item, SliceResult):
            self._made.add(item)
