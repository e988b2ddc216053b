"""Connects what the window asks for to the use case that does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMessageBox

from ctmasknet_gui.controller.bundle import Controllers
from ctmasknet_gui.controller.export_job import ExportJob
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.case import WEIGHT_SUFFIXES
from ctmasknet_gui.view.main_window import MainWindow
from ctmasknet_gui.view.privacy import shown_text
from ctmasknet_gui.view.requests import ExportRequest


class Wiring(QObject):
    """Holds the connections between one window and its controllers.

    Most intents go straight to a controller's method; the slots here are those few that also touch the
    settings or ask a question first.
    """

    def __init__(
        self, state: AppState, window: MainWindow, controllers: Controllers, settings: Settings
    ) -> None:
        super().__init__(window)
        self._state = state
        self._window = window
        self._controllers = controllers
        self._settings = settings
        self._connect_files()
        self._connect_display()
        self._connect_analysis()
        self._connect_export()
        self._show_recent()

    def _connect_files(self) -> None:
        window, opening = self._window, self._controllers.opening
        window.pathsChosen.connect(self._open_paths)
        window.recentCleared.connect(self._clear_recent)
        window.demoRequested.connect(self._controllers.demo.open)
        window.seriesChosen.connect(opening.open_series)
        window.everyNthChosen.connect(opening.open_every)
        window.tiltCorrectionRequested.connect(opening.correct_tilt)
        opening.too_large.connect(window.ask_fewer_slices)
        opening.mask_found.connect(window.ask_mask_use)
        window.maskUsed.connect(opening.use_mask)
        window.maskOpened.connect(opening.open_mask)
        window.offerTaken.connect(opening.take_offer)
        window.closeCaseRequested.connect(opening.close_case)
        window.referenceChosen.connect(self._open_reference)
        window.referenceClosed.connect(opening.close_reference)
        window.weightsChosen.connect(self._controllers.weights.choose)
        window.fastToggled.connect(self._controllers.weights.set_fast)
        window.messagesDismissed.connect(self._controllers.messages.dismiss_all)
        window.messageFaded.connect(self._controllers.messages.forget)
        window.folderRequested.connect(self._show_folder)
        opening.catalogued.connect(self._show_recent)
        opening.failed.connect(self._show_recent)
        self._controllers.thumbnails.ready.connect(window.set_thumbnail)

    def _connect_display(self) -> None:
        window, display = self._window, self._controllers.display
        window.sliceRequested.connect(display.show_slice)
        window.sliceStepped.connect(display.step)
        window.findingStepped.connect(display.step_finding)
        window.cineToggled.connect(self._controllers.cine.toggle)
        window.cineSpeedChosen.connect(self._controllers.cine.set_speed)
        window.presetChosen.connect(display.preset)
        window.windowChosen.connect(display.choose_window)
        window.windowRequested.connect(display.set_window)
        window.zoomRequested.connect(display.set_zoom)
        window.viewReset.connect(display.reset_view)
        window.switchToggled.connect(display.toggle)
        window.overlaysToggled.connect(display.toggle_overlays)
        window.opacityRequested.connect(display.set_opacity)
        window.opacityStepped.connect(display.change_opacity)

    def _connect_analysis(self) -> None:
        window, controllers = self._window, self._controllers
        thresholds, selection = controllers.thresholds, controllers.selection
        window.detectionsChanged.connect(thresholds.set_detections)
        window.evidenceChanged.connect(thresholds.set_evidence)
        window.linkToggled.connect(thresholds.set_linked)
        window.nmsToggled.connect(thresholds.toggle_nms)
        window.scoringRequested.connect(thresholds.set_scoring)
        window.thresholdsReset.connect(thresholds.reset)
        window.undoRequested.connect(thresholds.undo)
        window.redoRequested.connect(thresholds.redo)
        window.candidatePicked.connect(selection.pick)
        window.topChosen.connect(selection.set_top)
        window.runSliceRequested.connect(controllers.running.run_slice)
        window.runSeriesRequested.connect(controllers.running.run_series)
        window.stopRequested.connect(controllers.stop)

    def _connect_export(self) -> None:
        exporting = self._controllers.exporting
        self._window.exportRequested.connect(self._export)
        exporting.overwrite_asked.connect(self._confirm_overwrite)

    # ------------------------------------------------------------------------------------- slots

    @Slot(object)
    def _open_paths(self, paths: Sequence[Path]) -> None:
        # Weight files that were dropped on the window, perhaps together with images.
        weights = [path for path in paths if path.suffix.lower() in WEIGHT_SUFFIXES]
        images = [path for path in paths if path not in weights]
        if weights:
            self._controllers.weights.choose([str(path) for path in weights])
        if not images:
            return
        self._controllers.opening.open_paths(images)
        self._window.set_last_folder(self._settings.last_folder)

    @Slot(object)
    def _open_reference(self, path: Path) -> None:
        self._settings.last_folder = path.parent
        self._window.set_last_folder(self._settings.last_folder)
        self._controllers.opening.open_reference(path)

    @Slot()
    def _clear_recent(self) -> None:
        self._settings.clear_recent()
        self._show_recent()

    @Slot()
    def _show_recent(self) -> None:
        self._window.set_recent(self._settings.recent)
        self._window.set_last_folder(self._settings.last_folder)
        self._window.dialogs.export_folder = self._settings.last_export_folder

    @Slot(str)
    def _show_folder(self, where: str) -> None:
        """Open a folder, or the one that a file lies in, with the system's file manager."""
        path = Path(where)
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir() or not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
            self._controllers.messages.post(
                "warning", f"The folder '{folder.name}' cannot be shown: is it still there?", path=folder
            )

    @Slot(object)
    def _export(self, request: ExportRequest) -> None:
        self._settings.last_export_folder = request.target.parent
        self._window.dialogs.export_folder = self._settings.last_export_folder
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
