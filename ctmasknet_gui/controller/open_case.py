"""Opens a path: scan, choice of a series, reading, reference mask."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.state.display import LUNG, PRESETS
from ctmasknet_gui.state.requests import FewerSlices, MaskFound
from ctmasknet_gui.worker import Priority
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.arrays import ByteArray
from model_core.base.errors import CTMaskNetError, MemoryNeeded, ReadError
from model_core.base.jobs import Progress
from model_core.base.volume import Catalogue, SeriesEntry, Volume

DEMO_TITLE = "Synthetic chest phantom"
# Topic of what is told of reference masks.
REFERENCE = "reference"
# Masks beside a series that are offered; more would hide everything else that is told.
_MOST_OFFERED = 3


@dataclass(frozen=True, eq=False)
class Opened:
    """A volume with, perhaps, its reference mask."""

    volume: Volume
    reference: ByteArray | None = None
    reference_name: str = ""


@dataclass(frozen=True, eq=False)
class Scanned:
    """A catalogue, and the ids of its series that are masks of others."""

    catalogue: Catalogue
    masks: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class MaskRead:
    """What was to be opened is a mask: its labels on the grid of the open volume, or why there are none."""

    name: str
    volume: Volume
    labels: ByteArray | None = None
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Beside:
    """A mask in the catalogue that fits the open volume."""

    entry: SeriesEntry
    volume: Volume


def best_of(scanned: Scanned, *, choose_best: bool = False, paths: Sequence[Path] = ()) -> SeriesEntry | None:
    """Return the series to read without asking: the only one, or the best one if that was asked for.

    Masks of other series do not count beside these. Of several paths the first that holds images counts.
    """
    series = scanned.catalogue.series
    images = [entry for entry in series if entry.series_id not in scanned.masks] or list(series)
    if len(paths) > 1:
        groups = ([entry for entry in images if lies_in(entry, path)] for path in paths)
        images = next(filter(None, groups), images)
    openable = [entry for entry in images if entry.status != "error"]
    return openable[0] if openable and (choose_best or len(images) == 1) else None


def lies_in(entry: SeriesEntry, path: Path) -> bool:
    """Whether some of a series' files are this one, or lie in this folder or archive."""
    return any(path in (Path(name), *Path(name).parents) for name in entry.files)


def name_of(entry: SeriesEntry) -> str:
    """Return what to call a series that is a mask: its file, or the folder of its files."""
    if not entry.files:
        return entry.title
    first = Path(entry.files[0])
    return first.name if len(entry.files) == 1 else first.parent.name


def first_opened(catalogue: Catalogue, paths: Sequence[Path]) -> Path:
    """Return the first of several paths that can be opened, or the first where none can."""
    unusable = {report.path for report in catalogue.files if report.status in ("error", "skipped")}
    return next((path for path in paths if str(path) not in unusable), paths[0])


def not_opened(catalogue: Catalogue, paths: Sequence[Path]) -> list[str]:
    """Say which of several paths hold nothing that can be opened, and why."""
    if len(paths) < 2:
        return []
    wanted = {str(path) for path in paths}
    return [
        f"'{Path(report.path).name}' cannot be opened. {report.reason}"
        for report in catalogue.files
        if report.path in wanted and report.status in ("error", "skipped")
    ]


