"""Makes the thumbnails of the series list in the worker, whenever nothing else is to be done."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.state import AppState
from ctmasknet_gui.worker import Priority
from model_core.errors import CTMaskNetError
from model_core.types import ByteArray, Progress, SeriesEntry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """(h, w) grey picture of a series."""

    series_id: str
    picture: ByteArray


class ThumbnailController(QObject):
    """Emits `ready` for each series of a new catalogue; a series that cannot be read has none."""

    ready = Signal(str, object)

    def __init__(
        self, state: AppState, jobs: Jobs, *, reader: Reader, parent: QObject | None = None
    ) -> None:
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
        missing = [e for e in catalogue.series if e.files and e.series_id not in self._known]
        if missing and not self._jobs.active("thumbnails"):
            self._jobs.submit(
                "thumbnails",
                lambda: self._work(missing),
                Handlers(produced=self._take),
                priority=Priority.IDLE,
                visible=False,
            )

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
