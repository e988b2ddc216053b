"""Joins what is marked through the slices of the scan, while somebody looks at the list of lesions."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Slot

from ctmasknet_gui.controller.display import DisplayController, SelectionController
from ctmasknet_gui.controller.services import EngineUseCase, Services
from ctmasknet_gui.worker import Priority

if TYPE_CHECKING:
    from model_core.explain import Burden

# Nothing is joined before summaries and thresholds rest.
PAUSE_MS = 300


class LesionController(EngineUseCase):
    """Writes `LesionState`; goes to a lesion, and selects the whole of one on the visible slice.

    Joining waits until no run goes on and the summaries have followed the thresholds. Slices outside the
    lungs take no part, as in the volume of the verdict.
    """

    def __init__(
        self,
        services: Services,
        *,
        display: DisplayController,
        selection: SelectionController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(services, parent)
        state, shown = services.state, services.shown
        self._display = display
        self._selection = selection
        self._watched = False
        # What the lesions in state are of, and those that are being joined.
        self._of: object = None
        self._asked: object = None
        # Slice and pixel of a lesion that is gone to.
        self._sought: tuple[int, tuple[int, int]] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._compute)
        for event in (state.results.events.summaries, state.results.events.updating):
            event.connect(self._refresh)
        state.run.events.kind.connect(self._refresh)
        state.case.events.lungs.connect(self._refresh)
        state.results.events.shown.connect(self._select_sought)
        shown.left.connect(self._forget)

    def watch(self, watched: bool) -> None:
        """Join lesions only while somebody looks at them."""
        self._watched = watched
        self._refresh()

    @Slot(object)
    def go_to(self, number: int) -> None:
        """Show the slice where a lesion is largest, and select the whole of it there."""
        burden = self._state.lesions.found
        lesion = next((one for one in burden.lesions if one.number == number), None) if burden else None
        if lesion is None:
            return
        self._state.lesions.chosen = number
        self._sought = lesion.largest, lesion.pixel
        self._display.show_slice(lesion.largest)
        self._select_sought()

    @Slot(object)
    def select_whole(self, candidate: int | None) -> None:
        """Select every region of the evidence that lies on the shown lesion of a region."""
        shown = self._state.results.shown
        if shown is not None:
            self._selection.pick_several(
                () if candidate is None else self._engine.lesion_regions(shown, candidate)
            )

    def _select_sought(self, *_: object) -> None:
        shown, sought = self._state.results.shown, self._sought
        if shown is None or sought is None or shown.pending:
            return
        self._sought = None
        index, (row, column) = sought
        if shown.slice_index != index or not len(shown.masks):
            return
        over = shown.masks[:, row, column].nonzero()[0]
        if len(over):
            self.select_whole(int(shown.detections.indices[over[0]]))

    def _settings(self) -> object:
        """Return all that the lesions depend on; None while that is not settled."""
        results, volume = self._state.results, self._state.case.volume
        if volume is None or results.updating or self._state.run.kind in ("run", "open"):
            return None
        marks = tuple((k, s.lesion_px, s.detections, s.lung) for k, s in sorted(results.summaries.items()))
        return volume.series_id, self._state.thresholds.detections, self._state.case.lungs, marks

    def _refresh(self, *_: object) -> None:
        if not self._watched:
            return
        wanted = self._settings()
        if wanted is not None and wanted == self._asked:
            return  # it is being joined
        self._timer.stop()
        self._asked = None
        self._jobs.cancel("lesions")
        due = wanted is not None and wanted != self._of
        self._state.lesions.computing = due and bool(self._state.results.summaries)
        if due:
            self._timer.start()

    @Slot()
    def _compute(self) -> None:
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        wanted, results, lesions = self._settings(), self._state.results, self._state.lesions
        if wanted is None or volume is None or pipeline is None:
            return
        detections, engine = self._state.thresholds.detections, self._engine
        inside = {
            k: result
            for k, result in results.slices.items()
            if (summary := results.summaries.get(k)) is not None and summary.lung is not False
        }
        if not inside:
            lesions.found, lesions.computing = None, False
            return

        def work() -> Generator[object, None, None]:
            drawable = {k: result for k, result in inside.items() if engine.can_show(result, detections)}
            yield len(drawable)
            yield from engine.lesions(pipeline, volume, drawable, detections)

        def take(item: int | Burden) -> None:
            if isinstance(item, int):
                lesions.slices = item
            else:
                self._of = wanted
                lesions.chosen = None
                lesions.found = item

        def end() -> None:
            if self._asked == wanted:
                self._asked = None
            lesions.computing = False

        self._submit("lesions", work, take, end, priority=Priority.IDLE, aside=True)
        self._asked = wanted

    @Slot()
    def _forget(self) -> None:
        self._timer.stop()
        self._jobs.cancel("lesions")
        self._of = self._asked = self._sought = None
        lesions = self._state.lesions
        lesions.found, lesions.chosen, lesions.slices, lesions.computing = None, None, 0, False
