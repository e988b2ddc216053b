"""Keeps what is drawn over the visible slice, the summaries and the scan's class up to date."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.kept_results import Kept, KeptResults
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority
from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import Progress
from model_core.base.results import SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings


@dataclass(frozen=True)
class Summarised:
    """A summary and the settings it was made under, so that a late one is recognised."""

    summary: SliceSummary
    detections: DetectionSettings
    evidence: EvidenceSettings


class ShownController(QObject):
    """Derives `ResultState.shown`, `.summaries` and `.scan` from stored results and thresholds.

    The visible slice is computed at once in the GUI thread (masks and module S only, no backbone); the
    summaries of all other slices follow in the worker, nearest first, where new thresholds replace them.
    Until they have, the scan has no class where the evidence changed.

    ``forgotten(indices)``: results were dropped, as their new masks would need FPN maps that are gone.
    """

    forgotten = Signal(object)

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
        self._kept = KeptResults()
        state.display.events.slice_index.connect(self._on_slice)
        weights.changed.connect(self._on_weights)

    def leave(self) -> None:
        """Put the results away and show none: another volume is to come.

        A run is left alone: it may be what brought other weights.
        """
        self._jobs.cancel("summaries")
        self._keep()
        results = self._state.results
        self._stale.clear()
        results.updating = False
        self._state.selection.candidate = None
        results.shown = None
        results.scan = None
        results.summaries = {}
        results.slices = {}

    def restore(self, *, go_back: bool = False) -> None:
        """Show again what is kept of the open volume under the weights that run.

        With ``go_back`` the slice that was visible then is so again.
        """
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        kept = None if volume is None or pipeline is None else self._kept.take(volume, pipeline.weights_id)
        if volume is None or kept is None:
            return
        if go_back:
            self._state.display.slice_index = min(kept.slice_index, volume.slices - 1)
        results, thresholds = self._state.results, self._state.thresholds
        results.slices = dict(kept.slices)
        whole = kept.summaries.keys() == kept.slices.keys()
        if whole and kept.settings == (thresholds.detections, thresholds.evidence):
            self._put(dict(kept.summaries))
            self.refresh()
        else:
            self.settings_changed()

    def _keep(self) -> None:
        """Put the results away without their FPN maps; a changed threshold may need them to be run again."""
        volume, results = self._state.case.volume, self._state.results
        if volume is None or not results.slices:
            return
        weights_id = next(iter(results.slices.values())).weights_id
        slices = {k: replace(r, features={}) for k, r in results.slices.items() if r.weights_id == weights_id}
        summaries = {k: s for k, s in results.summaries.items() if k in slices and k not in self._stale}
        kept = Kept(slices, summaries, self._settings, self._state.display.slice_index)
        self._kept.put(volume, weights_id, kept)

    def _on_weights(self) -> None:
        """Put the results of the former weights away, and bring back those of the ones that run now."""
        self.leave()
        self.restore()

    def refresh(self) -> None:
        """Recompute what is drawn over the visible slice."""
        results, thresholds = self._state.results, self._state.thresholds
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        result = results.slices.get(self._state.display.slice_index)
        if volume is None or pipeline is None or result is None:
            results.shown = None
            return
        try:
            shown = self._engine.show(pipeline, volume, result, thresholds.detections, thresholds.evidence)
        except CTMaskNetError as error:
            self._messages.report(error)
            results.shown = None
            return
        results.shown = shown
        index = result.slice_index
        if index in self._stale or results.summaries.get(index) != shown.summary:
            self._put({index: shown.summary})

    def settings_changed(self, *, class_too: bool = True) -> None:
        """Recompute everything that depends on thresholds; the latest change wins.

        Where only the shown detections changed (``class_too`` is off), the class of the scan stays.
        """
        self._jobs.cancel("summaries")
        self._forget_undrawable()
        results = self._state.results
        self._class_stale = class_too or (self._class_stale and bool(self._stale))
        self._stale = {*results.summaries, *results.slices}
        self.refresh()
        self.update_scan()
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        here = self._state.display.slice_index
        order = sorted(results.slices, key=lambda k: abs(k - here))
        stored = [results.slices[k] for k in order if k != here]
        if volume is None or pipeline is None or not stored:
            self._drop_stale()
            return
        engine = self._engine
        settings = self._state.thresholds.detections, self._state.thresholds.evidence

        def work() -> Generator[Progress | Summarised, None, None]:
            for done, result in enumerate(stored):
                yield Progress(done, len(stored), "Updating the other slices")
                yield Summarised(engine.summarise(pipeline, volume, result, *settings), *settings)

        batch: dict[int, SliceSummary] = {}

        def take(item: object) -> None:
            if isinstance(item, Summarised):
                batch[item.summary.slice_index] = item.summary
                # Every new dict redraws the strip; a batch keeps that rare.
                if len(batch) >= 16:
                    self._put(batch)
                    batch.clear()

        def finish() -> None:
            self._put(batch)

        def fail(error: BaseException) -> None:
            self._put(batch)
            self._drop_stale()
            self._messages.report(error)

        self._jobs.submit(
            "summaries",
            work,
            Handlers(produced=take, finished=finish, failed=fail),
            priority=Priority.FOLLOW,
            visible=False,
        )

    def take(self, summarised: Summarised) -> None:
        """Add the summary of a slice that just ran; recomputed where thresholds moved meanwhile."""
        thresholds = self._state.thresholds
        summary = summarised.summary
        if (summarised.detections, summarised.evidence) != (thresholds.detections, thresholds.evidence):
            volume, pipeline = self._state.case.volume, self._weights.pipeline
            result = self._state.results.slices.get(summary.slice_index)
            if volume is None or pipeline is None or result is None:
                return
            if not self._engine.can_show(result, thresholds.detections):
                self._forget_undrawable()
                return
            summary = self._engine.summarise(
                pipeline, volume, result, thresholds.detections, thresholds.evidence
            )
        self._put({summary.slice_index: summary})

    def update_scan(self) -> None:
        """Combine the summaries into the class of the scan; none while some are of former evidence."""
        results = self._state.results
        results.updating = bool(self._stale)
        summaries = [results.summaries[k] for k in sorted(results.summaries)]
        pipeline = self._weights.pipeline
        basis = None if pipeline is None else pipeline.evidence_basis(self._state.thresholds.evidence)
        if (self._stale and self._class_stale) or not summaries or basis is None:
            results.scan = None
            return
        classes = self._state.weights.image_classes
        results.scan = self._engine.scan_verdict(
            summaries,
            basis=basis,
            control=classes[0] if classes else "Control",
            names=classes,
            calibration=self._state.weights.calibration,
            volume=self._state.case.volume,
            lung_ml=self._state.case.lungs.ml,
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

    def _forget_undrawable(self) -> None:
        """Forget the results whose masks under the present thresholds need FPN maps that were dropped."""
        results, detections = self._state.results, self._state.thresholds.detections
        gone = [k for k, r in results.slices.items() if not self._engine.can_show(r, detections)]
        if not gone:
            return
        results.summaries = {k: s for k, s in results.summaries.items() if k not in gone}
        results.slices = {k: r for k, r in results.slices.items() if k not in gone}
        one = len(gone) == 1
        self._messages.post(
            "info",
            f"{len(gone)} slice{'' if one else 's'} must be run again for the masks under these thresholds: "
            "to save memory not all intermediate maps are kept. Run series does it.",
        )
        self.forgotten.emit(tuple(gone))

    def _on_slice(self) -> None:
        self._state.selection.candidate = None
        self.refresh()
