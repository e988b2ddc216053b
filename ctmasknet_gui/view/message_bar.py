"""The one place where the user is told something: errors, warnings, notes, with details to copy."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPlainTextEdit, QToolButton, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.view.privacy import shown_text
from ctmasknet_gui.view.style import icon, restyle

_ICON = 20
_BUTTON_HEIGHT = 26


class MessageBar(QFrame):
    """Shows the newest message, how many came before it, and its details on demand.

    In privacy mode files are told by number: their names may be those of patients.

    Emits ``dismissed`` when the user has read them; the controller then empties the state.
    """

    dismissed = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("messageBar")
        self._state = state
        self._index = -1
        self._make_widgets()
        self._lay_out()
        self.details_button.toggled.connect(self.details.setVisible)
        self.copy_button.clicked.connect(self._copy)
        self.older_button.clicked.connect(lambda: self._show(self._index - 1))
        self.newer_button.clicked.connect(lambda: self._show(self._index + 1))
        self.close_button.clicked.connect(self.dismissed)
        state.messages.events.messages.connect(self._refresh)
        state.display.events.privacy.connect(lambda: self._show(self._index))
        self._refresh()

    @property
    def message(self) -> Message | None:
        """The message shown."""
        messages = self._state.messages.messages
        return messages[self._index] if 0 <= self._index < len(messages) else None

    def _make_widgets(self) -> None:
        self.picture = QLabel()
        self.picture.setFixedWidth(_ICON)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.count = QLabel()
        self.count.setProperty("role", "muted")
        self.count.setFixedHeight(_BUTTON_HEIGHT)
        self.older_button = _tool("previous", "Earlier message")
        self.newer_button = _tool("next", "Later message")
        self.details_button = QToolButton()
        self.details_button.setText("Details")
        self.details_button.setCheckable(True)
        self.details_button.setToolTip("Show technical details to copy")
        self.copy_button = _tool("copy", "Copy the message with its details")
        self.close_button = _tool("close", "Close all messages")
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setFixedHeight(110)
        self.details.setVisible(False)
        self.details.setAccessibleName("Details of the message")

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.text, 1)
        for widget in (
            self.older_button,
            self.count,
            self.newer_button,
            self.details_button,
            self.copy_button,
            self.close_button,
        ):
            row.addWidget(widget, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 7, 8, 7)
        column.setSpacing(6)
        column.addLayout(row)
        column.addWidget(self.details)

    def _refresh(self) -> None:
        self._show(len(self._state.messages.messages) - 1)

    def _show(self, index: int) -> None:
        self._index = index
        message = self.message
        self.setVisible(message is not None)
        if message is None:
            self.details_button.setChecked(False)
            return
        total = len(self._state.messages.messages)
        self.picture.setPixmap(icon(message.level).pixmap(_ICON, _ICON))
        self.picture.setAccessibleName(message.level)
        text = shown_text(message.text, self._state)
        self.text.setText(text)
        self.setAccessibleName(f"{message.level}: {text}")
        self.count.setText(f"{index + 1} / {total}")
        for widget in (self.count, self.older_button, self.newer_button):
            widget.setVisible(total > 1)
        self.older_button.setEnabled(index > 0)
        self.newer_button.setEnabled(index < total - 1)
        self.details.setPlainText(shown_text(message.details, self._state))
        self.details_button.setVisible(bool(message.details))
        if not message.details:
            self.details_button.setChecked(False)
        restyle(self, level=message.level)

    def _copy(self) -> None:
        message = self.message
        if message is not None:
            text = shown_text(f"{message.text}\n{message.details}".strip(), self._state)
            QGuiApplication.clipboard().setText(text)


def _tool(image: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setIcon(icon(image))
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    return button
