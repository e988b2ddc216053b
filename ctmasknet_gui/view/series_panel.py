"""Left panel: the series found, with thumbnail and status, and what was noticed while reading them."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QImage, QKeyEvent, QPainter, QPixmap
from PySide6.QtWidgets import (
    QLabel,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.privacy import shown_text
from ctmasknet_gui.view.style import MUTED, STATUS_COLOURS, STATUS_SHAPES, TEXT, icon
from ctmasknet_gui.view.viewport.layer import device_ratio
from model_core.types import ByteArray, Catalogue, Problem, SeriesEntry

_ID = Qt.ItemDataRole.UserRole
_ENTRY = Qt.ItemDataRole.UserRole + 1
_TITLE = Qt.ItemDataRole.UserRole + 2
_STATUS = Qt.ItemDataRole.UserRole + 3
_THUMBNAIL = 56
_MARGIN = 8
_STATUS_RANK = {"error": 2, "warning": 1, "info": 0}


def describe_size(entry: SeriesEntry) -> str:
    """Return for example ``148 × 512², CT``."""
    depth, height, width = entry.size
    plane = f"{height}²" if height == width else f"{width}×{height}"
    return f"{depth} × {plane}, {entry.modality or 'image'}"


def describe_status(entry: SeriesEntry) -> str:
    """Return the worst problem in words, or that there is none."""
    if not entry.problems:
        return "complete"
    return max(entry.problems, key=lambda problem: _STATUS_RANK[problem.level]).text


def describe_problem(problem: Problem) -> str:
    """Return a problem and what was done about it."""
    return f"{problem.text} {problem.action}".strip()


class _SeriesList(QListWidget):
    """Tells of a click or of Return on a series, once each: a double click is one choice."""

    picked = Signal(QListWidgetItem)

    def __init__(self) -> None:
        super().__init__()
        # Not itemActivated: it comes with a double click too, after the click has been told.
        self.itemClicked.connect(self.picked)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Choose with Return."""
        item = self.currentItem()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and item is not None:
            self.picked.emit(item)
        else:
            super().keyPressEvent(event)