class OpenController(QObject):
    """Opens what the user chose; the only writer of `CaseState`.

    ``too_large(FewerSlices)``: a series does not fit into memory, every n-th slice would; `open_every` opens
    them. That it failed is told before. ``mask_found(MaskFound)``: what is to be opened looks like a mask,
    and a series is open; `use_mask` or `open_mask` go on. ``cancelled()``: what was being read was stopped,
    or makes way.
    """

    catalogued = Signal()
    cancelled = Signal()
    too_large = Signal(object)
    mask_found = Signal(object)
    opened = Signal()
    failed = Signal(object)
    reference_loaded = Signal()

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
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._reader = reader
        self._shown = shown
        self._display = display
        self._messages = messages
        self._settings = settings
        # Of several paths those that hold nothing, told once what takes their place is there.
        self._left_out: list[str] = []
        # Series of the catalogue that are masks; those offered as reference mask, by topic of the message.
        self._masks: frozenset[str] = frozenset()
        self._offered: dict[str, Beside] = {}
        # The mask that was asked about, and how it is opened as a series of its own.
        self._mask: MaskRead | None = None
        self._open_mask: Callable[[], None] | None = None

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

    def _read_mask(self, entries: Sequence[SeriesEntry], volume: Volume) -> MaskRead:
        """Return the first of these masks that fits a volume, or why the first one does not."""
        why_not = ""
        for entry in entries:
            try:
                return MaskRead(name_of(entry), volume, self._reader.mask_for(entry, volume))
            except CTMaskNetError as error:
                why_not = why_not or error.message
        return MaskRead(name_of(entries[0]), volume, why_not=why_not)

    def _ask(self, mask: MaskRead, otherwise: Callable[[], None]) -> None:
        """Ask what to do with a mask: `use_mask`, or `open_mask` for what it would have been otherwise."""
        self._mask, self._open_mask = mask, otherwise
        self.mask_found.emit(MaskFound(name=mask.name, why_not=mask.why_not))

    @Slot()
    def use_mask(self) -> None:
        """Show the mask that was asked about over the series it was read for."""
        mask, self._mask = self._mask, None
        if mask is not None and mask.labels is not None and self._state.case.volume is mask.volume:
            self._show_reference(mask.labels, mask.name)

    @Slot()
    def open_mask(self) -> None:
        """Open the mask that was asked about as a series of its own."""
        otherwise, self._open_mask, self._mask = self._open_mask, None, None
        if otherwise is not None:
            otherwise()

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
        entry = self._entry(catalogue, series_id)
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
        entry = self._entry(self._state.case.catalogue, series_id)
        if entry is not None:
            self._open_beside(entry, lambda: self._reader.thin(entry, step))

    @Slot()
    def correct_tilt(self) -> None:
        """Read the open series with its tilt corrected; that is listed beside it."""
        volume = self._state.case.volume
        entry = None if volume is None else self._entry(self._state.case.catalogue, volume.series_id)
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
        if self._entry(catalogue, derived.series_id) is None:
            place = catalogue.series.index(entry) + 1
            series = (*catalogue.series[:place], derived, *catalogue.series[place:])
            self._state.case.catalogue = replace(catalogue, series=series)
        self.open_series(derived.series_id)
        return True

    def _offer_fewer(self, series_id: str, error: BaseException) -> None:
        """Ask for fewer slices of a series that does not fit into memory, where fewer would."""
        entry = self._entry(self._state.case.catalogue, series_id)
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

    def open_reference(self, path: Path) -> None:
        """Read a mask file on the grid of the open volume."""
        volume = self._state.case.volume
        if volume is None:
            self._messages.post("info", "Open the CT series first, then its reference mask.")
            return
        self._messages.may_name(path)
        self._submit_reference(lambda: self._reader.read_labels(path, volume), volume, path.name, path)

    def _submit_reference(self, read: Callable[[], ByteArray], volume: Volume, name: str, path: Path) -> None:
        """Read a mask in the worker, and show it over the volume that it was read for."""

        def work() -> Generator[object, None, None]:
            yield Progress(0, 0, "Reading the reference mask")
            yield read()

        def take(item: object) -> None:
            # Read on the grid of that volume, it means nothing on another.
            if isinstance(item, np.ndarray) and self._state.case.volume is volume:
                self._show_reference(item, name)

        def fail(error: BaseException) -> None:
            self._messages.report(error, topic=REFERENCE, path=path)
            self.failed.emit(error)

        self._jobs.submit("reference", work, Handlers(produced=take, failed=fail), priority=Priority.ASKED)

    def _show_reference(self, labels: ByteArray, name: str) -> None:
        self._messages.withdraw(REFERENCE)
        self._state.case.reference_name = name
        self._state.case.reference = labels
        self._state.display.reference = True
        self.reference_loaded.emit()

    def close_reference(self) -> None:
        """Forget the reference mask."""
        self._state.case.reference = None
        self._state.case.reference_name = ""

    def close_case(self) -> None:
        """Close the series and its catalogue."""
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
        self._mask = self._open_mask = None

    def _take(self, item: object) -> None:
        if isinstance(item, Scanned):
            self._take_catalogue(item)
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

    def _take_volume(self, opened: Opened) -> None:
        volume = opened.volume
        self._leave()
        self._shown.leave()
        self.close_reference()
        display = self._state.display
        display.zoom, display.pan = None, (0.0, 0.0)
        display.inverted = display.flip_horizontal = display.flip_vertical = display.cine = False
        # The index must fit whatever volume observers look at, before and after.
        display.slice_index = 0
        self._state.case.volume = volume
        display.slice_index = volume.slices // 2
        if volume.unit == "HU":
            # A preset means the same on every CT; a window by hand or of another file does not.
            if display.window not in PRESETS:
                display.window = LUNG
        else:
            self._display.file_window()
        self._shown.restore(go_back=True)
        if opened.reference is not None:
            self._state.case.reference_name = opened.reference_name
            self._state.case.reference = opened.reference
            display.reference = True
        for problem in volume.problems:
            if problem.level != "info":
                names = ", ".join(problem.files[:5])
                text = f"{problem.text} {problem.action}".strip()
                self._messages.post(problem.level, text, f"Files: {names}" if names else "")
        self._tell_left_out()
        self.opened.emit()
        self._look_for_masks(volume)

    def _look_for_masks(self, volume: Volume) -> None:
        """Offer the masks of the catalogue that fit the open series, unless it is one itself."""
        self._offered = {}
        catalogue = self._state.case.catalogue
        if catalogue is None or volume.series_id in self._masks or not self._masks:
            return
        by_file = {entry.files[:1]: entry for entry in catalogue.series if entry.series_id in self._masks}

        def work() -> Generator[object, None, None]:
            for entry in by_file.values():
                yield Progress(0, 0)
                if self._read_mask([entry], volume).labels is not None:
                    yield Beside(entry, volume)

        def take(item: object) -> None:
            if isinstance(item, Beside) and len(self._offered) < _MOST_OFFERED:
                topic = f"mask {item.entry.series_id}"
                self._offered[topic] = item
                self._messages.post(
                    "info",
                    f"'{name_of(item.entry)}' is a mask of this series.",
                    topic=topic,
                    offer="Use as reference mask",
                )

        self._jobs.submit("masks", work, Handlers(produced=take), priority=Priority.IDLE, visible=False)

    @Slot(object)
    def take_offer(self, message: Message) -> None:
        """Show the mask that a message offers over the open series."""
        self._messages.forget(message)
        beside = self._offered.pop(message.topic, None)
        if beside is None or self._state.case.volume is not beside.volume:
            return
        entry, volume = beside.entry, beside.volume
        self._submit_reference(
            lambda: self._reader.mask_for(entry, volume), volume, name_of(entry), Path(entry.files[0])
        )

    def _tell_left_out(self) -> None:
        left_out, self._left_out = self._left_out, []
        for text in left_out:
            self._messages.post("warning", text)

    def _on_failed(self, error: BaseException, path: Path | None = None) -> None:
        self._messages.report(error, path=path)
        self.failed.emit(error)

    @staticmethod
    def _entry(catalogue: Catalogue | None, series_id: str) -> SeriesEntry | None:
        series = () if catalogue is None else catalogue.series
        return next((entry for entry in series if entry.series_id == series_id), None)


def nothing_found(catalogue: Catalogue) -> ReadError:
    """Say that a path holds no image, with the first reasons of its files."""
    reasons = {report.reason for report in catalogue.files if report.reason}
    looked = len(catalogue.files)
    files = "file" if looked == 1 else "files"
    return ReadError(
        f"No image was found in the {looked} {files} looked at. CTMaskNet opens DICOM (also as ZIP), NIfTI, "
        "NRRD, MHA and folders of PNG or JPEG slices.",
        details="\n".join(sorted(reasons)[:10]),
    )
