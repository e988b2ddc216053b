"""Which pixels the logit of the selected region hangs on: all maps side by side under one cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import gives_no_class
from ctmasknet_gui.view.explanation.verdict_card import Line
from ctmasknet_gui.view.style import ACCENT, colour, label
from ctmasknet_gui.view.viewport.annotations import halo_text, sized
from ctmasknet_gui.view.viewport.corners import logit_text, map_value, place_text
from ctmasknet_gui.view.viewport.mapping import View, pixel_aspect
from ctmasknet_gui.view.viewport.pictures import GreyPictures, draw_image
from ctmasknet_gui.view.viewport.region_maps import MapPictures, draw_boxes, draw_cursor, draw_region_map
from model_core.scene.maps import SHORT_TITLES, Kind, RegionMap
from model_core.scene.palette import WHITE

if TYPE_CHECKING:
    from model_core.explain import RegionPixels

_SMALL, _LINE, _GAP = 11, 14, 6
# From this height on the page has a line for the note.
_NOTED_FROM = 128
# What is shown around all maps, as a share of their extent.
_AROUND = 0.08
_COLUMNS = (5, 3, 2, 1)
_ORDER: tuple[Kind, ...] = ("mask", "cells", "gradients", "fixed", "found")
_STOPPED = "stopped, ask again (Shift+L)"
_FIXED = "Proposal and selection held fixed: of this region's logit, not of the class."
_TIPS: dict[Kind, str] = {
    "mask": "Raw mask logits of the region, before the sigmoid; the line is at 0, a probability of one half.",
    "cells": "HiResCAM: gradient times activation on the region's own 7 x 7 map, drawn in its proposal. The\n"
    "cells add up to the logit but for what biases give.",
    "gradients": "Integrated gradients of the pixels, from the slice whose proposal is healed; they add up\n"
    "to the difference of the two logits. Lines: half of the greatest, smoothed by 2 px.",
    "fixed": "Occlusion: by how much the logit of the fixed proposal falls where a cell is filled with\n"
    "healthy lung.",
    "found": "Occlusion: by how much the score of the best region with an IoU of at least 0.5 falls where a\n"
    "cell is filled with healthy lung; the network looks for it anew.",
}
_USE = "\nOrange speaks for the region, blue against it. A click lays the map on the slice, or takes it off."


class PixelPage(QWidget):
    """The maps of the selected region, or how to get them.

    Signals
    -------
    asked():
        They are to be computed.
    mapChosen(str):
        The map to be drawn on the slice; "" for none.
    pointed(object):
        Place (x, y) in slice pixels under the mouse, or None.
    """

    asked = Signal()
    mapChosen = Signal(object)
    pointed = Signal(object)

    title = "Pixels"

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.maps = Maps(state)
        self.maps.mapChosen.connect(self.mapChosen)
        self.maps.pointed.connect(self.pointed)
        self.readout, self.note = Line("worth"), Line("worth")
        self.hint = label(role="muted", wrap=True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.button = QPushButton("From region to pixels")
        self.button.setToolTip("Runs the network some 50 times, in the background (Shift+L)")
        self.button.clicked.connect(lambda *_: self.asked.emit())
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.button)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        self._left = 4
        layout.setContentsMargins(self._left, 3, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.readout)
        layout.addWidget(self.maps, 1)
        layout.addWidget(self.hint, 1)
        layout.addLayout(row)
        layout.addWidget(self.note)
        self.setAccessibleName(self.title)
        for event in (state.pixels.events.found, state.pixels.events.computing, state.results.events.shown):
            event.connect(self._refresh)
        state.selection.events.candidate.connect(self._refresh)
        state.pixels.events.cursor.connect(self._show_readout)
        state.pixels.events.overlay.connect(self._redraw)
        for event in (
            state.display.events.window,
            state.display.events.inverted,
            state.display.events.flip_horizontal,
            state.display.events.flip_vertical,
        ):
            event.connect(self._redraw)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        pixels, selected = self._state.pixels, self._region()
        found = pixels.found
        for widget in (self.readout, self.maps):
            widget.setVisible(found is not None)
        self._fit()
        self.hint.setVisible(found is None)
        self.button.setVisible(found is None and selected is not None and not pixels.computing)
        self.hint.setText(self._why_none(selected))
        if found is not None:
            for line in (self.note, self.readout):
                line.setToolTip("\n".join(_notes(found, computing=pixels.computing)))
        self._show_readout()
        self.maps.update()

    def _fit(self) -> None:
        """Leave the notes to the tip that would be cut, and all of them where the maps need their line."""
        found, computing = self._state.pixels.found, self._state.pixels.computing
        self.note.setVisible(found is not None and self.height() >= _NOTED_FROM)
        if found is not None:
            self.note.setText(self._fitting(_notes(found, computing=computing), " "))

    def _fitting(self, parts: Sequence[str], between: str) -> str:
        """Return as many of the first texts as one line holds whole, the very first in any case."""
        self.note.ensurePolished()  # it may be hidden still
        text, room = parts[0], self.width() - self._left
        for part in parts[1:]:
            longer = f"{text}{between}{part}"
            if self.note.fontMetrics().horizontalAdvance(longer) > room:
                break
            text = longer
        return text

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Say more where there is room for it."""
        super().resizeEvent(event)
        self._fit()
        self._show_readout()

    def _redraw(self, *_: object) -> None:
        self.maps.update()

    def _region(self) -> int | None:
        """Return the rank of the selected region, where the network found it."""
        shown, candidate = self._state.results.shown, self._state.selection.candidate
        rois = () if shown is None or shown.verdict is None else shown.rois
        return next((roi.rank for roi in rois if roi.candidate == candidate and roi.asked is None), None)

    def _why_none(self, rank: int | None) -> str:
        if gives_no_class(self._state):
            return "These weights give no image class, so that no region carries one."
        if self._state.pixels.computing:
            return "The maps are being computed…"
        if rank is None:
            return "Select a region, on the slice or in the table, to see which pixels its logit hangs on."
        return f"Which pixels does the logit of region {rank} hang on?"

    def _show_readout(self, *_: object) -> None:
        found, cursor = self._state.pixels.found, self._state.pixels.cursor
        if found is None:
            return
        text = self._values(found, *cursor) if cursor is not None else ""
        self.readout.setText(text or self._headline(found))
        self.maps.update()

    def _headline(self, found: RegionPixels) -> str:
        """Return of what the maps are, what is held fixed, and by how much integrated gradients are off."""
        rank = self._region() or found.roi.rank
        parts = [f"Region {rank}: logit {map_value(found.logit)}"]
        parts += ["filled with one grey"] * bool(found.why_grey) + ["proposal and selection fixed"]
        if found.relative_error is not None:
            parts.append(f"gradients miss {100 * found.relative_error:.1f} %")
        elif self._state.pixels.computing:
            parts.append("computing…")
        if found.fixed is None and not self._state.pixels.computing:
            parts.insert(1, _STOPPED)
        return self._fitting(parts, " · ")

    def _values(self, found: RegionPixels, x: float, y: float) -> str:
        """Return place, value, mask logit and probability under the cursor."""
        volume, index = self._state.case.volume, self._state.display.slice_index
        column, row = math.floor(x), math.floor(y)
        if volume is None or not (0 <= row < volume.voxels.shape[1] and 0 <= column < volume.voxels.shape[2]):
            return ""
        logit = None if found.mask is None else found.mask.at(x, y)
        place = place_text(volume, index, row, column)
        return place if logit is None else f"{place}  mask {logit_text(logit, 'max')}"


