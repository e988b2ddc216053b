"""The tool bar: open, window, findings, overlays, weights, run, export."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLabel, QSizePolicy, QSlider, QToolBar, QToolButton, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.menus import Menus
from ctmasknet_gui.view.style import icon, label
from ctmasknet_gui.view.weights_text import at_length, finds

_ICON = QSize(18, 18)
_SLIDER, _SHORT_SLIDER = 84, 60
_WITH_TEXT = Qt.ToolButtonStyle.ToolButtonTextBesideIcon
_TEXT_ONLY = Qt.ToolButtonStyle.ToolButtonTextOnly
_ICON_ONLY = Qt.ToolButtonStyle.ToolButtonIconOnly


class ToolBar(QToolBar):
    """One row that never wraps: where the window is narrow, captions give way to icons with tooltips."""

    opacityEdited = Signal(float)

    def __init__(
        self, state: AppState, actions: Actions, menus: Menus, parent: QWidget | None = None
    ) -> None:
        super().__init__("Tools", parent)
        self._state = state
        self.setObjectName("tools")
        self.setMovable(False)
        self.setFloatable(False)
        self.setIconSize(_ICON)
        self.setToolButtonStyle(_WITH_TEXT)
        self.toggleViewAction().setEnabled(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self._make_case(actions, menus)
        self._make_overlays(actions)
        self._make_run(actions, menus)
        self._button(actions.explanation_panel, style=_ICON_ONLY)
        # What the widths of the buttons depend on, as they were fitted last.
        self._needs: tuple[object, ...] = ()
        refresh = state.changes.once(self._refresh)
        state.display.events.opacity.connect(refresh)
        state.display.events.window.connect(state.changes.once(self._show_window))
        state.display.events.tool.connect(refresh)
        state.weights.events.all.connect(refresh)
        state.case.events.volume.connect(refresh)
        state.case.events.partial.connect(refresh)
        state.run.events.kind.connect(refresh)
        self._refresh()

    def _make_case(self, actions: Actions, menus: Menus) -> None:
        self._series_action = actions.series_panel
        self._series_tip = actions.series_panel.toolTip()
        self.series_button = self._button(actions.series_panel, style=_ICON_ONLY)
        self.open_button = self._menu_button("Open", "open", menus.open_menu)
        self.open_button.setToolTip("Open a file, a folder or the demo case (Ctrl+O)")
        self.addWidget(self.open_button)
        self.window_button = self._menu_button("Window", "window", menus.window_menu)
        self.window_button.setToolTip(
            "Grey-level window: presets on the keys 2 to 7, 0 automatic, 1 of the file"
        )
        self.addWidget(self.window_button)
        self.addSeparator()
        for action in (actions.previous_finding, actions.next_finding, actions.cine):
            self._button(action, style=_ICON_ONLY)
        self.what_if_button = self._menu_button("What if", "ask", menus.what_if_menu)
        self.what_if_button.setToolTip(
            "Question the evidence: select regions by area (E) or score, ask about a region (Q)"
        )
        self.what_if_button.setCheckable(True)
        self.addWidget(self.what_if_button)
        self.addSeparator()

    def _make_overlays(self, actions: Actions) -> None:
        overlays = [
            self._button(action)
            for action in (
                actions.outlines,
                actions.labels,
                actions.masks,
                actions.boxes,
                actions.logits,
                actions.reference,
            )
        ]
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setPageStep(10)
        self.opacity.setFixedWidth(_SLIDER)
        self.opacity.setAccessibleName("Opacity of masks")
        self.opacity.valueChanged.connect(lambda value: self.opacityEdited.emit(value / 100))
        self._opacity_action = self.addWidget(self.opacity)
        spacer = label(role="spacer")
        spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.addWidget(spacer)
        self._overlay_buttons = overlays

    def _make_run(self, actions: Actions, menus: Menus) -> None:
        self.weights_button = self._menu_button("Weights", "weights", menus.weights_menu)
        self.addWidget(self.weights_button)
        self.run_button = QToolButton()
        self.run_button.setDefaultAction(actions.run_series)
        self.run_button.setMenu(menus.run_menu)
        self.run_button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self.run_button.setToolButtonStyle(_WITH_TEXT)
        self.run_button.setProperty("accent", "true")
        self.slice_button = self._button(actions.run_slice)
        self.addWidget(self.run_button)
        self.stop_button = self._button(actions.stop)
        self.export_button = self._button(actions.export)
        self.export_button.setText("Export")

    def _button(self, action: QAction, *, style: Qt.ToolButtonStyle = _WITH_TEXT) -> QToolButton:
        self.addAction(action)
        button = self.widgetForAction(action)
        assert isinstance(button, QToolButton)
        button.setToolButtonStyle(style)
        # Reachable by Tab; a click must not take the slice keys away from the viewport.
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setAccessibleName(action.text().replace("…", ""))
        return button

    def _menu_button(self, text: str, image: str, menu: object) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setIcon(icon(image))
        button.setMenu(menu)  # type: ignore[arg-type]
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setToolButtonStyle(_WITH_TEXT)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def tell_hidden_series(self, count: int) -> None:
        """Say beside the button of the list of series how many it hides; 0 for none."""
        self._series_action.setIconText(f"{count} series" if count else "")
        tip = f"{count} series were found. {self._series_tip}" if count else self._series_tip
        self._series_action.setToolTip(tip)
        self.series_button.setToolButtonStyle(_WITH_TEXT if count else _ICON_ONLY)
        self.fit(self.width())

    def fit(self, width: int) -> None:
        """Drop captions, least needed first, until the bar fits into ``width`` pixels."""
        overlays, ends = self._overlay_buttons, [self.stop_button, self.export_button]
        self.opacity.setFixedWidth(_SLIDER)
        self._opacity_action.setVisible(True)
        needed = self.what_if_button, self.slice_button, self.open_button, self.weights_button
        for button in (*overlays, *ends, *needed):
            button.setToolButtonStyle(_WITH_TEXT)
        # Buttons, their style, and whether there is the slider: it has keys, and captions tell more.
        steps: tuple[tuple[list[QToolButton], Qt.ToolButtonStyle, bool], ...] = (
            (overlays, _TEXT_ONLY, True),
            (ends, _ICON_ONLY, True),
            ([self.what_if_button], _ICON_ONLY, True),
            ([self.slice_button], _ICON_ONLY, True),
            ([self.open_button], _ICON_ONLY, True),
            # The status bar names the weights, too.
            ([self.weights_button], _ICON_ONLY, True),
            (overlays, _TEXT_ONLY, False),
            (overlays, _ICON_ONLY, True),
            (overlays, _ICON_ONLY, False),
        )
        for buttons, style, slider in steps:
            if self.needed_width() <= width:
                return
            self.opacity.setFixedWidth(_SHORT_SLIDER)
            self._opacity_action.setVisible(slider)
            for button in buttons:
                button.setToolButtonStyle(style)

    def needed_width(self) -> int:
        """Width in pixels of everything on the bar with its captions as they are."""
        layout = self.layout()
        assert layout is not None
        spacing, margins = layout.spacing(), layout.contentsMargins()
        widths = []
        for action in self.actions():
            widget = self.widgetForAction(action)
            if action.isVisible() and widget is not None and not isinstance(widget, QLabel):
                widget.ensurePolished()
                widths.append(max(widget.sizeHint().width(), widget.minimumWidth()))
        # Style sheet padding of the bar: 8 at each side.
        return sum(widths) + spacing * (len(widths) + 1) + margins.left() + margins.right() + 16

    def _refresh(self) -> None:
        state = self._state
        percent = round(100 * state.display.opacity)
        with QSignalBlocker(self.opacity):
            self.opacity.setValue(percent)
        self.opacity.setToolTip(f"Opacity of masks: {percent} % (A less, D more)")
        self.what_if_button.setChecked(state.display.tool != "")
        self.window_button.setEnabled(state.case.in_view is not None)
        self._show_weights()
        self._show_window()

    def _show_window(self) -> None:
        state = self._state
        window = state.display.window
        self.window_button.setText(_elided(window.name or f"{window.width:.0f} / {window.level:.0f}", 14))
        # A window that is dragged changes its numbers, but seldom how wide they are.
        needs = (self.window_button.sizeHint().width(), self.weights_button.text(), state.run.kind)
        if needs != self._needs:
            self._needs = needs
            self.fit(self.width())

    def _show_weights(self) -> None:
        weights = self._state.weights
        if weights.cards:
            text, tip = finds(weights.cards), at_length(weights.cards)
        elif weights.chosen:
            text = weights.chosen[0].replace("\\", "/").rsplit("/", 1)[-1]
            tip = "Loaded with the first run."
        elif weights.available:
            text, tip = "Default weights", "Loaded with the first run."
        else:
            text, tip = "No weights", "No network weights are installed: load a file."
        self.weights_button.setText(_elided(text, 24))
        self.weights_button.setToolTip(f"Weights: {tip}")


def _elided(text: str, count: int) -> str:
    return text if len(text) <= count else f"{text[: count - 1].rstrip()}…"
