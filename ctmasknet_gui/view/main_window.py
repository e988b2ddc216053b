"""The one window: series list, slice, strip and explanation; asks for what the user wants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QByteArray, QEvent, QPoint, Qt, Signal, Slot
from PySide6.QtGui import (
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QResizeEvent,
    QShowEvent,
    QStatusTipEvent,
)
from PySide6.QtWidgets import QDockWidget, QHBoxLayout, QMainWindow, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.dialogs import Dialogs
from ctmasknet_gui.view.explanation import ExplanationPanel
from ctmasknet_gui.view.explanation.controls import QuietSpinBox
from ctmasknet_gui.view.explanation.hint import Hint
from ctmasknet_gui.view.keyboard import ShortcutGuard, keep_click_focus
from ctmasknet_gui.view.layout import Arrangement, from_bytes, to_bytes
from ctmasknet_gui.view.menus import Menus
from ctmasknet_gui.view.message_bar import MessageBar
from ctmasknet_gui.view.series_panel import SeriesPanel
from ctmasknet_gui.view.status import StatusBar
from ctmasknet_gui.view.strip import SliceStrip
from ctmasknet_gui.view.style import set_theme
from ctmasknet_gui.view.tool_bar import ToolBar
from ctmasknet_gui.view.use_cases import UseCases
from ctmasknet_gui.view.viewport import Viewport, local_paths
from model_core.base.arrays import ByteArray

TITLE = "CTMaskNet"
MINIMUM_SIZE = (1100, 700)
# Widths of the side docks at a window width of 1280 and, from 2000 on, of large screens.
_NARROW, _WIDE = (190, 462), (260, 520)
_WIDE_FROM = 2000
# Below, the list of series leaves its width to the picture.
_NARROW_BELOW = 1240
_LAYOUT_VERSION = 1


class MainWindow(QMainWindow):
    """Main window over `AppState`. It reads state and asks for use cases; it never writes state.

    Parameters
    ----------
    use:
        What its actions and widgets call.

    Signals
    -------
    closing():
        The window is about to close: store settings, stop the worker.
    """

    closing = Signal()

    def __init__(self, state: AppState, use: UseCases, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.use = use
        self._dock_widths: tuple[int, int] | None = None
        self._layout_restored = False
        # The list of series gave way to the picture; the user opened it all the same.
        self._collapsed = self._pinned = False
        self.commands = Actions(state, self)
        self.commands.connect_to(use)
        self.dialogs = Dialogs(self, state, self.commands, use)
        self._make_widgets()
        self._make_docks()
        self._connect_widgets()
        self._connect_own_commands()
        self.guard = ShortcutGuard(self)
        self.guard.watch(self)
        keep_click_focus(self)
        self.setAcceptDrops(True)
        self.setMinimumSize(*MINIMUM_SIZE)
        self.resize(1280, 800)
        state.case.events.volume.connect(self._on_volume)
        state.case.events.partial.connect(self._on_volume)
        state.case.events.catalogue.connect(self._check_panels)
        state.display.events.privacy.connect(self._show_title)
        state.display.events.theme.connect(self._on_theme)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_theme)
        self._on_theme()
        self._on_volume()

    # ------------------------------------------------------------------------------------ assembly

    def _make_widgets(self) -> None:
        state = self._state
        self.viewport = Viewport(state)
        self.strip = SliceStrip(state)
        self.series = SeriesPanel(state)
        self.explanation = ExplanationPanel(state)
        self.status = StatusBar(state, self.commands)
        self.menus = Menus(self.menuBar(), state, self.commands, self.use)
        self.tool_bar = ToolBar(state, self.commands, self.menus)
        self.addToolBar(Qt.ToolBarArea.TopToolBarArea, self.tool_bar)
        self.setStatusBar(self.status)
        # Actions without a menu entry still need the window for their shortcuts.
        self.addActions(self.commands.all)

        reading = QWidget()
        column, row = QVBoxLayout(reading), QHBoxLayout()
        for layout in (column, row):
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(0)
        row.addWidget(self.viewport, 1)
        row.addWidget(self.strip)
        self.hint = Hint(state)
        column.addLayout(row, 1)
        column.addWidget(self.hint)
        self.setCentralWidget(reading)
        self.message_bar = MessageBar(state, self, over=reading, status=self.status)

    def _make_docks(self) -> None:
        sides = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
        # Side docks reach from the tool bar to the status bar.
        for corner, side in (
            (Qt.Corner.TopLeftCorner, sides[0]),
            (Qt.Corner.BottomLeftCorner, sides[0]),
            (Qt.Corner.TopRightCorner, sides[1]),
            (Qt.Corner.BottomRightCorner, sides[1]),
        ):
            self.setCorner(corner, side)
        self.series_dock = self._dock("Series list", self.series, sides[0])
        self.explanation_dock = self._dock("Explanation", self.explanation, sides[1])
        # Tab goes from left to right.
        QWidget.setTabOrder(self.series.list, self.viewport)
        QWidget.setTabOrder(self.viewport, self.strip)
        for dock, action in (
            (self.series_dock, self.commands.series_panel),
            (self.explanation_dock, self.commands.explanation_panel),
        ):
            dock.visibilityChanged.connect(self._check_panels)
            action.setCheckable(True)
            action.triggered.connect(lambda shown, dock=dock: dock.setVisible(shown))
        self.commands.series_panel.triggered.connect(self._on_series_panel)
        self._check_panels()

    def _dock(self, title: str, content: QWidget, side: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(title.lower().replace(" ", "_"))
        dock.setAllowedAreas(Qt.DockWidgetArea.LeftDockWidgetArea | Qt.DockWidgetArea.RightDockWidgetArea)
        dock.setFeatures(
            QDockWidget.DockWidgetFeature.DockWidgetClosable | QDockWidget.DockWidgetFeature.DockWidgetMovable
        )
        # The panels carry their own headings; an empty title bar saves the height.
        dock.setTitleBarWidget(QWidget(dock))
        dock.setWidget(content)
        self.addDockWidget(side, dock)
        return dock

    def _connect_widgets(self) -> None:
        self._connect_viewport()
        use = self.use
        self.series.seriesChosen.connect(use.open_series)
        self.series.seriesPicked.connect(self._focus_slices)
        for spin in self.findChildren(QuietSpinBox):
            spin.left.connect(self._focus_slices)
        explanation = self.explanation
        explanation.thresholds.detectionsChanged.connect(use.set_detections)
        explanation.thresholds.evidenceChanged.connect(use.set_evidence)
        explanation.thresholds.linkToggled.connect(use.set_linked)
        explanation.table.candidatePicked.connect(use.pick)
        explanation.table.regionsPicked.connect(use.pick_several)
        explanation.table.topChosen.connect(use.set_top)
        explanation.table.lesions.lesionChosen.connect(use.go_to_lesion)
        explanation.table.lesions.seen.connect(use.watch_lesions)
        explanation.plots.candidatePicked.connect(use.pick)
        explanation.plots.regionsPicked.connect(use.pick_several)
        explanation.plots.evidenceAsked.connect(use.set_evidence)
        explanation.plots.sliceAsked.connect(use.show_slice)
        explanation.plots.sensitivity.seen.connect(use.watch_sensitivity)
        explanation.plots.pixels.asked.connect(self.commands.explain_pixels.trigger)
        explanation.plots.pixels.mapChosen.connect(use.show_pixel_map)
        explanation.plots.pixels.pointed.connect(use.point_at)
        self.hint.dismissed.connect(use.dismiss_hint)
        why = explanation.why
        why.wayChosen.connect(use.choose_way)
        why.groupingChosen.connect(use.choose_grouping)
        why.outputChosen.connect(use.choose_output)
        why.colourToggled.connect(lambda: use.toggle("contributions"))
        why.regionsPicked.connect(use.pick_several)
        why.excludeAsked.connect(use.exclude)
        why.keepAsked.connect(use.keep_only)
        for part in (explanation.table, explanation.plots):
            part.menuRequested.connect(self._show_region_menu)
        explanation.classes.stabilityAsked.connect(use.ask_stability)
        explanation.classes.restoreAsked.connect(use.restore_all)
        explanation.card.sliceChosen.connect(use.show_slice)
        explanation.card.stabilityAsked.connect(use.ask_scan_stability)
        self.tool_bar.opacityEdited.connect(use.set_opacity)
        self.message_bar.dismissed.connect(use.dismiss_messages)
        self.message_bar.faded.connect(use.forget_message)
        self.message_bar.offerTaken.connect(use.take_offer)
        self.message_bar.folderRequested.connect(use.show_folder)

    def _connect_viewport(self) -> None:
        viewport, use = self.viewport, self.use
        viewport.slice_requested.connect(use.show_slice)
        viewport.scroll_requested.connect(use.step)
        viewport.window_requested.connect(use.set_window)
        viewport.view_requested.connect(use.set_zoom)
        viewport.candidate_selected.connect(use.pick)
        viewport.lesion_selected.connect(use.select_lesion)
        viewport.pointed.connect(use.point_at)
        viewport.regions_selected.connect(use.pick_several)
        viewport.region_asked.connect(use.ask)
        viewport.area_edited.connect(use.edit_area)
        viewport.paths_dropped.connect(lambda paths: use.open_paths(tuple(paths)))
        viewport.menu_requested.connect(self._show_slice_menu)
        viewport.empty.open_file.clicked.connect(self.commands.open_file.trigger)
        viewport.empty.open_folder.clicked.connect(self.commands.open_folder.trigger)
        viewport.empty.demo.clicked.connect(self.commands.open_demo.trigger)
        self.strip.slice_requested.connect(use.show_slice)

    def _connect_own_commands(self) -> None:
        """Connect the commands that nobody but the window is needed for."""
        commands, dialogs = self.commands, self.dialogs
        for action, do in (
            (commands.open_file, dialogs.files.ask_files),
            (commands.open_folder, dialogs.files.ask_folder),
            (commands.load_reference, dialogs.files.ask_reference),
            (commands.load_weights, dialogs.files.ask_weights),
            (commands.save_case, dialogs.files.ask_case),
            (commands.export, partial(dialogs.show_export, "png")),
            (commands.export_png, partial(dialogs.show_export, "png")),
            (commands.export_csv, partial(dialogs.show_export, "csv")),
            (commands.export_plots, partial(dialogs.show_export, "plots")),
            (commands.export_lesions, partial(dialogs.show_export, "lesions")),
            (commands.export_slice_page, partial(dialogs.show_export, "slice_page")),
            (commands.export_scan_page, partial(dialogs.show_export, "scan_page")),
            (commands.export_figure, partial(dialogs.show_export, "figure")),
            (commands.export_nms, partial(dialogs.show_export, "nms_figure")),
            (commands.key_images, dialogs.show_key_images),
            (commands.quit, self.close),
            (commands.zoom_in, self.viewport.zoom_in),
            (commands.zoom_out, self.viewport.zoom_out),
            (commands.find_series, self.find_series),
            (commands.next_region, partial(self.explanation.table.step, 1)),
            (commands.previous_region, partial(self.explanation.table.step, -1)),
            (commands.copy_table, self.explanation.table.copy),
            (commands.select_scores, dialogs.select_scores),
            (commands.ask_box, dialogs.ask_box),
            (commands.heal_box, partial(dialogs.edit_box, "heal")),
            (commands.plant_box, partial(dialogs.edit_box, "plant")),
            (commands.explain_pixels, self._show_pixels),
            (commands.other_rules, dialogs.show_rules),
            (commands.keys, dialogs.show_keys),
            (commands.about, dialogs.show_about),
            (commands.about_weights, dialogs.show_weights),
        ):
            action.triggered.connect(lambda _=False, do=do: do())
        commands.full_screen.setCheckable(True)
        commands.full_screen.triggered.connect(self._set_full_screen)

    # -------------------------------------------------------------------------------- from outside

    def set_recent(self, paths: Sequence[Path]) -> None:
        """Fill the list of recent files, newest first."""
        self.menus.set_recent(tuple(paths))

    def set_last_folder(self, folder: Path) -> None:
        """Let file dialogs start in this folder."""
        self.dialogs.files.folder = folder

    @Slot(str, object)
    def set_thumbnail(self, series_id: str, picture: ByteArray) -> None:
        """Show a (h, w) uint8 picture beside a series."""
        self.series.set_thumbnail(series_id, picture)

    def layout_bytes(self) -> tuple[QByteArray, QByteArray]:
        """Return geometry and layout (docks, splitter, plot in front, notes), to be remembered."""
        panel = self.explanation
        arrangement = Arrangement(
            docks=self.saveState(_LAYOUT_VERSION),
            share=panel.split.share,
            plot=panel.plots.tabs.currentIndex(),
            notes=self.series.notes_open,
            collapsed=self._collapsed,
            pinned=self._pinned,
            folded=panel.folded,
        )
        return self.saveGeometry(), to_bytes(arrangement)

    def restore_layout(self, geometry: QByteArray, layout: QByteArray) -> None:
        """Restore what `layout_bytes` returned; empty or damaged bytes change nothing."""
        if not geometry.isEmpty():
            self.restoreGeometry(geometry)
        if layout.isEmpty():
            return
        arrangement = from_bytes(layout)
        if self.restoreState(arrangement.docks, _LAYOUT_VERSION):
            self._layout_restored = True
        self.explanation.split.share = arrangement.share
        # An index of no plot is ignored by the tabs.
        self.explanation.plots.tabs.setCurrentIndex(arrangement.plot)
        self.series.notes_open = arrangement.notes
        self.explanation.restore_fold(arrangement.folded)
        self._collapsed, self._pinned = arrangement.collapsed, arrangement.pinned
        self._give_room()

    def save_picture(self, target: Path) -> bool:
        """Write the window as a PNG picture; False where the file cannot be written."""
        return self.grab().save(str(target), "PNG")

    # ------------------------------------------------------------------------------------- events

    def _show_pixels(self) -> None:
        plots = self.explanation.plots
        plots.tabs.setCurrentWidget(plots.pixels)

    @Slot(bool)
    def _set_full_screen(self, on: bool) -> None:
        # A maximised window is maximised again afterwards.
        full = Qt.WindowState.WindowFullScreen
        self.setWindowState(self.windowState() | full if on else self.windowState() & ~full)

    @Slot(QPoint)
    def _show_slice_menu(self, position: QPoint) -> None:
        self.menus.slice_menu().popup(position)

    @Slot(QPoint)
    def _show_region_menu(self, position: QPoint) -> None:
        self.menus.region_menu().popup(position)

    @Slot(bool)
    def _on_series_panel(self, shown: bool) -> None:
        """Leave the list of series as the user wants it, in a narrow window too."""
        self._collapsed = False
        self._pinned = shown and self.width() < _NARROW_BELOW

    def _give_room(self) -> None:
        """Let the list of series give way to the picture in a narrow window, unless a choice waits there."""
        if self.width() >= _NARROW_BELOW or self._state.case.in_view is None:
            if self._collapsed:
                self._collapsed = False
                self.series_dock.show()
        elif not self._pinned and not self.series_dock.isHidden():
            self._collapsed = True
            self.series_dock.hide()
        self._check_panels()

    @Slot()
    def _check_panels(self) -> None:
        """Check the switches as the docks are: hidden before the window is shown, they send no word of it."""
        hidden, catalogue = self.series_dock.isHidden(), self._state.case.catalogue
        count = len(catalogue.series) if hidden and catalogue is not None else 0
        self.tool_bar.tell_hidden_series(count if count > 1 else 0)
        self.commands.series_panel.setChecked(not hidden)
        self.commands.explanation_panel.setChecked(not self.explanation_dock.isHidden())

    def _on_volume(self) -> None:
        self._give_room()
        volume = self._state.case.in_view
        self.strip.setVisible(volume is not None)
        self._show_title()
        if volume is not None:
            self._focus_slices()

    @Slot()
    def _focus_slices(self) -> None:
        """Let the reading keys go to the slices."""
        self.viewport.setFocus()

    @Slot()
    def find_series(self) -> None:
        """Let the keys go to the list of series, opened where it is closed."""
        if self.series_dock.isHidden():
            self.commands.series_panel.trigger()
        self.series.focus_search()

    @Slot()
    def _on_theme(self, *_: object) -> None:
        """Show the window in the chosen theme; what is painted once is painted again."""
        if set_theme(self._state.display.theme):
            self.explanation.plots.restyle()
            self.series.restyle()

    def _show_title(self) -> None:
        volume = self._state.case.in_view
        # In privacy mode even a series description stays off the title bar.
        named = volume is not None and not self._state.display.privacy
        self.setWindowTitle(f"{volume.title} – {TITLE}" if volume is not None and named else TITLE)

    def event(self, event: QEvent) -> bool:
        """Show status tips in the text of the status bar: its own way hides progress and Cancel."""
        if isinstance(event, QStatusTipEvent):
            self.status.show_tip(event.tip())
            return True
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Let tool bar and docks follow; docks that the user has sized stay as they are."""
        super().resizeEvent(event)
        self.tool_bar.fit(event.size().width())
        docks = [self.series_dock, self.explanation_dock]
        untouched = self._dock_widths is None or self._dock_widths == tuple(d.width() for d in docks)
        if untouched and not self._layout_restored:
            widths = _WIDE if event.size().width() >= _WIDE_FROM else _NARROW
            self.resizeDocks(docks, list(widths), Qt.Orientation.Horizontal)
            self._dock_widths = widths
        self._give_room()

    def showEvent(self, event: QShowEvent) -> None:
        """Begin with the keys on the slices."""
        super().showEvent(event)
        self.viewport.setFocus()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept local files and folders."""
        if local_paths(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        paths = local_paths(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self.use.open_paths(tuple(paths))

    def changeEvent(self, event: QEvent) -> None:
        """Check full screen as the window is: it may begin so, and a window manager may change it."""
        if event.type() == QEvent.Type.WindowStateChange:
            self.commands.full_screen.setChecked(self.isFullScreen())
        super().changeEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Tell that the window closes."""
        self.closing.emit()
        event.accept()
