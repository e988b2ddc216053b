"""The lesions of the scan through its slices, as a sortable table that leads there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import wanted_slices
from ctmasknet_gui.view.explanation.dense_table import make_dense
from ctmasknet_gui.view.style import label
from model_core.scene import class_name
from model_core.scene.corners import signed

if TYPE_CHECKING:
    from model_core.explain import Burden, Lesion

# Widest usual text of each column but the last, and the padding of a cell.
_SAMPLES = ("00", "000.0", "0.0", "−000", "100 %", "100 %", "R", "middle")
_PADDING = 9
_UNKNOWN = "–"
_WAITING = "Lesions are joined through the slices once slices have been analysed (Run series)."
_LATER = "Lesions are joined through the slices once the run has ended."
_NONE = "Nothing is marked in the slices analysed."
_GRADES = ("nothing marked", "up to 25 %", "above 25 up to 50 %", "above 50 up to 75 %", "above 75 %")
_LIMITS = (
    "The grade of the more affected lung by the share of it that is marked (limits: those of CT-0 to CT-4,\n"
    "MosMedData 2020).\n"
    "It is computed from masks, which miss and add lesions; the original is a visual estimate by a\n"
    "radiologist, who counts other signs, too. No assessment of the patient."
)


@dataclass(frozen=True)
class _Column:
    """A column: heading, tip, text and sort key of a lesion; unknown numbers sort below all others."""

    title: str
    tip: str
    text: Callable[[Lesion], str]
    key: Callable[[Lesion], Any]


def _percent(share: float | None) -> str:
    if share is None:
        return _UNKNOWN
    text = f"{100 * share:.0f}" if share >= 0.0095 or share == 0 else f"{100 * share:.1f}"
    return "< 0.1" if text == "0.0" else text


def _with_unit(share: float | None) -> str:
    # In the cell, as the heading has no room for it.
    return _percent(share) + " %" * (share is not None)


def _ml(lesion: Lesion) -> str:
    if lesion.ml is None:
        return _UNKNOWN
    return f"{lesion.ml:.1f}" if lesion.ml >= 0.05 else "< 0.1"


def _slices(lesion: Lesion) -> str:
    first, last = lesion.first + 1, lesion.last + 1
    return str(first) if first == last else f"{first}–{last}"


def _number(value: float | None) -> float:
    return float("-inf") if value is None else value


_COLUMNS = (
    _Column("#", "Number, the largest first", lambda one: str(one.number), lambda one: one.number),
    _Column("ml", "Volume: marked pixels times pixel area and slice distance; – where these are unknown",
            _ml, lambda one: (_number(one.ml), one.pixels)),
    _Column("Lung %", "Share of the volume of both lungs, %", lambda one: _percent(one.lung_share),
            lambda one: _number(one.lung_share)),
    _Column("HU", "Mean of its voxels",
            lambda one: _UNKNOWN if one.mean_hu is None else signed(one.mean_hu),
            lambda one: _number(one.mean_hu)),
    _Column("Poorly aer.", "Poorly aerated: share of its voxels above −500 up to −100 HU, as dense\n"
            "ground glass is. What the next column leaves to 100 % is fainter ground glass, and normal lung\n"
            "at the edges of masks.",
            lambda one: _with_unit(one.poorly_aerated), lambda one: _number(one.poorly_aerated)),
    _Column("Non-aer.", "Non-aerated: share of its voxels above −100 HU, as consolidation is (and\n"
            "vessels)",
            lambda one: _with_unit(one.non_aerated), lambda one: _number(one.non_aerated)),
    _Column("Side", "Lung of the patient that holds most of it, right (R) or left (L)",
            lambda one: one.side[0].upper() if one.side else _UNKNOWN,
            lambda one: one.side or ""),
    _Column("Third", "Third of the slices with lung that it is largest in, from the head",
            lambda one: one.third or _UNKNOWN,
            lambda one: ("upper", "middle", "lower").index(one.third) if one.third else -1),
    _Column("Slices", "First to last slice", _slices,
            lambda one: (one.first, one.last)),
)  # fmt: skip


class _Cell(QTableWidgetItem):
    """A cell that sorts by its number."""

    def __init__(self, text: str, key: Any, number: int) -> None:
        super().__init__(text)
        self.key, self.number = key, number

    def __lt__(self, other: object) -> bool:
        return isinstance(other, _Cell) and bool(self.key < other.key)


class LesionTable(QWidget):
    """One row for each lesion; a click leads to the slice where it is largest.

    Signals
    -------
    lesionChosen(int):
        Number of a lesion.
    summarised():
        What `summary` says has changed.
    seen(bool):
        It came into sight, or went.
    """

    lesionChosen = Signal(int)
    summarised = Signal()
    seen = Signal(bool)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.summary = self.summary_tip = ""
        self.empty = label(role="muted", wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.table = self._make_table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.empty)
        layout.addWidget(self.table, 1)
        state.lesions.events.found.connect(self._fill)
        state.lesions.events.computing.connect(self._tell)
        state.lesions.events.chosen.connect(self._show_chosen)
        state.run.events.kind.connect(self._tell)
        state.results.events.summaries.connect(self._tell)
        self._fill()

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setAccessibleName("Lesions of the scan")
        for number, column in enumerate(_COLUMNS):
            head = QTableWidgetItem(column.title)
            head.setToolTip(column.tip)
            table.setHorizontalHeaderItem(number, head)
        make_dense(table, several=False, stretched=len(_COLUMNS) - 1)
        header = table.horizontalHeader()
        table.ensurePolished()
        header.ensurePolished()
        for number, sample in enumerate(_SAMPLES):
            widest = max(
                table.fontMetrics().horizontalAdvance(sample),
                header.fontMetrics().horizontalAdvance(_COLUMNS[number].title),
            )
            table.setColumnWidth(number, widest + _PADDING)
        table.currentItemChanged.connect(lambda item, _: self._on_current(item))
        table.itemClicked.connect(self._on_current)
        return table

    def copy(self) -> None:
        """Copy the table as tab-separated text, as it is sorted."""
        rows = ["\t".join(column.title for column in _COLUMNS)]
        rows += [
            "\t".join(self._text(row, column) for column in range(len(_COLUMNS)))
            for row in range(self.table.rowCount())
        ]
        QGuiApplication.clipboard().setText("\n".join(rows))

    def _text(self, row: int, column: int) -> str:
        item = self.table.item(row, column)
        return "" if item is None else item.text()

    def _fill(self, *_: object) -> None:
        burden, table = self._state.lesions.found, self.table
        lesions = () if burden is None else burden.lesions
        with QSignalBlocker(table):
            table.setSortingEnabled(False)
            table.setRowCount(len(lesions))
            for row, lesion in enumerate(lesions):
                name = class_name(self._state.weights.region_classes, lesion.label - 1)
                for number, column in enumerate(_COLUMNS):
                    cell = _Cell(column.text(lesion), column.key(lesion), lesion.number)
                    side = Qt.AlignmentFlag.AlignLeft if number in (6, 7) else Qt.AlignmentFlag.AlignRight
                    cell.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                    cell.setToolTip(_tip(lesion, name))
                    table.setItem(row, number, cell)
            table.setSortingEnabled(True)
        self._tell()

    def _tell(self, *_: object) -> None:
        lesions, state = self._state.lesions, self._state
        burden = lesions.found
        filled = burden is not None and bool(burden.lesions)
        self.table.setVisible(filled)
        self.empty.setVisible(not filled)
        running = state.run.kind == "run"
        if running:
            self.empty.setText(_LATER)
        elif lesions.computing:
            self.empty.setText("Joining the lesions through the slices…")
        else:
            self.empty.setText(_WAITING if burden is None else _NONE)
        self.summary, self.summary_tip = self._summary(burden)
        self.summarised.emit()

    def _summary(self, burden: Burden | None) -> tuple[str, str]:
        if burden is None:
            return "LESIONS OF THE SCAN", ""
        lesions, wanted = self._state.lesions, wanted_slices(self._state)
        total = len(burden.lesions) + burden.smaller
        text = f"{total} lesion{'s' * (total != 1)}"
        known = [lesion.ml for lesion in burden.lesions if lesion.ml is not None]
        if known and len(known) == len(burden.lesions):
            text += f", {sum(known):.{0 if sum(known) >= 10 else 1}f} ml"
        tip = "Marked voxels that touch, in a slice or from one to the next, at a corner too (26 neighbours)."
        if burden.smaller:
            tip += f"\n{burden.smaller} of fewer than 20 pixels are not listed."
        if burden.grade is not None and burden.lung_shares is not None:
            text += f" · grade {burden.grade} of 4"
            shares = ", ".join(f"{side} {_percent(share)} %" for side, share in burden.lung_shares.items())
            grade = f"Grade {burden.grade} ({_GRADES[burden.grade]})"
            tip += f"\n\n{grade}: marked of each lung: {shares}.\n{_LIMITS}"
        elif lesions.slices < wanted:
            text += f" · partial: {lesions.slices} of {wanted} slices"
            tip += "\n\nShare of each lung and grade need all slices with lung (Run series)."
        else:
            tip += "\n\nShare of each lung and grade are unknown: no lungs were found."
        if lesions.computing or self._state.results.updating:
            text += " · following…"
        return text, tip

    def _on_current(self, item: QTableWidgetItem | None) -> None:
        if isinstance(item, _Cell):
            self.lesionChosen.emit(item.number)

    def _show_chosen(self, *_: object) -> None:
        chosen = self._state.lesions.chosen
        with QSignalBlocker(self.table):
            for row in range(self.table.rowCount()):
                item = self.table.item(row, 0)
                if isinstance(item, _Cell) and item.number == chosen:
                    self.table.setCurrentItem(item)
                    return
            self.table.setCurrentCell(-1, -1)

    def showEvent(self, event: QShowEvent) -> None:
        """Have lesions joined from now on."""
        super().showEvent(event)
        self.seen.emit(True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Nobody looks at them any more."""
        super().hideEvent(event)
        self.seen.emit(False)


def _tip(lesion: Lesion, name: str) -> str:
    slices = f"slices {lesion.first + 1} to {lesion.last + 1}, largest in {lesion.largest + 1}"
    lines = [f"Lesion {lesion.number} ({name}): {lesion.pixels} pixels in {slices}"]
    where = (lesion.side and f"{lesion.side} lung", lesion.third and f"{lesion.third} third")
    if any(where):
        lines.append(", ".join(filter(None, where)))
    if lesion.poorly_aerated is not None and lesion.non_aerated is not None:
        rest = 1.0 - lesion.poorly_aerated - lesion.non_aerated
        lines.append(
            f"up to −500 HU {_percent(rest)} %, up to −100 HU (poorly aerated) "
            f"{_percent(lesion.poorly_aerated)} %, above (non-aerated) {_percent(lesion.non_aerated)} %"
        )
    return "\n".join(lines)
