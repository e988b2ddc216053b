"""What the controllers need of `model_core`; all that is slow to import is imported where it is called.

So the empty window starts without torch, the readers and matplotlib. What may take long is called in the
worker thread. Tests give the controllers other objects with these methods.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ctmasknet_gui.state import LungSlices
from model_core.base.arrays import ByteArray
from model_core.base.asked import AskedRegion
from model_core.base.calibration import Calibration
from model_core.base.errors import WeightsError
from model_core.base.jobs import Progress
from model_core.base.picture_edit import EditedPicture, PictureEffect, PictureRequest
from model_core.base.reasons import Sensitivity, SliceReason, Way
from model_core.base.resources import resource
from model_core.base.results import (
    ImageVerdict,
    RoiRow,
    ScanVerdict,
    ShownSlice,
    SliceResult,
    SliceSummary,
)
from model_core.base.settings import DetectionSettings, EvidenceBasis, EvidenceEdit, EvidenceSettings
from model_core.base.threads import DRAWING
from model_core.base.volume import Catalogue, PartialVolume, SeriesEntry, Volume
from model_core.weights.card import ModelCard, read_card

if TYPE_CHECKING:
    from model_core.base.stability import ScanStability, Stability
    from model_core.engine.elsewhere import SliceRunner
    from model_core.explain import Burden, RegionPixels


class Pipeline(Protocol):
    """The networks that run, as `model_core.engine.load.load_pipeline` returns them."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Cards of the weights: segmentation (or single-shot) first."""

    @property
    def weights_id(self) -> str:
        """Identity of the weights; results of other weights are dropped by it."""

    @property
    def detections(self) -> DetectionSettings:
        """Default thresholds of the shown detections."""

    @property
    def evidence(self) -> EvidenceSettings:
        """The evidence settings that the weights define."""

    @property
    def computes(self) -> str:
        """What computes and where, for people."""

    @property
    def backend_note(self) -> str:
        """Why that is another backend than a person may expect; empty where it is not."""

    def evidence_basis(self, settings: EvidenceSettings) -> EvidenceBasis | None:
        """Return what a class from this evidence is; None where the weights give no class."""


