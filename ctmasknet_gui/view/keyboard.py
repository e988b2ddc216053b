"""Who gets a key: the slices, whatever was clicked last, unless a control needs it itself."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QListWidget,
    QWidget,
)

_PRESS = frozenset({Qt.Key.Key_Space})
_MOVE = frozenset(
    {
        Qt.Key.Key_Up,
        Qt.Key.Key_Down,
        Qt.Key.Key_Left,
        Qt.Key.Key_Right,
        Qt.Key.Key_PageUp,
        Qt.Key.Key_PageDown,
        Qt.Key.Key_Home,
        Qt.Key.Key_End,
    }
)
# What each kind of control needs itself; text fields additionally take every printable character, and a
# number leaves its field with Escape before that stops anything.
_TEXT = (QAbstractSpinBox, QLineEdit)
_MOVING = (*_TEXT, QAbstractSlider, QAbstractItemView, QComboBox)
_PRESSED = (QAbstractButton, QComboBox, QAbstractItemView)


def takes_key(widget: QObject, key: int, text: str, modifiers: Qt.KeyboardModifier) -> bool:
    """Whether a focused control uses this key itself, so that no shortcut may."""
    if modifiers & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier):
        return False
    if isinstance(widget, _TEXT) and text.isprintable() and text:
        return True
    if isinstance(widget, QAbstractSpinBox) and key == Qt.Key.Key_Escape:
        return True
    if isinstance(widget, _MOVING) and key in _MOVE:
        return True
    return isinstance(widget, _PRESSED) and key in _PRESS


class ShortcutGuard(QObject):
    """Event filter on controls: claims their keys before the shortcuts see them."""

    def watch(self, root: QWidget) -> None:
        """Guard every control below ``root`` (call again for controls added later)."""
        for control in root.findChildren(QWidget):
            if isinstance(control, (*_MOVING, *_PRESSED)):
                control.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Accept `ShortcutOverride` of keys the control needs."""
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and takes_key(watched, event.key(), event.text(), event.modifiers())
        ):
            event.accept()
            return True
        return False


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
