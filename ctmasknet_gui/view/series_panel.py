"""Left panel: the series found, by patient and study, and what was noticed while reading them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QImage, QKeyEvent, QPainter, QPixmap
from PySide6.QtWidgets import (
    QLineEdit,
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
from ctmasknet_gui.state.privacy import shown_text
from ctmasknet_gui.view.style import ACCENT, STATUS_SHAPES, colour, icon, label, status_colour, theme
from ctmasknet_gui.view.viewport.pictures import device_ratio
from model_core.base.arrays import ByteArray
from model_core.base.volume import Catalogue, PatientText, Problem, SeriesEntry, readable_name
from model_core.scene.corners import readable_date

# What an item of the list stands for: a `_Series` or a `_Heading`.
_WHAT = Qt.ItemDataRole.UserRole
_THUMBNAIL = 56
_MARGIN = 8
_PATIENT_HEIGHT, _STUDY_HEIGHT = 26, 18
# Lists longer than a screen holds are searched.
_MANY = 9
_NO_STUDY = "Study not stated"
_NOTHING_OPEN = "Open a file or folder, or drop it here, to see its series."
_STATUS_RANK = {"error": 2, "warning": 1, "info": 0}


def patient_text(patient: PatientText) -> str:
    """Return whom a series is of: name, number and date of birth, as far as known."""
    born = f"born {readable_date(patient.birth_date)}" if patient.birth_date else ""
    parts = (readable_name(patient.name), patient.patient_id, born)
    return " · ".join(filter(None, parts)) or "Patient not stated"


def study_text(patient: PatientText) -> str:
    """Return of which study a series is: date and description, as far as known."""
    words = " ".join(patient.study_description.replace("^", " ").split())
    if words.casefold() in ("none", "null"):  # what some programs write for nothing
        words = ""
    return " · ".join(filter(None, (readable_date(patient.study_date), words))) or _NO_STUDY


def grouped(series: Sequence[SeriesEntry]) -> list[list[list[SeriesEntry]]]:
    """Return series by patient, and each patient's by study, in the order in which they first come."""
    patients: dict[str, dict[str, list[SeriesEntry]]] = {}
    for entry in series:
        studies = patients.setdefault(patient_text(entry.patient), {})
        studies.setdefault(study_text(entry.patient), []).append(entry)
    return [list(studies.values()) for studies in patients.values()]


def describe_size(entry: SeriesEntry, slices: int | None = None) -> str:
    """Return for example ``148 × 512², CT``; ``slices`` are those that could be read, where that is known."""
    depth, height, width = entry.size
    depth = depth if slices is None else slices
    plane = f"{height}²" if height == width else f"{width}×{height}"
    return f"{depth} × {plane}, {entry.modality or 'image'}"


def describe_status(entry: SeriesEntry) -> str:
    """Return the worst problem in words, or that there is none."""
    if not entry.problems:
        return "complete"
    return max(entry.problems, key=lambda problem: _STATUS_RANK[problem.level]).text


def count_problems(entry: SeriesEntry) -> str:
    """Return how many problems of the worst level there are: what fits where `describe_status` does not."""
    worst = max((problem.level for problem in entry.problems), key=_STATUS_RANK.__getitem__, default="info")
    count = sum(problem.level == worst for problem in entry.problems)
    noun = {"error": "error", "warning": "warning", "info": "note"}[worst]
    return f"{count} {noun}{'s' * (count != 1)}"


def describe_problem(problem: Problem) -> str:
    """Return a problem and what was done about it."""
    return f"{problem.text} {problem.action}".strip()


@dataclass(frozen=True)
class _Series:
    """A series of the list and what is written of it."""

    entry: SeriesEntry
    title: str = ""
    size: str = ""
    status: str = ""


@dataclass(frozen=True)
class _Heading:
    """A patient or a study of the list, by its number where names stay hidden."""

    patient: PatientText
    number: int
    of_study: bool


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


