"""Writes the open case as a file, and opens such a file exactly as the case was left."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.controller.found_series import entry_of
from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.key_images import KeyImageController
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.open_case import DEMO_TITLE, OpenController
from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.controller.run_case import RunController
from ctmasknet_gui.controller.thresholds import ThresholdController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState, SliceEdits, Thresholds
from ctmasknet_gui.state.case import WEIGHT_SUFFIXES
from ctmasknet_gui.worker import Priority
from model_core.base.errors import CTMaskNetError, ReadError
from model_core.base.jobs import Progress
from model_core.base.volume import SeriesEntry, Volume, fingerprint

if TYPE_CHECKING:
    from model_core.export.case_file import CaseFile, CaseWeights

# A class computed elsewhere may differ so much by rounding, in logits.
SAME_LOGIT = 0.01
_TOPIC = "case file"


@dataclass(frozen=True, eq=False)
class _Read:
    """A case file that was read, and what of its series can be found."""

    path: Path
    case: CaseFile
    where: Path | None


@dataclass(frozen=True, eq=False)
class _Recognised:
    volume: Volume
    fingerprint: str


class CaseFiles(QObject):
    """Saves the open case and opens saved ones: series, weights, thresholds, edits, view and slices analysed.

    What is opened goes through the steps that a person would take: open the series, choose the weights, move
    the thresholds, run. A series with other voxels is not taken for that of the case.

    ``failed(error)``: a case was not opened, or its series is not where it was; that was told.
    ``saved()``: a case was saved, and is one of the recent paths.
    """

    failed = Signal(object)
    saved = Signal()

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        reader: Reader,
        opening: OpenController,
        weights: WeightsController,
        thresholds: ThresholdController,
        display: DisplayController,
        key_images: KeyImageController,
        running: RunController,
        messages: MessageController,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._reader = reader
        self._opening = opening
        self._weights = weights
        self._thresholds = thresholds
        self._display = display
        self._key_images = key_images
        self._running = running
        self._messages = messages
        self._settings = settings
        # What is being opened, until its series is there or it was given up, and whether that was asked for.
        self._wanted: _Read | None = None
        self._asked = False
        # What waits for its weights, and then for its results.
        self._waits: _Read | None = None
        self._runs: CaseFile | None = None
        self._compares: CaseFile | None = None
        opening.catalogued.connect(self._on_catalogued)
        opening.opened.connect(self._on_opened)
        opening.failed.connect(self._give_up)
        opening.cancelled.connect(self._give_up)
        state.case.events.volume.connect(self._on_volume)
        weights.changed.connect(self._on_weights)
        weights.refused.connect(self._on_refused)
        jobs.idle.connect(self._on_idle)

    # ------------------------------------------------------------------------------------ save

    def save(self, path: Path) -> None:
        """Write the open case to a file, replacing it."""
        volume = self._state.case.volume
        if volume is None:
            self._messages.post("info", "Open a CT series first, then save the case.")
            return
        self._settings.last_export_folder = path.parent
        self._messages.may_name(path)
        take = self._snapshot(volume, path)

        def work() -> Generator[Progress, None, None]:
            from model_core.export.case_file import write_case

            yield Progress(0, 0, "Saving the case")
            write_case(path, take(fingerprint(volume)), overwrite=True)

        def done() -> None:
            self._settings.add_recent(path)
            self.saved.emit()
            self._messages.withdraw(_TOPIC)
            holds = "" if self._state.display.privacy else " It holds the path of the series."
            self._messages.post("info", f"The case is saved as {path.name}.{holds}", path=path)

        def fail(error: BaseException) -> None:
            self._messages.report(error, topic=_TOPIC, path=path)
            self.failed.emit(error)

        handlers = Handlers(finished=done, failed=fail)
        # Of its own kind: what is being opened goes on, and opening a case does not stop it.
        self._jobs.submit("save", work, handlers, priority=Priority.ASKED, visible=False, beside=True)

    def _snapshot(self, volume: Volume, path: Path) -> Callable[[str], CaseFile]:
        """Return a function that makes the case as it is now of the fingerprint of its series."""
        from model_core.export import case_file as made

        state = self._state
        display, thresholds, slices = state.display, state.thresholds, state.results.slices
        window, demo = display.window, state.case.reference_name == DEMO_TITLE
        catalogue = state.case.catalogue
        root = None if catalogue is None or display.privacy or demo else Path(catalogue.root)
        known = root is not None and root.exists()
        edits, marks = thresholds.edits, state.case.key_images
        view = made.CaseView(
            slice_number=display.slice_index + 1,
            width=float(window.width),
            level=float(window.level),
            name=window.name,
            function=window.function,
            curve=window.curve.hex(),
            inverted=display.inverted,
            flip_horizontal=display.flip_horizontal,
            flip_vertical=display.flip_vertical,
            zoom=display.zoom,
            pan=display.pan,
            overlays=display.overlays,
            selected=state.selection.candidate,
        )
        depth, height, width = (int(n) for n in volume.voxels.shape)

        def make(of: str) -> CaseFile:
            series = made.CaseSeries(
                fingerprint=of,
                series_id=volume.series_id,
                size=(depth, height, width),
                unit=volume.unit,
                every=volume.every,
                path=str(root) if known else "",
                relative=_relative(root, path.parent) if known and root is not None else "",
                demo=demo,
            )
            return made.CaseFile(
                series=series,
                weights=weights,
                weights_id=weights_id,
                detections=values.detections,
                evidence=values.evidence,
                linked=values.linked,
                last_nms_iou=values.last_nms_iou,
                nms_anew=edits.nms_anew,
                edits=tuple(made.CaseEdit.of(index, edit) for index, edit in edits.edits),
                view=view,
                key_images=tuple(
                    made.CaseKeyImage(slice_number=k + 1, note=note) for k, note in sorted(marks.items())
                ),
                analysed=made.as_runs(index + 1 for index in slices),
                classes=tuple(
                    made.CaseClass(slice_number=k + 1, logits=tuple(float(v) for v in verdict.logits))
                    for k in sorted(slices)
                    if (verdict := slices[k].verdict) is not None
                ),
            )

        pipeline, values = self._weights.pipeline, thresholds.values
        weights_id = "" if pipeline is None else pipeline.weights_id
        files = [Path(n) for n in state.weights.chosen if Path(n).suffix.lower() in WEIGHT_SUFFIXES]
        places = {file.stem: str(file.absolute()) for file in files if not display.privacy}
        weights = tuple(
            made.CaseWeights(name=card.name, sha256=card.sha256, file=places.get(card.name, ""))
            for card in state.weights.cards
        )
        return make

    # ------------------------------------------------------------------------------------ open

    def open(self, path: Path) -> None:
        """Open a case file: its series where it was, else the open one where that is it."""
        self._give_up()
        self._messages.may_name(path)

        def work() -> Generator[object, None, None]:
            from model_core.export.case_file import read_case

            yield Progress(0, 0, "Opening the case")
            case = read_case(path)
            # Without ".." between: else the same files would have another name, and be recent twice.
            beside = Path(os.path.normpath(path.parent.absolute() / case.series.relative))
            places = [beside] if case.series.relative else []
            places += [Path(case.series.path)] if case.series.path else []
            yield _Read(path, case, next((place for place in places if place.exists()), None))

        handlers = Handlers(produced=self._take, failed=lambda error: self._fail(error, path))
        self._jobs.submit("case", work, handlers, priority=Priority.ASKED, visible=False, beside=True)

    def _take(self, read: object) -> None:
        if not isinstance(read, _Read):
            return
        self._messages.withdraw(_TOPIC)
        self._settings.add_recent(read.path)
        self._wanted, self._asked = read, False
        volume = self._state.case.volume
        if volume is not None and volume.voxels.shape == read.case.series.size:
            self._recognise(volume, read)
        else:
            self._open_series(read)

    def _open_series(self, read: _Read) -> None:
        """Open the series of the case where it lies; else ask the user to open it."""
        series = read.case.series
        if series.demo:
            self._opening.open_demo()
        elif read.where is not None:
            self._opening.open_paths((read.where,), ask_of_masks=False)
        else:
            if series.path:
                self._messages.may_name(Path(series.path))
            where = f" It was at '{series.path}'." if series.path else ""
            text = f"The series of the case '{read.path.name}' is not there.{where}"
            self._messages.post(
                "warning", f"{text} Open it from where it is now: the case goes on with it.", topic=_TOPIC
            )
            self.failed.emit(ReadError(text))
        # Last: what was being opened makes way, and with it what was wanted before.
        self._wanted, self._asked = read, True

    @Slot()
    def _on_catalogued(self) -> None:
        """Of several series open the one of the case."""
        read, catalogue = self._wanted, self._state.case.catalogue
        if read is None or catalogue is None or self._state.case.opening == read.case.series.series_id:
            return
        series, wanted = catalogue.series, read.case.series
        same = entry_of(catalogue, wanted.series_id)
        fitting = [same] if same is not None else [e for e in series if self._may_be(e, read.case)]
        if len(fitting) != 1:
            if len(series) > 1:
                self._messages.post(
                    "info", f"Choose the series of the case '{read.path.name}' in the list.", topic=_TOPIC
                )
            return
        (entry,) = fitting
        if wanted.every > 1:
            self._opening.open_every(entry.series_id, wanted.every)
        else:
            self._opening.open_series(entry.series_id)
        self._wanted, self._asked = read, True

    def _may_be(self, entry: SeriesEntry, case: CaseFile) -> bool:
        """Whether a series has the size of that of the case, which is known under another name."""
        if entry.status == "error":
            return False
        try:
            every = case.series.every
            return (self._reader.thin(entry, every) if every > 1 else entry).size == case.series.size
        except CTMaskNetError:
            return False

    def _is_of_the_corrected(self, volume: Volume, case: CaseFile) -> bool:
        """Whether a case may be of the open series with its tilt corrected, which no catalogue lists."""
        entry = entry_of(self._state.case.catalogue, volume.series_id)
        if entry is None or self._state.case.volume is not volume:
            return False
        try:
            straight = self._reader.straighten(entry)
        except CTMaskNetError:
            return False
        return straight.series_id != entry.series_id and straight.size == case.series.size

    @Slot()
    def _on_opened(self) -> None:
        read, volume = self._wanted, self._state.case.volume
        if read is not None and volume is not None:
            self._recognise(volume, read)

    def _recognise(self, volume: Volume, read: _Read) -> None:
        """Look whether the open volume is that of the case, in the second thread."""

        def work() -> Generator[object, None, None]:
            yield Progress(0, 0, "Comparing the series")
            yield _Recognised(volume, fingerprint(volume))

        def take(item: object) -> None:
            if not isinstance(item, _Recognised) or self._wanted is not read:
                return
            if item.volume is self._state.case.volume and item.fingerprint == read.case.series.fingerprint:
                self._apply(read)
            elif not self._asked:
                self._open_series(read)
            elif self._is_of_the_corrected(item.volume, read.case):
                self._opening.correct_tilt()
                # Last, as in `_open_series`.
                self._wanted, self._asked = read, True
            else:
                self._give_up()
                self._messages.post(
                    "warning",
                    f"This is not the series of the case '{read.path.name}': its voxels are others. Nothing "
                    "of the case is taken over.",
                    topic=_TOPIC,
                )

        handlers = Handlers(produced=take, failed=lambda error: self._fail(error, read.path))
        self._jobs.submit("case", work, handlers, priority=Priority.ASKED, visible=False, beside=True)

    @Slot()
    def _give_up(self) -> None:
        """Want no case any more: another one was asked for, or its series was not opened."""
        self._wanted = self._waits = self._runs = self._compares = None

    def _fail(self, error: BaseException, path: Path) -> None:
        self._give_up()
        self._messages.report(error, topic=_TOPIC, path=path)
        self.failed.emit(error)

    def _apply(self, read: _Read) -> None:
        """Choose the weights of the case, now that its series is open; all else follows them."""
        self._wanted = self._waits = None
        case, weights = read.case, self._weights
        # Beside those of this computer: nobody asked to lose them.
        notes = {one.slice_number - 1: one.note for one in case.key_images}
        self._key_images.take({**self._state.case.key_images, **notes})
        names = self._names(case.weights, read.path.parent)
        if case.weights:
            weights.choose(names)
        # Not before: of the weights that run, or were being loaded, until now nothing is waited for.
        self._waits = read
        if not case.weights or weights.ready is not None:
            self._on_weights()

    def _names(self, weights: Sequence[CaseWeights], folder: Path) -> tuple[str, ...]:
        """Return what weights are chosen by: shipped ones by name, others by file, also beside the case."""
        shipped = {card.name for card in self._state.weights.available}
        chosen = []
        for one in weights:
            beside = folder / Path(one.file).name
            if one.file and (one.name not in shipped or Path(one.file).is_file()):
                chosen.append(str(beside if beside.is_file() else one.file))
            else:
                chosen.append(one.name)
        return () if tuple(chosen) == self._weights.default else tuple(chosen)

    @Slot()
    def _on_weights(self) -> None:
        """Put thresholds, edits and view in force, and have run what was."""
        read, self._waits = self._waits, None
        self._runs = self._compares = None  # of the weights that ran before
        if read is None:
            return
        case, pipeline = read.case, self._weights.pipeline
        same = not case.weights_id or (pipeline is not None and pipeline.weights_id == case.weights_id)
        if not same:
            self._messages.post(
                "warning",
                f"The weights that run are not those of the case '{read.path.name}', though they are called "
                "so: numbers will be others, and what was taken out of the evidence is left in it.",
                topic=_TOPIC,
            )
        self._thresholds.take(
            Thresholds(
                case.detections,
                case.evidence,
                case.linked,
                case.last_nms_iou,
                _edits(case) if same else SliceEdits(nms_anew=case.nms_anew),
            )
        )
        self._display.show_as(case.view)
        self._runs = case if same else None

    def _on_volume(self, volume: Volume | None, former: Volume | None) -> None:
        """Wait for nothing of a case whose series made way."""
        if volume is not former:
            self._waits = self._runs = self._compares = None

    @Slot(object)
    def _on_refused(self, _names: object) -> None:
        """Show the view alone: the weights of the case are not there, which was told."""
        read, self._waits = self._waits, None
        if read is not None:
            self._display.show_as(read.case.view)

    @Slot()
    def _on_idle(self) -> None:
        """Run what is missing once kept results had their chance, and compare once all is there."""
        case, self._runs = self._runs, None
        if case is not None:
            from model_core.export.case_file import from_runs

            held = self._state.results.slices
            missing = sorted(k - 1 for k in from_runs(case.analysed) if k - 1 not in held)
            self._compares = case
            if missing:
                self._running.run_slices(missing)
                return
        case, self._compares = self._compares, None
        if case is not None:
            if self._state.display.slice_index == case.view.slice_number - 1:
                self._state.selection.others = ()
                self._state.selection.candidate = case.view.selected
            self._compare(case)

    def _compare(self, case: CaseFile) -> None:
        """Say whether the classes are those of the case, where all are there."""
        held, apart = self._state.results.slices, []
        for one in case.classes:
            result = held.get(one.slice_number - 1)
            if result is None:
                return
            logits = () if result.verdict is None else tuple(map(float, result.verdict.logits))
            if len(logits) == len(one.logits):
                apart.append(max(abs(a - b) for a, b in zip(logits, one.logits, strict=True)))
            else:
                apart.append(float("inf"))
        others = sum(not difference <= SAME_LOGIT for difference in apart)
        if others:
            self._messages.post(
                "warning",
                f"The classes of {others} of {len(apart)} slices are not those of the case: their logits "
                f"differ by up to {max(apart):.2g}.",
                topic=_TOPIC,
            )
        elif apart:
            all_of = (
                "the slice has the class" if len(apart) == 1 else f"all {len(apart)} slices have the class"
            )
            self._messages.post("info", f"The case is as it was left: {all_of} that was saved.", topic=_TOPIC)


def _edits(case: CaseFile) -> SliceEdits:
    edits = SliceEdits(nms_anew=case.nms_anew)
    for one in case.edits:
        edits = edits.put(one.slice_number - 1, one.edit)
    return edits


def _relative(path: Path, folder: Path) -> str:
    """Return a path from a folder on, with forward slashes; "" where there is none (another drive)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return ""