@cache
def warm_up_plots() -> None:
    """Draw one small figure, so that the first plot of the window finds library and fonts ready."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # that it may keep nothing on the disk is no news to a person
    try:
        import matplotlib.backends.backend_qtagg  # noqa: F401 - what the window draws with
    finally:
        log.setLevel(level)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with DRAWING:
        figure = Figure(figsize=(1, 1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel("score")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()


@cache
def warm_up_reading() -> None:
    """Import the readers and start the decoders, so that the first series is there sooner."""
    from model_core import read

    read.warm_up()


@cache
def tidy_up() -> None:
    """Remove what a crashed run of the program left in temporary folders: copies of images among it."""
    from model_core.read.sandbox import remove_stale

    remove_stale()


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
    asked = tuple(replace(one, candidate=one.candidate + first) for one in shown.asked)
    return shown.changed(rois=rois, verdict=verdict, asked=asked)


def _one_numbering(result: SliceResult, shown: ShownSlice) -> ShownSlice:
    """Return a shown slice in which a number means one region."""
    first = _first_of_evidence(result)
    return numbered_apart(shown, first) if first else shown


def _first_of_evidence(result: SliceResult) -> int:
    """Return the number of the first candidate of the evidence."""
    apart = result.evidence_candidates not in (None, result.detection_candidates)
    return len(result.detection_candidates) if apart else 0


def _own_numbers(result: SliceResult, edit: EvidenceEdit | None) -> EvidenceEdit | None:
    """Return an edit with the candidates numbered as the engine does."""
    return None if edit is None else edit.numbered_from(-_first_of_evidence(result))


class Engine:
    """Runs networks and explains their results, over `model_core.engine` and `model_core.explain`."""

    def available(self) -> tuple[ModelCard, ...]:
        """Return the cards of the shipped weights, without loading any network."""
        # Not through the store: that imports torch, and the list is wanted in the empty window.
        files = sorted(resource("weights").glob("*.safetensors"))
        return tuple(read_card(path.with_suffix(".json")) for path in files)

    def cards_of(self, names: Sequence[str]) -> tuple[ModelCard, ...]:
        """Return cards of shipped weights (no name: the default), segmentation first; empty where unknown."""
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
        """Load the networks, which takes seconds. Raises `WeightsError`."""
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
        """Run the networks over slices."""
        from model_core.engine import run

        yield from run(pipeline, volume, slices)

    def runner(self, pipeline: Any) -> SliceRunner:
        """Return what runs slices of a series one by one, see `engine.elsewhere.SliceRunner`."""
        from model_core.engine.elsewhere import SliceRunner

        return SliceRunner(pipeline)

    def show(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
        *,
        edit: EvidenceEdit | None = None,
    ) -> ShownSlice:
        """Compute what is drawn over a slice; never runs the backbone."""
        from model_core.explain import show

        edit = _own_numbers(result, edit)
        return _one_numbering(result, show(pipeline, volume, result, detections, evidence, edit=edit))

    def own_numbers(self, result: SliceResult, shown: ShownSlice) -> ShownSlice:
        """Return what `show` gave with the regions of its evidence numbered from 0, as `model_core` does."""
        first = _first_of_evidence(result)
        return numbered_apart(shown, -first) if first else shown

    def show_known(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
        *,
        edit: EvidenceEdit | None = None,
    ) -> ShownSlice:
        """Compute the same of the masks that are known; no network runs, and it takes milliseconds."""
        from model_core.explain import show

        edit = _own_numbers(result, edit)
        return _one_numbering(
            result, show(pipeline, volume, result, detections, evidence, edit=edit, known=True)
        )

    def make_masks(
        self, pipeline: Any, result: SliceResult, detections: DetectionSettings
    ) -> Generator[int, None, None]:
        """Compute the masks that are not known, strongest first; yields after each few of them."""
        from model_core.engine.select import make_masks

        yield from make_masks(pipeline, result, detections)

    def with_evidence(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
        *,
        shown: ShownSlice,
        edit: EvidenceEdit | None = None,
    ) -> ShownSlice:
        """Compute class and table of a slice anew, its masks as they are; runs nothing but module S."""
        from model_core.explain import with_evidence

        edit = _own_numbers(result, edit)
        changed = with_evidence(pipeline, volume, result, detections, evidence, shown=shown, edit=edit)
        return _one_numbering(result, changed)

    def needs_backbone(self, pipeline: Any, result: SliceResult) -> bool:
        """Whether a backbone has to run to answer to a box."""
        from model_core.engine import needs_backbone

        return needs_backbone(pipeline, result)

    def ask(
        self, pipeline: Any, volume: Volume, result: SliceResult, box: Sequence[float]
    ) -> Generator[Progress | SliceResult | AskedRegion, None, None]:
        """See `model_core.engine.ask`."""
        from model_core.engine import ask

        yield from ask(pipeline, volume, result, box)

    def edit_picture(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        request: PictureRequest,
    ) -> Generator[Progress | EditedPicture, None, None]:
        """Change the picture of a slice; see `explain.edit_picture`."""
        from model_core.explain import edit_picture

        yield from edit_picture(pipeline, volume, result, detections, request)

    def picture_effect(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
        edited: EditedPicture,
    ) -> Generator[Progress | PictureEffect, None, None]:
        """Run a changed slice and its sham heals; see `explain.picture_effect`."""
        from model_core.explain import picture_effect

        yield from picture_effect(pipeline, volume, result, detections, evidence, edited)

    def judge(
        self, pipeline: Any, result: SliceResult, evidence: EvidenceSettings, edit: EvidenceEdit
    ) -> ImageVerdict | None:
        """Compute the class of a slice alone, in a millisecond or two; None without a class."""
        from model_core.engine import judge

        return judge(pipeline, result, evidence, _own_numbers(result, edit))

    def explain(
        self, pipeline: Any, volume: Volume, result: SliceResult, shown: ShownSlice, way: Way
    ) -> Generator[Progress | SliceReason, None, None]:
        """Say why a slice has its class as it is shown; runs nothing but module S."""
        from model_core.explain.reasons import reason_of

        first = _first_of_evidence(result)
        own = numbered_apart(shown, -first) if first else shown
        for item in reason_of(pipeline, volume, result, own, way=way):
            yield item.numbered_from(first) if isinstance(item, SliceReason) else item

    def explain_region(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        roi: RoiRow,
    ) -> Generator[Progress | RegionPixels, None, None]:
        """Say which pixels the logit of a region hangs on; runs the backbone some 50 times."""
        from model_core.explain import explain_region

        own = replace(roi, candidate=roi.candidate - _first_of_evidence(result))
        for item in explain_region(pipeline, volume, result, own, detections):
            yield item if isinstance(item, Progress) else replace(item, roi=roi)

    def stability(
        self,
        pipeline: Any,
        volume: Volume,
        index: int,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
    ) -> Generator[Progress | Stability, None, None]:
        """Say how much the numbers of a slice move with its picture; runs the backbone eight times."""
        from model_core.explain import stability

        yield from stability(pipeline, volume, index, detections, evidence)

    def scan_stability(
        self,
        pipeline: Any,
        volume: Volume,
        summaries: Iterable[SliceSummary],
        detections: DetectionSettings,
        evidence: EvidenceSettings,
    ) -> Generator[Progress | ScanStability, None, None]:
        """Say how much volume and verdict of a scan move; runs some of its slices eight times each."""
        from model_core.explain import scan_stability

        yield from scan_stability(pipeline, volume, summaries, detections, evidence)

    def lesions(
        self,
        pipeline: Any,
        volume: Volume,
        results: Mapping[int, SliceResult],
        detections: DetectionSettings,
    ) -> Generator[Progress | Burden, None, None]:
        """Join what is marked in these slices; what was known of other slices plays no part."""
        from model_core.engine.lungs import known_lungs
        from model_core.explain import burden, slice_labels

        labels = np.zeros(volume.voxels.shape, np.uint8)
        for done, (index, result) in enumerate(sorted(results.items())):
            yield Progress(done, len(results), "Lesions through the slices")
            labels[index] = slice_labels(pipeline, result, detections)
        yield from burden(volume, labels, lungs=known_lungs(volume), analysed=results.keys())

    def lesion_regions(self, shown: ShownSlice, candidate: int) -> tuple[int, ...]:
        """Return every region of the evidence on the shown lesion of a candidate, that one first."""
        from model_core.explain import lesion_regions

        return lesion_regions(shown, candidate)

    def sensitivity(
        self, pipeline: Any, result: SliceResult, verdict: ImageVerdict
    ) -> Generator[Progress | Sensitivity, None, None]:
        """Compute the class of a slice along the thresholds of its evidence; runs nothing but module S."""
        from model_core.explain.sensitivity import sensitivity

        yield from sensitivity(pipeline, result, verdict.settings, verdict.edit)

    def summarise(
        self,
        pipeline: Any,
        volume: Volume,
        result: SliceResult,
        detections: DetectionSettings,
        evidence: EvidenceSettings,
        *,
        edit: EvidenceEdit | None = None,
    ) -> SliceSummary:
        """Compute what the strip and the scan need of a slice; never runs the backbone."""
        from model_core.explain import summarise

        edit = _own_numbers(result, edit)
        return summarise(pipeline, volume, result, detections, evidence, edit=edit)

    def can_show(self, result: SliceResult, detections: DetectionSettings) -> bool:
        """Whether `show` needs nothing that was dropped: FPN maps, or masks computed from them before."""
        if result.features:
            return True
        from model_core.engine.select import rank

        return result.mask_cache.keys() >= set(rank(result.detection_candidates, detections).tolist())

    def scan_verdict(
        self,
        summaries: Iterable[SliceSummary],
        *,
        basis: EvidenceBasis,
        control: str,
        names: Sequence[str] = (),
        calibration: Calibration | None = None,
        volume: Volume | None = None,
        lung_ml: float | None = None,
    ) -> ScanVerdict | None:
        """Combine the slices into the class of the scan; ``control`` names class 0 in its rule."""
        from model_core.explain import scan_verdict

        return scan_verdict(
            summaries,
            basis=basis,
            control=control,
            names=names,
            calibration=calibration,
            volume=volume,
            lung_ml=lung_ml,
        )


class Reader:
    """Reads images, over `model_core.read` and `model_core.phantom`, whose functions tell the details."""

    def scan(self, path: Path, *more: Path) -> Generator[Progress | Catalogue, None, None]:
        """Find the series of one or more paths; the last item is the catalogue."""
        from model_core import read

        yield from read.scan(path, *more)

    def load(self, entry: SeriesEntry) -> Generator[Progress | PartialVolume | Volume, None, None]:
        """Read a series; the last item is the volume, before it may come what is there to be looked at."""
        from model_core import read

        yield from read.load_gradually(entry)

    def thin(self, entry: SeriesEntry, step: int) -> SeriesEntry:
        """Return the series with every ``step``-th slice only; reads nothing."""
        from model_core import read

        return read.thin(entry, step)

    def straighten(self, entry: SeriesEntry) -> SeriesEntry:
        """Return the series with its tilt corrected when it is read; the same where it has none."""
        from model_core import read

        return read.straighten(entry)

    def thumbnail(self, entry: SeriesEntry) -> ByteArray:
        """Return a small windowed picture of the middle slice."""
        from model_core import read

        # 52 screen pixels in the list, sharp on a screen of twice the resolution too.
        return read.thumbnail(entry, size=112)

    def read_labels(self, path: Path, volume: Volume) -> ByteArray:
        """Read a reference mask on the volume's grid."""
        from model_core import read

        return read.read_labels(path, volume)

    def masks_among(self, catalogue: Catalogue, volume: Volume | None) -> frozenset[str]:
        """Return the ids of the series that are masks of others, or of the open volume."""
        from model_core import read

        return read.masks_among(catalogue, volume=volume)

    def mask_for(self, entry: SeriesEntry, volume: Volume) -> ByteArray:
        """Return a mask found by a scan on the volume's grid. Raises `ReadError` where it does not fit."""
        from model_core import read

        return read.mask_for(entry, volume)

    def phantom(self) -> tuple[Volume, ByteArray]:
        """Make the demo case and its labels."""
        from model_core.phantom import make_phantom

        return make_phantom()
