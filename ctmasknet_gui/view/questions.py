"""What is asked while something is opened: how many slices where memory is short, what a mask is for."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state.requests import FewerSlices, MaskFound
from ctmasknet_gui.view.style import label
from model_core.base.errors import as_memory, ordinal


class _Question(QDialog):
    """A text, choices below it, a note in grey, and buttons: Cancel and those that the question adds."""

    def __init__(
        self,
        title: str,
        text: str,
        note: str,
        *,
        choices: tuple[QWidget, ...] = (),
        width: int,
        parent: QWidget | None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.text, self.note = label(text, wrap=True), label(note, role="muted", wrap=True)
        self.note.setVisible(bool(note))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(9)
        for widget in (self.text, *choices, self.note):
            layout.addWidget(widget)
        layout.addSpacing(6)
        layout.addWidget(self.buttons)
        self.setMinimumWidth(width)


class FewerSlicesDialog(_Question):
    """Offers every n-th slice for a few n, the smallest one that fits first; `step` is what was chosen.

    Parameters
    ----------
    question:
        What does not fit, and what would.
    private:
        Whether the title of the series, which may be a patient's name, stays hidden.
    """

    def __init__(self, question: FewerSlices, *, private: bool, parent: QWidget | None = None) -> None:
        self.question = question
        name = "The series" if private or not question.title else f"“{question.title}”"
        self.choices = tuple(QRadioButton(self._choice_text(step)) for step in question.steps)
        super().__init__(
            "Not enough memory",
            f"{name} needs {as_memory(question.needed)} of memory for its {question.slices} slices; "
            f"{as_memory(question.free)} are free for it.",
            "Small findings may lie between the slices. To open all of them, close other programs and choose "
            "the series again.",
            choices=self.choices,
            width=460,
            parent=parent,
        )
        self._choices = QButtonGroup(self)
        for button, step in zip(self.choices, question.steps, strict=True):
            self._choices.addButton(button, step)
        self.choices[0].setChecked(True)
        self.open_button = QPushButton()
        self.open_button.setDefault(True)
        self.buttons.addButton(self.open_button, QDialogButtonBox.ButtonRole.AcceptRole)
        self._choices.idToggled.connect(self._refresh)
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


class MaskDialog(_Question):
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
        name = "This file" if private else f"'{found.name}'"
        text = f"{name} is a mask that fits the open series."
        note = "A reference mask is drawn over the CT, to compare with. A series takes the place of the CT."
        if found.why_not:
            text = f"{name} is a mask, but it does not fit the open series."
            note = "" if private else found.why_not
        super().__init__("Reference mask?", text, note, width=440, parent=parent)
        self.use_button = QPushButton("Use as &reference mask")
        self.open_button = QPushButton("&Open as a series")
        self.open_button.setAutoDefault(False)
        self.open_button.clicked.connect(self.reject)
        self.buttons.addButton(self.open_button, QDialogButtonBox.ButtonRole.ActionRole)
        if found.why_not:
            self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setDefault(True)
        else:
            self.buttons.addButton(self.use_button, QDialogButtonBox.ButtonRole.AcceptRole)
            self.use_button.setDefault(True)
