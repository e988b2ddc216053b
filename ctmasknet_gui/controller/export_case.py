"""Exports pictures, tables, plots and masks of the open series in the worker."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal, Slot

from ctmasknet_gui.controller.exporter import IN_TWO_FORMATS, Appearance, Existing, Exporter, ExportJob
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.state.verdict import verdict_words
from ctmasknet_gui.worker import Priority
from model_core.base.volume import Problem, Volume

NOUNS = {
    "png": ("picture", "pictures"),
    "csv": ("table", "tables"),
    "plots": ("plot", "plots"),
    "lesions": ("lesion mask", "lesion masks"),
    "slice_page": ("page", "pages"),
    "scan_page": ("page", "pages"),
    "figure": ("figure", "figures"),
    "nms_figure": ("figure", "figures"),
}
_OF_ONE_SLICE = {"plots": "plots", "slice_page": "page", "nms_figure": "figure"}


def topic_of(request: ExportRequest) -> str:
    """Return the topic of what is told of an export that failed: another one to the same place ends it."""
    return f"export to {request.target}"


class ExportController(QObject):
    """Turns a request into a job; asks before anything is overwritten. One export runs after the other.

    ``overwrite_asked(job, paths)``: these files exist; call `replace_files` with that job to go on.
    ``exported(paths)``: everything asked for is written.
    """

    overwrite_asked = Signal(object, object)
    exported = Signal(object)
    # Kind, files written, files asked for; sent by the worker when a stopped export has really ended.
    _stopped = Signal(str, int, int)

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        exporter: Exporter,
        weights: WeightsController,
        shown: ShownController,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._exporter = exporter
        self._weights = weights
        self._shown = shown
        self._messages = messages
        self._waiting: list[ExportJob] = []
        self._stopped.connect(self._tell_stopped, Qt.ConnectionType.QueuedConnection)

    @Slot(object)
    def export(self, request: ExportRequest) -> None:
        """Export what is on screen, or say why there is nothing to export."""
        self._messages.may_name(request.target)
        volume = self._state.case.volume
        if volume is None:
            self._messages.post("info", "Open a CT series first, then export.")
            return
        if request.series_id not in ("", volume.series_id):
            self._messages.post(
                "warning", "Nothing was exported: meanwhile another series was opened. Export again."
            )
            return
        of_summaries = request.slices == "findings" or request.kind == "scan_page"
        if of_summaries and self._state.results.updating:
            self._messages.post(
                "info", "The findings are being updated to the new thresholds. Export in a moment."
            )
            return
        self._shown.forget_undrawable()
        slices = self._slices(request, volume)
        if not slices:
            self._messages.post("info", self._why_nothing(request))
            return
        if request.kind == "figure" and (refused := self._too_many(len(slices))):
            self._messages.post("info", refused)
            return
        if self._jobs.active("export"):
            self._messages.post("info", "This export begins once the one that is running is done.")
        self._submit(self._job(request, volume, slices))

    def replace_files(self, job: ExportJob) -> None:
        """Carry out a job that found files in its way, over them: the very job that was asked about."""
        self._submit(replace(job, overwrite=True))

    def _submit(self, job: ExportJob) -> None:
        """Carry out a job in the worker, after the one that is running."""
        if self._jobs.active("export"):
            self._waiting.append(job)
            return
        written: list[Path] = []
        asked = False

        def take(item: object) -> None:
            nonlocal asked
            if isinstance(item, Problem):
                self._messages.post(item.level, f"{item.text} {item.action}".strip())
            elif isinstance(item, Existing):
                asked = True
                self.overwrite_asked.emit(job, item.paths)

        def finish() -> None:
            if not asked:
                self._tell(job, written)
                self.exported.emit(tuple(written))
            self._next()

        def fail(error: BaseException) -> None:
            self._messages.report(error, topic=topic_of(job.request), path=job.request.target)
            self._next()

        self._jobs.submit(
            "export",
            lambda: self._work(job, written),
            Handlers(produced=take, finished=finish, failed=fail, cancelled=self._next),
            priority=Priority.ASKED,
        )

    def _work(self, job: ExportJob, written: list[Path]) -> Generator[object, None, None]:
        """Carry out a job, or say which files are in its way; iterated in the worker thread."""
        targets = self._exporter.targets(job)
        # A folder of that name cannot be replaced; writing says so.
        existing = tuple(path for path in targets if path.exists() and not path.is_dir())
        if existing and not job.overwrite:
            yield Existing(existing)
            return
        try:
            for item in self._exporter.export(job):
                if isinstance(item, Path):
                    written.append(item)
                yield item
        except GeneratorExit:
            self._stopped.emit(job.request.kind, len(written), len(targets))
            raise

    def _next(self) -> None:
        """Begin the export that waits longest."""
        if self._waiting:
            self._submit(self._waiting.pop(0))

    def _slices(self, request: ExportRequest, volume: Volume) -> tuple[int, ...]:
        results = self._state.results
        here = self._state.display.slice_index if request.slice_index is None else request.slice_index
        if not 0 <= here < volume.slices:
            return ()
        if request.kind in ("plots", "slice_page", "nms_figure"):
            return (here,) if here in results.slices else ()
        if request.kind in ("csv", "lesions", "scan_page"):
            return tuple(sorted(results.slices))
        if request.slices == "current":
            chosen: tuple[int, ...] = (here,)
        elif request.slices == "range":
            chosen = tuple(range(request.first, min(request.last, volume.slices)))
        elif request.slices == "keys":
            chosen = tuple(sorted(self._state.case.key_images))
        else:
            chosen = tuple(sorted(k for k, summary in results.summaries.items() if summary.detections > 0))
        return chosen if request.kind == "png" else tuple(k for k in chosen if k in results.slices)

    @staticmethod
    def _too_many(slices: int) -> str:
        """Say why a figure cannot have so many slices; empty where it can."""
        from model_core.export.paper_captions import MOST_ROWS

        if slices <= MOST_ROWS:
            return ""
        return (
            f"A figure has room for {MOST_ROWS} slices, not for {slices}. Mark those that it is to show "
            "as key images (Ctrl+K), and choose them."
        )

    def _why_nothing(self, request: ExportRequest) -> str:
        analysed = len(self._state.results.slices)
        pictured = request.kind in ("png", "figure")
        if pictured and request.slices == "keys" and not self._state.case.key_images:
            return "No slice is marked as a key image: mark one with Ctrl+K."
        if request.kind == "figure" and analysed:
            return "None of these slices is analysed yet: run them first, then export the figure."
        if request.kind == "png" and request.slices == "range":
            return "The series has no slice in this range."
        if request.kind == "png" and analysed:
            return f"None of the {analysed} analysed slices has a finding under the present thresholds."
        if request.kind in _OF_ONE_SLICE and analysed:
            what = _OF_ONE_SLICE[request.kind]
            return f"This slice is not analysed yet: run it first, then export its {what}."
        return "Nothing is analysed yet: run the network first, then export."

    def _job(self, request: ExportRequest, volume: Volume, slices: tuple[int, ...]) -> ExportJob:
        state = self._state
        # The selection is one of the visible slice.
        visible = slices == (state.display.slice_index,)
        display, thresholds, scan = state.display, state.thresholds, state.results.scan
        steady = state.stability
        return ExportJob(
            request=request,
            volume=volume,
            slices=slices,
            results={k: state.results.slices[k] for k in slices if k in state.results.slices},
            summaries=state.results.summaries,
            verdict=scan,
            pipeline=self._weights.pipeline,
            detections=thresholds.detections,
            evidence=thresholds.evidence,
            edits=thresholds.edits,
            edited=thresholds.evidence_edited,
            region_classes=state.weights.region_classes,
            image_classes=state.weights.image_classes,
            weights=state.weights.text,
            scan=None if scan is None or scan.verdict is None else verdict_words(state),
            reference=state.case.reference,
            appearance=Appearance(
                window=display.window,
                inverted=display.inverted,
                flip_horizontal=display.flip_horizontal,
                flip_vertical=display.flip_vertical,
                overlays=display.overlays,
            ),
            top=state.selection.top,
            selected=state.selection.candidate if visible else None,
            overwrite=False,
            way=state.reasons.way,
            output=state.reasons.output,
            key_images=state.case.key_images,
            steady=steady.found if visible and steady.of_class and steady.of_area else None,
            steady_scan=steady.scan,
        )

    def _tell(self, job: ExportJob, written: list[Path]) -> None:
        request = job.request
        one, many = NOUNS[request.kind]
        # A page or figure is one, written as PDF and as HTML or PNG.
        single = len(written) == 1 or request.kind in IN_TWO_FORMATS
        what = f"1 {one} is" if single else f"{len(written)} {many} are"
        text = f"{what} written to {request.target.name}."
        analysed, slices = len(job.results), job.volume.slices
        if request.kind in ("csv", "lesions") and analysed < slices:
            text += f" Only {analysed} of {slices} slices are analysed; the others are empty in it."
        asked = {"keys": len(job.key_images), "range": min(request.last, slices) - request.first}
        if request.kind == "figure" and (left := asked.get(request.slices, 0) - len(job.slices)) > 0:
            text += (
                f" {left} slice{'s' * (left > 1)} without a result {'is' if left == 1 else 'are'} not in it."
            )
        self._messages.withdraw(topic_of(request))
        self._messages.post("info", text, path=request.target)

    @Slot(str, int, int)
    def _tell_stopped(self, kind: str, written: int, asked: int) -> None:
        one, many = NOUNS[kind]
        noun = one if asked == 1 else many
        verb = "is" if written == 1 else "are"
        self._messages.post("info", f"The export was stopped: {written} of {asked} {noun} {verb} written.")
