"""A slider with its number: one value, two ways to set it, no feedback."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSlider, QWidget

from ctmasknet_gui.view.numbers import NumberBox

LABEL_WIDTH = 98
_MOST_DECIMALS = 3


class _QuietSlider(QSlider):
    """Ignores the wheel unless focused, so that scrolling the panel changes no threshold."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


_LEAVING = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape)


class QuietSpinBox(NumberBox):
    """Ignores the wheel unless focused; a click takes the keys only where a number can be typed.

    Signals
    -------
    left():
        Return took the number, or Escape dropped what was typed: the keys are free again.
    """

    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        self.usual_decimals = 2
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setDecimals(_MOST_DECIMALS)
        self.lineEdit().installEventFilter(self)

    def textFromValue(self, value: float) -> str:
        """Return the usual decimals, or more where the number has more: what is shown is what counts."""
        usual = f"{value:.{self.usual_decimals}f}"
        return max(usual, f"{value:.{self.decimals()}f}".rstrip("0"), key=len)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the focus with a click into the number; the arrows at its side do not."""
        if event.type() == QEvent.Type.MouseButtonPress and watched is self.lineEdit():
            self.setFocus(Qt.FocusReason.MouseFocusReason)
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Give the keys back with Return and Escape."""
        if event.key() not in _LEAVING:
            super().keyPressEvent(event)
            return
        if event.key() == Qt.Key.Key_Escape:
            lowest = self.value() == self.minimum() and self.specialValueText()
            plain = f"{self.prefix()}{self.textFromValue(self.value())}{self.suffix()}"
            self.lineEdit().setText(self.specialValueText() if lowest else plain)
        else:
            super().keyPressEvent(event)
        event.accept()
        self.left.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll the panel instead of the value."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class QuietComboBox(QComboBox):
    """Ignores the wheel unless focused."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll the panel instead of the choice."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ThresholdSlider(QWidget):
    """Label (or check box), slider and spin box of one number; screen readers call them ``spoken``.

    ``valueEdited(float)`` and ``switched(bool)`` tell what the user did; `set_value` emits nothing.
    """

    valueEdited = Signal(float)
    switched = Signal(bool)

    def __init__(
        self,
        label: str,
        *,
        tip: str,
        spoken: str,
        low: float = 0.0,
        high: float = 1.0,
        step: float = 0.01,
        switchable: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.slider = _QuietSlider(Qt.Orientation.Horizontal)
        self.slider.setMinimumWidth(80)
        self.spin = QuietSpinBox()
        # Values count when typed completely; a half-typed number must not recompute anything.
        self.spin.setKeyboardTracking(False)
        self.spin.setFixedWidth(70)
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.check = QCheckBox(label) if switchable else None
        name: QLabel | QCheckBox = self.check or QLabel(label)
        if isinstance(name, QLabel):
            name.setBuddy(self.slider)
        name.setMinimumWidth(LABEL_WIDTH)
        for widget in (name, self.slider, self.spin):
            widget.setToolTip(tip)
            widget.setAccessibleName(spoken)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(name)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.spin)
        self.set_range(low, high, step)
        self.slider.valueChanged.connect(self._on_slider)
        self.spin.valueChanged.connect(self._on_spin)
        if self.check is not None:
            self.check.clicked.connect(self.switched)

    @property
    def value(self) -> float:
        """The number shown."""
        return float(self.spin.value())

    def set_range(self, low: float, high: float, step: float) -> None:
        """Set the range and the step of both controls."""
        self._step = step
        blockers = QSignalBlocker(self.slider), QSignalBlocker(self.spin)
        self.slider.setRange(round(low / step), round(high / step))
        self.slider.setPageStep(max(1, round((high - low) / step / 10)))
        self.spin.usual_decimals = 2 if step < 0.1 else 1
        self.spin.setSingleStep(step)
        self.spin.setRange(low, high)
        for blocker in blockers:
            blocker.unblock()

    def set_value(self, value: float) -> None:
        """Show a value without telling anyone."""
        blockers = QSignalBlocker(self.slider), QSignalBlocker(self.spin)
        self.slider.setValue(round(value / self._step))
        if self.spin.value() != value:
            self.spin.setValue(value)
        for blocker in blockers:
            blocker.unblock()

    def set_switched(self, on: bool) -> None:
        """Show whether the threshold acts, without telling anyone."""
        if self.check is not None:
            self.check.setChecked(on)
        self.slider.setEnabled(on)
        self.spin.setEnabled(on)

    @Slot(int)
    def _on_slider(self, position: int) -> None:
        value = position * self._step
        with QSignalBlocker(self.spin):
            self.spin.setValue(value)
        self.valueEdited.emit(self.spin.value())

    @Slot(float)
    def _on_spin(self, value: float) -> None:
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(value / self._step))
        self.valueEdited.emit(value)
