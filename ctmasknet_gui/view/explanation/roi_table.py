"""Table of the regions the class rests on; its selection is the selection everywhere."""

from __future__ import annotations

import math
import time

from PySide6.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QPoint,
    QRectF,
    QSignalBlocker,
    Qt,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QColor,
    QGuiApplication,
    QHelpEvent,
    QInputEvent,
    QKeyEvent,
    QPainter,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import gives_no_class
from ctmasknet_gui.view.effect import alone_text, effect_text
from ctmasknet_gui.view.explanation.dense_table import make_dense
from ctmasknet_gui.view.explanation.lesion_table import LesionTable
from ctmasknet_gui.view.explanation.plot_page import AFTER_SLICE_S, BEHIND_S
from ctmasknet_gui.view.explanation.roi_model import (
    ADDS_COLUMN,
    BOX_COLUMN,
    CLASS_COLUMN,
    COLUMNS,
    COPIES_COLUMN,
    SHARE_ROLE,
    SHOWN_COLUMN,
    Index,
    RoiModel,
    why_no_evidence,
)
from ctmasknet_gui.view.explanation.verdict_card import Line
from ctmasknet_gui.view.style import colour, label
from model_core.base.results import RoiRow
from model_core.scene.reasons import AGAINST, FOR

TOP = 16
# Padding of the cells in the style sheet, and some air.
_PADDING = 12
# Of a cell alone, as `QTableView.sizeHintForColumn` has it.
_CELL_PADDING = 9
_HEADER_PADDING = 9
# Widest text of each column but the last, so that columns do not jump from slice to slice.
_WIDEST = 120
_EFFECT_TIP = (
    "The class (ill: pneumonia of any kind) with these regions out of the evidence, or in it again:\n"
    "lower ranks close up, and the RoI batch is filled anew by the rule of these weights.\n"
    "X excludes them, Shift+X puts them back, K keeps them only."
)
# Slices that follow each other faster are scrolled through.
_SCROLL_S = 0.15
_WAITING = "The regions of the slice are listed here once it has been analysed."
# Of the bars of contributions, with the place of the number behind them.
_BAR_WIDTH = 34
_SAMPLES = ("128", "Lesion", "> 0.999", "+0.00", "00000", "00000", "by 00", "out")


class _Bars(QStyledItemDelegate):
    """Draws a contribution as its number behind a bar that goes right for it, left against it."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw background, bar and number."""
        share = index.data(SHARE_ROLE)
        super().paint(painter, option, index)
        if not index.data() or not isinstance(share, float):
            return
        area = QRectF(option.rect)
        middle = area.left() + _BAR_WIDTH / 2 + 3
        painter.save()
        painter.setPen(Qt.PenStyle.NoPen)
        half = _BAR_WIDTH / 2
        painter.setBrush(colour("track"))
        painter.drawRect(QRectF(middle - half, area.center().y() - 4, _BAR_WIDTH, 8))
        if share:
            painter.setBrush(QColor(FOR if share > 0 else AGAINST))
            length = max(1.0, half * min(1.0, abs(share)))
            left = middle if share > 0 else middle - length
            painter.drawRect(QRectF(left, area.center().y() - 4, length, 8))
        painter.fillRect(QRectF(middle - 0.5, area.top() + 3, 1, area.height() - 6), colour("muted"))
        painter.restore()


