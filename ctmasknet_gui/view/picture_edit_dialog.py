"""The slice as it is and changed, side by side, and what the networks say of both."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QCloseEvent, QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.numbers import NumberBox
from ctmasknet_gui.view.style import label
from ctmasknet_gui.view.viewport.annotations import Annotations
from ctmasknet_gui.view.viewport.mapping import View, fit_zoom, pixel_aspect
from ctmasknet_gui.view.viewport.outlines import contour_path
from ctmasknet_gui.view.viewport.overlays import Findings, draw_outlines
from ctmasknet_gui.view.viewport.pictures import draw_image, grey_image
from model_core.base.arrays import VoxelArray
from model_core.base.asked import Box
from model_core.base.picture_edit import (
    ABOUT_THE_NETWORK,
    GROUND_GLASS_HU,
    PLANTED_HU,
    SHAMS,
    EditedPicture,
    PictureEffect,
    RegionChange,
)
from model_core.base.results import ShownSlice, probability_text
from model_core.base.voi import apply_window
from model_core.base.volume import Volume
from model_core.scene import edge_letters
from model_core.scene.palette import ASKED, SELECTED
from model_core.scene.picture_edit import area_words, effect_words, region_words, sham_words

_SIZE = QSize(940, 720)
_PANE = 300
# Of the side of a pane, what the changed area takes when it is looked at closely, and the closest zoom.
_CLOSE, _CLOSEST = 0.35, 8.0
_COLUMNS = ("Region is", "Where", "Class", "Score before", "Score after")
_OUTDATED = "Thresholds have changed since this ran: run it again."
_UNEDITED = (
    "Regions that were left out of the evidence of this slice, or asked about, are not heeded here: before "
    "and after are both judged as the weights find them."
)
_RIM = QColor(0, 0, 0, 150)


class SlicePane(QWidget):
    """One of the two pictures, as the viewport has its window and its flips."""

    def __init__(self, state: AppState, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._volume: Volume | None = None
        self._voxels: VoxelArray | None = None
        self._edited: EditedPicture | None = None
        self._findings: Findings | None = None
        self.box: Box | None = None
        self.close_up = False
        self.setMinimumSize(_PANE, _PANE)
        self.setAccessibleName(name)

    def show_picture(self, edited: EditedPicture, voxels: VoxelArray, shown: ShownSlice | None) -> None:
        """Show a picture with what is marked in it, once that is known."""
        self._volume, self._edited, self._voxels = self._state.case.volume, edited, voxels
        classes = self._state.weights.region_classes
        self._findings = None if shown is None else Findings(shown, classes)
        self.update()

    def _view(self, volume: Volume, edited: EditedPicture) -> View:
        display = self._state.display
        shape = edited.area.shape[0], edited.area.shape[1]
        aspect = pixel_aspect(volume.geometry.spacing_mm, volume.geometry.stated_aspect)
        size = float(self.width()), float(self.height())
        view = View(
            shape=shape,
            aspect=aspect,
            size=size,
            zoom=fit_zoom(shape, aspect, size),
            flip_horizontal=display.flip_horizontal,
            flip_vertical=display.flip_vertical,
        )
        if not self.close_up:
            return view
        area = view.transform.mapRect(contour_path(edited.area).boundingRect())
        factor = _CLOSE * min(size) / max(area.width(), area.height(), 1.0)
        zoom = max(view.zoom, min(view.zoom * factor, _CLOSEST))
        offset = area.center() - view.picture.center()
        ratio = zoom / view.zoom
        return View(
            shape=shape, aspect=aspect, size=size, zoom=zoom,
            pan=(-offset.x() * ratio, -offset.y() * ratio),
            flip_horizontal=display.flip_horizontal, flip_vertical=display.flip_vertical,
        ).kept_visible()  # fmt: skip

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw picture, outlines and letters."""
        painter = QPainter(self)
        try:
            painter.fillRect(self.rect(), QColor("black"))
            if self._volume is not None and self._edited is not None and self._voxels is not None:
                self._paint(painter, self._volume, self._edited, self._voxels)
        finally:
            painter.end()

    def _paint(self, painter: QPainter, volume: Volume, edited: EditedPicture, voxels: VoxelArray) -> None:
        display, view = self._state.display, self._view(volume, edited)
        grey = apply_window(voxels, display.window)
        draw_image(painter, grey_image(255 - grey if display.inverted != volume.inverted else grey), view)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._findings is not None:
            draw_outlines(painter, self._findings, view, None)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        changed = view.transform.map(contour_path(edited.area))
        for pen in (QPen(_RIM, 2.6), QPen(QColor(ASKED), 1.3, Qt.PenStyle.DashLine)):
            painter.setPen(pen)
            painter.drawPath(changed)
        if self.box is not None:
            for pen in (QPen(_RIM, 3.4), QPen(QColor(SELECTED), 1.6)):
                painter.setPen(pen)
                painter.drawRect(view.box_to_screen(self.box))
        letters = edge_letters(
            volume.geometry, flip_horizontal=display.flip_horizontal, flip_vertical=display.flip_vertical
        )
        Annotations(self.font(), view.size, backed=display.inverted != volume.inverted).letters(
            painter, letters
        )


