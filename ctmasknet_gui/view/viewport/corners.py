"""What the window tells the scene of a slice: its display switches, and what only a screen says."""

from __future__ import annotations

import math

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.viewport.mapping import View
from model_core.base.results import ShownSlice, probability_text
from model_core.base.settings import LogitRule
from model_core.base.volume import Volume
from model_core.scene import Corners, SceneSettings, Screen, corner_lines
from model_core.scene.corners import signed
from model_core.scene.maps import SHORT_TITLES

_UNITS = {"HU": "{} HU", "grey": "grey {}", "values": "value {}"}


def scene_settings(state: AppState) -> SceneSettings:
    """Return how the window shows a slice."""
    display = state.display
    return SceneSettings(
        window=display.window,
        overlays=display.overlays,
        region_classes=state.weights.region_classes,
        image_classes=state.weights.image_classes,
        identity=not display.privacy,
        inverted=display.inverted,
        flip_horizontal=display.flip_horizontal,
        flip_vertical=display.flip_vertical,
        selected=state.selection.candidate,
        reason=state.reasons.reason,
        output=state.reasons.output,
        key_image=state.case.key_images.get(display.slice_index),
    )


def viewport_corners(state: AppState, volume: Volume, view: View, cursor: tuple[int, int] | None) -> Corners:
    """Compose the corners.

    Parameters
    ----------
    cursor:
        Row and column of the voxel under the mouse, or None.
    """
    display, index = state.display, state.display.slice_index
    shown = state.results.shown
    if shown is not None:
        fits = shown.slice_index == index and shown.masks.shape[1:] == volume.voxels.shape[1:]
        shown = shown if fits else None
    labels = state.case.reference
    reference = False
    if labels is not None and display.reference and labels.shape == volume.voxels.shape:
        reference = bool(labels[index].any())
    screen = Screen(
        probe=(*_map_probe(state, cursor), *_probe(shown, volume, index, cursor)),
        zoom=f"zoom {view.zoom:.2f}×" + (" (fit)" if display.zoom is None else ""),
        private=display.privacy,
    )
    return corner_lines(volume, index, scene_settings(state), shown, reference=reference, screen=screen)


def _probe(
    shown: ShownSlice | None, volume: Volume, index: int, cursor: tuple[int, int] | None
) -> tuple[str, ...]:
    """Return place and value under the mouse; the logit in a line of its own, for corners are narrow."""
    if cursor is None:
        return ()
    row, column = cursor
    lines = [place_text(volume, index, row, column)]
    if shown is not None:
        logit = float(shown.logit_map[row, column])
        if math.isfinite(logit):
            lines.insert(0, logit_text(logit, shown.detections.settings.logit_rule))
    return tuple(lines)


def _map_probe(state: AppState, cursor: tuple[int, int] | None) -> tuple[str, ...]:
    """Return the value under the mouse of the map of a region that lies on the slice."""
    pixels = state.pixels
    if cursor is None or pixels.found is None:
        return ()
    one = next((one for one in pixels.found.maps if one.kind == pixels.overlay), None)
    value = None if one is None or one.kind == "mask" else one.at(cursor[1] + 0.5, cursor[0] + 0.5)
    return () if one is None or value is None else (f"{SHORT_TITLES[one.kind]} {map_value(value)}",)


def map_value(value: float) -> str:
    """Return a number of a map with its sign; those of single pixels are small."""
    digits = 4 if abs(value) < 0.01 else 2
    return f"{'+' if value > 0 else ''}{signed(value, digits)}"


def place_text(volume: Volume, index: int, row: int, column: int) -> str:
    """Return a place of a slice and its value, with the unit."""
    value = signed(float(volume.voxels[index, row, column]))
    return f"x {column}  y {row}  {_UNITS[volume.unit].format(value)}"


def logit_text(logit: float, rule: LogitRule) -> str:
    """Return a mask logit with its probability; a sum of logits is that of no single mask."""
    if rule == "sum":
        return f"sum of logits {signed(logit, 1)}"
    p = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    return f"logit {signed(logit, 1)} (p {probability_text(p)})"
