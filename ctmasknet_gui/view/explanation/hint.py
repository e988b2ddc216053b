"""Three steps for whoever sees an explanation for the first time; gone for good with one click."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.style import label

_STEPS = (
    "The bar under WHY shows what each lesion adds to the verdict: click a part to find it.",
    "Exclude takes regions out, and the class answers at once; Ctrl+Z brings them back.",
    "Sensitivity shows what other thresholds would do: a click moves the slider there.",
)
_WIDTH, _MARGIN = 330, 10
# Above the slice number and the read-out.
_BOTTOM = 52


class Hint(QFrame):
    """Lies over the lower left of the picture while `ReasonState.hint` is on and there is a reason to see.

    Signals
    -------
    dismissed():
        It is not to be shown again.
    """

    dismissed = Signal()

    def __init__(self, state: AppState, over: QWidget) -> None:
        super().__init__(over)
        self._state = state
        self.setObjectName("hint")
        self.setAccessibleName("Why this class: " + " ".join(_STEPS))
        # The cross of the picture is none for reading.
        self.setCursor(Qt.CursorShape.ArrowCursor)
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
        over.installEventFilter(self)
        state.reasons.events.hint.connect(self._refresh)
        state.reasons.events.reason.connect(self._refresh)
        state.display.events.tool.connect(self._refresh)
        self._refresh()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)

    def _refresh(self, *_: object) -> None:
        reasons = self._state.reasons
        known = reasons.reason is not None and reasons.reason.values is not None
        # A tool in hand says its own things there.
        self.setVisible(reasons.hint and known and not self._state.display.tool)
        self._place()

    def _place(self) -> None:
        over = self.parentWidget()
        if over is None or self.isHidden():
            return
        width = min(_WIDTH, over.width() - 2 * _MARGIN)
        layout = self.layout()
        height = layout.heightForWidth(width) if layout is not None else self.sizeHint().height()
        self.setGeometry(_MARGIN, over.height() - _BOTTOM - height, width, height)
        self.raise_()
