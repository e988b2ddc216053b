"""Makes the thumbnails of the series list in the worker, whenever nothing else is to be done."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import LUNG
from ctmasknet_gui.worker import Priority
from model_core.base.arrays import ByteArray
from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import Progress
from model_core.base.voi import apply_window
from model_core.base.volume import Catalogue, SeriesEntry, Volume

_log = logging.getLogger(__name__)

# Longest side of a thumbnail in pixels, at least.
SIDE = 112


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """(h, w) grey picture of a series."""

    series_id: str
    picture: ByteArray


def middle_picture(volume: Volume) -> ByteArray:
    """Return the middle slice through the lung window, every few pixels."""
    step = max(1, max(volume.voxels.shape[1:]) // SIDE)
    return apply_window(volume.voxels[volume.slices // 2, ::step, ::step], LUNG)


class ThumbnailController(QObject):
    """Emits `ready` for each series of a new catalogue; a series that cannot be read has none."""

    ready = Signal(str, object)

    def __init__(self, state: AppState, jobs: Jobs, *, reader: Reader, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._reader = reader
        self._known: set[str] = set()
        state.case.events.catalogue.connect(self._on_catalogue)
        state.case.events.volume.connect(self._resume)

    def _on_catalogue(self) -> None:
        self._known = set()
        self._resume()

    def _resume(self) -> None:
        """Make those still missing: opening a series cancels the job."""
        catalogue = self._state.case.catalogue
        if catalogue is None:
            return
        self._show_made(catalogue)
        missing = [e for e in catalogue.series if e.files and e.series_id not in self._known]
        if missing and not self._jobs.active("thumbnails"):
            self._jobs.submit(
                "thumbnails",
                lambda: self._work(missing),
                Handlers(produced=self._take),
                priority=Priority.IDLE,
                visible=False,
            )

    def _show_made(self, catalogue: Catalogue) -> None:
        """Give an open series without files, which was made and not read, the picture of its voxels."""
        volume = self._state.case.volume
        if volume is None or volume.series_id in self._known:
            return
        if any(entry.series_id == volume.series_id and not entry.files for entry in catalogue.series):
            self._take(Thumbnail(volume.series_id, middle_picture(volume)))

    def _work(self, entries: list[SeriesEntry]) -> Generator[object, None, None]:
        for entry in entries:
            # The yield before each lets anything more urgent go first.
            yield Progress(0, 0)
            try:
                picture = self._reader.thumbnail(entry)
            except CTMaskNetError as error:
                _log.info("no thumbnail: %s", type(error).__name__)
                continue
            yield Thumbnail(entry.series_id, picture)

    def _take(self, item: object) -> None:
        if isinstance(item, Thumbnail):
            self._known.add(item.series_id)
            self.ready.emit(item.series_id, item.picture)
