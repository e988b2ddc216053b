"""All controllers of one window, built in the order of their needs."""

from __future__ import annotations

from collections.abc import Generator

from ctmasknet_gui.controller.case_files import CaseFiles
from ctmasknet_gui.controller.demo import DemoController
from ctmasknet_gui.controller.display import CineController, DisplayController, SelectionController
from ctmasknet_gui.controller.export_case import ExportController
from ctmasknet_gui.controller.exporter import Exporter
from ctmasknet_gui.controller.idle_masks import IdleMaskController
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.kept_results import KeptResults
from ctmasknet_gui.controller.key_images import KeyImageController
from ctmasknet_gui.controller.lesions import LesionController
from ctmasknet_gui.controller.lungs import LungController
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.open_case import OpenController
from ctmasknet_gui.controller.picture_edits import PictureEditController
from ctmasknet_gui.controller.pixels import PixelController
from ctmasknet_gui.controller.ports import Engine, Reader, warm_up_plots, warm_up_reading
from ctmasknet_gui.controller.reasons import ReasonController
from ctmasknet_gui.controller.remember import RememberController
from ctmasknet_gui.controller.run_case import RunController
from ctmasknet_gui.controller.services import Services
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.controller.stability import StabilityController
from ctmasknet_gui.controller.thresholds import ThresholdController
from ctmasknet_gui.controller.thumbnails import ThumbnailController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.controller.what_if import WhatIfController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority, WorkerThread
from model_core.base.jobs import Progress


class Controllers:
    """Holds the controllers and the worker threads they share; knows no widget."""

    def __init__(
        self, state: AppState, settings: Settings, *, engine: Engine, reader: Reader, exporter: Exporter
    ) -> None:
        self.state = state
        self.thread = WorkerThread()
        self.beside = WorkerThread("beside")
        self.jobs = Jobs(state.run, self.thread, beside=self.beside, changes=state.changes)
        self.messages = MessageController(state)
        self.weights = WeightsController(state, self.jobs, engine=engine, messages=self.messages)
        self.shown = ShownController(
            state, self.jobs, engine=engine, weights=self.weights, messages=self.messages
        )
        services = Services(state, self.jobs, engine, self.weights, self.shown, self.messages)
        self.idle_masks = IdleMaskController(state, self.jobs, engine=engine, weights=self.weights)
        self.lungs = LungController(state, self.jobs, engine=engine, shown=self.shown)
        self.display = DisplayController(state)
        self.cine = CineController(state)
        self.key_images = KeyImageController(state, self.display)
        self.thumbnails = ThumbnailController(state, self.jobs, reader=reader)
        self.opening = OpenController(
            state,
            self.jobs,
            reader=reader,
            shown=self.shown,
            display=self.display,
            messages=self.messages,
            settings=settings,
        )
        self.running = RunController(
            state,
            self.jobs,
            engine=engine,
            weights=self.weights,
            shown=self.shown,
            messages=self.messages,
        )
        self.demo = DemoController(state, opening=self.opening, running=self.running, display=self.display)
        self.thresholds = ThresholdController(state, self.shown)
        self.what_if = WhatIfController(services, self.thresholds)
        self.picture_edits = PictureEditController(services)
        self.reasons = ReasonController(services)
        self.kept = KeptResults(
            state,
            self.jobs,
            weights=self.weights,
            shown=self.shown,
            key_images=self.key_images,
            messages=self.messages,
            settings=settings,
        )
        self.case_files = CaseFiles(
            state,
            self.jobs,
            reader=reader,
            opening=self.opening,
            weights=self.weights,
            thresholds=self.thresholds,
            display=self.display,
            key_images=self.key_images,
            running=self.running,
            messages=self.messages,
            settings=settings,
        )
        self.selection = SelectionController(state)
        self.pixels = PixelController(services, display=self.display)
        self.stability = StabilityController(services)
        self.lesions = LesionController(services, display=self.display, selection=self.selection)
        self.exporting = ExportController(
            state,
            self.jobs,
            exporter=exporter,
            weights=self.weights,
            shown=self.shown,
            messages=self.messages,
        )
        self.remember = RememberController(state, settings)

    def warm_up(self) -> None:
        """Prepare what the first series and its first slice need, where nothing is being done yet."""

        def work() -> Generator[object, None, None]:
            for prepare in (warm_up_reading, warm_up_plots):
                prepare()
                yield Progress(0, 0)

        if not self.jobs.busy:
            self.jobs.submit("warm up", work, Handlers(), priority=Priority.IDLE, visible=False, beside=True)

    def stop(self) -> None:
        """Stop what the user sees running; what is done stays."""
        self.jobs.cancel_visible()

    def shutdown(self, timeout_ms: int = 15_000) -> bool:
        """Stop playing and running, save what is to be saved or kept, end the rest and join the threads."""
        self.cine.stop()
        self.jobs.wait_for("save", timeout_ms)
        self.jobs.cancel("run")
        self.jobs.wait_for("keep", timeout_ms)
        self.kept.keep()
        self.jobs.wait_for("keep", timeout_ms)
        return self.jobs.shutdown(timeout_ms)
