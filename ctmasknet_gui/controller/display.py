"""How slices are shown: position, cine, window, orientation on screen, overlays, the selected region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, QTimer, Slot

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import LUNG, PRESETS, DisplayState, ThemeChoice, Tool
from model_core.base.volume import Window
from model_core.scene import Overlays

if TYPE_CHECKING:
    from model_core.export.case_file import CaseView
    from model_core.scene.maps import Kind

# Percentiles of the slice that the automatic window spans: a few metal or padding pixels do not count.
AUTO_PERCENTILES = (1.0, 99.0)
AUTO_KEY, FILE_KEY, FIRST_PRESET_KEY = 0, 1, 2
MIN_WIDTH = 1.0
MAX_WIDTH = 65535.0
ZOOM_RANGE = (0.05, 64.0)
UNDER_LOGITS = ("masks", "outlines")
# Each has colours of its own: one at a time, and without those of the classes.
MAPS = ("logits", "contributions")
OVERLAYS = ("masks", "outlines", "boxes", "labels", *MAPS, "reference")
# What comes when nothing was hidden before.
DEFAULT_OVERLAYS = tuple(name for name in OVERLAYS if getattr(Overlays, name) and name != "reference")


class DisplayController(QObject):
    """Writes `DisplayState`; knows the open volume's range."""

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._display = state.display
        self._hidden: tuple[str, ...] = ()
        self._hidden_map: Kind = ""
        state.case.events.volume.connect(self.leave_tool)

    # ------------------------------------------------------------------------------------ slices

    @Slot(int)
    def show_slice(self, index: int) -> None:
        """Show a slice, clamped to the volume."""
        volume = self._state.case.in_view
        if volume is not None:
            with self._state.changes.together():
                self._display.slice_index = max(0, min(volume.slices - 1, int(index)))

    def show_as(self, view: CaseView) -> None:
        """Show a slice of the open volume as it was when its case was saved."""
        display = self._display
        self.show_slice(view.slice_number - 1)
        display.window, display.inverted = view.window, view.inverted
        display.flip_horizontal, display.flip_vertical = view.flip_horizontal, view.flip_vertical
        self.set_zoom(view.zoom, view.pan)
        display.covered = ()
        for field in fields(Overlays):
            setattr(display, field.name, getattr(view.overlays, field.name))
        if display.logits:
            cover(display)

    def step(self, count: int) -> None:
        """Move by some slices."""
        self.show_slice(self._display.slice_index + count)

    def first(self) -> None:
        """Show the first slice."""
        self.show_slice(0)

    def last(self) -> None:
        """Show the last slice."""
        volume = self._state.case.in_view
        if volume is not None:
            self.show_slice(volume.slices - 1)

    def next_finding(self) -> None:
        """Show the next slice with a shown detection, if there is one."""
        here = self._display.slice_index
        found = [k for k in self._findings() if k > here]
        if found:
            self.show_slice(min(found))

    def previous_finding(self) -> None:
        """Show the previous slice with a shown detection, if there is one."""
        here = self._display.slice_index
        found = [k for k in self._findings() if k < here]
        if found:
            self.show_slice(max(found))

    def _findings(self) -> Iterable[int]:
        return [k for k, summary in self._state.results.summaries.items() if summary.detections > 0]

    # ------------------------------------------------------------------------------------ window

    @Slot(float, float)
    def set_window(self, width: float, level: float) -> None:
        """Set width and level by hand; the voxel function of the former window is kept."""
        width = float(np.clip(width, MIN_WIDTH, MAX_WIDTH))
        self._display.window = replace(self._display.window, width=width, level=float(level), name="")

    def choose_window(self, window: Window) -> None:
        """Show through a given window."""
        self._display.window = window

    def preset(self, key: int) -> None:
        """Choose by digit key: 0 automatic, 1 the file's own, 2 to 7 the presets."""
        if key == AUTO_KEY:
            self.auto_window()
        elif key == FILE_KEY:
            self.file_window()
        elif 0 <= key - FIRST_PRESET_KEY < len(PRESETS):
            self._display.window = PRESETS[key - FIRST_PRESET_KEY]

    def auto_window(self) -> None:
        """Span the percentiles of the shown slice's voxels, padding left out."""
        volume = self._state.case.in_view
        if volume is None or self._state.case.unread(self._display.slice_index):
            return
        pixels = volume.voxels[self._display.slice_index]
        if volume.padding_value is not None:
            real = pixels[pixels != volume.padding_value]
            pixels = real if real.size else pixels
        low, high = np.percentile(pixels, AUTO_PERCENTILES)
        width = max(MIN_WIDTH, float(high - low))
        self._display.window = Window(width, float(low + high) / 2, "Auto")

    def file_window(self) -> None:
        """Use the first window of the file; the automatic one where it has none."""
        volume = self._state.case.in_view
        if volume is not None and volume.windows:
            first = volume.windows[0]
            self._display.window = replace(first, name=first.name or "File")
        else:
            self.auto_window()

    # ------------------------------------------------------------------------------ orientation

    @Slot(object, object)
    def set_zoom(self, zoom: float | None, pan: tuple[float, float]) -> None:
        """Set zoom (None fits) and pan as the viewport asks."""
        self._display.pan = (float(pan[0]), float(pan[1]))
        self._display.zoom = None if zoom is None else float(np.clip(zoom, *ZOOM_RANGE))

    def fit(self) -> None:
        """Fit the slice into the viewport."""
        self.set_zoom(None, (0.0, 0.0))

    def reset_view(self) -> None:
        """Undo zoom, pan, flips and inversion; back to the window a volume of this unit opens with."""
        self.fit()
        self._display.flip_horizontal = self._display.flip_vertical = self._display.inverted = False
        volume = self._state.case.in_view
        if volume is None or volume.unit == "HU":
            self._display.window = LUNG
        else:
            self.file_window()

    def toggle(self, name: str) -> None:
        """Turn one of the switches of `DisplayState` over (``inverted``, ``flip_horizontal``, ...)."""
        self.set_switch(name, not getattr(self._display, name))

    def set_switch(self, name: str, on: bool) -> None:
        """Set one of the switches of `DisplayState`; a map takes masks, outlines and the other map off."""
        display = self._display
        if name in OVERLAYS:
            self._hidden = ()
        if name in MAPS and on != getattr(display, name):
            (cover if on else uncover)(display)
            for other in MAPS:
                setattr(display, other, False)
        elif name in display.covered:
            display.covered = tuple(other for other in display.covered if other != name)
        setattr(display, name, bool(on))

    def set_tool(self, tool: Tool) -> None:
        """Take a tool in hand, or put it away again."""
        self._display.tool = "" if self._display.tool == tool else tool

    def set_theme(self, theme: ThemeChoice) -> None:
        """Choose the theme of the window."""
        self._display.theme = theme

    def leave_tool(self) -> None:
        """Draw nothing on the slice any more."""
        self._display.tool = ""

    # ---------------------------------------------------------------------------------- overlays

    def toggle_overlays(self) -> None:
        """Hide every overlay, or bring those back that were hidden last."""
        shown = tuple(name for name in OVERLAYS if getattr(self._display, name))
        # The switch of a reference mask that is not there shows nothing.
        there, pixels = self._state.case.reference is not None, self._state.pixels
        map_shown = pixels.found is not None and pixels.overlay != ""
        if map_shown or any(name != "reference" or there for name in shown):
            self._hidden_map, pixels.overlay = (pixels.overlay, "") if map_shown else ("", pixels.overlay)
            for name in shown:
                setattr(self._display, name, False)
            self._hidden = shown
        else:
            for name in self._hidden or (() if self._hidden_map else DEFAULT_OVERLAYS):
                setattr(self._display, name, True)
            if self._hidden_map:
                pixels.overlay = self._hidden_map
            self._hidden, self._hidden_map = (), ""

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of the mask fill, 0..1."""
        self._display.opacity = round(float(np.clip(opacity, 0.0, 1.0)), 3)

    def change_opacity(self, step: float) -> None:
        """Make the overlay more or less opaque."""
        self.set_opacity(self._display.opacity + step)


def cover(display: DisplayState) -> None:
    """Take masks and outlines off, so that a map is seen as it is."""
    shown = tuple(name for name in UNDER_LOGITS if getattr(display, name))
    for name in shown:
        setattr(display, name, False)
    display.covered = (*display.covered, *shown)


def uncover(display: DisplayState) -> None:
    """Bring back what `cover` took off."""
    covered, display.covered = display.covered, ()
    for name in covered:
        setattr(display, name, True)


class CineController(QObject):
    """Steps the shown slice while `DisplayState.cine` is on; stops when the volume closes."""

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._advance)
        state.display.events.cine.connect(self._apply)
        state.display.events.cine_fps.connect(self._apply)
        state.case.events.volume.connect(self.stop)

    def toggle(self) -> None:
        """Start or stop."""
        self._state.display.cine = not self._state.display.cine and self._state.case.volume is not None

    def stop(self) -> None:
        """Stop."""
        self._state.display.cine = False

    def set_speed(self, fps: float) -> None:
        """Play this many slices per second."""
        self._state.display.cine_fps = float(fps)

    def _apply(self) -> None:
        if self._state.display.cine:
            self._timer.start(max(10, round(1000 / max(0.5, self._state.display.cine_fps))))
        else:
            self._timer.stop()

    @Slot()
    def _advance(self) -> None:
        volume = self._state.case.volume
        if volume is not None:
            self._state.display.slice_index = (self._state.display.slice_index + 1) % volume.slices


class SelectionController(QObject):
    """Writes `SelectionState`."""

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state

    @Slot(object)
    def pick(self, candidate: int | None) -> None:
        """Select a candidate of the visible slice, or nothing."""
        self.pick_several(() if candidate is None else (candidate,))

    @Slot(object)
    def pick_several(self, candidates: Sequence[int]) -> None:
        """Select candidates of the visible slice; the first is the one that pictures and plots mark."""
        first, *others = (int(candidate) for candidate in candidates) if candidates else (None,)
        selection = self._state.selection
        quiet = selection.events.others.blocked() if first != selection.candidate else nullcontext()
        # Who hears of the others hears of the first, too: one selection is one event.
        with quiet:
            selection.others = tuple(other for other in others if other is not None)
        selection.candidate = first

    @Slot(object)
    def set_top(self, top: int | None) -> None:
        """Show the best few RoIs only, or all with None."""
        self._state.selection.top = None if top is None else max(1, int(top))
