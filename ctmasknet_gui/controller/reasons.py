"""Keeps up to date why the visible slice has its class, in the second thread; the window never waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from PySide6.QtCore import QObject, QTimer, Slot

from ctmasknet_gui.controller.jobs import Handlers
from ctmasknet_gui.controller.services import EngineUseCase, Services
from ctmasknet_gui.worker import Priority
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.reasons import Grouping, Sensitivity, SliceReason, Way
from model_core.base.results import Candidates, ShownSlice, SliceResult

# Nothing is computed before the hand rests: class and masks come first.
PAUSE_MS = 150
# Slices that are gone back to have their reason at once.
_MOST_KEPT = 64

Found = TypeVar("Found", SliceReason, Sensitivity)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the reason of the visible slice is computed from, and what it depends on."""

    pipeline: Any
    result: SliceResult
    shown: ShownSlice
    key: object


class ReasonController(EngineUseCase):
    """Writes `ReasonState`: contributions, decisive sets and the class along the thresholds.

    A later change cancels what is being computed; masks and summaries go before it.
    """

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(services, parent)
        state, shown = services.state, services.shown
        # With the candidates that it is of: a result whose maps were let go has the same.
        self._kept: dict[object, tuple[Candidates, SliceReason | Sensitivity]] = {}
        self._watched = False
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

    def watch_sensitivity(self, watched: bool) -> None:
        """Compute the class along the thresholds only while somebody looks at it."""
        self._watched = watched
        if watched:
            self._on_shown()

    def _asked(self) -> _Asked | None:
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
        return _Asked(pipeline, result, shown, key)

    def _on_shown(self, *_: object) -> None:
        reasons, asked = self._state.reasons, self._asked()
        for kind in ("reason", "sensitivity"):
            self._jobs.cancel(kind)
        self._timer.stop()
        if asked is None:
            self._put_reason(None)
            self._put_sensitivity(None)
            return
        reason, curves = self._known(asked, SliceReason), self._known(asked, Sensitivity)
        index = asked.shown.slice_index
        # Until the new ones are there the former stay, but never those of another slice.
        if reason is not None or (reasons.reason is not None and reasons.reason.slice_index != index):
            self._put_reason(reason)
        former = reasons.sensitivity
        if curves is not None or (former is not None and former.slice_index != index):
            self._put_sensitivity(curves)
        reasons.computing = reason is None
        if reason is None or (curves is None and self._watched):
            self._timer.start()

    def _on_lungs(self, *_: object) -> None:
        # Sides are known now.
        self._forget()
        self._on_shown()

    @Slot()
    def _forget(self) -> None:
        self._kept.clear()

    def _put_reason(self, reason: SliceReason | None) -> None:
        self._state.reasons.computing = False
        if self._state.reasons.reason is not reason:
            self._state.reasons.reason = reason

    def _put_sensitivity(self, sensitivity: Sensitivity | None) -> None:
        if self._state.reasons.sensitivity is not sensitivity:
            self._state.reasons.sensitivity = sensitivity

    @Slot()
    def _compute(self) -> None:
        asked, volume = self._asked(), self._state.case.volume
        if asked is None or volume is None:
            return
        engine, way, verdict = self._engine, self._state.reasons.way, asked.shown.verdict
        assert verdict is not None
        pipeline, result, shown = asked.pipeline, asked.result, asked.shown
        if self._known(asked, SliceReason) is None:
            self._start(
                "reason",
                lambda: engine.explain(pipeline, volume, result, shown, way),
                asked,
                self._put_reason,
            )
        if self._watched and self._known(asked, Sensitivity) is None:
            self._start(
                "sensitivity",
                lambda: engine.sensitivity(pipeline, result, verdict),
                asked,
                self._put_sensitivity,
            )

    def _start(self, kind: str, work: JobFactory, asked: _Asked, put: Callable[[Any], None]) -> None:
        def take(item: object) -> None:
            if isinstance(item, SliceReason | Sensitivity):
                self._keep(asked, item)
                put(item)

        def fail(error: BaseException) -> None:
            put(None)
            self._messages.report(error)

        self._jobs.submit(
            kind,
            work,
            Handlers(produced=take, failed=fail),
            priority=Priority.IDLE,
            visible=False,
            beside=True,
        )

    def _known(self, asked: _Asked, kind: type[Found]) -> Found | None:
        of, found = self._kept.get((kind, asked.key), (None, None))
        return found if of is asked.result.detection_candidates and isinstance(found, kind) else None

    def _keep(self, asked: _Asked, found: SliceReason | Sensitivity) -> None:
        key = type(found), asked.key
        self._kept.pop(key, None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = asked.result.detection_candidates, found
