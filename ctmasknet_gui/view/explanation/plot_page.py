"""One plot: a matplotlib canvas that is made when there is something to draw, and redrawn when visible."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from PySide6.QtCore import QPoint, QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QHideEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPolygonF,
    QShowEvent,
)
from PySide6.QtWidgets import QSizePolicy, QStackedLayout, QWidget

from ctmasknet_gui.view.lasso import Lasso, draw_area
from ctmasknet_gui.view.style import colour, label, theme
from model_core.base.threads import DRAWING

# After a picture the rest of the window gets as much time as it took, at most so much.
_LONGEST_REST_S = 0.15
# While a person scrolls, slices come before plots and table: so long after the last one, at most this long.
AFTER_SLICE_S, BEHIND_S = 0.06, 0.5
# Pictures of axes that are kept: a quarter of a megabyte each in a window of usual size.
_MOST_AXES = 8

Draw = Callable[[Any], None]
Pick = Callable[[Any], "int | None"]
Within = Callable[[Lasso], "tuple[int, ...]"]
# A press that moves less than this is a click.
_CLICK_PIXELS = 4
# Buttons as matplotlib numbers them.
_LEFT, _RIGHT = 1, 3


class PlotPage(QWidget):
    """Draws with ``draw(figure)``; a click is turned into a candidate by ``pick(event)``.

    Where there is ``within(lasso)``, in pixels of the canvas from its top left, a drag draws around what is
    picked, with Shift a box; with ``span`` it is the stretch of the horizontal axis between its ends.

    matplotlib is imported with the first drawing, so that the empty window starts without it.

    Signals
    -------
    candidatePicked(int):
        A click hit the mark of this candidate.
    regionsPicked(tuple of int):
        A drag covers the marks of other candidates than before.
    menuRequested(QPoint):
        A right click, at a global position; what it hit is picked.
    seen(bool):
        It came into sight, or went.
    """

    candidatePicked = Signal(object)
    regionsPicked = Signal(object)
    menuRequested = Signal(QPoint)
    seen = Signal(bool)

    def __init__(
        self,
        title: str,
        *,
        draw: Draw,
        pick: Pick,
        within: Within | None = None,
        span: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.title = title
        self._draw, self._pick, self._within = draw, pick, within
        self._span = span
        # Where a drag began on the canvas, what is drawn with it, and what that covers.
        self._origin: QPointF | None = None
        self._lasso: Lasso | None = None
        self._covered: tuple[int, ...] = ()
        self._over: _Over | None = None
        self._coming = QTimer(self)
        self._coming.setSingleShot(True)
        self._coming.setInterval(0)
        self._coming.timeout.connect(self._tell_covered)
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
        self._rests_until = self._since = 0.0
        self._of_slice: int | None = None
        self._timer.timeout.connect(self._redraw)

    def refresh(
        self, *, filled: bool, why: str = "", what: object = None, of_slice: int | None = None
    ) -> None:
        """Draw anew soon; where there is nothing to draw, say ``why``.

        ``what`` is all that is drawn, where it may be compared: what is drawn already is not drawn again. The
        plot of another slice (``of_slice``) waits until the slices themselves stop changing.
        """
        if filled and self._filled and what is not None and what == self._what:
            return
        self._filled, self._what = filled, what
        if not filled:
            self.hint.setText(why)
            self._timer.stop()
            self._stack.setCurrentWidget(self.hint)
            return
        self._stale = True
        if not self.isVisible():
            return
        now = time.perf_counter()
        if not self._timer.isActive():
            self._since = now
        rest = self._rests_until - now
        if of_slice is not None and of_slice != self._of_slice:
            self._of_slice = of_slice
            rest = min(max(rest, AFTER_SLICE_S), self._since + BEHIND_S - now)
        elif self._timer.isActive():
            return  # one that comes is not put off: plots follow while a slider is pulled
        self._timer.start(max(0, math.ceil(1000 * rest)))

    @property
    def pending(self) -> bool:
        """Whether something is still to be drawn."""
        return self._timer.isActive()

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what was missed while hidden."""
        super().showEvent(event)
        self.seen.emit(True)
        if self._filled and self._stale:
            self._timer.start(0)

    def hideEvent(self, event: QHideEvent) -> None:
        """Tell that nobody looks at it."""
        super().hideEvent(event)
        self.seen.emit(False)

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
        now = time.perf_counter()
        self._rests_until = now + min(_LONGEST_REST_S, now - start)

    def _make_canvas(self) -> None:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        from model_core.plots.style import axes_state

        class Canvas(FigureCanvasQTAgg):
            """Draws itself too, when its size changes: never while an export draws in the worker.

            The axes with all their texts take most of a drawing, and seldom change: their picture is kept.
            """

            # By what the axes look like: plots of other slices have other round ends, but few.
            _pictures: OrderedDict[tuple[Hashable, ...], Any]
            # Short notes above the axes change with every drawing, and Qt writes in a tenth of the time.
            _notes: Sequence[Any] = ()

            def draw(self) -> None:
                with DRAWING:
                    super().draw()  # type: ignore[no-untyped-call]

            def forget_axes(self) -> None:
                self._pictures = OrderedDict()

            def draw_contents(self) -> None:
                """Draw what stands in the axes over their picture, which is made anew if they changed."""
                figure = self.figure
                if len(figure.axes) != 1 or figure.texts:
                    self.forget_axes()
                    self._notes = ()
                    self.draw()
                    return
                (axes,) = figure.axes
                if (layout := figure.get_layout_engine()) is not None:
                    layout.execute(figure)
                self._notes, contents = _parted(axes)
                if (now := axes_state(axes)) not in self._pictures:
                    for artist in contents:
                        artist.set_visible(False)
                    self.draw()
                    for artist in contents:
                        artist.set_visible(True)
                    _keep(self._pictures, now, self.copy_from_bbox(figure.bbox))  # type: ignore[no-untyped-call]
                self._pictures.move_to_end(now)
                self.restore_region(self._pictures[now])  # type: ignore[no-untyped-call]
                for artist in contents:
                    axes.draw_artist(artist)
                self.update()

            def paintEvent(self, event: QPaintEvent) -> None:
                """Show the picture, and write the notes."""
                super().paintEvent(event)  # type: ignore[no-untyped-call]
                if self._notes and self.figure.axes:
                    painter = QPainter(self)
                    _write(painter, self._notes, self.figure, float(self.device_pixel_ratio), self.height())
                    painter.end()

        self.canvas = Canvas(Figure(facecolor=theme().background))  # type: ignore[no-untyped-call]
        self.canvas.forget_axes()
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.canvas.setMinimumSize(60, 60)
        self._colour_canvas()
        self.canvas.setAccessibleName(self.title)
        self.canvas.mpl_connect("button_press_event", self._on_press)
        self.canvas.mpl_connect("motion_notify_event", self._on_move)
        self.canvas.mpl_connect("button_release_event", self._on_release)
        self._over = _Over(self.canvas)
        self._stack.addWidget(self.canvas)

    def _colour_canvas(self) -> None:
        # At fractional screen scales a strip beside the picture shows what lies under it.
        palette = self.canvas.palette()
        palette.setColor(QPalette.ColorRole.Window, colour("background"))
        self.canvas.setPalette(palette)

    def restyle(self) -> None:
        """Draw in the theme in force, now or when it comes into sight."""
        if self.canvas is None:
            return
        self._colour_canvas()
        self.canvas.forget_axes()
        self._stale = True
        if self._filled and self.isVisible():
            self._timer.start()

    def _on_press(self, event: Any) -> None:
        candidate = self._pick(event) if event.inaxes is not None else None
        if candidate is not None:
            self.candidatePicked.emit(candidate)
        where = event.guiEvent
        if event.button == _RIGHT and where is not None:
            self.menuRequested.emit(where.globalPosition().toPoint())
        elif event.button == _LEFT and where is not None and self._within is not None:
            self._origin = where.position()
            self._lasso, self._covered = None, ()

    def _on_move(self, event: Any) -> None:
        if self._origin is None or self._over is None or event.guiEvent is None:
            return
        here = event.guiEvent.position()
        if self._lasso is None:
            if (here - self._origin).manhattanLength() < _CLICK_PIXELS:
                return
            boxed = self._span or bool(event.guiEvent.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._lasso = Lasso(self._origin, boxed=boxed)
        self._lasso.add(here)
        self._over.show_area(self._whole_height(self._lasso) if self._span else self._lasso.polygon)
        # Moves that come faster than they are looked at count as one.
        if not self._coming.isActive():
            self._coming.start()

    def _on_release(self, _event: Any) -> None:
        self._coming.stop()
        self._tell_covered()
        self._origin = self._lasso = None
        if self._over is not None:
            self._over.show_area(QPolygonF())

    def _tell_covered(self) -> None:
        if self._lasso is None or self._within is None:
            return
        covered = self._within(self._lasso)
        if covered != self._covered:
            self._covered = covered
            self.regionsPicked.emit(covered)

    def _whole_height(self, lasso: Lasso) -> QPolygonF:
        """Return the stretch between the ends of what is drawn, from the bottom of the axes to their top."""
        axes = self.canvas.figure.axes[0].bbox.bounds
        left, bottom, width, height = (edge / float(self.canvas.device_pixel_ratio) for edge in axes)
        whole = QRectF(left, self.canvas.height() - bottom - height, width, height)
        stretch = QRectF(lasso.box.left(), whole.top(), lasso.box.width(), whole.height())
        return QPolygonF(stretch.intersected(whole))


def _keep(pictures: OrderedDict[tuple[Hashable, ...], Any], state: tuple[Hashable, ...], one: Any) -> None:
    """Add the picture of axes that look like this; the one that was used longest ago goes."""
    if len(pictures) >= _MOST_AXES:
        pictures.popitem(last=False)
    pictures[state] = one


def _parted(axes: Any) -> tuple[list[Any], list[Any]]:
    """Return the notes of axes, which are hidden from matplotlib, and what else stands in them, in order."""
    from model_core.plots.margins import NOTE
    from model_core.plots.style import drawn_in

    notes = [text for text in axes.texts if text.get_gid() == NOTE]
    for note in notes:
        note.set_visible(False)
    # The edges of the axes lie over some of the contents.
    contents = [one for one in (*drawn_in(axes), *axes.spines.values()) if one.get_visible()]
    return notes, sorted(contents, key=lambda one: one.get_zorder())


def _write(painter: QPainter, notes: Sequence[Any], figure: Any, ratio: float, height: int) -> None:
    """Write the notes above the axes of a figure, each where matplotlib would."""
    axes, point = figure.axes[0], figure.dpi / 72
    font = QFont(painter.font())
    for note in notes:
        font.setPixelSize(round(note.get_fontsize() * point / ratio))
        painter.setFont(font)
        painter.setPen(QColor(note.get_color()))
        metrics = QFontMetricsF(font)
        right, (across, up) = note.get_ha() == "right", note.xyann
        x = ((axes.bbox.x1 if right else figure.bbox.x0) + across * point) / ratio
        y = height - (axes.bbox.y1 + up * point) / ratio - metrics.descent()
        if right:
            x -= metrics.horizontalAdvance(note.get_text())
        painter.drawText(QPointF(x, y), note.get_text())


class _Over(QWidget):
    """Shows the drawn area over a plot, which is not drawn anew for it."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._area = QPolygonF()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def show_area(self, area: QPolygonF) -> None:
        """Show an area of the canvas; an empty one hides it."""
        self._area = area
        parent = self.parentWidget()
        if parent is not None:
            self.setGeometry(parent.rect())
        self.setVisible(not area.isEmpty())
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        draw_area(painter, self._area)
