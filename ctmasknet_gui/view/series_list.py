"""The list of series: its items, its keys, and how an item is painted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QImage, QKeyEvent, QPainter, QPixmap
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from ctmasknet_gui.view.series_text import count_problems
from ctmasknet_gui.view.style import ACCENT, STATUS_SHAPES, colour, icon, theme
from ctmasknet_gui.view.viewport.pictures import device_ratio
from model_core.base.arrays import ByteArray
from model_core.base.volume import PatientText, SeriesEntry

# What an item of the list stands for: a `Series` or a `Heading`.
WHAT = Qt.ItemDataRole.UserRole
_THUMBNAIL = 56
_MARGIN = 8
_PATIENT_HEIGHT, _STUDY_HEIGHT = 26, 18


@dataclass(frozen=True)
class Series:
    """A series of the list and what is written of it."""

    entry: SeriesEntry
    title: str = ""
    size: str = ""
    status: str = ""


@dataclass(frozen=True)
class Heading:
    """A patient or a study of the list, by its number where names stay hidden."""

    patient: PatientText
    number: int
    of_study: bool


class SeriesList(QListWidget):
    """Tells of a click or of Return on a series, once each: a double click is one choice."""

    picked = Signal(QListWidgetItem)

    def __init__(self) -> None:
        super().__init__()
        self.setItemDelegate(_SeriesDelegate(self))
        # Not itemActivated: it comes with a double click too, after the click has been told.
        self.itemClicked.connect(self.picked)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Choose with Return."""
        item = self.currentItem()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and item is not None:
            self.picked.emit(item)
        else:
            super().keyPressEvent(event)


def pixmap_of(picture: ByteArray) -> QPixmap:
    """Return a (h, w) grey or (h, w, 3) RGB picture for an item to show."""
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
    """Paints thumbnail, title, size and status of a series, and the headings."""

    def sizeHint(self, _option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        what = index.data(WHAT)
        if isinstance(what, Heading):
            return QSize(150, _STUDY_HEIGHT if what.of_study else _PATIENT_HEIGHT)
        return QSize(150, _THUMBNAIL + 2 * _MARGIN)

    def _paint_heading(self, painter: QPainter, rect: QRect, text: str, *, of_study: bool) -> None:
        font = QFont(painter.font())
        font.setPixelSize(11 if of_study else 12)
        font.setBold(not of_study)
        painter.setFont(font)
        painter.setPen(colour("muted" if of_study else "text"))
        room = rect.adjusted(3, 0 if of_study else 6, -3, 0)
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, shown)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        what: Series | Heading = index.data(WHAT)
        if isinstance(what, Heading):
            painter.save()
            text = str(index.data(Qt.ItemDataRole.DisplayRole))
            self._paint_heading(painter, option.rect, text, of_study=what.of_study)
            painter.restore()
            return
        rect: QRect = option.rect.adjusted(1, 2, -1, -2)
        flags: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        chosen = bool(flags & QStyle.StateFlag.State_Selected)
        hovered = bool(flags & QStyle.StateFlag.State_MouseOver)
        if chosen or hovered:
            painter.setPen(QColor(ACCENT) if chosen else Qt.PenStyle.NoPen)
            painter.setBrush(colour("chosen" if chosen else "hovered"))
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
        self._paint_text(painter, room, what)
        painter.restore()

    def _paint_text(self, painter: QPainter, rect: QRect, series: Series) -> None:
        base = QFont(painter.font())
        base.setPixelSize(13)
        small = QFont(base)
        small.setPixelSize(11)
        level = series.entry.status
        told = f"{STATUS_SHAPES[level]} {series.status}"
        if QFontMetrics(small).horizontalAdvance(told) > rect.width():
            told = f"{STATUS_SHAPES[level]} {count_problems(series.entry)}"
        now = theme()
        level_colour = now.status[level] if level != "ok" else now.muted
        titles = two_lines(series.title, QFontMetrics(base), rect.width())
        lines = [
            *((base, now.text, 17, line) for line in titles),
            (small, now.muted, 15, series.size),
            (small, level_colour, 15, told),
        ]
        top = rect.center().y() - sum(height for _, _, height, _ in lines) // 2
        for font, shade, height, text in lines:
            painter.setFont(font)
            painter.setPen(QColor(shade))
            shown = elided(text, painter.fontMetrics(), rect.width())
            painter.drawText(
                QRect(rect.left(), top, rect.width(), height), Qt.AlignmentFlag.AlignVCenter, shown
            )
            top += height


def elided(text: str, metrics: QFontMetrics, width: int) -> str:
    """Shorten a text, but never the distance of the slices at its end: it tells series apart."""
    found = re.search(r" \S+ mm$", text)
    end = found.group() if found is not None and metrics.horizontalAdvance(text) > width else ""
    room = width - metrics.horizontalAdvance(end)
    return metrics.elidedText(text.removesuffix(end), Qt.TextElideMode.ElideRight, room) + end


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
