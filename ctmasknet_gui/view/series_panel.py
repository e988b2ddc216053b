"""Left panel: the series found, by patient and study, and what was noticed while reading them."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QEvent, QSize, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QListWidget, QListWidgetItem, QToolButton, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.privacy import shown_text
from ctmasknet_gui.view.series_list import WHAT, Heading, Series, SeriesList, pixmap_of
from ctmasknet_gui.view.series_text import (
    NO_STUDY,
    describe_problem,
    describe_size,
    describe_status,
    grouped,
    patient_text,
    problems_shown,
    study_text,
)
from ctmasknet_gui.view.style import STATUS_SHAPES, label, status_colour
from model_core.base.arrays import ByteArray
from model_core.base.volume import PatientText, Problem, SeriesEntry

# Lists longer than a screen holds are searched.
_MANY = 9
_NOTHING_OPEN = "Open a file or folder, or drop it here, to see its series."


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
        self.list = SeriesList()
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
                item.setData(Qt.ItemDataRole.DecorationRole, pixmap_of(picture))

    def _rows(self) -> Iterator[tuple[QListWidgetItem, Series | Heading]]:
        for row in range(self.list.count()):
            item = self.list.item(row)
            yield item, item.data(WHAT)

    def _items(self) -> Iterator[tuple[QListWidgetItem, Series]]:
        """Yield the items of series, without headings."""
        for item, what in self._rows():
            if isinstance(what, Series):
                yield item, what

    def _fill(self) -> None:
        catalogue = self._state.case.catalogue
        series = () if catalogue is None else catalogue.series
        self.list.clear()
        patients = grouped(series)
        several = sum(len(studies) for studies in patients) > 1
        for number, studies in enumerate(patients, start=1):
            if several:
                self._add(Heading(studies[0][0].patient, number, of_study=False))
            for place, entries in enumerate(studies, start=1):
                if several and study_text(entries[0].patient) != NO_STUDY:
                    self._add(Heading(entries[0].patient, place, of_study=True))
                for entry in entries:
                    self._add(Series(entry))
        self._describe()
        count = len(series)
        self._empty.setVisible(count == 0)
        self.list.setVisible(count > 0)
        self._heading.setText(f"SERIES · {count}" if count > 1 else "SERIES")
        self.search.setVisible(count > _MANY)
        self.search.clear()
        self._on_volume()

    def _add(self, what: Series | Heading) -> None:
        item = QListWidgetItem()
        item.setData(WHAT, what)
        if isinstance(what, Heading):
            item.setFlags(Qt.ItemFlag.NoItemFlags)  # the arrow keys go past it
        self.list.addItem(item)

    def _describe(self) -> None:
        """Write title, size and state of each series into its item: shown, in the tip, and read aloud."""
        catalogue = self._state.case.catalogue
        series = () if catalogue is None else catalogue.series
        # In the order in which they were found, not that of the list.
        numbers = {entry.series_id: number for number, entry in enumerate(series, start=1)}
        for item, what in self._rows():
            if isinstance(what, Heading):
                self._describe_heading(item, what)
            else:
                self._describe_series(item, what.entry, numbers[what.entry.series_id])

    def _describe_heading(self, item: QListWidgetItem, heading: Heading) -> None:
        if self._state.display.privacy:
            text = f"{'Study' if heading.of_study else 'Patient'} {heading.number}"
        else:
            text = study_text(heading.patient) if heading.of_study else patient_text(heading.patient)
        item.setText(text)
        item.setToolTip(text)

    def _describe_series(self, item: QListWidgetItem, entry: SeriesEntry, number: int) -> None:
        private, loaded = self._state.display.privacy, self._loaded.get(entry.series_id)
        shown = Series(
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
        item.setData(WHAT, shown)
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
            if isinstance(what, Heading):
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
        for problem in problems_shown(self._state):
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
        series = item.data(WHAT)
        if not isinstance(series, Series):
            return
        volume, series_id = self._state.case.volume, series.entry.series_id
        # A second, slower click while the series is being read does not read it anew.
        reading = self._state.case.opening == series_id
        # While another series is being read, picking the open one calls that off.
        elsewhere = self._state.case.opening not in ("", series_id)
        if not reading and (volume is None or volume.series_id != series_id or elsewhere):
            self.seriesChosen.emit(series_id)
        self.seriesPicked.emit()
