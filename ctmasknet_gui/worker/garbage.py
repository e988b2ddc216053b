"""Garbage is collected in the window's thread alone.

Python collects in whichever thread makes the object that is one too many, and Qt's objects must not be
destroyed in another thread than their own.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer, Slot

_EVERY_MS = 250


class GarbageCollector(QObject):
    """Collects by a timer while worker threads run, what Python would have collected by then.

    Several may be at work; the last one that stops leaves Python to itself again.
    """

    _at_work = 0

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.collect)

    def start(self) -> None:
        """Keep Python from collecting elsewhere; to be called in the window's thread."""
        if not self._timer.isActive():
            GarbageCollector._at_work += 1
            gc.disable()
            self._timer.start()

    def stop(self) -> None:
        """Stop; the threads have ended."""
        if self._timer.isActive():
            self._timer.stop()
            GarbageCollector._at_work -= 1
            if not GarbageCollector._at_work:
                gc.enable()

    @Slot()
    def collect(self) -> None:
        """Collect the oldest generation that is due."""
        ages = zip(gc.get_count(), gc.get_threshold(), strict=True)
        due = [age for age, (count, limit) in enumerate(ages) if count > limit]
        if due:
            gc.collect(due[-1])
