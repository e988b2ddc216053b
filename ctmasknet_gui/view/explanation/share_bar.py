"""The parts of the panel that says why: contributions as one bar, and a word with a menu."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QRectF, Qt, Signal
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QColor,
    QFontMetricsF,
    QHelpEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QMenu, QSizePolicy, QToolButton, QToolTip, QWidget

from ctmasknet_gui.view.style import colour
from ctmasknet_gui.view.viewport.annotations import sized
from model_core.scene.palette import INK
from model_core.scene.reasons import AGAINST, FOR

_BAR, _SMALL = 17, 11
# Between groups that are wider than this.
_GAP, _APART = 1.0, 4.0


class ShareBar(QWidget):
    """What each group adds to the logit: for it from the middle to the right, against it to the left.

    Signals
    -------
    picked(tuple of int):
        The regions of the group that was clicked.
    """

    picked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedHeight(_BAR)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self._segments: list[tuple[float, str, str, tuple[int, ...]]] = []
        self._chosen: frozenset[int] = frozenset()
        self._dimmed = False
        self.setAccessibleName("Contributions: ")

    def set_segments(
        self,
        segments: list[tuple[float, str, str, tuple[int, ...]]],
        *,
        chosen: frozenset[int],
        dimmed: bool,
    ) -> None:
        """Show (value, text inside, tip, candidates) of each group, in this order outwards from the middle.

        What is of former evidence is dimmed.
        """
        if (segments, chosen, dimmed) == (self._segments, self._chosen, self._dimmed):
            return
        self._segments, self._chosen, self._dimmed = segments, chosen, dimmed
        self.setAccessibleName("Contributions: " + "; ".join(tip for _, _, tip, _ in segments[:6]))
        self.setCursor(Qt.CursorShape.PointingHandCursor if segments else Qt.CursorShape.ArrowCursor)
        self.update()

    @property
    def rects(self) -> list[QRectF]:
        """Where each group lies, in their order."""
        up = sum(value for value, *_ in self._segments if value > 0)
        down = -sum(value for value, *_ in self._segments if value < 0)
        whole = max(up + down, 1e-9)
        width = self.width() - 2.0
        middle = 1.0 + width * down / whole
        right, left = middle, middle
        found = []
        for value, *_ in self._segments:
            length = width * abs(value) / whole
            if value > 0:
                found.append(QRectF(right, 1, length, _BAR - 2))
                right += length
            else:
                left -= length
                found.append(QRectF(left, 1, length, _BAR - 2))
        return found

    def _hit(self, x: float) -> int | None:
        for k, rect in enumerate(self.rects):
            if rect.left() <= x < rect.right():
                return k
        return None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Select the regions of a group."""
        hit = self._hit(event.position().x())
        if hit is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(self._segments[hit][3])

    def event(self, event: QEvent) -> bool:
        """Tell the group under the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            hit = self._hit(event.pos().x())
            if hit is not None:
                QToolTip.showText(event.globalPos(), self._segments[hit][2], self)
                return True
        return super().event(event)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the groups."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour("track"))
        painter.drawRoundedRect(QRectF(0, 0, self.width(), _BAR), 3, 3)
        painter.setOpacity(0.5 if self._dimmed else 1.0)
        font = sized(self.font(), _SMALL, bold=True)
        painter.setFont(font)
        metrics = QFontMetricsF(font)
        for (value, text, _, candidates), rect in zip(self._segments, self.rects, strict=True):
            inner = rect.adjusted(0, 0, -_GAP if rect.width() > _APART else 0, 0)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(FOR if value > 0 else AGAINST))
            painter.drawRect(inner)
            if self._chosen and self._chosen >= set(candidates):
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(colour("selected"), 2))
                painter.drawRect(inner.adjusted(1, 1, -1, -1))
            if metrics.horizontalAdvance(text) + 6 <= inner.width():
                painter.setPen(QColor(INK))
                painter.drawText(inner, Qt.AlignmentFlag.AlignCenter, text)


class Chooser(QToolButton):
    """A word with a menu: one choice, in the place where it counts."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setProperty("flat", "true")
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.setMenu(menu)
        self._group = QActionGroup(menu)
        self._offered: object = None

    def fill(
        self,
        entries: list[tuple[str, str, bool, object]],
        chosen: object,
        do: Callable[[object], None],
        *,
        text: str,
    ) -> None:
        """Offer (name, tip, whether it can be chosen, value)."""
        self.setText(text)
        if (entries, chosen) == self._offered:
            return
        self._offered = entries, chosen
        menu = self.menu()
        for old in menu.actions():
            menu.removeAction(old)
            old.deleteLater()
        for name, tip, enabled, value in entries:
            action = QAction(name, self._group)
            action.setToolTip(tip)
            action.setCheckable(True)
            action.setChecked(value == chosen)
            action.setEnabled(enabled)
            action.triggered.connect(lambda _=False, value=value: do(value))
            menu.addAction(action)
