"""The slice strip: what was found in every slice of the series, and a way to go there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from functools import partial

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import MOST_DECIDING, deciding_slices
from ctmasknet_gui.view.commands import TEN
from ctmasknet_gui.view.viewport.mouse import WheelSteps
from ctmasknet_gui.view.viewport.pictures import Layer
from model_core.base.results import SliceSummary, probability_text
from model_core.scene import class_name, image_colour, slice_words
from model_core.scene.bars import bar_scale
from model_core.scene.palette import AMBER, LETTER, NEUTRAL, NO_CLASS, SELECTED

_WIDTH = 44
_BACKGROUND, _PALE, _EDGE = QColor("#10151b"), QColor("#2a3441"), QColor("#2c3641")
_OUTSIDE = QColor("#33363a")
_MARK = QColor("#ffffff")
_FOCUS = QColor("#7fc0ff")
# Columns: class of the slice, then the bar of its lesion area.
_CLASS_LEFT, _CLASS_WIDTH = 5.0, 7.0
_BAR_LEFT = 15.0
_THICKEST = 9.0
_MARGIN = 6.0
# Of the middle of a key image's diamond, left of the mark of the visible slice.
_KEY_RIGHT = 13.0


class SliceStrip(QWidget):
    """One row per slice beside the viewport, first slice on top.

    The square tells by colour whether a slice looks ill; of weights without a calibration the most probable
    class, its probability by strength. The bar is the area of the shown lesion masks; slices without a result
    are pale, those outside the lung grey. A bar that is cut, as it would make the others too short to tell
    apart, ends in a white tip. A tick at the left marks the slices that decide about the scan, a diamond at
    the right the key images. The tooltip says it in words. Click, drag, wheel or
    keys emit ``slice_requested``.
    """

    slice_requested = Signal(int)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._wheel = WheelSteps()
        self._rows = Layer()
        # Of the rows that are drawn: all they depend on but the summaries, and these.
        self._drawn: tuple[tuple[object, ...], Mapping[int, SliceSummary]] = ((), {})
        # The full scale, and what it is of.
        self._scale: tuple[object, object, int] = (None, None, 0)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName("Slices and findings")
        refresh = state.changes.once(self._refresh)
        state.case.events.volume.connect(refresh)
        state.case.events.partial.connect(refresh)
        state.run.events.done.connect(self._on_progress)
        state.case.events.lungs.connect(refresh)
        state.case.events.key_images.connect(refresh)
        state.display.events.slice_index.connect(refresh)
        state.results.events.summaries.connect(refresh)
        state.results.events.scan.connect(refresh)
        state.weights.events.all.connect(refresh)
        self._refresh()

    @property
    def slices(self) -> int:
        """Number of rows."""
        volume = self._state.case.in_view
        return 0 if volume is None else volume.slices

    def sizeHint(self) -> QSize:
        """Return a narrow column."""
        return QSize(_WIDTH, 400)

    def minimumSizeHint(self) -> QSize:
        """Return as narrow a column, for low windows too."""
        return QSize(_WIDTH, 80)

    def index_at(self, y: float) -> int:
        """Return the slice at a height; heights beyond the ends are the first and the last slice."""
        step = self._step()
        index = math.floor((y - _MARGIN) / step) if step > 0 else 0
        return max(0, min(self.slices - 1, index))

    def centre_of(self, index: int) -> float:
        """Return the height of the middle of a slice's row."""
        return _MARGIN + (index + 0.5) * self._step()

    @property
    def full_scale(self) -> int:
        """Lesion area in pixels that a bar of full length stands for; larger ones are cut."""
        lungs, summaries = self._state.case.lungs, self._state.results.summaries
        if self._scale[0] is not summaries or self._scale[1] != lungs:
            areas = [summary.lesion_px for index, summary in summaries.items() if not lungs.outside(index)]
            self._scale = summaries, lungs, bar_scale([area for area in areas if area > 0])
        return self._scale[2]

    def describe(self, index: int) -> str:
        """Say in words what was found in a slice; the text of its tooltip."""
        head = f"Slice {index + 1} / {self.slices}"
        note = self._state.case.key_images.get(index)
        if note is not None:
            head = f"Key image{': ' * bool(note)}{note}\n{head}"
        summary = self._state.results.summaries.get(index)
        outside = self._state.case.lungs.outside(index)
        if outside:
            head += ": outside the lung, no class"
            if summary is not None and summary.detections:
                head += f"\n{_findings(summary)}, which count for nothing"
            if summary is None and self._state.case.lungs.left_out(index):
                head += "\nA run of the series leaves it out; Run slice (Ctrl+R) analyses it"
            return head
        if summary is None:
            return f"{head}: {'not read' if self._state.case.unread(index) else 'not analysed'} yet"
        if summary.detections == 0:
            text = f"{head}: no findings"
        else:
            cut = " (bar cut)" if summary.lesion_px > self.full_scale else ""
            text = f"{head}: {_findings(summary)}{cut}"
        if index in self._deciding:
            text += "\nOne of the slices that decide"
        if summary.edited:
            text += "\nEdited evidence: regions were excluded"
        words = slice_words(summary)
        if words is not None:
            return text + "\n" + ", ".join((words.answer, *words.lines))
        if summary.probabilities:
            best = int(np.argmax(summary.probabilities))
            name = class_name(self._state.weights.image_classes, best)
            likely = f"{name} {probability_text(summary.probabilities[best])}"
            bias = f"no region left in the evidence: the network's bias ({likely})"
            text += f"\n{bias if summary.from_bias else likely}"
        return text

    # --------------------------------------------------------------------------------------- painting

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw every row and the mark of the current slice."""
        painter = QPainter(self)
        try:
            self._paint(painter)
        finally:
            # A painter that outlives an error takes the program down with it.
            painter.end()

    def _paint(self, painter: QPainter) -> None:
        painter.fillRect(self.rect(), _BACKGROUND)
        painter.setPen(_EDGE)
        painter.drawLine(0, 0, 0, self.height())
        if self.slices:
            case, size = self._state.case, (float(self.width()), float(self.height()))
            ready = None if case.partial is None else case.partial.ready.tobytes()
            classes, summaries = self._state.weights.image_classes, self._state.results.summaries
            # Rows stay where only the visible slice is another; a run changes one at a time.
            known = (self.slices, case.volume is None, ready, case.lungs, classes, self.full_scale)
            former, before = self._drawn
            if known == former and summaries is not before:
                changed = {k for k in {*summaries, *before} if summaries.get(k) is not before.get(k)}
                self._rows.paint_over(
                    (former, before), (known, summaries), partial(self._paint_rows, of=changed)
                )
            self._drawn = known, summaries
            self._rows.paint(painter, size, key=self._drawn, draw=self._paint_rows)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_deciding(painter)
            self._paint_mark(painter)
            self._paint_key_images(painter)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(_FOCUS, 1))
            painter.drawRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5))

    def _paint_rows(self, painter: QPainter, of: Set[int] | None = None) -> None:
        """Draw the rows of these slices over what is there, or all of them where nothing is."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
        summaries, slices, step = self._state.results.summaries, self.slices, self._step()
        outside = self._state.case.lungs.outside
        largest = self.full_scale
        room = self.width() - _BAR_LEFT - 5
        # Rows thinner than a pixel share one: the largest finding of those is what counts.
        together = max(1, math.ceil(1 / step))
        for first in range(0, slices, together):
            rows = range(first, min(slices, first + together))
            if of is not None and of.isdisjoint(rows):
                continue
            found = [summaries[k] for k in rows if k in summaries and not outside(k)]
            thick = max(1.0, min(_THICKEST, step * len(rows) * 0.8 if step > 2 else step * len(rows)))
            top = _MARGIN + (first + len(rows) / 2) * step - thick / 2
            if of is not None:
                painter.fillRect(QRectF(_CLASS_LEFT, top, self.width() - _CLASS_LEFT, thick), _BACKGROUND)
            if all(map(outside, rows)):
                painter.fillRect(QRectF(_CLASS_LEFT, top, room + _BAR_LEFT - _CLASS_LEFT, thick), _OUTSIDE)
                continue
            if not found:
                if all(map(self._state.case.unread, rows)):
                    continue  # rows appear as slices are read
                painter.fillRect(QRectF(_CLASS_LEFT, top, _CLASS_WIDTH, thick), _PALE)
                continue
            most = max(found, key=lambda summary: summary.lesion_px)
            painter.fillRect(QRectF(_CLASS_LEFT, top, _CLASS_WIDTH, thick), self._class_colour(most))
            if most.lesion_px and largest:
                length = max(2.0, room * min(1.0, most.lesion_px / largest))
                painter.fillRect(QRectF(_BAR_LEFT, top, length, thick), QColor(NEUTRAL))
                if most.lesion_px > largest:
                    self._paint_cut(painter, QRectF(_BAR_LEFT + length, top, 0.0, thick))
            else:
                # A thin stem tells "analysed, nothing found" from "not analysed".
                painter.fillRect(QRectF(_BAR_LEFT, top, 2.0, thick), QColor(NO_CLASS))

    @staticmethod
    def _paint_cut(painter: QPainter, end: QRectF) -> None:
        """Mark the end of a bar that would be longer: a gap, then a white tip."""
        painter.fillRect(end.adjusted(-5, 0, -3, 0), _BACKGROUND)
        painter.fillRect(end.adjusted(-3, 0, 0, 0), QColor(SELECTED))

    def _paint_deciding(self, painter: QPainter) -> None:
        """Point at the slices that the verdict of the scan rests on."""
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(LETTER))
        for index in self._deciding:
            y = self.centre_of(index)
            painter.drawPolygon(QPolygonF([QPointF(0, y - 4), QPointF(0, y + 4), QPointF(4.5, y)]))

    def _paint_key_images(self, painter: QPainter) -> None:
        painter.setPen(QPen(_BACKGROUND, 1))
        painter.setBrush(QColor(AMBER))
        x = self.width() - _KEY_RIGHT
        for index in self._state.case.key_images:
            if index < self.slices:
                y = self.centre_of(index)
                corners = ((x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5))
                painter.drawPolygon(QPolygonF([QPointF(*corner) for corner in corners]))

    @property
    def _deciding(self) -> tuple[int, ...]:
        results = self._state.results
        chosen = deciding_slices(results.scan, results.summaries)[:MOST_DECIDING]
        return tuple(index for index in chosen if 0 <= index < self.slices)

    def _class_colour(self, summary: SliceSummary) -> QColor:
        words = slice_words(summary)
        if words is not None:
            return QColor(words.colour)
        if not summary.probabilities or summary.from_bias:
            return QColor(NO_CLASS)
        best = int(np.argmax(summary.probabilities))
        colour = QColor(image_colour(class_name(self._state.weights.image_classes, best), best))
        colour.setAlphaF(0.35 + 0.65 * min(1.0, max(0.0, float(summary.probabilities[best]))))
        return colour

    def _paint_mark(self, painter: QPainter) -> None:
        y = self.centre_of(max(0, min(self.slices - 1, self._state.display.slice_index)))
        right = float(self.width())
        painter.setPen(QPen(QColor(0, 0, 0, 200), 4))
        painter.drawLine(QPointF(1, y), QPointF(right, y))
        painter.setPen(QPen(_MARK, 2))
        painter.drawLine(QPointF(1, y), QPointF(right, y))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(_MARK)
        painter.drawPolygon(QPolygonF([QPointF(right, y - 5), QPointF(right, y + 5), QPointF(right - 7, y)]))

    def _step(self) -> float:
        return max(0.0, self.height() - 2 * _MARGIN) / self.slices if self.slices else 0.0

    def _on_progress(self) -> None:
        if self._state.case.partial is not None:
            self.update()

    def _refresh(self) -> None:
        index = self._state.display.slice_index
        self.setAccessibleDescription(self.describe(index) if index < self.slices else "Nothing is open")
        self.update()

    # ------------------------------------------------------------------------------------------ input

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the slice under the mouse."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._ask(self.index_at(event.position().y()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the mouse while the button is down."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._ask(self.index_at(event.position().y()))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Move slice by slice."""
        steps = self._wheel.add(event.angleDelta().y())
        if steps:
            self._ask(self._state.display.slice_index + steps)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move with the same keys as everywhere."""
        here = self._state.display.slice_index
        targets = {
            Qt.Key.Key_Up: here - 1,
            Qt.Key.Key_Down: here + 1,
            Qt.Key.Key_PageUp: here - TEN,
            Qt.Key.Key_PageDown: here + TEN,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: self.slices - 1,
        }
        target = targets.get(Qt.Key(event.key()))
        if target is None:
            event.ignore()
        else:
            self._ask(target)

    def event(self, event: QEvent) -> bool:
        """Show the tooltip of the row under the mouse."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            if self.slices:
                QToolTip.showText(event.globalPos(), self.describe(self.index_at(event.pos().y())), self)
            return True
        return super().event(event)

    def _ask(self, index: int) -> None:
        if self.slices:
            index = max(0, min(self.slices - 1, index))
            if index != self._state.display.slice_index:
                self.slice_requested.emit(index)


def _findings(summary: SliceSummary) -> str:
    noun = "finding" if summary.detections == 1 else "findings"
    return f"{summary.detections} {noun}, {_area(summary)}"


def _area(summary: SliceSummary) -> str:
    if summary.lesion_mm2 is None:
        return f"{summary.lesion_px} px"
    return f"{summary.lesion_mm2 / 100:.1f} cm²"
