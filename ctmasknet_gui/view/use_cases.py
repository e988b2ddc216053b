"""What a user can have done: given to the window when it is built, called by its actions and widgets.

The window names each use case once, here; the program fills them with the methods of the controllers, whose
docstrings say what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctmasknet_gui.state import Message
from ctmasknet_gui.state.display import ThemeChoice, Tool
from ctmasknet_gui.state.requests import ExportRequest
from model_core.base.picture_edit import PictureEditKind
from model_core.base.reasons import Grouping, Way
from model_core.base.settings import DetectionSettings, EvidenceSettings, Scoring
from model_core.base.volume import Window

if TYPE_CHECKING:
    from model_core.scene.maps import Kind


@dataclass(frozen=True, kw_only=True)
class UseCases:
    """The use cases of one window; series are named by their id, slices counted from 0."""

    open_paths: Callable[[Sequence[Path]], None]
    open_demo: Callable[[], None]
    open_series: Callable[[str], None]
    open_every: Callable[[str, int], None]
    open_mask: Callable[[], None]
    use_mask: Callable[[], None]
    correct_tilt: Callable[[], None]
    close_case: Callable[[], None]
    open_reference: Callable[[Path], None]
    close_reference: Callable[[], None]
    choose_weights: Callable[[Sequence[str]], None]
    clear_recent: Callable[[], None]
    save_case: Callable[[Path], None]
    toggle_kept: Callable[[], None]
    clear_kept: Callable[[], None]
    export: Callable[[ExportRequest], None]

    show_slice: Callable[[int], None]
    step: Callable[[int], None]
    first: Callable[[], None]
    last: Callable[[], None]
    next_finding: Callable[[], None]
    previous_finding: Callable[[], None]
    toggle_key_image: Callable[[], None]
    note_key_image: Callable[[int, str], None]
    unmark_key_image: Callable[[int], None]
    next_key_image: Callable[[], None]
    previous_key_image: Callable[[], None]
    toggle_cine: Callable[[], None]
    set_cine_speed: Callable[[float], None]

    preset: Callable[[int], None]
    choose_window: Callable[[Window], None]
    set_window: Callable[[float, float], None]
    set_zoom: Callable[[float | None, tuple[float, float]], None]
    reset_view: Callable[[], None]
    toggle: Callable[[str], None]
    toggle_overlays: Callable[[], None]
    set_opacity: Callable[[float], None]
    change_opacity: Callable[[float], None]

    run_slice: Callable[[], None]
    run_series: Callable[[], None]
    stop: Callable[[], None]
    set_detections: Callable[[DetectionSettings], None]
    set_evidence: Callable[[EvidenceSettings], None]
    set_linked: Callable[[bool], None]
    set_scoring: Callable[[Scoring], None]
    toggle_nms: Callable[[], None]
    reset_thresholds: Callable[[], None]
    undo: Callable[[], None]
    redo: Callable[[], None]
    pick: Callable[[int | None], None]
    pick_several: Callable[[Sequence[int]], None]
    set_tool: Callable[[Tool], None]
    leave_tool: Callable[[], None]
    set_theme: Callable[[ThemeChoice], None]
    ask: Callable[[Sequence[float]], None]
    exclude: Callable[[Sequence[int]], None]
    restore: Callable[[Sequence[int]], None]
    keep_only: Callable[[Sequence[int]], None]
    restore_all: Callable[[], None]
    restore_everywhere: Callable[[], None]
    toggle_nms_anew: Callable[[], None]
    heal_selected: Callable[[], None]
    edit_area: Callable[[PictureEditKind, Sequence[tuple[float, float]]], None]
    set_ground_glass: Callable[[float], None]
    run_edited: Callable[[], None]
    stop_edited: Callable[[], None]
    forget_edited: Callable[[], None]
    choose_way: Callable[[Way], None]
    choose_grouping: Callable[[Grouping], None]
    choose_output: Callable[[int | None], None]
    watch_sensitivity: Callable[[bool], None]
    explain_pixels: Callable[[], None]
    show_pixel_map: Callable[[Kind], None]
    next_pixel_map: Callable[[], None]
    point_at: Callable[[tuple[float, float] | None], None]
    ask_stability: Callable[[], None]
    ask_scan_stability: Callable[[], None]
    watch_lesions: Callable[[bool], None]
    go_to_lesion: Callable[[int], None]
    select_lesion: Callable[[int | None], None]
    dismiss_hint: Callable[[], None]
    set_top: Callable[[int | None], None]

    forget_message: Callable[[Message], None]
    dismiss_messages: Callable[[], None]
    take_offer: Callable[[Message], None]
    show_folder: Callable[[str], None]
