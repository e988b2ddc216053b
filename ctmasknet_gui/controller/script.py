"""Carries out what the command line asked for: open, run, show a slice, take a screenshot, leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from ctmasknet_gui.controller.case_files import CaseFiles
from ctmasknet_gui.controller.demo import most_lesion
from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.controller.jobs import Jobs
from ctmasknet_gui.controller.open_case import OpenController
from ctmasknet_gui.controller.run_case import RunController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.case import CASE_SUFFIX
from model_core.base.errors import CTMaskNetError, ExportError, SettingsError
from model_core.base.files import atomic_path

FAILED, USAGE = 1, 2

# Plots and thumbnails are drawn a moment after the state they show has changed.
SETTLE_MS = 400


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line. ``slice_index`` counts from 0; ``size`` is width, height of the window."""

    paths: tuple[Path, ...] = ()
    demo: bool = False
    weights: tuple[str, ...] = ()
    backend: str = "auto"
    slice_index: int | None = None
    run: bool = False
    run_all: bool = False
    size: tuple[int, int] | None = None
    screenshot: Path | None = None


class ScriptController(QObject):
    """Emits `leave` with an exit code and a line for stderr once nothing is left to do."""

    leave = Signal(int, str)

    def __init__(
        self,
        state: AppState,
        options: Options,
        *,
        jobs: Jobs,
        opening: OpenController,
        case_files: CaseFiles,
        running: RunController,
        weights: WeightsController,
        display: DisplayController,
        grab: Callable[[Path], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._options = options
        self._jobs = jobs
        self._opening = opening
        self._running = running
        self._case_files = case_files
        self._weights = weights
        self._display = display
        self._grab = grab
        self._waiting = False
        opening.opened.connect(self._on_opened)
        opening.failed.connect(self._on_failed)
        opening.cancelled.connect(self._on_cancelled)
        case_files.failed.connect(self._on_failed)
        running.completed.connect(self._on_run_completed)
        running.failed.connect(self._on_run_failed)

    def start(self) -> None:
        """Begin."""
        options = self._options
        if options.weights:
            self._weights.set_choice(options.weights)
        if options.demo:
            self._waiting = True
            self._opening.open_demo()
        elif options.paths:
            self._waiting = True
            if len(options.paths) == 1 and options.paths[0].suffix.lower() == CASE_SUFFIX:
                self._case_files.open(options.paths[0])
            else:
                self._opening.open_paths(options.paths, choose_best=True)
        else:
            self._load_weights()
            if options.screenshot is not None:
                self._finish()

    def _load_weights(self) -> None:
        """Load what was named, where no run does it: the window then tells what they are."""
        if self._options.weights:
            self._weights.choose(self._options.weights)

    @Slot()
    def _on_opened(self) -> None:
        if not self._waiting:
            return
        self._waiting = False
        volume, options = self._state.case.volume, self._options
        assert volume is not None
        index = options.slice_index
        if index is not None and not 0 <= index < volume.slices:
            error = SettingsError(
                f"--slice {index} does not exist: the series has slices 0 to {volume.slices - 1}."
            )
            self.leave.emit(USAGE, error.message)
            return
        if index is None and options.demo:
            index = most_lesion(self._state.case.reference)
        if index is not None:
            self._display.show_slice(index)
        if options.run_all or (options.demo and options.screenshot is None):
            self._running.run_series()
        elif options.run or options.demo:
            self._running.run_slice()
        else:
            self._load_weights()
            if options.screenshot is not None:
                self._finish()

    @Slot()
    def _on_cancelled(self) -> None:
        """Stop waiting: what is opened next is not what was asked for at the start."""
        self._waiting = False

    @Slot(object)
    def _on_failed(self, error: BaseException) -> None:
        self._waiting = False
        if self._options.screenshot is not None:
            text = error.message if isinstance(error, CTMaskNetError) else type(error).__name__
            self.leave.emit(FAILED, text)

    @Slot(object)
    def _on_run_failed(self, error: BaseException) -> None:
        asked = self._options.run or self._options.run_all
        if asked:
            self._on_failed(error)
        elif self._options.screenshot is not None:
            self._finish()

    @Slot()
    def _on_run_completed(self) -> None:
        if self._options.screenshot is not None:
            self._finish()

    def _finish(self) -> None:
        QTimer.singleShot(SETTLE_MS, self._take_screenshot)

    @Slot()
    def _take_screenshot(self) -> None:
        if self._jobs.busy:
            self._finish()
            return
        target = self._options.screenshot
        assert target is not None
        try:
            save_screenshot(target, self._grab)
        except ExportError as error:
            self.leave.emit(FAILED, error.message)
            return
        self.leave.emit(0, "")


def save_screenshot(target: Path, grab: Callable[[Path], bool]) -> None:
    """Write the window's picture, whole or not at all.

    Raises
    ------
    ExportError
        If the folder does not exist or cannot be written.
    """
    if not target.parent.is_dir():
        raise ExportError(f"The picture {target.name} cannot be written. Does its folder exist?")
    with atomic_path(target, overwrite=True) as temporary:
        if not grab(temporary):
            raise ExportError(f"The picture {target.name} cannot be written.")
