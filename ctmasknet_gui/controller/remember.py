"""Carries display choices from one start of the program to the next."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from PySide6.QtCore import QObject

from ctmasknet_gui.controller.display import MAPS, OVERLAYS, cover
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import PRESETS, ThemeChoice

# Overlays have keys of their own: what older versions stored was not chosen, but drawn by default.
SWITCHES = {name: f"overlays/{name}" for name in OVERLAYS} | {"privacy": "display/privacy"}
_HINT_SEEN = "explanation/hint_seen"
CINE_RANGE = (1.0, 60.0)  # slices per second that a damaged settings file cannot leave


class RememberController(QObject):
    """Restores and stores window preset, overlays, opacity, cine speed, theme, privacy, weights, their speed.

    And whether the hint on explanations was read.

    Weights given on the command line hold for that start only: `ignore_weights`.
    """

    def __init__(self, state: AppState, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._settings = settings
        self._passing: tuple[str, ...] | None = None

    def ignore_weights(self, names: tuple[str, ...]) -> None:
        """Do not remember this choice of weights."""
        self._passing = tuple(names)

    def restore(self) -> None:
        """Write what was remembered into state; the shipped weights must be listed before."""
        display, settings = self._state.display, self._settings
        for name, key in SWITCHES.items():
            setattr(display, name, settings.flag(key, getattr(display, name)))
        if any(getattr(display, name) for name in MAPS):
            cover(display)
        display.opacity = float(np.clip(settings.number("display/opacity", display.opacity), 0.0, 1.0))
        display.cine_fps = float(np.clip(settings.number("display/cine_fps", display.cine_fps), *CINE_RANGE))
        self._state.reasons.hint = not settings.flag(_HINT_SEEN, False)
        chosen = settings.text("display/theme")
        display.theme = next((one for one in get_args(ThemeChoice) if one == chosen), display.theme)
        name = settings.text("display/window")
        display.window = next((preset for preset in PRESETS if preset.name == name), display.window)
        self._state.weights.chosen = self._usable(settings.texts("weights"))

    def _usable(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return remembered weights if all are still there; else none, which is the shipped default."""
        shipped = {card.name for card in self._state.weights.available}
        return names if all(name in shipped or Path(name).is_file() for name in names) else ()

    def store(self) -> None:
        """Write state into the settings."""
        display, settings = self._state.display, self._settings
        for name, key in SWITCHES.items():
            settings.put(key, bool(getattr(display, name)) or name in display.covered)
        settings.put(_HINT_SEEN, not self._state.reasons.hint)
        settings.put("display/opacity", display.opacity)
        settings.put("display/cine_fps", display.cine_fps)
        settings.put("display/theme", display.theme)
        if any(preset.name == display.window.name for preset in PRESETS):
            settings.put("display/window", display.window.name)
        if self._state.weights.chosen != self._passing:
            settings.put("weights", self._state.weights.chosen)
        settings.sync()