class _Search(QLineEdit):
    """Tells of the keys that lead out of it.

    Signals
    -------
    left(), down(), taken():
        Escape (what was typed is dropped), Down, Return.
    """

    left, down, taken = Signal(), Signal(), Signal()

    def event(self, event: QEvent) -> bool:
        """Keep Escape from stopping what runs while something is searched."""
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
        ):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave with Escape, Down and Return."""
        signal = {
            Qt.Key.Key_Escape: self.left,
            Qt.Key.Key_Down: self.down,
            Qt.Key.Key_Return: self.taken,
            Qt.Key.Key_Enter: self.taken,
        }.get(Qt.Key(event.key()))
        if signal is None:
            super().keyPressEvent(event)
        else:
            signal.emit()


class SeriesPanel(QWidget):
    """List of the catalogue's series, by patient and study where there are several of them.

    In privacy mode all are numbered: titles may be names of patients. Long lists can be searched.

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
        self._heading = label("SERIES", role="heading")
        self.search = _Search()
        self.search.setPlaceholderText("Search (Ctrl+F)")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search the series")
        self.search.setToolTip("Show the series whose title, patient, study or kind holds these words")
        # Slices that could be read of the series opened so far.
        self._loaded: dict[str, int] = {}
        self.list = _SeriesList()
        self.list.setItemDelegate(_SeriesDelegate(self.list))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.list.setMouseTracking(True)
        self.list.setAccessibleName("Series")
        self._empty = label(_NOTHING_OPEN, role="muted", wrap=True)
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
        layout.addWidget(self.search)
        layout.addWidget(self._empty)
        layout.addWidget(self.list, 3)
        layout.addWidget(self._problems_toggle)
        layout.addWidget(self.problems, 2)
        layout.addStretch(0)

        self.list.picked.connect(self._on_picked)
        self.search.textChanged.connect(self._filter)
        self.search.left.connect(self._leave_search)
        self.search.down.connect(self._enter_list)
        self.search.taken.connect(self._take_first)
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
        for item, series in self._items():
            if series.entry.series_id == series_id:
                item.setData(Qt.ItemDataRole.DecorationRole, _pixmap(picture))

    def _rows(self) -> Iterator[tuple[QListWidgetItem, _Series | _Heading]]:
        for row in range(self.list.count()):
            item = self.list.item(row)
            yield item, item.data(_WHAT)

    def _items(self) -> Iterator[tuple[QListWidgetItem, _Series]]:
        """Yield the items of series, without headings."""
        for item, what in self._rows():
            if isinstance(what, _Series):
                yield item, what

    def _fill(self) -> None:
        catalogue = self._state.case.catalogue
        series = () if catalogue is None else catalogue.series
        self.list.clear()
        patients = grouped(series)
        several = sum(len(studies) for studies in patients) > 1
        for number, studies in enumerate(patients, start=1):
            if several:
                self._add(_Heading(studies[0][0].patient, number, of_study=False))
            for place, entries in enumerate(studies, start=1):
                if several and study_text(entries[0].patient) != _NO_STUDY:
                    self._add(_Heading(entries[0].patient, place, of_study=True))
                for entry in entries:
                    self._add(_Series(entry))
        self._describe()
        count = len(series)
        self._empty.setVisible(count == 0)
        self.list.setVisible(count > 0)
        self._heading.setText(f"SERIES · {count}" if count > 1 else "SERIES")
        self.search.setVisible(count > _MANY)
        self.search.clear()
        self._on_volume()

    def _add(self, what: _Series | _Heading) -> None:
        item = QListWidgetItem()
        item.setData(_WHAT, what)
        if isinstance(what, _Heading):
            item.setFlags(Qt.ItemFlag.NoItemFlags)  # the arrow keys go past it
        self.list.addItem(item)

    def _describe(self) -> None:
        """Write title, size and state of each series into its item: shown, in the tip, and read aloud."""
        catalogue = self._state.case.catalogue
        series = () if catalogue is None else catalogue.series
        # In the order in which they were found, not that of the list.
        numbers = {entry.series_id: number for number, entry in enumerate(series, start=1)}
        for item, what in self._rows():
            if isinstance(what, _Heading):
                self._describe_heading(item, what)
            else:
                self._describe_series(item, what.entry, numbers[what.entry.series_id])

    def _describe_heading(self, item: QListWidgetItem, heading: _Heading) -> None:
        if self._state.display.privacy:
            text = f"{'Study' if heading.of_study else 'Patient'} {heading.number}"
        else:
            text = study_text(heading.patient) if heading.of_study else patient_text(heading.patient)
        item.setText(text)
        item.setToolTip(text)

    def _describe_series(self, item: QListWidgetItem, entry: SeriesEntry, number: int) -> None:
        private, loaded = self._state.display.privacy, self._loaded.get(entry.series_id)
        shown = _Series(
            entry,
            title=f"Series {number}" if private else entry.title,
            size=describe_size(entry, loaded),
            status=self._status(entry),
        )
        lines = [shown.title, shown.size]
        if loaded is not None and loaded != entry.size[0]:
            lines.append(f"{loaded} of {entry.size[0]} slices could be read")
        if not private and entry.patient != PatientText():
            lines += [patient_text(entry.patient), study_text(entry.patient)]
        lines += [f"{STATUS_SHAPES[p.level]} {self._told(p)}" for p in entry.problems]
        text = f"{shown.title}, {shown.size}, {shown.status}"
        item.setData(_WHAT, shown)
        item.setText(text)
        item.setData(Qt.ItemDataRole.AccessibleTextRole, text)
        item.setToolTip("\n".join(lines if entry.problems else [*lines, "● complete"]))

    def _status(self, entry: SeriesEntry) -> str:
        return shown_text(describe_status(entry), self._state)

    def _told(self, problem: Problem) -> str:
        return shown_text(describe_problem(problem), self._state)

    def _on_privacy(self) -> None:
        self._describe()
        self._filter()
        self._fill_problems()

    def _on_volume(self) -> None:
        volume = self._state.case.volume
        if volume is not None and self._loaded.get(volume.series_id) != volume.slices:
            self._loaded[volume.series_id] = volume.slices
            self._describe()
        for item, series in self._items():
            if volume is not None and series.entry.series_id == volume.series_id:
                self.list.setCurrentItem(item)
        self._fill_problems()

    # ------------------------------------------------------------------------------------- search

    @Slot()
    def _filter(self) -> None:
        """Show the series that hold every word that was typed, and the headings above them."""
        words = self.search.text().casefold().split()
        above: list[QListWidgetItem] = []
        for item, what in self._rows():
            if isinstance(what, _Heading):
                # A study stays below its patient; a patient ends what came before.
                above = [*above[:1], item] if what.of_study else [item]
                item.setHidden(True)
                continue
            text = "\n".join(row.text() for row in (item, *above)).casefold()
            item.setHidden(not all(word in text for word in words))
            if not item.isHidden():
                for heading in above:
                    heading.setHidden(False)

    def focus_search(self) -> None:
        """Let the keys go to the search field, or to the list where it is short."""
        if self.search.isVisible():
            self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
            self.search.selectAll()
        else:
            self.list.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _first_found(self) -> QListWidgetItem | None:
        return next((item for item, _ in self._items() if not item.isHidden()), None)

    @Slot()
    def _leave_search(self) -> None:
        self.search.clear()
        self.seriesPicked.emit()

    @Slot()
    def _enter_list(self) -> None:
        item = self._first_found()
        if item is not None:
            self.list.setCurrentItem(item)
            self.list.setFocus(Qt.FocusReason.OtherFocusReason)

    @Slot()
    def _take_first(self) -> None:
        item = self._first_found()
        if item is not None and self.search.text().strip():
            self._on_picked(item)

    def restyle(self) -> None:
        """Take the colours of another theme."""
        self._fill_problems()

    def _fill_problems(self) -> None:
        case = self._state.case
        self.problems.clear()
        for problem in _problems(self._state):
            item = QListWidgetItem(f"{STATUS_SHAPES[problem.level]} {self._told(problem)}")
            item.setForeground(status_colour(problem.level))
            if problem.files and not self._state.display.privacy:
                item.setToolTip("\n".join(problem.files[:20]))
            self.problems.addItem(item)
        count = self.problems.count()
        noun = "note" if count == 1 else "notes"
        self._problems_toggle.setText(f"{count} {noun} on reading")
        self._problems_toggle.setVisible(count > 0)
        self.problems.setVisible(count > 0 and self._problems_toggle.isChecked())
        self._empty.setText("No series here." if case.catalogue is not None else _NOTHING_OPEN)

    @Slot(bool)
    def _on_problems_toggled(self, opened: bool) -> None:
        self._problems_toggle.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self.problems.setVisible(opened and self.problems.count() > 0)

    @Slot(QListWidgetItem)
    def _on_picked(self, item: QListWidgetItem) -> None:
        series = item.data(_WHAT)
        if not isinstance(series, _Series):
            return
        volume, series_id = self._state.case.volume, series.entry.series_id
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
        Problem(
            "error",
            f"{len(names)} file{'s' * (len(names) > 1)}: {reason}",
            files=tuple(names),
            code="unreadable_files",
        )
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
    """Paints thumbnail, title, size and status of a series, and the headings."""

    def sizeHint(self, _option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        what = index.data(_WHAT)
        if isinstance(what, _Heading):
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
        what: _Series | _Heading = index.data(_WHAT)
        if isinstance(what, _Heading):
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

    def _paint_text(self, painter: QPainter, rect: QRect, series: _Series) -> None:
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
