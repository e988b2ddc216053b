"""Asks what a mask is meant for that is to be opened while a series is open."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPushButton, QVBoxLayout, QWidget

from ctmasknet_gui.view.requests import MaskFound


class MaskDialog(QDialog):
    """Accepted means: show it over the open series. ``open_button`` opens it as a series in place of that.

    Where the mask does not fit, only the latter is offered, and nothing is done by default.

    Parameters
    ----------
    found:
        The mask.
    private:
        Whether its name, which may be a patient's, stays hidden.
    """

    def __init__(self, found: MaskFound, *, private: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Reference mask?")
        name = "This file" if private else f"'{found.name}'"
        if not found.why_not:
            told = f"{name} is a mask that fits the open series."
            note = (
                "A reference mask is drawn over the CT, to compare with. A series takes the place of the CT."
            )
        else:
            told = f"{name} is a mask, but it does not fit the open series."
            note = "" if private else found.why_not
        self.text, self.note = _label(told), _label(note)
        self.note.setProperty("role", "muted")
        self.note.setVisible(bool(note))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.use_button = QPushButton("Use as &reference mask")
        self.open_button = QPushButton("&Open as a series")
        self.open_button.setAutoDefault(False)
        self.open_button.clicked.connect(self.reject)
        buttons.addButton(self.open_button, QDialogButtonBox.ButtonRole.ActionRole)
        if found.why_not:
            buttons.button(QDialogButtonBox.StandardButton.Cancel).setDefault(True)
        else:
            buttons.addButton(self.use_button, QDialogButtonBox.ButtonRole.AcceptRole)
            self.use_button.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(9)
        layout.addWidget(self.text)
        layout.addWidget(self.note)
        layout.addSpacing(6)
        layout.addWidget(buttons)
        self.setMinimumWidth(440)


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    # A name comes from a disk and is no markup.
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label
