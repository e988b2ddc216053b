"""One plot: a matplotlib canvas that is made when there is something to draw, and redrawn when visible."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QColor, QPalette, QShowEvent
from PySide6.QtWidgets import QSizePolicy, QStackedLayout, QWidget

from ctmasknet_gui.view.style import BACKGROUND, label
from model_core.base.threads import DRAWING

# Several changes of state in one go become one picture. Waiting twice as long as a picture takes keeps
# scrolling and dragging smooth: the plot follows as soon as the hand rests.
_COALESCE_MS, _LONGEST_MS = 25, 300

Draw = Callable[[Any], None]
Pick = Callable[[Any], "int | None"]


class PlotPage(QWidget):
    """Draws with ``draw(figure)``; a click is turned into a candidate by ``pick(event)``.

    matplotlib is imported with the first drawing, so that the empty window starts without it.

    Signals
    -------
    candidatePicked(int):
        A click hit the mark of this candidate.
    """

    candidatePicked = Signal(object)

    def __init__(self, title: str, *, draw: Draw, pick: Pick, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = title
        self._draw, self._pick = draw, pick
        self._filled = False
        self._stale = False
        self.canvas: Any = None
        self.hint = label(role="muted", wrap=True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self.hint)
        self.setAccessibleName(title)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_COALESCE_MS)
        self._timer.timeout.connect(self._redraw)

    def refresh(self, *, filled: bool, why: str = "") -> None:
        """Draw anew soon; where there is nothing to draw, say ``why``."""
        self._filled = filled
        self.hint.setText(why)
        if not filled:
            self._timer.stop()
            self._stack.setCurrentWidget(self.hint)
            return
        self._stale = True
        if self.isVisible():
            self._timer.start()

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what was missed while hidden."""
        super().showEvent(event)
        if self._filled and self._stale:
            self._timer.start()

    def _redraw(self) -> None:
        if not self._filled:
            return
        if self.canvas is None:
            self._make_canvas()
        self._stale = False
        self._stack.setCurrentWidget(self.canvas)
        start = time.perf_counter()
        with DRAWING:
            self._draw(self.canvas.figure)
            self.canvas.draw()
        took = 1000 * (time.perf_counter() - start)
        self._timer.setInterval(round(min(_LONGEST_MS, max(_COALESCE_MS, 2 * took))))

    def _make_canvas(self) -> None:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        class Canvas(FigureCanvasQTAgg):
            """Draws itself too, when its size changes: never while an export draws in the worker."""

            def draw(self) -> None:
                with DRAWING:
                    super().draw()  # type: ignore[no-untyped-call]

        self.canvas = Canvas(Figure(facecolor=BACKGROUND))  # type: ignore[no-untyped-call]
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.canvas.setMinimumSize(60, 60)
        # At fractional screen scales a strip beside the picture shows what lies under it.
        palette = self.canvas.palette()
        palette.setColor(QPalette.ColorRole.Window, QColor(BACKGROUND))
        self.canvas.setPalette(palette)
        self.canvas.setAccessibleName(self.title)
        self.canvas.mpl_connect("button_press_event", self._on_press)
        self._stack.addWidget(self.canvas)

    def _on_press(self, event: Any) -> None:
        candidate = self._pick(event) if event.inaxes is not None else None
        if candidate is not None:
            self.candidatePicked.emit(candidate)
