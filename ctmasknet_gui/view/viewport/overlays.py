"""Draws what the network found, exactly on its voxels: masks, outlines, boxes, labels, reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPainterPath, QPen

from ctmasknet_gui.view.viewport.annotations import sized
from ctmasknet_gui.view.viewport.mapping import View
from ctmasknet_gui.view.viewport.outlines import contour_path
from ctmasknet_gui.view.viewport.pictures import logit_image
from model_core.base.arrays import BoolArray, ByteArray
from model_core.base.results import RoiRow, ShownAsked, ShownSlice
from model_core.scene import PlacedLabels, class_name, region_colour
from model_core.scene.palette import ASKED, EXCLUDED, INK, REFERENCE, SELECTED, WHITE
from model_core.scene.reasons import ReasonArea

_RIM = QColor(0, 0, 0, 95)
_TAG = QColor(14, 19, 25, 215)
_STRIPE = 3.0
# From this many detections on, lines are thin and rimless: they would cover all else, and cost time.
_CROWD = 40
_MIDDLE_LEFT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft


@dataclass(frozen=True, eq=False)
class Finding:
    """One detection ready to draw: its box in slice pixels, its outline."""

    candidate: int
    colour: str
    box: tuple[float, float, float, float]
    outline: QPainterPath


class Findings:
    """Paths and images of one `ShownSlice`, made when they are first needed."""

    def __init__(
        self, shown: ShownSlice, region_classes: tuple[str, ...], former: Findings | None = None
    ) -> None:
        """``former``: of the same slice under other thresholds, whose masks are mostly the same."""
        self._former = {} if former is None else former.outlines
        self.shown = shown
        self.region_classes = region_classes
        self._items: list[Finding] = []
        self._outlined = False
        self._fills: dict[str, QPainterPath] | None = None
        self._logits: tuple[QImage, tuple[float, float]] | None = None
        self._asked: list[tuple[ShownAsked, RoiRow, QPainterPath]] | None = None

    @property
    def items(self) -> list[Finding]:
        """The detections, best first."""
        if not self._outlined:
            self._outlined = True
            detections, excluded = self.shown.detections, self.shown.excluded
            for k in range(len(detections)):
                label = int(detections.labels[k]) - 1
                x1, y1, x2, y2 = (float(v) for v in detections.boxes[k])
                own = region_colour(class_name(self.region_classes, label), label)
                candidate = int(detections.indices[k])
                self._items.append(
                    Finding(
                        candidate=candidate,
                        colour=EXCLUDED if candidate in excluded else own,
                        box=(x1, y1, x2, y2),
                        outline=self._outline(candidate, self.shown.masks[k]),
                    )
                )
            self._former = {}
        return self._items

    @property
    def outlines(self) -> dict[int, tuple[BoolArray, QPainterPath]]:
        """Mask and outline of each detection whose outline is known, by its candidate."""
        masks = self.shown.masks
        return {item.candidate: (masks[k], item.outline) for k, item in enumerate(self._items)}

    def _outline(self, candidate: int, mask: BoolArray) -> QPainterPath:
        known = self._former.get(candidate)
        if known is not None and np.array_equal(known[0], mask):
            return known[1]
        return contour_path(mask)

    @property
    def fills(self) -> dict[str, QPainterPath]:
        """One path per colour over the union of its masks, so that overlaps are not filled twice."""
        if self._fills is None:
            self._fills = {}
            for item in self.items:
                path = self._fills.setdefault(item.colour, QPainterPath())
                # Borders run one way and holes the other, so the winding rule fills exactly the union.
                path.setFillRule(Qt.FillRule.WindingFill)
                path.addPath(item.outline)
        return self._fills

    @property
    def logits(self) -> tuple[QImage, tuple[float, float]] | None:
        """The map of raw mask logits as an image, and the logits at the ends of its colours."""
        if self._logits is None and (limits := self.shown.logit_range) is not None:
            self._logits = logit_image(self.shown.logit_map, limits), limits
        return self._logits

    @property
    def asked(self) -> list[tuple[ShownAsked, RoiRow, QPainterPath]]:
        """What was asked about, its row and the outline of its mask."""
        if self._asked is None:
            self._asked = [
                (one, row, QPainterPath() if one.mask is None else contour_path(one.mask))
                for one, row in self.shown.asked_rois()
            ]
        return self._asked


class Reference:
    """One slice of a reference mask, all labels together."""

    def __init__(self, labels: ByteArray, index: int) -> None:
        self.labels = labels
        self.index = index
        self.outline = contour_path(labels[index] > 0)


def fill_masks(painter: QPainter, findings: Findings, view: View, opacity: float) -> None:
    """Fill the masks in their class colours."""
    painter.save()
    painter.setPen(Qt.PenStyle.NoPen)
    for colour, path in findings.fills.items():
        shade = QColor(colour)
        shade.setAlphaF(opacity)
        painter.fillPath(view.transform.map(path), shade)
    painter.restore()


def draw_outlines(
    painter: QPainter, findings: Findings, view: View, selected: int | None, *, under_map: bool = False
) -> None:
    """Draw the outlines of the masks; the selected one thicker with a white halo, above the others.

    Where the selected one lies ``under_map``, it has none: it would hide the map.
    """
    transform = view.transform
    for item in _selected_last(findings.items, selected):
        if under_map and item.candidate == selected:
            continue
        chosen = item.candidate == selected
        thin = len(findings.items) > _CROWD and not chosen
        _stroke(painter, transform.map(item.outline), item.colour, chosen=chosen, thin=thin)


def draw_reference(painter: QPainter, reference: Reference, view: View) -> None:
    """Draw the outline of the reference mask, dashed."""
    mapped = view.transform.map(reference.outline)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(_RIM, 3.2))
    painter.drawPath(mapped)
    pen = QPen(QColor(REFERENCE), 1.6)
    pen.setDashPattern([4.0, 3.0])
    painter.setPen(pen)
    painter.drawPath(mapped)


def draw_boxes(painter: QPainter, findings: Findings, view: View, selected: int | None) -> None:
    """Draw the boxes of the detections."""
    for item in _selected_last(findings.items, selected):
        path = QPainterPath()
        path.addRect(view.box_to_screen(item.box))
        chosen = item.candidate == selected
        thin = len(findings.items) > _CROWD and not chosen
        _stroke(painter, path, item.colour, chosen=chosen, thin=thin, width=1.5)


def draw_asked(
    painter: QPainter, findings: Findings, view: View, selected: int | None, *, every: bool
) -> None:
    """Draw what was asked about: the drawn box thin, the decoded one dashed, the mask outlined.

    Only the selected one unless ``every``.
    """
    for one, row, outline in findings.asked:
        chosen = one.candidate == selected
        if not (chosen or every):
            continue
        painter.setBrush(Qt.BrushStyle.NoBrush)
        drawn, decoded = view.box_to_screen(one.drawn), view.box_to_screen(row.box)
        colour = QColor(ASKED)
        for pen in (QPen(_RIM, 1.6), QPen(colour, 1.2, Qt.PenStyle.DotLine)):
            painter.setPen(pen)
            painter.drawRect(drawn)
        _stroke(painter, view.transform.map(outline), ASKED, chosen=chosen, thin=False)
        for pen in (QPen(_RIM, 4.0), QPen(colour, 2.0 if chosen else 1.6, Qt.PenStyle.DashLine)):
            painter.setPen(pen)
            painter.drawRect(decoded)


def draw_unshown(painter: QPainter, roi: RoiRow, view: View) -> None:
    """Draw the box of a selected RoI that is not among the shown detections, dashed."""
    rect = view.box_to_screen(roi.box)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(_RIM, 3.5))
    painter.drawRect(rect)
    painter.setPen(QPen(QColor(SELECTED), 1.6, Qt.PenStyle.DashLine))
    painter.drawRect(rect)


def draw_contributions(painter: QPainter, areas: Sequence[ReasonArea], view: View) -> None:
    """Draw regions in the colours of their contributions, the strongest on top."""
    painter.save()
    for area in areas:
        rect = view.box_to_screen(area.box)
        shade = QColor(area.colour)
        shade.setAlphaF(area.fill)
        painter.fillRect(rect, shade)
        shade.setAlphaF(area.edge)
        painter.setPen(QPen(shade, area.width))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(rect)
    painter.restore()


def label_size(font: QFont) -> Callable[[str], tuple[float, float]]:
    """Return what measures the label of a text."""
    metrics = QFontMetricsF(_tag_font(font))
    return lambda text: (metrics.horizontalAdvance(text) + 10 + _STRIPE, metrics.height() + 2)


def draw_labels(painter: QPainter, placed: PlacedLabels, *, font: QFont) -> None:
    """Draw labels on their places."""
    painter.setFont(_tag_font(font))
    for label, text, (left, top, right, bottom) in placed.places:
        place = QRectF(left, top, right - left, bottom - top)
        painter.setPen(QPen(_RIM, 1) if label.selected else Qt.PenStyle.NoPen)
        painter.setBrush(QColor(SELECTED) if label.selected else _TAG)
        painter.drawRoundedRect(place, 3, 3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(label.colour))
        painter.drawRect(QRectF(place.left(), place.top(), _STRIPE, place.height()))
        painter.setPen(QColor(INK if label.selected else WHITE))
        painter.drawText(place.adjusted(_STRIPE + 4, 0, 0, 0), _MIDDLE_LEFT, text)


def _tag_font(font: QFont) -> QFont:
    return sized(font, 11)


def _selected_last(items: list[Finding], selected: int | None) -> list[Finding]:
    # Best first in the list, so the best is drawn last but for the selected one on top of it.
    others = [item for item in reversed(items) if item.candidate != selected]
    return others + [item for item in items if item.candidate == selected]


def _stroke(
    painter: QPainter, path: QPainterPath, colour: str, *, chosen: bool, thin: bool, width: float = 1.75
) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if thin:
        pens = [QPen(QColor(colour), 1.0)]
    elif chosen:
        # A white halo, which itself needs a rim on white bone.
        white = QColor(SELECTED)
        pens = [QPen(_RIM, width + 5.0), QPen(white, width + 3.2), QPen(QColor(colour), width + 0.5)]
    else:
        pens = [QPen(_RIM, width + 1.5), QPen(QColor(colour), width)]
    for pen in pens:
        pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        painter.setPen(pen)
        painter.drawPath(path)
