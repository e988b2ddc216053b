"""Keeps results and key images on the disk, so that a study opened again shows them at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.key_images import KeyImageController
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState, Case
from ctmasknet_gui.worker import Priority
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.errors import CTMaskNetError, ExportError, as_memory
from model_core.base.files import write_text
from model_core.base.jobs import Progress
from model_core.base.results import Candidates, SliceResult
from model_core.base.volume import Volume, fingerprint

_log = logging.getLogger(__name__)

KEEP_KEY = "results/keep"
# A chest CT of 300 slices takes some 30 to 60 MB.
BUDGET_BYTES = 1_000_000_000
_SUFFIX, _KEY_IMAGES = ".npz", ".key"
_KEY_IMAGE_TOPIC = "keeping key images"


class ResultFiles:
    """Results as files in one folder of the user's: one of each volume under each set of weights.

    Their names tell nothing of either. The ones used longest ago go first when all take more than ``budget``
    bytes; a damaged one counts as absent, and goes. Key images, which a person marked, stay.
    """

    def __init__(self, folder: Path, budget: int = BUDGET_BYTES) -> None:
        self.folder = folder
        self._budget = budget

    def write(self, of: str, results: Mapping[int, SliceResult]) -> None:
        """Keep results of the volume of this fingerprint beside those kept of its other slices.

        Raises `ExportError`.
        """
        from model_core.engine.kept import read_results, write_results

        with contextlib.suppress(OSError):  # the writer says why it cannot write
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(of, next(iter(results.values())).weights_id)
        before: dict[int, SliceResult] = {}
        with contextlib.suppress(CTMaskNetError):  # there is none, or it is damaged
            before = read_results(path, series_id="")
        write_results(path, {**before, **results})
        self._keep_within_budget(path)

    def mark(self, of: str, names: Sequence[str], weights_id: str) -> None:
        """Note what the choice of weights was, to find results by before any network is loaded."""
        with contextlib.suppress(ExportError, OSError):
            write_text(self._mark(of, names), weights_id, overwrite=True)

    def read(self, volume: Volume, weights_id: str) -> dict[int, SliceResult]:
        """Return what is kept of a volume under weights; nothing where there is none."""
        from model_core.engine.kept import read_results

        path = self._path(fingerprint(volume), weights_id)
        if not path.is_file():
            return {}
        try:
            results = read_results(path, series_id=volume.series_id)
        except CTMaskNetError as error:
            _log.warning("kept results are damaged and were removed: %s", type(error.__cause__).__name__)
            with contextlib.suppress(OSError):
                path.unlink()
            return {}
        with contextlib.suppress(OSError):
            path.touch()
        return {k: r for k, r in results.items() if k < volume.slices and r.weights_id == weights_id}

    def has_some(self, volume: Volume, names: Sequence[str]) -> bool:
        """Whether something is kept of a volume under weights that are not loaded yet."""
        try:
            of = fingerprint(volume)
            return self._path(of, self._mark(of, names).read_text("utf-8")).is_file()
        except (OSError, UnicodeError):
            return False

    def write_key_images(self, of: str, notes: Mapping[int, str]) -> None:
        """Keep the notes on key images, by slice from 0, of the volume of this fingerprint, and no others.

        Raises `ExportError`.
        """
        path = self._path(of, "", _KEY_IMAGES)
        if notes:
            with contextlib.suppress(OSError):  # the writer says why it cannot write
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(path, json.dumps(sorted(notes.items())), overwrite=True, private=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def read_key_images(self, of: str) -> dict[int, str]:
        """Return the notes on key images of a volume; none where nothing is kept, or it is damaged."""
        try:
            found = json.loads(self._path(of, "", _KEY_IMAGES).read_text("utf-8"))
            return {int(index): str(note) for index, note in found}
        except (OSError, ValueError, TypeError, OverflowError, RecursionError):
            return {}

    def size(self) -> int:
        """Return how many bytes are kept."""
        return sum(size for _, size, _ in self._files())

    def clear(self) -> None:
        """Remove everything that is kept. Raises OSError for what cannot be removed."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.is_file() and not path.is_symlink():
                    path.unlink()

    def _path(self, of: str, weights_id: str, suffix: str = _SUFFIX) -> Path:
        key = hashlib.sha256(f"{of} {weights_id}".encode()).hexdigest()
        return self.folder / f"{key[:40]}{suffix}"

    def _mark(self, of: str, names: Sequence[str]) -> Path:
        key = hashlib.sha256(f"{of} {list(names)}".encode()).hexdigest()
        return self.folder / f"{key[:40]}.of"

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return time of last use, size and path of each file, the one used longest ago first."""
        found = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):  # another window may remove it
                    stat = path.stat()
                    found.append((stat.st_mtime, stat.st_size, path))
        return sorted(found)

    def _keep_within_budget(self, newest: Path) -> None:
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._budget:
                return
            if path != newest and path.suffix != _KEY_IMAGES:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size


@dataclass(frozen=True, eq=False)
class _Found:
    """What is kept of a volume; ``load``: its weights must be loaded before it can be told."""

    volume: Volume
    results: dict[int, SliceResult]
    load: bool = False


@dataclass(frozen=True, eq=False)
class _FoundKeyImages:
    """The notes on key images that are kept of a volume."""

    volume: Volume
    notes: dict[int, str]


class KeptResults(QObject):
    """Brings back what is kept a moment after a series is opened, and keeps new results when all is done.

    Both in the second thread, out of the way of what is asked for. A key image is kept as soon as it is
    marked. Where nothing may be written, as for a screenshot, nothing is kept.
    """

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        weights: WeightsController,
        shown: ShownController,
        key_images: KeyImageController,
        messages: MessageController,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._weights = weights
        self._shown = shown
        self._key_images = key_images
        self._messages = messages
        self._settings = settings
        self.files = ResultFiles(settings.cache_folder / "results")
        # The candidates of the slices that are on the disk; a slice that is put away has the same.
        self._kept: WeakSet[Candidates] = WeakSet()
        # Whose key images were looked for: before that, nothing of them is overwritten.
        self._recalled: Volume | None = None
        state.case.keeps_results = settings.flag(KEEP_KEY, default=True)
        state.case.events.volume.connect(self._recall)
        state.case.events.volume.connect(self._recall_key_images)
        state.case.events.key_images.connect(self._keep_key_images)
        weights.changed.connect(self._recall)
        jobs.idle.connect(self.keep)

    @Slot()
    def toggle(self) -> None:
        """Keep results from now on, or no longer; what is kept stays until it is cleared."""
        self._state.case.keeps_results = not self._state.case.keeps_results
        self._settings.put(KEEP_KEY, self._state.case.keeps_results)
        self.keep()
        self._recall_key_images()

    @Slot()
    def clear(self) -> None:
        """Remove all that is kept from the disk; what there is of the open series stays on screen."""
        size = self.files.size()
        self._jobs.cancel("keep")
        try:
            self.files.clear()
        except OSError as error:
            reason = error.strerror or "the system gives no reason"
            self._messages.post("error", f"Kept results cannot be removed: {reason}.", path=self.files.folder)
            return
        self._messages.post(
            "info",
            f"All kept results and key images are removed ({as_memory(size)})."
            if size
            else "Nothing was kept.",
        )

    def _recall(self) -> None:
        """Look for what is kept of the open volume, unless its results are known from this session."""
        self._jobs.cancel("recall")
        volume, pipeline = self._state.case.volume, self._weights.pipeline
        if volume is None or self._state.results.slices or not self._state.case.keeps_results:
            return
        kept, names = self.files, self._weights.wanted
        weights_id = None if pipeline is None else pipeline.weights_id

        def work() -> Generator[Progress | _Found, None, None]:
            yield Progress(0, 0, "Looking for kept results")
            if weights_id is not None:
                yield _Found(volume, kept.read(volume, weights_id))
            elif kept.has_some(volume, names):
                yield _Found(volume, {}, load=True)

        self._look("recall", work, self._take)

    def _look(self, kind: str, work: JobFactory, take: Callable[[object], None]) -> None:
        """Look on the disk aside."""
        handlers = Handlers(produced=take, failed=self._on_failed)
        self._jobs.submit(kind, work, handlers, priority=Priority.FOLLOW, visible=False, beside=True)

    def _take(self, found: object) -> None:
        volume = self._state.case.volume
        if not isinstance(found, _Found) or volume is not found.volume:
            return
        if found.load:
            if self._weights.pipeline is None and not self._jobs.active("run"):
                self._weights.choose(self._weights.wanted)
            return
        if found.results and self._weights.pipeline is not None:
            self._kept.update(result.detection_candidates for result in found.results.values())
            self._shown.take_kept(found.results)

    def _recall_key_images(self) -> None:
        """Look for the key images that are kept of the open volume."""
        self._jobs.cancel("recall key images")
        self._recalled = None
        volume, kept = self._state.case.volume, self.files
        if volume is None or not self._state.case.keeps_results:
            return

        def work() -> Generator[Progress | _FoundKeyImages, None, None]:
            yield Progress(0, 0, "Looking for key images")
            yield _FoundKeyImages(volume, kept.read_key_images(fingerprint(volume)))

        self._look("recall key images", work, self._take_key_images)

    def _take_key_images(self, found: object) -> None:
        case = self._state.case
        if isinstance(found, _FoundKeyImages) and case.volume is found.volume:
            self._recalled = found.volume
            # What was marked or unmarked meanwhile, or before in this session, is newer.
            gone = self._key_images.unmarked
            notes = {k: note for k, note in found.notes.items() if k not in gone} | dict(case.key_images)
            if notes != case.key_images:
                self._key_images.take(notes)
            elif notes != found.notes:
                self._keep_key_images()

    def _keep_key_images(self, *_: object) -> None:
        case = self._state.case
        volume = case.volume
        if volume is None or volume is not self._recalled or self._settings.read_only:
            return
        if case.keeps_results:
            try:
                # At once: the window may be closed next. The fingerprint is known by now.
                self.files.write_key_images(fingerprint(volume), case.key_images)
            except CTMaskNetError as error:
                # A person typed them.
                self._messages.report(error, topic=_KEY_IMAGE_TOPIC)
            else:
                self._messages.withdraw(_KEY_IMAGE_TOPIC)

    @Slot()
    def keep(self) -> None:
        """Write the results of each case of which some are not on the disk yet."""
        if not self._state.case.keeps_results or self._settings.read_only:
            return
        here = self._state.open_case()
        cases = [case for case in (here, *self._state.cases) if case is not None and self._fresh(case)]
        if not cases:
            return
        for case in cases:
            self._kept.update(result.detection_candidates for result in case.slices.values())
        kept, names = self.files, self._state.weights.chosen

        def work() -> Generator[Progress, None, None]:
            for case in cases:
                yield Progress(0, 0, "Keeping the results")
                of = case.fingerprint if case.volume is None else fingerprint(case.volume)
                kept.write(of, case.slices)
                if case.volume is not None:
                    kept.mark(of, names, case.weights_id)

        self._jobs.submit(
            "keep",
            work,
            Handlers(failed=self._on_failed),
            priority=Priority.FOLLOW,
            visible=False,
            beside=True,
        )

    def _fresh(self, case: Case) -> bool:
        return any(result.detection_candidates not in self._kept for result in case.slices.values())

    def _on_failed(self, error: BaseException) -> None:
        # Whoever never asked for it need not be told that it fails.
        _log.warning("results were not kept: %s", type(error).__name__)
