"""The demo case: the phantom, opened on its largest lesion and run at once."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.controller.open_case import DEMO_TITLE, OpenController
from ctmasknet_gui.controller.run_case import RunController
from ctmasknet_gui.state import AppState
from model_core.base.arrays import ByteArray


def most_lesion(reference: ByteArray | None) -> int | None:
    """Return the slice of a (D, H, W) label volume with most labelled pixels, or None without any."""
    if reference is None or not reference.any():
        return None
    return int(np.argmax(np.count_nonzero(reference, axis=(1, 2))))


class DemoController(QObject):
    """Opens the phantom when asked from the menu; other openings are left alone."""

    def __init__(
        self,
        state: AppState,
        *,
        opening: OpenController,
        running: RunController,
        display: DisplayController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._opening = opening
        self._running = running
        self._display = display
        self._asked = False
        opening.opened.connect(self._on_opened)

    @Slot()
    def open(self) -> None:
        """Open the phantom and run the networks over it."""
        self._asked = True
        self._opening.open_demo()

    @Slot()
    def _on_opened(self) -> None:
        asked, self._asked = self._asked, False
        if not asked or self._state.case.reference_name != DEMO_TITLE:
            return
        index = most_lesion(self._state.case.reference)
        if index is not None:
            self._display.show_slice(index)
        self._running.run_series()
