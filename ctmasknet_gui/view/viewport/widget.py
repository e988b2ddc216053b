"""The viewport: shows state, turns mouse and drops into requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QEnterEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.style import ACCENT, colour
from ctmasknet_gui.view.viewport.corners import viewport_corners
from ctmasknet_gui.view.viewport.drawing import Drawing
from ctmasknet_gui.view.viewport.empty import EmptyState
from ctmasknet_gui.view.viewport.frame import BACKGROUND, Frame
from ctmasknet_gui.view.viewport.mapping import View, fit_zoom, pixel_aspect
from ctmasknet_gui.view.viewport.mouse import (
    WheelSteps,
    candidate_at,
    dragged_window,
    dragged_zoom,
    wheel_zoom,
)
from model_core.base.volume import Volume, Window
from model_core.scene import Corners, EdgeLetters

_ACCENT = QColor(ACCENT)
# A press that moves less than this is a click.
_CLICK_PIXELS = 4
_ZOOM_STEP = 1.25
_HIT_PIXELS = 3.0
_DRAG_BUTTONS = (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton, Qt.MouseButton.RightButton)


@dataclass(frozen=True)
class _Drag:
    """What a press began with."""

    button: Qt.MouseButton
    origin: QPointF
    window: Window
    view: View
    moved: bool = False


class Viewport(QWidget):
    """Large picture of the current slice with overlays and annotations.

    Reads `AppState`, never writes it. Mouse: left drag window, middle drag pan, right drag zoom, wheel
    slices, Ctrl+wheel zoom, click selects, double click fits, right click asks for the menu. With a tool in
    hand the left button draws.

    Signals
    -------
    slice_requested(int)
        Absolute slice index.
    scroll_requested(int)
        Slices to move by.
    window_requested(float, float)
        Width and level.
    view_requested(object, object)
        Zoom (None fits) and pan (x, y).
    candidate_selected(object)
        A candidate of the shown slice, or None.
    lesion_selected(object)
        The same with Ctrl: the whole lesion is meant.
    pointed(object)
        Slice coordinates (x, y) under the mouse, while there are maps of a region; None beside the slice.
    regions_selected(object)
        The candidates in a drawn area, as it grows.
    region_asked(object)
        A drawn box (x1, y1, x2, y2) in slice pixels.
    area_edited(str, object)
        "heal" or "plant", and the corners (x, y) of a drawn area in slice pixels.
    paths_dropped(list)
        Local paths.
    menu_requested(QPoint)
        Global position.
    """

    slice_requested = Signal(int)
    scroll_requested = Signal(int)
    window_requested = Signal(float, float)
    view_requested = Signal(object, object)
    candidate_selected = Signal(object)
    lesion_selected = Signal(object)
    pointed = Signal(object)
    regions_selected = Signal(object)
    region_asked = Signal(object)
    area_edited = Signal(str, object)
    paths_dropped = Signal(list)
    menu_requested = Signal(QPoint)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._cursor: QPointF | None = None
        self._drag: _Drag | None = None
        self.drawing = Drawing(state, self)
        self.drawing.regions_drawn.connect(self.regions_selected)
        self.drawing.box_drawn.connect(self.region_asked)
        self.drawing.area_drawn.connect(self.area_edited)
        self.drawing.changed.connect(self.update)
        self._frame = Frame(state, self.drawing)
        self._wheel = WheelSteps()
        self._dropping = False
        self.setMinimumSize(200, 200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAcceptDrops(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName("Slice")
        self.empty = EmptyState(state, self)
        parts = (
            state.display, state.results, state.reasons, state.selection, state.thresholds, state.weights,
        )  # fmt: skip
        for part in parts:
            part.events.all.connect(self._refresh)
        for event in (state.pixels.events.found, state.pixels.events.overlay):
            event.connect(self._refresh)
        state.pixels.events.cursor.connect(self._on_pointed)
        state.case.events.all.connect(self._on_case)
        state.display.events.tool.connect(self._on_tool)
        # A tool says what runs for its answer.
        state.run.events.text.connect(self._on_run)
        self._on_case()

    # ---------------------------------------------------------------------------------- reading state

    @property
    def current_view(self) -> View | None:
        """Where the slice lies on the screen; None while nothing is open."""
        volume = self._state.case.in_view
        if volume is None:
            return None
        display = self._state.display
        shape = volume.voxels.shape[1], volume.voxels.shape[2]
        aspect = pixel_aspect(volume.geometry.spacing_mm, volume.geometry.stated_aspect)
        size = float(max(1, self.width())), float(max(1, self.height()))
        fitted = display.zoom is None
        zoom = fit_zoom(shape, aspect, size) if display.zoom is None else display.zoom
        return View(
            shape=shape,
            aspect=aspect,
            size=size,
            zoom=zoom,
            pan=(0.0, 0.0) if fitted else display.pan,
            flip_horizontal=display.flip_horizontal,
            flip_vertical=display.flip_vertical,
        )

    @property
    def cursor_voxel(self) -> tuple[int, int] | None:
        """Row and column of the voxel under the mouse, or None."""
        view = self.current_view
        if view is None or self._cursor is None or self._state.case.unread(self._state.display.slice_index):
            return None
        return view.voxel_at(self._cursor)

    @property
    def corners(self) -> Corners:
        """The text of the four corners as it is shown now."""
        volume, view = self._state.case.in_view, self.current_view
        if volume is None or view is None or not self._has_slice(volume):
            return Corners()
        return viewport_corners(self._state, volume, view, self.cursor_voxel)

    @property
    def letters(self) -> EdgeLetters:
        """The orientation letters as they are shown now."""
        return self._frame.letters

    @property
    def labels_left_out(self) -> int:
        """Tags of visible boxes that the last frame had no room for."""
        return self._frame.labels_left_out

    def zoom_in(self) -> None:
        """Ask for a larger picture about the centre of the viewport."""
        self._zoom_by(_ZOOM_STEP, QPointF(self.width() / 2, self.height() / 2))

    def zoom_out(self) -> None:
        """Ask for a smaller picture about the centre of the viewport."""
        self._zoom_by(1 / _ZOOM_STEP, QPointF(self.width() / 2, self.height() / 2))

    def sizeHint(self) -> QSize:
        """Room for a CT slice at its own size, and some more."""
        return QSize(760, 760)

    def _has_slice(self, volume: Volume) -> bool:
        return 0 <= self._state.display.slice_index < volume.slices

    def _refresh(self) -> None:
        volume, index = self._state.case.in_view, self._state.display.slice_index
        if volume is not None:
            self.setAccessibleDescription(f"Slice {index + 1} of {volume.slices}")
        self.update()

    def _on_case(self) -> None:
        volume = self._state.case.in_view
        self.empty.setVisible(volume is None)
        if self._state.case.reference is None:
            self._frame.forget_reference()
        if volume is None:
            self._frame.forget()
            self.setAccessibleDescription("Nothing is open")
        self._set_pointer()
        self._refresh()

    def _on_pointed(self, *_: object) -> None:
        if self._cursor is None:
            self.update()

    def _set_pointer(self) -> None:
        opened = self._state.case.in_view is not None
        plain = Qt.CursorShape.CrossCursor if opened else Qt.CursorShape.ArrowCursor
        self.setCursor(self.drawing.cursor() or plain)

    def _on_run(self, *_: object) -> None:
        if self.drawing.waiting:
            self.update()

    def _on_tool(self, *_: object) -> None:
        # What was pressed with another tool, or none, ends with it.
        self._drag = None
        self._set_pointer()

    # --------------------------------------------------------------------------------------- painting

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the frame."""
        painter = QPainter(self)
        try:
            self._paint(painter)
        finally:
            # A painter that outlives an error takes the program down with it.
            painter.end()

    def _paint(self, painter: QPainter) -> None:
        volume, view = self._state.case.in_view, self.current_view
        if volume is None or view is None or not self._has_slice(volume):
            painter.fillRect(self.rect(), colour("base") if volume is None else BACKGROUND)
        else:
            self._frame.paint(
                painter,
                volume,
                view,
                font=self.font(),
                voxel=self.cursor_voxel,
                pointed=self._cursor is not None,
            )
        if self._dropping:
            painter.setPen(QPen(_ACCENT, 4))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(2, 2, -2, -2))

    # ------------------------------------------------------------------------------------------ mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin a drag or a click."""
        view = self.current_view
        if self._drag is not None and self._drag.button == event.button():
            # Pressed again, so its release was lost.
            self._drag = None
            self.drawing.drop()
        if view is None or event.button() not in _DRAG_BUTTONS or self._drag is not None:
            event.ignore()
            return
        self._drag = _Drag(event.button(), event.position(), self._state.display.window, view)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the drag, or the voxel under the mouse."""
        self._cursor = event.position()
        if self._drag is not None and not event.buttons() & self._drag.button:
            # The button was let go where nobody told us: outside, or over a menu.
            self._drag = None
            self.drawing.drop()
        drag = self._drag
        if drag is not None:
            moved = event.position() - drag.origin
            if not drag.moved and moved.manhattanLength() >= _CLICK_PIXELS:
                self._drag = drag = replace(drag, moved=True)
            if drag.moved:
                self._follow(drag, event)
        self._update_probe()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End the drag; without movement it was a click."""
        drag = self._drag
        if drag is None or event.button() != drag.button:
            event.ignore()
            return
        self._drag = None
        if self.drawing.active and drag.button == Qt.MouseButton.LeftButton:
            self.drawing.end()
        if drag.moved:
            return
        if drag.button == Qt.MouseButton.LeftButton:
            whole = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            self._pick(event.position(), whole=whole)
        elif drag.button == Qt.MouseButton.RightButton:
            # The menu is of the region under the mouse, of all that are selected where it is one of them.
            hit = self._candidate_at(event.position())
            if hit is not None and hit not in self._state.selection.chosen:
                self.candidate_selected.emit(hit)
            self.menu_requested.emit(event.globalPosition().toPoint())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Fit the slice."""
        if event.button() == Qt.MouseButton.LeftButton and self._state.case.in_view is not None:
            self.view_requested.emit(None, (0.0, 0.0))
        else:
            self.mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll slices; with Ctrl zoom at the mouse."""
        if self._state.case.in_view is None:
            event.ignore()
            return
        delta = event.angleDelta().y()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            if delta:
                self._zoom_by(wheel_zoom(delta), event.position())
        else:
            steps = self._wheel.add(delta)
            if steps:
                self.scroll_requested.emit(steps)
        event.accept()

    def leaveEvent(self, _event: QEvent) -> None:
        """Forget the voxel under the mouse."""
        self._cursor = None
        self._update_probe()

    def enterEvent(self, event: QEnterEvent) -> None:
        """Know the voxel under the mouse."""
        self._cursor = event.position()
        self._update_probe()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave every key to the shortcuts of the window."""
        event.ignore()

    def resizeEvent(self, _event: QResizeEvent) -> None:
        """Keep the empty state as large as the viewport."""
        self.empty.setGeometry(self.rect())

    def _follow(self, drag: _Drag, event: QMouseEvent) -> None:
        moved = event.position() - drag.origin
        if drag.button == Qt.MouseButton.LeftButton and self._state.display.tool:
            if not self.drawing.active:
                boxed = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
                self.drawing.begin(QPointF(*drag.view.to_slice(drag.origin)), boxed=boxed)
            self.drawing.add(QPointF(*drag.view.to_slice(event.position())))
            return
        if drag.button == Qt.MouseButton.LeftButton:
            self.window_requested.emit(*dragged_window(drag.window, moved.x(), moved.y()))
            return
        if drag.button == Qt.MouseButton.MiddleButton:
            view = drag.view.panned(moved.x(), moved.y())
        else:
            view = drag.view.zoomed(dragged_zoom(drag.view.zoom, moved.y()), drag.origin)
        self.view_requested.emit(view.zoom, view.pan)

    def _zoom_by(self, factor: float, anchor: QPointF) -> None:
        view = self.current_view
        if view is not None:
            zoomed = view.zoomed(view.zoom * factor, anchor)
            self.view_requested.emit(zoomed.zoom, zoomed.pan)

    def _pick(self, point: QPointF, *, whole: bool) -> None:
        shown, display = self._state.results.shown, self._state.display
        if shown is not None and shown.slice_index == display.slice_index and display.overlays.findings:
            signal = self.lesion_selected if whole else self.candidate_selected
            signal.emit(self._candidate_at(point))

    def _candidate_at(self, point: QPointF) -> int | None:
        view, shown, display = self.current_view, self._state.results.shown, self._state.display
        if view is None or shown is None or shown.slice_index != display.slice_index:
            return None
        if not display.overlays.findings:
            return None
        x, y = view.to_slice(point)
        return candidate_at(shown, x, y, tolerance=_HIT_PIXELS / max(view.scale))

    def _update_probe(self) -> None:
        if self._state.pixels.found is not None:
            view, cursor = self.current_view, self._cursor
            inside = view is not None and cursor is not None and view.voxel_at(cursor) is not None
            self.pointed.emit(view.to_slice(cursor) if inside and view and cursor else None)
        # Only the corner of the read-out changes with the mouse.
        if self._state.case.in_view is not None:
            height = min(self.height(), 84)
            self.update(0, self.height() - height, self.width() // 2, height)

    # ------------------------------------------------------------------------------------------ drops

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take local files and folders."""
        if local_paths(event.mimeData()):
            event.acceptProposedAction()
            self._set_dropping(True)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        """Take the frame away."""
        self._set_dropping(False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Hand over what was dropped."""
        self._set_dropping(False)
        paths = local_paths(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self.paths_dropped.emit(paths)

    def _set_dropping(self, on: bool) -> None:
        self._dropping = on
        self.update()


def local_paths(data: QMimeData) -> list[Path]:
    """Return the local files and folders of a drop."""
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
