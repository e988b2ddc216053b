"""Carries display choices from one start of the program to the next."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QObject

from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import PRESETS

SWITCHES = ("masks", "outlines", "boxes", "logits", "reference", "privacy")


class RememberController(QObject):
    """Restores window preset, overlays, opacity, privacy and weights; stores them when asked."""

    def __init__(self, state: AppState, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._settings = settings

    def restore(self) -> None:
        """Write what was remembered into state."""
        display, settings = self._state.display, self._settings
        for name in SWITCHES:
            setattr(display, name, settings.flag(f"display/{name}", getattr(display, name)))
        display.opacity = float(np.clip(settings.number("display/opacity", display.opacity), 0.0, 1.0))
        name = settings.text("display/window")
        display.window = next((preset for preset in PRESETS if preset.name == name), display.window)
        self._state.weights.chosen = settings.texts("weights")

    def store(self) -> None:
        """Write state into the settings."""
        display, settings = self._state.display, self._settings
        for name in SWITCHES:
            settings.put(f"display/{name}", bool(getattr(display, name)))
        settings.put("display/opacity", display.opacity)
        if any(preset.name == display.window.name for preset in PRESETS):
            settings.put("display/window", display.window.name)
        settings.put("weights", self._state.weights.chosen)
        settings.sync()
