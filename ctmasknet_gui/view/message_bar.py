"""The one place where the user is told something: errors, warnings, notes, with details to copy."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QPropertyAnimation, QRect, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QEnterEvent, QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QGraphicsOpacityEffect,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.state.privacy import shown_text
from ctmasknet_gui.view.status import StatusBar
from ctmasknet_gui.view.style import icon, label, restyle

_ICON = 20
_BUTTON_HEIGHT = 26
# Long enough to be read; a place on the disk takes longer.
_NOTE_MS, _NOTE_WITH_PATH_MS, _FADE_MS = 6000, 12_000, 500
_MARGIN, _WIDEST = 8, 900
# Narrowest column of text beside buttons, and narrowest path in a line.
_COLUMN, _PATH = 380, 140
# Around the parts, of what stays and of a line: left, top, right, bottom.
_ROOMY, _FLAT = (12, 7, 8, 7), (8, 0, 4, 0)
_MOVES = {QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show, QEvent.Type.Hide}


class MessageBar(QFrame):
    """Shows the newest message, how many came before it, and its details on demand.

    It covers no picture and none of its texts. Notes fade by themselves unless the mouse rests on them; they
    lie over the status bar meanwhile, beside progress and Cancel, and nothing moves. Errors, warnings and
    offers stay until they are answered: the picture makes room for them at its top, and for notes too long
    for a line.

    In privacy mode files are told by number: their names may be those of patients.

    Parameters
    ----------
    over:
        Whose layout makes room, by default the parent's.
    status:
        Where notes lie; without one they are told as errors are.

    Signals
    -------
    dismissed():
        The user has read all of them; the controller then empties the state.
    faded(Message):
        A note has been there long enough.
    offerTaken(Message):
        The user wants what a message offers.
    folderRequested(str):
        Show where this file or folder lies.
    """

    dismissed = Signal()
    faded = Signal(object)
    offerTaken = Signal(object)
    folderRequested = Signal(str)

    def __init__(
        self,
        state: AppState,
        parent: QWidget | None = None,
        *,
        over: QWidget | None = None,
        status: StatusBar | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("messageBar")
        self._state = state
        self._over, self._status = over or parent, status
        self._index = -1
        self._make_widgets()
        self._lay_out()
        self._make_fading()
        for watched in (self._over, status, None if status is None else status.cancel):
            if watched is not None:
                watched.installEventFilter(self)
        self.details_button.toggled.connect(self._on_details)
        self.folder_button.clicked.connect(self._on_folder)
        self.offer_button.clicked.connect(self._on_offer)
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
        self.text = label(wrap=True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.count = label(role="muted")
        self.count.setFixedHeight(_BUTTON_HEIGHT)
        self.older_button = _tool("previous", "Earlier message")
        self.newer_button = _tool("next", "Later message")
        self.path = QLineEdit()
        self.path.setReadOnly(True)
        self.path.setFrame(False)
        self.path.setProperty("role", "path")
        self.path.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.path.setAccessibleName("Where it lies")
        self.offer_button = QToolButton()
        self.offer_button.setProperty("accent", "true")
        self.folder_button = QToolButton()
        self.folder_button.setText("Show in folder")
        self.folder_button.setToolTip("Open the folder in the file manager")
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
        self._buttons = QWidget()
        row = QHBoxLayout(self._buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        for widget in (
            self.offer_button,
            self.folder_button,
            self.older_button,
            self.count,
            self.newer_button,
            self.details_button,
            self.copy_button,
        ):
            row.addWidget(widget)
        self._grid = grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(6)
        grid.addWidget(self.picture, 0, 0)
        grid.addWidget(self.text, 0, 1)
        grid.addWidget(self._buttons, 0, 3)
        grid.addWidget(self.close_button, 0, 4)
        grid.addWidget(self.path, 2, 0, 1, 5)
        column = QVBoxLayout(self)
        column.setSpacing(6)
        column.addLayout(grid)
        column.addWidget(self.details)

    def _arrange(self, width: int, *, line: bool) -> None:
        """Put all in one line, or the buttons below a text that would become a narrow column beside them."""
        room = width - self._beside
        below = not line and room < min(self._length, _COLUMN)
        grid = self._grid
        level = Qt.AlignmentFlag.AlignVCenter if line else Qt.AlignmentFlag.AlignTop
        for end in (self.picture, self.close_button):
            grid.setAlignment(end, level)
        for widget in (self._buttons, self.path):
            grid.removeWidget(widget)
        if below:
            grid.addWidget(self._buttons, 1, 1, 1, 4, Qt.AlignmentFlag.AlignRight)
        else:
            grid.addWidget(self._buttons, 0, 3, level)
        if line:
            grid.addWidget(self.path, 0, 2)
            self.path.setVisible(self.path.text() != "" and room - self._length >= _PATH)
        else:
            grid.addWidget(self.path, 2, 0, 1, 5)
            self.path.setVisible(self.path.text() != "")
        grid.setColumnStretch(1, 0 if line and not self.path.isHidden() else 1)
        grid.setColumnStretch(2, int(line and not self.path.isHidden()))
        self.text.setWordWrap(not line)
        layout = self.layout()
        assert layout is not None
        layout.setContentsMargins(*(_FLAT if line else _ROOMY))

    @property
    def _beside(self) -> int:
        """Width of all but text and path, in one line."""
        return self._buttons.sizeHint().width() + self.close_button.sizeHint().width() + _ICON + 44

    @property
    def _length(self) -> int:
        """Width of the text in one line."""
        return self.text.fontMetrics().horizontalAdvance(self.text.text())

    def _line(self) -> QRect:
        """Return where in the parent a note may lie in one line; empty for what is no note."""
        message, parent = self.message, self.parentWidget()
        if message is None or parent is None or self._status is None or not message.fades:
            return QRect()
        # A narrow window cuts the status bar at its right.
        room = QRect(self._status.mapTo(parent, QPoint(0, 0)), self._status.size()) & parent.rect()
        room.setLeft(room.left() + self._status.needed)
        return room if self.details.isHidden() else QRect()

    def _make_fading(self) -> None:
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._opacity = QGraphicsOpacityEffect(self)
        self._opacity.setEnabled(False)
        self.setGraphicsEffect(self._opacity)
        self._fading = QPropertyAnimation(self._opacity, b"opacity", self)
        self._fading.setDuration(_FADE_MS)
        self._fading.setStartValue(1.0)
        self._fading.setEndValue(0.0)
        self._rest.timeout.connect(self._begin_fading)
        self._fading.finished.connect(self._on_faded)

    # ------------------------------------------------------------------------------------- fading

    def _stay(self) -> None:
        """Be there fully, and for good."""
        self._rest.stop()
        self._fading.stop()
        self._opacity.setEnabled(False)

    def _wait(self) -> None:
        """Begin the time of a note, unless somebody points at it."""
        self._stay()
        message = self.message
        if message is not None and message.fades and not self.underMouse():
            self._rest.start(_NOTE_WITH_PATH_MS if message.path else _NOTE_MS)

    @Slot()
    def _begin_fading(self) -> None:
        self._opacity.setOpacity(1.0)
        self._opacity.setEnabled(True)
        self._fading.start()

    @Slot()
    def _on_faded(self) -> None:
        message = self.message
        self._stay()
        if message is not None:
            self.faded.emit(message)

    def enterEvent(self, event: QEnterEvent) -> None:
        """Stay while it is pointed at."""
        super().enterEvent(event)
        self._stay()

    def leaveEvent(self, event: QEvent) -> None:
        """Go on."""
        super().leaveEvent(event)
        self._wait()

    # -------------------------------------------------------------------------------------- place

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the size of what it lies over."""
        if event.type() in _MOVES:
            self._place()
        return super().eventFilter(watched, event)

    def event(self, event: QEvent) -> bool:
        """Follow the size of the text."""
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self._place()
        return done

    def _place(self) -> None:
        parent, over, layout = self.parentWidget(), self._over, self.layout()
        if parent is None or over is None or layout is None or self.isHidden():
            return
        line = self._line()
        if line:
            self._arrange(line.width(), line=True)
            if layout.totalMinimumSize().width() > line.width():
                line = QRect()
        width = line.width() if line else min(_WIDEST, over.width() - 2 * _MARGIN)
        if not line:
            self._arrange(width, line=False)
        if line:
            self._make_room(0)
            height = max(line.height(), layout.totalSizeHint().height())
            self.setGeometry(line.left(), line.bottom() + 1 - height, width, height)
        else:
            width = max(layout.totalMinimumSize().width(), width)
            height = layout.totalHeightForWidth(width)
            height = height if height > 0 else layout.totalSizeHint().height()
            self._make_room(height + 2 * _MARGIN)
            origin = over.mapTo(parent, QPoint(0, 0)) if over is not parent else QPoint(0, 0)
            left = origin.x() + (over.width() - width) // 2
            self.setGeometry(left, origin.y() + _MARGIN, width, height)
        self.raise_()

    def _make_room(self, height: int) -> None:
        """Let what it lies over begin below it."""
        layout = None if self._over is None else self._over.layout()
        if layout is not None and layout.contentsMargins().top() != height:
            layout.setContentsMargins(0, height, 0, 0)

    def _refresh(self) -> None:
        self._show(len(self._state.messages.messages) - 1)

    def _show(self, index: int) -> None:
        self._index = index
        message = self.message
        self.setVisible(message is not None)
        if message is None:
            self._make_room(0)
            self._stay()
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
        private = self._state.display.privacy
        self.path.setText("" if private else message.path)
        self.path.setCursorPosition(0)
        self.folder_button.setVisible(bool(message.path))
        self.offer_button.setText(message.offer)
        self.offer_button.setVisible(bool(message.offer))
        restyle(self, level=message.level)
        self._place()
        self._wait()

    @Slot(bool)
    def _on_details(self, opened: bool) -> None:
        self.details.setVisible(opened)
        self._place()

    @Slot()
    def _on_folder(self) -> None:
        if self.message is not None:
            self.folderRequested.emit(self.message.path)

    @Slot()
    def _on_offer(self) -> None:
        if self.message is not None:
            self.offerTaken.emit(self.message)

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