class SeriesPanel(QWidget):
    """List of the catalogue's series. In privacy mode they are numbered: titles may be names of patients.

    Signals
    -------
    seriesChosen(str):
        Open this series: the user picked one that is not open.
    seriesPicked():
        The user is done with the list, whatever was picked.
    """

    seriesChosen = Signal(str)
    seriesPicked = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._heading = QLabel("SERIES")
        self._heading.setProperty("role", "heading")
        self.list = _SeriesList()
        self.list.setItemDelegate(_SeriesDelegate(self.list))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.list.setMouseTracking(True)
        self.list.setAccessibleName("Series")
        self._empty = QLabel("Open a file or folder, or drop it here, to see its series.")
        self._empty.setProperty("role", "muted")
        self._empty.setWordWrap(True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._problems_toggle = QToolButton()
        self._problems_toggle.setProperty("flat", "true")
        self._problems_toggle.setCheckable(True)
        self._problems_toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._problems_toggle.setArrowType(Qt.ArrowType.RightArrow)
        self.problems = QListWidget()
        self.problems.setWordWrap(True)
        self.problems.setTextElideMode(Qt.TextElideMode.ElideNone)
        self.problems.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.problems.setAccessibleName("Notes on reading")
        self.problems.setSpacing(2)
        self.problems.setVisible(False)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 10, 6, 6)
        layout.setSpacing(6)
        layout.addWidget(self._heading)
        layout.addWidget(self._empty)
        layout.addWidget(self.list, 3)
        layout.addWidget(self._problems_toggle)
        layout.addWidget(self.problems, 2)
        layout.addStretch(0)

        self.list.picked.connect(self._on_picked)
        self._problems_toggle.toggled.connect(self._on_problems_toggled)
        state.case.events.catalogue.connect(self._fill)
        state.case.events.volume.connect(self._on_volume)
        state.display.events.privacy.connect(self._on_privacy)
        self._fill()

    @property
    def notes_open(self) -> bool:
        """Whether the notes on reading are open (where there are any)."""
        return self._problems_toggle.isChecked()

    @notes_open.setter
    def notes_open(self, opened: bool) -> None:
        self._problems_toggle.setChecked(opened)

    def sizeHint(self) -> QSize:
        """Wide enough for a thumbnail and a title."""
        return QSize(210, 600)

    @Slot(str, object)
    def set_thumbnail(self, series_id: str, picture: ByteArray) -> None:
        """Show a (h, w) uint8 grey picture, or (h, w, 3) RGB, beside a series; unknown ids are ignored."""
        for row in range(self.list.count()):
            item = self.list.item(row)
            if item.data(_ID) == series_id:
                item.setData(Qt.ItemDataRole.DecorationRole, _pixmap(picture))

    def _fill(self) -> None:
        catalogue = self._state.case.catalogue
        self.list.clear()
        for entry in catalogue.series if catalogue else ():
            item = QListWidgetItem()
            item.setData(_ID, entry.series_id)
            item.setData(_ENTRY, entry)
            self.list.addItem(item)
        self._describe()
        self._empty.setVisible(self.list.count() == 0)
        self.list.setVisible(self.list.count() > 0)
        self._heading.setText(f"SERIES · {self.list.count()}" if self.list.count() > 1 else "SERIES")
        self._on_volume()

    def _describe(self) -> None:
        """Write title, size and state of each series into its item: shown, in the tip, and read aloud."""
        for row in range(self.list.count()):
            item = self.list.item(row)
            entry: SeriesEntry = item.data(_ENTRY)
            title = f"Series {row + 1}" if self._state.display.privacy else entry.title
            text = f"{title}, {describe_size(entry)}, {self._status(entry)}"
            lines = [title, describe_size(entry)]
            lines += [f"{STATUS_SHAPES[p.level]} {self._told(p)}" for p in entry.problems]
            item.setData(_TITLE, title)
            item.setData(_STATUS, self._status(entry))
            item.setText(text)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, text)
            item.setToolTip("\n".join(lines if entry.problems else [*lines, "● complete"]))

    def _status(self, entry: SeriesEntry) -> str:
        return shown_text(describe_status(entry), self._state)

    def _told(self, problem: Problem) -> str:
        return shown_text(describe_problem(problem), self._state)

    def _on_privacy(self) -> None:
        self._describe()
        self._fill_problems()

    def _on_volume(self) -> None:
        volume = self._state.case.volume
        for row in range(self.list.count()):
            item = self.list.item(row)
            if volume is not None and item.data(_ID) == volume.series_id:
                self.list.setCurrentItem(item)
        self._fill_problems()

    def _fill_problems(self) -> None:
        case = self._state.case
        self.problems.clear()
        for problem in _problems(self._state):
            item = QListWidgetItem(f"{STATUS_SHAPES[problem.level]} {self._told(problem)}")
            item.setForeground(QColor(STATUS_COLOURS[problem.level]))
            if problem.files and not self._state.display.privacy:
                item.setToolTip("\n".join(problem.files[:20]))
            self.problems.addItem(item)
        count = self.problems.count()
        noun = "note" if count == 1 else "notes"
        self._problems_toggle.setText(f"{count} {noun} on reading")
        self._problems_toggle.setVisible(count > 0)
        self.problems.setVisible(count > 0 and self._problems_toggle.isChecked())
        self._empty.setText(
            "No series here."
            if case.catalogue is not None
            else "Open a file or folder, or drop it here, to see its series."
        )

    @Slot(bool)
    def _on_problems_toggled(self, opened: bool) -> None:
        self._problems_toggle.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self.problems.setVisible(opened and self.problems.count() > 0)

    @Slot(QListWidgetItem)
    def _on_picked(self, item: QListWidgetItem) -> None:
        volume = self._state.case.volume
        series_id = str(item.data(_ID))
        # A second, slower click while the series is being read does not read it anew.
        reading = self._state.case.opening == series_id
        # While another series is being read, picking the open one calls that off.
        elsewhere = self._state.case.opening not in ("", series_id)
        if not reading and (volume is None or volume.series_id != series_id or elsewhere):
            self.seriesChosen.emit(series_id)
        self.seriesPicked.emit()


def _problems(state: AppState) -> list[Problem]:
    """Problems of the open volume, else of its entry; then files of the catalogue that cannot be read."""
    case = state.case
    found: list[Problem] = []
    if case.volume is not None:
        found += case.volume.problems
    elif case.catalogue is not None:
        for entry in case.catalogue.series:
            found += entry.problems
    if case.catalogue is not None:
        found += _unreadable(case.catalogue)
    return list(dict.fromkeys(found))


