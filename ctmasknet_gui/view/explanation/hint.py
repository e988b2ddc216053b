"""Three steps for whoever sees an explanation for the first time; gone for good with one click."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.style import label

_STEPS = (
    "The bar under WHY shows what each lesion adds to the verdict: click a part to find it.",
    "Exclude takes regions out, and the class answers at once; Ctrl+Z brings them back.",
    "Sensitivity shows what other thresholds would do: a click moves the slider there.",
)


class Hint(QFrame):
    """Stands below the picture, of which it covers nothing, from the first reason on until it was read.

    It stays while slices without a reason are scrolled through: the picture must not jump.

    Signals
    -------
    dismissed():
        It is not to be shown again.
    """

    dismissed = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.setObjectName("hint")
        self.setAccessibleName("Why this class: " + " ".join(_STEPS))
        self.button = QPushButton("Got it")
        self.button.setProperty("link", "true")
        self.button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.button.setToolTip("Never show this again; F1 lists mouse and keys")
        self.button.clicked.connect(lambda *_: self.dismissed.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.setSpacing(4)
        head = QHBoxLayout()
        head.addWidget(label("WHY THIS CLASS?", role="heading"), 1)
        head.addWidget(self.button)
        layout.addLayout(head)
        for number, step in enumerate(_STEPS, start=1):
            row = QHBoxLayout()
            row.setSpacing(8)
            figure = label(str(number), role="slice")
            figure.setAlignment(Qt.AlignmentFlag.AlignTop)
            row.addWidget(figure)
            row.addWidget(label(step, role="amount", wrap=True), 1)
            layout.addLayout(row)
        self._begun = False
        state.reasons.events.hint.connect(self._refresh)
        state.reasons.events.reason.connect(self._refresh)
        state.case.events.volume.connect(self._refresh)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        reasons = self._state.reasons
        known = reasons.reason is not None and reasons.reason.values is not None
        self._begun = known or (self._begun and self._state.case.volume is not None)
        self.setVisible(reasons.hint and self._begun)
