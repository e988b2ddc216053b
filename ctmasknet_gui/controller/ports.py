"""What the controllers need of `model_core`, as protocols, and the real implementations.

The real ones import torch, the readers and matplotlib inside their methods, so that the empty window
starts without them; most methods are called in the worker thread.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from ctmasknet_gui.state import LungSlices
from model_core.base.arrays import ByteArray
from model_core.base.errors import WeightsError
from model_core.base.jobs import Progress
from model_core.base.resources import resource
from model_core.base.results import ScanVerdict, ShownSlice, SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceBasis, EvidenceSettings
from model_core.base.volume import Catalogue, SeriesEntry, Volume
from model_core.weights.card import ModelCard, read_card


class Pipeline(Protocol):
    """The networks that run, as `model_core.engine.load.load_pipeline` returns them."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Cards of the weights: segmentation (or single-shot) first."""

    @property
    def weights_id(self) -> str:
        """Identity of the weights; results of other weights are dropped by it."""

    fast: bool
    """Whether mirror images are left out; what is set changes ``weights_id`` where the weights use them."""

    @property
    def detections(self) -> DetectionSettings:
        """Default thresholds of the shown detections."""

    @property
    def evidence(self) -> EvidenceSettings:
        """The evidence settings that the weights define."""

    def evidence_basis(self, settings: EvidenceSettings) -> EvidenceBasis | None:
        """Return what a class from this evidence is; None where the weights give no class."""


class Engine(Protocol):
    """Runs networks and explains their results."""

    def available(self) -> tuple[ModelCard, ...]:
        """Cards of the shipped weights, without loading any network."""

    def cards_of(self, names: Sequence[str]) -> tuple[ModelCard, ...]:
        """Cards of these shipped weights (none: the default), segmentation first; empty where unknown."""

    def load(self, names: Sequence[str]) -> Pipeline:
        """Load the networks (slow; worker thread). Raises `WeightsError`."""

    def find_lungs(self, volume: Volume) -> Generator[Progress | LungSlices, None, None]:
        """Look where the lungs are (worker thread); what `show` and `summarise` say of slices follows it."""

    def run(
        self, pipeline: Pipeline, volume: Volume, slices: Sequence[int]
    ) -> Generator[Progress | SliceResult, None, None]:
        """Run the networks over slices (worker thread)."""

    def show(
        self,
        pipeline: Pipeline,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
    ) -> ShownSlice:
        """Compute what is drawn over a slice; never runs the backbone."""

    def summarise(
        self,
        pipeline: Pipeline,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
    ) -> SliceSummary:
        """Compute what the strip and the scan need of a slice; never runs the backbone."""

    def can_show(self, result: SliceResult, detections: DetectionSettings) -> bool:
        """Whether `show` needs nothing that was dropped: FPN maps, or masks computed from them before."""

    def scan_verdict(
        self, summaries: Iterable[SliceSummary], *, basis: EvidenceBasis, control: str
    ) -> ScanVerdict | None:
        """Combine the slices into the class of the scan; ``control`` names class 0 in its rule."""


