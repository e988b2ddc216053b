"""Says, when asked, which pixels the logit of the selected region hangs on; the network runs for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.display import MAPS, DisplayController
from ctmasknet_gui.controller.services import EngineUseCase, Services
from model_core.base.results import Candidates

if TYPE_CHECKING:
    from model_core.explain import RegionPixels
    from model_core.scene.maps import Kind

# Regions that are gone back to have their maps at once; one takes 2 MB.
_MOST_KEPT = 16
_TOPIC = "pixels of a region"


class PixelController(EngineUseCase):
    """Writes `PixelState`: the maps of the selected region, and which of them lies on the slice.

    What was computed is kept until case or weights are left. Another region or slice may be looked at
    meanwhile; another region that is asked for takes the place of the former.
    """

    def __init__(
        self, services: Services, *, display: DisplayController, parent: QObject | None = None
    ) -> None:
        super().__init__(services, parent)
        state, shown = services.state, services.shown
        self._display = display
        # By slice and candidate, with the candidates that it is of: a slice may have run again.
        self._kept: dict[tuple[int, int], tuple[Candidates | None, RegionPixels]] = {}
        self._asked: tuple[tuple[int, int], Candidates | None] | None = None
        state.selection.events.candidate.connect(self._refresh)
        state.results.events.shown.connect(self._refresh)
        for name in MAPS:
            getattr(state.display.events, name).connect(self._on_map)
        shown.left.connect(self._forget)

    @Slot()
    def explain(self) -> None:
        """Say which pixels the logit of the selected region hangs on; at once where that is known."""
        analysed, shown, roi = self._analysed(), self._state.results.shown, self._state.found_region()
        if analysed is None or shown is None or roi is None:
            return
        pipeline, volume, result = analysed
        self._messages.withdraw(_TOPIC)
        if not self._state.pixels.overlay:
            self.show_map("cells")
        if (found := self._state.pixels.found) is not None and found.fixed is not None:
            return
        key, of, engine = (shown.slice_index, roi.candidate), result.evidence_candidates, self._engine
        detections = self._state.thresholds.detections
        if self._asked is not None and self._asked[0] == key and self._asked[1] is of:
            return  # they are being computed
        asked = key, of

        def take(item: RegionPixels) -> None:
            self._keep(key, of, item)
            self._refresh()

        def end() -> None:
            if self._asked is asked:
                self._asked = None
            self._refresh()

        self._submit(
            "pixels",
            lambda: engine.explain_region(pipeline, volume, result, detections, roi),
            take,
            end,
            topic=_TOPIC,
        )
        self._asked = asked
        self._refresh()

    @Slot(object)
    def show_map(self, kind: Kind) -> None:
        """Draw a map of the selected region on the slice, in place of other maps; "" for none."""
        if kind:
            for name in MAPS:
                if getattr(self._state.display, name):
                    self._display.set_switch(name, False)
        self._state.pixels.overlay = kind

    @Slot()
    def next_map(self) -> None:
        """Draw the next map on the slice, and none after the last."""
        pixels = self._state.pixels
        kinds: list[Kind] = [] if pixels.found is None else [one.kind for one in pixels.found.maps]
        place = kinds.index(pixels.overlay) + 1 if pixels.overlay in kinds else 0
        self.show_map(kinds[place] if place < len(kinds) else "")

    @Slot(object)
    def point_at(self, place: tuple[float, float] | None) -> None:
        """Mark a place (x, y in slice pixels) on all maps; None for none."""
        self._state.pixels.cursor = place

    def _refresh(self, *_: object) -> None:
        pixels, shown, roi = self._state.pixels, self._state.results.shown, self._state.found_region()
        found = None
        if shown is not None and roi is not None:
            key = shown.slice_index, roi.candidate
            result = self._state.results.slices.get(shown.slice_index)
            of, known = self._kept.get(key, (None, None))
            if result is not None and of is result.evidence_candidates:
                found = known
            pixels.computing = self._asked is not None and self._asked[0] == key
        else:
            pixels.computing = False
        if found is not pixels.found:
            pixels.found = found
        if found is None:
            pixels.cursor = None

    def _keep(self, key: tuple[int, int], of: Candidates | None, found: RegionPixels) -> None:
        self._kept.pop(key, None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = of, found

    def _on_map(self, on: bool) -> None:
        if on:
            self._state.pixels.overlay = ""

    @Slot()
    def _forget(self) -> None:
        self._jobs.cancel("pixels")
        self._asked = None
        self._kept.clear()
        self._refresh()
