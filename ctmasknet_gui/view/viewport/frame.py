"""A frame of the viewport: the slice, what is found in it, and the texts around it."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.viewport import overlays
from ctmasknet_gui.view.viewport.annotations import Annotations
from ctmasknet_gui.view.viewport.corners import scene_settings, viewport_corners
from ctmasknet_gui.view.viewport.drawing import Drawing, draw_tool_text, tool_text
from ctmasknet_gui.view.viewport.mapping import View
from ctmasknet_gui.view.viewport.pictures import GreyPictures, Layer, draw_image
from ctmasknet_gui.view.viewport.region_maps import PixelOverlay
from model_core.base.results import ShownSlice
from model_core.base.volume import Volume, Window
from model_core.scene import (
    EdgeLetters,
    Label,
    PlacedLabels,
    SceneSettings,
    box_labels,
    edge_letters,
    place_labels,
)
from model_core.scene.labels import Rect, unshown_roi
from model_core.scene.reasons import reason_areas

BACKGROUND = QColor("#000000")
# In the place of a slice that is not read yet: no tissue looks so in any window.
_UNREAD, _UNREAD_TEXT = QColor("#3a3f45"), QColor("#d5dbe1")


class Frame:
    """Draws what the viewport shows, and keeps of it what the next frame has in common with it."""

    def __init__(self, state: AppState, drawing: Drawing) -> None:
        self._state, self._drawing = state, drawing
        self._pictures = GreyPictures()
        self._findings: overlays.Findings | None = None
        self._reference: overlays.Reference | None = None
        self._grey, self._layer, self._dashes = Layer(), Layer(), Layer()
        self._pixels = PixelOverlay(state)
        # The labels of the last frame, and what they were placed by.
        self._placed: tuple[tuple[object, ...], PlacedLabels] | None = None
        self._labels: tuple[tuple[ShownSlice, SceneSettings, View], list[Label]] | None = None
        # Tags of visible boxes that the last frame had no room for.
        self.labels_left_out = 0

    def forget_reference(self) -> None:
        """Let go of the reference mask of a former series."""
        self._reference = None
        self._dashes.clear()

    def forget(self) -> None:
        """Let go of the voxels of a closed series, and of all that was drawn of it."""
        self._pictures.clear()
        for layer in (self._grey, self._layer, self._dashes):
            layer.clear()
        self._findings = self._reference = self._labels = self._placed = None

    @property
    def letters(self) -> EdgeLetters:
        """The orientation letters as they are shown now."""
        volume, display = self._state.case.in_view, self._state.display
        if volume is None:
            return EdgeLetters()
        return edge_letters(
            volume.geometry, flip_horizontal=display.flip_horizontal, flip_vertical=display.flip_vertical
        )

    def paint(
        self,
        painter: QPainter,
        volume: Volume,
        view: View,
        *,
        font: QFont,
        voxel: tuple[int, int] | None,
        pointed: bool,
    ) -> None:
        """Draw the visible slice of a volume.

        Parameters
        ----------
        voxel:
            Row and column of what is under the mouse; None beside the slice.
        pointed:
            Whether the mouse is in the viewport, and shows by itself where the cursor of the maps is.
        """
        display = self._state.display
        self._paint_grey(painter, volume, view)
        findings = self._current_findings(volume)
        self._paint_overlays(painter, volume, view, findings)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        notes = Annotations(font, view.size, backed=display.inverted != volume.inverted)
        width, height = view.size
        corners = viewport_corners(self._state, volume, view, voxel)
        notes.corners(painter, corners)
        notes.letters(painter, self.letters)
        bottom = height - 14 - notes.height_of(len(corners.bottom_right))
        notes.scale_bar(painter, view, volume.geometry, bottom=bottom)
        self.labels_left_out = 0
        self._drawing.paint(painter, view)
        if display.tool:
            lines = max(len(corners.bottom_left), len(corners.bottom_right))
            area = QRectF(0, 0, width, height - 52 - notes.height_of(lines))
            text = tool_text(self._state, waiting=self._drawing.waiting)
            notes.taken.append(draw_tool_text(painter, font, text, area=area))
        if findings is None:
            return
        legend_top = 18 + notes.height_of(len(corners.top_right))
        self._pixels.legend(painter, notes, top=legend_top)
        if not pointed:
            self._pixels.paint_cursor(painter, view)
        if display.logits and findings.logits is not None:
            _paint_logit_bar(painter, findings, notes, legend_top)
        roi = unshown_roi(findings.shown, self._state.selection.candidate)
        if roi is not None:
            overlays.draw_unshown(painter, roi, view)
        self._paint_labels(painter, self._labels_of(findings.shown, view), view, notes, font)

    def _paint_grey(self, painter: QPainter, volume: Volume, view: View) -> None:
        display = self._state.display
        _paint_around(painter, view)
        if self._state.case.unread(display.slice_index):
            painter.fillRect(view.picture, _UNREAD)
            painter.setPen(_UNREAD_TEXT)
            painter.drawText(view.picture, Qt.AlignmentFlag.AlignCenter, "Reading this slice…")
            return
        look = display.slice_index, display.window, display.inverted
        image = self._pictures.get(volume, *look[:2], inverted=display.inverted)
        self._grey.paint(
            painter,
            view.size,
            key=(volume, look, view),
            draw=lambda inner: draw_image(inner, image, view),
            again=True,
        )

    def _paint_overlays(
        self, painter: QPainter, volume: Volume, view: View, findings: overlays.Findings | None
    ) -> None:
        display, selected = self._state.display, self._state.selection.candidate
        reference = self._current_reference(volume)
        if findings is None and reference is None:
            self._layer.clear()
            return

        def draw(inner: QPainter) -> None:
            if findings is not None:
                self._draw_areas(inner, findings, view)
                self._pixels.paint(inner, view)
                if display.outlines:
                    under_map = self._pixels.shown is not None
                    overlays.draw_outlines(inner, findings, view, selected, under_map=under_map)
            if reference is not None:
                # It stays while thresholds move.
                self._dashes.paint(
                    inner,
                    view.size,
                    key=(reference, view),
                    draw=lambda within: overlays.draw_reference(within, reference, view),
                )
            if findings is not None and display.boxes:
                overlays.draw_boxes(inner, findings, view, selected)
            if findings is not None:
                overlays.draw_asked(inner, findings, view, selected, every=display.overlays.findings)

        reasons = self._state.reasons
        why = (reasons.reason, reasons.shown_output) if display.contributions else None
        switches = (display.masks, display.outlines, display.boxes, display.logits, display.opacity, why)
        key = (findings, reference, view, selected, switches, self._pixels.shown)
        self._layer.paint(painter, view.size, key=key, draw=draw)

    def _draw_areas(self, painter: QPainter, findings: overlays.Findings, view: View) -> None:
        display = self._state.display
        if display.logits and findings.logits is not None:
            # Opaque: it is read by its colours.
            draw_image(painter, findings.logits[0], view)
        reasons = self._state.reasons
        if display.contributions and reasons.reason is not None:
            areas = reason_areas(findings.shown, reasons.reason, reasons.shown_output)
            overlays.draw_contributions(painter, areas, view)
        if display.masks and self._pixels.shown is None:  # its colours are those of maps
            overlays.fill_masks(painter, findings, view, display.opacity)

    def _current_reference(self, volume: Volume) -> overlays.Reference | None:
        labels, index = self._state.case.reference, self._state.display.slice_index
        if labels is None or not self._state.display.reference or labels.shape != volume.voxels.shape:
            return None
        known = self._reference
        if known is None or known.labels is not labels or known.index != index:
            self._reference = known = overlays.Reference(labels, index)
        return known

    def _labels_of(self, shown: ShownSlice, view: View) -> list[Label]:
        """Return the labels of a slice with their boxes on the screen."""
        # Of another window/level they are the same.
        settings = replace(scene_settings(self._state), window=Window(1, 0))
        if self._labels is None or self._labels[0] != (shown, settings, view):
            labels = box_labels(shown, settings)
            mapped = [replace(label, box=_edges(view.box_to_screen(label.box))) for label in labels]
            self._labels = (shown, settings, view), mapped
        return self._labels[1]

    def _paint_labels(
        self, painter: QPainter, labels: list[Label], view: View, notes: Annotations, font: QFont
    ) -> None:
        area = _edges(view.picture.intersected(QRectF(0, 0, *view.size)).adjusted(2, 2, -2, -2))
        taken = [_edges(place) for place in notes.taken]

        def place(taken: list[Rect]) -> PlacedLabels:
            key = labels, area, taken, font
            if self._placed is None or self._placed[0] != key:
                self._placed = (
                    key,
                    place_labels(labels, overlays.label_size(font), area=area, taken=taken),
                )
            return self._placed[1]

        placed = place(taken)
        if placed.left_out:
            # Once more, clear of the remark that says so.
            placed = place([*taken, _edges(notes.note_place(_left_out(placed.left_out)))])
            notes.note(painter, _left_out(placed.left_out))
        self.labels_left_out = placed.left_out
        overlays.draw_labels(painter, placed, font=font)

    def _current_findings(self, volume: Volume) -> overlays.Findings | None:
        shown = self._state.results.shown
        if shown is None or shown.slice_index != self._state.display.slice_index:
            self._findings = self._labels = None
            return None
        if shown.masks.shape[1:] != volume.voxels.shape[1:]:
            return None
        classes = self._state.weights.region_classes
        known = self._findings
        if known is None or known.shown is not shown or known.region_classes != classes:
            former = known if known is not None and known.shown.slice_index == shown.slice_index else None
            self._findings = overlays.Findings(shown, classes, former)
        return self._findings


def _paint_around(painter: QPainter, view: View) -> None:
    """Fill what the picture does not cover, and its edges, which may be shares of a pixel."""
    width, height = view.size
    inner = view.picture.adjusted(2, 2, -2, -2).intersected(QRectF(0, 0, width, height))
    for bar in (
        QRectF(0, 0, width, inner.top()),
        QRectF(0, inner.bottom(), width, height - inner.bottom()),
        QRectF(0, inner.top(), inner.left(), inner.height()),
        QRectF(inner.right(), inner.top(), width - inner.right(), inner.height()),
    ):
        painter.fillRect(bar.toAlignedRect(), BACKGROUND)


def _paint_logit_bar(painter: QPainter, findings: overlays.Findings, notes: Annotations, top: float) -> None:
    assert findings.logits is not None
    settings = findings.shown.detections.settings
    largest = settings.logit_rule == "max"
    notes.colour_bar(
        painter,
        findings.logits[1],
        title="mask logit" if largest else "sum of mask logits",
        top=top,
        # A sum is not what masks are cut from.
        threshold=settings.mask_threshold if settings.mask_scale == "logit" and largest else None,
    )


def _edges(rect: QRectF) -> Rect:
    return rect.left(), rect.top(), rect.right(), rect.bottom()


def _left_out(count: int) -> str:
    return f"{count} label{'s' * (count != 1)} left out"
