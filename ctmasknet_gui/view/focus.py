"""Keeps the reading keys with the slices: a click on a control does not take them away."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QAbstractSlider, QComboBox, QListWidget, QWidget

# Fields to type into and the table of regions are not here: they need the keys after a click.
_CONTROLS = (QAbstractButton, QAbstractSlider, QComboBox, QListWidget)


def keep_click_focus(root: QWidget) -> None:
    """Let the controls below ``root`` take focus from Tab only.

    Otherwise Down, Page Down, Home or Space would change a threshold after one click on it, where the
    reader means the next slice.
    """
    for control in root.findChildren(QWidget):
        if isinstance(control, _CONTROLS) and control.focusPolicy() & Qt.FocusPolicy.ClickFocus:
            control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
