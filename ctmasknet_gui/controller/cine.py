"""Plays the slices of the open volume in a loop."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Slot

from ctmasknet_gui.state import AppState


class CineController(QObject):
    """Steps the shown slice while `DisplayState.cine` is on; stops when the volume closes."""

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._advance)
        state.display.events.cine.connect(self._apply)
        state.display.events.cine_fps.connect(self._apply)
        state.case.events.volume.connect(self.stop)

    def toggle(self) -> None:
        """Start or stop."""
        self._state.display.cine = not self._state.display.cine and self._state.case.volume is not None

    def stop(self) -> None:
        """Stop."""
        self._state.display.cine = False

    def set_speed(self, fps: float) -> None:
        """Play this many slices per second."""
        self._state.display.cine_fps = float(fps)

    def _apply(self) -> None:
        if self._state.display.cine:
            self._timer.start(max(10, round(1000 / max(0.5, self._state.display.cine_fps))))
        else:
            self._timer.stop()

    @Slot()
    def _advance(self) -> None:
        volume = self._state.case.volume
        if volume is not None:
            self._state.display.slice_index = (self._state.display.slice_index + 1) % volume.slices
