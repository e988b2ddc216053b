"""The tools of the left button: areas that select regions or change the picture, a box to ask about."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QCursor, QFont, QFontMetricsF, QPainter, QPen

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.effect import alone_text, effect_text
from ctmasknet_gui.view.lasso import Lasso, draw_area
from ctmasknet_gui.view.style import icon
from ctmasknet_gui.view.viewport.annotations import sized
from ctmasknet_gui.view.viewport.mapping import View
from model_core.base.results import RoiRow, ShownSlice
from model_core.scene.labels import asked_texts
from model_core.scene.palette import ASKED, MUTED, WHITE

# Boxes that are narrower, in slice pixels, are not asked about.
SMALLEST = 2.0
# Tools whose area changes the picture.
_CHANGING = ("heal", "plant")
_BACK = QColor(14, 19, 25, 225)
_PADDING = 7.0
_HINTS = {
    "area": (
        "Draw around regions to select them · Shift draws a box",
        "X exclude · K keep only · Shift+X put back",
    ),
    "heal": (
        "Draw around what is to be healed · Shift draws a box",
        "The changed slice is shown before it runs",
    ),
    "plant": (
        "Draw an area in healthy lung to plant ground glass in · Shift draws a box",
        "The changed slice is shown before it runs",
    ),
    "ask": ("Draw a box: the network takes it as its proposal", "X forgets the answer · Ctrl+Z undoes"),
}
_FIRST = "Analyse this slice first: Run slice (Ctrl+R)"
_LEAVE = "Esc leaves the tool"


class Drawing(QObject):
    """What is being drawn on the slice, in its coordinates.

    Moves that come faster than they are looked at count as one.

    Signals
    -------
    regions_drawn(tuple of int):
        The area holds the middle of other regions than before; these, best first.
    box_drawn(tuple of float):
        x1, y1, x2, y2 of a finished box to ask about, in slice pixels.
    area_drawn(str, tuple of (float, float)):
        "heal" or "plant", and the corners (x, y) of a finished area, in slice pixels.
    changed():
        It looks different.
    """

    regions_drawn = Signal(object)
    box_drawn = Signal(object)
    area_drawn = Signal(str, object)
    changed = Signal()

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._lasso: Lasso | None = None
        # The box that waits for its answer.
        self._waiting: QRectF | None = None
        self._before: tuple[int, ...] = ()
        self._covered: tuple[int, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._tell)
        state.display.events.tool.connect(self.drop)
        state.display.events.slice_index.connect(self.drop)
        state.case.events.volume.connect(self.drop)
        for answered in (state.results.events.shown, state.run.events.kind):
            answered.connect(self._stop_waiting)

    @property
    def active(self) -> bool:
        """Whether something is being drawn."""
        return self._lasso is not None

    @property
    def waiting(self) -> bool:
        """Whether a drawn box waits for its answer."""
        return self._waiting is not None

    def begin(self, point: QPointF, *, boxed: bool) -> None:
        """Begin to draw with the tool in hand; a box with the one that asks, or where it is wanted."""
        self._lasso = Lasso(point, boxed=boxed or self._state.display.tool == "ask")
        self._before = self._covered = self._state.selection.chosen

    def add(self, point: QPointF) -> None:
        """Draw on."""
        if self._lasso is not None:
            self._lasso.add(point)
            self.changed.emit()
            if self._state.display.tool == "area" and not self._timer.isActive():
                self._timer.start()

    def end(self) -> None:
        """Finish what is drawn."""
        self._timer.stop()
        self._tell()
        lasso, self._lasso = self._lasso, None
        if lasso is not None and self._state.display.tool == "ask":
            box = lasso.box
            if min(box.width(), box.height()) >= SMALLEST:
                self._waiting = box
                self.box_drawn.emit((box.left(), box.top(), box.right(), box.bottom()))
        elif lasso is not None and self._state.display.tool in _CHANGING:
            around = lasso.box if lasso.boxed else lasso.polygon.boundingRect()
            if min(around.width(), around.height()) >= SMALLEST:
                corners = tuple((corner.x(), corner.y()) for corner in lasso.polygon.toList())
                self.area_drawn.emit(self._state.display.tool, corners)
        self.changed.emit()

    def drop(self, *_: object) -> None:
        """Leave what is drawn; what was selected before is so again."""
        lasso, self._lasso, self._waiting = self._lasso, None, None
        self._timer.stop()
        if lasso is not None:
            if self._covered != self._before:
                self.regions_drawn.emit(self._before)
            self.changed.emit()

    def _stop_waiting(self, *_: object) -> None:
        # What runs for the answer has only begun where there is a kind of run.
        if self._waiting is not None and self._state.run.kind != "run":
            self._waiting = None
            self.changed.emit()

    def _tell(self) -> None:
        """Say which regions the area holds, where that has changed."""
        if self._lasso is None or self._state.display.tool != "area":
            return
        rois = regions_in_sight(self._state)
        middles = [((roi.box[0] + roi.box[2]) / 2, (roi.box[1] + roi.box[3]) / 2) for roi in rois]
        held = self._lasso.holds(middles)
        covered = tuple(roi.candidate for roi, inside in zip(rois, held, strict=True) if inside)
        if covered != self._covered:
            self._covered = covered
            self.regions_drawn.emit(covered)

    def paint(self, painter: QPainter, view: View) -> None:
        """Draw it on the screen."""
        asking = self._state.display.tool == "ask"
        box = self._waiting if self._lasso is None or not asking else self._lasso.box
        if asking and box is not None:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            for pen in (QPen(QColor(0, 0, 0, 150), 3.0), QPen(QColor(ASKED), 1.4)):
                painter.setPen(pen)
                painter.drawRect(view.transform.mapRect(box))
        if asking or self._lasso is None:
            return
        draw_area(painter, view.transform.map(self._lasso.polygon))

    def cursor(self) -> QCursor | None:
        """Return the pointer of the tool in hand; None without one."""
        tool = self._state.display.tool
        if tool in ("area", *_CHANGING):
            return QCursor(icon("lasso").pixmap(24, 24), 8, 21)
        return QCursor(Qt.CursorShape.WhatsThisCursor) if tool == "ask" else None


def regions_in_sight(state: AppState) -> tuple[RoiRow, ...]:
    """Return the regions of the visible slice that the class rests on, or could."""
    shown = _shown(state)
    return () if shown is None or shown.verdict is None else shown.rois


def _shown(state: AppState) -> ShownSlice | None:
    shown = state.results.shown
    return shown if shown is not None and shown.slice_index == state.display.slice_index else None


def tool_text(state: AppState, *, waiting: bool = False) -> tuple[str, str]:
    """Return what the tool in hand has to say, the answer or what to do, and the keys that go on.

    ``waiting`` for an answer it says what runs for that.
    """
    tool, shown = state.display.tool, _shown(state)
    hint, keys = _HINTS[tool]
    if shown is None or shown.verdict is None:
        return _FIRST, _LEAVE
    chosen = state.selection.chosen
    if tool == "area" and chosen and (effect := state.results.effect) is not None:
        texts = (text(effect, shown.verdict, state.weights) for text in (effect_text, alone_text))
        return " · ".join(filter(None, texts)), f"{keys} · {_LEAVE}"
    if tool == "ask":
        if waiting and state.run.kind == "run" and state.run.text:
            return f"{state.run.text}…", _LEAVE
        for _, row in shown.asked_rois():
            if row.candidate == state.selection.candidate:
                answer = asked_texts(row)[0]
                if not row.copies:
                    answer += ", the class stays"
                elif (effect := state.results.effect) is not None:
                    answer += f" · {effect_text(effect, shown.verdict, state.weights)}"
                return answer, f"{keys} · {_LEAVE}"
        return hint, _LEAVE
    return hint, _LEAVE


def draw_tool_text(painter: QPainter, font: QFont, texts: tuple[str, str], *, area: QRectF) -> QRectF:
    """Write what the tool says at the lower edge of an area, in the middle; return where."""
    first, second = sized(font, 12, bold=True), sized(font, 11)
    metrics = QFontMetricsF(first), QFontMetricsF(second)
    room = area.width() - 4 * _PADDING
    shown = [m.elidedText(t, Qt.TextElideMode.ElideRight, room) for m, t in zip(metrics, texts, strict=True)]
    width = max(m.horizontalAdvance(t) for m, t in zip(metrics, shown, strict=True)) + 2 * _PADDING
    height = sum(m.height() for m in metrics) + _PADDING
    place = QRectF(area.center().x() - width / 2, area.bottom() - height, width, height)
    painter.setPen(QPen(QColor(255, 255, 255, 40), 1))
    painter.setBrush(_BACK)
    painter.drawRoundedRect(place, 5, 5)
    top = place.top() + _PADDING / 2
    for m, t, f, colour in zip(metrics, shown, (first, second), (WHITE, MUTED), strict=True):
        painter.setFont(f)
        painter.setPen(QColor(colour))
        painter.drawText(QRectF(place.left(), top, width, m.height()), Qt.AlignmentFlag.AlignCenter, t)
        top += m.height()
    return place
