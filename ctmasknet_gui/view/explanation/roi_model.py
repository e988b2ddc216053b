"""The RoIs of the evidence as a sortable Qt table model, and why there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QFont

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import gives_no_class
from ctmasknet_gui.view.style import colour, status_colour
from model_core.base.results import RoiRow, probability_text
from model_core.scene.palette import ASKED
from model_core.scene.reasons import signed_logit

COMPUTING = "The masks of this slice are being computed…"
NO_BATCH = "These weights give no image class: nothing reads a RoI batch."

Index = QModelIndex | QPersistentModelIndex
_NONE = QModelIndex()


@dataclass(frozen=True)
class Column:
    """A column: heading, tooltip, text and sort key of a row."""

    title: str
    tip: str
    text: Callable[[RoiRow], str]
    key: Callable[[RoiRow], Any]
    left: bool = False


def describe_box(roi: RoiRow) -> str:
    """Return the box as ``x1,y1–x2,y2`` in whole slice pixels."""
    x1, y1, x2, y2 = roi.box
    return f"{x1:.0f},{y1:.0f}–{x2:.0f},{y2:.0f}"


def describe_area(area_mm2: float | None) -> str:
    """Return an area in mm², or a dash where the spacing is unknown."""
    return "–" if area_mm2 is None else f"{area_mm2:.0f}"


# Rows of regions that are not among the shown detections.
_WHY = {"score": "low", "area": "small", "limit": "over", "asked": "asked"}


def describe_shown(roi: RoiRow) -> str:
    """Return a dot for a shown region, else in a word why it is not."""
    if roi.detected:
        return "●"
    if roi.unshown == "overlap":
        return "NMS" if roi.suppressor is None else f"by {roi.suppressor}"
    return _WHY.get(roi.unshown or "", "")


COLUMNS = (
    Column("#", "Rank by score", lambda r: str(r.rank), lambda r: r.rank),
    Column("Class", "Class of the region", lambda r: r.label, lambda r: (r.class_number, r.label), left=True),
    Column(
        "Score",
        "Score of the region: calibrated where the weights say how, else raw. The RoI batch has raw scores.",
        lambda r: probability_text(r.score, 3),
        lambda r: r.score,
    ),
    Column(
        "Adds",
        "What the region contributes to the logit chosen above: orange for it, blue against it",
        lambda _: "",
        lambda _: 0.0,
    ),
    Column("px", "Area of the box in slice pixels", lambda r: f"{r.area_px:.0f}", lambda r: r.area_px),
    Column(
        "mm²",
        "Area of the box in mm²; a dash where the spacing is unknown",
        lambda r: describe_area(r.area_mm2),
        lambda r: -1.0 if r.area_mm2 is None else r.area_mm2,
    ),
    Column(
        "Shown",
        "● shown as a detection, or why not. low: its score is not above the threshold; by 2: region 2, "
        "which is better, overlaps it (NMS); small: its box is; over: there are more than are shown; asked: "
        "answers a box that you drew",
        describe_shown,
        lambda r: (bool(r.detected), r.unshown or "", -(r.suppressor or 0)),
    ),
    Column(
        "Uses",
        "How often the classifier uses the region: its rows in the RoI batch (replication); "
        "out: excluded from the evidence",
        lambda r: "out" if r.excluded else str(r.copies),
        lambda r: -1 if r.excluded else r.copies,
    ),
    Column("Box", "x1,y1–x2,y2 in slice pixels", describe_box, lambda r: r.box, left=True),
)
BOX_COLUMN = len(COLUMNS) - 1
CLASS_COLUMN, SCORE_COLUMN, ADDS_COLUMN, SHOWN_COLUMN, COPIES_COLUMN = 1, 2, 3, 6, 7
# Of a contribution in a cell, in parts of the largest: from -1 to 1.
SHARE_ROLE = Qt.ItemDataRole.UserRole
# Looked up once: a table asks 60 cells for seven of them whenever it is painted.
_TEXT, _ALIGNMENT = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.TextAlignmentRole
_FONT, _COLOUR = Qt.ItemDataRole.FontRole, Qt.ItemDataRole.ForegroundRole
_TIP, _SPOKEN = Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole
_ANSWERED = frozenset((_TEXT, _ALIGNMENT, _FONT, _COLOUR, _TIP, _SPOKEN, SHARE_ROLE))
# Where all contribute less (logits), no bar is long: nothing hangs on them.
_LEAST = 0.25


class RoiModel(QAbstractTableModel):
    """Rows of the present slice in the order asked for; ties keep their rank order."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[RoiRow] = []
        self._column = 0
        self._order = Qt.SortOrder.AscendingOrder
        self._adds: dict[int, float] = {}
        self._adds_to = ""
        self._faint: frozenset[int] = frozenset()

    def set_rows(self, rows: tuple[RoiRow, ...]) -> None:
        """Replace the rows; only those that differ from what stood in their place are drawn anew."""
        new, old = self._sorted(list(rows)), self._rows
        common = min(len(new), len(old))
        if len(new) < len(old):
            self.beginRemoveRows(_NONE, common, len(old) - 1)
            self._rows = old[:common]
            self.endRemoveRows()
        elif len(new) > len(old):
            self.beginInsertRows(_NONE, common, len(new) - 1)
            self._rows = [*old, *new[common:]]
            self.endInsertRows()
        self._rows = new
        for row in range(common):
            if new[row] != old[row]:
                self.dataChanged.emit(self.index(row, 0), self.index(row, self.columnCount() - 1))

    def set_contributions(
        self, values: dict[int, float], target: str, *, faint: frozenset[int] = frozenset()
    ) -> None:
        """Show what each candidate contributes to the logit of this name; none where it is empty.

        What the ``faint`` ones contribute says nothing.
        """
        if (values, target, faint) == (self._adds, self._adds_to, self._faint):
            return
        self._adds, self._adds_to, self._faint = values, target, faint
        if self._column == ADDS_COLUMN:
            self.sort(self._column, self._order)
        if self._rows:
            last = len(self._rows) - 1
            self.dataChanged.emit(self.index(0, ADDS_COLUMN), self.index(last, ADDS_COLUMN))
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, ADDS_COLUMN, ADDS_COLUMN)

    def roi(self, row: int) -> RoiRow:
        """Return the RoI of a table row."""
        return self._rows[row]

    def row_of(self, candidate: int | None) -> int:
        """Return the table row of a candidate, or -1."""
        return next((k for k, roi in enumerate(self._rows) if roi.candidate == candidate), -1)

    def texts(self) -> tuple[frozenset[str], ...]:
        """Return the different texts of each column."""
        return tuple(
            frozenset(self._text(number, roi) for roi in self._rows) for number in range(len(COLUMNS))
        )

    def _text(self, number: int, roi: RoiRow) -> str:
        if number != ADDS_COLUMN:
            return COLUMNS[number].text(roi)
        value = self._adds.get(roi.candidate)
        return "" if value is None else signed_logit(value)

    def _key(self, roi: RoiRow) -> Any:
        if self._column == ADDS_COLUMN:
            return self._adds.get(roi.candidate, float("-inf"))
        return COLUMNS[self._column].key(roi)

    def _colour(self, number: int, roi: RoiRow) -> QColor | None:
        if number == ADDS_COLUMN:
            return colour("dimmed") if roi.candidate in self._faint else None
        if roi.asked is not None:
            return QColor(ASKED)
        if roi.excluded or roi.detected is False:
            return colour("dimmed")
        return status_colour("ok") if number == SHOWN_COLUMN else None

    def _share(self, roi: RoiRow) -> float:
        if roi.candidate in self._faint:
            return 0.0
        largest = max(map(abs, self._adds.values()), default=0.0)
        return self._adds.get(roi.candidate, 0.0) / max(largest, _LEAST)

    def as_text(self) -> str:
        """Return the table, tab-separated with headings, as it is sorted."""
        lines = ["\t".join(column.title for column in COLUMNS)]
        for roi in self._rows:
            shown = "n/a" if roi.detected is None else "yes" if roi.detected else f"no: {roi.why_unshown}"
            cells = [shown if k == SHOWN_COLUMN else self._text(k, roi) for k in range(len(COLUMNS))]
            lines.append("\t".join(cells))
        return "\n".join(lines)

    def rowCount(self, parent: Index = _NONE) -> int:
        """Return the number of RoIs."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = _NONE) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return text, alignment, colour or tooltip of a cell."""
        if role not in _ANSWERED or not index.isValid():
            return None
        roi = self._rows[index.row()]
        if role == _TEXT:
            return self._text(index.column(), roi)
        if role == SHARE_ROLE and index.column() == ADDS_COLUMN:
            return self._share(roi)
        if role == _ALIGNMENT:
            return int(_alignment(index.column()))
        if role == _FONT and roi.excluded:
            struck = QFont()
            struck.setStrikeOut(index.column() != COPIES_COLUMN)
            return struck
        if role == _SPOKEN and roi.excluded:
            return f"{self._text(index.column(), roi)}, excluded"
        if role == _COLOUR:
            return self._colour(index.column(), roi)
        if role == _TIP:
            copies = f"{roi.copies} row{'s' * (roi.copies != 1)} of the RoI batch, " if roi.copies else ""
            if roi.excluded:
                copies = "excluded from the evidence, "
            elif roi.asked is not None and not roi.copies:
                copies = "too low for the evidence, "
            shown = "shown as a detection" if roi.detected else f"not shown: {roi.why_unshown}"
            if roi.detected is None and roi.asked is None:
                shown = "of the class alone: the shown detections are other regions"
            adds = self._text(ADDS_COLUMN, roi)
            adds = f"\nAdds {adds} to the logit of {self._adds_to}" if adds else ""
            head = f"{roi.label} {probability_text(roi.score, 4)}\nBox {describe_box(roi)}"
            return f"{head}\n{copies}{shown}{adds}"
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return heading, alignment or tooltip of a column."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return COLUMNS[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return COLUMNS[section].tip
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return int(_alignment(section))
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        if column < 0:
            return
        self._column, self._order = column, order
        self.layoutAboutToBeChanged.emit()
        self._rows = self._sorted(self._rows)
        self.layoutChanged.emit()

    def _sorted(self, rows: list[RoiRow]) -> list[RoiRow]:
        ranked = sorted(rows, key=lambda roi: roi.rank)
        reverse = self._order == Qt.SortOrder.DescendingOrder
        return sorted(ranked, key=self._key, reverse=reverse)


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignLeft if COLUMNS[column].left else Qt.AlignmentFlag.AlignRight
    if column == SHOWN_COLUMN:
        side = Qt.AlignmentFlag.AlignHCenter
    return side | Qt.AlignmentFlag.AlignVCenter


def why_no_evidence(state: AppState, *, waiting: str) -> str:
    """Return why there are no ranked regions; ``waiting`` where the slice has not been analysed."""
    if state.results.shown is None:
        return COMPUTING if state.results.computing else waiting
    if gives_no_class(state):
        return "No region passes the thresholds of the ranked regions."
    verdict = state.results.shown.verdict
    bias = " The class is the network's bias, not a finding of this slice."
    return "No region passes the evidence thresholds." + (bias if verdict and verdict.from_bias else "")
