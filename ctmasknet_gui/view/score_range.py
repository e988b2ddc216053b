"""Selects the regions of the visible slice by their scores, and says at once what they do to the class."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.effect import alone_text, effect_text
from ctmasknet_gui.view.numbers import NumberBox
from ctmasknet_gui.view.style import label
from ctmasknet_gui.view.viewport.drawing import regions_in_sight

_STEP, _DECIMALS = 0.01, 3
# Regions below are background.
_USUAL = 0.05


class ScoreRangeDialog(QDialog):
    """Two scores; every region between them, both included, is selected as they change.

    Its buttons are the commands that act on the selection. Signals: ``regionsPicked(tuple of int)``.
    """

    regionsPicked = Signal(object)

    def __init__(self, state: AppState, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Select by score")
        self._state = state
        self.low, self.high = self._number("Lowest score", 0.0), self._number("Highest score", _USUAL)
        self.count, self.effect = label(), label(wrap=True)
        self.effect.setMinimumHeight(2 * self.effect.fontMetrics().lineSpacing())
        form = QFormLayout()
        form.addRow("Score from", self.low)
        form.addRow("to", self.high)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.buttons.rejected.connect(self.reject)
        for text, action in (
            ("Exclude", actions.exclude_region),
            ("Put back", actions.restore_region),
            ("Keep only these", actions.keep_only),
        ):
            button = self.buttons.addButton(text, QDialogButtonBox.ButtonRole.ActionRole)
            button.setToolTip(action.toolTip())
            button.setAutoDefault(False)
            button.clicked.connect(action.trigger)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(9)
        layout.addLayout(form)
        for widget in (self.count, self.effect, self.buttons):
            layout.addWidget(widget)
        self.setMinimumWidth(420)
        self._events = state.results.events.effect, state.results.events.shown
        for event in self._events:
            event.connect(self._tell)

    def showEvent(self, event: object) -> None:
        """Select what the first range holds."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._pick()

    def done(self, result: int) -> None:
        """Hear of nothing any more."""
        for event in self._events:
            event.disconnect(self._tell)
        super().done(result)

    def _number(self, name: str, value: float) -> NumberBox:
        box = NumberBox()
        box.setDecimals(_DECIMALS)
        box.setRange(0.0, 1.0)
        box.setSingleStep(_STEP)
        box.setValue(value)
        box.setAccessibleName(name)
        box.valueChanged.connect(self._pick)
        return box

    def _pick(self, *_: object) -> None:
        low, high = sorted((self.low.value(), self.high.value()))
        rois = regions_in_sight(self._state)
        self.regionsPicked.emit(tuple(roi.candidate for roi in rois if low <= roi.score <= high))
        self._tell()

    def _tell(self, *_: object) -> None:
        results, weights = self._state.results, self._state.weights
        count, every = len(self._state.selection.chosen), len(regions_in_sight(self._state))
        self.count.setText(f"{count} of {every} regions selected")
        verdict = None if results.shown is None else results.shown.verdict
        texts = []
        if verdict is not None and results.effect is not None:
            texts = [text(results.effect, verdict, weights) for text in (effect_text, alone_text)]
        self.effect.setText("\n".join(texts))
