"""The tools on the slice by keyboard: regions selected by their scores, a box in numbers to ask about."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.effect import alone_text, effect_text
from ctmasknet_gui.view.numbers import NumberBox, WholeNumberBox
from ctmasknet_gui.view.style import label
from ctmasknet_gui.view.viewport.drawing import SMALLEST, regions_in_sight
from model_core.scene.labels import asked_texts

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


# Of what a box may be given for: title, button, what is said of it.
_PURPOSES = {
    "ask": ("Ask about a box", "Ask", "The network takes the box as its proposal, and the class its answer."),
    "heal": (
        "Heal a box",
        "Heal",
        "The lung in the box is replaced by healthy lung nearby: shown, then run.",
    ),
    "plant": (
        "Plant ground glass",
        "Plant",
        "Ground glass is planted in the lung of the box: shown, then run.",
    ),
}


class BoxDialog(QDialog):
    """Four edges of a box in pixels of the slice, at first those of the selected region.

    Signals: ``boxAsked(tuple of float)``, x1, y1, x2, y2; the dialog stays for the next box.

    Parameters
    ----------
    purpose:
        "ask" about it, "heal" it or "plant" ground glass in it.
    """

    boxAsked = Signal(object)

    def __init__(self, state: AppState, *, purpose: str = "ask", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        title, verb, self._about = _PURPOSES[purpose]
        self.setWindowTitle(title)
        self._state, self._asks = state, purpose == "ask"
        volume = state.case.volume
        height, width = (1, 1) if volume is None else volume.voxels.shape[1:]
        chosen = [roi.box for roi in regions_in_sight(state) if roi.candidate == state.selection.candidate]
        first = chosen[0] if chosen else (width * 0.4, height * 0.4, width * 0.6, height * 0.6)
        form = QFormLayout()
        self.edges = []
        for name, value, limit in zip(
            ("Left", "Top", "Right", "Bottom"), first, (width, height) * 2, strict=True
        ):
            edge = WholeNumberBox()
            edge.setRange(0, int(limit))
            edge.setValue(round(value))
            edge.setSuffix(" px")
            edge.setAccessibleName(f"{name} edge of the box")
            edge.valueChanged.connect(self._check)
            form.addRow(name, edge)
            self.edges.append(edge)
        self.note = label(role="muted", wrap=True)
        self.note.setMinimumHeight(2 * self.note.fontMetrics().lineSpacing())
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.buttons.rejected.connect(self.reject)
        self.ask_button = self.buttons.addButton(verb, QDialogButtonBox.ButtonRole.ActionRole)
        # Return asks: a button that is off for a moment would lose that to the other.
        self.buttons.button(QDialogButtonBox.StandardButton.Close).setAutoDefault(False)
        self.ask_button.clicked.connect(lambda *_: self.boxAsked.emit(self.box))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(9)
        layout.addLayout(form)
        layout.addWidget(self.note)
        layout.addWidget(self.buttons)
        self.setMinimumWidth(380)
        state.results.events.shown.connect(self._tell)
        state.selection.events.candidate.connect(self._tell)
        self._check()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 as they are set."""
        left, top, right, bottom = (float(edge.value()) for edge in self.edges)
        return left, top, right, bottom

    def done(self, result: int) -> None:
        """Hear of nothing any more."""
        self._state.results.events.shown.disconnect(self._tell)
        self._state.selection.events.candidate.disconnect(self._tell)
        super().done(result)

    def _check(self, *_: object) -> None:
        left, top, right, bottom = self.box
        self.ask_button.setEnabled(right - left >= SMALLEST and bottom - top >= SMALLEST)
        self.ask_button.setDefault(self.ask_button.isEnabled())
        self._tell()

    def _tell(self, *_: object) -> None:
        """Say what was answered to the selected box, or what is missing."""
        if not self.ask_button.isEnabled():
            self.note.setText(
                f"The right and the lower edge lie at least {SMALLEST:g} pixels beyond the others."
            )
            return
        shown, selected = self._state.results.shown, self._state.selection.candidate
        asked = (
            []
            if shown is None or not self._asks
            else [row for one, row in shown.asked_rois() if one.candidate == selected]
        )
        self.note.setText(asked_texts(asked[0])[0] if asked else self._about)