class PictureEditDialog(QDialog):
    """A changed slice: first the picture alone, then, run again, what became of class and regions.

    Signals: ``runAsked()``, ``stopAsked()``, ``levelChosen(float)``, the HU of planted ground glass, and
    ``left()``, it was closed.
    """

    runAsked = Signal()
    stopAsked = Signal()
    levelChosen = Signal(float)
    left = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("What if the picture were different")
        self._state = state
        self.before = SlicePane(state, "The slice as it was taken")
        self.after = SlicePane(state, "The changed slice")
        self.titles = label("As it was taken", role="slice"), label(role="slice")
        self.close_up = QCheckBox("&Zoom to the changed area")
        self.close_up.toggled.connect(self._zoom)
        self.level = NumberBox()
        self.level.setDecimals(0)
        self.level.setRange(*GROUND_GLASS_HU)
        self.level.setSingleStep(25)
        self.level.setValue(PLANTED_HU)
        self.level.setPrefix("Ground glass ")
        self.level.setSuffix(" HU")
        self.level.setKeyboardTracking(False)
        self.level.setAccessibleName("Density of the planted ground glass")
        self.level.valueChanged.connect(self.levelChosen)
        self.note = label(ABOUT_THE_NETWORK, role="badge")
        self.effect, self.shams = label(role="answer", wrap=True), label(wrap=True)
        self.counts = label(role="muted", wrap=True)
        self.unedited = label(_UNEDITED, wrap=True)
        self.table = self._make_table()
        self.progress, self.running = QProgressBar(), label(role="muted")
        self.progress.setTextVisible(False)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.buttons.rejected.connect(self.close)
        self.run_button = self.buttons.addButton("Run the slice", QDialogButtonBox.ButtonRole.ActionRole)
        self.run_button.setToolTip(f"Run the changed slice, and {SHAMS} sham heals to compare it with")
        self.run_button.clicked.connect(lambda *_: self.runAsked.emit())
        self.stop_button = self.buttons.addButton("Stop", QDialogButtonBox.ButtonRole.ActionRole)
        self.stop_button.clicked.connect(lambda *_: self.stopAsked.emit())
        for button in (self.buttons.button(QDialogButtonBox.StandardButton.Close), self.stop_button):
            button.setAutoDefault(False)
        self._lay_out()
        self.resize(_SIZE)
        for part in (state.picture_edit, state.run, state.thresholds):
            part.events.all.connect(self._refresh)
        state.display.events.all.connect(self._repaint)
        self._heard = True
        self._shown: tuple[EditedPicture | None, PictureEffect | None] = None, None
        self._refresh()
        self.run_button.setFocus()

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setTabKeyNavigation(False)
        table.setMinimumHeight(110)
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        table.setAccessibleName("Regions before and after")
        table.itemSelectionChanged.connect(self._on_row)
        return table

    def _lay_out(self) -> None:
        pictures = QGridLayout()
        pictures.setSpacing(6)
        for column, (title, pane) in enumerate(zip(self.titles, (self.before, self.after), strict=True)):
            pictures.addWidget(title, 0, column)
            pictures.addWidget(pane, 1, column)
            pictures.setColumnStretch(column, 1)
        pictures.setRowStretch(1, 1)
        tools = QHBoxLayout()
        tools.addWidget(self.close_up)
        tools.addWidget(self.level)
        tools.addStretch(1)
        tools.addWidget(self.note)
        below = QHBoxLayout()
        below.addWidget(self.running)
        below.addWidget(self.progress, 1)
        below.addStretch(1)
        below.addWidget(self.buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 12, 14, 12)
        layout.setSpacing(7)
        layout.addLayout(pictures, 3)
        layout.addLayout(tools)
        for widget in (self.effect, self.shams, self.counts, self.unedited):
            layout.addWidget(widget)
        layout.addWidget(self.table, 1)
        layout.addLayout(below)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Say so: what is closed is forgotten."""
        if self._heard:
            self._heard = False
            self._hear_no_more()
            self.left.emit()
        super().closeEvent(event)

    def reject(self) -> None:
        """Close, by Escape too."""
        self.close()

    def _hear_no_more(self) -> None:
        for part in (self._state.picture_edit, self._state.run, self._state.thresholds):
            part.events.all.disconnect(self._refresh)
        self._state.display.events.all.disconnect(self._repaint)

    def _repaint(self, *_: object) -> None:
        for pane in (self.before, self.after):
            pane.update()

    def _zoom(self, on: bool) -> None:
        for pane in (self.before, self.after):
            pane.close_up = on
        self._repaint()

    def _refresh(self, *_: object) -> None:
        picture, run = self._state.picture_edit, self._state.run
        edited, effect = picture.edited, picture.effect
        if edited is None:
            return
        # Where ground glass of another density was refused, the density is that of the picture again.
        if edited.level_hu is not None and (self._shown[0] is not edited or not run.kind):
            with QSignalBlocker(self.level):
                self.level.setValue(edited.level_hu)
        if self._shown != (edited, effect):
            if self._shown[0] is not edited or effect is None or self._shown[1] is None:
                self._show_pictures(edited, effect)
            self._shown = edited, effect
            self._tell(edited, effect)
        here = self._state.display.slice_index
        self.unedited.setVisible(self._state.thresholds.edits.of(here) is not None)
        self.level.setVisible(edited.kind == "plant")
        self.level.setEnabled(not picture.running)
        self.progress.setVisible(picture.running)
        self.running.setText(_OUTDATED if picture.outdated else "")
        self.table.setVisible(effect is not None)
        if picture.running:
            self.progress.setRange(0, run.total)
            self.progress.setValue(run.done)
            self.running.setText(run.text)
        self.stop_button.setVisible(picture.running)
        self.run_button.setVisible(not picture.running)
        done = effect is not None and effect.complete and not picture.outdated
        self.run_button.setEnabled(not done)
        self.run_button.setDefault(not done and not picture.running)
        self.run_button.setText("Run the slice" if effect is None else "Run again")

    def _show_pictures(self, edited: EditedPicture, effect: PictureEffect | None) -> None:
        self.titles[1].setText(f"Changed picture: {edited.done[0].lower()}{edited.done[1:]}")
        self.before.show_picture(edited, edited.before, None if effect is None else effect.shown_before)
        self.after.show_picture(edited, edited.after, None if effect is None else effect.shown_after)
        self._fill(() if effect is None else effect.regions)

    def _tell(self, edited: EditedPicture, effect: PictureEffect | None) -> None:
        if effect is None:
            pieces = f" in {edited.pieces} pieces" if edited.pieces > 1 else ""
            made = (
                f"Filled{pieces} with healthy lung of this slice"
                if edited.kind == "heal"
                else f"Ground glass of about {edited.level_hu:.0f} HU".replace("-", "−")
            )
            self.effect.setText("Nothing has run yet")
            self.shams.setText(f"{made}: look at it, then run the slice.")
            self.counts.setText("Dashed: what was changed. Nothing of this is stored or exported.")
            return
        # Not with a capital: “Ill” looks like a number.
        self.effect.setText(effect_words(effect))
        self.shams.setText(sham_words(effect))
        self.counts.setText(f"{region_words(effect)}. {area_words(effect)}. Solid: marked, dashed: changed.")

    def _fill(self, regions: tuple[RegionChange, ...]) -> None:
        self.table.setRowCount(len(regions))
        for row, one in enumerate(regions):
            texts = (
                one.fate.capitalize(), one.where.capitalize(), one.label,
                _score(one.score_before), _score(one.score_after),
            )  # fmt: skip
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column >= 3:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)

    def _on_row(self) -> None:
        effect, rows = self._state.picture_edit.effect, self.table.selectionModel().selectedRows()
        one = effect.regions[rows[0].row()] if effect is not None and rows else None
        self.before.box = None if one is None else one.box_before
        self.after.box = None if one is None else one.box_after
        self._repaint()


def _score(value: float | None) -> str:
    return "–" if value is None else probability_text(value)
