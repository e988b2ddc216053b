"""What is asked while something is opened: how many slices where memory is short, what a mask is for."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.view.requests import FewerSlices, MaskFound
from model_core.base.errors import as_memory, ordinal


class FewerSlicesDialog(QDialog):
    """Offers every n-th slice for a few n, the smallest one that fits first; `step` is what was chosen.

    Parameters
    ----------
    question:
        What does not fit, and what would.
    private:
        Whether the title of the series, which may be a patient's name, stays hidden.
    """

    def __init__(self, question: FewerSlices, *, private: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Not enough memory")
        self.question = question
        name = "The series" if private or not question.title else f"“{question.title}”"
        text = (
            f"{name} needs {as_memory(question.needed)} of memory for its {question.slices} slices; "
            f"{as_memory(question.free)} are free for it."
        )
        self.text = _label(text)
        self._choices = QButtonGroup(self)
        self.choices: list[QRadioButton] = []
        for step in question.steps:
            button = QRadioButton(self._choice_text(step))
            self._choices.addButton(button, step)
            self.choices.append(button)
        self.choices[0].setChecked(True)
        self.open_button = QPushButton()
        self.open_button.setDefault(True)
        self._choices.idToggled.connect(self._refresh)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.addButton(self.open_button, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        note = _label(
            "Small findings may lie between the slices. To open all of them, close other programs and choose "
            "the series again."
        )
        note.setProperty("role", "muted")
        layout = _column(self)
        layout.addWidget(self.text)
        layout.addSpacing(2)
        for button in self.choices:
            layout.addWidget(button)
        layout.addSpacing(2)
        layout.addWidget(note)
        layout.addSpacing(6)
        layout.addWidget(buttons)
        self.setMinimumWidth(460)
        self._refresh()

    @property
    def step(self) -> int:
        """Every how many slices are to be opened."""
        return self._choices.checkedId()

    def _left(self, step: int) -> int:
        return -(-self.question.slices // step)

    def _choice_text(self, step: int) -> str:
        question, left = self.question, self._left(step)
        apart = "" if question.distance_mm is None else f", {question.distance_mm * step:.1f} mm apart"
        memory = as_memory(round(question.needed / question.slices * left))
        return f"Every {ordinal(step)} slice: {left} of {question.slices}{apart} ({memory})"

    @Slot()
    def _refresh(self) -> None:
        step = self.step
        self.open_button.setText(
            f"Open every {ordinal(step)} slice ({self._left(step)} of {self.question.slices})"
        )


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
        layout = _column(self)
        layout.addWidget(self.text)
        layout.addWidget(self.note)
        layout.addSpacing(6)
        layout.addWidget(buttons)
        self.setMinimumWidth(440)


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    # A title or name comes from a file and is no markup.
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _column(dialog: QDialog) -> QVBoxLayout:
    layout = QVBoxLayout(dialog)
    layout.setContentsMargins(18, 16, 18, 14)
    layout.setSpacing(9)
    return layout
