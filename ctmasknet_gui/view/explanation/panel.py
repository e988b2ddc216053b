"""The right panel: the verdict on top; slice, thresholds, regions and plots in a column that scrolls."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QSplitter, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.explanation.class_panel import ClassPanel
from ctmasknet_gui.view.explanation.plots import PlotPanel
from ctmasknet_gui.view.explanation.roi_table import RoiTable
from ctmasknet_gui.view.explanation.threshold_panel import ThresholdPanel
from ctmasknet_gui.view.explanation.verdict_card import VerdictCard
from ctmasknet_gui.view.explanation.why_panel import WhyPanel
from ctmasknet_gui.view.style import rule

_MARGIN = 12


class ExplanationPanel(QWidget):
    """The verdict, always in sight, and why it is what it is."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.card = VerdictCard(state)
        self.classes = ClassPanel(state)
        self.why = WhyPanel(state, self)  # it shows itself: without a parent as a window of its own
        self.thresholds = ThresholdPanel(state)
        self.table = RoiTable(state)
        self.plots = PlotPanel(state)
        # As the user wants it; None: as there is room.
        self.folded: bool | None = None
        self.thresholds.foldChosen.connect(self._on_fold)
        state.weights.events.cards.connect(self._give_room)
        self.split = _Splitter(Qt.Orientation.Vertical)
        self.split.setChildrenCollapsible(False)
        self.split.setHandleWidth(7)
        self.split.addWidget(self.table)
        self.split.addWidget(self.plots)
        content = self._content = QWidget()
        content.setObjectName("column")
        layout = QVBoxLayout(content)
        layout.setContentsMargins(_MARGIN, 6, _MARGIN, 4)
        layout.setSpacing(6)
        layout.addWidget(self.classes)
        layout.addWidget(self.why)
        layout.addWidget(rule())
        layout.addWidget(self.thresholds)
        layout.addWidget(rule())
        layout.addWidget(self.split, 1)
        column = self.column = QScrollArea()
        column.setWidget(content)
        column.setWidgetResizable(True)
        column.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column.setFrameShape(QFrame.Shape.NoFrame)
        # A click beside its controls leaves the keys where they are.
        column.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        top = QVBoxLayout()
        top.setContentsMargins(_MARGIN, 8, _MARGIN, 0)
        top.addWidget(self.card)
        both = QVBoxLayout(self)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(0)
        both.addLayout(top)
        both.addWidget(column, 1)

    def showEvent(self, event: QShowEvent) -> None:
        """Never become narrower than the controls are in the font of this screen."""
        super().showEvent(event)
        bar = self.column.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(self._content.minimumSizeHint().width() + bar)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fold sliders where the plots would be out of sight."""
        super().resizeEvent(event)
        self._give_room()

    def restore_fold(self, folded: bool | None) -> None:
        """Fold the sliders of the shown detections, or not; None: as there is room."""
        self.folded = folded
        self._give_room()

    def _on_fold(self, folded: bool) -> None:
        self.folded = folded

    def _give_room(self, *_: object) -> None:
        if self.folded is not None:
            self.thresholds.fold(self.folded)
            return
        needed = self._content.minimumSizeHint().height()
        if self.thresholds.folded:
            needed += self.thresholds.unfolded_height
        self.thresholds.fold(needed > self.height() - self.card.sizeHint().height() - 8)

    def sizeHint(self) -> QSize:
        """Wide enough for the table with its boxes."""
        return QSize(420, 700)


class _Splitter(QSplitter):
    """Asks for no more than it needs, so that the column scrolls only where it must.

    ``share`` is the upper part's share of the height: a half until the user moves the handle. It holds
    for every height, where `QSplitter` itself forgets it once it was too low for it.
    """

    def __init__(self, orientation: Qt.Orientation) -> None:
        super().__init__(orientation)
        self._share = 0.5
        self.splitterMoved.connect(self._on_moved)

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        if 0.0 < share < 1.0:
            self._share = share
            self._apply()

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._apply()

    def _apply(self) -> None:
        # Large numbers: QSplitter scales them to its height.
        self.setSizes([round(10_000 * self._share), round(10_000 * (1.0 - self._share))])

    def _on_moved(self, *_: object) -> None:
        upper, lower = self.sizes()
        self._share = upper / max(1, upper + lower)