def _tip(kind: Kind, found: RegionPixels | None) -> str:
    filled = found is not None and kind in ("gradients", "fixed", "found") and found.filled_with
    return _TIPS[kind] + f"\nFilled with {filled}." * bool(filled) + _USE


def _notes(found: RegionPixels, *, computing: bool) -> list[str]:
    parts = [_FIXED]
    if found.relative_error is not None:
        share = 100 * found.relative_error
        parts.append(f"Integrated gradients miss {share:.1f} % of the difference ({found.steps} steps).")
    if found.fixed is not None and found.cells is None:
        parts.append("This network gives no gradients.")
    width, height = found.cell_size
    if found.cells is not None:
        parts.append(f"A cell of HiResCAM is {width:.1f} × {height:.1f} px.")
    if found.filled_with:
        parts.append(f"Filled with {found.filled_with}.")
    if computing:
        parts.insert(0, "Computing…")
    elif found.fixed is None:
        parts.insert(0, f"{_STOPPED.capitalize()}.")
    return parts


class Maps(QWidget):
    """The panels: each map on the slice around its region, in as many columns as make them largest."""

    mapChosen = Signal(object)
    pointed = Signal(object)

    def __init__(self, state: AppState) -> None:
        super().__init__()
        self._state = state
        self._pictures, self._grey = MapPictures(), GreyPictures()
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(80)

    def sizeHint(self) -> QSize:
        """Five panels in a row."""
        return QSize(420, 120)

    @property
    def panels(self) -> tuple[tuple[Kind, QRectF], ...]:
        """Where the picture of each map lies, those that are still to come, too."""
        best: tuple[float, int] = (0.0, 1)
        for columns in _COLUMNS:
            rows = -(-len(_ORDER) // columns)
            across = (self.width() - (columns - 1) * _GAP) / columns
            down = (self.height() - (rows - 1) * _GAP) / rows - _LINE
            best = max(best, (min(across, down), columns))
        side, columns = best
        if side < 20:
            return ()
        wide = (self.width() - (columns - 1) * _GAP) / columns
        return tuple(
            (
                kind,
                QRectF(
                    (k % columns) * (wide + _GAP) + (wide - side) / 2,
                    (k // columns) * (side + _LINE + _GAP) + _LINE,
                    side,
                    side,
                ),
            )
            for k, kind in enumerate(_ORDER)
        )

    def view_of(self, side: float) -> View | None:
        """Return how the slice lies in a panel, as it is flipped in the window."""
        volume, found = self._state.case.volume, self._state.pixels.found
        if volume is None or found is None:
            return None
        boxes = [one.box for one in found.maps] + [found.grid, found.proposal]
        left, top = (min(float(box[k]) for box in boxes) for k in (0, 1))
        right, bottom = (max(float(box[k]) for box in boxes) for k in (2, 3))
        aspect = pixel_aspect(volume.geometry.spacing_mm, volume.geometry.stated_aspect)
        extent = max((right - left) * aspect[1], (bottom - top) * aspect[0], 1.0) * (1 + 2 * _AROUND)
        height, width = volume.voxels.shape[1:]
        display, zoom = self._state.display, side / extent
        across = zoom * aspect[1] * (width / 2 - (left + right) / 2)
        down = zoom * aspect[0] * (height / 2 - (top + bottom) / 2)
        return View(
            shape=(height, width),
            aspect=aspect,
            size=(side, side),
            zoom=zoom,
            pan=(-across if display.flip_horizontal else across, -down if display.flip_vertical else down),
            flip_horizontal=display.flip_horizontal,
            flip_vertical=display.flip_vertical,
        )

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the panels."""
        found, panels = self._state.pixels.found, self.panels
        if found is None or not panels:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        view = self.view_of(panels[0][1].width())
        for kind, rect in panels:
            one = next((item for item in found.maps if item.kind == kind), None)
            self._paint_panel(painter, kind, rect, one, found, view)
        painter.end()

    def _paint_panel(
        self,
        painter: QPainter,
        kind: Kind,
        rect: QRectF,
        one: RegionMap | None,
        found: RegionPixels,
        view: View | None,
    ) -> None:
        volume, display = self._state.case.volume, self._state.display
        chosen = kind == self._state.pixels.overlay
        painter.setFont(sized(self.font(), _SMALL, bold=chosen))
        painter.setPen(colour("text" if chosen else "muted"))
        middle = Qt.AlignmentFlag.AlignCenter
        wide = rect.adjusted(-20, 0, 20, 0)
        painter.drawText(
            QRectF(wide.left(), rect.top() - _LINE, wide.width(), _LINE), middle, SHORT_TITLES[kind]
        )
        painter.save()
        painter.setClipRect(rect)
        painter.fillRect(rect, QColor("#000000"))
        painter.translate(rect.topLeft())
        if volume is not None and view is not None:
            grey = self._grey.get(volume, display.slice_index, display.window, inverted=display.inverted)
            draw_image(painter, grey, view)
            if one is not None:
                draw_region_map(painter, one, self._pictures, found.maps, view)
                draw_boxes(painter, tuple(found.proposal.tolist()), found.roi, view)
            if self._state.pixels.cursor is not None:
                area = QRectF(0, 0, rect.width(), rect.height())
                draw_cursor(painter, self._state.pixels.cursor, view, area)
        painter.restore()
        if chosen:
            painter.setPen(QPen(QColor(ACCENT), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect)
        painter.setFont(sized(self.font(), _SMALL, bold=True))
        text = self._below(one)
        left = rect.center().x() - painter.fontMetrics().horizontalAdvance(text) / 2
        halo_text(painter, QPointF(left, rect.bottom() - 4), text, WHITE)

    def _below(self, one: RegionMap | None) -> str:
        """Return the value under the cursor, else what the strongest colour stands for."""
        if one is None:
            return "…" if self._state.pixels.computing else "–"
        cursor = self._state.pixels.cursor
        if cursor is None:
            # Without a space: the line of a box that shows through it would read as a minus.
            return f"±{map_value(one.largest).lstrip('+')}"
        value = one.at(*cursor)
        return "–" if value is None else map_value(value)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Point at a place of the slice."""
        self.pointed.emit(self._place(event.position()))

    def leaveEvent(self, _event: QEvent) -> None:
        """Point at nothing."""
        self.pointed.emit(None)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Lay a map on the slice, or take it off."""
        hit = self._hit(event.position())
        found = self._state.pixels.found
        if event.button() != Qt.MouseButton.LeftButton or hit is None or found is None:
            return
        kind = hit[0]
        if any(one.kind == kind for one in found.maps):
            self.mapChosen.emit("" if kind == self._state.pixels.overlay else kind)

    def event(self, event: QEvent) -> bool:
        """Tell what the map under the mouse is."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            hit = self._hit(QPointF(event.pos()))
            if hit is not None:
                QToolTip.showText(event.globalPos(), _tip(hit[0], self._state.pixels.found), self)
            return True
        return super().event(event)

    def _hit(self, point: QPointF) -> tuple[Kind, QRectF] | None:
        return next((panel for panel in self.panels if panel[1].contains(point)), None)

    def _place(self, point: QPointF) -> tuple[float, float] | None:
        hit = self._hit(point)
        view = None if hit is None else self.view_of(hit[1].width())
        return None if hit is None or view is None else view.to_slice(point - hit[1].topLeft())