class Reader(Protocol):
    """Reads images."""

    def scan(self, path: Path, *more: Path) -> Generator[Progress | Catalogue, None, None]:
        """Find the series of one or more paths; the last item is the catalogue."""

    def load(self, entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
        """Read a series; the last item is the volume."""

    def thin(self, entry: SeriesEntry, step: int) -> SeriesEntry:
        """Return the series with every ``step``-th slice only; reads nothing."""

    def straighten(self, entry: SeriesEntry) -> SeriesEntry:
        """Return the series with its tilt corrected when it is read; the same where it has none."""

    def thumbnail(self, entry: SeriesEntry) -> ByteArray:
        """Return a small windowed picture of the middle slice."""

    def read_labels(self, path: Path, volume: Volume) -> ByteArray:
        """Read a reference mask on the volume's grid."""

    def masks_among(self, catalogue: Catalogue, volume: Volume | None) -> frozenset[str]:
        """Return the ids of the series that are masks of others, or of the open volume (worker thread)."""

    def mask_for(self, entry: SeriesEntry, volume: Volume) -> ByteArray:
        """Return a mask found by a scan on the volume's grid. Raises `ReadError` where it does not fit."""

    def phantom(self) -> tuple[Volume, ByteArray]:
        """Make the demo case and its labels."""


def numbered_apart(shown: ShownSlice, first: int) -> ShownSlice:
    """Renumber the regions of the evidence from ``first`` on.

    Where the class comes from a network of its own, its candidates and those of the detections are counted
    separately; a selection must mean one region.
    """
    verdict = shown.verdict
    if verdict is not None:
        batch = verdict.batch
        source = np.where(batch.source >= 0, batch.source + first, batch.source)
        verdict = replace(verdict, batch=replace(batch, source=source, kept=batch.kept + first))
    rois = tuple(replace(row, candidate=row.candidate + first) for row in shown.rois)
    return replace(shown, rois=rois, verdict=verdict)


class CoreEngine:
    """`Engine` over `model_core.engine`."""

    def available(self) -> tuple[ModelCard, ...]:
        """See `Engine.available`."""
        # Not through the store: that imports torch, and the list is wanted in the empty window.
        files = sorted(resource("weights").glob("*.safetensors"))
        return tuple(read_card(path.with_suffix(".json")) for path in files)

    def cards_of(self, names: Sequence[str]) -> tuple[ModelCard, ...]:
        """See `Engine.cards_of`."""
        try:
            if not names:
                text = resource("weights").joinpath("default.json").read_text("utf-8")
                names = json.loads(text)["weights"]
            cards = {card.name: card for card in self.available()}
            found = [cards[name] for name in names]
        except (OSError, ValueError, KeyError, WeightsError):
            return ()
        found.sort(key=lambda card: card.kind == "classifier")
        # Masks of a classifier alone come from weights that are found when it is loaded.
        return tuple(found) if found and found[0].kind != "classifier" else ()

    def load(self, names: Sequence[str]) -> Pipeline:
        """See `Engine.load`."""
        from model_core.engine.load import load_pipeline

        return cast("Pipeline", load_pipeline(tuple(names)))

    def find_lungs(self, volume: Volume) -> Generator[Progress | LungSlices, None, None]:
        """See `Engine.find_lungs`."""
        from model_core.anatomy.lungs import lung_ml
        from model_core.engine.lungs import lungs_of

        for item in lungs_of(volume):
            if isinstance(item, Progress):
                yield item
            else:
                inside = tuple(item.has_lung(index) for index in range(volume.slices))
                yield LungSlices(inside, lung_ml(item, volume.geometry))

    def run(
        self, pipeline: Any, volume: Volume, slices: Sequence[int]
    ) -> Generator[Progress | SliceResult, None, None]:
        """See `Engine.run`."""
        from model_core.engine import run

        yield from run(pipeline, volume, slices)

    def show(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
    ) -> ShownSlice:
        """See `Engine.show`."""
        from model_core.explain import show

        shown = show(pipeline, volume, result, detections, evidence)
        if result.evidence_candidates in (None, result.detection_candidates):
            return shown
        return numbered_apart(shown, len(result.detection_candidates))

    def summarise(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
    ) -> SliceSummary:
        """See `Engine.summarise`."""
        from model_core.explain import summarise

        return summarise(pipeline, volume, result, detections, evidence)

    def can_show(self, result: SliceResult, detections: DetectionSettings) -> bool:
        """See `Engine.can_show`."""
        if result.features:
            return True
        from model_core.engine.select import rank

        return result.mask_cache.keys() >= set(rank(result.detection_candidates, detections).tolist())

    def scan_verdict(
        self, summaries: Iterable[SliceSummary], *, basis: EvidenceBasis, control: str
    ) -> ScanVerdict | None:
        """See `Engine.scan_verdict`."""
        from model_core.explain import scan_verdict

        return scan_verdict(summaries, basis=basis, control=control)


class CoreReader:
    """`Reader` over `model_core.read` and `model_core.phantom`."""

    def scan(self, path: Path, *more: Path) -> Generator[Progress | Catalogue, None, None]:
        """See `Reader.scan`."""
        from model_core import read

        yield from read.scan(path, *more)

    def load(self, entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
        """See `Reader.load`."""
        from model_core import read

        yield from read.load(entry)

    def thin(self, entry: SeriesEntry, step: int) -> SeriesEntry:
        """See `Reader.thin`."""
        from model_core import read

        return read.thin(entry, step)

    def straighten(self, entry: SeriesEntry) -> SeriesEntry:
        """See `Reader.straighten`."""
        from model_core import read

        return read.straighten(entry)

    def thumbnail(self, entry: SeriesEntry) -> ByteArray:
        """See `Reader.thumbnail`."""
        from model_core import read

        # 52 screen pixels in the list, sharp on a screen of twice the resolution too.
        return read.thumbnail(entry, size=112)

    def read_labels(self, path: Path, volume: Volume) -> ByteArray:
        """See `Reader.read_labels`."""
        from model_core import read

        return read.read_labels(path, volume)

    def masks_among(self, catalogue: Catalogue, volume: Volume | None) -> frozenset[str]:
        """See `Reader.masks_among`."""
        from model_core import read

        return read.masks_among(catalogue, volume=volume)

    def mask_for(self, entry: SeriesEntry, volume: Volume) -> ByteArray:
        """See `Reader.mask_for`."""
        from model_core import read

        return read.mask_for(entry, volume)

    def phantom(self) -> tuple[Volume, ByteArray]:
        """See `Reader.phantom`."""
        from model_core.phantom import make_phantom

        return make_phantom()
