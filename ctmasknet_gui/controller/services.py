"""What the use cases work with, and the base of those that ask the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from PySide6.QtCore import QObject

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.base.volume import Volume


@dataclass(frozen=True, eq=False)
class Services:
    """What is common to the use cases of one window."""

    state: AppState
    jobs: Jobs
    engine: Engine
    weights: WeightsController
    shown: ShownController
    messages: MessageController


class VisibleSlice(NamedTuple):
    """The visible slice as it was analysed under the weights that run."""

    pipeline: Any
    volume: Volume
    result: SliceResult


class EngineUseCase(QObject):
    """Asks the engine in the background and writes what it answers."""

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = services.state
        self._jobs = services.jobs
        self._engine = services.engine
        self._weights = services.weights
        self._messages = services.messages

    def _analysed(self) -> VisibleSlice | None:
        """Return what there is of the visible slice; None where it has no result under these weights."""
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        result = self._state.results.slices.get(self._state.display.slice_index)
        if volume is None or pipeline is None or result is None or result.weights_id != pipeline.weights_id:
            return None
        return VisibleSlice(pipeline, volume, result)

    def _submit(
        self,
        kind: str,
        work: JobFactory,
        take: Callable[[Any], None],
        end: Callable[[], None],
        *,
        finish: Callable[[], None] | None = None,
        topic: str = "",
        priority: Priority = Priority.ASKED,
        aside: bool = False,
    ) -> None:
        """Submit a job: ``take`` gets its results, ``end`` follows however it ends.

        Parameters
        ----------
        finish:
            In place of ``end`` where the job was neither stopped nor failed.
        topic:
            Of the message where it fails.
        aside:
            In the second thread, without being shown.
        """

        def produced(item: object) -> None:
            if not isinstance(item, Progress):
                take(item)

        def fail(error: BaseException) -> None:
            end()
            self._messages.report(error, topic=topic)

        self._jobs.submit(
            kind,
            work,
            Handlers(produced=produced, finished=finish or end, failed=fail, cancelled=end),
            priority=priority,
            visible=not aside,
            beside=aside,
        )
