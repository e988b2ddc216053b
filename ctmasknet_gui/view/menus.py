"""The menu bar, and the menus that the tool bar shares with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QMenuBar

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.actions import Actions, same_window
from ctmasknet_gui.view.style import icon
from ctmasknet_gui.view.weights_text import architecture, at_length, in_one_line
from model_core.base.volume import Window
from model_core.weights.card import ModelCard

_MAX_NAME = 60
# More than a menu is read through for; files with one window per slice list each only once.
_MAX_WINDOWS = 20


class Menus(QObject):
    """Fills a menu bar; ``open_menu``, ``window_menu``, ``run_menu``, ``weights_menu`` serve the tool bar."""

    weightsChosen = Signal(object)
    windowChosen = Signal(object)
    recentChosen = Signal(object)
    recentCleared = Signal()

    def __init__(self, bar: QMenuBar, state: AppState, actions: Actions) -> None:
        super().__init__(bar)
        self._state = state
        self._actions = actions
        self._recent: tuple[Path, ...] = ()
        self._file_windows: list[QAction] = []
        # Menus without a parent widget of their own belong to the bar.
        self._shared = bar
        self.recent_menu = QMenu("Open &recent", bar)
        self.recent_menu.setIcon(icon("recent"))
        self.recent_menu.setToolTipsVisible(True)
        self._make_file(bar)
        self._make_edit(bar)
        self._make_display(bar)
        self._make_run(bar)
        self._make_help(bar)
        self._make_tool_menus(bar)
        state.weights.events.all.connect(self._fill_weights)
        state.display.events.privacy.connect(self._fill_recent)
        state.case.events.volume.connect(self._fill_windows)
        state.display.events.window.connect(self._check_windows)
        self._fill_weights()
        self._fill_recent()
        self._fill_windows()

    def set_recent(self, paths: tuple[Path, ...]) -> None:
        """Fill the list of recent paths, newest first."""
        self._recent = paths
        self._fill_recent()

    def _make_file(self, bar: QMenuBar) -> None:
        a = self._actions
        menu = _menu(bar, "&File")
        menu.addActions([a.open_file, a.open_folder])
        menu.addMenu(self.recent_menu)
        menu.addAction(a.open_demo)
        menu.addSeparator()
        menu.addActions([a.load_reference, a.close_reference, a.correct_tilt, a.load_weights])
        menu.addSeparator()
        menu.addAction(a.export)
        export = menu.addMenu("Export &as")
        export.addActions([a.export_png, a.export_csv, a.export_plots, a.export_lesions])
        menu.addSeparator()
        menu.addActions([a.close_case, a.quit])

    def _make_edit(self, bar: QMenuBar) -> None:
        a = self._actions
        menu = _menu(bar, "&Edit")
        menu.addActions([a.undo, a.redo])
        menu.addSeparator()
        menu.addActions([a.previous_region, a.next_region, a.clear_selection])
        menu.addSeparator()
        menu.addAction(a.copy_table)
        menu.addSeparator()
        menu.addAction(a.reset_thresholds)

    def _make_display(self, bar: QMenuBar) -> None:
        a = self._actions
        menu = _menu(bar, "&Display")
        slices = menu.addMenu("&Slices")
        slices.addActions([a.previous_slice, a.next_slice, a.back_ten, a.forward_ten])
        slices.addActions([a.first_slice, a.last_slice])
        menu.addActions([a.previous_finding, a.next_finding, a.cine])
        speeds = menu.addMenu("&Cine speed")
        speeds.addActions(list(a.cine_speeds))
        menu.addSeparator()
        window = self._display_window_menu = menu.addMenu("&Window")
        window.setIcon(icon("window"))
        window.addActions([a.window_auto, a.window_file])
        window.addSeparator()
        window.addActions(list(a.presets))
        menu.addActions([a.invert, a.flip_horizontal, a.flip_vertical])
        menu.addSeparator()
        menu.addActions([a.zoom_in, a.zoom_out, a.zoom_fit, a.reset_view])
        menu.addSeparator()
        overlays = menu.addMenu("&Overlays")
        overlays.setIcon(icon("overlays"))
        overlays.addActions([a.overlays, a.outlines, a.labels, a.masks, a.boxes, a.logits, a.reference])
        overlays.addSeparator()
        overlays.addAction(a.sum_logits)
        overlays.addSeparator()
        overlays.addActions([a.less_opacity, a.more_opacity])
        panels = menu.addMenu("&Panels")
        panels.addActions([a.series_panel, a.explanation_panel])
        menu.addSeparator()
        menu.addActions([a.find_series, a.privacy, a.full_screen])

    def _make_run(self, bar: QMenuBar) -> None:
        a = self._actions
        menu = _menu(bar, "&Run")
        menu.addActions([a.run_slice, a.run_series, a.stop])
        menu.addSeparator()
        menu.addActions([a.toggle_nms, a.join_touching, a.scoring_softmax, a.scoring_sigmoid])
        menu.addSeparator()
        menu.addAction(a.link)
        menu.addSeparator()
        menu.addAction(a.fast)
        self.weights_menu = menu.addMenu(icon("weights"), "&Weights")
        self.weights_menu.setToolTipsVisible(True)

    def _make_help(self, bar: QMenuBar) -> None:
        a = self._actions
        menu = _menu(bar, "&Help")
        menu.addActions([a.keys, a.about_weights])
        menu.addSeparator()
        menu.addAction(a.about)

    def _make_tool_menus(self, bar: QMenuBar) -> None:
        a = self._actions
        self.open_menu = QMenu("Open", bar)
        self.open_menu.addActions([a.open_file, a.open_folder])
        self.open_menu.addMenu(self.recent_menu)
        self.open_menu.addAction(a.open_demo)
        self.window_menu = QMenu("Window", bar)
        self.window_menu.addActions([*a.presets])
        self.window_menu.addSeparator()
        self.window_menu.addActions([a.window_auto, a.window_file, a.invert])
        self.run_menu = QMenu("Run", bar)
        self.run_menu.addActions([a.run_series, a.run_slice])

    def _fill_recent(self) -> None:
        menu = self.recent_menu
        menu.clear()
        private = self._state.display.privacy
        for number, path in enumerate(self._recent, start=1):
            # Folder names are often patients' names.
            shown = f"Case {number}" if private else short_path(path)
            action = menu.addAction(f"&{number % 10} {shown}")
            if not private:
                action.setToolTip(str(path))
            action.triggered.connect(lambda _=False, path=path: self.recentChosen.emit(path))
        menu.addSeparator()
        clear = menu.addAction("&Clear list")
        clear.triggered.connect(lambda *_: self.recentCleared.emit())
        menu.setEnabled(bool(self._recent))

    def _fill_windows(self) -> None:
        """List the windows of the file below the action for the first of them, where there are several."""
        for old in self._file_windows:
            for menu in (self.window_menu, self._display_window_menu):
                menu.removeAction(old)
            old.deleteLater()
        volume = self._state.case.volume
        windows = () if volume is None or len(volume.windows) < 2 else volume.windows
        self._file_windows = []
        for number, window in enumerate(windows[:_MAX_WINDOWS], start=1):
            chosen = replace(window, name=window.name or f"File {number}")
            action = QAction(window_text(chosen), self)
            action.setCheckable(True)
            action.setData(chosen)
            action.setStatusTip("Window stored in the file")
            # A click turns the check over before anybody agreed; state has the last word.
            action.triggered.connect(lambda _=False, chosen=chosen: self.windowChosen.emit(chosen))
            action.triggered.connect(self._check_windows)
            self._file_windows.append(action)
        for menu in (self.window_menu, self._display_window_menu):
            following = menu.actions()[menu.actions().index(self._actions.window_file) + 1]
            menu.insertActions(following, self._file_windows)
        self._check_windows()

    def _check_windows(self) -> None:
        for action in self._file_windows:
            action.setChecked(same_window(action.data(), self._state.display.window))

    def _fill_weights(self) -> None:
        menu, weights = self.weights_menu, self._state.weights
        menu.clear()
        group = QActionGroup(menu)
        default = menu.addAction("&Default weights")
        default.setToolTip("The pair of weights that comes with the program.")
        if weights.cards and not weights.chosen:
            default.setToolTip(f"{default.toolTip()}\n{at_length(weights.cards)}")
        default.triggered.connect(lambda *_: self.weightsChosen.emit(()))
        menu.addSeparator()
        choices: list[tuple[QAction, tuple[str, ...]]] = [(default, ())]
        for names, cards in weight_choices(weights.available):
            # The architecture stands where other entries have their keys.
            text = f"{in_one_line(cards, fast=weights.fast)}\t{architecture(cards)}"
            action = menu.addAction(text.replace("&", "&&"))
            action.setToolTip(at_length(cards, fast=weights.fast))
            action.triggered.connect(lambda _=False, names=names: self.weightsChosen.emit(names))
            choices.append((action, names))
        if weights.chosen and weights.chosen not in [names for _, names in choices]:
            other = menu.addAction(" + ".join(Path(name).name for name in weights.chosen).replace("&", "&&"))
            choices.append((other, weights.chosen))
        for action, names in choices:
            action.setCheckable(True)
            action.setChecked(names == weights.chosen)
            group.addAction(action)
        default.setEnabled(bool(weights.available) or not weights.chosen)
        menu.addSeparator()
        menu.addActions([self._actions.load_weights, self._actions.about_weights])


def weight_choices(
    available: tuple[ModelCard, ...],
) -> list[tuple[tuple[str, ...], tuple[ModelCard, ...]]]:
    """Return names and cards of what can run: single models, and pairs that belong together.

    A classifier is offered with its own detector where that is at hand (matched by checksum).
    """
    choices: list[tuple[tuple[str, ...], tuple[ModelCard, ...]]] = []
    by_checksum = {card.sha256: card for card in available if card.sha256}
    for card in available:
        if card.kind == "classifier":
            base = by_checksum.get(card.base_sha256)
            if base is not None:
                choices.append(((base.name, card.name), (base, card)))
        else:
            choices.append(((card.name,), (card,)))
    return choices


def window_text(window: Window) -> str:
    """Return name, width and level of a window, safe as a menu text."""
    name = window.name if len(window.name) <= _MAX_NAME // 2 else f"{window.name[: _MAX_NAME // 2]}…"
    return f"{name} ({window.width:g} / {window.level:g})".replace("&", "&&").replace("/ -", "/ −")


def short_path(path: Path) -> str:
    """Return the last two parts of a path, elided in the middle, safe as a menu text."""
    text = str(Path(*path.parts[-2:]))
    if len(text) > _MAX_NAME:
        half = _MAX_NAME // 2
        text = f"{text[:half]}…{text[-half:]}"
    return text.replace("&", "&&")


def _menu(bar: QMenuBar, title: str) -> QMenu:
    menu = bar.addMenu(title)
    menu.setToolTipsVisible(False)
    return menu
