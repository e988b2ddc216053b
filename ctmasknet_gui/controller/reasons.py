"""Keeps up to date why the visible slice has its class, in the second thread; the window never waits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from PySide6.QtCore import QObject, QTimer, Slot

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority
from model_core.base.jobs import Progress
from model_core.base.reasons import Grouping, Sensitivity, SliceReason, Way
from model_core.base.results import ShownSlice, SliceResult

# Nothing is computed before the hand rests: class and masks come first.
PAUSE_MS = 150
# Slices that are gone back to have their reason at once.
_MOST_KEPT = 64

_Found = tuple[SliceReason, Sensitivity]


class ReasonController(QObject):
    """Writes `ReasonState`: contributions, decisive sets and the class along the thresholds.

    A later change cancels what is being computed; masks and summaries go before it.
    """

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        engine: Engine,
        weights: WeightsController,
        shown: ShownController,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._engine = engine
        self._weights = weights
        self._messages = messages
        self._kept: dict[object, tuple[SliceResult, _Found]] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._compute)
        state.results.events.shown.connect(self._on_shown)
        state.case.events.lungs.connect(self._on_lungs)
        shown.left.connect(self._forget)

    @Slot(object)
    def choose_way(self, way: Way) -> None:
        """Take regions out another way."""
        self._state.reasons.way = way
        self._on_shown()

    @Slot(object)
    def choose_grouping(self, grouping: Grouping) -> None:
        """Let something else count as one."""
        self._state.reasons.grouping = grouping

    @Slot(object)
    def choose_output(self, output: int | None) -> None:
        """Show the contributions to another logit; None: that of the verdict."""
        self._state.reasons.output = output

    @Slot()
    def dismiss_hint(self) -> None:
        """Never show the three steps again."""
        self._state.reasons.hint = False

    def _asked(self) -> tuple[Any, SliceResult, ShownSlice, object] | None:
        """Return what the reason of the visible slice is computed from, and what it depends on."""
        shown, pipeline = self._state.results.shown, self._weights.pipeline
        if shown is None or shown.verdict is None or pipeline is None:
            return None
        result = self._state.results.slices.get(shown.slice_index)
        if result is None or result.weights_id != pipeline.weights_id:
            return None
        verdict = shown.verdict
        key = (
            shown.slice_index,
            self._state.reasons.way,
            verdict.settings,
            verdict.edit,
            shown.detections.settings,
            shown.summary.lung,
        )
        return pipeline, result, shown, key

    def _on_shown(self, *_: object) -> None:
        reasons, asked = self._state.reasons, self._asked()
        self._jobs.cancel("reason")
        self._timer.stop()
        if asked is None:
            self._put(None, None)
            return
        _, result, shown, key = asked
        known = self._kept.get(key)
        if known is not None and known[0] is result:
            self._put(*known[1])
            return
        if reasons.reason is not None and reasons.reason.slice_index != shown.slice_index:
            self._put(None, None)
        reasons.computing = True
        self._timer.start()

    def _on_lungs(self, *_: object) -> None:
        # Sides are known now.
        self._forget()
        self._on_shown()

    @Slot()
    def _forget(self) -> None:
        self._kept.clear()

    def _put(self, reason: SliceReason | None, sensitivity: Sensitivity | None) -> None:
        reasons = self._state.reasons
        reasons.computing = False
        if reasons.reason is not reason:
            reasons.reason = reason
        if reasons.sensitivity is not sensitivity:
            reasons.sensitivity = sensitivity

    @Slot()
    def _compute(self) -> None:
        asked, volume = self._asked(), self._state.case.volume
        if asked is None or volume is None:
            return
        pipeline, result, shown, key = asked
        engine, reasons, way = self._engine, self._state.reasons, self._state.reasons.way
        verdict = shown.verdict
        assert verdict is not None

        def work() -> Generator[Progress | SliceReason | Sensitivity, None, None]:
            yield from engine.explain(pipeline, volume, result, shown, way)
            yield from engine.sensitivity(pipeline, result, verdict)

        def take(item: object) -> None:
            if isinstance(item, SliceReason):
                reasons.reason = item
                reasons.computing = False
            elif isinstance(item, Sensitivity):
                reasons.sensitivity = item
                if reasons.reason is not None:
                    self._keep(key, result, (reasons.reason, item))

        def fail(error: BaseException) -> None:
            self._put(None, None)
            self._messages.report(error)

        self._jobs.submit(
            "reason",
            work,
            Handlers(produced=take, failed=fail),
            priority=Priority.IDLE,
            visible=False,
            beside=True,
        )

    def _keep(self, key: object, result: SliceResult, found: _Found) -> None:
        self._kept.pop(key, None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = result, found
