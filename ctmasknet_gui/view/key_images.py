"""The list of key images: go through them, write a note to each."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.style import label

_SLICE, _NOTE = range(2)
_HINT = "Notes are saved with the case, and written on pictures and pages: name nobody in them."
_NONE = "No slice is marked yet: Ctrl+K marks the one that is seen."


class KeyImagesDialog(QDialog):
    """A row per key image; a row that is chosen shows its slice, its note is edited in place.

    Signals: ``sliceChosen(int)`` and ``unmarked(int)`` with a slice from 0, ``noted(int, str)``.
    """

    sliceChosen = Signal(int)
    noted = Signal(int, str)
    unmarked = Signal(int)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Key images")
        self._state = state
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(("Slice", "Note"))
        self.table.setAccessibleName("Key images")
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setTabKeyNavigation(False)
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
            | QAbstractItemView.EditTrigger.AnyKeyPressed
        )
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_SLICE, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NOTE, QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        self.hint = label(_HINT, role="muted", wrap=True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.edit = self.buttons.addButton("Edit note", QDialogButtonBox.ButtonRole.ActionRole)
        self.remove = self.buttons.addButton("Take mark off", QDialogButtonBox.ButtonRole.ActionRole)
        for button in self.buttons.buttons():
            button.setAutoDefault(False)  # type: ignore[attr-defined]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 14, 14, 12)
        layout.setSpacing(9)
        for widget in (self.table, self.hint, self.buttons):
            layout.addWidget(widget)
        self.resize(520, 320)
        self.table.currentCellChanged.connect(self._on_row)
        self.table.cellChanged.connect(self._on_edited)
        self.edit.clicked.connect(self._edit)
        self.remove.clicked.connect(lambda *_: self.unmarked.emit(self._slices[self.table.currentRow()]))
        self.buttons.rejected.connect(self.reject)
        self._slices: list[int] = []
        state.case.events.key_images.connect(self._fill)
        state.display.events.slice_index.connect(self._follow)
        self._fill()

    def showEvent(self, event: object) -> None:
        """Begin at the visible slice."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._follow()
        self.table.setFocus(Qt.FocusReason.OtherFocusReason)

    def _fill(self) -> None:
        marks = self._state.case.key_images
        self._slices = sorted(marks)
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._slices))
        for row, index in enumerate(self._slices):
            number, note = QTableWidgetItem(str(index + 1)), QTableWidgetItem(marks[index])
            number.setFlags(number.flags() & ~Qt.ItemFlag.ItemIsEditable)
            number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            note.setToolTip(marks[index])
            self.table.setItem(row, _SLICE, number)
            self.table.setItem(row, _NOTE, note)
        self.table.blockSignals(False)
        self.hint.setText(_HINT if self._slices else _NONE)
        self._follow()

    def _follow(self) -> None:
        """Let the row of the visible slice be the current one, and none where it is no key image."""
        here = self._state.display.slice_index
        row = self._slices.index(here) if here in self._slices else -1
        self.table.blockSignals(True)
        self.table.setCurrentCell(row, _NOTE)
        if row < 0:
            self.table.clearSelection()
        self.table.blockSignals(False)
        for button in (self.edit, self.remove):
            button.setEnabled(row >= 0)

    def _on_row(self, row: int, *_: int) -> None:
        if 0 <= row < len(self._slices):
            self.sliceChosen.emit(self._slices[row])

    def _on_edited(self, row: int, column: int) -> None:
        if column == _NOTE and row < len(self._slices):
            item = self.table.item(row, column)
            self.noted.emit(self._slices[row], "" if item is None else item.text())

    def _edit(self) -> None:
        item = self.table.item(self.table.currentRow(), _NOTE)
        if item is not None:
            self.table.editItem(item)