class _Table(QTableView):
    """A table that says when its width has changed, and before it is used."""

    resized = Signal()
    used = Signal()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Pass it on."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.resized.emit()

    def viewportEvent(self, event: QEvent) -> bool:
        """Pass on that somebody points at it."""
        if isinstance(event, QInputEvent | QHelpEvent):
            self.used.emit()
        return super().viewportEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Pass it on."""
        self.used.emit()
        super().keyPressEvent(event)


class RoiTable(QWidget):
    """Ranked RoIs of the shown slice: the best 16 or all; or, in their place, the lesions of the scan.

    Signals
    -------
    candidatePicked(int or None), topChosen(int or None).
    regionsPicked(tuple of int):
        Several, the current one first.
    menuRequested(QPoint):
        Global position.
    """

    candidatePicked = Signal(object)
    topChosen = Signal(object)
    regionsPicked = Signal(object)
    menuRequested = Signal(QPoint)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._restoring = False
        # Which slice is listed, or will be once slices stop changing, and since when it is visible.
        self._of_slice: int | None = None
        self._stepped = self._since = 0.0
        self._still = QTimer(self, singleShot=True)
        self._still.timeout.connect(self._fill)
        self.heading = Line("heading")
        self._make_top_buttons()
        self._make_table()
        self.empty = label(role="muted", wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Two lines, whatever the splitter leaves to it.
        self.empty.setMinimumHeight(2 * self.empty.fontMetrics().lineSpacing())
        self.lesions = LesionTable(state)
        self.lesions.summarised.connect(self._show_head)
        self.lesions.hide()
        self.effect = Line("effect")
        head = QHBoxLayout()
        head.setSpacing(4)
        # One of the two: what the selected regions do to the class, or what is listed.
        head.addWidget(self.heading, 1)
        head.addWidget(self.effect, 1)
        head.addWidget(self.top_button)
        head.addWidget(self.all_button)
        head.addWidget(self.lesion_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addLayout(head)
        layout.addWidget(self.empty)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.lesions, 1)
        refresh = state.changes.once(self._refresh)
        state.results.events.shown.connect(refresh)
        state.selection.events.top.connect(refresh)
        state.selection.events.candidate.connect(self._on_candidate)
        state.selection.events.others.connect(self._show_selection)
        state.results.events.effect.connect(self._show_effect)
        state.weights.events.cards.connect(refresh)
        show_contributions = state.changes.once(self._show_contributions)
        state.reasons.events.reason.connect(show_contributions)
        state.reasons.events.output.connect(show_contributions)
        self._fill()

    @property
    def listed(self) -> tuple[RoiRow, ...]:
        """The RoIs in the table, by rank."""
        shown, top = self._state.results.shown, self._state.selection.top
        rois = () if shown is None else shown.rois
        return rois if top is None else rois[:top]

    @Slot()
    def copy(self) -> None:
        """Copy the table as tab-separated text."""
        if self.lists_lesions:
            self.lesions.copy()
            return
        self._catch_up()
        QGuiApplication.clipboard().setText(self.model.as_text())

    def step(self, count: int) -> None:
        """Select the region some rows below (or above) the selected one; the first or last at first."""
        self._catch_up()
        rows = self.model.rowCount()
        if rows:
            here = self.model.row_of(self._state.selection.candidate)
            start = here if here >= 0 else (-1 if count > 0 else rows)
            self.candidatePicked.emit(self.model.roi(max(0, min(rows - 1, start + count))).candidate)

    def _make_top_buttons(self) -> None:
        self.top_button = _segment(f"Top {TOP}", f"List the {TOP} regions with the highest scores")
        self.all_button = _segment("All", "List every ranked region")
        self.lesion_button = _segment("Lesions", "List the lesions of the scan through its slices")
        self._group = QButtonGroup(self)
        for button in (self.top_button, self.all_button, self.lesion_button):
            self._group.addButton(button)
            button.clicked.connect(self._refresh)
        self.top_button.clicked.connect(lambda: self.topChosen.emit(TOP))
        self.all_button.clicked.connect(lambda: self.topChosen.emit(None))

    @property
    def lists_lesions(self) -> bool:
        """Whether the lesions of the scan stand in place of the regions of the slice."""
        return self.lesion_button.isChecked()

    def _make_table(self) -> None:
        self.model = RoiModel(self)
        table = self.table = _Table()
        table.setModel(self.model)
        table.setAccessibleName("Ranked regions")
        make_dense(table, several=True, stretched=BOX_COLUMN)
        table.setItemDelegateForColumn(ADDS_COLUMN, _Bars(table))
        self.fit_columns()
        table.resized.connect(self.fit_columns)
        table.used.connect(self._catch_up)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._on_menu)
        table.selectionModel().selectionChanged.connect(self._on_selection)
        self.model.layoutChanged.connect(self._show_selection)

    def fit_columns(self) -> None:
        """Give every column but the box the width of its widest usual text, more where needed.

        Where the box would be cut then, the others get what their texts of this slice need and no more, and a
        class that all regions have leaves its place.
        """
        table = self.table
        table.ensurePolished()
        metrics = table.fontMetrics()
        header = table.horizontalHeader()
        header.ensurePolished()
        # Of each text once: asking the view for the size of every cell takes longer than the class does.
        own = [max(map(metrics.horizontalAdvance, texts), default=0) for texts in self.model.texts()]
        needed = [
            max(
                own[column] + _CELL_PADDING,
                header.fontMetrics().horizontalAdvance(COLUMNS[column].title) + _HEADER_PADDING,
            )
            for column in range(len(_SAMPLES))
        ]
        usual = [metrics.horizontalAdvance(sample) + _PADDING for sample in _SAMPLES]
        # They come a moment later than the rest: then nothing moves.
        usual[ADDS_COLUMN] += _BAR_WIDTH
        needed[ADDS_COLUMN] = max(needed[ADDS_COLUMN] + _BAR_WIDTH, usual[ADDS_COLUMN])
        widths = [min(max(pair), _WIDEST) for pair in zip(usual, needed, strict=True)]
        room = table.viewport().width() - own[BOX_COLUMN] - _CELL_PADDING
        visible = [k for k in range(len(widths)) if k == CLASS_COLUMN or not table.isColumnHidden(k)]
        if sum(widths[k] for k in visible) > room:
            widths = [min(width, _WIDEST) for width in needed]
        # A class that all regions have says the least.
        one = len(self._state.weights.region_classes) == 1
        table.setColumnHidden(CLASS_COLUMN, one and sum(widths[k] for k in visible) > room)
        for column, width in enumerate(widths):
            table.setColumnWidth(column, width)

    def _refresh(self, *_: object) -> None:
        """List the regions of the slice: at once, while a person scrolls once the slices stop changing."""
        shown, now = self._state.results.shown, time.perf_counter()
        index = None if shown is None else shown.slice_index
        if index != self._of_slice:
            self._of_slice = index
            scrolls, self._stepped = now - self._stepped < _SCROLL_S, now
            if scrolls:
                self._since = self._since if self._still.isActive() else now
                rest = min(AFTER_SLICE_S, self._since + BEHIND_S - now)
                self._still.start(max(0, math.ceil(1000 * rest)))
        if not self._still.isActive():
            self._fill()

    def _catch_up(self) -> None:
        """List them now: somebody wants to use the rows."""
        if self._still.isActive():
            self._still.stop()
            self._fill()

    def _fill(self) -> None:
        shown, top = self._state.results.shown, self._state.selection.top
        rois = () if shown is None else shown.rois
        self._restoring = True
        self.model.set_rows(self.listed)
        self._show_contributions()
        for column in (COPIES_COLUMN, ADDS_COLUMN):
            self.table.setColumnHidden(column, not self._classifies())
        self.table.setColumnHidden(SHOWN_COLUMN, bool(rois) and all(roi.detected is None for roi in rois))
        self.fit_columns()
        self._restoring = False
        regions = not self.lists_lesions
        if regions:
            with QSignalBlocker(self._group):
                (self.all_button if top is None else self.top_button).setChecked(True)
        self.all_button.setText(f"All {len(rois)}" if rois else "All")
        for widget in (self.top_button, self.all_button):
            widget.setEnabled(bool(rois) or not regions)
        self.table.setVisible(bool(rois) and regions)
        self.empty.setVisible(not rois and regions)
        self.lesions.setVisible(not regions)
        self.empty.setText(why_no_evidence(self._state, waiting=_WAITING))
        self._show_selection()
        self._show_effect()

    def _show_contributions(self, *_: object) -> None:
        if self._still.isActive():
            return
        reasons = self._state.reasons
        reason, shown = reasons.reason, self._state.results.shown
        values: dict[int, float] = {}
        faint: frozenset[int] = frozenset()
        if (
            reason is not None
            and reason.values is not None
            and shown is not None
            and reason.slice_index == shown.slice_index
        ):
            column = reason.values[:, reasons.shown_output].tolist()
            values = dict(zip(reason.candidates, column, strict=True))
            telling = reason.telling(reasons.shown_output).tolist()
            faint = frozenset(c for c, tells in zip(reason.candidates, telling, strict=True) if not tells)
        target = reason.outputs[reasons.shown_output] if reason is not None else ""
        self.model.set_contributions(values, target, faint=faint)

    def _classifies(self) -> bool:
        shown = self._state.results.shown
        return not gives_no_class(self._state) and (shown is None or shown.verdict is not None)

    def _on_candidate(self) -> None:
        """Show the selection; a region below the listed ones asks for all, unless an area was drawn."""
        shown, picked = self._state.results.shown, self._state.selection.candidate
        ranked = () if shown is None or picked is None else shown.rois
        drawn = self._state.display.tool == "area" or self._state.selection.others
        # The rows may still be those of a former slice.
        below = {roi.candidate for roi in ranked} - {roi.candidate for roi in self.listed}
        if not drawn and picked in below:
            self.topChosen.emit(None)
        self._show_selection()

    def _show_selection(self, *_: object) -> None:
        self._catch_up()
        chosen, current = self._state.selection.chosen, self._state.selection.candidate
        selection, model = self.table.selectionModel(), self.model
        selected = {model.roi(index.row()).candidate for index in selection.selectedRows()}
        rows = [row for row in map(model.row_of, chosen) if row >= 0]
        row = model.row_of(current)
        # One that is right stays as it is: it may be in the middle of being extended.
        if selected == {model.roi(k).candidate for k in rows} and selection.currentIndex().row() == row:
            return
        self._restoring = True
        if row < 0:
            selection.clear()
        else:
            flag = QItemSelectionModel.SelectionFlag
            wanted = QItemSelection()
            for other in rows:
                wanted.select(model.index(other, 0), model.index(other, model.columnCount() - 1))
            selection.setCurrentIndex(model.index(row, 0), flag.NoUpdate)
            selection.select(wanted, flag.ClearAndSelect)
            self.table.scrollTo(model.index(row, 0))
        self._restoring = False

    @Slot(QItemSelection, QItemSelection)
    def _on_selection(self, _selected: QItemSelection, _deselected: QItemSelection) -> None:
        if self._restoring:
            return
        selection = self.table.selectionModel()
        rows = sorted(index.row() for index in selection.selectedRows())
        here = selection.currentIndex().row()
        rows.sort(key=lambda row: row != here)
        picked = tuple(self.model.roi(row).candidate for row in rows)
        if picked == self._state.selection.chosen:
            return
        if len(picked) > 1:
            self.regionsPicked.emit(picked)
        else:
            self.candidatePicked.emit(picked[0] if picked else None)

    def _on_menu(self, position: QPoint) -> None:
        self.menuRequested.emit(self.table.viewport().mapToGlobal(position))

    def _show_effect(self) -> None:
        """Say what the selected regions do to the class."""
        effect, shown = self._state.results.effect, self._state.results.shown
        text = alone = ""
        if effect is not None and shown is not None and shown.verdict is not None:
            text = effect_text(effect, shown.verdict, self._state.weights)
            alone = alone_text(effect, shown.verdict, self._state.weights)
        if self.lists_lesions:
            text = ""
        self.effect.setText(text)
        self.effect.setToolTip("\n".join(filter(None, (text, alone, "", _EFFECT_TIP))) if text else "")
        self.effect.setAccessibleName(text)
        self.effect.setVisible(bool(text))
        self.heading.setVisible(not text)
        self._show_head()

    def _show_head(self) -> None:
        """Say what is listed."""
        if self.lists_lesions:
            self.heading.setText(self.lesions.summary)
            self.heading.setToolTip(self.lesions.summary_tip)
            return
        self.heading.setText("REGIONS THE CLASS RESTS ON" if self._classifies() else "RANKED REGIONS")
        self.heading.setToolTip("")


def _segment(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setCheckable(True)
    button.setProperty("segment", "true")
    button.setToolTip(tip)
    return button
