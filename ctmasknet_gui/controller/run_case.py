"""Runs the networks over the visible slice or the whole series."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.feature_maps import masks_within_budget, within_budget
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine, Pipeline
from ctmasknet_gui.controller.run_queue import RunQueue
from ctmasknet_gui.controller.shown import ShownController, Summarised
from ctmasknet_gui.controller.unlike_training import unlike_training
from ctmasknet_gui.controller.weights import WEIGHTS, LoadedPipeline, WeightsController, path_of
from ctmasknet_gui.state import AppState, SliceEdits
from ctmasknet_gui.worker import Priority
from model_core.base.errors import WeightsError
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Volume

if TYPE_CHECKING:
    from model_core.engine.elsewhere import SliceRunner

# Of a long series every so manieth slice early, for a picture of the whole.
_STRIP = 8


@dataclass(frozen=True, eq=False)
class Analysed:
    """A result and its summary in one piece: a run that is stopped leaves both of a slice, or neither."""

    result: SliceResult
    summarised: Summarised


def slice_by_slice(
    runner: SliceRunner,
    volume: Volume,
    *,
    queue: RunQueue,
    centre: Callable[[], int],
    left_out: Callable[[int], bool],
) -> Generator[Progress | SliceResult, None, None]:
    """Run slices one by one, always the one that comes next seen from what is visible *now* (`RunQueue`).

    Parameters
    ----------
    queue:
        What is to be run; the window may add to it meanwhile.
    centre:
        Returns the visible slice; asked anew before each slice, so that scrolling steers the run.
    left_out:
        Whether a slice is not run: it shows no lung.
    """
    position = 0
    while (index := queue.take(centre(), left_out)) is not None:
        for item in runner.run(volume, index, waiting=queue.waiting):
            if not isinstance(item, Progress):
                yield item
                continue
            count = queue.total
            text = f"Slice {index + 1}" if count == 1 else f"Slice {index + 1} ({position + 1} of {count})"
            # The total of one slice is its passes through a backbone. Its end is the next one's begin.
            passes = max(1, item.total)
            if item.done < passes:
                yield Progress(position * passes + item.done, count * passes, text)
        position += 1


class RunController(QObject):
    """Starts and cancels runs; takes over results of the present job, series and weights only.

    There is one run at a time: what is asked for while it goes on joins it.
    """

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
        self._queue = RunQueue(())
        # Slices of the open series that were asked for one by one.
        self._by_hand: frozenset[int] = frozenset()
        # Whether this run brings its weights, and which ones it runs under.
        self._names: tuple[str, ...] = ()
        self._loads = False
        self._cautioned = False
        state.case.events.volume.connect(self._on_volume)
        weights.changed.connect(self._on_weights)
        weights.refused.connect(self._on_refused)
        shown.forgotten.connect(self._on_forgotten)

    def run_slice(self) -> None:
        """Run the visible slice; in a run that goes on it comes next."""
        here = self._state.display.slice_index
        self._by_hand |= {here}
        self._run([here])

    def run_slices(self, indices: Sequence[int]) -> None:
        """Run these slices, with lung or without."""
        self._by_hand |= set(indices)
        self._run(indices)

    def run_series(self) -> None:
        """Run every slice with lung that has no result yet, in the order of `RunQueue`."""
        volume = self._state.case.volume
        if volume is None:
            self._run([])
            return
        # Under weights that are still being loaded nothing is known.
        under = "" if (pipeline := self._weights.ready) is None else pipeline.weights_id
        undone = [k for k in range(volume.slices) if not self._done(k, under)]
        missing = [k for k in undone if not self._left_out(k)]
        if not missing:
            rest = len(undone)
            text = "All slices are analysed."
            if rest:
                text = (
                    f"All slices with lung are analysed; {rest} without {'is' if rest == 1 else 'are'} left "
                    "out. Run slice analyses the visible one all the same."
                )
            self._messages.post("info", text)
            self.completed.emit()
            return
        self._run(missing)

    def _done(self, index: int, weights_id: str) -> bool:
        results = self._state.results
        result = results.slices.get(index)
        return result is not None and result.weights_id == weights_id and index in results.summaries

    def _needless(self, index: int, weights_id: str) -> bool:
        """Whether a run passes over a slice: it is left out, or its kept result came back meanwhile."""
        return self._left_out(index) or (index not in self._by_hand and self._done(index, weights_id))

    def _left_out(self, index: int) -> bool:
        """Whether a run does not look at a slice: it shows no lung, and nobody asked for it."""
        return self._state.case.lungs.left_out(index) and index not in self._by_hand

    def cancel(self) -> None:
        """Stop running; results so far stay."""
        self._jobs.cancel("run")

    def _run(self, slices: Sequence[int]) -> None:
        volume = self._state.case.volume
        if volume is None:
            self._messages.post("info", "Open a CT series first, then run the network.")
        elif self._jobs.active("run"):
            self._queue.add(slices)
        else:
            self._caution(volume)
            self._start(volume, RunQueue(slices, strip=_STRIP))

    def _caution(self, volume: Volume) -> None:
        """Warn once per opened series where the result would mean little."""
        if self._cautioned:
            return
        self._cautioned = True
        catalogue = self._state.case.catalogue
        series = () if catalogue is None else catalogue.series
        entry = next((entry for entry in series if entry.series_id == volume.series_id), None)
        text = unlike_training(volume, entry)
        if text:
            self._messages.post("warning", text)

    def _start(self, volume: Volume, queue: RunQueue) -> None:
        names, loaded = self._weights.wanted, self._weights.ready
        self._queue, self._names, self._loads = queue, names, loaded is None
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
            with self._engine.runner(ready) as runner:
                steps = slice_by_slice(
                    runner,
                    volume,
                    queue=queue,
                    centre=lambda: display.slice_index,
                    left_out=lambda index: self._needless(index, ready.weights_id),
                )
                for step in steps:
                    if not isinstance(step, SliceResult):
                        yield step
                        continue
                    # With a fresh pipeline the window may not have taken over its defaults yet.
                    own = fresh and self._weights.pipeline is not ready
                    settings: tuple[DetectionSettings, EvidenceSettings] = (
                        (ready.detections, ready.evidence)
                        if own
                        else (thresholds.detections, thresholds.evidence)
                    )
                    # Its regions are others than those that may be left out at present.
                    edits = SliceEdits() if own else thresholds.edits
                    edit = edits.arguments(step.slice_index)
                    summary = self._engine.summarise(ready, volume, step, *settings, **edit)
                    yield Analysed(step, Summarised(summary, *settings, **edit))

        self._jobs.submit(
            "run",
            work,
            Handlers(produced=self._take, finished=lambda: self._on_finished(volume), failed=self._on_failed),
            priority=Priority.RUN,
        )

    def _take(self, item: object) -> None:
        if isinstance(item, LoadedPipeline):
            self._loads = False
            self._weights.adopt(item)
        elif isinstance(item, Analysed) and self._belongs(item.result):
            with self._state.changes.together():
                self._take_result(item)
            self.result_taken.emit(item.result.slice_index)

    def _take_result(self, item: Analysed) -> None:
        index = item.result.slice_index
        results, here = self._state.results, self._state.display.slice_index
        slices = within_budget({**results.slices, index: item.result}, centre=here)
        results.slices = masks_within_budget(slices, centre=here)
        self._shown.take(item.summarised)
        if index == here:
            self._shown.refresh()

    def _belongs(self, result: SliceResult) -> bool:
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        return (
            volume is not None
            and pipeline is not None
            and result.series_id == volume.series_id
            and result.weights_id == pipeline.weights_id
        )

    def _on_finished(self, volume: Volume) -> None:
        rest = self._queue.rest()
        if rest and self._state.case.volume is volume:
            # Asked for in the moment between the last slice and this news of the end.
            self._start(volume, RunQueue(rest))
            return
        self.completed.emit()

    def _on_failed(self, error: BaseException) -> None:
        if self._loads and isinstance(error, WeightsError):
            error = self._weights.refuse(self._names, error)
            self._messages.report(error, topic=WEIGHTS, path=path_of(self._names))
        else:
            self._messages.report(error)
        self.failed.emit(error)

    def _on_volume(self) -> None:
        self._cautioned = False
        self._by_hand = frozenset()

    def _on_weights(self) -> None:
        """Stop a run under weights that are no longer the chosen ones."""
        if self._jobs.active("run") and self._names != self._state.weights.chosen:
            self._jobs.cancel("run")

    def _on_refused(self, names: tuple[str, ...]) -> None:
        """Stop a run that waits for weights that will not come; that was told."""
        if self._jobs.active("run") and self._loads and self._names == names:
            self._jobs.cancel("run")

    def _on_forgotten(self, indices: Sequence[int]) -> None:
        """Run the visible slice again where its masks cannot be computed from what was kept."""
        if self._state.display.slice_index in indices:
            self.run_slice()
