"""Runs the networks over the visible slice or the whole series."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine, Pipeline
from ctmasknet_gui.controller.shown import ShownController, Summarised
from ctmasknet_gui.controller.weights import LoadedPipeline, WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority
from model_core.config import DetectionSettings, EvidenceSettings
from model_core.types import Progress, SliceResult, Volume


def nearest_first(
    engine: Engine, pipeline: Pipeline, volume: Volume, *, slices: Iterable[int], centre: Callable[[], int]
) -> Generator[Progress | SliceResult, None, None]:
    """Run slices one by one, always the one nearest to what is visible *now*.

    Parameters
    ----------
    centre:
        Returns the visible slice; asked anew before each slice, so that scrolling steers the run.
    """
    remaining = set(slices)
    count = len(remaining)
    for position in range(count):
        here = centre()
        index = min(remaining, key=lambda k: (abs(k - here), k))
        remaining.discard(index)
        text = f"Slice {index + 1}" if count == 1 else f"Slice {index + 1} ({position + 1} of {count})"
        for item in engine.run(pipeline, volume, (index,)):
            if not isinstance(item, Progress):
                yield item
                continue
            # The total of one slice is its passes through a backbone. Its end is the next one's begin.
            passes = max(1, item.total)
            if item.done < passes:
                yield Progress(position * passes + item.done, count * passes, text)


class RunController(QObject):
    """Starts and cancels runs; takes over results of the present job, series and weights only."""

    result_taken = Signal(int)
    completed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        engine: Engine,
        weights: WeightsController,
        shown: ShownController,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._engine = engine
        self._weights = weights
        self._shown = shown
        self._messages = messages

    def run_slice(self) -> None:
        """Run the visible slice."""
        self._start([self._state.display.slice_index])

    def run_series(self) -> None:
        """Run every slice that has no result yet, the visible one first, then outward."""
        volume = self._state.case.volume
        if volume is not None:
            self._start([k for k in range(volume.slices) if k not in self._state.results.slices])

    def cancel(self) -> None:
        """Stop running; results so far stay."""
        self._jobs.cancel("run")

    def _start(self, slices: list[int]) -> None:
        volume = self._state.case.volume
        if volume is None:
            self._messages.post("info", "Open a CT series first, then run the network.")
            return
        if not slices:
            self.completed.emit()
            return
        names, loaded = self._state.weights.chosen, self._weights.pipeline
        thresholds, display = self._state.thresholds, self._state.display

        def work() -> Generator[object, None, None]:
            pipeline = loaded
            if pipeline is None:
                for item in self._weights.loading(names):
                    if isinstance(item, LoadedPipeline):
                        pipeline = item.pipeline
                    yield item
            assert pipeline is not None
            ready: Pipeline = pipeline
            fresh = loaded is None
            for step in nearest_first(
                self._engine, ready, volume, slices=slices, centre=lambda: display.slice_index
            ):
                yield step
                if isinstance(step, SliceResult):
                    # With a fresh pipeline the window may not have taken over its defaults yet.
                    settings: tuple[DetectionSettings, EvidenceSettings] = (
                        (ready.detections, ready.evidence)
                        if fresh and self._weights.pipeline is not ready
                        else (thresholds.detections, thresholds.evidence)
                    )
                    summary = self._engine.summarise(ready, volume, step, *settings)
                    yield Summarised(summary, *settings)

        self._jobs.submit(
            "run",
            work,
            Handlers(produced=self._take, finished=self.completed.emit, failed=self._on_failed),
            priority=Priority.RUN,
        )

    def _take(self, item: object) -> None:
        if isinstance(item, LoadedPipeline):
            self._weights.adopt(item)
        elif isinstance(item, SliceResult) and self._belongs(item):
            slices = self._state.results.slices
            self._state.results.slices = {**slices, item.slice_index: item}
        elif isinstance(item, Summarised) and item.summary.slice_index in self._state.results.slices:
            self._shown.take(item)
            if item.summary.slice_index == self._state.display.slice_index:
                self._shown.refresh()
            self.result_taken.emit(item.summary.slice_index)

    def _belongs(self, result: SliceResult) -> bool:
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        return (
            volume is not None
            and pipeline is not None
            and result.series_id == volume.series_id
            and result.weights_id == pipeline.weights_id
        )

    def _on_failed(self, error: BaseException) -> None:
        self._messages.report(error)
        self.failed.emit(error)
