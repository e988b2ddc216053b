"""Undo and redo of thresholds and window."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Slot

from ctmasknet_gui.controller.thresholds import ThresholdController
from ctmasknet_gui.state import AppState
from model_core.config import DetectionSettings, EvidenceSettings
from model_core.types import Window

# Changes closer together than this are one step: a drag of a slider or of the window.
PAUSE_MS = 600
MAX_STEPS = 100


@dataclass(frozen=True)
class Step:
    """What one step holds."""

    detections: DetectionSettings
    evidence: EvidenceSettings
    linked: bool
    window: Window


class HistoryController(QObject):
    """Remembers the steps since the series was opened or other weights were loaded."""

    def __init__(
        self, state: AppState, thresholds: ThresholdController, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._thresholds = thresholds
        self._past: list[Step] = []
        self._future: list[Step] = []
        self._present = self._now()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._record)
        events = state.thresholds.events
        for signal in (events.detections, events.evidence, events.linked, state.display.events.window):
            signal.connect(self._on_change)

    @Slot()
    def forget(self) -> None:
        """Begin anew: what was set before belongs to another series or to other weights."""
        self._pause.stop()
        self._past.clear()
        self._future.clear()
        self._present = self._now()

    @Slot()
    def undo(self) -> None:
        """Go one step back, if there is one."""
        self._record()
        self._go(self._past, self._future)

    @Slot()
    def redo(self) -> None:
        """Take one step back again, if there is one."""
        self._record()
        self._go(self._future, self._past)

    def _go(self, source: list[Step], other: list[Step]) -> None:
        if not source:
            return
        other.append(self._present)
        # Before anything is written: the events of writing then find nothing that changed.
        self._present = step = source.pop()
        self._state.display.window = step.window
        self._thresholds.restore(step.detections, step.evidence, linked=step.linked)
        self._pause.stop()

    def _on_change(self) -> None:
        self._pause.start()

    @Slot()
    def _record(self) -> None:
        self._pause.stop()
        now = self._now()
        if now == self._present:
            return
        if self._state.case.volume is not None:
            self._past.append(self._present)
            del self._past[:-MAX_STEPS]
            self._future.clear()
        self._present = now

    def _now(self) -> Step:
        thresholds = self._state.thresholds
        return Step(thresholds.detections, thresholds.evidence, thresholds.linked, self._state.display.window)
