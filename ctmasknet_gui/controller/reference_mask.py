"""Reference masks: reads, offers and closes them, and asks where what is to be opened is one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal, Slot

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.state.requests import MaskFound
from ctmasknet_gui.worker import Priority
from model_core.base.arrays import ByteArray
from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import Progress
from model_core.base.volume import SeriesEntry, Volume

# Topic of what is told of reference masks.
REFERENCE = "reference"
# Masks beside a series that are offered; more would hide everything else that is told.
_MOST_OFFERED = 3


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


def name_of(entry: SeriesEntry) -> str:
    """Return what to call a series that is a mask: its file, or the folder of its files."""
    if not entry.files:
        return entry.title
    first = Path(entry.files[0])
    return first.name if len(entry.files) == 1 else first.parent.name


class ReferenceMasks(QObject):
    """The part of opening that is about masks: writes the reference mask of `CaseState`.

    ``mask_found(MaskFound)``: what is to be opened looks like a mask, and a series is open; `use_mask` or
    `open_mask` go on.
    """

    mask_found = Signal(object)
    reference_loaded = Signal()
    failed = Signal(object)

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        reader: Reader,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._reader = reader
        self._messages = messages
        # Series of the catalogue that are masks; those offered as reference mask, by topic of the message.
        self._masks: frozenset[str] = frozenset()
        self._offered: dict[str, Beside] = {}
        # The mask that was asked about, and how it is opened as a series of its own.
        self._mask: MaskRead | None = None
        self._open_mask: Callable[[], None] | None = None

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

    def _forget_question(self) -> None:
        """Let an answer that comes too late do nothing."""
        self._mask = self._open_mask = None

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
