"""Exports pictures, tables, plots and masks of the open series in the worker."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from ctmasknet_gui.controller.export_job import Existing, Exporter, ExportJob, Look
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.requests import ExportRequest
from ctmasknet_gui.worker import Priority
from model_core.types import Problem, Volume

NOUNS = {
    "png": ("picture", "pictures"),
    "csv": ("table", "tables"),
    "plots": ("plot", "plots"),
    "lesions": ("lesion mask", "lesion masks"),
}


class ExportController(QObject):
    """Turns a request into a job; asks before anything is overwritten.

    ``overwrite_asked(request, paths)``: these files exist; call `export` again with ``overwrite``.
    ``exported(paths)``: everything asked for is written.
    """

    overwrite_asked = Signal(object, object)
    exported = Signal(object)

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        exporter: Exporter,
        weights: WeightsController,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._exporter = exporter
        self._weights = weights
        self._messages = messages

    @Slot(object)
    def export(self, request: ExportRequest, *, overwrite: bool = False) -> None:
        """Export what is on screen, or say why there is nothing to export."""
        volume = self._state.case.volume
        if volume is None:
            self._messages.post("info", "Open a CT series first, then export.")
            return
        slices = self._slices(request, volume)
        if not slices:
            self._messages.post("info", self._why_nothing(request))
            return
        job = self._job(request, volume, slices, overwrite=overwrite)
        written: list[Path] = []
        asked = False

        def work() -> Generator[object, None, None]:
            targets = self._exporter.targets(job)
            # A folder of that name cannot be replaced; writing says so.
            existing = tuple(path for path in targets if path.exists() and not path.is_dir())
            if existing and not overwrite:
                yield Existing(existing)
                return
            yield from self._exporter.export(job)

        def take(item: object) -> None:
            nonlocal asked
            if isinstance(item, Path):
                written.append(item)
            elif isinstance(item, Problem):
                self._messages.post(item.level, f"{item.text} {item.action}".strip())
            elif isinstance(item, Existing):
                asked = True
                self.overwrite_asked.emit(request, item.paths)

        def finish() -> None:
            if not asked:
                self._tell(request, volume, written)
                self.exported.emit(tuple(written))

        self._jobs.submit(
            "export",
            work,
            Handlers(produced=take, finished=finish, failed=self._messages.report),
            priority=Priority.ASKED,
        )

    def _slices(self, request: ExportRequest, volume: Volume) -> tuple[int, ...]:
        results = self._state.results
        here = self._state.display.slice_index if request.slice_index is None else request.slice_index
        if request.kind == "plots":
            return (here,) if here in results.slices else ()
        if request.kind in ("csv", "lesions"):
            return tuple(sorted(results.slices))
        if request.slices == "current":
            return (here,)
        if request.slices == "range":
            return tuple(range(request.first, min(request.last, volume.slices)))
        return tuple(sorted(k for k, summary in results.summaries.items() if summary.detections > 0))

    def _why_nothing(self, request: ExportRequest) -> str:
        analysed = len(self._state.results.slices)
        if request.kind == "png" and request.slices == "range":
            return "The series has no slice in this range."
        if request.kind == "png" and analysed:
            return f"None of the {analysed} analysed slices has a finding under the present thresholds."
        if request.kind == "plots" and analysed:
            return "This slice is not analysed yet: run it first, then export its plots."
        return "Nothing is analysed yet: run the network first, then export."

    def _job(
        self, request: ExportRequest, volume: Volume, slices: tuple[int, ...], *, overwrite: bool
    ) -> ExportJob:
        state = self._state
        display, thresholds = state.display, state.thresholds
        return ExportJob(
            request=request,
            volume=volume,
            slices=slices,
            results={k: state.results.slices[k] for k in slices if k in state.results.slices},
            pipeline=self._weights.pipeline,
            detections=thresholds.detections,
            evidence=thresholds.evidence,
            edited=thresholds.evidence_edited,
            region_classes=state.weights.region_classes,
            image_classes=state.weights.image_classes,
            reference=state.case.reference,
            look=Look(
                window=display.window,
                inverted=display.inverted,
                flip_horizontal=display.flip_horizontal,
                flip_vertical=display.flip_vertical,
                masks=display.masks,
                outlines=display.outlines,
                boxes=display.boxes,
                logits=display.logits,
                reference=display.reference,
                opacity=display.opacity,
            ),
            top=state.selection.top,
            selected=state.selection.candidate,
            overwrite=overwrite,
        )

    def _tell(self, request: ExportRequest, volume: Volume, written: list[Path]) -> None:
        one, many = NOUNS[request.kind]
        what = f"1 {one} is" if len(written) == 1 else f"{len(written)} {many} are"
        text = f"{what} written to {request.target.name}."
        analysed = len(self._state.results.slices)
        if request.kind in ("csv", "lesions") and analysed < volume.slices:
            text += f" Only {analysed} of {volume.slices} slices are analysed; the others are empty in it."
        self._messages.post("info", text)
