"""Says which method does each use case that the window offers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMessageBox

from ctmasknet_gui.controller.controllers import Controllers
from ctmasknet_gui.controller.exporter import ExportJob
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.case import CASE_SUFFIX, WEIGHT_SUFFIXES
from ctmasknet_gui.state.privacy import shown_text
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view.main_window import MainWindow
from ctmasknet_gui.view.use_cases import UseCases


class Wiring(QObject):
    """Gives the window its use cases, and tells it what the controllers have to say.

    Most use cases are a controller's method; the methods here are those few that also touch the settings or
    ask a question first. The window is built with ``use`` and then given to `attach`.
    """

    def __init__(self, state: AppState, controllers: Controllers, settings: Settings) -> None:
        super().__init__()
        self._state = state
        self._controllers = controllers
        self._settings = settings
        self.use = self._use_cases()

    def _use_cases(self) -> UseCases:
        controllers = self._controllers
        opening, display = controllers.opening, controllers.display
        thresholds, messages = controllers.thresholds, controllers.messages
        what_if, edits = controllers.what_if, controllers.picture_edits
        return UseCases(
            open_paths=self._open_paths,
            open_demo=controllers.demo.open,
            open_series=opening.open_series,
            open_every=opening.open_every,
            open_mask=opening.open_mask,
            use_mask=opening.use_mask,
            correct_tilt=opening.correct_tilt,
            close_case=opening.close_case,
            open_reference=self._open_reference,
            close_reference=opening.close_reference,
            choose_weights=controllers.weights.choose,
            clear_recent=self._clear_recent,
            save_case=controllers.case_files.save,
            toggle_kept=controllers.kept.toggle,
            clear_kept=controllers.kept.clear,
            export=self._export,
            show_slice=display.show_slice,
            step=display.step,
            first=display.first,
            last=display.last,
            next_finding=display.next_finding,
            previous_finding=display.previous_finding,
            toggle_key_image=controllers.key_images.toggle,
            note_key_image=controllers.key_images.note,
            unmark_key_image=controllers.key_images.unmark,
            next_key_image=controllers.key_images.next,
            previous_key_image=controllers.key_images.previous,
            toggle_cine=controllers.cine.toggle,
            set_cine_speed=controllers.cine.set_speed,
            preset=display.preset,
            choose_window=display.choose_window,
            set_window=display.set_window,
            set_zoom=display.set_zoom,
            reset_view=display.reset_view,
            toggle=display.toggle,
            toggle_overlays=display.toggle_overlays,
            set_opacity=display.set_opacity,
            change_opacity=display.change_opacity,
            run_slice=controllers.running.run_slice,
            run_series=controllers.running.run_series,
            stop=controllers.stop,
            set_detections=thresholds.set_detections,
            set_evidence=thresholds.set_evidence,
            set_linked=thresholds.set_linked,
            set_scoring=thresholds.set_scoring,
            toggle_nms=thresholds.toggle_nms,
            reset_thresholds=thresholds.reset,
            undo=thresholds.undo,
            redo=thresholds.redo,
            pick=controllers.selection.pick,
            pick_several=controllers.selection.pick_several,
            set_tool=display.set_tool,
            leave_tool=display.leave_tool,
            set_theme=display.set_theme,
            ask=what_if.ask,
            exclude=what_if.exclude,
            restore=what_if.restore,
            keep_only=what_if.keep_only,
            restore_all=what_if.restore_all,
            restore_everywhere=what_if.restore_everywhere,
            toggle_nms_anew=what_if.toggle_nms_anew,
            heal_selected=edits.heal_selected,
            edit_area=edits.edit_area,
            set_ground_glass=edits.set_ground_glass,
            run_edited=edits.run,
            stop_edited=edits.stop,
            forget_edited=edits.forget,
            choose_way=controllers.reasons.choose_way,
            choose_grouping=controllers.reasons.choose_grouping,
            choose_output=controllers.reasons.choose_output,
            watch_sensitivity=controllers.reasons.watch_sensitivity,
            explain_pixels=controllers.pixels.explain,
            show_pixel_map=controllers.pixels.show_map,
            next_pixel_map=controllers.pixels.next_map,
            point_at=controllers.pixels.point_at,
            ask_stability=controllers.stability.ask,
            ask_scan_stability=controllers.stability.ask_scan,
            watch_lesions=controllers.lesions.watch,
            go_to_lesion=controllers.lesions.go_to,
            select_lesion=controllers.lesions.select_whole,
            dismiss_hint=controllers.reasons.dismiss_hint,
            set_top=controllers.selection.set_top,
            forget_message=messages.forget,
            dismiss_messages=messages.dismiss_all,
            take_offer=opening.take_offer,
            show_folder=self._show_folder,
        )

    def attach(self, window: MainWindow) -> None:
        """Let the window hear of what was found, read and asked."""
        self.setParent(window)
        self._window = window
        opening = self._controllers.opening
        opening.too_large.connect(window.dialogs.ask_fewer_slices)
        opening.mask_found.connect(window.dialogs.ask_mask_use)
        opening.catalogued.connect(self._show_recent)
        opening.failed.connect(self._show_recent)
        self._controllers.case_files.saved.connect(self._show_recent)
        self._controllers.thumbnails.ready.connect(window.set_thumbnail)
        self._controllers.exporting.overwrite_asked.connect(self._confirm_overwrite)
        self._show_recent()

    def _open_paths(self, paths: Sequence[Path]) -> None:
        # Weight files that were dropped on the window, perhaps together with images.
        weights = [path for path in paths if path.suffix.lower() in WEIGHT_SUFFIXES]
        cases = [path for path in paths if path.suffix.lower() == CASE_SUFFIX]
        images = [path for path in paths if path not in weights and path not in cases]
        if weights:
            self._controllers.weights.choose([str(path) for path in weights])
        if cases:
            # One is open at a time, and it names its series itself.
            self._controllers.case_files.open(cases[0])
            return
        if not images:
            return
        self._controllers.opening.open_paths(images)
        self._window.set_last_folder(self._settings.last_folder)

    def _open_reference(self, path: Path) -> None:
        self._settings.last_folder = path.parent
        self._window.set_last_folder(self._settings.last_folder)
        self._controllers.opening.open_reference(path)

    def _clear_recent(self) -> None:
        self._settings.clear_recent()
        self._show_recent()

    @Slot()
    def _show_recent(self) -> None:
        self._window.set_recent(self._settings.recent)
        self._window.set_last_folder(self._settings.last_folder)
        self._window.dialogs.files.export_folder = self._settings.last_export_folder

    def _show_folder(self, where: str) -> None:
        """Open a folder, or the one that a file lies in, with the system's file manager."""
        path = Path(where)
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir() or not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
            self._controllers.messages.post(
                "warning", f"The folder '{folder.name}' cannot be shown: is it still there?", path=folder
            )

    def _export(self, request: ExportRequest) -> None:
        self._settings.last_export_folder = request.target.parent
        self._window.dialogs.files.export_folder = self._settings.last_export_folder
        self._controllers.exporting.export(request)

    @Slot(object, object)
    def _confirm_overwrite(self, job: ExportJob, existing: Sequence[Path]) -> None:
        if len(existing) == 1:
            text = shown_text(f"{existing[0].name} exists already. Replace it?", self._state)
        else:
            text = f"{len(existing)} of these files exist already. Replace them?"
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self._window, "Replace files?", text, buttons.Yes | buttons.Cancel, buttons.Cancel
        )
        if answer == buttons.Yes:
            self._controllers.exporting.replace_files(job)
