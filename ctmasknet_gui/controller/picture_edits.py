"""What if the picture were different: changes the visible slice, shows it, runs it when told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.services import EngineUseCase, Services
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.asked import Box
from model_core.base.picture_edit import EditedPicture, PictureEditKind, PictureEffect, PictureRequest
from model_core.base.settings import DetectionSettings, EvidenceSettings

_FIRST = "Analyse this slice first (Run slice), then change its picture."
_TOPIC = "changing the picture"
_JOB = "picture"


class PictureEditController(EngineUseCase):
    """Writes `PictureEditState`. Nothing of it enters the results of the slice.

    A changed picture is forgotten with its slice, its case and its weights.
    """

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(services, parent)
        state, shown = services.state, services.shown
        # What was asked for last, and what the changed picture is of.
        self._request: PictureRequest | None = None
        self._made: PictureRequest | None = None
        # Whether what is being made is to run then: a density was typed, and Run was clicked.
        self._run_next = False
        # What the latest run is of.
        self._ran_under: tuple[DetectionSettings, EvidenceSettings] | None = None
        state.display.events.slice_index.connect(self.forget)
        state.thresholds.events.detections.connect(self._on_thresholds)
        state.thresholds.events.evidence.connect(self._on_thresholds)
        shown.left.connect(self.forget)

    @Slot()
    def heal_selected(self) -> None:
        """Show the slice with the lesions of the selected regions healed."""
        regions = self._selected()
        if regions:
            self._edit(PictureRequest("heal", regions=regions))

    @Slot(str, object)
    def edit_area(self, kind: PictureEditKind, polygon: Sequence[tuple[float, float]]) -> None:
        """Show the slice with the lung in a drawn area (x, y in slice pixels) healed, or planted in."""
        self._edit(PictureRequest(kind, polygon=tuple(polygon)))

    @Slot(float)
    def set_ground_glass(self, level_hu: float) -> None:
        """Plant ground glass of another density in the same area."""
        if self._request is not None and self._request.level_hu != level_hu:
            self._edit(replace(self._request, level_hu=level_hu))

    @Slot()
    def run(self) -> None:
        """Run the changed slice, then sham heals, in the background."""
        state, edited, asked = self._state.picture_edit, self._state.picture_edit.edited, self._analysed()
        if edited is None or state.running:
            return
        if self._request is not self._made:
            self._run_next = True
            return
        if asked is None:
            self._messages.post("info", _FIRST, topic=_TOPIC)
            return
        pipeline, volume, result = asked
        thresholds = self._state.thresholds
        detections, evidence = self._ran_under = thresholds.detections, thresholds.evidence
        state.effect, state.outdated, state.running = None, False, True

        def take(item: object) -> None:
            if isinstance(item, PictureEffect):
                state.effect = item

        self._change(
            lambda: self._engine.picture_effect(pipeline, volume, result, detections, evidence, edited), take
        )

    @Slot()
    def stop(self) -> None:
        """Stop what runs; what has come out stays."""
        self._jobs.cancel(_JOB)

    @Slot()
    def forget(self, *_: object) -> None:
        """Forget the changed picture and all that came of it."""
        self._jobs.cancel(_JOB)
        self._request = self._made = None
        state = self._state.picture_edit
        state.effect, state.running, state.outdated = None, False, False
        state.edited = None

    def _edit(self, request: PictureRequest) -> None:
        self._messages.withdraw(_TOPIC)
        asked = self._analysed()
        if asked is None:
            self._messages.post("info", _FIRST, topic=_TOPIC)
            return
        pipeline, volume, result = asked
        self._jobs.cancel(_JOB)
        detections, state = self._state.thresholds.detections, self._state.picture_edit
        self._request = request

        def take(item: object) -> None:
            if isinstance(item, EditedPicture):
                self._made = request
                state.effect, state.outdated = None, False
                state.edited = item

        self._change(lambda: self._engine.edit_picture(pipeline, volume, result, detections, request), take)

    def _change(self, work: JobFactory, take: Callable[[object], None]) -> None:
        def end() -> None:
            # What was refused or stopped is not shown.
            self._request, self._run_next = self._made, False
            self._state.picture_edit.running = False

        def finish() -> None:
            run_next = self._run_next
            end()
            if run_next:
                self.run()

        self._submit(_JOB, work, take, end, finish=finish, topic=_TOPIC)

    def _selected(self) -> tuple[tuple[int, Box], ...]:
        """Return rank and box of the selected regions, of the evidence or of the shown detections."""
        shown, chosen = self._state.results.shown, self._state.selection.chosen
        if shown is None:
            return ()
        found = {roi.candidate: (roi.rank, roi.box) for roi in shown.rois}
        detections = shown.detections
        for place, (candidate, box) in enumerate(zip(detections.indices, detections.boxes, strict=True)):
            left, top, right, bottom = (float(edge) for edge in box)
            found.setdefault(int(candidate), (place + 1, (left, top, right, bottom)))
        return tuple(found[candidate] for candidate in chosen if candidate in found)

    def _on_thresholds(self, *_: object) -> None:
        state, thresholds = self._state.picture_edit, self._state.thresholds
        if state.effect is not None or state.running:
            # Thresholds that moved back make it true again.
            state.outdated = self._ran_under != (thresholds.detections, thresholds.evidence)
