"""The menu bar, and the menus that the tool bar shares with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QMenuBar

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.commands import COMMANDS, same_window
from ctmasknet_gui.view.style import icon
from ctmasknet_gui.view.use_cases import UseCases
from ctmasknet_gui.view.weights_text import architecture, at_length, in_one_line
from model_core.base.volume import Window
from model_core.weights.card import ModelCard

_MAX_NAME = 60
# More than a menu is read through for; files with one window per slice list each only once.
_MAX_WINDOWS = 20


@dataclass(frozen=True)
class _Menu:
    """A menu: names of commands, of menus that are filled as the program runs, menus; None separates."""

    title: str
    entries: tuple[str | _Menu | None, ...]
    image: str = ""


_PRESETS = tuple(command.name for command in COMMANDS["Window"] if command.choice)
_SPEEDS = tuple(command.name for command in COMMANDS["Slices"] if command.choice)
_EDITS = ("exclude_region", "restore_region", "keep_only")
_CHANGES = ("heal_lesion", "heal_tool", "heal_box", "plant_tool", "plant_box")
_RECENT, _WEIGHTS, _WINDOWS = "recent_menu", "weights_menu", "window_menu"
# fmt: off
_BAR = (
    _Menu("&File", (
        "open_file", "open_folder", _RECENT, "open_demo", "save_case", None,
        "load_reference", "close_reference", "correct_tilt", "load_weights", None,
        "export", _Menu("Export &as", (
            "export_png", "export_csv", "export_plots", "export_lesions", None,
            "export_slice_page", "export_scan_page", None, "export_figure", "export_nms",
        )), None,
        _Menu("&Kept results", ("keep_results", "clear_kept")), None,
        "close_case", "quit",
    )),
    _Menu("&Edit", (
        "undo", "redo", None, "previous_region", "next_region", "clear_selection", "select_lesion", None,
        "area_tool", "select_scores", "ask_tool", "ask_box",
        _Menu("Class &evidence", (
            *_EDITS, None, "restore_all", "restore_everywhere", None, "nms_anew",
        )),
        _Menu("Changed &picture", _CHANGES), None,
        "copy_table", None,
        "reset_thresholds",
    )),
    _Menu("&Display", (
        _Menu("&Slices", (
            "previous_slice", "next_slice", "back_ten", "forward_ten", "first_slice", "last_slice",
        )),
        "previous_finding", "next_finding",
        _Menu("&Key images", ("key_image", None, "previous_key_image", "next_key_image", "key_images"),
              image="key-image"),
        "cine", _Menu("&Cine speed", _SPEEDS), None,
        _Menu("&Window", ("window_auto", "window_file", None, *_PRESETS), image="window"),
        "invert", "flip_horizontal", "flip_vertical", None,
        "zoom_in", "zoom_out", "zoom_fit", "reset_view", None,
        _Menu("&Overlays", (
            "overlays", "outlines", "labels", "masks", "boxes", "logits", "contributions", "reference", None,
            "sum_logits", None, "less_opacity", "more_opacity",
        ), image="overlays"),
        _Menu("&Panels", ("series_panel", "explanation_panel")),
        _Menu("&Theme", ("theme_dark", "theme_light", "theme_system")), None,
        "find_series", "privacy", "full_screen",
    )),
    _Menu("&Run", (
        "run_slice", "run_series", "stop", None,
        "how_sure", "how_sure_scan", "explain_pixels", "next_pixel_map", "other_rules", None,
        "toggle_nms", "join_touching", "scoring_softmax", "scoring_sigmoid", None,
        "link", None, _WEIGHTS,
    )),
    _Menu("&Help", ("keys", "about_weights", None, "about")),
)
_OPEN = _Menu("Open", ("open_file", "open_folder", _RECENT, "open_demo"))
_WINDOW = _Menu("Window", (*_PRESETS, None, "window_auto", "window_file", "invert"))
_RUN = _Menu("Run", ("run_series", "run_slice"))
_WHAT_IF = _Menu("What if", (
    "area_tool", "select_scores", "ask_tool", "ask_box", "leave_tool", None, *_EDITS, None,
    "restore_all", "nms_anew", None, *_CHANGES,
))
_REGION = _Menu("Region", (
    *_EDITS, "restore_all", None, "nms_anew", None, "heal_lesion", None, "clear_selection", "select_lesion",
    "explain_pixels", "copy_table",
))
_SLICE = _Menu("Slice", (
    "area_tool", "ask_tool", "select_lesion", "explain_pixels", None,
    *_EDITS, "restore_all", None,
    "heal_lesion", "heal_tool", "plant_tool", None,
    "run_slice", "how_sure", "key_image", None,
    "outlines", "labels", "masks", "boxes", "logits", "contributions", "reference", None,
    _WINDOWS, "zoom_fit", "reset_view", None, "export_png",
))
# fmt: on


class Menus(QObject):
    """Fills a menu bar; open, window, what-if, run and weights menu serve the tool bar, too."""

    def __init__(self, bar: QMenuBar, state: AppState, actions: Actions, use: UseCases) -> None:
        super().__init__(bar)
        self._state = state
        self._actions = actions
        self._use = use
        self._recent: tuple[Path, ...] = ()
        self._file_windows: list[QAction] = []
        # Menus without a parent widget of their own belong to the bar.
        self._bar = bar
        self.recent_menu = self._filled_later("Open &recent", "recent")
        self.weights_menu = self._filled_later("&Weights", "weights")
        for menu in _BAR:
            bar.addMenu(self._make(menu))
        self.open_menu, self.run_menu = self._make(_OPEN), self._make(_RUN)
        self.window_menu, self.what_if_menu = self._make(_WINDOW), self._make(_WHAT_IF)
        state.weights.events.all.connect(self._fill_weights)
        state.display.events.privacy.connect(self._fill_recent)
        state.case.events.volume.connect(self._fill_windows)
        state.case.events.partial.connect(self._fill_windows)
        state.display.events.window.connect(self._check_windows)
        self._fill_weights()
        self._fill_recent()
        self._fill_windows()

    def set_recent(self, paths: tuple[Path, ...]) -> None:
        """Fill the list of recent paths, newest first."""
        self._recent = paths
        self._fill_recent()

    def slice_menu(self) -> QMenu:
        """Return a new menu of what can be done with the slice under the mouse; it goes when it closes."""
        return self._passing(_SLICE)

    def region_menu(self) -> QMenu:
        """Return a new menu of what can be done with the selected regions; it goes when it closes."""
        return self._passing(_REGION)

    def _passing(self, wanted: _Menu) -> QMenu:
        menu = self._make(wanted)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return menu

    def _filled_later(self, title: str, image: str) -> QMenu:
        menu = QMenu(title, self._bar)
        menu.setIcon(icon(image))
        menu.setToolTipsVisible(True)
        return menu

    def _make(self, wanted: _Menu) -> QMenu:
        menu = QMenu(wanted.title, self._bar)
        if wanted.image:
            menu.setIcon(icon(wanted.image))
        for entry in wanted.entries:
            if entry is None:
                menu.addSeparator()
            elif isinstance(entry, _Menu):
                menu.addMenu(self._make(entry))
            elif entry in (_RECENT, _WEIGHTS, _WINDOWS):
                menu.addMenu(getattr(self, entry))
            else:
                menu.addAction(getattr(self._actions, entry))
        return menu

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
            action.triggered.connect(lambda _=False, path=path: self._use.open_paths((path,)))
        menu.addSeparator()
        clear = menu.addAction("&Clear list")
        clear.triggered.connect(lambda *_: self._use.clear_recent())
        menu.setEnabled(bool(self._recent))

    def _fill_windows(self) -> None:
        """List the windows of the file below the action for the first of them, where there are several."""
        for old in self._file_windows:
            for menu in _menus_with(old):
                menu.removeAction(old)
            old.deleteLater()
        volume = self._state.case.in_view
        windows = () if volume is None or len(volume.windows) < 2 else volume.windows
        self._file_windows = []
        for number, window in enumerate(windows[:_MAX_WINDOWS], start=1):
            chosen = replace(window, name=window.name or f"File {number}")
            action = QAction(window_text(chosen), self)
            action.setCheckable(True)
            action.setData(chosen)
            action.setStatusTip("Window stored in the file")
            # A click turns the check over before anybody agreed; state has the last word.
            action.triggered.connect(lambda _=False, chosen=chosen: self._use.choose_window(chosen))
            action.triggered.connect(self._check_windows)
            self._file_windows.append(action)
        for menu in _menus_with(self._actions.window_file):
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
        default.triggered.connect(lambda *_: self._use.choose_weights(()))
        menu.addSeparator()
        choices: list[tuple[QAction, tuple[str, ...]]] = [(default, ())]
        for names, cards in weight_choices(weights.available):
            # The architecture stands where other entries have their keys.
            text = f"{in_one_line(cards)}\t{architecture(cards)}"
            action = menu.addAction(text.replace("&", "&&"))
            action.setToolTip(at_length(cards))
            action.triggered.connect(lambda _=False, names=names: self._use.choose_weights(names))
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


def _menus_with(action: QAction) -> list[QMenu]:
    return [menu for menu in action.associatedObjects() if isinstance(menu, QMenu)]
