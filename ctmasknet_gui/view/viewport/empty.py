"""What stands in the viewport while no series is open."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.style import colour, icon, label
from model_core.scene.corners import PRIVATE

_TITLE = "Open a chest CT"
_CHOOSE, _CHOOSE_TEXT = "Choose a series", "The list on the left shows what was found"
_TEXT = "Drop a DICOM folder, its files, DICOMDIR or ZIP here; or NIfTI, NRRD, MHA, PNG, JPEG"
_KEYS = ("Ctrl+O  open a file", "Ctrl+Shift+O  open a folder", "F1  mouse and keys")
# Below this width buttons and keys stand one above the other.
_NARROW = 540


class EmptyState(QWidget):
    """Invitation to open something, by drop, button (``open_file``, ``open_folder``, ``demo``) or key.

    Meanwhile it tells what is being opened.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._picture = QLabel()
        self._draw_picture()
        self._title = label(_TITLE, role="title")
        self._text = label(_TEXT, role="muted", wrap=True)
        self._keys = label(role="muted")
        self._private = label(f"{PRIVATE}: names of patients, files and folders are hidden", role="muted")
        note = label("Research use only. Not for diagnosis.", role="muted")
        self.open_file = QPushButton(icon("file"), "Open file…")
        self.open_folder = QPushButton(icon("folder"), "Open folder…")
        self.demo = QPushButton(icon("volume"), "Open demo case")
        self.open_file.setToolTip("Open a CT file or picture (Ctrl+O)")
        self.open_folder.setToolTip("Open a folder of DICOM slices or pictures (Ctrl+Shift+O)")
        self.demo.setToolTip("Open a synthetic chest CT with known lesions")

        self._buttons = QWidget()
        self._buttons.setAutoFillBackground(False)
        self._buttons.setStyleSheet("QWidget#buttons { background: transparent; }")
        self._buttons.setObjectName("buttons")
        self._row = row = QBoxLayout(QBoxLayout.Direction.LeftToRight, self._buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch(1)
        for button in (self.open_file, self.open_folder, self.demo):
            row.addWidget(button)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(28, 28, 28, 28)
        layout.setSpacing(10)
        layout.addStretch(1)
        for widget in (self._picture, self._title, self._text):
            widget.setAlignment(Qt.AlignmentFlag.AlignCenter)
            layout.addWidget(widget)
        layout.addSpacing(8)
        layout.addWidget(self._buttons)
        layout.addSpacing(8)
        layout.addWidget(self._keys)
        layout.addStretch(1)
        layout.addWidget(self._private)
        layout.addWidget(note)
        for line in (self._keys, self._private, note):
            line.setAlignment(Qt.AlignmentFlag.AlignCenter)
        state.run.events.all.connect(self._refresh)
        state.case.events.catalogue.connect(self._refresh)
        state.display.events.privacy.connect(self._refresh)
        self._refresh()

    @property
    def text(self) -> str:
        """What stands there, for screen readers and tests."""
        lines = [self._title.text(), self._text.text()]
        return "\n".join([*lines, self._private.text()] if self._state.display.privacy else lines)

    def changeEvent(self, event: QEvent) -> None:
        """Take the picture of another theme."""
        if event.type() == QEvent.Type.StyleChange:
            self._draw_picture()
        super().changeEvent(event)

    def _draw_picture(self) -> None:
        self._picture.setPixmap(icon("folder").pixmap(56, 56))

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the dashed frame that says "drop here"."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(colour("frame"), 1.5, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(16, 16, -16, -16), 12, 12)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Stack buttons and keys where they do not fit side by side."""
        super().resizeEvent(event)
        narrow = self.width() < _NARROW
        direction = QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight
        self._row.setDirection(direction)
        self._keys.setText(("\n" if narrow else "      ").join(_KEYS))

    def _refresh(self) -> None:
        opening = self._state.run.kind == "open"
        catalogue = self._state.case.catalogue
        several = catalogue is not None and len(catalogue.series) > 1
        title, text = (_CHOOSE, _CHOOSE_TEXT) if several else (_TITLE, _TEXT)
        self._title.setText("Opening…" if opening else title)
        self._text.setText(self._state.run.text if opening else text)
        self._private.setVisible(self._state.display.privacy)
        self._buttons.setVisible(not opening)
        self._keys.setVisible(not opening)
