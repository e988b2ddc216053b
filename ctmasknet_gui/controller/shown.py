"""Keeps what is drawn over the visible slice, the summaries and the scan's class up to date."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine, Pipeline
from ctmasknet_gui.controller.run_queue import RunQueue
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState, SliceEdits
from ctmasknet_gui.worker import Priority
from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import Progress
from model_core.base.results import ShownSlice, SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceEdit, EvidenceSettings
from model_core.base.volume import Volume

# Every new dict of summaries redraws the strip; a batch keeps that rare.
_BATCH = 16


@dataclass(frozen=True)
class Summarised:
    """A summary and the settings it was made under, so that a late one is recognised."""

    summary: SliceSummary
    detections: DetectionSettings
    evidence: EvidenceSettings
    edit: EvidenceEdit | None = None

    @property
    def settings(self) -> tuple[DetectionSettings, EvidenceSettings, EvidenceEdit | None]:
        """Everything that it was made under."""
        return self.detections, self.evidence, self.edit


@dataclass(frozen=True)
class _Request:
    """A slice that is to be shown."""

    pipeline: Pipeline
    volume: Volume
    result: SliceResult
    detections: DetectionSettings
    evidence: EvidenceSettings
    edits: SliceEdits

    @property
    def settings(self) -> tuple[DetectionSettings, EvidenceSettings, EvidenceEdit | None]:
        return self.detections, self.evidence, self.edits.of(self.result.slice_index)

    def show(self, engine: Engine) -> ShownSlice:
        edit = self.edits.arguments(self.result.slice_index)
        return engine.show(self.pipeline, self.volume, self.result, self.detections, self.evidence, **edit)

    def show_known(self, engine: Engine) -> ShownSlice:
        edit = self.edits.arguments(self.result.slice_index)
        settings = self.detections, self.evidence
        return engine.show_known(self.pipeline, self.volume, self.result, *settings, **edit)

    def with_evidence(self, engine: Engine, shown: ShownSlice) -> ShownSlice:
        edit = self.edits.arguments(self.result.slice_index)
        settings = self.detections, self.evidence
        return engine.with_evidence(self.pipeline, self.volume, self.result, *settings, shown=shown, **edit)


@dataclass(frozen=True)
class _Made:
    request: _Request
    shown: ShownSlice


@dataclass(frozen=True)
class _Undrawable:
    index: int


class ShownController(QObject):
    """Derives `ResultState.shown`, `.summaries` and `.scan` from stored results and thresholds.

    Class, table, boxes and the known masks of the visible slice are computed at once in the GUI thread: they
    take milliseconds. New masks follow in the second thread, strongest first, which takes the latest request
    when it is done with a few. Then the summaries of all other slices follow, nearest first; until they have,
    the scan has no class where the evidence changed. No backbone runs. All is settled once no job is left
    (`Jobs.idle`).

    ``forgotten(indices)``: results were dropped, as their new masks would need FPN maps that are gone.
    ``left()``: the case was put away, and what was taken out of its evidence with it.
    """

    forgotten = Signal(object)
    left = Signal()

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        engine: Engine,
        weights: WeightsController,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._engine = engine
        self._weights = weights
        self._messages = messages
        # Slices whose summary is of former thresholds; what the others were made under.
        self._stale: set[int] = set()
        # Whether their class is, too.
        self._class_stale = False
        self._settings: tuple[DetectionSettings, EvidenceSettings] | None = None
        # The latest request for the visible slice, until the job takes it out.
        self._wanted: deque[_Request] = deque(maxlen=1)
        # What the class of the scan was combined from.
        self._combined: tuple[object, ...] = ()
        # Which summaries have still to follow, and what of: maps that are dropped meanwhile are still needed.
        self._queue = RunQueue(())
        self._stored: dict[int, SliceResult] = {}
        state.display.events.slice_index.connect(self._on_slice)
        weights.changed.connect(self._on_weights)

    def leave(self) -> None:
        """Put the results away and show none: another volume is to come.

        A run is left alone: it may be what brought other weights.
        """
        self._wanted.clear()
        self._jobs.cancel("shown")
        self._jobs.cancel("summaries")
        self._put_away()
        results = self._state.results
        self._stale.clear()
        self._stored = {}
        results.updating = False
        self._unselect()
        self._show_nothing()
        results.scan, self._combined = None, ()
        results.summaries = {}
        results.slices = {}
        # They name candidates of these results.
        self._state.thresholds.edits = SliceEdits()
        self.left.emit()

    def restore(self, *, go_back: bool = False) -> None:
        """Show again what is kept of the open volume under the weights that run.

        With ``go_back`` the slice that was visible then is so again, and the region of it selected.
        """
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        if volume is None or pipeline is None:
            return
        case = self._state.cases.take(volume, pipeline.weights_id)
        if case is None:
            return
        if go_back:
            self._state.display.slice_index = min(case.slice_index, volume.slices - 1)
        results, thresholds = self._state.results, self._state.thresholds
        results.slices = dict(case.slices)
        thresholds.edits = case.edits
        whole = case.summaries.keys() == case.slices.keys()
        if whole and case.settings == (thresholds.detections, thresholds.evidence):
            self._put(dict(case.summaries))
            self.refresh()
        else:
            self.settings_changed()
        if go_back:
            self._state.selection.candidate = case.candidate

    def take_kept(self, slices: Mapping[int, SliceResult]) -> None:
        """Show results of the open volume that were computed before, under the thresholds in force.

        Those of slices that ran meanwhile stay.
        """
        results = self._state.results
        results.slices = {**slices, **results.slices}
        self.settings_changed()

    def _put_away(self) -> None:
        """Put the open case away; a changed threshold may need its slices to be run again."""
        case = self._state.open_case()
        if case is not None and case.slices:
            summaries = {k: s for k, s in case.summaries.items() if k not in self._stale}
            self._state.cases.put(replace(case, summaries=summaries, settings=self._settings).put_away())

    def _on_weights(self) -> None:
        """Put the results of the former weights away, and bring back those of the ones that run now."""
        self.leave()
        self.restore()

    def refresh(self) -> None:
        """Show what is known of the visible slice, and ask for what is not."""
        self._wanted.clear()
        request = self._request(self._state.display.slice_index)
        if request is None:
            self._show_nothing()
        elif not self._engine.can_show(request.result, request.detections):
            self._forget((request.result.slice_index,))
        elif not self._show(request):
            if self._jobs.active("shown"):
                self._wanted.append(request)
            else:
                self._make(request)
        self._follow()

    def _request(self, index: int) -> _Request | None:
        """Return what it takes to show a slice now; None where it has no result."""
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        result = self._state.results.slices.get(index)
        if volume is None or pipeline is None or result is None:
            return None
        thresholds = self._state.thresholds
        return _Request(
            pipeline, volume, result, thresholds.detections, thresholds.evidence, thresholds.edits
        )

    def _show(self, request: _Request, made: _Made | None = None) -> bool:
        """Show at once what can be: what was just made, or new class and table with masks that there are.

        Returns whether nothing more is to be made.
        """
        results, engine = self._state.results, self._engine
        former = results.shown if made is None else made.shown
        if former is not None and former.slice_index != request.result.slice_index:
            former = None
        try:
            if made is not None and made.request.settings == request.settings:
                shown = made.shown
            elif former is not None and former.detections.settings == request.detections:
                shown = request.with_evidence(engine, former)
            elif former is not None or engine.can_show(
                replace(request.result, features={}), request.detections
            ):
                shown = request.show_known(engine)
            else:
                shown = None
        except CTMaskNetError as error:
            self._show_nothing()
            self._messages.report(error)
            return True
        results.computing = shown is None or shown.pending > 0
        results.shown = shown
        if shown is None or results.computing:
            return False
        index = shown.slice_index
        if index in self._stale or results.summaries.get(index) != shown.summary:
            self._put({index: shown.summary})
        return True

    def _show_nothing(self) -> None:
        self._state.results.computing = False
        self._state.results.shown = None

    def _make(self, request: _Request) -> None:
        """Have a slice made, and then whatever was asked for last meanwhile."""
        # One of its own for each job: a cancelled one may still be at work.
        wanted = self._wanted = deque((request,), maxlen=1)
        engine = self._engine

        def work() -> Generator[Progress | _Made, None, None]:
            while wanted:
                yield Progress(0, 0)
                try:
                    latest = wanted.pop()
                except IndexError:
                    return
                for _ in engine.make_masks(latest.pipeline, latest.result, latest.detections):
                    if wanted:
                        break
                    yield _Made(latest, latest.show_known(engine))
                else:
                    yield _Made(latest, latest.show(engine))

        def take(item: object) -> None:
            now = self._request(self._state.display.slice_index)
            # Where nothing is missing any more, as thresholds or slice went back, it is not wanted.
            if not isinstance(item, _Made) or now is None or not self._state.results.computing:
                return
            if item.request.result.slice_index == now.result.slice_index:
                with self._state.changes.together():
                    self._show(now, item)

        def finish() -> None:
            if wanted:
                # Asked for in the moment between the last one and this news of the end.
                self._make(wanted.pop())
            else:
                self._follow()

        def fail(error: BaseException) -> None:
            self._show_nothing()
            self._messages.report(error)
            finish()

        self._jobs.submit(
            "shown",
            work,
            Handlers(produced=take, finished=finish, failed=fail),
            priority=Priority.ASKED,
            visible=False,
            beside=True,
        )

    def settings_changed(self, *, class_too: bool = True) -> None:
        """Recompute everything that depends on thresholds; the latest change wins.

        Where only the shown detections changed (``class_too`` is off), the class of the scan stays.
        """
        self._jobs.cancel("summaries")
        results = self._state.results
        self._class_stale = class_too or (self._class_stale and bool(self._stale))
        self._stale = {*results.summaries, *results.slices}
        self.refresh()
        self.update_scan()

    def evidence_edited(self, indices: Iterable[int]) -> None:
        """Recompute what depends on the evidence of some slices, of which regions were taken or put back."""
        # It may be at work with what was taken out before.
        self._jobs.cancel("summaries")
        results = self._state.results
        edited = (results.summaries.keys() | results.slices.keys()) & set(indices)
        self._class_stale = bool(edited) or (self._class_stale and bool(self._stale))
        self._stale |= edited
        self.refresh()
        self.update_scan()

    def _follow(self) -> None:
        """Let the summaries follow the thresholds once the visible slice has."""
        if not self._stale or self._jobs.active("shown") or self._jobs.active("summaries"):
            return
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        slices = self._state.results.slices
        waiting = self._stale & slices.keys()
        if volume is None or pipeline is None or not waiting:
            self._drop_stale()
            return
        stored = self._stored = {k: slices[k] for k in waiting}
        queue = self._queue = RunQueue(waiting)
        settings = self._state.thresholds.detections, self._state.thresholds.evidence
        edits = self._state.thresholds.edits
        engine, display = self._engine, self._state.display

        def work() -> Generator[Progress | Summarised | _Undrawable, None, None]:
            while (index := queue.take(display.slice_index)) is not None:
                yield Progress(0, 0)
                if engine.can_show(stored[index], settings[0]):
                    edit = edits.arguments(index)
                    summary = engine.summarise(pipeline, volume, stored[index], *settings, **edit)
                    yield Summarised(summary, *settings, **edit)
                else:
                    yield _Undrawable(index)

        batch: dict[int, SliceSummary] = {}
        undrawable: list[int] = []

        def take(item: object) -> None:
            if isinstance(item, _Undrawable):
                undrawable.append(item.index)
            elif isinstance(item, Summarised):
                batch[item.summary.slice_index] = item.summary
                if len(batch) >= _BATCH:
                    self._put(batch)
                    batch.clear()

        def finish() -> None:
            self._stored = {}
            self._put(batch)
            self._forget(self._undrawable(undrawable))
            self._follow()

        def fail(error: BaseException) -> None:
            self._stored = {}
            self._put(batch)
            self._forget(self._undrawable(undrawable))
            self._drop_stale()
            self._messages.report(error)

        self._jobs.submit(
            "summaries",
            work,
            Handlers(produced=take, finished=finish, failed=fail),
            priority=Priority.FOLLOW,
            visible=False,
            beside=True,
        )

    def take(self, summarised: Summarised) -> None:
        """Add the summary of a slice that just ran; where thresholds moved meanwhile it has to follow."""
        thresholds = self._state.thresholds
        index = summarised.summary.slice_index
        edit = thresholds.edits.of(index)
        if summarised.settings == (thresholds.detections, thresholds.evidence, edit):
            self._put({index: summarised.summary})
            return
        moved_class = (summarised.evidence, summarised.edit) != (thresholds.evidence, edit)
        self._class_stale = moved_class or (self._class_stale and bool(self._stale))
        self._stale.add(index)
        self._stored[index] = self._state.results.slices[index]
        self._queue.add([index])
        self.update_scan()
        self._follow()

    def update_scan(self) -> None:
        """Combine the summaries into the class of the scan; none while some are of former evidence."""
        results = self._state.results
        results.updating = bool(self._stale)
        summaries = [results.summaries[k] for k in sorted(results.summaries)]
        pipeline = self._weights.pipeline
        basis = None if pipeline is None else pipeline.evidence_basis(self._state.thresholds.evidence)
        if (self._stale and self._class_stale) or not summaries or basis is None:
            results.scan, self._combined = None, ()
            return
        case, weights = self._state.case, self._state.weights
        classes = weights.image_classes
        combined = results.summaries, basis, classes, weights.calibration, case.volume, case.lungs.ml
        if results.scan is not None and combined == self._combined:
            return
        self._combined = combined
        results.scan = self._engine.scan_verdict(
            summaries,
            basis=basis,
            control=classes[0] if classes else "Control",
            names=classes,
            calibration=weights.calibration,
            volume=case.volume,
            lung_ml=case.lungs.ml,
        )

    def _put(self, summaries: dict[int, SliceSummary]) -> None:
        if summaries:
            self._settings = self._state.thresholds.detections, self._state.thresholds.evidence
            self._stale -= summaries.keys()
            self._state.results.summaries = {**self._state.results.summaries, **summaries}
            self.update_scan()

    def _drop_stale(self) -> None:
        """Forget the summaries of former thresholds that could not be made anew; a run makes them."""
        results = self._state.results
        results.summaries = {k: s for k, s in results.summaries.items() if k not in self._stale}
        self._stale.clear()
        self.update_scan()

    def forget_undrawable(self) -> None:
        """Forget the results whose masks under the present thresholds need FPN maps that were dropped.

        They are found by and by, too; who needs to know at once which there are calls this.
        """
        self._forget(self._undrawable(self._state.results.slices))

    def _undrawable(self, indices: Iterable[int]) -> list[int]:
        """Return those whose masks cannot be drawn; some may have run again since they were noticed."""
        held, detections = self._state.results.slices, self._state.thresholds.detections
        return [k for k in indices if k in held and not self._engine.can_show(held[k], detections)]

    def _forget(self, indices: Iterable[int]) -> None:
        """Forget results that must be run again, and say so."""
        results = self._state.results
        gone = results.slices.keys() & set(indices)
        if not gone:
            return
        self._stale -= gone
        results.summaries = {k: s for k, s in results.summaries.items() if k not in gone}
        results.slices = {k: r for k, r in results.slices.items() if k not in gone}
        if self._state.display.slice_index in gone:
            self._show_nothing()
        self.update_scan()
        one = len(gone) == 1
        self._messages.post(
            "info",
            f"{len(gone)} slice{'' if one else 's'} must be run again for the masks under these thresholds: "
            "to save memory not all intermediate maps are kept. Run series does it.",
        )
        self.forgotten.emit(tuple(sorted(gone)))

    def _unselect(self) -> None:
        # The one first: without it none is chosen, and nobody looks at the others under other results.
        self._state.selection.candidate = None
        self._state.selection.others = ()

    def _on_slice(self) -> None:
        self._unselect()
        self.refresh()
