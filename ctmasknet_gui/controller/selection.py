"""Which RoI is selected, the same everywhere: table, viewport and plots."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.state import AppState


class SelectionController(QObject):
    """Writes `SelectionState`."""

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state

    @Slot(object)
    def pick(self, candidate: int | None) -> None:
        """Select a candidate of the visible slice, or nothing."""
        self._state.selection.candidate = None if candidate is None else int(candidate)

    @Slot(object)
    def set_top(self, top: int | None) -> None:
        """Show the best few RoIs only, or all with None."""
        self._state.selection.top = None if top is None else max(1, int(top))