def _unreadable(catalogue: Catalogue) -> list[Problem]:
    reasons: dict[str, list[str]] = {}
    for report in catalogue.files:
        if report.status == "error":
            name = report.path.replace("\\", "/").rsplit("/", 1)[-1]
            reasons.setdefault(report.reason or "not readable", []).append(name)
    return [
        Problem("error", f"{len(names)} file{'s' * (len(names) > 1)}: {reason}", files=tuple(names))
        for reason, names in reasons.items()
    ]


def _pixmap(picture: ByteArray) -> QPixmap:
    height, width = picture.shape[:2]
    grey = picture.ndim == 2
    form = QImage.Format.Format_Grayscale8 if grey else QImage.Format.Format_RGB888
    # copy(): QImage does not keep the bytes alive.
    image = QImage(picture.tobytes(), width, height, width * (1 if grey else 3), form).copy()
    return QPixmap.fromImage(image)


def _fitted(pixmap: QPixmap, room: QSize, ratio: float) -> QPixmap:
    """Return a picture that fits into ``room`` screen pixels, in the pixels of the device."""
    side = QSize(round(room.width() * ratio), round(room.height() * ratio))
    fitted = pixmap.scaled(
        side, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
    fitted.setDevicePixelRatio(ratio)
    return fitted


class _SeriesDelegate(QStyledItemDelegate):
    """Paints thumbnail, title, size and status of a series."""

    def sizeHint(self, _option: QStyleOptionViewItem, _index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(150, _THUMBNAIL + 2 * _MARGIN)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        entry: SeriesEntry = index.data(_ENTRY)
        rect: QRect = option.rect.adjusted(1, 2, -1, -2)
        flags: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        chosen = bool(flags & QStyle.StateFlag.State_Selected)
        hovered = bool(flags & QStyle.StateFlag.State_MouseOver)
        if chosen or hovered:
            painter.setPen(QColor("#2f7fd1") if chosen else Qt.PenStyle.NoPen)
            painter.setBrush(QColor("#21344a" if chosen else "#222b36"))
            painter.drawRoundedRect(rect, 6, 6)
        side = _THUMBNAIL - 4
        frame = QRect(rect.left() + _MARGIN, rect.center().y() - side // 2, side, side)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor("#0c0f13"))
        painter.drawRoundedRect(frame, 4, 4)
        thumbnail = index.data(Qt.ItemDataRole.DecorationRole)
        if not isinstance(thumbnail, QPixmap):
            inner = frame.adjusted(16, 16, -16, -16)
            icon("image").paint(painter, inner, mode=QIcon.Mode.Disabled)
        else:
            picture = _fitted(thumbnail, frame.size(), device_ratio(painter))
            target = QRect(frame.topLeft(), picture.deviceIndependentSize().toSize())
            target.moveCenter(frame.center())
            painter.drawPixmap(target, picture)
        left = frame.right() + _MARGIN + 2
        room = QRect(left, rect.top(), rect.right() - left - 4, rect.height())
        self._paint_text(painter, room, str(index.data(_TITLE)), entry, told=str(index.data(_STATUS)))
        painter.restore()

    def _paint_text(
        self, painter: QPainter, rect: QRect, title: str, entry: SeriesEntry, *, told: str
    ) -> None:
        base = QFont(painter.font())
        base.setPixelSize(13)
        small = QFont(base)
        small.setPixelSize(11)
        status = entry.status
        told = f"{STATUS_SHAPES[status]} {told}"
        status_colour = STATUS_COLOURS[status] if status != "ok" else MUTED
        titles = two_lines(title, QFontMetrics(base), rect.width())
        lines = [
            *((base, TEXT, 17, line) for line in titles),
            (small, MUTED, 15, describe_size(entry)),
            (small, status_colour, 15, told),
        ]
        top = rect.center().y() - sum(height for _, _, height, _ in lines) // 2
        for font, colour, height, text in lines:
            painter.setFont(font)
            painter.setPen(QColor(colour))
            shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, rect.width())
            painter.drawText(
                QRect(rect.left(), top, rect.width(), height), Qt.AlignmentFlag.AlignVCenter, shown
            )
            top += height


def two_lines(text: str, metrics: QFontMetrics, width: int) -> list[str]:
    """Break a title between words into at most two lines; what is still too long is elided later."""
    if metrics.horizontalAdvance(text) <= width:
        return [text]
    words = text.split(" ")
    for count in range(len(words) - 1, 0, -1):
        first = " ".join(words[:count])
        if metrics.horizontalAdvance(first) <= width:
            return [first, " ".join(words[count:])]
    return [text]
