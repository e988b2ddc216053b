"""Opens a path: scan, choice of a series, reading."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.controller.found_series import (
    Scanned,
    best_of,
    entry_of,
    first_opened,
    not_opened,
    nothing_found,
)
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.controller.reference_mask import MaskRead, ReferenceMasks
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import LUNG, PRESETS
from ctmasknet_gui.state.requests import FewerSlices
from ctmasknet_gui.worker import Priority
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.arrays import ByteArray
from model_core.base.errors import CTMaskNetError, MemoryNeeded, ReadError
from model_core.base.jobs import Progress
from model_core.base.volume import Catalogue, PartialVolume, SeriesEntry, Volume

DEMO_TITLE = "Synthetic chest phantom"


@dataclass(frozen=True, eq=False)
class Opened:
    """A volume with, perhaps, its reference mask."""

    volume: Volume
    reference: ByteArray | None = None
    reference_name: str = ""


class OpenController(ReferenceMasks):
    """Opens what the user chose; the only writer of `CaseState`.

    ``too_large(FewerSlices)``: a series does not fit into memory, every n-th slice would; `open_every` opens
    them. That it failed is told before. ``cancelled()``: what was being read was stopped, or makes way.
    """

    catalogued = Signal()
    cancelled = Signal()
    too_large = Signal(object)
    opened = Signal()

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        reader: Reader,
        shown: ShownController,
        display: DisplayController,
        messages: MessageController,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(state, jobs, reader=reader, messages=messages, parent=parent)
        self._shown = shown
        self._display = display
        self._settings = settings
        # Of several paths those that hold nothing, told once what takes their place is there.
        self._left_out: list[str] = []
        # What made way for a volume that is shown while it is read; it comes back if that is called off.
        self._former: Opened | None = None
        # The slice that such a volume was shown at first.
        self._began = -1
        state.display.events.slice_index.connect(self._read_next)

    def open_paths(
        self, paths: Sequence[Path], *, choose_best: bool = False, ask_of_masks: bool = True
    ) -> None:
        """Scan paths, then read the only series, or the best one with `choose_best`.

        With several series and no `choose_best` the list is shown and the user picks. A mask takes the place
        of an open series only where `ask_of_masks` is off; else `mask_found` asks.
        """
        targets = tuple(dict.fromkeys(Path(path) for path in paths))
        if not targets:
            return
        self._messages.may_name(*targets)
        found = False

        def take(item: object) -> None:
            nonlocal found
            if isinstance(item, MaskRead):
                self._ask(item, lambda: self.open_paths(targets, ask_of_masks=False))
            if isinstance(item, Scanned):
                catalogue = item.catalogue
                found, first = bool(catalogue.series), first_opened(catalogue, targets)
                self._remember(first, openable=found)
            self._take(item)
            if isinstance(item, Scanned) and found:
                # Not before: a dead network share would hold up the window that asks about it.
                self._settings.last_folder = first if first.is_dir() else first.parent
                entry = best_of(item, choose_best=choose_best, paths=targets)
                self._state.case.opening = "" if entry is None else entry.series_id
                self._left_out = not_opened(catalogue, targets)
                if entry is None:
                    self._tell_left_out()
                self.catalogued.emit()

        def fail(error: BaseException) -> None:
            if not found:
                self._remember(targets[0], openable=False)
            self._on_failed(error, path=None if len(targets) > 1 else targets[0])

        volume = self._state.case.volume if ask_of_masks else None
        self._submit(lambda: self._scanning(targets, choose_best=choose_best, volume=volume), take, fail)

    def _scanning(
        self, targets: Sequence[Path], *, choose_best: bool, volume: Volume | None
    ) -> Generator[object, None, None]:
        """Scan paths and perhaps load a series; iterated in the worker thread."""
        catalogue = None
        for item in self._reader.scan(*targets):
            if isinstance(item, Catalogue):
                catalogue = item
            else:
                yield item
        if catalogue is None:
            return
        yield Progress(0, 0, "Telling masks from images")
        masks = self._reader.masks_among(catalogue, volume)
        scanned = Scanned(catalogue, masks)
        if volume is not None and catalogue.series and len(masks) == len(catalogue.series):
            yield self._read_mask(catalogue.series, volume)
            return
        yield scanned
        entry = best_of(scanned, choose_best=choose_best, paths=targets)
        if entry is not None:
            yield from self._reader.load(entry)

    def _remember(self, path: Path, *, openable: bool) -> None:
        """Put a path on top of the recent ones, or take it off where nothing could be opened."""
        if openable:
            self._settings.add_recent(path)
        else:
            self._settings.remove_recent(path)

    @Slot(str)
    def open_series(self, series_id: str) -> None:
        """Read one series of the catalogue."""
        catalogue, volume = self._state.case.catalogue, self._state.case.volume
        entry = entry_of(catalogue, series_id)
        if entry is None or series_id == self._state.case.opening:
            return
        if volume is not None and volume.series_id == series_id:
            # Back to what is open: what was to take its place is no longer wanted.
            self._jobs.cancel("open")
            return
        chosen = entry
        if volume is not None and series_id in self._masks:
            self._ask_before(chosen, volume)
            return
        self._load(chosen)

    def _load(self, entry: SeriesEntry) -> None:
        self._submit(lambda: self._reader.load(entry), self._take, self._on_failed)
        self._state.case.opening = entry.series_id

    def _ask_before(self, entry: SeriesEntry, volume: Volume) -> None:
        """Ask whether a mask that was picked is meant for the open series; where it does not fit, open it."""

        def work() -> Generator[object, None, None]:
            yield Progress(0, 0, "Reading the mask")
            yield self._read_mask([entry], volume)

        def take(item: object) -> None:
            if isinstance(item, MaskRead) and item.labels is not None:
                self._ask(item, lambda: self._load(entry))
            elif isinstance(item, MaskRead):
                # What fits nothing was picked to be looked at. Later: this job is not at its end yet.
                QTimer.singleShot(0, lambda: self._load(entry))

        self._submit(work, take, self._on_failed)

    @Slot(str, int)
    def open_every(self, series_id: str, step: int) -> None:
        """Read every ``step``-th slice of a series of the catalogue; they are listed beside it."""
        entry = entry_of(self._state.case.catalogue, series_id)
        if entry is not None:
            self._open_beside(entry, lambda: self._reader.thin(entry, step))

    @Slot()
    def correct_tilt(self) -> None:
        """Read the open series with its tilt corrected; that is listed beside it."""
        volume = self._state.case.volume
        entry = None if volume is None else entry_of(self._state.case.catalogue, volume.series_id)
        if entry is not None and not self._open_beside(entry, lambda: self._reader.straighten(entry)):
            self._messages.post(
                "info", "The slices of this series are not shifted evenly, so there is no tilt to correct."
            )

    def _open_beside(self, entry: SeriesEntry, derive: Callable[[], SeriesEntry]) -> bool:
        """Read another form of a series, and list it below the one that it was made of.

        Returns False where there is no other form.
        """
        catalogue = self._state.case.catalogue
        assert catalogue is not None
        try:
            derived = derive()
        except CTMaskNetError as error:
            self._messages.report(error)
            return True
        if derived.series_id == entry.series_id:
            return False
        if entry_of(catalogue, derived.series_id) is None:
            place = catalogue.series.index(entry) + 1
            series = (*catalogue.series[:place], derived, *catalogue.series[place:])
            self._state.case.catalogue = replace(catalogue, series=series)
        self.open_series(derived.series_id)
        return True

    def _offer_fewer(self, series_id: str, error: BaseException) -> None:
        """Ask for fewer slices of a series that does not fit into memory, where fewer would."""
        entry = entry_of(self._state.case.catalogue, series_id)
        if entry is None or not isinstance(error, MemoryNeeded) or not error.steps:
            return
        question = FewerSlices(
            series_id=series_id,
            title=entry.title,
            slices=error.slices,
            needed=error.needed,
            free=error.free,
            steps=error.steps,
            distance_mm=entry.spacing_mm[0],
        )
        self.too_large.emit(question)

    def open_demo(self) -> None:
        """Make and open the synthetic phantom with its labels as reference mask."""

        def work() -> Generator[object, None, None]:
            yield Progress(0, 0, "Making the phantom")
            volume, labels = self._reader.phantom()
            entry = SeriesEntry(
                series_id=volume.series_id,
                title=volume.title,
                modality=volume.modality,
                size=(volume.slices, int(volume.voxels.shape[1]), int(volume.voxels.shape[2])),
                files=(),
                plane=volume.plane,
                spacing_mm=volume.geometry.spacing_mm,
            )
            yield Scanned(Catalogue(root=DEMO_TITLE, series=(entry,), files=()))
            yield Opened(volume, labels, DEMO_TITLE)

        self._submit(work, self._take, self._on_failed)

    def close_case(self) -> None:
        """Close the series and its catalogue."""
        self._former = None
        self._jobs.cancel("open")
        self._jobs.cancel("thumbnails")
        self._leave()
        self._close_volume()
        self._state.case.catalogue = None

    def _submit(
        self, work: JobFactory, take: Callable[[object], None], fail: Callable[[BaseException], None]
    ) -> None:
        """Read in the worker; what is open stays until something is there to take its place."""

        def failed(error: BaseException) -> None:
            asked = self._state.case.opening
            self._left_out = []
            self._ended()
            fail(error)
            self._offer_fewer(asked, error)

        def cancelled() -> None:
            self._left_out = []
            self._ended()
            self.cancelled.emit()

        # What was being read makes way without a word.
        self._state.case.opening = ""
        handlers = Handlers(produced=take, finished=self._ended, failed=failed, cancelled=cancelled)
        self._jobs.submit("open", work, handlers, priority=Priority.ASKED)

    def _ended(self) -> None:
        """Nothing is being read any more; where that was not what is open now, who shows it hears so."""
        case = self._state.case
        if case.partial is not None:
            former, self._former, case.partial = self._former, None, None
            if former is not None:
                self._show_opened(former)
        asked, case.opening = case.opening, ""
        volume = case.volume
        if volume is not None and asked not in ("", volume.series_id):
            case.events.volume.emit(volume, volume)

    def _leave(self) -> None:
        """Stop what is done to the open series. An export goes on: it holds what it needs."""
        for kind in ("run", "summaries", "reference", "masks"):
            self._jobs.cancel(kind)
        # What was told of the former series is no longer true.
        self._messages.dismiss_all()
        self._forget_question()

    def _take(self, item: object) -> None:
        if isinstance(item, Scanned):
            self._take_catalogue(item)
        elif isinstance(item, PartialVolume):
            self._take_partial(item)
        elif isinstance(item, Volume):
            self._take_volume(Opened(item))
        elif isinstance(item, Opened):
            self._take_volume(item)

    def _take_catalogue(self, scanned: Scanned) -> None:
        catalogue = scanned.catalogue
        if not catalogue.series:
            self._on_failed(nothing_found(catalogue))
            return
        self._leave()
        self._jobs.cancel("thumbnails")
        self._close_volume()
        self._masks = scanned.masks
        self._state.case.catalogue = catalogue
        if len(catalogue.series) == 1 and catalogue.series[0].status == "error":
            problem = next(p for p in catalogue.series[0].problems if p.level == "error")
            self._on_failed(ReadError(f"{problem.text} {problem.action}".strip()))
        elif all(entry.status == "error" for entry in catalogue.series):
            self._on_failed(ReadError("None of the series found can be opened. The list says why."))

    def _close_volume(self) -> None:
        self._shown.leave()
        self.close_reference()
        self._state.case.volume = None

    def _take_partial(self, partial: PartialVolume) -> None:
        """Show what is there of the series that is being read; nothing else may be done with it."""
        case, display = self._state.case, self._state.display
        if case.partial is partial:
            case.events.partial.emit(partial, partial)  # another slice of it is there
            return
        if self._jobs.active("run"):
            return  # what is running is stopped once there is something to take its place
        if case.volume is not None:
            self._former = Opened(case.volume, case.reference, case.reference_name)
        self._leave()
        self._close_volume()
        # The index must fit whatever volume observers look at, before and after.
        display.slice_index = 0
        case.partial = partial
        series = partial.volume.series_id
        left = [known.slice_index for known in self._state.cases if known.series_id == series]
        self._began = min(left[-1] if left else partial.wanted, partial.volume.slices - 1)
        display.slice_index = self._began
        self._begin_view(partial.volume)

    def _read_next(self) -> None:
        """Let the visible slice be read before the others."""
        partial = self._state.case.partial
        if partial is not None:
            partial.wanted = self._state.display.slice_index

    def _begin_view(self, volume: Volume) -> None:
        """Show a volume as one is shown at first."""
        display = self._state.display
        display.zoom, display.pan = None, (0.0, 0.0)
        display.inverted = display.flip_horizontal = display.flip_vertical = display.cine = False
        if volume.unit == "HU":
            # A preset means the same on every CT; a window by hand or of another file does not.
            if display.window not in PRESETS:
                display.window = LUNG
        else:
            self._display.file_window()

    def _show_opened(self, opened: Opened) -> None:
        """Put a volume into view, with what is known of it; who looked at it while it was read goes on."""
        volume, case, display = opened.volume, self._state.case, self._state.display
        partial = case.partial
        self._leave()
        self._shown.leave()
        self.close_reference()
        seen = None if partial is None else place_of(partial.volume, display.slice_index, volume)
        display.slice_index = 0
        case.volume, case.partial, self._former = volume, None, None
        display.slice_index = volume.slices // 2 if seen is None else seen
        if partial is None or partial.volume.unit != volume.unit:
            self._begin_view(volume)
        self._shown.restore(go_back=seen in (None, self._began))
        if opened.reference is not None:
            case.reference_name = opened.reference_name
            case.reference = opened.reference
            display.reference = True
        for problem in volume.problems:
            if problem.level != "info":
                names = ", ".join(problem.files[:5])
                text = f"{problem.text} {problem.action}".strip()
                self._messages.post(problem.level, text, f"Files: {names}" if names else "")

    def _take_volume(self, opened: Opened) -> None:
        self._show_opened(opened)
        self._tell_left_out()
        self.opened.emit()
        self._look_for_masks(opened.volume)

    def _tell_left_out(self) -> None:
        left_out, self._left_out = self._left_out, []
        for text in left_out:
            self._messages.post("warning", text)

    def _on_failed(self, error: BaseException, path: Path | None = None) -> None:
        self._messages.report(error, path=path)
        self.failed.emit(error)


def place_of(partial: Volume, index: int, volume: Volume) -> int:
    """Return the index that a slice has once all is read and those that cannot be read are left out."""
    names = partial.slice_names[:index]
    left_out = set(partial.slice_names) - set(volume.slice_names)
    return max(0, min(index - sum(name in left_out for name in names), volume.slices - 1))
