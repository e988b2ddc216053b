"""Which weights run: lists the shipped ones, loads the chosen ones in the worker."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from ctmasknet_gui.controller.jobs import Handlers, Jobs
from ctmasknet_gui.controller.messages import MessageController
from ctmasknet_gui.controller.ports import Engine, Pipeline, tidy_up, warm_up_plots
from ctmasknet_gui.state import AppState, Thresholds
from ctmasknet_gui.state.case import WEIGHT_SUFFIXES
from ctmasknet_gui.worker import Priority
from model_core.base.errors import WeightsError
from model_core.base.jobs import Progress
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.weights.card import evidence_settings, former_settings

# Topic of what is told of weights that were not loaded.
WEIGHTS = "weights"
# Topic of what is told of a backend that is not used.
BACKEND = "backend"
# Topic of what is told of settings of weights that are no more.
_FORMER = "former settings"


def path_of(names: Sequence[str]) -> Path | None:
    """Return the file that weights were named by; None for shipped ones, and where several files were."""
    files = [Path(name) for name in names if Path(name).suffix.lower() in WEIGHT_SUFFIXES]
    return files[0].absolute() if len(files) == 1 else None


# Networks held in memory: going back to weights used before needs no loading.
_MOST_LOADED = 3


def names_files(names: Sequence[str]) -> bool:
    """Whether weights are named by files, which may be replaced while the program runs."""
    return any(Path(name).suffix.lower() in WEIGHT_SUFFIXES for name in names)


@dataclass(frozen=True, eq=False)
class LoadedPipeline:
    """What a loading job produces: the names asked for and the networks."""

    names: tuple[str, ...]
    pipeline: Pipeline


class WeightsController(QObject):
    """Holds the pipeline that runs; results of other weights are put away when it changes.

    What ran before runs on until the newly chosen weights are loaded, and stays where they cannot be.

    ``changed()``: other networks run. ``refused(names)``: these were not loaded, whatever the reason.
    """

    changed = Signal()
    refused = Signal(object)

    def __init__(
        self,
        state: AppState,
        jobs: Jobs,
        *,
        engine: Engine,
        messages: MessageController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._jobs = jobs
        self._engine = engine
        self._messages = messages
        self.pipeline: Pipeline | None = None
        # Names being loaded, and the choice to go back to when weights that were never loaded fail.
        self._pending: tuple[str, ...] | None = None
        self._former: tuple[str, ...] = ()
        # By names, loaded last at the end. Written in the worker thread only; a run queued behind a loading
        # job finds the networks here.
        self._loaded: dict[tuple[str, ...], Pipeline] = {}

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """The networks in memory by their ``weights_id``: what runs, and what ran before."""
        held = [*self._loaded.values()] if self.pipeline is None else [*self._loaded.values(), self.pipeline]
        return {pipeline.weights_id: pipeline for pipeline in held}

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names that a run begun now is to use: those being loaded, else the chosen ones."""
        return self._state.weights.chosen if self._pending is None else self._pending

    @property
    def ready(self) -> Pipeline | None:
        """The networks of `wanted`, or None where they are not loaded yet."""
        return self.pipeline if self._pending is None else None

    @property
    def default(self) -> tuple[str, ...]:
        """Names of the weights that run where none are chosen; empty where they are not there."""
        return tuple(card.name for card in self._engine.cards_of(()))

    def list_available(self) -> None:
        """Read the cards of the shipped weights (no network is loaded)."""
        try:
            self._state.weights.available = self._engine.available()
        except WeightsError as error:
            self._messages.report(error)

    def choose(self, names: Sequence[str]) -> None:
        """Choose shipped names or files (empty for the default) and load them in the worker.

        The choice and the results change once they are loaded; those in use are not loaded again.
        """
        asked = tuple(names)
        if asked == self._state.weights.chosen and self.pipeline is not None:
            self._jobs.cancel("weights")
            self._messages.withdraw(WEIGHTS)
            return
        if asked == self._pending and self._jobs.active("weights"):
            return  # they are being loaded

        def take(loaded: object) -> None:
            self.adopt(loaded)
            if isinstance(loaded, LoadedPipeline):
                self._messages.withdraw(WEIGHTS)

        self._jobs.submit(
            "weights",
            lambda: self.loading(asked),
            Handlers(
                produced=take,
                failed=lambda error: self._on_failed(asked, error),
                cancelled=lambda: self._give_up(asked),
            ),
            priority=Priority.ASKED,
        )
        self._pending = asked

    def set_choice(self, names: Sequence[str]) -> None:
        """Set the choice without loading; what ran before no longer runs."""
        self._jobs.cancel("run")
        self._jobs.cancel("weights")
        self._former = self._state.weights.chosen
        self._state.weights.chosen = tuple(names)
        if self.pipeline is not None:
            self.pipeline = None
            self._state.weights.cards = ()
            self.changed.emit()
        self.expect()

    def expect(self) -> None:
        """Show the thresholds of the chosen weights before they are loaded, where their cards are known."""
        cards = self._engine.cards_of(self._state.weights.chosen)
        if cards and self.pipeline is None:
            self._take_thresholds(cards[0].detections, evidence_settings(cards))

    def _take_thresholds(self, detections: DetectionSettings, evidence: EvidenceSettings) -> None:
        """Put the thresholds of other weights in force; those that were moved stay if the defaults do."""
        thresholds = self._state.thresholds
        if (thresholds.default_detections, thresholds.default_evidence) == (detections, evidence):
            return
        thresholds.default_detections = detections
        thresholds.default_evidence = evidence
        nms_iou = thresholds.last_nms_iou if detections.nms_iou is None else detections.nms_iou
        thresholds.put(Thresholds(detections, evidence, last_nms_iou=nms_iou, edits=thresholds.edits))

    def loading(self, names: tuple[str, ...]) -> Generator[Progress | LoadedPipeline, None, None]:
        """Load the networks; iterated in the worker thread, alone or at the head of a run."""
        pipeline = self._loaded.get(names)
        fresh = pipeline is None
        if pipeline is None:
            yield Progress(0, 0, "Loading the network")
            pipeline = self._engine.load(names)
        others = [item for item in self._loaded.items() if item[0] != names and not names_files(item[0])]
        self._loaded = dict([*others, (names, pipeline)][-_MOST_LOADED:])
        if fresh:
            yield Progress(0, 0, "Preparing the plots")
            warm_up_plots()
            tidy_up()
        yield LoadedPipeline(names, pipeline)

    def adopt(self, loaded: object) -> None:
        """Take over a loaded pipeline: choice, cards, default thresholds, results of its own.

        Thresholds moved before the first run are kept where the defaults stay the same.
        """
        if not isinstance(loaded, LoadedPipeline):
            return
        if loaded.names == self._pending:
            self._pending = None
        elif loaded.names != self._state.weights.chosen:
            return
        pipeline = loaded.pipeline
        if pipeline is self.pipeline:
            return
        self.pipeline = pipeline
        self._former = ()
        self._take_thresholds(pipeline.detections, pipeline.evidence)
        self._state.weights.chosen = loaded.names
        self._state.weights.cards = pipeline.cards
        self._state.weights.computes = pipeline.computes
        for topic, told in ((BACKEND, pipeline.backend_note), (_FORMER, former_settings(pipeline.cards))):
            self._messages.withdraw(topic)
            if told:
                self._messages.post("warning", told, topic=topic)
        self.changed.emit()

    def refuse(self, names: tuple[str, ...], error: WeightsError) -> WeightsError:
        """Go back to the choice before weights that cannot be loaded; returns what to tell."""
        self._pending = None
        weights = self._state.weights
        if weights.chosen == names and self.pipeline is None:
            weights.chosen, self._former = self._former, ()
        if weights.chosen == names:
            return error
        if self.pipeline is not None:
            rest = "The weights in use stay in use."
        elif weights.chosen:
            rest = "The weights chosen before are used instead from now on."
        else:
            rest = "The weights that come with the program are used instead from now on."
        return WeightsError(f"{error.message} {rest}", details=error.details)

    def _give_up(self, names: tuple[str, ...]) -> None:
        """Stop waiting for weights; the list of weights shows again which ones run."""
        self._pending = None
        chosen = self._state.weights.chosen
        self._state.weights.events.chosen.emit(chosen, chosen)
        self.refused.emit(names)

    def _on_failed(self, names: tuple[str, ...], error: BaseException) -> None:
        if isinstance(error, WeightsError):
            error = self.refuse(names, error)
        self._give_up(names)
        self._messages.report(error, topic=WEIGHTS, path=path_of(names))
