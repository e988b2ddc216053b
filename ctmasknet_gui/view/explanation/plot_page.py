"""One plot: a matplotlib canvas that is made when there is something to draw, and redrawn when visible."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QPoint, QRect, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QPalette, QShowEvent
from PySide6.QtWidgets import QRubberBand, QSizePolicy, QStackedLayout, QWidget

from ctmasknet_gui.view.style import BACKGROUND, label
from model_core.base.threads import DRAWING

# Several changes of state in one go become one picture. The rest gets as much time as a picture takes.
_COALESCE_MS, _LONGEST_MS = 5, 150

Draw = Callable[[Any], None]
Pick = Callable[[Any], "int | None"]
Within = Callable[[float, float, float, float], "tuple[int, ...]"]
# A press that moves less than this is a click.
_CLICK_PIXELS = 4
# Buttons as matplotlib numbers them.
_LEFT, _RIGHT = 1, 3


class PlotPage(QWidget):
    """Draws with ``draw(figure)``; a click is turned into a candidate by ``pick(event)``.

    Where there is ``within(left, bottom, right, top)``, in pixels of the figure, a drag picks what that says.

    matplotlib is imported with the first drawing, so that the empty window starts without it.

    Signals
    -------
    candidatePicked(int):
        A click hit the mark of this candidate.
    regionsPicked(tuple of int):
        A drag covers the marks of other candidates than before.
    menuRequested(QPoint):
        A right click, at a global position; what it hit is picked.
    """

    candidatePicked = Signal(object)
    regionsPicked = Signal(object)
    menuRequested = Signal(QPoint)

    def __init__(
        self,
        title: str,
        *,
        draw: Draw,
        pick: Pick,
        within: Within | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.title = title
        self._draw, self._pick, self._within = draw, pick, within
        # Where a drag began, as matplotlib and as Qt counts, and what it covers.
        self._origin: tuple[float, float, QPoint] | None = None
        self._covered: tuple[int, ...] = ()
        self._band: QRubberBand | None = None
        self._filled = False
        self._stale = False
        self._what: object = None
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

    def refresh(self, *, filled: bool, why: str = "", what: object = None) -> None:
        """Draw anew soon; where there is nothing to draw, say ``why``.

        ``what`` is all that is drawn, where it may be compared: what is drawn already is not drawn again.
        """
        if filled and self._filled and what is not None and what == self._what:
            return
        self._filled, self._what = filled, what
        self.hint.setText(why)
        if not filled:
            self._timer.stop()
            self._stack.setCurrentWidget(self.hint)
            return
        self._stale = True
        # One that comes is not put off: plots follow while a slider is pulled.
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    @property
    def pending(self) -> bool:
        """Whether something is still to be drawn."""
        return self._timer.isActive()

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
            self.canvas.draw_contents()
        took = 1000 * (time.perf_counter() - start)
        self._timer.setInterval(round(min(_LONGEST_MS, max(_COALESCE_MS, took))))

    def _make_canvas(self) -> None:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        from model_core.plots.style import axes_state, drawn_in

        class Canvas(FigureCanvasQTAgg):
            """Draws itself too, when its size changes: never while an export draws in the worker.

            The axes with all their texts take most of a drawing, and seldom change: their picture is kept.
            """

            _axes: Any = None
            _picture: Any = None

            def draw(self) -> None:
                with DRAWING:
                    super().draw()  # type: ignore[no-untyped-call]

            def draw_contents(self) -> None:
                """Draw what stands in the axes over their picture, which is made anew if they changed."""
                figure = self.figure
                if len(figure.axes) != 1 or figure.texts:
                    self._axes = None
                    self.draw()
                    return
                (axes,) = figure.axes
                if (layout := figure.get_layout_engine()) is not None:
                    layout.execute(figure)
                # The edges of the axes lie over some of the contents.
                edges = [spine for spine in axes.spines.values() if spine.get_visible()]
                contents = sorted((*drawn_in(axes), *edges), key=lambda one: one.get_zorder())
                if (now := axes_state(axes)) != self._axes:
                    for artist in contents:
                        artist.set_visible(False)
                    self.draw()
                    for artist in contents:
                        artist.set_visible(True)
                    self._axes, self._picture = now, self.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]
                self.restore_region(self._picture)  # type: ignore[no-untyped-call]
                for artist in contents:
                    axes.draw_artist(artist)
                self.update()

        self.canvas = Canvas(Figure(facecolor=BACKGROUND))  # type: ignore[no-untyped-call]
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.canvas.setMinimumSize(60, 60)
        # At fractional screen scales a strip beside the picture shows what lies under it.
        palette = self.canvas.palette()
        palette.setColor(QPalette.ColorRole.Window, QColor(BACKGROUND))
        self.canvas.setPalette(palette)
        self.canvas.setAccessibleName(self.title)
        self.canvas.mpl_connect("button_press_event", self._on_press)
        self.canvas.mpl_connect("motion_notify_event", self._on_move)
        self.canvas.mpl_connect("button_release_event", self._on_release)
        self._band = QRubberBand(QRubberBand.Shape.Rectangle, self.canvas)
        self._stack.addWidget(self.canvas)

    def _on_press(self, event: Any) -> None:
        candidate = self._pick(event) if event.inaxes is not None else None
        if candidate is not None:
            self.candidatePicked.emit(candidate)
        where = event.guiEvent
        if event.button == _RIGHT and where is not None:
            self.menuRequested.emit(where.globalPosition().toPoint())
        elif event.button == _LEFT and where is not None and self._within is not None:
            self._origin = event.x, event.y, where.position().toPoint()
            self._covered = ()

    def _on_move(self, event: Any) -> None:
        if self._origin is None or self._within is None or self._band is None or event.guiEvent is None:
            return
        x, y, start = self._origin
        here = event.guiEvent.position().toPoint()
        if not self._band.isVisible() and (here - start).manhattanLength() < _CLICK_PIXELS:
            return
        self._band.setGeometry(QRect(start, here).normalized())
        self._band.show()
        covered = self._within(min(x, event.x), min(y, event.y), max(x, event.x), max(y, event.y))
        if covered != self._covered:
            self._covered = covered
            self.regionsPicked.emit(covered)

    def _on_release(self, _event: Any) -> None:
        self._origin = None
        if self._band is not None:
            self._band.hide()
