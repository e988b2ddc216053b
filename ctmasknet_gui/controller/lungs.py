"""Finds the lungs of the open series in the worker: slices outside of them have no class."""

from __future__ import annotations

import logging

from PySide6.QtCore import QObject

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.state import AppState, LungSlices
from ctmasknet_gui.worker import Priority

_log = logging.getLogger(__name__)


class LungController(QObject):
    """Writes `CaseState.lungs` a moment after a series is opened; runs wait for it.

    Without lungs (`LungSlices.inside` is empty) every slice takes part in the class of the scan.
    """

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        engine: Engine,
        shown: ShownController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._engine = engine
        self._shown = shown
        state.case.events.volume.connect(self._on_volume)

    def _on_volume(self) -> None:
        volume = self._state.case.volume
        self._jobs.cancel("lungs")
        self._state.case.lungs = LungSlices()
        if volume is not None:
            self._jobs.submit(
                "lungs",
                lambda: self._engine.find_lungs(volume),
                Handlers(produced=self._take, failed=self._on_failed),
                # Before a run: the class of the scan would change its mind.
                priority=Priority.FOLLOW,
                visible=False,
            )

    def _take(self, item: object) -> None:
        if isinstance(item, LungSlices):
            self._state.case.lungs = item
            summaries = self._state.results.summaries
            if any(summary.lung != item.inside[index] for index, summary in summaries.items()):
                self._shown.settings_changed()
            else:
                self._shown.update_scan()  # it gives the share of the lung

    def _on_failed(self, error: BaseException) -> None:
        _log.warning("the lungs were not found: %s", type(error).__name__)
